"""Metrics of a head on samples it was not fitted on, each with a bootstrap interval.

Every metric here is a function of weights on the samples. The figure itself has weights of one; a
bootstrap resample is a vector of counts, so that a thousand resamples are one matrix of weights and
every metric is a few matrix products over it. Drawing samples and calling scikit-learn a thousand times
gives the same intervals in minutes where this takes a second. Where samples come in groups, groups are
drawn, because the samples of one are not independent.

Intervals are percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).
The calibration error is the expected calibration error with 15 bins of equal width (Guo et al., On
Calibration of Modern Neural Networks, ICML 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import confusion_matrix
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError

Interval: TypeAlias = tuple[float, float]
#: Maps weights (n_resamples, n_samples) to metrics by name, each (n_resamples,) or (n_resamples,
#: n_classes), NaN where a resample has none.
Metrics: TypeAlias = Callable[[np.ndarray], dict[str, np.ndarray]]

_N_BINS = 15
_CONFIDENCE = 0.95
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class against the rest.

    Attributes
    ----------
    name : str
    precision, recall, f1 : float
        0 where there is none: precision where nothing was predicted as the class, recall where nothing
        belongs to it.
    precision_ci, recall_ci, f1_ci : tuple of float
    n_samples : int
        That truly belong to it.
    """

    name: str
    precision: float
    precision_ci: Interval
    recall: float
    recall_ci: Interval
    f1: float
    f1_ci: Interval
    n_samples: int


@dataclass(frozen=True)
class Evaluation:
    """Metrics with 95 % intervals.

    Attributes
    ----------
    n_samples : int
    class_names : tuple of str
    accuracy, balanced_accuracy : float
    roc_auc : float or None
        For more than two classes, the mean of each class against the rest. None when the test part
        lacks a class.
    log_loss, ece : float or None
        In nats, and the expected calibration error. None for a head without probabilities.
    accuracy_ci, balanced_accuracy_ci, roc_auc_ci, log_loss_ci, ece_ci : tuple of float or None
    per_class : tuple of ClassMetrics
    confusion_matrix : tuple of tuple of int
        Rows are true classes, columns predicted ones.
    """

    n_samples: int
    class_names: tuple[str, ...]
    accuracy: float
    accuracy_ci: Interval
    balanced_accuracy: float
    balanced_accuracy_ci: Interval
    roc_auc: float | None
    roc_auc_ci: Interval | None
    log_loss: float | None
    log_loss_ci: Interval | None
    ece: float | None
    ece_ci: Interval | None
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def evaluate(
    head: BaseEstimator,
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> Evaluation:
    """Score a fitted head, with 95 % bootstrap intervals.

    Parameters
    ----------
    head : estimator
        Fitted classifier.
    X : array-like of shape (n_samples, n_features)
        Features that it was not fitted on.
    y : array-like of shape (n_samples,)
        True classes, as it was fitted on.
    class_names : sequence of str, optional
        Names for ``head.classes_``, in that order.
    groups : array-like of shape (n_samples,), optional
        Samples that are not independent of each other; resampling draws whole groups.
    n_resamples : int, default=1000
    random_state : int, default=0
        Seed of the resampling.

    Returns
    -------
    Evaluation

    Raises
    ------
    HeadError
        When there are no samples, classes that the head does not know, or a seed that cannot be one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> evaluation = evaluate(KNeighborsClassifier().fit(X[:900], y[:900]), X[900:], y[900:])
    >>> low, high = evaluation.accuracy_ci
    >>> 0.9 < low < evaluation.accuracy < high < 1.0
    True
    """
    check_is_fitted(head)
    check_positive("n_resamples", n_resamples, HeadError)
    check_seed("random_state", random_state, HeadError)
    check_consistent_length(X, y, groups)
    codes = _class_codes(head.classes_, y)
    names = [str(name) for name in (head.classes_ if class_names is None else class_names)]
    if len(names) != len(head.classes_):
        received = f"{len(names)} class names for a head of {len(head.classes_)} classes"
        raise HeadError(explain(received, "one name a class", "pass all of them"))
    predicted = _class_codes(head.classes_, head.predict(X))
    probabilities, scores = _scores(head, X)
    parts = (
        _label_metrics(codes, predicted, len(names)),
        _score_metrics(codes, scores),
        _probability_metrics(codes, probabilities),
    )

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values for part in parts for name, values in part(weights).items()}

    values = metrics(np.ones((1, len(codes))))
    resamples = [metrics(weights) for weights in _bootstrap(len(codes), groups, n_resamples, random_state)]
    draws = {name: np.concatenate([resample[name] for resample in resamples]) for name in values}
    return _evaluation(values, draws, confusion_matrix(codes, predicted, labels=range(len(names))), names)


