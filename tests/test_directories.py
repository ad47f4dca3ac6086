"""Folders whose names survive a power cut, and what is said where one cannot be made."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from featx.directories import _sync_name, failure_reason, make_directory, sync_directory
from featx.errors import StoreError


@pytest.fixture
def synced(monkeypatch):
    """The folders that are synced, in order."""
    _sync_name.cache_clear()
    found, sync = [], os.fsync

    def spy(descriptor):
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    return found


def test_a_new_folders_name_is_synced_before_anything_is_put_in_it(tmp_path, synced):
    make_directory(tmp_path / "a" / "b")
    assert synced == [*tmp_path.parents, tmp_path, tmp_path / "a"]


def test_the_name_of_a_folder_that_a_killed_process_made_is_synced_once(tmp_path, synced):
    (tmp_path / "a").mkdir()
    make_directory(tmp_path / "a")
    assert synced == [tmp_path, *tmp_path.parents]
    make_directory(tmp_path / "a")
    assert len(synced) == 1 + len(tmp_path.parents)


def test_folders_above_that_may_not_be_read_are_others_to_sync(tmp_path, synced, monkeypatch):
    opened = os.open

    def refuse(path, flags, *arguments, **options):
        if Path(path) == tmp_path.parent:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    make_directory(tmp_path / "a")
    assert synced[-1] == tmp_path


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EROFS])
def test_a_folder_that_cannot_or_need_not_be_synced_is_let_be(tmp_path, monkeypatch, number):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    sync_directory(tmp_path)


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path in (file / "sub", file):
        with pytest.raises(StoreError, match=r"cannot make the folder .*; choose another place"):
            make_directory(path)


def test_of_a_full_disk_the_space_left_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 1_234))
    error = OSError(errno.ENOSPC, "No space left on device")
    assert failure_reason(tmp_path / "none" / "f.h5", error) == "No space left on device (1,234 bytes free)"
