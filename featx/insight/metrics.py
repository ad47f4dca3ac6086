"""Metrics as functions of weights on the samples, and the bootstrap that draws those weights.

The figure itself has weights of one; a bootstrap resample is a vector of counts, so that a thousand
resamples are one matrix of weights and every metric is a few matrix products over it. Drawing samples and
calling scikit-learn a thousand times gives the same intervals in minutes where this takes a second. Two
heads under the same weights are compared on the same draws: a paired bootstrap. Where samples come in
groups, groups are drawn, because the samples of one are not independent.

Intervals are percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13), but
for the calibration error's.
The calibration error is the expected calibration error with 15 bins of equal width (Guo et al., On
Calibration of Modern Neural Networks, ICML 2017). The Brier score is the mean squared difference between
probabilities and truth (Brier, Monthly Weather Review 78, 1950): of several classes the sum over them, from
0 to 2; of two classes half of it, from 0 to 1, which is that of either class alone. So scikit-learn has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array

from featx.insight.answers import Answers

Interval: TypeAlias = tuple[float, float]
#: Maps weights (n_resamples, n_samples) to metrics by name, each (n_resamples,) or (n_resamples,
#: n_classes), NaN where a resample has none.
Metrics: TypeAlias = Callable[[np.ndarray], dict[str, np.ndarray]]

CONFIDENCE = 0.95
_N_BINS = 15
_BLOCK_BYTES = 64 * 2**20


def metrics_of(answers: Answers, *, by_class: bool = False) -> Metrics:
    """Every metric that a head's answers allow: probabilities give all, bare classes the fewest.

    Parameters
    ----------
    answers : Answers
    by_class : bool, default=False
        Also the area of each class and its average precision, which cost half as much again.
    """
    parts = (
        label_metrics(answers.codes, answers.predicted, answers.n_classes),
        (curve_metrics if by_class else score_metrics)(answers.codes, answers.scores),
        probability_metrics(answers.codes, answers.probabilities),
    )
    return lambda weights: {name: values for part in parts for name, values in part(weights).items()}


# ---------------------------------------------------------------- metrics as functions of weights


def label_metrics(codes: np.ndarray, predicted: np.ndarray, n_classes: int) -> Metrics:
    """What follows from the predicted classes alone."""
    truth, guess = np.eye(n_classes)[codes], np.eye(n_classes)[predicted]
    hits = truth * guess

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        n_hits, n_true, n_guessed = weights @ hits, weights @ truth, weights @ guess
        recall, f1 = _ratio(n_hits, n_true), _ratio(2 * n_hits, n_true + n_guessed)
        return {
            "accuracy": _ratio(n_hits.sum(axis=1), weights.sum(axis=1)),
            "balanced_accuracy": _mean_of_present(recall),
            "macro_f1": _mean_of_present(f1),
            "precision": _ratio(n_hits, n_guessed),
            "recall": recall,
            "f1": f1,
        }

    return metrics


def score_metrics(codes: np.ndarray, scores: np.ndarray | None) -> Metrics:
    """The area under the ROC curve, of each class against the rest."""
    if scores is None:
        return lambda _: {}
    # For two classes, one against the rest is the same area twice.
    labels = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    ranked = [_Ranked(codes == label, scores[:, label]) for label in labels]

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        by_sample = np.ascontiguousarray(weights.T)
        return {"roc_auc": np.mean([each.area(by_sample) for each in ranked], axis=0)}

    return metrics


def curve_metrics(codes: np.ndarray, scores: np.ndarray | None) -> Metrics:
    """Of each class against the rest, the area under the ROC curve and the average precision."""
    if scores is None:
        return lambda _: {}
    ranked = [_Ranked(codes == label, scores[:, label]) for label in range(scores.shape[1])]

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        by_sample = np.ascontiguousarray(weights.T)
        areas, precisions = zip(*(each.both(by_sample) for each in ranked), strict=True)
        # For two classes, one against the rest is the same area twice.
        overall = areas[-1] if len(areas) == 2 else np.mean(areas, axis=0)
        return {
            "roc_auc": overall,
            "class_roc_auc": np.stack(areas, axis=1),
            "class_average_precision": np.stack(precisions, axis=1),
        }

    return metrics


class _Ranked:
    """Samples in steps of rising scores for a class.

    Equal scores are one step, and so are negative samples without a positive one between them: nothing
    that is asked here can tell these apart, and of rare classes there are few steps.

    Weights come as (n_samples, n_resamples), because samples are gathered: each is one piece of memory, and
    a sparse product adds them up into steps without a copy of them all.
    """

    def __init__(self, is_positive: np.ndarray, score: np.ndarray) -> None:
        order = np.argsort(score, kind="stable")
        ties = np.cumsum(np.diff(score[order], prepend=-np.inf) != 0) - 1
        has_positive = np.bincount(ties, weights=is_positive[order]) > 0
        is_new = has_positive | np.append([True], has_positive[:-1])
        steps = (np.cumsum(is_new) - 1)[ties]
        shape = int(steps[-1]) + 1, len(order)
        self._positive, self._negative = (
            csr_array((kind.astype(float)[kind], (steps[kind], order[kind])), shape=shape)
            for kind in (is_positive[order], ~is_positive[order])
        )

    def area(self, by_sample: np.ndarray) -> np.ndarray:
        """Area under the ROC curve: how often a positive outranks a negative, ties counting half."""
        return self._area(self._positive @ by_sample, self._negative @ by_sample)

    def both(self, by_sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The area, and the average precision: precision at each score, by the recall won there."""
        positive, negative = self._positive @ by_sample, self._negative @ by_sample
        n_positive = positive.sum(axis=0)
        # How many score as high, or higher.
        n_hits = np.cumsum(positive[::-1], axis=0)[::-1]
        n_predicted = np.cumsum(negative[::-1], axis=0)[::-1]
        n_predicted += n_hits
        precision = _ratio(n_hits, n_predicted)
        np.nan_to_num(precision, copy=False)
        precision *= positive
        return self._area(positive, negative), _ratio(precision.sum(axis=0), n_positive)

    @staticmethod
    def _area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
        outranked = np.cumsum(negative, axis=0) - negative / 2
        return _ratio((positive * outranked).sum(axis=0), positive.sum(axis=0) * negative.sum(axis=0))


