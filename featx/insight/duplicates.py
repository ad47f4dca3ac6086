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

In bursts and videos most neighbours are copies themselves, and all of that would be of copies. Such sets are
known by a random share of the images, so thin that it holds few of a set: around a copy, what is left in it
is many times farther than the neighbours. Each of these sets is one image when the others are calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import false_discovery_control

from featx.insight.neighbors import (
    LEAST_DISTANCE,
    LEAST_SAMPLES,
    Neighbors,
    check_rate,
    nearest_neighbors,
    neighbors_among,
)

_LEAST_NEIGHBORS = 5
# How far from the median, in deviations, a sample's own scale may be: a set of more copies than there are
# neighbours would else look like an ordinary dense place, and anything near an outlier like a copy of it.
_MOST_DEVIATIONS = 3.0
_DEVIATIONS_OF_MAD = 1.4826
_LEAST_WIDTH = 1e-6
# Samples that the theory calls copies do not count among the bulk.
_SURE = 1e-3
# Of all images, the share to hold against neighbours that may all be copies, and its least size.
_THINNED, _LEAST_THINNED = 20, 100
# Neighbours so many times nearer than that share says are copies; classes seldom stand so far apart.
_COPIED = 4.0
# Where there are many of them, they end where the fewest samples are, and hardly any may be there.
_PARTINGS = np.linspace(np.log(2.0), np.log(8.0), 13)
_GAP, _MOST_IN_GAP = float(np.log(1.2)), 0.04
# Asked first, and the share of them among copies from which the others do not outweigh them.
_N_ASKED, _MANY_COPIED = 500, 0.1


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
    note : str
        What to know before the sets are relied on, in words, or "".
    """

    sets: list[np.ndarray]
    scores: np.ndarray
    ratios: np.ndarray
    pairs: np.ndarray
    thresholds: dict[str, float]
    note: str = ""


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


def near_duplicates(
    neighbors: Neighbors, *, X: np.ndarray | None = None, false_discovery_rate: float = 0.05
) -> NearDuplicates:
    """Sets of samples that are nearer to each other than neighbours in this data ordinarily are.

    Parameters
    ----------
    neighbors : Neighbors
        Of all samples.
    X : ndarray of shape (n_samples, n_features), optional
        What the neighbours are of. Without it sets of more than half as many copies as there are neighbours
        may hide each other, where many of the samples are in such.
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
    check_rate(false_discovery_rate)
    n_samples, n_neighbors = neighbors.indices.shape
    if n_samples < LEAST_SAMPLES or n_neighbors < _LEAST_NEIGHBORS:
        return _nothing()
    pairs, note = (_NO_PAIRS, "") if X is None else _crowded_pairs(X, neighbors)
    if len(pairs) and X is not None:
        return _with_crowds(X, neighbors, pairs, false_discovery_rate)
    found = _calibrated(neighbors, false_discovery_rate)
    return replace(found, note=note or found.note)


def _calibrated(neighbors: Neighbors, false_discovery_rate: float) -> NearDuplicates:
    n_samples = len(neighbors)
    logs = _logs(neighbors.distances)
    if np.median(logs[:, -1]) <= np.log(LEAST_DISTANCE):
        return _nothing()
    scales = _scales(logs[:, -1])
    nearness = logs - (scales[:, None] + scales[neighbors.indices]) / 2
    nearest = nearness.min(axis=1)
    location, width, is_theory = _bulk(nearest, logs)
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
    return NearDuplicates(sets, scores, ratios, pairs, thresholds, _OF_THEORY if is_theory else "")


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
    seen = content[known]
    found = near_duplicates(nearest_neighbors(seen, n_neighbors, memory_gb=memory_gb), X=seen)
    return replace(found, sets=[known[rows] for rows in found.sets], pairs=known[found.pairs])


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
    worst = np.array([ratios[rows].min() for rows in sets])
    return NearDuplicates(sets, best, worst, pairs, thresholds, by_features.note or by_content.note)


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


_NO_PAIRS = np.zeros((0, 2), np.intp)
_LOOK = "look at some of the sets before leaving them out"
_OF_THEORY = f"most images have near duplicates: what is ordinary was told by theory alone; {_LOOK}"
_UNSURE = (
    "many images have neighbours far nearer than the data are wide, as in bursts and videos, but copies are "
    "not told from others for sure: near duplicates may be missing"
)


def _nothing(thresholds: dict[str, float] | None = None) -> NearDuplicates:
    return NearDuplicates([], np.zeros(0), np.zeros(0), _NO_PAIRS, thresholds or {})


def _logs(distances: np.ndarray) -> np.ndarray:
    logs: np.ndarray = np.log(np.maximum(distances, LEAST_DISTANCE, dtype=np.float64))
    return logs


# ----------------------------------------------------------------------------------- sets of many copies


