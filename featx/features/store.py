"""The store: features by image, in immutable shards that anyone may add and nobody rewrites.

Layout, below a root (by default ``cache/``)::

    features/<backbone>-<first 12 digits of the key>/
        spec.json                        the ExtractionSpec
        001024-<sha256 of the file>.h5   a shard: /features (rows, n_features) float32, /image_sha256

A row is addressed by the SHA-256 of its image's bytes, so an image that moved, was renamed or stands
twice is embedded once. A shard is built in memory and committed whole; its name carries its digest and
its number of rows. On opening, every shard is checked against its name before it is parsed; one that
fails is set aside as ``.corrupt`` and its rows count as missing. There are no locks: two processes at
the same work write the same rows, and either copy serves.

To change the layout of a shard, raise `FORMAT_VERSION`: shards of other versions are then not used.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.checks import explain
from featx.errors import FeatxWarning, StoreCorruptError, StoreError, StoreMismatchError
from featx.features.fingerprint import KEY_DIGITS, ExtractionSpec
from featx.files import (
    StrPath,
    atomic_write,
    cache_root,
    make_directory,
    read_verified,
    set_aside,
    sha256_hex,
    stale_temporaries,
)
from featx.hdf5 import add_dataset, create_hdf5, fixed_strings

FORMAT_VERSION = 1

# Large enough that a commit costs less than a hundredth of the work in it, small enough to lose.
_SHARD_BYTES = 16 * 2**20
_MAX_SHARD_ROWS = 1024
_SHARD_NAME = re.compile(r"(\d{6})-([0-9a-f]{64})\.h5")
_CACHED_SHARDS = 2


@dataclass(frozen=True)
class StoreEntry:
    """One extraction in a store.

    Attributes
    ----------
    directory : Path
    spec : ExtractionSpec
    n_samples : int
        Rows in its shards.
    n_shards, n_bytes : int
    """

    directory: Path
    spec: ExtractionSpec
    n_samples: int
    n_shards: int
    n_bytes: int


@dataclass(frozen=True)
class StoreCheck:
    """What `FeatureStore.verify` found in one extraction.

    Attributes
    ----------
    directory : Path
    n_shards, n_samples : int
        That are whole.
    damaged : tuple of str
        Shards that were set aside; their images will be embedded anew.
    """

    directory: Path
    n_shards: int
    n_samples: int
    damaged: tuple[str, ...]


class FeatureStore:
    """A folder of features, one subfolder an extraction.

    Parameters
    ----------
    root : path-like, default="cache"
        The default gives way to the environment variable ``FEATX_CACHE``.

    Examples
    --------
    >>> from featx import FeatureExtractor
    >>> spec = FeatureExtractor("efficientnet_lite0").fit().spec_
    >>> store = FeatureStore(getfixture("tmp_path"))
    >>> shards = store.open(spec)
    >>> shards.commit(["0" * 64], np.ones((1, 1280), np.float32), {})
    >>> [entry.n_samples for entry in store.entries()]
    [1]
    """

    def __init__(self, root: StrPath = "cache") -> None:
        self.root = cache_root(root)

    @property
    def directory(self) -> Path:
        """Where the extractions lie."""
        return self.root / "features"

    def open(self, spec: ExtractionSpec, *, resume: bool = True) -> ShardSet:
        """The shards of one extraction, made if there are none.

        Parameters
        ----------
        spec : ExtractionSpec
        resume : bool, default=True
            False takes no row that is there already.

        Returns
        -------
        ShardSet

        Raises
        ------
        StoreMismatchError
            When the folder holds another extraction.
        """
        directory = self.directory / spec.directory_name
        make_directory(directory)
        _commit_spec(directory, spec)
        shards = ShardSet(directory, spec)
        if resume:
            shards.refresh()
        return shards

    def entries(self) -> list[StoreEntry]:
        """Every extraction in the store, sorted by folder; nothing is read but names and specs."""
        found = []
        for path in sorted(self.directory.glob("*/spec.json")):
            try:
                spec = ExtractionSpec.from_json(path.read_text())
            except (OSError, ValueError) as error:
                warnings.warn(f"{path.parent} is not listed: {error}", FeatxWarning, stacklevel=2)
                continue
            shards = [shard for shard in path.parent.iterdir() if _SHARD_NAME.fullmatch(shard.name)]
            n_samples = sum(int(shard.name[:6]) for shard in shards)
            n_bytes = sum(shard.stat().st_size for shard in shards)
            found.append(StoreEntry(path.parent, spec, n_samples, len(shards), n_bytes))
        return found

    def find(self, key: str) -> StoreEntry:
        """The one extraction whose key or folder name starts with ``key``.

        Raises
        ------
        StoreError
            When none or several do.
        """
        entries = self.entries()
        found = [entry for entry in entries if entry.spec.key.startswith(key) or entry.directory.name == key]
        if len(found) != 1:
            here = ", ".join(entry.directory.name for entry in entries) or "nothing"
            raise StoreError(
                explain(
                    f"the key {key!r}", f"the start of one key in {self.root} ({here})", "pass one of them"
                )
            )
        return found[0]

    def verify(self) -> list[StoreCheck]:
        """Check every byte of every shard; damaged ones are set aside."""
        checks = []
        for entry in self.entries():
            shards = ShardSet(entry.directory, entry.spec)
            damaged = shards.refresh()
            checks.append(StoreCheck(entry.directory, shards.n_shards, len(shards), tuple(damaged)))
        return checks

    def prune(self, keys: Iterable[str] = (), *, dry_run: bool = False) -> list[Path]:
        """Delete extractions, and what damage and killed processes left behind.

        Parameters
        ----------
        keys : iterable of str, default=()
            Keys of extractions to delete, or their first digits.
        dry_run : bool, default=False
            Say what would go and delete nothing.

        Returns
        -------
        list of Path
            What was deleted.
        """
        doomed = [self.find(key).directory for key in keys]
        leftovers = sorted(self.root.glob("*/**/*.corrupt"))
        leftovers += [path for entry in self.entries() for path in stale_temporaries(entry.directory)]
        doomed += [path for path in leftovers if path.parent not in doomed]
        for path in [] if dry_run else doomed:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return doomed


class ShardSet:
    """The rows of one extraction, by image.

    Parameters
    ----------
    directory : Path
        Its folder.
    spec : ExtractionSpec
        What its shards have to be.
    """

    def __init__(self, directory: Path, spec: ExtractionSpec) -> None:
        self.directory = directory
        self.spec = spec
        self._shards: list[str] = []
        self._places: dict[str, tuple[int, int]] = {}
        self._loaded: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, image_sha256: str) -> bool:
        return image_sha256 in self._places

    @property
    def n_shards(self) -> int:
        """Number of shards in use."""
        return len(self._shards)

    @property
    def rows_per_shard(self) -> int:
        """How many rows to collect before a commit."""
        return max(1, min(_MAX_SHARD_ROWS, _SHARD_BYTES // (4 * self.spec.n_features)))

    def refresh(self) -> list[str]:
        """Take in the shards that are on disk; return the names of those that had to be set aside."""
        for path in stale_temporaries(self.directory):
            path.unlink(missing_ok=True)
        damaged = []
        # Sorted, so that of two copies of a row every process takes the same.
        for path in sorted(self.directory.glob("*.h5")):
            if path.name in self._shards or not _SHARD_NAME.fullmatch(path.name):
                continue
            try:
                _, digests = self._read(path.name)
            except StoreCorruptError as error:
                damaged.append(path.name)
                set_aside(path, str(error))
            else:
                self._add(path.name, digests, replace=False)
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

    def gather(self, image_sha256: Sequence[str]) -> np.ndarray:
        """The features of some images, in the order asked.

        Parameters
        ----------
        image_sha256 : sequence of str, length n_rows
            All in the store.

        Returns
        -------
        ndarray of shape (n_rows, n_features), float32

        Raises
        ------
        StoreCorruptError
            When a shard changed since it was opened.
        """
        places = np.array([self._places[digest] for digest in image_sha256], dtype=np.int64).reshape(-1, 2)
        features = np.empty((len(places), self.spec.n_features), np.float32)
        for shard in np.unique(places[:, 0]):
            wanted = places[:, 0] == shard
            features[wanted] = self._features(int(shard))[places[wanted, 1]]
        return features

    def _add(self, name: str, digests: list[str], *, replace: bool) -> None:
        shard = len(self._shards)
        self._shards.append(name)
        for row, digest in enumerate(digests):
            if replace or digest not in self._places:
                self._places[digest] = (shard, row)

    def _features(self, shard: int) -> np.ndarray:
        if shard not in self._loaded:
            name = self._shards[shard]
            try:
                self._loaded[shard], _ = self._read(name)
            except StoreCorruptError as error:
                set_aside(self.directory / name, str(error))
                raise StoreCorruptError(
                    f"{error}; run the same command again to compute its rows anew"
                ) from None
            if len(self._loaded) > _CACHED_SHARDS:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(shard)
        return self._loaded[shard]

    def _read(self, name: str) -> tuple[np.ndarray, list[str]]:
        match = _SHARD_NAME.fullmatch(name)
        n_rows, sha256 = (int(match[1]), match[2]) if match else (0, "")
        data = read_verified(self.directory / name, sha256)
        try:
            with h5py.File(io.BytesIO(data), "r") as file:
                metadata = json.loads(file.attrs["metadata"])
                features = file["features"][()]
                digests = [digest.decode("ascii") for digest in file["image_sha256"][()]]
        except (OSError, KeyError, ValueError) as error:
            raise StoreCorruptError(f"{name} is not a shard: {error}") from error
        expected = (FORMAT_VERSION, self.spec.key, (n_rows, self.spec.n_features), n_rows)
        found = (metadata.get("format_version"), metadata.get("key"), features.shape, len(digests))
        if found != expected or features.dtype != np.float32 or not np.isfinite(features).all():
            raise StoreCorruptError(f"{name} is a shard of another extraction or version")
        return features, digests


def _commit_spec(directory: Path, spec: ExtractionSpec) -> None:
    path = directory / "spec.json"
    try:
        found = ExtractionSpec.from_json(path.read_text())
    except FileNotFoundError:
        atomic_write(path, spec.to_json().encode())
        return
    except (OSError, ValueError) as error:
        # The shards carry the full key themselves, so the spec can be written anew.
        set_aside(path, f"{path} is damaged: {error}")
        atomic_write(path, spec.to_json().encode())
        return
    if differences := found.differences(spec):
        message = f"{directory} holds another extraction; use another store, or prune {spec.key[:KEY_DIGITS]}"
        raise StoreMismatchError(message, differences)