def probability_metrics(codes: np.ndarray, probabilities: np.ndarray | None) -> Metrics:
    """What follows from probabilities: the log loss, the Brier score and the calibration error."""
    if probabilities is None:
        return lambda _: {}
    # A probability of 0 would cost infinitely much; as in scikit-learn, it costs what its type can tell.
    least = np.finfo(probabilities.dtype).eps
    of_truth = np.clip(probabilities[np.arange(len(codes)), codes], least, 1 - least)
    losses = -np.log(of_truth.astype(np.float64))
    squares = squared_errors(codes, probabilities)
    confidence = probabilities.max(axis=1).astype(np.float64)
    excess = confidence - (probabilities.argmax(axis=1) == codes)
    bins = np.minimum((confidence * _N_BINS).astype(int), _N_BINS - 1)
    excess_in_bins = np.eye(_N_BINS)[bins] * excess[:, None]

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=1)
        return {
            "log_loss": _ratio(weights @ losses, total),
            "brier": _ratio(weights @ squares, total),
            "ece": _ratio(np.abs(weights @ excess_in_bins).sum(axis=1), total),
        }

    return metrics


def squared_errors(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """What each sample adds to the Brier score.

    Examples
    --------
    >>> squared_errors(np.array([0, 1]), np.array([[1.0, 0.0], [0.5, 0.5]]))
    array([0.  , 0.25])
    """
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(codes)), codes] -= 1
    squares: np.ndarray = (errors**2).sum(axis=1)
    return squares / 2 if probabilities.shape[1] == 2 else squares


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(above, below, out=np.full(np.shape(below), np.nan), where=below > 0)
    return ratio


def _mean_of_present(values: np.ndarray) -> np.ndarray:
    """Mean over the classes that a resample has."""
    is_present = ~np.isnan(values)
    return _ratio(np.where(is_present, values, 0.0).sum(axis=1), is_present.sum(axis=1))


# ---------------------------------------------------------------------------------------- intervals


def bootstrap(
    n_samples: int, groups: Sequence[Any] | np.ndarray | None, n_resamples: int, random_state: int
) -> Iterator[np.ndarray]:
    """Bootstrap weights (n_rows, n_samples), in blocks of bounded size."""
    random = np.random.default_rng(random_state)
    members = np.arange(n_samples)
    if groups is not None:
        members = np.unique(np.asarray(groups), return_inverse=True)[1]
    n_groups = int(members.max()) + 1
    step = max(1, _BLOCK_BYTES // (8 * n_samples))
    for start in range(0, n_resamples, step):
        drawn = random.integers(0, n_groups, (min(step, n_resamples - start), n_groups))
        counts = np.stack([np.bincount(row, minlength=n_groups) for row in drawn])
        yield counts[:, members].astype(np.float64)


def basic_interval(value: float, draws: np.ndarray) -> Interval:
    """The basic bootstrap interval of a metric that is no less than 0 and larger in every resample.

    The calibration error is: resampling adds to the noise of every bin, and noise has no sign there. The
    percentile interval then lies above the figure, and never holds the 0 of a calibrated head. The basic
    interval (Davison and Hinkley, Bootstrap Methods and their Application, 1997, ch. 5) takes off what
    resampling adds: the draws mirrored at the figure.

    Parameters
    ----------
    value : float
    draws : ndarray of shape (n_resamples,)

    Returns
    -------
    tuple of float
        It holds the figure.

    Examples
    --------
    >>> basic_interval(0.25, np.array([0.25, 0.5]))
    (0.00624..., 0.25)
    """
    low, high = interval(draws)
    return max(0.0, min(value, 2 * value - high)), max(value, 2 * value - low)


def interval(draws: np.ndarray, lowest: float = 0.0, highest: float = 1.0) -> Interval:
    """The percentile interval of a metric's draws; the metric's range where no draw has a value."""
    if np.isnan(draws).all():
        # Too few resamples to hold the class at all.
        return lowest, highest
    tail = (1 - CONFIDENCE) / 2
    # A resample may lack a class, and a small test part often does.
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)
