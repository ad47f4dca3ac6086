"""Committing bytes: complete or not at all, whatever fails. Trusting bytes: checked before they are used."""

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from featx.directories import _sync_name
from featx.errors import FeatxWarning, StoreError
from featx.files import (
    TEMPORARY_MAX_AGE_S,
    CommitFile,
    atomic_write,
    atomic_writer,
    cache_root,
    check_target,
    path_kind,
    set_aside,
    sha256_hex,
    stale_temporaries,
)
from tests.contracts import NOBODY, run_python, unprivileged

OLD, NEW = b"old" * 1000, b"new" * 5000


@pytest.fixture
def target(tmp_path):
    """A file that is to be replaced."""
    path = tmp_path / "target.bin"
    path.write_bytes(OLD)
    return path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_only(path, content):
    """The file holds the content, and nothing stands beside it."""
    assert path.read_bytes() == content
    assert names_in(path.parent) == [path.name]


# ------------------------------------------------------------------------------------------- names


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    assert cache_root("elsewhere") == Path("elsewhere")
    monkeypatch.delenv("FEATX_CACHE")
    assert cache_root() == Path("cache")


def test_a_path_is_told_from_what_it_leads_to(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "circle").symlink_to("circle")
    kinds = {name: path_kind(tmp_path / name) for name in ("", "file", "link", "pipe", "circle", "none")}
    assert kinds == {
        "": "folder",
        "file": "file",
        "link": "file",
        "pipe": "other",
        "circle": "unreachable",
        "none": "absent",
    }
    assert path_kind(tmp_path / "file" / "below") == "absent"
    assert path_kind("nul\0byte") == "absent"


def test_a_path_below_a_locked_folder_is_out_of_reach(tmp_path):
    (tmp_path / "file").touch()
    tmp_path.chmod(0)
    try:
        with unprivileged():
            assert path_kind(tmp_path / "file") == "unreachable"
    finally:
        tmp_path.chmod(0o700)


# ----------------------------------------------------------------------------------------- digests


def test_a_digest_of_bytes_is_their_sha256():
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ----------------------------------------------------------------------------------------- writing


def test_a_file_is_replaced_whole(target):
    atomic_write(target, NEW)
    assert_only(target, NEW)


def test_missing_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    atomic_write(path, NEW)
    assert_only(path, NEW)


def test_a_reader_sees_the_old_file_until_the_new_one_is_complete(target):
    with atomic_writer(target) as file:
        file.write(NEW[:100])
        assert target.read_bytes() == OLD
        file.write(NEW[100:])
        assert target.read_bytes() == OLD
    assert_only(target, NEW)


def test_what_was_written_can_be_read_back_and_changed_before_it_is_committed(target):
    with atomic_writer(target) as file:
        file.write(b"0123456789")
        file.seek(4)
        assert file.read(2) == b"45"
        file.seek(0)
        file.write(b"abc")
        file.truncate(5)
    assert_only(target, b"abc34")


def test_arrays_and_views_are_written_byte_by_byte(target):
    atomic_write(target, np.arange(3, dtype="<u4"))
    assert_only(target, b"\0\0\0\0\1\0\0\0\2\0\0\0")


def test_a_committed_file_is_as_readable_as_any_other_new_file(target):
    atomic_write(target, NEW)
    plain = target.with_name("plain")
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), StoreError("of our own")])
def test_an_exception_in_the_block_leaves_the_old_file_and_comes_through(target, error):
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(type(error)) as caught,
        atomic_writer(target) as file,
    ):
        file.write(NEW)
        raise error
    assert caught.value is error
    assert_only(target, OLD)


def test_two_writers_of_one_file_leave_one_whole_file(target):
    with atomic_writer(target) as first:
        first.write(b"first" * 100)
        with atomic_writer(target) as second:
            second.write(b"second")
        first.write(b"first" * 100)
    assert_only(target, b"first" * 200)


