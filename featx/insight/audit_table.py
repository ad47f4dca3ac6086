"""The images that an audit is about, as columns; and what these tell of the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import HeadError
from featx.insight.findings import Finding

UNLABELLED = -1

_TRAINING = ("training", "train")
# Folds that a class should serve; as many as a search has, unless told otherwise.
_N_FOLDS = 5
# Beyond that, a class is rare: nine in ten are right for who always says the other.
_RARE = 10


@dataclass(frozen=True)
class AuditTable:
    """What is known of the images, a row each; of copies too.

    Built by `AuditTable.of`.

    Attributes
    ----------
    rows : ndarray of int
        Of the feature matrix.
    ids, digests, parts : list of str
    codes : ndarray of int
        -1 without a label.
    groups : ndarray of int
    class_names : list of str

    Examples
    --------
    >>> from featx import FeatureSet
    >>> features = FeatureSet(np.zeros((2, 1), np.float32), [0, -1], class_names=["cat"])
    >>> table = AuditTable.of(features, ["test", "training"])
    >>> table.part_names, table.rank, table.label(0), table.in_order([0, 1])
    (['training', 'test'], array([1, 0]), 'cat', [1, 0])
    """

    rows: np.ndarray
    ids: list[str]
    digests: list[str]
    parts: list[str]
    codes: np.ndarray
    groups: np.ndarray
    class_names: list[str]

    @classmethod
    def of(cls, features: Any, parts: Sequence[str] | np.ndarray | None = None) -> AuditTable:
        """The images of a feature set, without further views of them."""
        n_rows = len(features.sample_ids)
        if parts is not None and len(parts) != n_rows:
            received = f"{len(parts)} parts for {n_rows} rows"
            raise HeadError(explain(received, "one a row", "align them"))
        rows = np.flatnonzero(np.asarray(features.view) == 0)
        if not len(rows):
            raise HeadError(explain("no samples", "at least one", "check what was passed"))
        named = [""] * n_rows if parts is None else [str(part) for part in parts]
        return cls(
            rows,
            [features.sample_ids[row] for row in rows],
            [features.image_sha256[row] for row in rows],
            [named[row] for row in rows],
            np.asarray(features.y)[rows],
            np.unique([features.groups[row] for row in rows], return_inverse=True)[1],
            list(features.class_names),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def part_names(self) -> list[str]:
        """The training part first; empty where all are in one part, or in none."""
        names = list(dict.fromkeys(self.parts))
        is_parted = len(names) > 1
        named = sorted((name for name in names if name), key=lambda name: name not in _TRAINING)
        return named if is_parted else []

    @cached_property
    def rank(self) -> np.ndarray:
        """The place of each image's part: the training part has the first, what is in none the last."""
        places = {name: place for place, name in enumerate(self.part_names)}
        last = len(places)
        return np.array([places.get(part, last) for part in self.parts])

    @cached_property
    def judged(self) -> frozenset[str]:
        """Other parts that heads are judged by: those with labels, or all where nothing has one."""
        others = self.part_names[1:]
        labelled = {part for part, code in zip(self.parts, self.codes, strict=True) if code != UNLABELLED}
        return frozenset(name for name in others if name in labelled or not labelled)

    def leaked(self, indices: Iterable[int]) -> list[str]:
        """The parts that images of one content leak across, or none: the training part, and judged ones."""
        held = {self.parts[index] for index in indices}
        across = [name for name in self.part_names[1:] if name in held & self.judged]
        return [self.part_names[0], *across] if across and self.part_names[0] in held else []

    def label(self, index: int) -> str:
        """The class that an image is called; "" where it has no label."""
        code = self.codes[index]
        return "" if code == UNLABELLED else self.class_names[code]

    def in_order(self, indices: Iterable[int]) -> list[int]:
        """Images of the training part before others, else as they came."""
        return sorted((int(index) for index in indices), key=lambda index: (self.rank[index], index))


def unbalanced_classes(table: AuditTable) -> list[Finding]:
    """Classes with too few samples for folds, none in the training part, or far fewer than the largest.

    Parameters
    ----------
    table : AuditTable

    Returns
    -------
    list of Finding
        Nothing where no sample has a label.

    Examples
    --------
    >>> from featx import FeatureSet
    >>> features = FeatureSet(np.zeros((9, 1), np.float32), [0] * 7 + [1] * 2, class_names=["cat", "dog"])
    >>> unbalanced_classes(AuditTable.of(features))[0].reason
    "the class 'dog' has 2 of 9 labels, too few for 5 folds"
    """
    counts = np.bincount(table.codes[table.codes != UNLABELLED], minlength=len(table.class_names))
    largest = int(counts.max(initial=0))
    found = []
    for code, name in enumerate(table.class_names if largest else ()):
        members = np.flatnonzero(table.codes == code)
        amiss, few = _amiss(table, members, largest)
        if amiss:
            what = f"the class {name!r} has {len(members):,} of {counts.sum():,} labels"
            ids = tuple(table.ids[index] for index in members[:few])
            found.append(Finding("class_balance", ids, largest / max(1, len(members)), f"{what}{amiss}"))
    return found


def _amiss(table: AuditTable, members: np.ndarray, largest: int) -> tuple[str, int]:
    """What is wrong with a class, or ""; and how many of its samples to show."""
    n_groups = len(np.unique(table.groups[members]))
    if n_groups < _N_FOLDS:
        in_groups = f" in {n_groups} groups" if n_groups < len(members) else ""
        return f"{in_groups}, too few for {_N_FOLDS} folds", _N_FOLDS - 1
    if table.part_names and (table.rank[members] > 0).all():
        return f", and none in {table.part_names[0]}", 0
    ratio = largest / len(members)
    return (f", the largest {ratio:.0f} times as many", 0) if ratio >= _RARE else ("", 0)
