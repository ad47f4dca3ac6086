"""Zip archives from anywhere, whose directory is checked before anything in them is read.

A ``.keras`` file, a model file and a ``.npz`` file are zip archives, and an archive can say one thing and do
another: hold a name twice, so that one member is checked and another is read; name places outside itself;
claim sizes that are not so; share the same bytes among a thousand members. featx reads members one by one,
never more bytes than were checked, and writes none to a place that the archive names.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from featx.errors import StoreCorruptError, StoreError, printable
from featx.files import StrPath
from featx.reading import open_regular_file

# Deflate cannot do better.
MAX_EXPANSION = 1100

_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 1
_LOCAL_HEADER_BYTES = 30


@contextmanager
def open_foreign_archive(path: StrPath) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive from anywhere, once all that its directory says was checked.

    Parameters
    ----------
    path : path-like
        A regular file, or a link to one.

    Yields
    ------
    zipfile.ZipFile
        To be read by `read_member` and `copy_member`.

    Raises
    ------
    StoreError
        When it is no regular file, or holds a member that is refused: one whose name stands twice or leads
        out of the archive, one that is encrypted or packed otherwise than by deflate, one that claims more
        bytes than it can hold, one that shares its bytes with another.
    OSError, zipfile.BadZipFile
        When it cannot be read, or is no archive.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.zip"
    >>> with zipfile.ZipFile(path, "w") as archive:
    ...     archive.writestr("../a.txt", "out of here")
    >>> with open_foreign_archive(path) as archive:
    ...     archive.namelist()
    Traceback (most recent call last):
    featx.errors.StoreError: the archive holds '../a.txt', which leads out of it; refused
    """
    with open_regular_file(path) as file, zipfile.ZipFile(file) as archive:
        check_members(archive)
        yield archive


def check_members(archive: zipfile.ZipFile) -> None:
    """Refuse an archive whose directory says what an honest one does not (see `open_foreign_archive`)."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    names = set()
    end = 0
    for member in members:
        name = member.orig_filename
        path = PurePosixPath(name)
        shown = printable(repr(name[:100]))
        if name in names:
            raise StoreError(f"the archive holds {shown} twice; refused")
        if path.is_absolute() or ".." in path.parts or not set(name).isdisjoint("\\\0:"):
            raise StoreError(f"the archive holds {shown}, which leads out of it; refused")
        if member.flag_bits & _ENCRYPTED or member.compress_type not in _KINDS:
            raise StoreError(
                f"the archive holds {shown}, encrypted or packed otherwise than by deflate; refused"
            )
        if member.header_offset < end:
            raise StoreCorruptError(f"the archive holds {shown}, which shares bytes with another; refused")
        _check_size(member, shown)
        names.add(name)
        end = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size
        # Behind the last member stands the directory.
        if end > archive.start_dir:
            raise StoreCorruptError(
                f"the archive holds {shown}, which claims more bytes than there are; refused"
            )


def _check_size(member: zipfile.ZipInfo, shown: str) -> None:
    most = member.compress_size * (1 if member.compress_type == zipfile.ZIP_STORED else MAX_EXPANSION)
    if member.file_size > most:
        claims = "which claims more bytes than it can hold"
        raise StoreCorruptError(f"the archive holds {shown}, {claims}; refused")


def read_member(archive: zipfile.ZipFile, name: str, max_bytes: int) -> bytes:
    """The bytes of one member.

    Raises
    ------
    KeyError
        When there is none of this name.
    StoreError
        When it is larger than allowed.
    zipfile.BadZipFile, zlib.error
        When it is damaged.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.zip"
    >>> with zipfile.ZipFile(path, "w") as archive:
    ...     archive.writestr("a.txt", "123")
    >>> with open_foreign_archive(path) as archive:
    ...     read_member(archive, "a.txt", max_bytes=10)
    b'123'
    """
    size = _size_within(archive, name, max_bytes)
    # Asking for its size keeps zipfile from expanding a member that is larger than it claims.
    with archive.open(name) as member:
        return member.read(size)


def copy_member(archive: zipfile.ZipFile, name: str, target: BinaryIO, max_bytes: int) -> None:
    """Write one member to a file of the caller's; errors as for `read_member`."""
    _size_within(archive, name, max_bytes)
    with archive.open(name) as member:
        shutil.copyfileobj(member, target, 2**20)


def _size_within(archive: zipfile.ZipFile, name: str, max_bytes: int) -> int:
    size = archive.getinfo(name).file_size
    if size > max_bytes:
        shown = printable(repr(name[:100]))
        raise StoreError(f"the archive holds {shown} of {size:,} bytes, more than {max_bytes:,}; refused")
    return size
