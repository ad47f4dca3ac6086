"""Several feature sets of the same samples, brought into one row order.

A sample is known by its id and view. The first set gives the order; every other must hold the same
samples, each with the same class name and the same image, in any order. Nothing is dropped or filled in:
features that stood beside another image's label would cost more than an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from featx.checks import explain
from featx.errors import HeadError, StoreError
from featx.features.extraction import merge_groups
from featx.features.feature_set import FeatureSet
from featx.images.base import LABELS_COME_FROM, UNLABELLED

_N_SHOWN = 5
_SampleKey: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Block:
    """Columns of one feature set, in the common row order.

    Attributes
    ----------
    feature_set : FeatureSet
    rows : ndarray of int of shape (n_samples,)
        The feature set's row of each sample.
    start, stop : int
        The columns' range.
    """

    feature_set: FeatureSet
    rows: np.ndarray
    start: int
    stop: int

    def read(self) -> np.ndarray:
        """The features, (n_samples, n_features); a view where the rows are all there and in order."""
        columns = self.feature_set.X[:, self.start : self.stop]
        is_whole = np.array_equal(self.rows, np.arange(len(columns)))
        return columns if is_whole else columns[self.rows]


@dataclass(frozen=True)
class AlignedFeatures:
    """Feature sets of the same samples, in one row order.

    Attributes
    ----------
    blocks : dict of str to Block
        By name, in the order given.
    y : ndarray of int of shape (n_samples,)
        Indices into ``class_names``; -1 means unlabelled.
    class_names : list of str
        Of the first set.
    groups : list of str
        Two samples are in one group if they are in any of the sets.
    sample_ids, image_sha256 : list of str
    view : ndarray of int of shape (n_samples,)

    Examples
    --------
    See `align_features`.
    """

    blocks: dict[str, Block]
    y: np.ndarray
    class_names: list[str]
    groups: list[str]
    sample_ids: list[str]
    view: np.ndarray
    image_sha256: list[str]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def names(self) -> tuple[str, ...]:
        """What `X` takes."""
        return tuple(self.blocks)

    def X(self, name: str) -> np.ndarray:
        """The features by one name, (n_samples, n_features), float32 or float16.

        Parameters
        ----------
        name : str
            One of `names`.
        """
        return self.blocks[name].read()

    def take(self, rows: np.ndarray) -> AlignedFeatures:
        """Some samples only, in the order given.

        Parameters
        ----------
        rows : ndarray of int
        """
        return AlignedFeatures(
            {name: replace(block, rows=block.rows[rows]) for name, block in self.blocks.items()},
            self.y[rows],
            self.class_names,
            [self.groups[row] for row in rows],
            [self.sample_ids[row] for row in rows],
            self.view[rows],
            [self.image_sha256[row] for row in rows],
        )

    def labelled(self) -> AlignedFeatures:
        """The samples that have a label."""
        return self.take(np.flatnonzero(self.y != UNLABELLED))

    def check_labelled(self) -> None:
        """Refuse samples of which none has a label, with a `HeadError`."""
        if not (self.y != UNLABELLED).any():
            remedy = f"extract a labelled source: {LABELS_COME_FROM}"
            raise HeadError(explain("features without labels", "a label for each", remedy))

    def with_parts(self) -> AlignedFeatures:
        """With every tap and pooling of a set that holds several as a further name, ``set[tap:pooling]``."""
        blocks = {}
        for name, block in self.blocks.items():
            blocks[name] = block
            parts = block.feature_set.feature_blocks
            if len(parts) > 1:
                blocks |= {
                    f"{name}[{part}]": replace(block, start=start, stop=stop)
                    for part, (start, stop) in parts.items()
                }
        return replace(self, blocks=blocks)


def align_features(feature_sets: Mapping[str, FeatureSet]) -> AlignedFeatures:
    """Bring feature sets of the same samples into the first one's row order.

    Parameters
    ----------
    feature_sets : mapping of str to FeatureSet
        By the names to show, such as their files' paths.

    Returns
    -------
    AlignedFeatures

    Raises
    ------
    StoreError
        When there are no sets, a sample stands twice in one, or is absent from another, or has another
        label or image there.

    Examples
    --------
    >>> one = FeatureSet(np.float32([[1], [2]]), [0, 1], sample_ids=["a", "b"], class_names=["cat", "dog"])
    >>> two = FeatureSet(np.float32([[4], [3]]), [0, 1], sample_ids=["b", "a"], class_names=["dog", "cat"])
    >>> aligned = align_features({"one": one, "two": two})
    >>> aligned.X("two")
    array([[3.],
           [4.]], dtype=float32)
    >>> align_features({"one": one, "two": FeatureSet(np.float32([[4]]), [0], sample_ids=["b"])})
    Traceback (most recent call last):
    featx.errors.StoreError: received two without 1 sample of one (a); expected the same samples in all; ...
    """
    if not feature_sets:
        raise StoreError(explain("no feature sets", "one or more", "pass a mapping of names to them"))
    (first_name, first), *others = feature_sets.items()
    keys = _keys(first_name, first)
    blocks = {first_name: Block(first, np.arange(len(first)), 0, first.n_features)}
    groups = first.groups
    for name, other in others:
        rows = _matching_rows(first_name, keys, name, _keys(name, other))
        _check_same_labels(first_name, first, name, other, rows)
        _check_same_images(first_name, first, name, other, rows)
        groups = merge_groups(groups, [other.groups[row] for row in rows])
        blocks[name] = Block(other, rows, 0, other.n_features)
    return AlignedFeatures(
        blocks, first.y, first.class_names, groups, first.sample_ids, first.view, first.image_sha256
    )


def _keys(name: str, features: FeatureSet) -> dict[_SampleKey, int]:
    """Row of each sample by its id and view."""
    listed = list(zip(features.sample_ids, features.view.tolist(), strict=True))
    keys = {key: row for row, key in enumerate(listed)}
    if len(keys) < len(listed):
        twice = [key for key, count in Counter(listed).items() if count > 1]
        received = f"{name} with {_counted(len(twice))} that stand twice ({_shown(twice)})"
        raise StoreError(explain(received, "each sample id and view once", "extract them anew"))
    return keys


def _matching_rows(
    first_name: str, keys: dict[_SampleKey, int], name: str, others: dict[_SampleKey, int]
) -> np.ndarray:
    missing = [key for key in keys if key not in others]
    added = [key for key in others if key not in keys]
    if missing or added:
        amiss = [f"without {_counted(len(missing))} of {first_name} ({_shown(missing)})"] if missing else []
        if added:
            amiss.append(f"with {_counted(len(added))} that {first_name} lacks ({_shown(added)})")
        expected, remedy = "the same samples in all", "extract all from the same images"
        raise StoreError(explain(f"{name} {' and '.join(amiss)}", expected, remedy))
    return np.fromiter((others[key] for key in keys), np.intp, len(keys))


def _check_same_labels(
    first_name: str, first: FeatureSet, name: str, other: FeatureSet, rows: np.ndarray
) -> None:
    mine, theirs = _named_labels(first), _named_labels(other)[rows]
    _refuse(
        [
            f"{first.sample_ids[row]}: {mine[row]} in {first_name}, {theirs[row]} in {name}"
            for row in np.flatnonzero(mine != theirs)
        ],
        "whose labels differ",
        "one label a sample",
    )


def _check_same_images(
    first_name: str, first: FeatureSet, name: str, other: FeatureSet, rows: np.ndarray
) -> None:
    # Sets that were not extracted by featx may know no digests.
    _refuse(
        [
            first.sample_ids[row]
            for row, (mine, theirs) in enumerate(
                zip(first.image_sha256, [other.image_sha256[row] for row in rows], strict=True)
            )
            if mine and theirs and mine != theirs
        ],
        f"whose images differ between {first_name} and {name}",
        "one image a sample",
    )


def _named_labels(features: FeatureSet) -> np.ndarray:
    names = np.array([*features.class_names, "no label"], dtype=object)
    labels: np.ndarray = names[features.y]
    return labels


def _refuse(differing: Sequence[str], how: str, expected: str) -> None:
    if differing:
        shown = "; ".join(differing[:_N_SHOWN])
        received = f"{_counted(len(differing))} {how} ({shown}{_more(differing)})"
        raise StoreError(explain(received, expected, "extract all from the same images"))


def _counted(count: int) -> str:
    return f"{count} sample{'s' * (count > 1)}"


def _shown(keys: Iterable[_SampleKey]) -> str:
    listed = [sample_id if not view else f"{sample_id} view {view}" for sample_id, view in keys]
    return ", ".join(listed[:_N_SHOWN]) + _more(listed)


def _more(listed: Sequence[str]) -> str:
    return ", ..." if len(listed) > _N_SHOWN else ""
