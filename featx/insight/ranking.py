"""rank_features(): which of several feature sets is worth a search, before any head is searched.

Every set is judged by the measures of `featx.insight.separability` on the same samples: a stratified
sample where there are many. The measures have units of their own, so that the sets are ranked by each
and ordered by their mean rank: which measure is the best guide differs from one data set to the next, and
the mean rank has no weights that could be tuned to one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from scipy.stats import rankdata

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.labelled import check_classes, check_features, coded_classes, coded_groups
from featx.insight.separability import (
    Spectrum,
    centroid_accuracy,
    knn_accuracy,
    log_evidence,
    ridge_scores,
    standardise,
)


@dataclass(frozen=True)
class Measures:
    """What was measured of one feature set; higher is better.

    Attributes
    ----------
    logme : float
        Log evidence of a Bayesian linear model, in nats a sample (`separability.log_evidence`).
    knn_accuracy : float
        Of the five nearest neighbours by cosine.
    centroid_accuracy : float
        Of the nearest class mean.
    ridge_accuracy, ridge_roc_auc : float
        Of a ridge classifier.
    """

    logme: float
    knn_accuracy: float
    centroid_accuracy: float
    ridge_accuracy: float
    ridge_roc_auc: float


@dataclass(frozen=True)
class FeatureRank:
    """One feature set's place among several.

    Attributes
    ----------
    name : str
    rank : int
        1 is the best.
    mean_rank : float
        Over the measures; `rank` is its order.
    n_samples, n_features : int
        What was measured on; fewer samples than there are where only a sample was.
    measures : Measures
    ranks : dict of str to int
        The set's rank by each measure; equal values share the better one.

    Examples
    --------
    See `rank_features`.
    """

    name: str
    rank: int
    mean_rank: float
    n_samples: int
    n_features: int
    measures: Measures
    ranks: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; the measures stand beside the rest."""
        found = asdict(self)
        measures, ranks = found.pop("measures"), found.pop("ranks")
        return {**found, **measures, "ranks": ranks}


def rank_features(
    feature_sets: Mapping[str, np.ndarray],
    y: Sequence[Any] | np.ndarray,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    n_samples: int = 5000,
    random_state: int = 0,
) -> list[FeatureRank]:
    """Order feature sets of the same samples by how well they part the classes.

    No head is searched. Five measures look at standardised columns: LogME, the accuracy of nearest
    neighbours, that of nearest class means, and accuracy and ROC AUC of a ridge classifier. All but LogME
    judge each sample by samples of other groups alone. What a set costs grows with the cube of its rows or
    its columns, whichever are fewer: lower ``n_samples`` where both are in the thousands.

    Parameters
    ----------
    feature_sets : mapping of str to ndarray of shape (n_samples, n_features)
        float32 or float16, with rows in one order; each set has columns of its own.
    y : array-like of shape (n_samples,)
        Classes. Leave samples without a label out: -1, by which featx codes them, is a class here.
    groups : array-like of shape (n_samples,), optional
        Samples that belong together, such as copies of one image.
    n_samples : int, default=5000
        Measure on about as many, drawn by class and in whole groups, where there are more.
    random_state : int, default=0
        Seed of the draw.

    Returns
    -------
    list of FeatureRank
        From best to worst by mean rank; the better ROC AUC decides between equals.

    Raises
    ------
    HeadError
        When the sets, labels or groups differ in length, a feature is not finite, or the classes are
        fewer than two or have fewer than two samples, or groups, each.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> pixels = X[:500].astype(np.float32)
    >>> ranking = rank_features({"two pixels": pixels[:, 20:22], "all pixels": pixels}, y[:500])
    >>> [(found.rank, found.name) for found in ranking]
    [(1, 'all pixels'), (2, 'two pixels')]
    >>> ranking[0].measures.knn_accuracy > 0.9
    True
    """
    check_positive("n_samples", n_samples, HeadError)
    check_seed("random_state", random_state, HeadError)
    if not feature_sets:
        raise HeadError(explain("no feature sets", "one or more", "pass a mapping of names to arrays"))
    classes, codes = coded_classes(y)
    members = coded_groups(groups, len(codes))
    check_classes(codes, members, classes)
    n_rows = len(codes)
    rows = _sample_rows(codes, members, n_samples, random_state)
    # A sample has codes of its own, without gaps.
    codes, members = (np.unique(part[rows], return_inverse=True)[1] for part in (codes, members))
    found = {}
    for name, X in feature_sets.items():
        checked = check_features(str(name), X, n_rows)
        found[str(name)] = _measure(checked[rows], codes, members), checked.shape[1]
    return _ordered(found, len(rows))


def _measure(X: np.ndarray, codes: np.ndarray, members: np.ndarray) -> Measures:
    Z = standardise(X)
    spectrum = Spectrum.of(Z, codes)
    accuracy, roc_auc = ridge_scores(spectrum, codes, members)
    return Measures(
        logme=log_evidence(spectrum),
        knn_accuracy=knn_accuracy(Z, codes, members),
        centroid_accuracy=centroid_accuracy(Z, codes, members),
        ridge_accuracy=accuracy,
        ridge_roc_auc=roc_auc,
    )


def _ordered(found: Mapping[str, tuple[Measures, int]], n_samples: int) -> list[FeatureRank]:
    names = [field.name for field in fields(Measures)]
    values = np.array([[getattr(measures, name) for name in names] for measures, _ in found.values()])
    ranks = rankdata(-values, method="min", axis=0).astype(int)
    mean_ranks = ranks.mean(axis=1)
    order = np.lexsort((-values[:, names.index("ridge_roc_auc")], mean_ranks))
    sets = list(found.items())
    return [
        FeatureRank(
            name=sets[index][0],
            rank=place,
            mean_rank=float(mean_ranks[index]),
            n_samples=n_samples,
            n_features=sets[index][1][1],
            measures=sets[index][1][0],
            ranks=dict(zip(names, ranks[index].tolist(), strict=True)),
        )
        for place, index in enumerate(order, start=1)
    ]


# ----------------------------------------------------------------------------------- what is measured on


def _sample_rows(codes: np.ndarray, members: np.ndarray, n_samples: int, random_state: int) -> np.ndarray:
    """About ``n_samples`` rows in whole groups, each class by its share, and two groups of every class."""
    if len(codes) <= n_samples:
        return np.arange(len(codes))
    counts, sizes = np.bincount(codes), np.bincount(members)
    # A group counts for the rarest class in it, or rare classes would depend on luck.
    rarity = np.argsort(np.argsort(counts, kind="stable"))
    stratum = np.full(len(sizes), len(counts))
    np.minimum.at(stratum, members, rarity[codes])
    order = np.random.default_rng(random_state).permutation(len(sizes))
    is_taken = np.zeros(len(sizes), bool)
    for label in np.unique(stratum):
        drawn = order[stratum[order] == label]
        before = np.cumsum(sizes[drawn]) - sizes[drawn]
        is_taken[drawn[before < n_samples * sizes[drawn].sum() / len(codes)]] = True
    place = np.argsort(order)
    for label in range(len(counts)):
        of_class = np.unique(place[members[codes == label]])
        is_taken[order[of_class[:2]]] = True
    return np.flatnonzero(is_taken[members])
