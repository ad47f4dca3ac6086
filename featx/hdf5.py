"""HDF5 files: written so that their bytes depend on their content alone, read behind a guard.

HDF5 never writes to the disk itself: on a full disk it takes the interpreter down with it, and it
swallows single I/O errors. It writes into memory, or into the `featx.files.CommitFile` that
`featx.files.atomic_writer` hands out, which keeps the first error until HDF5 is out of the way.

Reading: a shard, whose every byte was checked against its name, is parsed where it is needed. Every other
file is from elsewhere, and is parsed by a process of its own (`featx.foreign_hdf5`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import h5py
import numpy as np

from featx.errors import as_utf8

CHUNK_BYTES = 2**20
_BLOCK_STRINGS = 2**16


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
    width = max((len(string) if string.isascii() else len(as_utf8(string)) for string in strings), default=1)
    # In blocks: as Python's bytes all of them would take more than the array.
    fixed = np.empty(len(strings), h5py.string_dtype("utf-8", max(1, width)))
    for start in range(0, len(strings), _BLOCK_STRINGS):
        block = [as_utf8(string) for string in strings[start : start + _BLOCK_STRINGS]]
        fixed[start : start + len(block)] = block
    return fixed
