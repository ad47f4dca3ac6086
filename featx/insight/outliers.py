"""Images unlike all others, and images unlike those that a head learns from.

A sample is as odd as it is far from its k-th nearest neighbour (S. Ramaswamy et al., *Efficient algorithms
for mining outliers from large data sets*, SIGMOD 2000), the last of those that were looked for: a handful of
like images, such as a few frames of noise, are near to each other, and hide one another from measures that
compare with the nearest few, as the local outlier factor does. The logarithms of these distances are set
against the bulk of the samples by their median and upper quartile (B. Efron, JASA 99, 2004), as a normal
distribution, and Benjamini and Hochberg's rule keeps the share of false alarms among what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, norm

from featx.insight.neighbors import (
    LEAST_DISTANCE,
    LEAST_SAMPLES,
    Neighbors,
    check_rate,
    nearest_neighbors,
    neighbors_among,
)

# Of the references to expect among the neighbours; so many are there for nearly every sample.
_SHARE_COUNTED = 0.67


@dataclass(frozen=True)
class Outliers:
    """Samples that lie far from the others.

    Attributes
    ----------
    scores : ndarray of shape (n_samples,), float
        How far each is, in deviations of the bulk; 0 where nothing can be said.
    ratios : ndarray of shape (n_samples,), float
        The distance as a multiple of the median one.
    rows : ndarray of shape (n_found,), int
        Those that chance does not explain, the highest score first.
    thresholds : dict of str to float
        What was calibrated: ``median`` distance, ``deviation`` of its logarithm, the least ``score`` that
        is found, ``false_discovery_rate``, and ``expected_false``, the false alarms to expect among the
        found. Empty where there are too few samples, or all are alike.
    """

    scores: np.ndarray
    ratios: np.ndarray
    rows: np.ndarray
    thresholds: dict[str, float]


def outliers(
    neighbors: Neighbors,
    *,
    X: np.ndarray | None = None,
    sets: Sequence[np.ndarray] = (),
    false_discovery_rate: float = 0.05,
) -> Outliers:
    """Samples that lie farther from their neighbours than the bulk does.

    Parameters
    ----------
    neighbors : Neighbors
        Of all samples.
    X : ndarray of shape (n_samples, n_features), optional
        The features, for ``sets``.
    sets : sequence of ndarray of int, optional
        Rows that are copies of each other; none in two of them. With ``X``, a set of more copies than there
        are neighbours counts as one sample when it is measured, so that copies do not hide that they are
        odd; smaller sets cannot hide it.
    false_discovery_rate : float, default=0.05
        Expected share of false alarms among what is found.

    Returns
    -------
    Outliers
        Nothing where there are fewer than 10 samples, or all are alike.

    Raises
    ------
    HeadError
        When the rate is none.

    Examples
    --------
    >>> from featx.insight.neighbors import nearest_neighbors
    >>> X = np.random.default_rng(0).normal(size=(200, 8)) + 5
    >>> X[7] *= -1
    >>> found = outliers(nearest_neighbors(X))
    >>> int(found.rows[0]), round(float(found.ratios[7]), 1)
    (7, 22.7)
    """
    check_rate(false_discovery_rate)
    n_samples = len(neighbors)
    if n_samples < LEAST_SAMPLES:
        return _nothing(n_samples)
    distances = neighbors.distances[:, -1].astype(np.float64)
    large = [rows for rows in sets if len(rows) > neighbors.n_neighbors]
    if X is not None and large:
        _measure_once(X, large, neighbors.n_neighbors, distances)
    return _judged(distances, distances, false_discovery_rate)


def _measure_once(X: np.ndarray, sets: Sequence[np.ndarray], n_neighbors: int, distances: np.ndarray) -> None:
    """Write how far each set is from what is left when every set is one image."""
    first = np.array([rows[0] for rows in sets])
    is_further = np.zeros(len(X), bool)
    for rows in sets:
        is_further[rows[1:]] = True
    # Itself is the nearest of one more.
    among = neighbors_among(X[first], X[~is_further], n_neighbors + 1).distances
    if among.shape[1] > 1:
        for rows, distance in zip(sets, among[:, -1], strict=True):
            distances[rows] = distance


def out_of_distribution(
    X: np.ndarray,
    is_reference: np.ndarray,
    *,
    neighbors: Neighbors | None = None,
    n_neighbors: int = 20,
    memory_gb: float = 1.0,
    false_discovery_rate: float = 0.05,
) -> Outliers:
    """Samples that lie farther from a reference, such as the training part, than its own samples do.

    What counts is the distance to one of the nearest references: of 20 neighbours, the tenth reference where
    three in four samples are references.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    is_reference : ndarray of shape (n_samples,), bool
    neighbors : Neighbors, optional
        Of all samples, references or not, where they are known: then hardly any work is left.
    n_neighbors : int, default=20
        To look for where they are not.
    memory_gb : float, default=1.0
    false_discovery_rate : float, default=0.05
        Expected share of false alarms among what is found.

    Returns
    -------
    Outliers
        References have the score 0. Nothing where there are fewer than 10 references, or all are alike.

    Raises
    ------
    HeadError
        When features are not finite, or a parameter makes no sense.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(200, 8)) + 5
    >>> X[150] *= -1
    >>> int(out_of_distribution(X, np.arange(200) < 100).rows[0])
    150
    """
    check_rate(false_discovery_rate)
    is_reference = np.asarray(is_reference, bool)
    queries = np.flatnonzero(~is_reference)
    if is_reference.sum() < LEAST_SAMPLES or not len(queries):
        return _nothing(len(X))
    if neighbors is None:
        neighbors = nearest_neighbors(X, n_neighbors, memory_gb=memory_gb)
    n_counted = max(1, int(_SHARE_COUNTED * neighbors.n_neighbors * is_reference.mean()))
    n_so_far = np.cumsum(is_reference[neighbors.indices], axis=1)
    last = (n_so_far >= n_counted).argmax(axis=1)
    distances = np.take_along_axis(neighbors.distances, last[:, None], axis=1)[:, 0]
    is_known = n_so_far[:, -1] >= n_counted
    unknown = queries[~is_known[queries]]
    if len(unknown):
        # Among many of their own kind: the references are beyond all neighbours that were looked for.
        among = neighbors_among(X[unknown], X[is_reference], n_counted, memory_gb=memory_gb)
        distances[unknown] = among.distances[:, -1]
    bulk = distances[is_reference & is_known]
    if len(bulk) < LEAST_SAMPLES:
        return _nothing(len(X))
    judged = _judged(distances[queries], bulk, false_discovery_rate)
    scores, ratios = np.zeros(len(X)), np.ones(len(X))
    scores[queries], ratios[queries] = judged.scores, judged.ratios
    return Outliers(scores, ratios, queries[judged.rows], judged.thresholds)


def _nothing(n_samples: int) -> Outliers:
    return Outliers(np.zeros(n_samples), np.ones(n_samples), np.zeros(0, np.intp), {})


def _judged(distances: np.ndarray, of_bulk: np.ndarray, false_discovery_rate: float) -> Outliers:
    """Distances set against the bulk's, which may be the same."""
    logs, bulk = (
        np.log(np.maximum(values, LEAST_DISTANCE, dtype=np.float64)) for values in (distances, of_bulk)
    )
    median, upper = np.quantile(bulk, [0.5, 0.75])
    deviation = float((upper - median) / norm.ppf(0.75))
    if deviation <= 0:
        return _nothing(len(distances))
    scores = (logs - median) / deviation
    is_found = false_discovery_control(norm.sf(scores)) <= false_discovery_rate
    rows = np.flatnonzero(is_found)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    thresholds = {
        "median": float(np.exp(median)),
        "deviation": deviation,
        "false_discovery_rate": false_discovery_rate,
        "expected_false": false_discovery_rate * len(rows),
    }
    if len(rows):
        thresholds["score"] = float(scores[rows[-1]])
    return Outliers(scores, np.exp(logs - median), rows, thresholds)
