"""Metrics as functions of weights on the samples, and the bootstrap that draws those weights.

The figure itself has weights of one; a bootstrap resample is a vector of counts, so that a thousand
resamples are one matrix of weights and every metric is a few matrix products over it. Drawing samples and
calling scikit-learn a thousand times gives the same intervals in minutes where this takes a second. Two
heads under the same weights are compared on the same draws: a paired bootstrap. Where samples come in
groups, groups are drawn, because the samples of one are not independent.

Intervals are percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
The calibration error is the expected calibration error with 15 bins of equal width (Guo et al., On
Calibration of Modern Neural Networks, ICML 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from featx.insight.answers import Answers

Interval: TypeAlias = tuple[float, float]
#: Maps weights (n_resamples, n_samples) to metrics by name, each (n_resamples,) or (n_resamples,
#: n_classes), NaN where a resample has none.
Metrics: TypeAlias = Callable[[np.ndarray], dict[str, np.ndarray]]

CONFIDENCE = 0.95
_N_BINS = 15
_BLOCK_BYTES = 64 * 2**20


def metrics_of(answers: Answers) -> Metrics:
    """Every metric that a head's answers allow: probabilities give all, bare classes the fewest."""
    parts = (
        label_metrics(answers.codes, answers.predicted, answers.n_classes),
        score_metrics(answers.codes, answers.scores),
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
        recall = _ratio(n_hits, n_true)
        return {
            "accuracy": _ratio(n_hits.sum(axis=1), weights.sum(axis=1)),
            "balanced_accuracy": _mean_of_present(recall),
            "precision": _ratio(n_hits, n_guessed),
            "recall": recall,
            "f1": _ratio(2 * n_hits, n_true + n_guessed),
        }

    return metrics


def score_metrics(codes: np.ndarray, scores: np.ndarray | None) -> Metrics:
    """The area under the ROC curve, of each class against the rest."""
    if scores is None:
        return lambda _: {}
    # For two classes, one against the rest is the same area twice.
    labels = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [_roc_auc(codes == label, scores[:, label]) for label in labels]
    return lambda weights: {"roc_auc": np.mean([area(weights) for area in areas], axis=0)}


def _roc_auc(is_positive: np.ndarray, score: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Area under the ROC curve: how often a positive outranks a negative, ties counting half."""
    order = np.argsort(score, kind="stable")
    starts_of_ties = np.flatnonzero(np.diff(score[order], prepend=-np.inf))

    def area(weights: np.ndarray) -> np.ndarray:
        sorted_weights = weights[:, order]
        positive = np.add.reduceat(sorted_weights * is_positive[order], starts_of_ties, axis=1)
        negative = np.add.reduceat(sorted_weights * ~is_positive[order], starts_of_ties, axis=1)
        outranked = np.cumsum(negative, axis=1) - negative / 2
        return _ratio((positive * outranked).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))

    return area


def probability_metrics(codes: np.ndarray, probabilities: np.ndarray | None) -> Metrics:
    """What follows from probabilities: the log loss and the calibration error."""
    if probabilities is None:
        return lambda _: {}
    # A probability of 0 would cost infinitely much; as in scikit-learn, it costs what its type can tell.
    least = np.finfo(probabilities.dtype).eps
    of_truth = np.clip(probabilities[np.arange(len(codes)), codes], least, 1 - least)
    losses = -np.log(of_truth.astype(np.float64))
    confidence = probabilities.max(axis=1).astype(np.float64)
    excess = confidence - (probabilities.argmax(axis=1) == codes)
    bins = np.minimum((confidence * _N_BINS).astype(int), _N_BINS - 1)
    excess_in_bins = np.eye(_N_BINS)[bins] * excess[:, None]

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        total = weights.sum(axis=1)
        return {
            "log_loss": _ratio(weights @ losses, total),
            "ece": _ratio(np.abs(weights @ excess_in_bins).sum(axis=1), total),
        }

    return metrics


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


def interval(draws: np.ndarray, lowest: float = 0.0, highest: float = 1.0) -> Interval:
    """The percentile interval of a metric's draws; the metric's range where no draw has a value."""
    if np.isnan(draws).all():
        # Too few resamples to hold the class at all.
        return lowest, highest
    tail = (1 - CONFIDENCE) / 2
    # A resample may lack a class, and a small test part often does.
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)
