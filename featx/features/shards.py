"""Shards: immutable files of rows, addressed by image. Anyone may add one and nobody rewrites any.

A shard is HDF5: /features (rows, n_features) float32, /image_sha256, and an attribute ``metadata`` (JSON).
It is built in memory and committed whole; its name, ``<rows>-<sha256 of the file>.h5``, carries its digest
and its number of rows. Every shard is checked against its name before it is parsed; one that fails is set
aside as ``.corrupt`` and its rows count as missing. There are no locks: two processes at the same work
write the same rows, and either copy serves.

To change the layout of a shard, raise `FORMAT_VERSION`: shards of other versions are left alone, not used.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import h5py
import numpy as np

from featx.checks import explain
from featx.directories import failure_reason
from featx.errors import FeatxWarning, StoreCorruptError, StoreError, StoreMismatchError, printable
from featx.features.fingerprint import ExtractionSpec
from featx.features.row_index import RowIndex, as_keys
from featx.files import atomic_write, set_aside, sha256_hex, sweep
from featx.hdf5 import add_dataset, create_hdf5, fixed_strings
from featx.reading import read_verified
from featx.remote import RemotePath
from featx.storage import AnyPath, listed

FORMAT_VERSION = 1
SHARD_NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.h5")

# Large enough that a commit costs less than a hundredth of the work in it, small enough to lose.
_SHARD_BYTES = 16 * 2**20
_MAX_SHARD_ROWS = 1024
#: Of a single row that is wider than a whole shard, and then some.
MAX_SHARD_BYTES = 2**30
_CACHED_SHARDS = 2

# One thread digests a shard while another reads the next: more than two wait for the disk or for HDF5.
_READERS = 2

# Behind an address it is the way there that takes time.
_REMOTE_READERS = 8

# What was verified when it was opened need not be read and verified again to be used: up to this size.
_KEPT_BYTES = 32 * 2**20

# A row's place, as one integer: its shard, and its row there.
_ROW_BITS = 20

# Rows count as scattered when reading them in their order goes through every shard more often than this.
_MAX_SWITCHES = 4


class ShardSet:
    """The rows of one extraction, by image.

    Parameters
    ----------
    directory : Path or RemotePath
        Its folder.
    spec : ExtractionSpec
        What its shards have to be.
    """

    def __init__(self, directory: AnyPath, spec: ExtractionSpec) -> None:
        self.directory = directory
        self.spec = spec
        self._shards: list[str] = []
        self._numbers: dict[str, int] = {}
        self._index = RowIndex()
        self._kept: dict[int, np.ndarray] = {}
        self._room = _KEPT_BYTES
        self._loaded: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, image_sha256: str) -> bool:
        return image_sha256 in self._index

    @property
    def rows_per_shard(self) -> int:
        """How many rows to collect before a commit."""
        return max(1, min(_MAX_SHARD_ROWS, _SHARD_BYTES // (4 * self.spec.n_features)))

    @property
    def names(self) -> tuple[str, ...]:
        """The shards in use."""
        return tuple(self._shards)

    def known(self) -> np.ndarray:
        """The digests of all rows that are known here, to be looked up elsewhere.

        Returns
        -------
        ndarray of shape (n_rows,), bytes of length 32
            The digests' bytes, sorted; not to be written to.
        """
        return self._index.digests()

    @property
    def _scratch(self) -> Path:
        """A folder of this machine for what is of no use to others."""
        return Path(tempfile.gettempdir()) if isinstance(self.directory, RemotePath) else self.directory

    def refresh(self, advance: Callable[[int], None] = lambda _: None) -> list[str]:
        """Take in the shards that are on disk; return the names of those that had to be set aside.

        Parameters
        ----------
        advance : callable
            Told of each shard.
        """
        sweep(self.directory)
        damaged = []
        known = set(self._shards)
        # Sorted, so that of two copies of a row every process takes the same.
        paths = [
            path
            for path in listed(self.directory, "*.h5")
            if path.name not in known and SHARD_NAME.fullmatch(path.name)
        ]
        for path, shard_read in _read_ahead(lambda path: self._read(path.name), paths):
            try:
                features, digests = shard_read.result()
            except StoreMismatchError as error:
                # Whole, and of use to whoever wrote it.
                warnings.warn(f"{error}; not used", FeatxWarning, stacklevel=2)
            except StoreCorruptError as error:
                # Gone since it was listed: another process pruned it, or set it aside.
                if path.exists():
                    damaged.append(path.name)
                    set_aside(path, str(error), partial(self._is_whole, path.name))
            else:
                shard = self._add(path.name, digests, replace=False)
                self._keep(shard, features)
            advance(1)
        return damaged

    def commit(
        self, image_sha256: Sequence[str], features: np.ndarray, computed_with: Mapping[str, Any]
    ) -> None:
        """Write rows as one shard; on return they are on disk for good.

        Parameters
        ----------
        image_sha256 : sequence of str, length n_rows
        features : ndarray of shape (n_rows, n_features), float32
        computed_with : mapping
            Engine, versions and batch size, kept with the shard.

        Raises
        ------
        StoreError
            When the file system refuses; nothing of the shard is then there.
        """
        metadata = {
            "format_version": FORMAT_VERSION,
            "key": self.spec.key,
            "computed_with": dict(computed_with),
        }
        image = io.BytesIO()
        with create_hdf5(image) as file:
            file.attrs["metadata"] = np.bytes_(json.dumps(metadata, sort_keys=True))
            add_dataset(file, "features", features.shape, np.float32)[:] = features
            digests = fixed_strings(list(image_sha256))
            add_dataset(file, "image_sha256", digests.shape, digests.dtype)[:] = digests
        data = image.getvalue()
        name = f"{len(features):06d}-{sha256_hex(data)}.h5"
        atomic_write(self.directory / name, data)
        self._add(name, list(image_sha256), replace=True)

    def add(self, name: str, image_sha256: Sequence[str]) -> None:
        """Take in a shard that another process committed to the same folder; it is read when it is needed.

        Parameters
        ----------
        name : str
            Of its file, as `names` gives it there.
        image_sha256 : sequence of str, length n_rows
            Its rows, in their order. They replace rows of the same images, as after `commit`.

        Raises
        ------
        StoreError
            When it is no shard's name, or that of a shard of another number of rows.
        """
        match = SHARD_NAME.fullmatch(name)
        if match is None or int(match[1]) != len(image_sha256):
            received = f"a shard {printable(name)} of {len(image_sha256)} rows"
            expected = "a name as the process that committed it has it, which begins with its number of rows"
            raise StoreError(explain(received, expected, "hand on names and rows together"))
        self._add(name, list(image_sha256), replace=True)

    def reader(self, image_sha256: Sequence[str]) -> Callable[[int, int], np.ndarray]:
        """A way to read the features of some images in blocks of rows, in bounded memory.

        Parameters
        ----------
        image_sha256 : sequence of str, length n_rows
            All in the store.

        Returns
        -------
        callable
            ``read(start, stop)`` gives float32 of shape (stop - start, n_features), in the order asked, not
            to be written to. It raises StoreCorruptError when a shard that has to be read again changed
            since it was opened.
        """
        places = self._index.places(image_sha256)
        shards = places >> _ROW_BITS
        # Not np.unique, here and below: its first call imports numpy.ma, as slow as 1,000 rows.
        is_asked = np.zeros(len(self._shards), bool)
        is_asked[shards] = True
        n_to_read = len(set(np.flatnonzero(is_asked).tolist()) - set(self._kept))
        n_switches = np.count_nonzero(np.diff(shards))
        if n_to_read <= _CACHED_SHARDS or n_switches <= _MAX_SWITCHES * len(self._shards):
            return lambda start, stop: self._rows_at(places[start:stop])
        return _Reordered(places, self._rows_at, self.spec.n_features, self._scratch).read

    def _rows_at(self, places: np.ndarray) -> np.ndarray:
        shards, rows = places >> _ROW_BITS, places & (2**_ROW_BITS - 1)
        needed = sorted(set(shards.tolist()))
        if len(needed) == 1:
            return self._features(needed[0])[_as_slice(rows)]
        features = np.empty((len(places), self.spec.n_features), np.float32)
        for shard in needed:
            wanted = np.flatnonzero(shards == shard)
            features[_as_slice(wanted)] = self._features(shard)[_as_slice(rows[wanted])]
        return features

    def _add(self, name: str, digests: list[str], *, replace: bool) -> int:
        shard = self._numbers.setdefault(name, len(self._shards))
        if shard == len(self._shards):
            self._shards.append(name)
        self._index.put(digests, shard << _ROW_BITS, replace=replace)
        return shard

    def _keep(self, shard: int, features: np.ndarray) -> None:
        if features.nbytes <= self._room:
            self._room -= features.nbytes
            self._kept[shard] = features

    def _features(self, shard: int) -> np.ndarray:
        if shard in self._kept:
            return self._kept[shard]
        if shard not in self._loaded:
            name = self._shards[shard]
            try:
                self._loaded[shard], _ = self._read(name)
            except StoreCorruptError as error:
                set_aside(self.directory / name, str(error), partial(self._is_whole, name))
                raise StoreCorruptError(
                    f"{error}; run the same command again to compute its rows anew"
                ) from None
            if len(self._loaded) > _CACHED_SHARDS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(shard)
        return self._loaded[shard]

    def _is_whole(self, name: str, path: AnyPath) -> bool:
        """Whether a file that was set aside is the sound shard that its name tells."""
        try:
            self._read(name, path)
        except StoreError:
            return False
        return True

    def _read(self, name: str, path: AnyPath | None = None) -> tuple[np.ndarray, list[str]]:
        match = SHARD_NAME.fullmatch(name)
        n_rows, sha256 = (int(match[1]), match[2]) if match else (0, "")
        data = read_verified(path or self.directory / name, sha256, MAX_SHARD_BYTES)
        try:
            with h5py.File(io.BytesIO(data), "r") as file:
                metadata = json.loads(file.attrs["metadata"])
                features = file["features"][()]
                digests = [digest.decode("ascii") for digest in file["image_sha256"][()]]
                as_keys(digests)
        except (OSError, KeyError, ValueError) as error:
            raise StoreCorruptError(f"{name} is not a shard: {error}") from error
        expected = {"format_version": FORMAT_VERSION, "key": self.spec.key}
        if differences := {
            field: (metadata.get(field), value)
            for field, value in expected.items()
            if metadata.get(field) != value
        }:
            message = f"{self.directory / name} is a shard of another version or extraction"
            raise StoreMismatchError(message, differences)
        is_whole = features.shape == (n_rows, self.spec.n_features) and len(digests) == n_rows
        if not is_whole or features.dtype != np.float32 or not np.isfinite(features).all():
            raise StoreCorruptError(f"{name} does not hold what its name says")
        # Blocks of rows are handed out without a copy.
        features.flags.writeable = False
        return features, digests


_Read: TypeAlias = tuple[np.ndarray, list[str]]


def _read_ahead(
    read: Callable[[AnyPath], _Read], paths: Sequence[AnyPath]
) -> Iterator[tuple[AnyPath, Future[_Read]]]:
    """Every path with what reading it comes to, in order; a few are read ahead, and no more are held."""
    ahead: deque[tuple[AnyPath, Future[_Read]]] = deque()
    n_readers = _REMOTE_READERS if paths and isinstance(paths[0], RemotePath) else _READERS
    with ThreadPoolExecutor(n_readers, thread_name_prefix="featx-shards") as pool:
        for path in paths:
            ahead.append((path, pool.submit(read, path)))
            if len(ahead) > n_readers:
                yield ahead.popleft()
        yield from ahead


def _as_slice(indices: np.ndarray) -> np.ndarray | slice:
    """Neighbours as a slice, which is read in place, where an index array makes a copy."""
    is_run = len(indices) > 0 and bool((np.diff(indices) == 1).all())
    return slice(indices[0], indices[-1] + 1) if is_run else indices


class _Reordered:
    """Rows that lie scattered over the shards, copied once into a file in the order asked.

    Block by block, each block would read nearly every shard again. The file has no name, so nothing is left
    of it whatever happens, and it is written to rather than mapped: a full disk is then an error, not the
    end of the process.
    """

    def __init__(
        self,
        places: np.ndarray,
        rows_at: Callable[[np.ndarray], np.ndarray],
        n_features: int,
        directory: Path,
    ) -> None:
        self._places = places
        self._rows_at = rows_at
        self._n_features = n_features
        self._directory = directory
        self._file: IO[bytes] | None = None

    def read(self, start: int, stop: int) -> np.ndarray:
        if self._file is None:
            self._file = self._copied()
        row_bytes = 4 * self._n_features
        data = os.pread(self._file.fileno(), (stop - start) * row_bytes, start * row_bytes)
        return np.frombuffer(data, np.float32).reshape(-1, self._n_features)

    def _copied(self) -> IO[bytes]:
        try:
            # Not in a `with`: it lives as long as this does.
            file: IO[bytes] = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115
            # By shard and row there, once for all: to look for each shard's rows among all is quadratic.
            order = np.argsort(self._places, kind="stable")
            shards = self._places[order] >> _ROW_BITS
            for rows in np.split(order, np.flatnonzero(np.diff(shards)) + 1):
                for row, features in zip(rows.tolist(), self._rows_at(self._places[rows]), strict=True):
                    _write_at(file.fileno(), features.tobytes(), row * features.nbytes)
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            reason = failure_reason(self._directory / "rows", error)
            message = f"cannot put features in order in {self._directory}: {reason}; make room there"
            raise StoreError(message) from error
        weakref.finalize(self, file.close)
        return file


def _write_at(descriptor: int, data: bytes, place: int) -> None:
    # A disk that is nearly full, or a signal, cuts a write short without an error.
    while data:
        n_written = os.pwrite(descriptor, data, place)
        data, place = data[n_written:], place + n_written
