"""Several feature sets side by side: one matrix whose columns are theirs, one set after the other.

The matrix is put together where rows are read, and only there: one set alone is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from featx.checks import check_choice
from featx.errors import StoreError
from featx.features.alignment import AlignedFeatures, align_features
from featx.features.feature_set import FeatureSet
from featx.images.base import UNLABELLED

COMBINATIONS = ("none", "parts", "all")

_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class Combination:
    """Feature sets of the same samples, side by side.

    Attributes
    ----------
    aligned : AlignedFeatures
    n_unlabelled : int
        Samples left out because they have no label.

    Examples
    --------
    >>> one = FeatureSet(np.float32([[1, 2], [3, 4]]), [0, 1], sample_ids=["a", "b"])
    >>> two = FeatureSet(np.float32([[6], [5]]), [1, 0], sample_ids=["b", "a"])
    >>> combined = combine_features({"one": one, "two": two})
    >>> combined.read(np.array([0, 1]))
    array([[1., 2., 5.],
           [3., 4., 6.]], dtype=float32)
    >>> combined.searched()
    {'one': (0, 2), 'two': (2, 3), 'one + two': (0, 3)}
    """

    aligned: AlignedFeatures
    n_unlabelled: int = 0

    @property
    def feature_sets(self) -> dict[str, FeatureSet]:
        """By name, in the order of their columns."""
        return {name: block.feature_set for name, block in self.aligned.blocks.items()}

    @property
    def columns(self) -> dict[str, tuple[int, int]]:
        """Where each set's columns start and stop."""
        ranges, start = {}, 0
        for name, features in self.feature_sets.items():
            ranges[name] = (start, start + features.n_features)
            start += features.n_features
        return ranges

    @property
    def n_features(self) -> int:
        """Number of all columns."""
        return sum(features.n_features for features in self.feature_sets.values())

    @property
    def images(self) -> np.ndarray | None:
        """The image of each row, where rows are views of one; None where every row is an image itself."""
        return np.array(self.aligned.sample_ids) if self.aligned.view.any() else None

    def searched(self, combine: str = "all") -> dict[str, tuple[int, int]]:
        """The columns of everything that is worth a search by itself, by name.

        Parameters
        ----------
        combine : {"none", "parts", "all"}, default="all"
            Every set alone; also every tap and pooling of a set that holds several, ``set[tap:pooling]``;
            also all sets together, ``one + two``.

        Returns
        -------
        dict of str to (start, stop)
        """
        check_choice("combine", combine, COMBINATIONS, StoreError)
        found = dict(self.columns)
        if combine != "none":
            for name, features in self.feature_sets.items():
                first, parts = self.columns[name][0], features.feature_blocks
                if len(parts) > 1:
                    found |= {
                        f"{name}[{part}]": (first + start, first + stop)
                        for part, (start, stop) in parts.items()
                    }
        if combine == "all" and len(self.feature_sets) > 1:
            found[" + ".join(self.feature_sets)] = (0, self.n_features)
        return found

    def used(self, columns: slice | np.ndarray) -> tuple[list[str], np.ndarray]:
        """The sets that some columns belong to, and where the columns stand when those alone are combined.

        Parameters
        ----------
        columns : slice or ndarray of int
            Of the whole matrix.

        Returns
        -------
        names : list of str
        indices : ndarray of int
        """
        wanted = np.arange(self.n_features)[columns]
        shift, names = np.zeros(self.n_features, int), []
        skipped = 0
        for name, (start, stop) in self.columns.items():
            shift[start:stop] = skipped
            if ((wanted >= start) & (wanted < stop)).any():
                names.append(name)
            else:
                skipped += stop - start
        return names, wanted - shift[wanted]

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Some samples' features, copied once; one set alone of which all rows are asked for is not copied.

        Parameters
        ----------
        rows : ndarray of int
            Samples, in the order wanted.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
            float16 where every set is, else float32.
        """
        blocks = list(self.aligned.blocks.values())
        if len(blocks) == 1:
            X, wanted = blocks[0].feature_set.X, blocks[0].rows[rows]
            is_whole = np.array_equal(wanted, np.arange(len(X)))
            return X if is_whole else X[wanted]
        dtype = np.result_type(*(block.feature_set.X for block in blocks))
        matrix = np.empty((len(rows), self.n_features), dtype)
        for block, (start, stop) in zip(blocks, self.columns.values(), strict=True):
            X = block.feature_set.X
            for first in range(0, len(rows), _BLOCK_ROWS):
                some = slice(first, first + _BLOCK_ROWS)
                matrix[some, start:stop] = X[block.rows[rows[some]]]
        return matrix


def combine_features(
    feature_sets: FeatureSet | Mapping[str, FeatureSet], *, labelled: bool = False
) -> Combination:
    """Put feature sets of the same samples side by side.

    Parameters
    ----------
    feature_sets : FeatureSet, or mapping of str to FeatureSet
        In any row order; the first one's is kept.
    labelled : bool, default=False
        Leave out the samples without a label.

    Returns
    -------
    Combination

    Raises
    ------
    StoreError
        When the sets are not of the same samples.
    """
    named = {"features": feature_sets} if isinstance(feature_sets, FeatureSet) else feature_sets
    aligned = align_features(named)
    # Samples, of which each may have several views.
    without = {aligned.sample_ids[row] for row in np.flatnonzero(aligned.y == UNLABELLED)}
    n_unlabelled = len(without) if labelled else 0
    # Taking all rows would copy every list for nothing.
    return Combination(aligned.labelled() if n_unlabelled else aligned, n_unlabelled)
