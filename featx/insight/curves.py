"""Curves of an evaluation: how well probabilities are meant, how well they rank, where to put a threshold.

Calibration is that of the predicted class, as the calibration error's, but in bins of equally many samples
(Nixon et al., Measuring Calibration in Deep Learning, CVPR Workshops 2019): bins of equal width leave most
samples in one, and too few in the others to say anything. ROC and precision-recall curves are of each class
against the rest. Areas and average precisions have the intervals of `intervals`, shares those of
`proportions`.

A threshold that is chosen on the very samples on which it is shown flatters: others would have chosen
another one. The thresholds here say what could be had; `featx search --tune-threshold` chooses one on folds
of the training part, and only then is the test part's figure honest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from featx.insight.answers import Answers
from featx.insight.intervals import area_interval, average_precision_interval
from featx.insight.metrics import Interval
from featx.insight.proportions import members_of, share_of
from featx.views import decide

#: What the threshold is called by which a head decides, where it is another than one half.
OWN_THRESHOLD = "the one in use"

#: What has to be said wherever thresholds are shown.
THRESHOLD_NOTE = (
    "a threshold chosen on the samples that it is shown on flatters; "
    "featx search --tune-threshold chooses one on the training part"
)
_MAX_POINTS = 200
_MAX_BINS = 15
_SAMPLES_IN_BIN = 25
# What a user may have to keep.
_LEAST = 0.95


@dataclass(frozen=True)
class CalibrationBin:
    """Samples of about the same confidence.

    Attributes
    ----------
    lower, upper : float
        Least and greatest probability of the predicted class.
    confidence : float
        Their mean.
    accuracy : float
        Share of them that are predicted right; of calibrated probabilities, equal to the confidence.
    accuracy_ci : tuple of float
    n_samples : int
    """

    lower: float
    upper: float
    confidence: float
    accuracy: float
    accuracy_ci: Interval
    n_samples: int


@dataclass(frozen=True)
class RocCurve:
    """One class against the rest, or the second of two classes against the first.

    Attributes
    ----------
    class_name : str
    false_positive_rate, true_positive_rate : tuple of float
        At most 200 points from (0, 0) to (1, 1).
    area : float
    area_ci : tuple of float
    """

    class_name: str
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    area: float
    area_ci: Interval


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """One class against the rest.

    Attributes
    ----------
    class_name : str
    recall, precision : tuple of float
        At most 200 points; the recall rises from 0 to 1.
    average_precision : float
        Mean precision over the recall, by steps.
    average_precision_ci : tuple of float
    base_rate : float
        Share of the class, which is the precision of a head that knows nothing.
    """

    class_name: str
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    average_precision: float
    average_precision_ci: Interval
    base_rate: float


@dataclass(frozen=True)
class ThresholdChoice:
    """What a head of two classes is worth when the second is predicted from some probability on.

    Chosen on the samples that it is scored on, it flatters; see the module.

    Attributes
    ----------
    name : str
        What it was chosen for.
    threshold : float
    precision, recall, specificity, f1, accuracy : float
        Of the second class; the precision is 0 where nothing is predicted as it.
    precision_ci, recall_ci, specificity_ci, f1_ci, accuracy_ci : tuple of float
        Of this threshold as it stands.
    n_positive_predicted : int
        Samples predicted as the second class.
    """

    name: str
    threshold: float
    precision: float
    precision_ci: Interval
    recall: float
    recall_ci: Interval
    specificity: float
    specificity_ci: Interval
    f1: float
    f1_ci: Interval
    accuracy: float
    accuracy_ci: Interval
    n_positive_predicted: int


@dataclass(frozen=True)
class Curves:
    """The curves that a head's answers allow.

    Attributes
    ----------
    calibration : tuple of CalibrationBin
        From low confidence to high; empty for a head without probabilities.
    roc : tuple of RocCurve
        One a class, of two classes the second's alone: the first's is its mirror image. Without the
        classes that no sample, or every sample, belongs to.
    precision_recall : tuple of PrecisionRecallCurve
        One a class that some sample belongs to.
    thresholds : tuple of ThresholdChoice
        Of two classes that are both present, and probabilities; the first is the one that the head decides
        by.
    """

    calibration: tuple[CalibrationBin, ...]
    roc: tuple[RocCurve, ...]
    precision_recall: tuple[PrecisionRecallCurve, ...]
    thresholds: tuple[ThresholdChoice, ...]


def curves_of(
    answers: Answers,
    names: list[str],
    values: dict[str, np.ndarray],
    draws: dict[str, np.ndarray],
    threshold: float | None = None,
) -> Curves | None:
    """The curves of a head's answers.

    Parameters
    ----------
    answers : Answers
    names : list of str
        Of the classes.
    values, draws : dict of str to ndarray
        What `metrics.curve_metrics` gives for weights of one, and for bootstrap weights.
    threshold : float, optional
        The head's own, of two classes.

    Returns
    -------
    Curves or None
        None where nothing ranks the samples.
    """
    if answers.scores is None:
        return None
    return Curves(
        calibration=_calibration(answers),
        roc=_roc_curves(answers, names, values, draws),
        precision_recall=_precision_recall_curves(answers, names, values, draws),
        thresholds=_thresholds(answers, threshold),
    )


# -------------------------------------------------------------------------------------- calibration


def _calibration(answers: Answers) -> tuple[CalibrationBin, ...]:
    if answers.probabilities is None:
        return ()
    confidence = answers.probabilities.max(axis=1).astype(np.float64)
    is_right = answers.probabilities.argmax(axis=1) == answers.codes
    members = members_of(answers.groups)
    n_bins = min(_MAX_BINS, max(1, len(confidence) // _SAMPLES_IN_BIN))
    # Of equal confidences, all are in one bin.
    edges = np.quantile(confidence, np.linspace(0, 1, n_bins + 1)[1:-1])
    bins = np.searchsorted(edges, confidence)
    found = []
    for rows in (np.flatnonzero(bins == index) for index in np.unique(bins)):
        accuracy, accuracy_ci = share_of(is_right[rows], None if members is None else members[rows])
        inside = confidence[rows]
        lower, upper = float(inside.min()), float(inside.max())
        # A mean is rounded, and may be past numbers that are all equal.
        mean = min(max(float(inside.mean()), lower), upper)
        found.append(CalibrationBin(lower, upper, mean, accuracy, accuracy_ci, len(rows)))
    return tuple(found)


# ------------------------------------------------------------------------------------------ ranking


def _roc_curves(
    answers: Answers, names: list[str], values: dict[str, np.ndarray], draws: dict[str, np.ndarray]
) -> tuple[RocCurve, ...]:
    curves, members = [], members_of(answers.groups)
    for label in [1] if len(names) == 2 else range(len(names)):
        area = float(values["class_roc_auc"][0, label])
        if answers.scores is None or np.isnan(area):
            continue
        is_class = answers.codes == label
        false, true, _ = roc_curve(is_class, answers.scores[:, label])
        points = _thinned(false, true)
        area_ci = area_interval(area, draws["class_roc_auc"][:, label], is_class, members)
        curves.append(RocCurve(names[label], *points, area, area_ci))
    return tuple(curves)


def _precision_recall_curves(
    answers: Answers, names: list[str], values: dict[str, np.ndarray], draws: dict[str, np.ndarray]
) -> tuple[PrecisionRecallCurve, ...]:
    curves, members = [], members_of(answers.groups)
    for label, name in enumerate(names):
        is_class = answers.codes == label
        if answers.scores is None or not is_class.any():
            continue
        scores = answers.scores[:, label]
        precision, recall, _ = precision_recall_curve(is_class, scores, drop_intermediate=True)
        points = _thinned(recall[::-1], precision[::-1])
        average = float(values["class_average_precision"][0, label])
        drawn = draws["class_average_precision"][:, label]
        average_ci = average_precision_interval(average, drawn, is_class, members)
        curves.append(PrecisionRecallCurve(name, *points, average, average_ci, float(is_class.mean())))
    return tuple(curves)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """At most so many points of a line, spread evenly along it; its ends are kept."""
    if len(x) > _MAX_POINTS:
        along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
        wanted = np.linspace(0, along[-1], _MAX_POINTS)
        kept = np.unique(np.concatenate([[0], np.searchsorted(along, wanted[1:-1]), [len(x) - 1]]))
        x, y = x[kept], y[kept]
    return tuple(np.round(x, 6).tolist()), tuple(np.round(y, 6).tolist())


# --------------------------------------------------------------------------------------- thresholds


def _thresholds(answers: Answers, own: float | None) -> tuple[ThresholdChoice, ...]:
    is_positive = answers.codes == 1
    if answers.probabilities is None or answers.n_classes != 2 or is_positive.all() or not is_positive.any():
        return ()
    probability = answers.probabilities[:, 1].astype(np.float64)
    members = members_of(answers.groups)
    decided = decide(answers.probabilities, own) == 1
    name, at = ("default", 0.5) if own is None else (OWN_THRESHOLD, own)
    found = [_choice(name, at, is_positive, decided, members)]
    for name, threshold in _candidates(probability, is_positive).items():
        found.append(_choice(name, threshold, is_positive, probability >= threshold, members))
    return tuple(found)


def _candidates(probability: np.ndarray, is_positive: np.ndarray) -> dict[str, float]:
    """Thresholds by what they are best for, half-way between probabilities that were seen."""
    seen, counts = np.unique(probability, return_counts=True)
    n_true = np.bincount(np.searchsorted(seen, probability), weights=is_positive)
    # From the highest threshold, which predicts the fewest, to the lowest.
    n_predicted, n_hits = np.cumsum(counts[::-1]), np.cumsum(n_true[::-1])
    n_positive, n_negative = is_positive.sum(), (~is_positive).sum()
    thresholds = (seen[::-1] + np.append(seen[-2::-1], 0.0)) / 2
    recall, precision = n_hits / n_positive, n_hits / n_predicted
    specificity = 1 - (n_predicted - n_hits) / n_negative
    found = {
        # Youden, Cancer 3, 1950.
        "best balanced accuracy": float(thresholds[np.argmax(recall + specificity)]),
        "best F1": float(thresholds[np.argmax(2 * n_hits / (n_predicted + n_positive))]),
        f"recall of {_LEAST} or more": float(thresholds[np.argmax(recall >= _LEAST)]),
    }
    precise = np.flatnonzero(precision >= _LEAST)
    if len(precise):
        found[f"precision of {_LEAST} or more"] = float(thresholds[precise[-1]])
    return found


def _choice(
    name: str, threshold: float, is_positive: np.ndarray, is_predicted: np.ndarray, members: np.ndarray | None
) -> ThresholdChoice:
    def share(is_hit: np.ndarray, among: np.ndarray) -> tuple[float, Interval]:
        return share_of(is_hit[among], None if members is None else members[among])

    precision, precision_ci = share(is_positive, is_predicted)
    recall, recall_ci = share(is_predicted, is_positive)
    specificity, specificity_ci = share(~is_predicted, ~is_positive)
    accuracy, accuracy_ci = share(is_positive == is_predicted, np.ones(len(is_positive), bool))
    # F1 = 2 J / (1 + J), where J is the share that is both among what is either: so is its interval.
    both, (low, high) = share(is_positive & is_predicted, is_positive | is_predicted)
    return ThresholdChoice(
        name=name,
        threshold=threshold,
        precision=precision,
        precision_ci=precision_ci,
        recall=recall,
        recall_ci=recall_ci,
        specificity=specificity,
        specificity_ci=specificity_ci,
        f1=2 * both / (1 + both),
        f1_ci=(2 * low / (1 + low), 2 * high / (1 + high)),
        accuracy=accuracy,
        accuracy_ci=accuracy_ci,
        n_positive_predicted=int(is_predicted.sum()),
    )