def _with_crowds(
    X: np.ndarray, neighbors: Neighbors, pairs: np.ndarray, false_discovery_rate: float
) -> NearDuplicates:
    """Sets of many copies, and what is found when each of them is one image."""
    n_samples = len(neighbors)
    crowds = connected_sets(pairs, n_samples)
    is_kept = np.ones(n_samples, bool)
    for rows in crowds:
        is_kept[rows[1:]] = False
    kept = np.flatnonzero(is_kept)
    n_crowded = n_samples - len(kept) + len(crowds)
    note = (
        f"about {n_crowded / n_samples:.0%} of the images are in sets of many copies, as in bursts and videos"
    )
    apart = nearest_neighbors(X[kept], neighbors.n_neighbors)
    found = near_duplicates(apart, false_discovery_rate=false_discovery_rate)
    # Of sets that are so far beyond chance, the share of the usual nearest distance is all there is to say.
    usual = float(np.median(apart.distances[:, 0])) if len(apart) > 1 else 0.0
    nearest = [float(neighbors.distances[rows, 0].min()) for rows in crowds]
    of_crowds = NearDuplicates(
        crowds,
        np.ones(len(crowds)),
        np.array(nearest) / max(usual, LEAST_DISTANCE),
        pairs,
        {"n_in_large_sets": float(n_crowded)},
        f"{note}; {_LOOK}",
    )
    of_others = replace(found, sets=[kept[rows] for rows in found.sets], pairs=kept[found.pairs])
    both = united(of_crowds, of_others, n_samples)
    return replace(both, thresholds=of_crowds.thresholds | found.thresholds)


def _crowded_pairs(X: np.ndarray, neighbors: Neighbors) -> tuple[np.ndarray, str]:
    """Pairs of copies where many samples are copied more often than half their neighbours; and a note."""
    n_samples, n_neighbors = neighbors.indices.shape
    n_thinned = max(n_samples // _THINNED, _LEAST_THINNED)
    if n_thinned >= n_samples:
        return _NO_PAIRS, ""
    random = np.random.default_rng(0)
    thinned = random.choice(n_samples, n_thinned, replace=False)
    logs = _logs(neighbors.distances)
    inner = logs[:, n_neighbors // 2 - 1]
    asked = random.choice(n_samples, min(_N_ASKED, n_samples), replace=False)
    is_copied = _far(X, thinned, asked, n_neighbors) - inner[asked] >= np.log(_COPIED)
    if is_copied.mean() < _MANY_COPIED:
        return _NO_PAIRS, ""
    far = _far(X, thinned, np.arange(n_samples), n_neighbors)
    parting = _parting(far - inner)
    if parting is None:
        return _NO_PAIRS, _UNSURE
    is_in = far - inner >= parting
    around = (far[:, None] + far[neighbors.indices]) / 2
    is_pair = is_in[:, None] & is_in[neighbors.indices] & (around - logs >= parting)
    row, number = np.nonzero(is_pair)
    pairs = np.sort(np.stack([row, neighbors.indices[row, number]], axis=1), axis=1)
    return np.unique(pairs, axis=0), ""


def _far(X: np.ndarray, thinned: np.ndarray, rows: np.ndarray, n_neighbors: int) -> np.ndarray:
    """How far the last neighbours of some rows would be by a share of all, as logarithms."""
    logs = _logs(neighbors_among(X[rows], X[thinned], n_neighbors + 1).distances)
    # Itself is no neighbour.
    logs = np.where(np.isin(rows, thinned)[:, None], logs[:, 1:], logs[:, :-1])
    far: np.ndarray = logs[:, -1] - _expected(logs)[1] * np.log(len(X) / len(thinned))
    return far


def _parting(nearer: np.ndarray) -> float | None:
    """From which value on samples are among copies: where the fewest are, or None where that is many."""
    partings = _PARTINGS[[(nearer >= each).mean() >= _MANY_COPIED for each in _PARTINGS]]
    n_around = np.array([np.count_nonzero(np.abs(nearer - each) < _GAP) for each in partings])
    if not len(partings) or n_around.min() > _MOST_IN_GAP * len(nearer):
        return None
    # Of gaps that are equal, the middle.
    return float(partings[n_around == n_around.min()].mean())


# ------------------------------------------------------------------------------------------- calibration


def _scales(farthest: np.ndarray) -> np.ndarray:
    median = np.median(farthest)
    reach = _MOST_DEVIATIONS * _DEVIATIONS_OF_MAD * np.median(np.abs(farthest - median))
    clipped: np.ndarray = np.clip(farthest, median - reach, median + reach)
    return clipped


def _bulk(nearest: np.ndarray, logs: np.ndarray) -> tuple[float, float, bool]:
    """Location and width of Gumbel's distribution of minima, by the quartiles of those that are no copies.

    And whether these are too few, so that theory alone says it.
    """
    location, width = _expected(logs)
    is_ordinary = nearest > location + width * np.log(_SURE)
    if is_ordinary.sum() < len(nearest) / 2:
        # Most samples have copies: the bulk is of copies, and the theory is what is left.
        return location, width, True
    quarters = np.array([0.25, 0.5, 0.75])
    low, median, high = np.quantile(nearest[is_ordinary], quarters)
    unit = np.log(-np.log1p(-quarters))
    width = max(float((high - low) / (unit[2] - unit[0])), _LEAST_WIDTH)
    return float(median - width * unit[1]), width, False


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
