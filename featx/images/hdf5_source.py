"""Images, or a user's own arrays, in HDF5 files, read in blocks of whole chunks.

A chunk is unpacked as a whole whoever asks for a row of it, and opening a file means walking all of it
for what may not be there. Images are asked for a few at a time, so a block is read at once and kept for
the next to ask.
"""

from __future__ import annotations

import math
import os
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from featx.checks import explain
from featx.errors import SourceError, StoreCorruptError
from featx.files import StrPath
from featx.foreign_hdf5 import open_foreign_hdf5
from featx.images.array_sources import check_layout, check_value_range, to_uint8_rgb
from featx.images.base import ImageSource, RawImage, failing

# What is read at once, where a chunk or a request is not larger.
_BLOCK_BYTES = 32 * 2**20

#: Samples, or the reasons why they cannot be read.
Rows: TypeAlias = list[np.ndarray | str]
# What was read ahead: of which version of its file, from which row on, and the rows.
_NOTHING: tuple[tuple[int, ...] | None, int, Rows] = (None, 0, [])


class HDF5Source(ImageSource):
    """Images in a dataset of an HDF5 file, read in blocks as they are needed.

    Parameters
    ----------
    path : path-like
        The file. It is checked before any value is read: see `featx.foreign_hdf5.open_foreign_hdf5`.
    images : str, default="images"
        Name of the dataset of images, (n_samples, height, width[, 1 or 3]).
    labels : str, default="labels"
        Name of the dataset of labels. Where the default is absent, the images are unlabelled.
    value_range : tuple of float, optional
        (black, white), needed unless the images are uint8.

    Examples
    --------
    >>> import h5py
    >>> path = getfixture("tmp_path") / "images.h5"
    >>> with h5py.File(path, "w") as file:
    ...     file["images"] = np.zeros((5, 8, 8, 3), np.uint8)
    ...     file["labels"] = [0, 1, 0, 1, 1]
    >>> len(HDF5Source(path))
    5
    """

    def __init__(
        self,
        path: StrPath,
        images: str = "images",
        labels: str = "labels",
        *,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self._rows, values = open_rows(path, images, labels)
        check_layout(self._rows)
        self.value_range = check_value_range(self._rows.dtype, value_range, "HDF5Source")
        super().__init__([str(index) for index in range(len(self._rows))], values)

    def read(self, start: int, stop: int) -> list[RawImage]:
        """The samples from ``start`` up to ``stop``; the file is read in blocks of whole chunks."""
        return [
            RawImage(sample_id, failing(sample_id, found))
            if isinstance(found, str)
            else RawImage(sample_id, partial(to_uint8_rgb, found, self.value_range, sample_id))
            for sample_id, found in zip(self.sample_ids[start:stop], self._rows[start:stop], strict=True)
        ]


class HDF5Rows:
    """The rows of a dataset in a file, sliced as a list is; one that cannot be read is the reason why.

    Parameters
    ----------
    path : path-like
    name : str
        Of the dataset.
    shape : tuple of int
        That it had when its source was built.
    dtype : dtype
    """

    def __init__(self, path: StrPath, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path = path
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self._ahead = _NOTHING

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getstate__(self) -> dict[str, Any]:
        # Rows can be read again; a copy or a pickle is no place for them.
        return self.__dict__ | {"_ahead": _NOTHING}

    def __getitem__(self, rows: slice) -> Rows:
        start, stop, _ = rows.indices(len(self))
        return self._read(start, stop) if start < stop else []

    def _read(self, start: int, stop: int) -> Rows:
        # Taken and left as one tuple, so that a thread never sees half of what another one left.
        known_version, first, rows = self._ahead
        version = _version(self.path)
        if version != known_version or not first <= start <= first + len(rows):
            first, rows = start, []
        if first + len(rows) < stop:
            with open_foreign_hdf5(self.path) as file:
                dataset = file[self.name]
                if len(dataset) != len(self):
                    received = f"{self.path} with {len(dataset)} samples, where there were {len(self)}"
                    raise SourceError(explain(received, "the same file", "make a new source of it"))
                begin = first + len(rows)
                end = min(_end_of_block(dataset, begin, stop), len(self))
                fresh = _read_rows(dataset, begin, end)
            first, rows = start, rows[start - first :] + fresh
            self._ahead = version, first, rows
        return rows[start - first : stop - first]


def open_rows(path: StrPath, name: str, labels: str) -> tuple[HDF5Rows, np.ndarray | None]:
    """A dataset of samples in a file from anywhere, and its labels where there are any.

    Parameters
    ----------
    path : path-like
    name : str
        Of the dataset of samples.
    labels : str
        Of the dataset of labels, which may be absent where it is the default, "labels".

    Examples
    --------
    >>> import h5py
    >>> path = getfixture("tmp_path") / "values.h5"
    >>> with h5py.File(path, "w") as file:
    ...     file["values"] = np.zeros((5, 30), np.float32)
    >>> rows, labels = open_rows(path, "values", "labels")
    >>> rows.shape, labels
    ((5, 30), None)
    """
    with open_foreign_hdf5(path) as file:
        is_labelled = labels in file or labels != "labels"
        for wanted in [name, labels] if is_labelled else [name]:
            # A group has no shape, and what is absent has none either.
            if getattr(file.get(wanted), "shape", None) is None:
                received = f"{path} holding {', '.join(sorted(file)) or 'nothing'}"
                remedy = "name one that is there"
                if "extraction_spec" in file.attrs:
                    received, remedy = f"{path}, a file of features", "pass the images themselves"
                raise SourceError(explain(received, f"a dataset {wanted!r}", remedy))
        values = _labels_in_hdf5(file[labels]) if is_labelled else None
        return HDF5Rows(path, name, file[name].shape or (), file[name].dtype), values


def _version(path: StrPath) -> tuple[int, ...] | None:
    """What differs once a file was replaced or written to; None where there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - called for every few images
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _end_of_block(dataset: Any, begin: int, stop: int) -> int:
    """Where to stop reading: at the end of a chunk, unless one is larger than a block."""
    row_bytes = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
    end: int = begin + _BLOCK_BYTES // max(1, row_bytes)
    rows_per_chunk: int = dataset.chunks[0] if dataset.chunks else 1
    whole = end - end % rows_per_chunk
    return max(stop, whole if whole > begin else end)


def _read_rows(dataset: Any, start: int, stop: int) -> Rows:
    try:
        return list(np.asarray(dataset[start:stop]))
    except StoreCorruptError as error:
        # A damaged chunk costs the samples in it, not its neighbours.
        if stop - start == 1:
            return [f"cannot be read: {error}"]
        middle = (start + stop) // 2
        return _read_rows(dataset, start, middle) + _read_rows(dataset, middle, stop)


def _labels_in_hdf5(dataset: Any) -> np.ndarray:
    labels = dataset[()]
    return np.char.decode(labels, "utf-8") if labels.dtype.kind == "S" else labels