# A disk that is full after some bytes, without a disk: the kernel refuses to let any file grow further.
WRITE_ON_A_FULL_DISK = """
import resource, sys
from featx.files import atomic_write
path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    atomic_write(path, b"new" * 5000)
except BaseException as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [0, 1, 4096, len(NEW) - 1])
def test_a_full_disk_leaves_the_old_file_and_says_so(target, limit):
    done = run_python(WRITE_ON_A_FULL_DISK, target, limit)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(
        rf"StoreError cannot write {re.escape(str(target))}: .* \([\d,]+ bytes free\)", done.stdout
    )
    assert_only(target, OLD)


def test_a_disk_with_just_enough_room_is_enough(target):
    done = run_python(WRITE_ON_A_FULL_DISK, target, len(NEW))
    assert (done.returncode, done.stdout) == (0, "")
    assert_only(target, NEW)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_failed_write_is_kept_for_the_end_and_nothing_is_written_after_it():
    with CommitFile(os.open("/dev/full", os.O_RDWR), "r+b") as file:
        assert file.write(b"abc") == 3
        assert file.error.errno == errno.ENOSPC
        first = file.error
        assert file.write(b"abc") == 3
        assert file.truncate(10) == 10
        assert file.error is first


def test_a_failed_write_is_the_error_though_the_block_went_on_to_fail_otherwise(target):
    with (  # noqa: PT012 - the block is what is tested
        pytest.raises(StoreError, match="No space left on device"),
        atomic_writer(target) as file,
    ):
        file.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise RuntimeError("what HDF5 makes of it")
    assert_only(target, OLD)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder", "Is a directory"),
        ("file/below.bin", "File exists|Not a directory"),
        ("n" * 300, "File name too long"),
        ("n" * 300 + "/below.bin", "File name too long"),
    ],
    ids=["folder", "below a file", "name too long", "folder name too long"],
)
def test_a_place_that_takes_no_file_is_named(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(StoreError, match=reason) as caught:
        atomic_write(tmp_path / name, NEW)
    assert str(tmp_path / name) in str(caught.value)
    assert names_in(tmp_path) == ["file", "folder"]


@pytest.mark.parametrize("mode", [0o555, 0], ids=["read-only", "locked"])
def test_a_folder_that_may_not_be_written_to_is_named_and_left_as_it_is(target, mode):
    target.parent.chmod(mode)
    try:
        with unprivileged():
            for path in (target, target.parent / "new" / "file.bin"):
                with pytest.raises(StoreError, match="Permission denied") as caught:
                    atomic_write(path, NEW)
                assert str(path) in str(caught.value)
    finally:
        target.parent.chmod(0o755)
    assert_only(target, OLD)


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_end(target, monkeypatch):
    # A power cut cannot be had in a test: what would survive it is what was synced, in this order.
    _sync_name.cache_clear()
    events, sync, rename = [], os.fsync, os.replace

    def spy_on_sync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        events.append("sync folder" if is_folder else f"sync {os.fstat(descriptor).st_size} bytes")
        sync(descriptor)

    def spy_on_rename(*arguments, **options):
        events.append("rename")
        rename(*arguments, **options)

    monkeypatch.setattr(os, "fsync", spy_on_sync)
    monkeypatch.setattr(os, "replace", spy_on_rename)
    atomic_write(target, NEW)
    # The names of the folders above, which whoever made them may not have lived to sync: once a process.
    n_above = len(target.parent.parents)
    assert events == ["sync folder"] * n_above + [f"sync {len(NEW)} bytes", "rename", "sync folder"]
    del events[:]
    atomic_write(target, OLD)
    assert events == [f"sync {len(OLD)} bytes", "rename", "sync folder"]


def test_a_link_is_replaced_and_what_it_led_to_is_left_alone(target):
    link = target.with_name("link")
    link.symlink_to(target.name)
    atomic_write(link, NEW)
    assert not link.is_symlink()
    assert (link.read_bytes(), target.read_bytes()) == (NEW, OLD)


def test_a_pipe_is_refused_as_a_target_and_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="pipe, a device, pipe or socket, which would be replaced"):
        check_target(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_is_refused_as_a_target_before_the_work(tmp_path):
    with pytest.raises(StoreError, match=re.escape(str(tmp_path))):
        check_target(tmp_path)
    check_target(tmp_path / "new" / "file.bin")
    check_target(None)


# ------------------------------------------------------------------------- what killed writers leave


@pytest.fixture(scope="module")
def dead_pid():
    """Of a process that has ended."""
    return int(run_python("import os; print(os.getpid())").stdout)


def temporary(folder, pid, age_s=2 * TEMPORARY_MAX_AGE_S, name=".featx-{}-{}.tmp"):
    path = folder / name.format(pid, uuid4().hex)
    path.touch()
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_old_temporaries_of_dead_processes_are_stale(tmp_path, dead_pid):
    paths = [temporary(tmp_path, dead_pid) for _ in range(3)]
    assert stale_temporaries(tmp_path) == sorted(paths)


def test_what_a_living_process_writes_is_not_stale(tmp_path):
    temporary(tmp_path, os.getpid())
    temporary(tmp_path, 1)
    assert stale_temporaries(tmp_path) == []


LIST_STALE_AS_NOBODY = """
import os, sys
from pathlib import Path
from featx.files import stale_temporaries
os.chdir(sys.argv[1])
if os.getuid() == 0:
    os.setuid(int(sys.argv[2]))
