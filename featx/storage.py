"""Where a store may be: what committing needs of each kind of storage, and which kinds have it.

A store is a folder of small immutable files that anyone may add to. Whoever reads it has to see a file whole
or not at all, and a file that was reported as committed has to be there for good:

==========================  =========================  ===========================  =========================
storage                     a file appears whole by    it is there for good by      the first writer wins by
==========================  =========================  ===========================  =========================
a local disk, NFS           a temporary file beside    fsync of the file before,    a link, which fails where
                            it, renamed                of the folder afterwards     something stands
object stores (S3 and       one put (or a multipart    the server's answer, which   a conditional put, which
what speaks it, Google,     upload, which is one       comes once the object is     fails where something
Azure)                      step at its end)           durable and listed           stands
==========================  =========================  ===========================  =========================

Without links, or without conditional puts, the last writer wins: what is written on that condition is a
choice that any writer may make. A rename in two steps (copy, delete) serves to set damage aside and nothing
else. Everything else that has an address is refused as a store: ``http`` cannot be written to, and ``ftp``,
``sftp``, ``zip``, ``memory`` and the like show half a file while it is written, or lose it with the process.
Images are only read, from whatever fsspec can list and read.

Object stores have to show what was put to whoever lists or reads next, as those named here do.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import TypeAlias

from featx.checks import explain
from featx.errors import FeatxError, StoreError
from featx.remote import OBJECT_STORES, RemotePath

#: A place on this machine, or behind an address.
AnyPath: TypeAlias = Path | RemotePath

#: Whatever names one.
AnyPathLike: TypeAlias = "str | os.PathLike[str] | RemotePath"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_LOCAL = ("file", "local")

# What is left of an address once a Path was made of it.
_FLATTENED = re.compile(r"(s3a?|gs|gcs|abfss?|az|https?|ftp|sftp|memory|file|local):/[^/]")


def is_address(path: AnyPathLike) -> bool:
    """Whether something names a place by an address, such as ``s3://bucket/folder``.

    Examples
    --------
    >>> is_address("s3://bucket/folder"), is_address("photos/cats"), is_address("C:/photos")
    (True, False, False)
    """
    if isinstance(path, RemotePath):
        return True
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def is_flattened(path: AnyPathLike) -> bool:
    """Whether a `Path` was made of an address, which loses a slash by it; a folder of that name is none.

    Examples
    --------
    >>> is_flattened(Path("s3://bucket/folder")), is_flattened("s3://bucket/folder")
    (True, False)
    """
    if not isinstance(path, PurePath) or _FLATTENED.match(str(path)) is None:
        return False
    return not Path(path.parts[0]).exists()


def location(path: AnyPathLike, error: type[FeatxError] = StoreError) -> AnyPath:
    """The place that a path or an address names.

    Parameters
    ----------
    path : path-like
        ``file://`` leads to this machine.
    error : type
        The class of the error to raise.

    Raises
    ------
    FeatxError
        When an address was made into a `Path`, or names nothing.

    Examples
    --------
    >>> str(location("s3://bucket/folder/")), location("file:///data").as_posix()
    ('s3://bucket/folder', '/data')
    """
    if isinstance(path, RemotePath):
        return path
    if is_flattened(path):
        received = f"Path({os.fspath(path)!r})"
        raise error(explain(received, "an address as text", "pass it as a string, not as a Path"))
    match = _ADDRESS.match(path) if isinstance(path, str) else None
    if match is None:
        return Path(path)
    protocol, key = match[1].lower(), match[2]
    if protocol in _LOCAL:
        return Path(key)
    if not key.strip("/"):
        raise error(explain(f"the address {path}", "one with a bucket or host", "add it"))
    return RemotePath(protocol, key.rstrip("/"))


def listed(directory: AnyPath, pattern: str = "*") -> list[AnyPath]:
    """What stands in a folder under names of a pattern, sorted; of one that is not there, nothing.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "b.h5").touch(), (folder / "a.h5").touch(), (folder / "a.txt").touch()
    >>> [path.name for path in listed(folder, "*.h5")]
    ['a.h5', 'b.h5']
    """
    if isinstance(directory, RemotePath):
        return [*directory.glob(pattern)]
    return [*sorted(directory.glob(pattern))]


def store_location(path: AnyPathLike) -> AnyPath:
    """The place that a store is to be in, refused where its commits could not be kept.

    Raises
    ------
    StoreError

    Examples
    --------
    >>> store_location("https://example.com/cache")
    Traceback (most recent call last):
    featx.errors.StoreError: received a store at https://example.com/cache; expected a folder of this ...
    """
    place = location(path)
    if isinstance(place, RemotePath) and place.protocol not in OBJECT_STORES:
        expected = f"a folder of this machine, or an object store ({', '.join(OBJECT_STORES)})"
        remedy = f"choose one of these: over {place.protocol} a file is not whole or not at all"
        raise StoreError(explain(f"a store at {place}", expected, remedy))
    return place
