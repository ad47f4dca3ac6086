"""Shares of samples, with intervals that hold for few samples, for shares near 0 or 1, and for groups.

A bootstrap of ten samples that are all right draws ten right ones every time: an interval of no width, of
the samples that say least. The interval of Wilson (Journal of the American Statistical Association 22, 1927;
recommended for few samples by Brown, Cai and DasGupta, Statistical Science 16, 2001) does not.

Where samples come in groups, they count for as many as would tell as much if they were independent: the
binomial variance over the variance between groups (Korn and Graubard, Survey Methodology 24, 1998).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import norm, t

from featx.insight.metrics import CONFIDENCE, Interval

_TAIL = (1 - CONFIDENCE) / 2
#: Of the normal distribution, at 95 %.
QUANTILE = float(norm.isf(_TAIL))


def members_of(groups: Sequence[Any] | np.ndarray | None) -> np.ndarray | None:
    """Index of each sample's group; None where every sample is by itself.

    Examples
    --------
    >>> members_of(["b", "a", "b"]), members_of(["b", "a"])
    (array([1, 0, 1]), None)
    """
    if groups is None:
        return None
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    return members if len(names) < len(members) else None


def wilson_interval(share: float, n_samples: float) -> Interval:
    """Wilson's 95 % interval of a share of independent samples.

    Parameters
    ----------
    share : float
    n_samples : float
        Positive; not whole where it is an effective number.

    Examples
    --------
    >>> low, high = wilson_interval(1.0, 10)
    >>> round(low, 3), high
    (0.722, 1.0)
    """
    square = QUANTILE**2 / n_samples
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(square * share * (1 - share) + square**2 / 4) / (1 + square)
    # Rounding, where the share is 0 or 1.
    low = 0.0 if share == 0 else max(0.0, centre - half)
    return low, 1.0 if share == 1 else min(1.0, centre + half)


def share_of(is_hit: np.ndarray, members: np.ndarray | None = None) -> tuple[float, Interval]:
    """The share of samples that are hits, and its 95 % interval.

    Parameters
    ----------
    is_hit : ndarray of bool, shape (n_samples,)
    members : ndarray of int, shape (n_samples,), optional
        Group of each sample.

    Returns
    -------
    share : float
        0, and anything from 0 to 1, where there are no samples.
    interval : tuple of float

    Examples
    --------
    Copies of a sample say no more than the sample does:

    >>> is_hit = np.array([True, True, True, False])
    >>> share_of(is_hit)
    (0.75, (0.300..., 0.954...))
    >>> _, (low, high) = share_of(np.repeat(is_hit, 9), np.repeat(np.arange(4), 9))
    >>> low < 0.31, high > 0.95
    (True, True)
    """
    if not len(is_hit):
        return 0.0, (0.0, 1.0)
    share = float(np.mean(is_hit))
    return share, wilson_interval(share, effective_size(is_hit, members))


def effective_size(is_hit: np.ndarray, members: np.ndarray | None) -> float:
    """How many independent samples would tell as much of a share as these in groups.

    Parameters
    ----------
    is_hit : ndarray of bool, shape (n_samples,)
    members : ndarray of int, shape (n_samples,), or None

    Returns
    -------
    float
        From nearly 0, of one group, to n_samples. Of shares of 0 and 1, whose samples show no spread, the
        number of groups.

    Examples
    --------
    >>> is_hit = np.array([True, True, False, False])
    >>> effective_size(is_hit, None), effective_size(is_hit, np.array([0, 0, 1, 1])) < 2
    (4.0, True)
    """
    n_samples = float(len(is_hit))
    if members is None:
        return n_samples
    names, members = np.unique(members, return_inverse=True)
    n_groups = len(names)
    if n_groups == n_samples:
        return n_samples
    share = float(np.mean(is_hit))
    if share in (0.0, 1.0):
        return float(n_groups)
    if n_groups == 1:
        # One group shows no spread between groups at all.
        return 1.0
    residuals = np.bincount(members, weights=is_hit - share)
    variance = float((residuals**2).sum()) * n_groups / (n_groups - 1) / n_samples**2
    # Few groups tell their own spread badly: Student's quantile in place of the normal one.
    loss = (QUANTILE / float(t.isf(_TAIL, n_groups - 1))) ** 2
    # Groups that are more even than chance are not taken at their word.
    size = min(n_samples, share * (1 - share) / variance) if variance > 0 else n_samples
    return size * loss


def difference_interval(a: tuple[float, Interval], b: tuple[float, Interval]) -> Interval:
    """The 95 % interval of the share a less the share b, each with its own interval.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10). Where the samples of a
    group are among both, the shares go together and the interval is wider than need be.

    Examples
    --------
    >>> low, high = difference_interval((0.8, wilson_interval(0.8, 70)), (0.6, wilson_interval(0.6, 80)))
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    (of_a, (low_a, high_a)), (of_b, (low_b, high_b)) = a, b
    down, up = math.hypot(of_a - low_a, high_b - of_b), math.hypot(high_a - of_a, of_b - low_b)
    return of_a - of_b - down, of_a - of_b + up


def paired_difference_interval(n_both: float, n_only_a: float, n_only_b: float, n_neither: float) -> Interval:
    """The 95 % interval of a share of samples less another share of the same samples.

    Newcombe's hybrid score interval for pairs (Statistics in Medicine 17, 1998, 2635-2650, method 10). It has
    a width where the shares are of just the same samples: the next one might be in one of them alone.

    Parameters
    ----------
    n_both, n_only_a, n_only_b, n_neither : float
        Samples that are hits of both, of one, and of neither; not whole where they are effective numbers.

    Examples
    --------
    >>> low, high = paired_difference_interval(36, 14, 0, 0)
    >>> round(low, 4), round(high, 4)
    (0.1528, 0.4167)
    >>> low, high = paired_difference_interval(10, 0, 0, 0)
    >>> round(low, 3), round(high, 3)
    (-0.278, 0.278)
    """
    n_samples = n_both + n_only_a + n_only_b + n_neither
    a, b = (n_both + n_only_a) / n_samples, (n_both + n_only_b) / n_samples
    (low_a, high_a), (low_b, high_b) = wilson_interval(a, n_samples), wilson_interval(b, n_samples)
    product = n_samples**4 * a * (1 - a) * b * (1 - b)
    excess = n_both * n_neither - n_only_a * n_only_b
    # How much the shares go together, less what continuity takes off.
    excess = max(excess - n_samples / 2, 0.0) if excess > 0 else excess
    together = excess / math.sqrt(product) if product > 0 else 0.0

    def distance(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * together * x * y + y * y))

    return a - b - distance(a - low_a, high_b - b), a - b + distance(high_a - a, b - low_b)
