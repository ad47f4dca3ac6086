"""Folders whose names survive a power cut, and why something in them cannot be written.

A file's name is in its folder, and a folder's own in the one above: each is on the disk once the folder that
holds it is synced.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from featx.errors import StoreError
from featx.remote import RemotePath
from featx.storage import AnyPath


def make_directory(path: AnyPath) -> None:
    """Create a folder and its missing parents so that they survive a power cut.

    An object store has no folders to make.

    Raises
    ------
    StoreError
        When the file system refuses, or a file stands in the way.
    """
    if isinstance(path, RemotePath):
        return
    try:
        ensure_directory(path)
    except OSError as error:
        reason = failure_reason(path, error)
        raise StoreError(f"cannot make the folder {path}: {reason}; choose another place") from error


def ensure_directory(path: Path) -> None:
    """As `make_directory`, with the file system's own error."""
    if path.is_dir():
        _sync_name(path.absolute())
        return
    ensure_directory(path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)


@functools.cache
def _sync_name(path: Path) -> None:
    """Make the name of a folder that is there survive a power cut, once a process.

    Whoever made it may have been killed before it was on the disk, and what is committed in it would be lost
    with it. Above what this user may read, it was made by others.
    """
    if path != path.parent:
        with suppress(PermissionError):
            sync_directory(path.parent)
        _sync_name(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was renamed in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder and need not: their renames are durable. Of one
        # that is read-only there is nothing to sync.
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Make what was written to a file survive a power cut."""
    if sys.platform == "darwin":
        # There fsync leaves it in the drive's own memory. Not every file system knows the other.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def failure_reason(path: Path, error: OSError) -> str:
    """Why a file or folder cannot be written: of a disk that is full, with the space left.

    Examples
    --------
    >>> failure_reason(Path("/none/a.txt"), PermissionError(errno.EACCES, "Permission denied"))
    'Permission denied'
    """
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        existing = next((folder for folder in path.parents if os.path.isdir(folder)), Path("/"))  # noqa: PTH112 - a Path would raise where it may not look
        reason += f" ({shutil.disk_usage(existing).free:,} bytes free)"
    return reason
