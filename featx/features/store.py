"""The store: a folder of extractions, each of them a spec and immutable shards.

Layout, below a root (by default ``cache/``; `featx.storage` says where it may be)::

    features/<backbone>-<first 12 digits of the key>/
        spec.json                        the ExtractionSpec
        001024-<sha256 of the file>.h5   a shard (see `featx.features.shards`)
        engine-<digest>.json             which engine was chosen (`featx.features.engine_decisions`)
        openvino-<sha256>.graph          a converted model (`featx.features.graph_files`)
        difference-<digest>.json         what a precision changes (`featx.features.difference`)

A row is addressed by the SHA-256 of its image's bytes, so an image that moved, was renamed or stands
twice is embedded once.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from featx.checks import explain
from featx.directories import make_directory
from featx.errors import FeatxWarning, StoreError
from featx.features.fingerprint import ExtractionSpec
from featx.features.graph_files import unused_graphs
from featx.features.shards import SHARD_NAME, ShardSet
from featx.features.verification import (
    StoreCheck,
    folder_bytes,
    n_rows_of,
    read_spec,
    verify_extraction,
)
from featx.files import atomic_write, cache_root, set_aside, stale_temporaries
from featx.progress import progress_bar
from featx.remote import RemotePath
from featx.storage import AnyPath, AnyPathLike, listed

# Fewer digits of a key could mean anything, and prune deletes what they mean.
_MIN_KEY_DIGITS = 4


@dataclass(frozen=True)
class StoreEntry:
    """One extraction in a store.

    Attributes
    ----------
    directory : Path or RemotePath
    spec : ExtractionSpec
    n_samples : int
        Rows in its shards.
    n_shards : int
    n_bytes : int
        Of all its files.
    """

    directory: AnyPath
    spec: ExtractionSpec
    n_samples: int
    n_shards: int
    n_bytes: int


class FeatureStore:
    """A folder of features, one subfolder an extraction.

    Parameters
    ----------
    root : path-like, default="cache"
        A folder, or the address of one in an object store, such as ``s3://bucket/folder``. The default gives
        way to the environment variable ``FEATX_CACHE``.

    Raises
    ------
    StoreError
        When what the address leads to cannot keep what is committed (see `featx.storage`).

    Examples
    --------
    >>> import numpy as np
    >>> from featx import FeatureExtractor
    >>> spec = FeatureExtractor("efficientnet_lite0").fit().spec_
    >>> store = FeatureStore(getfixture("tmp_path"))
    >>> shards = store.open(spec)
    >>> shards.commit(["0" * 64], np.ones((1, 1280), np.float32), {})
    >>> [entry.n_samples for entry in store.entries()]
    [1]
    """

    def __init__(self, root: AnyPathLike = "cache") -> None:
        self.root = cache_root(root)

    @property
    def directory(self) -> AnyPath:
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
        StoreError
            When the folder cannot be made, read or written to.
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
        for directory in self._extractions():
            try:
                spec = read_spec(directory / "spec.json")
            except (OSError, ValueError) as error:
                remedy = "its next extraction writes the spec anew; featx store prune takes its folder's name"
                warnings.warn(f"{directory} is not listed: {error}; {remedy}", FeatxWarning, stacklevel=2)
                continue
            shards = _shards_in(directory)
            n_samples = sum(map(n_rows_of, shards))
            found.append(StoreEntry(directory, spec, n_samples, len(shards), folder_bytes(directory)))
        return found

    def find(self, key: str) -> StoreEntry:
        """The one extraction whose key or folder name starts with ``key``.

        Raises
        ------
        StoreError
            When none or several do.
        """
        if len(key) < _MIN_KEY_DIGITS:
            received, expected = f"the key {key!r}", f"{_MIN_KEY_DIGITS} digits or more"
            raise StoreError(explain(received, expected, "see: featx store list"))
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

    def verify(self, *, verbose: int = 0) -> list[StoreCheck]:
        """Check every byte; damaged files are set aside, and what they held is made anew when it is needed.

        Parameters
        ----------
        verbose : int, default=0
            1 shows a progress bar where stderr is a terminal.

        Returns
        -------
        list of StoreCheck
            One an extraction, sorted by folder.
        """
        folders = self._extractions()
        n_shards = sum(len(_shards_in(folder)) for folder in folders)
        with progress_bar("Verifying", n_shards, verbose, "shards") as advance:
            return [verify_extraction(folder, advance) for folder in folders]

    def _extractions(self) -> list[AnyPath]:
        """Folders that featx made, also one whose spec is damaged or was set aside."""
        folders = [path for path in listed(self.directory) if path.is_dir()]
        return [path for path in folders if _shards_in(path) or any(path.glob("spec.json*"))]

    def prune(self, keys: Iterable[str] = (), *, dry_run: bool = False) -> list[AnyPath]:
        """Delete extractions, and what damage and killed processes left behind.

        Parameters
        ----------
        keys : iterable of str, default=()
            Keys of extractions to delete, or their first digits, or names of their folders.
        dry_run : bool, default=False
            Say what would go and delete nothing.

        Returns
        -------
        list of Path or RemotePath
            What was deleted.
        """
        # Nothing but what featx made: the root may be anybody's folder.
        extractions = self._extractions()
        by_name = {folder.name: folder for folder in extractions}
        doomed = [by_name[key] if key in by_name else self.find(key).directory for key in keys]
        folders = [*extractions, self.root / "weights"]
        leftovers = [path for folder in folders for path in listed(folder, "*.corrupt*")]
        leftovers += [path for folder in folders for path in stale_temporaries(folder)]
        leftovers += [path for folder in extractions for path in unused_graphs(folder)]
        doomed += [path for path in leftovers if path.parent not in doomed]
        for path in [] if dry_run else doomed:
            try:
                _delete(path)
            except StoreError:
                raise
            except OSError as error:
                raise StoreError(
                    f"{path} cannot be deleted: {error.strerror}; check its permissions"
                ) from error
        return doomed


def _delete(path: AnyPath) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
    elif isinstance(path, RemotePath):
        path.delete_folder()
    else:
        shutil.rmtree(path)


def _shards_in(directory: AnyPath) -> list[str]:
    return [path.name for path in directory.iterdir() if SHARD_NAME.fullmatch(path.name)]


def _commit_spec(directory: AnyPath, spec: ExtractionSpec) -> None:
    path = directory / "spec.json"
    try:
        read_spec(path, spec)
    except FileNotFoundError:
        atomic_write(path, spec.to_json().encode())
    except StoreError as error:
        # The folder is named by the key and every shard carries it, so the spec can be written anew.
        set_aside(path, f"{path} is damaged: {error}")
        atomic_write(path, spec.to_json().encode())
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; mend that and try again") from error
