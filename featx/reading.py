"""Reads a file of someone else's: a regular one, of bounded size, that holds still while it is read."""

from __future__ import annotations

import errno
import os
import stat
import time

from featx.files import StrPath

# The clock by which a file system notes a change ticks every 1 to 10 ms.
_TICK_S = 0.02
_IRREGULAR = "not a regular file (a pipe, socket or device)"
_CHANGED = "the file changed while it was read"


def read_regular_file(path: StrPath, max_bytes: int) -> bytes:
    """Read a file that is a regular file, of bounded size, and holds still while it is read.

    Parameters
    ----------
    path : path-like
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
    # O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
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


def _settled(descriptor: int) -> os.stat_result:
    """What a file is, once its time of change would tell of a further one: two in one tick look the same."""
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and 0 <= time.time_ns() - found.st_mtime_ns < _TICK_S * 1e9:
        time.sleep(_TICK_S)
        if os.fstat(descriptor).st_mtime_ns != found.st_mtime_ns:
            raise OSError(errno.EAGAIN, _CHANGED)
    return found
