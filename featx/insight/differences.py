"""Metrics of two heads on the same samples, and how much they differ.

Differences have intervals of the paired bootstrap, but for the accuracy of samples that are by themselves: it
has Newcombe's for paired shares (Statistics in Medicine 17, 1998, 2635-2650, method 10), because a bootstrap
of heads that answer alike draws nothing but no difference, and ten samples do not say that. Where a bootstrap
of groups does, they count for one sample each in Newcombe's; and so do the recalls of the classes, where it
does for the balanced accuracy. What else is the same in every resample has no interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.insight.answers import Answers
from featx.insight.intervals import is_certain, mean_interval, n_independent
from featx.insight.metrics import Interval, Metrics, bootstrap, interval, metrics_of
from featx.insight.proportions import members_of, paired_difference_interval

#: What is compared.
COMPARED = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss")


@dataclass(frozen=True)
class Difference:
    """One metric of both heads on the same samples.

    Attributes
    ----------
    a, b : float
    difference : float
        That of ``a`` less that of ``b``.
    difference_ci : tuple of float or None
        95 % interval for pairs. None where every resample has the same difference, in the area under the
        ROC curve or the log loss: such samples bound nothing.
    """

    a: float
    b: float
    difference: float
    difference_ci: Interval | None


def differences_of(of_a: Answers, of_b: Answers, n_resamples: int, random_state: int) -> dict[str, Any]:
    """Each metric of both heads under the same weights, as a `Difference`; None where there is none.

    Parameters
    ----------
    of_a, of_b : Answers
        Of the same samples.
    n_resamples, random_state : int

    Examples
    --------
    >>> codes = np.array([0, 1] * 5)
    >>> answers = Answers(codes, codes, None, None, None, 2)
    >>> found = differences_of(answers, answers, 100, 0)["accuracy"]
    >>> found.difference, round(found.difference_ci[1], 3)
    (0.0, 0.278)
    """
    pair = metrics_of(of_a), metrics_of(of_b)
    n_samples = len(of_a.codes)
    a, b = _overall(pair, np.ones((1, n_samples)))
    blocks = [
        _overall(pair, weights) for weights in bootstrap(n_samples, of_a.groups, n_resamples, random_state)
    ]
    found: dict[str, Any] = dict.fromkeys(COMPARED)
    for name in a.keys() & b.keys():
        if not np.isnan(a[name][0]):
            draws = np.concatenate([block_a[name] - block_b[name] for block_a, block_b in blocks])
            value_a, value_b = float(a[name][0]), float(b[name][0])
            difference_ci = _difference_interval(name, value_a - value_b, draws, (of_a, of_b))
            found[name] = Difference(value_a, value_b, value_a - value_b, difference_ci)
    return found


def _difference_interval(
    name: str, difference: float, draws: np.ndarray, pair: tuple[Answers, Answers]
) -> Interval | None:
    """Of one metric; see the module."""
    everywhere, codes = np.ones(len(pair[0].codes), bool), pair[0].codes
    is_alone = members_of(pair[0].groups) is None
    is_same = is_certain(difference, draws)
    if name == "accuracy" and (is_alone or is_same):
        return _paired_interval(pair, everywhere)
    if not is_same:
        return interval(draws, lowest=-1.0, highest=1.0)
    if name == "balanced_accuracy":
        classes = [codes == label for label in np.unique(codes)]
        return mean_interval([(difference, _paired_interval(pair, rows)) for rows in classes])
    return None


def _paired_interval(pair: tuple[Answers, Answers], rows: np.ndarray) -> Interval:
    """Newcombe's, of the shares of some samples that either head gets right; groups count for one each."""
    a, b = (answers.predicted[rows] == answers.codes[rows] for answers in pair)
    n_samples = n_independent(rows, members_of(pair[0].groups))
    shares = (a & b).mean(), (a & ~b).mean(), (~a & b).mean(), (~a & ~b).mean()
    return paired_difference_interval(*(float(share) * n_samples for share in shares))


def _overall(pair: tuple[Metrics, Metrics], weights: np.ndarray) -> list[dict[str, np.ndarray]]:
    """What is compared of either head's metrics."""
    values = [metrics(weights) for metrics in pair]
    return [{name: of_head[name] for name in COMPARED if name in of_head} for of_head in values]
