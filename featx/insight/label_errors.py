"""Which labels look wrong: what models that never saw a sample say of it, against what it is called.

The probabilities are out of fold, the mean of two views of the data that err differently: linear discriminant
analysis, and the votes of the nearest neighbours. Both part no group, so that no copy votes for itself. The
discriminant needs of each fold no more than its class sums and the products of its columns; those of any set
of folds are sums of theirs, so that all fits together cost one pass over the features. Its covariance is
shrunk half way to its diagonal, and a temperature, fitted on folds within the training part, takes the
overconfidence out of it.

A label is suspected by confident learning (Northcutt, Jiang and Chuang, Confident Learning: Estimating
Uncertainty in Dataset Labels, JAIR 70, 2021): a class is likely for a sample where its probability is at
least the mean over the samples that are called so. A sample is suspected where the likeliest of its likely
classes is not its own, and any class is likelier than its own; the likeliest of all is suggested, which need
not be a likely one. So a class that is hard is not suspected as a whole. cleanlab's ``confident_learning``
filter does the same.

Measured with 40 labels of 2,624 solar cells (1,280 features) and of 1,797 digits (64) flipped, seeds 100 to
104: average precision of the ranking, and recall and precision of what is suspected.

==============================================  ==================  ==================
probabilities                                   solar cells         digits
==============================================  ==================  ==================
discriminant alone                              0.32  0.62  0.19    0.88  0.79  0.75
mean of it and 20 neighbours' votes             0.38  0.61  0.23    0.96  0.79  0.91
the same, ``method="cleanlab"``                 0.38  0.70  0.16    0.96  0.81  0.82
logistic regression, the best of nine           0.32  0.61  0.23    0.93  0.71  0.89
ridge regression, the best of three             0.30  0.53  0.26    0.91  0.51  0.83
neighbours' votes alone                         0.20  0.57  0.20    0.81  0.74  0.86
==============================================  ==================  ==================

(The last three: seeds 100 to 102.) The mean took 0.9 s of one processor for the cells, the logistic
regression 2 s or more; 50,000 samples of 1,280 features and 10 classes took 3 s.

The cells' own labels are uncertain, so that many more than the flipped ones are suspected there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.random_projection import GaussianRandomProjection

from featx.checks import check_choice, check_finite, check_seed, explain, require
from featx.errors import HeadError

METHODS = ("confident", "cleanlab")
#: Samples times classes from which on the probabilities, 400 MB, are too many.
MOST_PROBABILITIES = 100_000_000

_SHRINKAGE = 0.5
# Beyond so many columns the products of all pairs take too much memory: they are projected to fewer.
_MOST_COLUMNS, _N_PROJECTED = 4096, 2048
_BLOCK_BYTES = 32 * 2**20
# Of a column's variance, within the classes.
_LEAST_SHARE = 1e-4
# Samples times classes that a temperature is fitted to, and samples at least; one number needs no more.
_MOST_FOR_TEMPERATURE, _LEAST_FOR_TEMPERATURE = 2**20, 200
# Logarithms of the temperature's inverse.
_COLDEST, _HOTTEST = -4.0, 1.5
# Equal probabilities must tie, or rounding would suspect one of two.
_ROUNDING = 1e-6


class SuspectedLabels(NamedTuple):
    """Samples whose label looks wrong, the most suspicious first.

    Attributes
    ----------
    rows : ndarray of int of shape (n_suspected,)
    scores : ndarray of shape (n_suspected,)
        By how much the suggested class is likelier than the sample's own; from 0 to 1.
    suggested : ndarray of int of shape (n_suspected,)
        The likeliest class.
    """

    rows: np.ndarray
    scores: np.ndarray
    suggested: np.ndarray


# ------------------------------------------------------------------------------------- probabilities


def out_of_fold_probabilities(
    X: np.ndarray,
    codes: Sequence[int] | np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    *,
    cv: int = 5,
    neighbors: np.ndarray | None = None,
    random_state: int = 0,
) -> np.ndarray:
    """Each sample's class probabilities by models that were fitted without its group.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Floating, finite.
    codes : array-like of shape (n_samples,)
        Classes, as integers from 0.
    groups : array-like of shape (n_samples,), optional
        Samples of one group are never parted; by default every sample is its own.
    cv : int, default=5
        Folds; fewer where there are fewer groups.
    neighbors : ndarray of shape (n_samples, n_neighbors), int, optional
        Rows of each sample's nearest neighbours, or -1 for none. Those of its own fold have no vote.
    random_state : int, default=0
        Seed of the folds.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), float32
        Not-a-number for a sample that no model could know the class of, because all of that class, or all
        of the other classes, are in its own fold.

    Raises
    ------
    HeadError
        When features are not finite, or the arguments are not of one length.

    Examples
    --------
    >>> X, codes = np.array([[0.0], [0.1], [0.2], [0.3], [5.0], [5.1], [5.2]]), [0, 0, 0, 1, 1, 1, 1]
    >>> out_of_fold_probabilities(X, codes).argmax(axis=1)
    array([0, 0, 0, 0, 1, 1, 1])
    """
    check_seed("random_state", random_state, HeadError)
    labels = np.asarray(codes, np.intp)
    n_samples, n_classes = len(labels), int(labels.max(initial=-1)) + 1
    if X.ndim != 2 or len(X) != n_samples or labels.min(initial=0) < 0:
        received = f"X of shape {X.shape} and {n_samples} codes from {labels.min(initial=0)}"
        raise HeadError(explain(received, "a row and a class, 0 or more, for each sample", "align them"))
    check_finite(X)
    members = np.unique(np.arange(n_samples) if groups is None else groups, return_inverse=True)[1]
    folds = _folds(labels, members, cv, random_state)
    probabilities = np.full((n_samples, n_classes), np.nan, np.float32)
    if not n_samples or folds.max() == 0:
        return probabilities
    moments = _Moments(_narrowed(X, random_state), labels, folds)
    for fold in range(moments.n_folds):
        known = np.delete(moments.counts, fold, axis=0).sum(axis=0)
        if (known > 0).sum() < 2:
            continue
        discriminant, inverse_temperature = moments.discriminant((fold,)), moments.inverse_temperature(fold)
        for rows in _in_parts(np.flatnonzero(folds == fold), n_classes):
            found = softmax(discriminant.decisions(moments.centred(rows)) * inverse_temperature, axis=1)
            if neighbors is not None:
                found = (found + _votes(neighbors[rows], labels, folds != fold, known)) / 2
            found[known[labels[rows]] == 0] = np.nan
            probabilities[rows] = found
    return probabilities


def _folds(labels: np.ndarray, members: np.ndarray, cv: int, random_state: int) -> np.ndarray:
    """Which fold each sample is in: the largest groups first, each where its class is rarest."""
    sizes = np.bincount(members)
    n_folds = min(cv, len(sizes))
    if n_folds < 2:
        return np.zeros(len(labels), np.intp)
    # Of a group, the class that stands first in it decides.
    first = np.unique(members, return_index=True)[1]
    shuffled = np.random.default_rng(random_state).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    n_of_class = np.zeros((int(labels.max()) + 1, n_folds), np.intp).tolist()
    n_in_fold, fold_of = [0] * n_folds, np.zeros(len(sizes), np.intp)
    for group, size, label in zip(
        order.tolist(), sizes[order].tolist(), labels[first[order]].tolist(), strict=True
    ):
        counts = n_of_class[label]
        fold = min(range(n_folds), key=lambda each: (counts[each], n_in_fold[each]))
        counts[fold] += size
        n_in_fold[fold] += size
        fold_of[group] = fold
    folds: np.ndarray = fold_of[members]
    return folds


def _narrowed(X: np.ndarray, random_state: int) -> np.ndarray:
    """The features, or so many random directions of them that their products fit into memory."""
    if X.shape[1] <= _MOST_COLUMNS:
        return X
    projection = GaussianRandomProjection(_N_PROJECTED, random_state=random_state).fit(X[:1])
    narrow = np.empty((len(X), _N_PROJECTED), np.float32)
    step = max(1, _BLOCK_BYTES // (8 * X.shape[1]))
    for start in range(0, len(X), step):
        narrow[start : start + step] = projection.transform(X[start : start + step].astype(np.float32))
    return narrow


def _in_parts(rows: np.ndarray, width: int) -> list[np.ndarray]:
    """Rows of a table in parts that take little memory."""
    step = max(1, _BLOCK_BYTES // (8 * width))
    return [rows[start : start + step] for start in range(0, len(rows), step)]


class _Discriminant(NamedTuple):
    """Weights (n_features, n_known) and constants of the classes that are known."""

    weights: np.ndarray
    constants: np.ndarray
    is_known: np.ndarray

    def decisions(self, centred: np.ndarray) -> np.ndarray:
        """Log posteriors, up to a constant of each row; of a class that is unknown, minus infinity."""
        found = np.full((len(centred), len(self.is_known)), -np.inf)
        found[:, self.is_known] = centred @ self.weights + self.constants
        return found


class _Moments:
    """What discriminants are made of, fold by fold: counts and sums of classes, products of columns.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    labels, folds : ndarray of shape (n_samples,), int
    """

    def __init__(self, X: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> None:
        self.n_folds, n_classes = int(folds.max()) + 1, int(labels.max()) + 1
        self.counts = np.zeros((self.n_folds, n_classes))
        np.add.at(self.counts, (folds, labels), 1)
        self._X, self._labels, self._fold_of = X, labels, folds
        self._of_pairs: dict[tuple[int, int], dict[int, tuple[np.ndarray, np.ndarray]]] = {}
        # Discriminants are the same wherever the origin is; products in float32 are not.
        self._origin = X.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._sums = np.zeros((self.n_folds, n_classes, X.shape[1]))
        self._products = np.zeros((self.n_folds, X.shape[1], X.shape[1]), np.float32)
        for fold in range(self.n_folds):
            for rows in self._blocks(np.flatnonzero(folds == fold)):
                block = self.centred(rows)
                order = np.argsort(labels[rows], kind="stable")
                classes, first = np.unique(labels[rows][order], return_index=True)
                self._sums[fold, classes] += np.add.reduceat(block[order], first)
                self._products[fold] += block.T @ block
        self._total = self._products.sum(axis=0, dtype=np.float64)

    def discriminant(self, left_out: tuple[int, ...]) -> _Discriminant:
        """Fitted on all folds but those left out."""
        counts = self._without(self.counts, left_out)
        is_known = counts > 0
        n_known = counts[is_known]
        means = self._without(self._sums, left_out)[is_known] / n_known[:, None]
        within = self._total - sum(self._products[fold] for fold in left_out)
        within -= (means.T * n_known) @ means
        within /= max(1.0, n_known.sum() - len(n_known))
        # Classes that are points, and constant columns, leave nothing but rounding.
        total = np.diagonal(self._total) / len(self._labels)
        least = _LEAST_SHARE * np.maximum(total, _LEAST_SHARE * max(_LEAST_SHARE, float(total.max())))
        diagonal = np.maximum(np.diagonal(within), least)
        within *= 1 - _SHRINKAGE
        np.fill_diagonal(within, diagonal)
        weights = cho_solve(cho_factor(within, overwrite_a=True, check_finite=False), means.T)
        constants = np.log(n_known / n_known.sum()) - (means.T * weights).sum(axis=0) / 2
        return _Discriminant(weights.astype(np.float32), constants, is_known)

    def _without(self, parts: np.ndarray, left_out: tuple[int, ...]) -> np.ndarray:
        """The sum over the folds that are not left out."""
        kept: np.ndarray = np.delete(parts, left_out, axis=0).sum(axis=0)
        return kept

    def inverse_temperature(self, fold: int) -> float:
        """What decisions are multiplied by to be the likeliest for others that were left out besides.

        What a model without two folds says of either serves the other, so that each fold has two such models
        for the price of one.
        """
        parts = []
        for other in {(fold + 1) % self.n_folds, (fold - 1) % self.n_folds} if self.n_folds > 2 else ():
            pair = (min(fold, other), max(fold, other))
            if pair not in self._of_pairs:
                self._of_pairs[pair] = {each: self._decided(pair, each) for each in pair}
            parts.append(self._of_pairs[pair][other])
        if not sum(len(labels) for _, labels in parts):
            return 1.0
        decisions, labels = (np.concatenate(columns) for columns in zip(*parts, strict=True))

        def surprise(logarithm: float) -> float:
            scaled = log_softmax(decisions * np.exp(logarithm), axis=1)
            return -float(scaled[np.arange(len(labels)), labels].mean())

        best = minimize_scalar(surprise, bounds=(_COLDEST, _HOTTEST), method="bounded")
        return float(np.exp(best.x))

    def _decided(self, left_out: tuple[int, int], fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Decisions on a fold's samples of known classes, and these classes; on a share of many."""
        discriminant = self.discriminant(left_out)
        rows = np.flatnonzero(self._fold_of == fold)
        rows = rows[discriminant.is_known[self._labels[rows]]]
        n_most = max(_LEAST_FOR_TEMPERATURE, _MOST_FOR_TEMPERATURE // len(discriminant.is_known))
        if len(rows) > n_most:
            rows = np.random.default_rng(fold).choice(rows, n_most, replace=False)
        if not len(rows) or discriminant.is_known.sum() < 2:
            return np.empty((0, len(discriminant.is_known))), np.empty(0, np.intp)
        return discriminant.decisions(self.centred(rows)), self._labels[rows]

    def centred(self, rows: np.ndarray) -> np.ndarray:
        """Features of some rows, as the discriminants take them."""
        centred: np.ndarray = self._X[rows].astype(np.float32) - self._origin
        return centred

    def _blocks(self, rows: np.ndarray) -> list[np.ndarray]:
        step = max(1, _BLOCK_BYTES // (4 * self._X.shape[1]))
        return [rows[start : start + step] for start in range(0, len(rows), step)]


def _votes(neighbors: np.ndarray, labels: np.ndarray, may_vote: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Shares of the classes among neighbours; the classes' shares of all have one vote."""
    votes = np.zeros((len(neighbors), len(known)))
    has_vote = (neighbors >= 0) & may_vote[neighbors]
    rows, places = np.nonzero(has_vote)
    np.add.at(votes, (rows, labels[neighbors[rows, places]]), 1)
    votes += known / known.sum()
    found: np.ndarray = votes / votes.sum(axis=1, keepdims=True)
    return found


# ------------------------------------------------------------------------------------------- suspicion


def suspected_labels(
    probabilities: np.ndarray, codes: Sequence[int] | np.ndarray, method: str = "confident"
) -> SuspectedLabels:
    """Samples that other samples' labels speak against.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_classes)
        Out of fold; a row that is not finite is of a sample that cannot be judged.
    codes : array-like of shape (n_samples,)
        Classes, as integers.
    method : {"confident", "cleanlab"}, default="confident"
        By the confident joint of Northcutt et al. (2021); or by `cleanlab.filter.find_label_issues` as it is
        by default, which prunes each pair of classes to the rate that the confident joint estimates, and
        needs ``pip install "featx[cleanlab]"``.

    Returns
    -------
    SuspectedLabels

    Raises
    ------
    HeadError
        When the method is unknown.
    MissingPackageError
        When the package is not installed.

    Examples
    --------
    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.9, 0.1]])
    >>> suspected_labels(probabilities, [0, 0, 1, 1, 1])
    SuspectedLabels(rows=array([4]), scores=array([0.8]), suggested=array([0]))
    """
    check_choice("method", method, METHODS, HeadError)
    labels = np.asarray(codes, np.intp)
    judged = np.flatnonzero(np.isfinite(probabilities.sum(axis=1)))
    # A class that nobody could be judged by is nobody's.
    present, given = np.unique(labels[judged], return_inverse=True)
    if len(present) < 2:
        return SuspectedLabels(np.array([], np.intp), np.array([]), np.array([], np.intp))
    if len(judged) == len(labels) and len(present) == probabilities.shape[1]:
        found = probabilities
    else:
        found = probabilities[np.ix_(judged, present)]
    is_suspected = _by_cleanlab(found, given) if method == "cleanlab" else _by_confidence(found, given)
    rows = np.flatnonzero(is_suspected)
    suggested = found[rows].argmax(axis=1)
    scores = (found[rows, suggested] - found[rows, given[rows]]).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    return SuspectedLabels(judged[rows[order]], scores[order], present[suggested[order]])


def _by_confidence(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    n_samples, n_classes = probabilities.shape
    own = probabilities[np.arange(n_samples), labels].astype(np.float64)
    thresholds = np.bincount(labels, own, n_classes) / np.bincount(labels, minlength=n_classes)
    is_suspected = np.zeros(n_samples, bool)
    for rows in _in_parts(np.arange(n_samples), n_classes):
        found = probabilities[rows]
        is_likely = found >= thresholds - _ROUNDING
        likeliest = np.where(is_likely, found, -1).argmax(axis=1)
        is_other = is_likely.any(axis=1) & (likeliest != labels[rows])
        is_suspected[rows] = is_other & (found.max(axis=1) > own[rows] + _ROUNDING)
    return is_suspected


def _by_cleanlab(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    find = require("cleanlab.filter", "cleanlab").find_label_issues
    # It expects rows that sum to 1, and starts processes of its own unless told otherwise.
    total = probabilities.sum(axis=1, keepdims=True)
    mask: np.ndarray = find(labels, probabilities / np.where(total > 0, total, 1), n_jobs=1)
    return mask
