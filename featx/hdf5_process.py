"""What a child process runs to read HDF5 files from elsewhere (see `featx.foreign_hdf5`).

A crafted file can make the HDF5 library read other files (CVE-2026-1669), load plug-ins, expand a kilobyte
to a terabyte, crash, or loop. So a guard walks all of a file before any value is read, and all of that
happens in a process that may be lost. Its processor time is limited too: a slow disk may take as long as
it needs, a loop in the library may not.
"""

from __future__ import annotations

import math
import os
import signal
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from featx.errors import FeatxError, StoreCorruptError, StoreError, printable

if TYPE_CHECKING:
    from featx.child_process import Handler

# What a guarded file may hold. Other filters load plug-ins; deflate compresses at most 1,032 to 1.
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_MAX_EXPANSION = 1100
_FREE_BYTES = 2**20
_MAX_DEPTH = 8
_MAX_ATTRIBUTE_BYTES = 64 * 2**20

# As slow as unpacking may be, and the most that memory is there for.
_LEAST_BYTES_PER_S = 50e6
_MAX_UNPACKED_BYTES = 2 * 2**30

# Files are read in turns by those who search several together.
_MAX_OPEN = 8


def serve(settings: dict[str, Any]) -> Handler:
    """A `featx.child.Child`'s target: requests name a file and rows of a dataset in it, replies hold them.

    Parameters
    ----------
    settings : dict
        ``cpu_s``, most seconds of processor time that a request may take beside unpacking chunks.

    Returns
    -------
    callable
        ``handle(header, content)``. A header with ``path`` alone asks what the file holds; with ``name``,
        ``start`` and ``stop`` too, for rows of a dataset. A reply says in ``refused`` why there is nothing,
        and in ``is_damaged`` whether because of damage.
    """
    signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGVTALRM})
    files = _OpenFiles()

    def handle(header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], Sequence[Any]]:  # noqa: ARG001
        signal.setitimer(signal.ITIMER_VIRTUAL, settings["cpu_s"])
        try:
            return _answered(header, files)
        except FeatxError as error:
            return {"refused": str(error), "is_damaged": isinstance(error, StoreCorruptError)}, []
        except MemoryError:
            raise
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            # What h5py makes of damage depends on where it is; to whoever opened the file it is one thing.
            path = header["path"]
            return {"refused": f"{path} is damaged or incomplete: {error}", "is_damaged": True}, []
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    return handle


class _Opened(NamedTuple):
    """A file that the guard has walked: which version of it, and the datasets met, by their full names."""

    version: tuple[int, ...]
    file: h5py.File
    datasets: dict[str, h5py.Dataset]


class _OpenFiles:
    """Files that the guard has walked, as long as nobody touches them."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _Opened] = OrderedDict()

    def opened(self, path: str) -> _Opened:
        try:
            found = os.stat(path)  # noqa: PTH116 - called for every block of rows
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            if path in self._files and self._files[path].version == version:
                self._files.move_to_end(path)
                return self._files[path]
            self._close(path)
            # Nobody writes to a committed file, and HDF5's locks fail on many network file systems.
            file = h5py.File(path, "r", locking=False)
        except OSError as error:
            message = f"{path} is not a readable HDF5 file ({error}); expected one; check the path"
            raise StoreError(message) from error
        datasets = dict(_guarded(file, path, depth=0, visited=set()))
        self._files[path] = _Opened(version, file, datasets)
        if len(self._files) > _MAX_OPEN:
            self._close(next(iter(self._files)))
        return self._files[path]

    def _close(self, path: str) -> None:
        opened = self._files.pop(path, None)
        if opened is not None:
            opened.file.close()


def _answered(header: dict[str, Any], files: _OpenFiles) -> tuple[dict[str, Any], Sequence[Any]]:
    _, file, datasets = files.opened(header["path"])
    if "name" in header:
        dataset, start, stop = datasets[header["name"]], header["start"], header["stop"]
        _allow_unpacking(dataset, start, stop)
        rows = _plain(dataset[()] if start is None else dataset[start:stop])
        return {"dtype": rows.dtype.str, "shape": rows.shape}, [rows.data]
    attributes = _attributes(file)
    found = {
        "names": list(file),
        "datasets": {name: _described(dataset) for name, dataset in datasets.items()},
        "attributes": {name: (value.dtype.str, value.shape) for name, value in attributes.items()},
    }
    return found, [value.data for value in attributes.values()]


def _allow_unpacking(dataset: h5py.Dataset, start: int | None, stop: int | None) -> None:
    """Give a request the time that its chunks take: each is unpacked whole, whoever asks for a row of it."""
    if not dataset.chunks or start is None or stop is None:
        return
    touched = [(start, stop), *((0, side) for side in dataset.shape[1:])]
    unpacked = [
        (-(-last // chunk) - first // chunk) * chunk
        for (first, last), chunk in zip(touched, dataset.chunks, strict=True)
    ]
    n_bytes = math.prod(unpacked) * dataset.dtype.itemsize
    left_s, _ = signal.getitimer(signal.ITIMER_VIRTUAL)
    more_s = min(n_bytes, _MAX_UNPACKED_BYTES) / _LEAST_BYTES_PER_S
    signal.setitimer(signal.ITIMER_VIRTUAL, left_s + more_s)


def _described(dataset: h5py.Dataset) -> dict[str, Any]:
    text = h5py.check_string_dtype(dataset.dtype)
    return {
        "shape": dataset.shape,
        "dtype": dataset.dtype.str if text is None else f"|S{text.length or ''}",
        "chunks": dataset.chunks,
    }


def _attributes(file: h5py.File) -> dict[str, np.ndarray]:
    """The file's own attributes, of numbers and strings: others mean nothing here, and are left out."""
    found = {}
    n_bytes = 0
    for name in file.attrs:
        # Asked for its type and size first, so that no reference is followed and no huge one read.
        attribute = file.attrs.get_id(name)
        is_string = h5py.check_string_dtype(attribute.dtype) is not None
        if attribute.dtype.kind not in "fiub" and not is_string:
            continue
        n_bytes += math.prod(attribute.shape or ()) * attribute.dtype.itemsize
        if n_bytes > _MAX_ATTRIBUTE_BYTES:
            raise StoreError(
                f"{file.filename} has more than {_MAX_ATTRIBUTE_BYTES:,} bytes of attributes; refused"
            )
        value = file.attrs[name]
        if not isinstance(value, h5py.Empty):
            found[name] = _plain(value)
    return found


def _plain(value: Any) -> np.ndarray:
    """Numbers as they are; strings, of whatever kind, as UTF-8 of one width."""
    array = np.asarray(value)
    if array.dtype.kind in "OU":
        encoded = [item.encode() if isinstance(item, str) else bytes(item) for item in array.ravel().tolist()]
        array = np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}").reshape(array.shape)
    return np.ascontiguousarray(array).reshape(array.shape)


def _guarded(
    group: h5py.Group, where: str, depth: int, visited: set[int], above: str = ""
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset below a group, by each of its full names; refuses whatever else could mislead."""
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
            yield from _guarded(item, where, depth + 1, visited, f"{above}{name}/")
        elif isinstance(item, h5py.Dataset):
            _guard_dataset(item, inner)
            yield f"{above}{name}", item


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
    if declared > max(_FREE_BYTES, stored * _MAX_EXPANSION):
        raise StoreError(f"{where} claims {declared:,} bytes and stores {stored:,}; refused")