# ---------------------------------------------------------------------------------- what is scored


def _class_codes(classes: np.ndarray, y: Sequence[Any] | np.ndarray) -> np.ndarray:
    labels = column_or_1d(y)
    if not len(labels):
        raise HeadError(explain("no samples", "at least one", "check what was passed"))
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        received = f"the classes {', '.join(map(str, unknown[:5]))}"
        expected = f"those that the head was fitted on ({', '.join(map(str, classes[:20]))})"
        raise HeadError(explain(received, expected, "leave these samples out"))
    codes: np.ndarray = np.searchsorted(classes, labels)
    return codes


def _scores(head: BaseEstimator, X: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Probabilities (n_samples, n_classes), and whatever ranks the samples for each class."""
    if hasattr(head, "predict_proba"):
        probabilities = np.asarray(head.predict_proba(X))
        return probabilities, probabilities
    if not hasattr(head, "decision_function"):
        return None, None
    shapes = {value for name, value in head.get_params().items() if name.endswith("decision_function_shape")}
    if "ovo" in shapes:
        # One column a pair of classes: nothing that ranks samples for a class.
        return None, None
    decisions = np.asarray(head.decision_function(X), np.float64)
    return None, np.stack([-decisions, decisions], axis=1) if decisions.ndim == 1 else decisions


# ---------------------------------------------------------------- metrics as functions of weights


def _label_metrics(codes: np.ndarray, predicted: np.ndarray, n_classes: int) -> Metrics:
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


def _score_metrics(codes: np.ndarray, scores: np.ndarray | None) -> Metrics:
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


def _probability_metrics(codes: np.ndarray, probabilities: np.ndarray | None) -> Metrics:
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


def _bootstrap(
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


def _evaluation(
    values: dict[str, np.ndarray], draws: dict[str, np.ndarray], counts: np.ndarray, names: list[str]
) -> Evaluation:
    n_true = counts.sum(axis=1)
    per_class = tuple(
        ClassMetrics(name=name, n_samples=int(n_true[label]), **_of_class(values, draws, label))
        for label, name in enumerate(names)
    )
    overall: dict[str, Any] = {}
    for metric in ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "ece"):
        is_known = metric in values and not np.isnan(values[metric][0])
        overall[metric] = float(values[metric][0]) if is_known else None
        overall[f"{metric}_ci"] = _interval(draws[metric]) if is_known else None
    return Evaluation(
        n_samples=int(n_true.sum()),
        class_names=tuple(names),
        per_class=per_class,
        confusion_matrix=tuple(tuple(map(int, row)) for row in counts),
        **overall,
    )


def _of_class(values: dict[str, np.ndarray], draws: dict[str, np.ndarray], label: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in ("precision", "recall", "f1"):
        value = float(values[metric][0, label])
        # A class that nothing belongs to, or was predicted as, has zeros, as in scikit-learn.
        is_known = not np.isnan(value)
        found[metric] = value if is_known else 0.0
        found[f"{metric}_ci"] = _interval(draws[metric][:, label]) if is_known else (0.0, 0.0)
    return found


def _interval(draws: np.ndarray) -> Interval:
    if np.isnan(draws).all():
        # Too few resamples to hold the class at all: nothing is known but the metric's range.
        return 0.0, 1.0
    tail = (1 - _CONFIDENCE) / 2
    # A resample may lack a class, and a small test part often does.
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)
