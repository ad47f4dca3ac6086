"""Which interval a figure has: of shares Wilson's, of the others the bootstrap's, and never one of no width.

Accuracy, precision and recall are shares of samples, and F1 is a share in disguise: ``2 J / (1 + J)``, where
J is the share that is both among the samples that are of the class, predicted as it, or both. Balanced
accuracy is a mean of shares of different samples, whose intervals are put together as Zou, Huang and Zhang do
(Computational Statistics and Data Analysis 53, 2009): distances from the figure are added in squares.
Where groups have samples of several classes, and of the mean of F1, whose classes share mistakes, shares go
together; there each end is the farther one of that interval and the bootstrap's.

A bootstrap whose every draw is the figure itself would be certain of it: of ten samples that are ranked
without a mistake, it draws nothing else. There the area under the ROC curve has Newcombe's interval
(Statistics in Medicine 25, 2006, method 5), which is to Hanley and McNeil's variance what Wilson's is to the
binomial one; the average precision Wilson's, for as many samples as are of the class (Boyd, Eng and Page,
ECML PKDD 2013); and the Brier score and the calibration error Wilson's of a share that is as large, which
numbers from 0 to 1 do not vary more than. The log loss has no upper end, and samples that show no spread
bound nothing: no interval. Groups count for one sample each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq

from featx.insight.answers import Answers
from featx.insight.metrics import Interval, basic_interval, interval
from featx.insight.proportions import QUANTILE, members_of, share_of, wilson_interval

#: A figure and its interval, both None where there is no such figure.
Figure = tuple[float | None, Interval | None]

_ROUNDING = 1e-12


# ----------------------------------------------------------------------------------------- shares


def class_figures(answers: Answers, label: int) -> dict[str, Figure]:
    """Precision, recall and F1 of one class, none of which there need be.

    Parameters
    ----------
    answers : Answers
    label : int

    Examples
    --------
    >>> codes, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])
    >>> class_figures(Answers(codes, predicted, None, None, None, 2), 1)
    {'precision': (None, None), 'recall': (0.0, (0.0, 0.793...)), 'f1': (0.0, (0.0, 0.884...))}
    """
    members = members_of(answers.groups)
    is_true, is_predicted = answers.codes == label, answers.predicted == label
    both, found = is_true & is_predicted, {}
    among = {"precision": is_predicted, "recall": is_true, "f1": is_true | is_predicted}
    for name, rows in among.items():
        figure: Figure = (None, None)
        if rows.any():
            figure = share, ends = share_of(both[rows], None if members is None else members[rows])
            if name == "f1":
                figure = _f1(share), (_f1(ends[0]), _f1(ends[1]))
        found[name] = figure
    return found


def _f1(both: float) -> float:
    return 2 * both / (1 + both)


def mean_interval(figures: Sequence[Figure]) -> Interval:
    """The 95 % interval of a mean of independent figures, each with its own; see the module.

    Figures that there are not are left out.

    Examples
    --------
    >>> low, high = mean_interval([(0.5, (0.2, 0.8)), (1.0, (0.6, 1.0)), (None, None)])
    >>> round(low, 2), round(high, 2)
    (0.5, 0.9)
    """
    known = [(value, *ends) for value, ends in figures if value is not None and ends is not None]
    values, lows, highs = np.array(known).T
    mean = float(values.mean())
    down, up = (float(np.hypot.reduce(values - ends)) / len(values) for ends in (lows, highs))
    return mean - down, mean + up


def hull(a: Interval, b: Interval) -> Interval:
    """The least interval that holds both."""
    return min(a[0], b[0]), max(a[1], b[1])


# ------------------------------------------------------------------------------- of the bootstrap


def is_certain(value: float, draws: np.ndarray) -> bool:
    """Whether every draw of a metric is the figure itself."""
    known = draws[~np.isnan(draws)]
    return bool(len(known)) and bool((np.abs(known - value) <= _ROUNDING * max(1.0, abs(value))).all())


def n_independent(rows: np.ndarray, members: np.ndarray | None) -> int:
    """How many of the samples that a mask names are independent of each other: groups count once."""
    return int(rows.sum()) if members is None else len(np.unique(members[rows]))


def area_interval(
    area: float, draws: np.ndarray, is_positive: np.ndarray, members: np.ndarray | None
) -> Interval:
    """Of the area under the ROC curve of one class; see the module.

    Parameters
    ----------
    area : float
    draws : ndarray of shape (n_resamples,)
    is_positive : ndarray of bool, shape (n_samples,)
    members : ndarray of int, shape (n_samples,), or None
    """
    if not is_certain(area, draws):
        return interval(draws)
    n_positive, n_negative = (n_independent(kind, members) for kind in (is_positive, ~is_positive))
    return newcombe_area_interval(area, n_positive, n_negative)


def mean_area_interval(area: float, draws: np.ndarray, answers: Answers) -> Interval:
    """Of the mean area of each class against the rest.

    Where the bootstrap is certain, all classes are ranked alike, and taken to go together: the ends are the
    means of theirs.
    """
    if not is_certain(area, draws):
        return interval(draws)
    members = members_of(answers.groups)
    labels = [1] if answers.n_classes == 2 else range(answers.n_classes)
    low, high = np.mean(
        [area_interval(area, draws, answers.codes == label, members) for label in labels], axis=0
    )
    return float(low), float(high)


def newcombe_area_interval(area: float, n_positive: int, n_negative: int) -> Interval:
    """Newcombe's 95 % interval of an area under the ROC curve; see the module.

    Examples
    --------
    >>> low, high = newcombe_area_interval(1.0, 10, 10)
    >>> round(low, 3), high
    (0.8, 1.0)
    """
    n_star = (n_positive + n_negative) / 2 - 1

    def excess(other: float) -> float:
        spread = 1 + n_star * (1 - other) / (2 - other) + n_star * other / (1 + other)
        variance = other * (1 - other) * spread / (n_positive * n_negative)
        return float((area - other) ** 2 - QUANTILE**2 * variance)

    # Less than the area itself, which solves it too where it is 0 or 1.
    low = 0.0 if area <= _ROUNDING else float(brentq(excess, 0.0, area - _ROUNDING))
    return low, 1.0 if area >= 1 - _ROUNDING else float(brentq(excess, area + _ROUNDING, 1.0))


def average_precision_interval(
    value: float, draws: np.ndarray, is_positive: np.ndarray, members: np.ndarray | None
) -> Interval:
    """Of the average precision of one class; parameters as of `area_interval`."""
    if not is_certain(value, draws):
        return interval(draws)
    return wilson_interval(value, n_independent(is_positive, members))


# --------------------------------------------------------------------------------- of an evaluation


def overall_intervals(
    values: dict[str, float],
    draws: dict[str, np.ndarray],
    answers: Answers,
    of_classes: Sequence[dict[str, Figure]],
) -> dict[str, Interval | None]:
    """The interval of every figure of all samples, by its name.

    Parameters
    ----------
    values : dict of str to float
        Those that there are.
    draws : dict of str to ndarray of shape (n_resamples,)
    answers : Answers
    of_classes : sequence of dict
        The `class_figures` of every class.
    """
    members = members_of(answers.groups)
    found: dict[str, Interval | None] = {name: interval(draws[name]) for name in values}
    found["accuracy"] = share_of(answers.predicted == answers.codes, members)[1]
    recall, f1 = (mean_interval([figures[name] for figures in of_classes]) for name in ("recall", "f1"))
    found["balanced_accuracy"] = (
        recall if members is None else hull(recall, interval(draws["balanced_accuracy"]))
    )
    found["macro_f1"] = hull(f1, interval(draws["macro_f1"]))
    if "roc_auc" in values:
        found["roc_auc"] = mean_area_interval(values["roc_auc"], draws["roc_auc"], answers)
    if "ece" in values:
        found["ece"] = basic_interval(values["ece"], draws["ece"])
    found |= _uncertain(values, draws, answers, members)
    return found


def _uncertain(
    values: dict[str, float], draws: dict[str, np.ndarray], answers: Answers, members: np.ndarray | None
) -> dict[str, Interval | None]:
    """What takes the place of a bootstrap that is certain of a figure."""
    found: dict[str, Interval | None] = {}
    n_samples = n_independent(np.ones(len(answers.codes), bool), members)
    greatest = {"brier": 1.0 if answers.n_classes == 2 else 2.0, "ece": 1.0}
    for name in {"log_loss", *greatest} & values.keys():
        value = values[name]
        if not is_certain(value, draws[name]):
            continue
        if name in greatest:
            ends = wilson_interval(min(1.0, value / greatest[name]), n_samples)
            found[name] = ends[0] * greatest[name], ends[1] * greatest[name]
        else:
            found[name] = None
    return found
