"""Reads files that others may have written: regular ones, of bounded size, that hold still meanwhile.

Our own immutable files carry their SHA-256 in their name; every byte of them is checked before anything is
parsed (`read_verified`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from featx.checks import explain
from featx.errors import StoreCorruptError, StoreError
from featx.files import StrPath, sha256_hex
from featx.remote import RemotePath
from featx.storage import AnyPath

# O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever.
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

# The clock by which a file system notes a change ticks every 1 to 10 ms.
_TICK_S = 0.02
_IRREGULAR = "not a regular file (a pipe, socket or device)"
# What no later try will change: a pipe or folder, a file far too large.
_FOR_GOOD = {errno.EINVAL, errno.EISDIR, errno.EFBIG}
_CHANGED = "the file changed while it was read"


def read_regular_file(path: StrPath | RemotePath, max_bytes: int) -> bytes:
    """Read a file that is a regular file, of bounded size, and holds still while it is read.

    Parameters
    ----------
    path : path-like or RemotePath
        The file; a symbolic link in its last part is refused, so resolve links that are allowed.
    max_bytes : int
        Largest size accepted, in bytes.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        With a reason in plain words: not there, a folder, a pipe, too large, changed while read.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.bin"
    >>> _ = path.write_bytes(b"123")
    >>> read_regular_file(path, max_bytes=10)
    b'123'
    """
    if isinstance(path, RemotePath):
        return path.read_bytes(max_bytes)
    try:
        descriptor = os.open(path, _FLAGS | os.O_NOFOLLOW)
    except OSError as error:
        if error.errno == errno.ENXIO:
            # What the system says of a socket is "No such device or address".
            raise OSError(errno.EINVAL, _IRREGULAR) from error
        raise
    try:
        before = _settled(descriptor)
        if stat.S_ISDIR(before.st_mode):
            raise IsADirectoryError(errno.EISDIR, "a folder, not a file")
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, _IRREGULAR)
        if before.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"{before.st_size:,} bytes are more than the limit of {max_bytes:,}")
        # One byte more tells whether it has grown; some network file systems give less than is asked for.
        data = os.read(descriptor, before.st_size + 1)
        while len(data) < before.st_size and (more := os.read(descriptor, before.st_size + 1 - len(data))):
            data += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if (len(data), after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise OSError(errno.EAGAIN, _CHANGED)
    return data


def read_verified(path: AnyPath, sha256: str, max_bytes: int) -> bytes:
    """Read one of our own immutable files and check every byte before anyone parses it.

    Parameters
    ----------
    path : Path or RemotePath
    sha256 : str
        What its bytes must have, as 64 hexadecimal digits.
    max_bytes : int
        Largest size that it can have.

    Returns
    -------
    bytes

    Raises
    ------
    StoreCorruptError
        When the file is gone, is no file of such a size, or has another SHA-256.
    StoreError
        When it cannot be read now, which says nothing about its bytes.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.bin"
    >>> _ = path.write_bytes(b"123")
    >>> read_verified(path, sha256_hex(b"123"), max_bytes=10)
    b'123'
    """
    try:
        data = read_regular_file(path, max_bytes)
    except FileNotFoundError:
        raise StoreCorruptError(f"{path} is missing") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            # Somebody keeps the store elsewhere, or somebody points it there: not for featx to decide.
            raise StoreError(f"{path} is a link, which is not followed; put the file itself there") from error
        if error.errno in _FOR_GOOD:
            raise StoreCorruptError(f"{path} is not what featx wrote there: {error.strerror}") from error
        raise StoreError(f"{path} cannot be read: {error.strerror}; mend that and try again") from error
    found = sha256_hex(data)
    if found != sha256:
        raise StoreCorruptError(f"{path} is damaged: its SHA-256 is {found[:12]}..., not {sha256[:12]}...")
    return data


@contextmanager
def open_regular_file(path: StrPath) -> Iterator[BinaryIO]:
    """Open a regular file for reading, and wait for nothing.

    Raises
    ------
    StoreError
        When it is something else, such as a pipe.
    OSError
        When it cannot be opened.

    Examples
    --------
    >>> with open_regular_file(getfixture("tmp_path")) as file:
    ...     pass
    Traceback (most recent call last):
    featx.errors.StoreError: received a pipe, socket, device or folder; expected a regular file; ...
    """
    descriptor = os.open(os.path.realpath(path), _FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        received = "a pipe, socket, device or folder"
        raise StoreError(explain(received, "a regular file", "check the path"))
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _settled(descriptor: int) -> os.stat_result:
    """What a file is, once its time of change would tell of a further one: two in one tick look the same."""
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and 0 <= time.time_ns() - found.st_mtime_ns < _TICK_S * 1e9:
        time.sleep(_TICK_S)
        if os.fstat(descriptor).st_mtime_ns != found.st_mtime_ns:
            raise OSError(errno.EAGAIN, _CHANGED)
    return found
