"""Repeats of one experiment on one data set: how the parts are drawn, and what their scores say together.

A repeat orders whole groups at random, so that every leading piece of the order has the classes in about
the shares that all samples have them in. The end of the order is held out, and training parts are the
beginnings of the rest: each holds the smaller ones, no group is parted between training and held-out part,
and two sizes of one repeat differ by the added samples alone. scikit-learn's ``learning_curve`` takes the
beginnings of a fold too, but in the fold's order, or shuffled without regard to classes.

Repeats are not independent: they hold out and train on the same samples over and over, so that the
deviation of their mean is more than their own deviation by the square root of their number: as for folds, it
is Nadeau and Bengio's (see `featx.insight.folds`), with the t distribution of ``n_repeats - 1`` degrees of
freedom. Its ratio is taken as that of the whole parts for every size.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from featx.insight.folds import deviation_of_mean
from featx.insight.metrics import CONFIDENCE, Interval


def draw_repeats(
    codes: np.ndarray, members: np.ndarray, *, n_repeats: int, test_size: float, random_state: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Order the samples anew for each repeat, and hold the end of the order out.

    Parameters
    ----------
    codes, members : ndarray of int, shape (n_samples,)
        Class and group of each sample; every class is in two groups or more.
    n_repeats : int
    test_size : float
        Share to hold out, met as nearly as whole groups allow.
    random_state : int

    Returns
    -------
    list of (training, held_out)
        Indices of samples. The training part is in an order whose beginnings are training parts, too: the
        first samples are one of each class.

    Examples
    --------
    >>> codes, members = np.array([0, 1] * 8), np.arange(16) // 2
    >>> training, held_out = draw_repeats(codes, members, n_repeats=1, test_size=0.25, random_state=0)[0]
    >>> len(training), np.bincount(codes[training[:4]]), np.isin(members[held_out], members[training]).any()
    (12, array([2, 2]), np.False_)
    """
    random = np.random.default_rng(random_state)
    return [_draw(codes, members, test_size, random) for _ in range(n_repeats)]


def _draw(
    codes: np.ndarray, members: np.ndarray, test_size: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    order, n_leading = _ordered_groups(codes, members, random)
    sizes = np.bincount(members)[order]
    # Of the boundaries between groups, the nearest; those that lead hold one of each class.
    ends = np.cumsum(sizes)[n_leading - 1 : -1]
    n_training = ends[np.abs(ends - (1 - test_size) * len(codes)).argmin()]
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    samples = random.permutation(len(codes))
    samples = samples[np.argsort(place[members[samples]], kind="stable")]
    training = samples[:n_training]
    first = np.sort(np.unique(codes[training], return_index=True)[1])
    return np.concatenate([training[first], np.delete(training, first)]), samples[n_training:]


def _ordered_groups(
    codes: np.ndarray, members: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, int]:
    """Groups in random order, the classes spread evenly over it, and how many lead to hold every class."""
    sizes, counts = np.bincount(members), np.bincount(codes)
    # A group counts for the rarest class in it, or rare classes would depend on luck.
    rarity = np.argsort(np.argsort(counts, kind="stable"))
    stratum = np.full(len(sizes), len(counts))
    np.minimum.at(stratum, members, rarity[codes])
    shuffled, position = random.permutation(len(sizes)), np.empty(len(sizes))
    for label in np.unique(stratum):
        drawn = shuffled[stratum[shuffled] == label]
        through = np.cumsum(sizes[drawn])
        position[drawn] = (through - sizes[drawn] * random.random(len(drawn))) / through[-1]
    order = np.argsort(position, kind="stable")
    place = np.argsort(order)
    leading = np.unique([place[members[codes == label]].min() for label in range(len(counts))])
    return np.concatenate([order[leading], np.delete(order, leading)]), len(leading)


def corrected_interval(scores: np.ndarray, share: float, n_scored: float) -> Interval:
    """The corrected resampled interval of the mean of repeats, cut to 0 and 1; see the module.

    Parameters
    ----------
    scores : ndarray of shape (n_repeats,)
        Two or more, from 0 to 1.
    share : float
        Of the samples that a repeat holds out.
    n_scored : float
        Samples that a repeat scores: a score varies by no less than chance has it for so many.

    Examples
    --------
    >>> low, high = corrected_interval(np.array([0.8, 0.7, 0.9, 0.8]), 0.25, 40)
    >>> round(low, 3), round(high, 3)
    (0.602, 0.998)
    """
    half = _quantile(len(scores)) * float(deviation_of_mean(scores, share / (1 - share), n_scored))
    mean = float(np.mean(scores))
    return max(0.0, mean - half), min(1.0, mean + half)


def draw_means(scores: np.ndarray, share: float, n_draws: int, random_state: int) -> np.ndarray:
    """Bootstrap means over repeats, stretched until they are as wide as `corrected_interval`.

    Parameters
    ----------
    scores : ndarray of shape (n_repeats, n_sizes)
    share : float
        Of the samples that a repeat holds out.
    n_draws, random_state : int

    Returns
    -------
    ndarray of shape (n_draws, n_sizes)
        What the sizes of a repeat have in common stays in common.

    Examples
    --------
    >>> scores = np.array([[0.7, 0.8], [0.6, 0.7], [0.8, 0.9], [0.7, 0.8]])
    >>> draws = draw_means(scores, 0.25, 200, 0)
    >>> draws.shape, np.allclose(np.diff(draws), 0.1)
    ((200, 2), True)
    """
    n_repeats = len(scores)
    counts = np.random.default_rng(random_state).multinomial(
        n_repeats, np.full(n_repeats, 1 / n_repeats), n_draws
    )
    mean = scores.mean(axis=0)
    # A bootstrap mean has (n_repeats - 1) / n_repeats^2 of the repeats' own variance.
    variance = (1 / n_repeats + share / (1 - share)) * n_repeats**2 / (n_repeats - 1)
    wider = _quantile(n_repeats) / _quantile(None)
    stretched: np.ndarray = mean + wider * np.sqrt(variance) * (counts @ scores / n_repeats - mean)
    return stretched


def _quantile(n_repeats: int | None) -> float:
    """Of Student's t for so many repeats; of the normal distribution for None."""
    freedom = np.inf if n_repeats is None else n_repeats - 1
    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))
