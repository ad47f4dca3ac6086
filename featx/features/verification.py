"""Every byte of a store against the digests in its names: what is whole, and what has to be made anew.

A damaged file is set aside as ``.corrupt``, so that nothing uses it and nothing of it is lost. What a shard
held is embedded anew by the next extraction of the same images; what else is kept beside shards saves time
and is made anew as it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from featx.documents import MAX_BYTES, read_json
from featx.errors import StoreCorruptError, StoreError, StoreMismatchError
from featx.features.fingerprint import ExtractionSpec
from featx.features.graph_files import verified_graph
from featx.features.shards import MAX_SHARD_BYTES, SHARD_NAME, ShardSet
from featx.files import set_aside
from featx.reading import read_regular_file, read_verified
from featx.storage import AnyPath, listed


@dataclass(frozen=True)
class StoreCheck:
    """What was found in one extraction of a store.

    Attributes
    ----------
    directory : Path or RemotePath
    backbone : str
        "" where the spec is damaged.
    n_shards, n_samples : int
        That are whole.
    n_bytes : int
        Of the files that are whole.
    damaged : tuple of str
        Files that were set aside now, and a spec that is missing.
    n_lost : int
        Rows in them: the images that have to be embedded anew.
    n_aside : int
        Files that were set aside before, whether or not what they held was made anew since.
    """

    directory: AnyPath
    backbone: str
    n_shards: int
    n_samples: int
    n_bytes: int
    damaged: tuple[str, ...]
    n_lost: int
    n_aside: int


def verify_extraction(directory: AnyPath, advance: Callable[[int], None] = lambda _: None) -> StoreCheck:
    """Check every byte of one extraction; damaged files are set aside, with a warning each.

    Parameters
    ----------
    directory : Path or RemotePath
        Of a `FeatureStore`.
    advance : callable
        Told of each shard.

    Returns
    -------
    StoreCheck

    Examples
    --------
    >>> directory = getfixture("tmp_path")
    >>> _ = (directory / "spec.json").write_text("{")
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     verify_extraction(directory).damaged
    ('spec.json',)
    """
    n_aside = sum(1 for _ in directory.glob("*.corrupt"))
    damaged = [path.name for path in listed(directory) if not _is_whole(path)]
    n_bytes = folder_bytes(directory, {".h5", ".json", ".graph"})
    try:
        spec = read_spec(directory / "spec.json")
    except OSError:
        spec = None
        if "spec.json" not in damaged:
            damaged.append("spec.json")
    if spec is None:
        # What they are shards of cannot be told, whether they are whole can.
        shards, lost = _verified_names(directory, advance)
    else:
        opened = ShardSet(directory, spec)
        lost = opened.refresh(advance)
        shards = list(opened.names)
    return StoreCheck(
        directory=directory,
        backbone="" if spec is None else spec.backbone,
        n_shards=len(shards),
        n_samples=sum(map(n_rows_of, shards)),
        n_bytes=n_bytes,
        damaged=(*damaged, *lost),
        n_lost=sum(map(n_rows_of, lost)),
        n_aside=n_aside,
    )


def folder_bytes(directory: AnyPath, suffixes: Collection[str] = ()) -> int:
    """Bytes of the files in a folder, of those with some suffixes or all; what goes meanwhile is not there.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_bytes(b"123"), (folder / "b.tmp").write_bytes(b"4")
    >>> folder_bytes(folder), folder_bytes(folder, {".txt"})
    (4, 3)
    """
    n_bytes = 0
    for path in directory.iterdir():
        if not suffixes or path.suffix in suffixes:
            with suppress(FileNotFoundError):
                n_bytes += path.stat().st_size
    return n_bytes


def n_rows_of(name: str) -> int:
    """Rows of a shard, by its name; none for the name of something else.

    Examples
    --------
    >>> n_rows_of("000012-" + "0" * 64 + ".h5"), n_rows_of("spec.json")
    (12, 0)
    """
    match = SHARD_NAME.fullmatch(name)
    return int(match[1]) if match else 0


def _is_whole(path: AnyPath) -> bool:
    """Whether what stands beside the shards can be used; set aside where it cannot."""
    try:
        if path.name == "spec.json":
            read_spec(path)
        elif path.suffix == ".json":
            read_json(path)
        elif path.suffix == ".graph":
            verified_graph(path)
    except FileNotFoundError:
        # Another process met the same damage, or pruned it.
        return True
    except (StoreCorruptError, ValueError) as error:
        # What is checked by its digest names itself.
        set_aside(path, str(error) if path.name in str(error) else f"{path} is damaged: {error}")
        return False
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; mend that and try again") from error
    return True


def read_spec(path: AnyPath, expected: ExtractionSpec | None = None) -> ExtractionSpec:
    """What a ``spec.json`` says, which is what its folder is named by.

    Parameters
    ----------
    path : Path or RemotePath
    expected : ExtractionSpec, optional
        What it has to be.

    Raises
    ------
    OSError
        When it is absent, cannot be read, or is no file of a spec's size.
    StoreCorruptError
        When it is not a spec, or not of this folder: a digit of it was changed, or it came from elsewhere.
    StoreMismatchError
        When it is not what is expected; shows the fields that differ.

    Examples
    --------
    >>> from featx import FeatureExtractor, FeatureStore
    >>> store, spec = FeatureStore(getfixture("tmp_path")), FeatureExtractor("efficientnet_lite0").fit().spec_
    >>> read_spec(store.open(spec).directory / "spec.json") == spec
    True
    """
    data = read_regular_file(path, MAX_BYTES)
    try:
        found = ExtractionSpec.from_json(data.decode())
    except (StoreError, ValueError) as error:
        raise StoreCorruptError(str(error)) from error
    if expected is not None and (differences := found.differences(expected)):
        raise StoreMismatchError("it is of another extraction", differences)
    if found.directory_name != path.parent.name:
        raise StoreCorruptError(f"it is of another extraction, {found.directory_name}")
    return found


def _verified_names(directory: AnyPath, advance: Callable[[int], None]) -> tuple[list[str], list[str]]:
    """Which shards are whole and which were set aside, by their digests alone."""
    whole: list[str] = []
    lost: list[str] = []
    for path in listed(directory, "*.h5"):
        if match := SHARD_NAME.fullmatch(path.name):
            try:
                read_verified(path, match[2], MAX_SHARD_BYTES)
                whole.append(path.name)
            except StoreCorruptError as error:
                set_aside(path, str(error))
                lost.append(path.name)
            advance(1)
    return whole, lost
