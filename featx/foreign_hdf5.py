"""HDF5 files from elsewhere, read by a process of their own: what a crafted one does, it does there.

`open_foreign_hdf5` gives what it needs of an h5py.File: attributes, and datasets that are read in slices. The
parsing is done by a child process that this process shares (`featx.hdf5_process`): a file that crashes it,
loops, or wants more memory than it may have is an error, and the next file gets a new one. Values come back
as plain bytes.
"""

from __future__ import annotations

import atexit
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from featx.child import Child, ChildError
from featx.errors import FeatxError, StoreCorruptError, StoreError
from featx.files import StrPath, path_kind

# A damaged index can make HDF5 loop for ever; an honest request takes milliseconds of processor time.
_CPU_S = 2.0
# The disk under it may be slow, or asleep.
_TIMEOUT_S = 60.0
_MAX_BYTES = 2 * 2**30
_TARGET = "featx.hdf5_process:serve"

# What is asked for at once.
_BLOCK_BYTES = 32 * 2**20
# What is read as a whole are labels and names.
_MAX_WHOLE_BYTES = 4 * 2**30
# What a string of no fixed length is taken for.
_STRING_BYTES = 256

# Of numbers and strings; an object's would be an address.
_DTYPE = re.compile(r"[<>|=]?[fiub]\d{1,2}|\|S\d{0,10}")


class _Reader:
    """The child process of this process, used by one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None

    def ask(self, path: str, **header: Any) -> tuple[dict[str, Any], memoryview]:
        with self._lock:
            try:
                answer, content = self._own_child().request({"path": path, **header})
            except ChildError as error:
                reason = error.reason.replace("died (SIGVTALRM)", f"took longer than {_CPU_S:g} s")
                message = f"{path} is damaged, or made to do harm: reading it as HDF5 {reason}; refused"
                raise StoreError(message) from error
        if "refused" in answer:
            kind = StoreCorruptError if answer.get("is_damaged") else StoreError
            raise kind(str(answer["refused"]))
        return answer, content

    def _own_child(self) -> Child:
        if self._child is None:
            settings = {"cpu_s": _CPU_S}
            self._child = Child(_TARGET, settings, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES)
        return self._child

    def close(self) -> None:
        if self._child is not None:
            self._child.close()

    def forget(self) -> None:
        """After a fork: the child is another process's, and a thread that is not here may hold the lock."""
        if self._child is not None:
            self._child.abandon()
        self.__init__()  # type: ignore[misc]


_READER = _Reader()
atexit.register(_READER.close)
os.register_at_fork(after_in_child=_READER.forget)


