"""Files of others are read whole, as they were at one moment, or not at all; our own are checked."""

import errno
import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest

from featx.errors import StoreCorruptError, StoreError
from featx.files import sha256_hex
from featx.reading import read_regular_file, read_verified
from tests.contracts import time_limit
from tests.test_files import OLD, names_in


@pytest.fixture
def target(tmp_path):
    """A file of old."""
    path = tmp_path / "target.bin"
    path.write_bytes(OLD)
    return path


def test_a_regular_file_is_read_up_to_the_limit(target):
    assert read_regular_file(target, max_bytes=len(OLD)) == OLD
    with pytest.raises(OSError, match=r"3,000 bytes are more than the limit of 2,999"):
        read_regular_file(target, max_bytes=len(OLD) - 1)


def test_an_empty_file_is_read(tmp_path):
    (tmp_path / "empty").touch()
    assert read_regular_file(tmp_path / "empty", max_bytes=0) == b""


def test_a_file_that_comes_in_parts_is_read_whole(target, monkeypatch):
    original = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, n_bytes: original(descriptor, min(n_bytes, 700)))
    assert read_regular_file(target, max_bytes=len(OLD)) == OLD


def test_a_file_that_grows_while_it_is_read_is_refused(target, monkeypatch):
    original = os.fstat

    def fstat_then_grow(descriptor):
        found = original(descriptor)
        with target.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(os, "fstat", fstat_then_grow)
    with pytest.raises(OSError, match="changed while it was read"):
        read_regular_file(target, max_bytes=10_000)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**40)
    with time_limit(5), pytest.raises(OSError, match="1,099,511,627,776 bytes are more than"):
        read_regular_file(path, max_bytes=2**20)


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with time_limit(5), pytest.raises(OSError, match="not a regular file"):
        read_regular_file(tmp_path / "pipe.jpg", max_bytes=10)


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused_at_once(device):
    with time_limit(5), pytest.raises(OSError, match="not a regular file"):
        read_regular_file(device, max_bytes=10)


def test_a_socket_is_refused(tmp_path, monkeypatch):
    # The name of a socket may not be longer than 107 bytes: bind it from within the folder.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        with time_limit(5), pytest.raises(OSError, match="not a regular file"):
            read_regular_file("socket.jpg", max_bytes=10)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="a folder, not a file"):
        read_regular_file(tmp_path, max_bytes=10)


def test_a_link_is_not_followed(target):
    link = target.with_name("link")
    link.symlink_to(target)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        read_regular_file(link, max_bytes=10_000)


def test_a_missing_file_is_a_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular_file(tmp_path / "none", max_bytes=10)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_a_file_that_is_not_as_long_as_it_says_has_changed():
    # Files below /proc say that they are empty, and are not: as a file that grows between two looks.
    with pytest.raises(OSError, match="changed while it was read"):
        read_regular_file("/proc/self/status", max_bytes=10_000)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("name", ["target.bin", "folder", "pipe"])
def test_reading_leaves_no_file_open(target, name):
    target.with_name("folder").mkdir()
    os.mkfifo(target.with_name("pipe"))
    before = names_in(Path("/proc/self/fd"))
    with pytest.raises(OSError, match=r"."):
        read_regular_file(target.with_name(name), max_bytes=10)
    assert names_in(Path("/proc/self/fd")) == before


def test_a_file_that_is_being_written_is_refused(target, monkeypatch):
    # Between two looks at a file that changed just now, it changes again.
    def write_more(_):
        with target.open("ab") as file:
            file.write(b"more")

    changed = target.stat().st_mtime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed)
    monkeypatch.setattr(time, "sleep", write_more)
    with pytest.raises(OSError, match="changed while it was read"):
        read_regular_file(target, max_bytes=10_000)


@pytest.mark.parametrize(("age_ms", "n_waits"), [(0, 1), (19, 1), (21, 0), (-5, 0)])
def test_only_a_file_that_changed_just_now_is_waited_for(target, age_ms, n_waits, monkeypatch):
    now, waits = target.stat().st_mtime_ns + age_ms * 10**6, []
    monkeypatch.setattr(time, "time_ns", lambda: now)
    monkeypatch.setattr(time, "sleep", waits.append)
    assert read_regular_file(target, max_bytes=len(OLD)) == OLD
    assert len(waits) == n_waits


def test_verified_bytes_are_those_that_were_committed(target):
    assert read_verified(target, sha256_hex(OLD), 10_000) == OLD


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_bit_or_cut_is_found(target, seed):
    rng = np.random.default_rng(seed)
    damaged = bytearray(OLD)
    if seed % 4:
        damaged[rng.integers(len(OLD))] ^= 1 << rng.integers(8)
    else:
        del damaged[rng.integers(len(OLD)) :]
    target.write_bytes(damaged)
    with pytest.raises(StoreCorruptError, match="is damaged: its SHA-256 is") as caught:
        read_verified(target, sha256_hex(OLD), 10_000)
    assert str(target) in str(caught.value)


def test_a_file_that_is_gone_is_corrupt(target):
    target.unlink()
    with pytest.raises(StoreCorruptError, match="is missing"):
        read_verified(target, sha256_hex(OLD), 10_000)


def test_a_link_is_neither_followed_nor_called_corrupt(target):
    target.rename(target.with_name("other"))
    target.symlink_to("other")
    with pytest.raises(StoreError, match="is a link, which is not followed") as caught:
        read_verified(target, sha256_hex(OLD), 10_000)
    assert not isinstance(caught.value, StoreCorruptError)


@pytest.mark.parametrize("kind", ["folder", "pipe", "large"])
def test_what_featx_never_writes_is_corrupt_and_not_waited_for(target, kind):
    target.unlink()
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.write_bytes(bytes(10_001))
    with time_limit(5), pytest.raises(StoreCorruptError, match="is not what featx wrote there"):
        read_verified(target, sha256_hex(OLD), 10_000)


def test_a_file_that_cannot_be_read_now_is_not_called_corrupt(target, monkeypatch):
    def refuse(*_):
        raise OSError(24, "Too many open files")

    # The real thing needs a process without file descriptors left, in which pytest cannot run either.
    monkeypatch.setattr("featx.reading.read_regular_file", refuse)
    with pytest.raises(StoreError, match="cannot be read: Too many open files") as caught:
        read_verified(target, sha256_hex(OLD), 10_000)
    assert not isinstance(caught.value, StoreCorruptError)