print(stale_temporaries(Path()))
"""


def test_what_a_living_process_of_another_user_writes_is_not_stale(tmp_path):
    # Process 1 is root's: nobody else may even ask whether it is there.
    temporary(tmp_path, 1)
    tmp_path.chmod(0o755)
    done = run_python(LIST_STALE_AS_NOBODY, tmp_path, NOBODY)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_fresh_temporary_is_not_stale_though_this_machine_does_not_know_its_process(tmp_path, dead_pid):
    # On a shared file system its writer may live on another machine.
    temporary(tmp_path, dead_pid, age_s=TEMPORARY_MAX_AGE_S / 2)
    assert stale_temporaries(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    [
        ".featx-{}.tmp",
        "featx-{}-{}.tmp",
        ".featx-{}-{}.tmp.h5",
        ".featx-{}-{}x.tmp",
        ".featx-{}99999999999999-{}.tmp",
    ],
)
def test_files_of_other_names_are_nobodys_temporaries(tmp_path, dead_pid, name):
    temporary(tmp_path, dead_pid, name=name)
    assert stale_temporaries(tmp_path) == []


def test_a_folder_that_is_not_there_has_no_temporaries(tmp_path):
    assert stale_temporaries(tmp_path / "none") == []


def test_what_a_killed_writer_leaves_is_found_and_the_old_file_kept(target):
    code = """
import os, signal, sys
from featx.files import atomic_writer
with atomic_writer(sys.argv[1]) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run_python(code, target).returncode == -signal.SIGKILL
    assert target.read_bytes() == OLD
    (left,) = [path for path in target.parent.iterdir() if path != target]
    assert stale_temporaries(target.parent) == []
    os.utime(left, (0, 0))
    assert stale_temporaries(target.parent) == [left]


def test_a_damaged_file_is_set_aside_with_all_it_holds(target):
    with pytest.warns(FeatxWarning, match=r"one bit is wrong; set aside as target\.bin\.corrupt"):
        set_aside(target, "one bit is wrong")
    assert_only(target.with_name("target.bin.corrupt"), OLD)


def test_what_cannot_be_set_aside_is_one_error(target, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(
        StoreError, match=r"one bit is wrong; it cannot be set aside \(Read-only file system\)"
    ):
        set_aside(target, "one bit is wrong")


def test_nothing_that_was_set_aside_is_overwritten(target):
    for content in (OLD, NEW):
        target.write_bytes(content)
        with pytest.warns(FeatxWarning, match="set aside"):
            set_aside(target, "damaged")
    assert {path.read_bytes() for path in target.parent.glob("*.corrupt")} == {OLD, NEW}


def test_what_another_process_has_set_aside_already_is_let_be(target):
    target.unlink()
    set_aside(target, "damaged")
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("name", ["file/below.h5", "file/further/below.h5"])
def test_a_target_below_a_file_is_refused_before_the_work(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="expected a file in a folder; choose another place"):
        check_target(tmp_path / name)
    check_target(tmp_path / "new" / "folder" / "f.h5")


def test_what_a_killed_process_left_beside_a_file_is_swept(target):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    stale, fresh = (target.parent / f".featx-{int(dead.stdout)}-{digit * 32}.tmp" for digit in "01")
    for path in (stale, fresh):
        path.touch()
    os.utime(stale, (0, 0))
    atomic_write(target, NEW)
    assert names_in(target.parent) == sorted([fresh.name, target.name])


def test_a_target_in_a_folder_that_cannot_be_written_to_is_refused_before_the_work(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    # The folders above are for their owner alone, and what cannot be reached is refused for that.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with unprivileged(), pytest.raises(StoreError, match="cannot be written to; expected a file in a folder"):
        check_target(tmp_path / "locked" / "f.h5")


@pytest.mark.parametrize("name", ["photos/red/0.png", "manifest.csv", "link.csv"])
def test_what_the_work_reads_is_no_target(tmp_path, name):
    image, manifest = tmp_path / "photos" / "red" / "0.png", tmp_path / "manifest.csv"
    image.parent.mkdir(parents=True)
    for path in (image, manifest):
        path.write_bytes(b"0")
    (tmp_path / "link.csv").symlink_to(manifest)
    with pytest.raises(StoreError, match="which is read from; expected another file"):
        check_target(tmp_path / name, tmp_path / "photos", manifest)
    check_target(tmp_path / "photos" / "new.h5", tmp_path / "photos", manifest)