class ForeignDataset:
    """A dataset in a file from elsewhere.

    Parameters
    ----------
    path : str
        Of the file.
    name : str
    shape : tuple of int or None
        None where there are no values.
    dtype : dtype
        Strings of any kind are bytes, of no length where theirs is not fixed.
    chunks : tuple of int or None
    """

    def __init__(
        self,
        path: str,
        name: str,
        shape: tuple[int, ...] | None,
        dtype: np.dtype,
        chunks: tuple[int, ...] | None,
    ) -> None:
        self.path = path
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.chunks = chunks

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getitem__(self, rows: slice | tuple[()]) -> np.ndarray:
        """Rows from a start to a stop, or with ``()`` all."""
        if not self.shape:
            return _array(*_READER.ask(self.path, name=self.name, start=None, stop=None))
        wanted = rows if isinstance(rows, slice) else slice(None)
        start, stop, _ = wanted.indices(len(self))
        row_bytes = math.prod(self.shape[1:]) * (self.dtype.itemsize or _STRING_BYTES)
        if wanted is not rows and row_bytes * len(self) > _MAX_WHOLE_BYTES:
            claimed = f"{self.path}:/{self.name} claims {row_bytes * len(self):,} bytes"
            raise StoreError(f"{claimed}, more than names and labels have; refused")
        step = max(1, _BLOCK_BYTES // max(1, row_bytes))
        if stop - start <= step:
            return self._read(start, max(start, stop))
        whole = np.empty(0, self.dtype)
        for begin in range(start, stop, step):
            part = self._read(begin, min(begin + step, stop))
            if not whole.size:
                whole = np.empty((stop - start, *part.shape[1:]), part.dtype)
            # Strings of no fixed length come as wide as the longest of a part.
            if part.dtype.itemsize > whole.dtype.itemsize:
                whole = whole.astype(part.dtype)
            whole[begin - start : begin - start + len(part)] = part
        return whole

    def _read(self, start: int, stop: int) -> np.ndarray:
        rows = _array(*_READER.ask(self.path, name=self.name, start=start, stop=stop))
        if rows.shape[:1] != (stop - start,):
            raise StoreCorruptError(f"{self.path}:/{self.name} has fewer rows than when it was opened")
        return rows


class ForeignFile:
    """An HDF5 file from elsewhere, as far as a guard has let it pass.

    Parameters
    ----------
    path : str

    Attributes
    ----------
    attrs : dict of str to ndarray or scalar
        Those that are numbers or strings; strings are bytes.
    datasets : dict of str to ForeignDataset
        By their full names, without the slash before.
    """

    def __init__(self, path: str) -> None:
        found, content = _READER.ask(path)
        self._names = [str(name) for name in found["names"]]
        self.datasets = {
            name: ForeignDataset(
                path, name, _shape(each["shape"]), _dtype(each["dtype"]), _shape(each["chunks"])
            )
            for name, each in found["datasets"].items()
        }
        self.attrs: dict[str, Any] = {}
        start = 0
        for name, (dtype, shape) in found["attributes"].items():
            stop = start + _dtype(dtype).itemsize * math.prod(shape)
            value = _array({"dtype": dtype, "shape": shape}, content[start:stop])
            self.attrs[name] = value[()]
            start = stop

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names or name in self.datasets

    def __getitem__(self, name: str) -> ForeignDataset:
        return self.datasets[name]

    def get(self, name: str) -> ForeignDataset | None:
        """A dataset, or None where there is none of this name."""
        return self.datasets.get(name)


@contextmanager
def open_foreign_hdf5(path: StrPath) -> Iterator[ForeignFile]:
    """Open an HDF5 file from anywhere, read-only, once a guard has walked all of it.

    Refused are links, groups under two names, external storage, virtual datasets, filters that load
    plug-ins, types other than numbers and strings, and datasets that claim more than their file holds.

    Raises
    ------
    StoreError
        When the file is absent, not HDF5, holds something refused, or ends the process that reads it; the
        message says what.
    StoreCorruptError
        When it is damaged: now, or when a value is read while it is open.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.h5"
    >>> from featx.files import atomic_writer
    >>> from featx.hdf5 import add_dataset, create_hdf5
    >>> with atomic_writer(path) as file, create_hdf5(file) as hdf5:
    ...     add_dataset(hdf5, "features", (2,), np.float32)[:] = 1.0
    >>> with open_foreign_hdf5(path) as hdf5:
    ...     list(hdf5), hdf5["features"][:]
    (['features'], array([1., 1.], dtype=float32))
    """
    if (kind := path_kind(path)) != "file":
        what = {"absent": "does not exist", "unreachable": "cannot be reached"}.get(
            kind, "is not a regular file"
        )
        raise StoreError(f"{path} {what}; expected an HDF5 file; check the path")
    try:
        # The child stays where it was started.
        yield ForeignFile(os.path.abspath(path))  # noqa: PTH100 - no link is to be resolved
    except FeatxError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreCorruptError(f"{path} is damaged or incomplete: {error}") from error


def _array(header: Mapping[str, Any], content: memoryview) -> np.ndarray:
    return np.frombuffer(content, _dtype(header["dtype"])).reshape(header["shape"])


def _dtype(text: str) -> np.dtype:
    if not _DTYPE.fullmatch(text):
        raise ValueError(f"the type {text[:20]!r} is not of numbers or strings")
    return np.dtype(text)


def _shape(values: list[int] | None) -> tuple[int, ...] | None:
    return None if values is None else tuple(int(value) for value in values)
