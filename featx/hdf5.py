"""HDF5 files: written so that their bytes depend on their content alone, read behind a guard.

HDF5 never writes to the disk itself: on a full disk it takes the interpreter down with it, and it
swallows single I/O errors. It writes into memory, or into the `featx.files.CommitFile` that
`featx.files.atomic_writer` hands out, which keeps the first error until HDF5 is out of the way.

Files from elsewhere are walked by a guard before any value is read, because a crafted file can make
the HDF5 library read other files (CVE-2026-1669).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import h5py
import numpy as np

from featx.errors import FeatxError, StoreCorruptError, StoreError, printable
from featx.files import StrPath, path_kind

CHUNK_BYTES = 2**20

# What a guarded file may hold. Other filters load plug-ins; deflate compresses at most 1,032 to 1.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_MAX_EXPANSION = 1100
_MAX_DEPTH = 8


@contextmanager
def create_hdf5(file: BinaryIO) -> Iterator[h5py.File]:
    r"""An HDF5 file written through a Python file object, whose bytes depend on its content alone.

    Examples
    --------
    >>> from io import BytesIO
    >>> image = BytesIO()
    >>> with create_hdf5(image) as file:
    ...     add_dataset(file, "features", (4, 2), np.float32)[:] = 1.0
    >>> image.getvalue()[:4]
    b'\x89HDF'
    """
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    # HDF5 stamps the root group with the time of day unless told otherwise.
    creation.set_obj_track_times(False)
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    # The version 1.10 format puts a checksum on the metadata; the default format has none.
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, file)
    identifier = h5py.h5f.create(b"featx", h5py.h5f.ACC_TRUNC, creation, access)
    with h5py.File(identifier) as hdf5:
        yield hdf5


def add_dataset(
    file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.typing.DTypeLike
) -> h5py.Dataset:
    """An empty dataset in even chunks of about 1 MiB, with a checksum each that plain h5py verifies too.

    A name with a slash puts it in a group, which is made.

    Examples
    --------
    >>> from io import BytesIO
    >>> with create_hdf5(BytesIO()) as file:
    ...     add_dataset(file, "features", (1024, 1280), np.float32).chunks
    (171, 1280)
    """
    group, _, _ = name.rpartition("/")
    if group and group not in file:
        # Made by hand, because h5py stamps a group that it makes on the way with the time of day.
        timeless = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
        timeless.set_obj_track_times(False)
        h5py.h5g.create(file.id, group.encode(), gcpl=timeless)
    row_bytes = max(1, int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize)
    largest = max(1, CHUNK_BYTES // row_bytes)
    # Even, because the last one is stored whole, however few rows are left for it.
    rows = max(1, math.ceil(shape[0] / math.ceil(max(1, shape[0]) / largest)))
    # An HDF5 chunk has at least one row, also where there are none to store.
    chunks = (rows, *shape[1:]) if all(shape) else None
    return file.create_dataset(
        name, shape, dtype, chunks=chunks, fletcher32=chunks is not None, track_times=False
    )


def fixed_strings(strings: list[str]) -> np.ndarray:
    """Strings as fixed-length UTF-8, which HDF5 keeps under the chunk's checksum.

    Examples
    --------
    >>> fixed_strings(["a", "é"]).dtype.itemsize
    2
    """
    # An undecodable byte of a file name (a lone surrogate in Python) is kept as an escape.
    encoded = [string.encode("utf-8", "backslashreplace") for string in strings]
    width = max([1, *map(len, encoded)])
    return np.array(encoded, dtype=h5py.string_dtype("utf-8", width))


@contextmanager
def open_foreign_hdf5(path: StrPath) -> Iterator[h5py.File]:
    """Open an HDF5 file from anywhere, read-only, once a guard has walked all of it.

    Refused are links, groups under two names, external storage, virtual datasets, filters that load
    plug-ins, types other than numbers and strings, and datasets that claim more than their file holds.

    Raises
    ------
    StoreError
        When the file is absent, not HDF5, or holds something refused; the message says what.
    StoreCorruptError
        When it is damaged: now, or when a value is read while it is open.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.h5"
    >>> from featx.files import atomic_writer
    >>> with atomic_writer(path) as file, create_hdf5(file) as hdf5:
    ...     add_dataset(hdf5, "features", (2,), np.float32)[:] = 1.0
    >>> with open_foreign_hdf5(path) as hdf5:
    ...     list(hdf5)
    ['features']
    """
    if (kind := path_kind(path)) != "file":
        what = {"absent": "does not exist", "unreachable": "cannot be reached"}.get(
            kind, "is not a regular file"
        )
        raise StoreError(f"{path} {what}; expected an HDF5 file; check the path")
    try:
        # Nobody writes to a committed file, and HDF5's locks fail on many network file systems.
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        message = f"{path} is not a readable HDF5 file ({error}); expected one; check the path"
        raise StoreError(message) from error
    with file:
        try:
            _guard_group(file, str(path), depth=0, visited=set())
            yield file
        except FeatxError:
            raise
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            # What h5py makes of damage depends on where it is; to whoever opened the file it is one thing.
            raise StoreCorruptError(f"{path} is damaged or incomplete: {error}") from error


def _guard_group(group: h5py.Group, where: str, depth: int, visited: set[int]) -> None:
    if depth > _MAX_DEPTH:
        raise StoreError(f"{where} nests groups deeper than {_MAX_DEPTH}; refused")
    address = h5py.h5o.get_info(group.id).addr
    if address in visited:
        # Cycles, and diamonds of which a few kilobytes hold more paths than anyone can walk.
        raise StoreError(f"{where} holds the group {printable(group.name)} under two names; refused")
    visited.add(address)
    for name in group:
        inner = printable(f"{where}:{group.name.rstrip('/')}/{name}")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise StoreError(f"{inner} is a link, which could lead to another file; refused")
        item = group[name]
        if isinstance(item, h5py.Group):
            _guard_group(item, where, depth + 1, visited)
        elif isinstance(item, h5py.Dataset):
            _guard_dataset(item, inner)


def _guard_dataset(dataset: h5py.Dataset, where: str) -> None:
    if dataset.is_virtual or dataset.external:
        raise StoreError(f"{where} keeps its values in another file; refused")
    is_string = h5py.check_string_dtype(dataset.dtype) is not None
    if dataset.dtype.kind not in "fiub" and not is_string:
        raise StoreError(f"{where} has the type {dataset.dtype}, not numbers or strings; refused")
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(index)[0] for index in range(creation.get_nfilters())]
    # Deflated twice, a kilobyte can expand to a gigabyte.
    if not set(filters) <= _FILTERS or len(set(filters)) < len(filters):
        allowed = "deflate, shuffle and fletcher32, once each"
        raise StoreError(f"{where} uses filters other than {allowed}; refused")
    # An empty dataset has no size at all.
    declared, stored = (dataset.size or 0) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if declared > max(CHUNK_BYTES, stored * _MAX_EXPANSION):
        raise StoreError(f"{where} claims {declared:,} bytes and stores {stored:,}; refused")
