"""Images that stand more than once: the same bytes, or features nearer than neighbours ordinarily are.

How near is too near is learned from the data. The distance of a pair is compared with how far apart samples
are around it, their distance to the last neighbour that was looked for. Where samples lie evenly in some
number of dimensions m, the nearest of k neighbours is at the k-th one's distance times the m-th root of the
least of k - 1 uniform draws (E. Levina and P. Bickel, *Maximum likelihood estimation of intrinsic dimension*,
NIPS 2004; E. Facco et al., *Estimating the intrinsic dimension of datasets by a minimal neighborhood
information*, Scientific Reports 7, 2017), whose logarithm follows Gumbel's distribution of minima. Its place
and width are those of the bulk of the samples, not of the theory (B. Efron, *Large-scale simultaneous
hypothesis testing: the choice of a null hypothesis*, JASA 99, 2004), so that features of several densities
and dimensions calibrate themselves. Then Benjamini and Hochberg's rule keeps the share of false ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import false_discovery_control

from featx.checks import explain
from featx.errors import HeadError
from featx.insight.neighbors import Neighbors, nearest_neighbors

# What float32 tells from 0, between rows of length 1.
_LEAST_DISTANCE = 1e-6
# Fewer samples have no bulk to speak of.
_LEAST_SAMPLES, _LEAST_NEIGHBORS = 10, 5
# How far from the median, in deviations, a sample's own scale may be: a set of more copies than there are
# neighbours would else look like an ordinary dense place, and anything near an outlier like a copy of it.
_MOST_DEVIATIONS = 3.0
_DEVIATIONS_OF_MAD = 1.4826
_LEAST_WIDTH = 1e-6
# Samples that the theory calls copies do not count among the bulk.
_SURE = 1e-3


@dataclass(frozen=True)
class NearDuplicates:
    """Samples that are nearer to each other than chance explains.

    Attributes
    ----------
    sets : list of ndarray of int
        Rows, rising, of samples that pairs connect; the surest set first.
    scores : ndarray of shape (n_sets,), float
        1 less the adjusted p-value of the nearest pair of each set.
    ratios : ndarray of shape (n_sets,), float
        The nearest pair's distance as a share of the distance that is ordinary for a nearest neighbour.
    pairs : ndarray of shape (n_pairs, 2), int
        Rows, the smaller first.
    thresholds : dict of str to float
        What was calibrated: ``location`` and ``width`` of the logarithm of nearest to last neighbour,
        ``ratio`` of the farthest pair that counts, ``false_discovery_rate``. Empty where there are too few
        samples, or too many alike, to calibrate anything.
    """

    sets: list[np.ndarray]
    scores: np.ndarray
    ratios: np.ndarray
    pairs: np.ndarray
    thresholds: dict[str, float]


def exact_duplicates(image_sha256: Sequence[str]) -> list[np.ndarray]:
    """Sets of samples whose images are the same bytes.

    Parameters
    ----------
    image_sha256 : sequence of str
        Digest of each image; "" is unknown, and equal to none.

    Returns
    -------
    list of ndarray of int
        Rows of each set of two or more, rising; sets by their first row.

    Examples
    --------
    >>> exact_duplicates(["a", "b", "", "a", ""])
    [array([0, 3])]
    """
    rows_of: dict[str, list[int]] = {}
    for row, digest in enumerate(image_sha256):
        if digest:
            rows_of.setdefault(digest, []).append(row)
    return [np.array(rows) for rows in rows_of.values() if len(rows) > 1]


def near_duplicates(neighbors: Neighbors, *, false_discovery_rate: float = 0.05) -> NearDuplicates:
    """Sets of samples that are nearer to each other than neighbours in this data ordinarily are.

    Parameters
    ----------
    neighbors : Neighbors
        Of all samples; sets of up to half as many copies as neighbours calibrate well.
    false_discovery_rate : float, default=0.05
        Expected share of samples that are found by chance.

    Returns
    -------
    NearDuplicates
        Nothing where there are fewer than 10 samples, or most are alike.

    Raises
    ------
    HeadError
        When the rate is none.

    Examples
    --------
    >>> from featx.insight.neighbors import nearest_neighbors
    >>> X = np.random.default_rng(0).normal(size=(200, 8)) + 5
    >>> X[150] = X[3] + 0.001
    >>> near_duplicates(nearest_neighbors(X)).sets
    [array([  3, 150])]
    """
    if not 0 < false_discovery_rate < 1:
        received = f"false_discovery_rate={false_discovery_rate!r}"
        raise HeadError(explain(received, "a share between 0 and 1", "pass 0.05"))
    n_samples, n_neighbors = neighbors.indices.shape
    if n_samples < _LEAST_SAMPLES or n_neighbors < _LEAST_NEIGHBORS:
        return _nothing()
    logs = np.log(np.maximum(neighbors.distances, _LEAST_DISTANCE, dtype=np.float64))
    if np.median(logs[:, -1]) <= np.log(_LEAST_DISTANCE):
        return _nothing()
    scales = _scales(logs[:, -1])
    nearness = logs - (scales[:, None] + scales[neighbors.indices]) / 2
    nearest = nearness.min(axis=1)
    location, width = _bulk(nearest, logs)
    adjusted = false_discovery_control(-np.expm1(-np.exp((nearest - location) / width)))
    is_found = adjusted <= false_discovery_rate
    thresholds = {
        "location": float(location),
        "width": float(width),
        "false_discovery_rate": false_discovery_rate,
    }
    if not is_found.any():
        return _nothing(thresholds)
    threshold = float(nearest[is_found].max())
    # The ordinary nearest neighbour is at the median of the distribution.
    ordinary = location + width * np.log(np.log(2))
    thresholds["ratio"] = float(np.exp(threshold - ordinary))
    row, number = np.nonzero(nearness <= threshold)
    pairs = np.unique(np.sort(np.stack([row, neighbors.indices[row, number]], axis=1), axis=1), axis=0)
    sets = sorted(connected_sets(pairs, n_samples), key=lambda rows: (nearest[rows].min(), rows[0]))
    scores = np.array([1 - adjusted[rows].min() for rows in sets])
    ratios = np.array([np.exp(nearest[rows].min() - ordinary) for rows in sets])
    return NearDuplicates(sets, scores, ratios, pairs, thresholds)


def near_copies(content: np.ndarray, *, n_neighbors: int = 20, memory_gb: float = 1.0) -> NearDuplicates:
    """Sets of images that look alike from afar: copies that were compressed, resized or renamed.

    Features are no good witness of these where they are of fine texture. Of the solar cells of ELPV, one
    in twenty images that were encoded anew is found by its features, and all are by this.

    Parameters
    ----------
    content : ndarray of shape (n_samples, n_pixels)
        Images as `featx.images.miniatures.make_miniatures` gives them; rows that are not finite are left out.
    n_neighbors : int, default=20
    memory_gb : float, default=1.0
        As for `featx.insight.neighbors.nearest_neighbors`.

    Returns
    -------
    NearDuplicates

    Examples
    --------
    >>> content = np.random.default_rng(0).uniform(0, 255, (100, 256))
    >>> content[60] = content[9] + 1
    >>> near_copies(content).sets
    [array([ 9, 60])]
    """
    known = np.flatnonzero(np.isfinite(content).all(axis=1))
    found = near_duplicates(nearest_neighbors(content[known], n_neighbors, memory_gb=memory_gb))
    sets = [known[rows] for rows in found.sets]
    return NearDuplicates(sets, found.scores, found.ratios, known[found.pairs], found.thresholds)


def united(by_features: NearDuplicates, by_content: NearDuplicates, n_samples: int) -> NearDuplicates:
    """What either found: sets that share a sample become one, with the better score and ratio.

    Thresholds of the second have names that begin with ``content_``.

    Examples
    --------
    >>> one, other = (near_copies(np.r_[np.eye(20), np.eye(20)[:n]] + 1) for n in (1, 2))
    >>> united(one, other, 22).sets
    [array([ 0, 20]), array([ 1, 21])]
    """
    scores, ratios = np.zeros(n_samples), np.full(n_samples, np.inf)
    for found in (by_features, by_content):
        for rows, score, ratio in zip(found.sets, found.scores, found.ratios, strict=True):
            scores[rows], ratios[rows] = np.maximum(scores[rows], score), np.minimum(ratios[rows], ratio)
    pairs = np.unique(np.concatenate([by_features.pairs, by_content.pairs]), axis=0)
    sets = connected_sets(pairs, n_samples)
    sets.sort(key=lambda rows: (-scores[rows].max(), ratios[rows].min(), rows[0]))
    thresholds = by_features.thresholds | {
        f"content_{name}": value for name, value in by_content.thresholds.items()
    }
    best = np.array([scores[rows].max() for rows in sets])
    return NearDuplicates(sets, best, np.array([ratios[rows].min() for rows in sets]), pairs, thresholds)


def connected_sets(pairs: np.ndarray, n_samples: int) -> list[np.ndarray]:
    """Sets of two or more samples that pairs connect, rows rising.

    Examples
    --------
    >>> connected_sets(np.array([[0, 3], [3, 4]]), 5)
    [array([0, 3, 4])]
    """
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_samples, n_samples))
    n_sets, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind="stable")
    ends = np.cumsum(np.bincount(member, minlength=n_sets))
    return [rows for rows in np.split(order, ends[:-1]) if len(rows) > 1]


def _nothing(thresholds: dict[str, float] | None = None) -> NearDuplicates:
    return NearDuplicates([], np.zeros(0), np.zeros(0), np.zeros((0, 2), np.intp), thresholds or {})


def _scales(farthest: np.ndarray) -> np.ndarray:
    median = np.median(farthest)
    reach = _MOST_DEVIATIONS * _DEVIATIONS_OF_MAD * np.median(np.abs(farthest - median))
    clipped: np.ndarray = np.clip(farthest, median - reach, median + reach)
    return clipped


def _bulk(nearest: np.ndarray, logs: np.ndarray) -> tuple[float, float]:
    """Location and width of Gumbel's distribution of minima, by the quartiles of those that are no copies."""
    location, width = _expected(logs)
    is_ordinary = nearest > location + width * np.log(_SURE)
    if is_ordinary.sum() < len(nearest) / 2:
        # Most samples have copies: the bulk is of copies, and the theory is what is left.
        return location, width
    quarters = np.array([0.25, 0.5, 0.75])
    low, median, high = np.quantile(nearest[is_ordinary], quarters)
    unit = np.log(-np.log1p(-quarters))
    width = max(float((high - low) / (unit[2] - unit[0])), _LEAST_WIDTH)
    return float(median - width * unit[1]), width


def _expected(logs: np.ndarray) -> tuple[float, float]:
    """The same of samples that lie evenly, in the dimensions that the outer half of neighbours tell.

    Copies are among the inner ones. The logarithm of last to j-th of k neighbours has the mean
    ``(1/j + ... + 1/(k - 1)) / m``.
    """
    n_neighbors = logs.shape[1]
    ranks = np.arange(n_neighbors // 2, n_neighbors)
    growth = [np.sum(1 / np.arange(rank, n_neighbors)) for rank in ranks]
    typical = float(np.median((logs[:, -1:] - logs[:, ranks - 1]).mean(axis=1)))
    width = max(typical / float(np.mean(growth)), _LEAST_WIDTH)
    return -width * float(np.log(n_neighbors - 1)), width
