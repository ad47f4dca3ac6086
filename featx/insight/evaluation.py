"""Metrics of a head on samples it was not fitted on, each with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import confusion_matrix

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.answers import answers_of
from featx.insight.metrics import Interval, bootstrap, interval, metrics_of


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
        Images, where ``images`` said which rows are views of the same.
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
    images: Sequence[Any] | np.ndarray | None = None,
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
    images : array-like of shape (n_samples,), optional
        The image of every row. Rows of one image are its views: their probabilities are averaged, or their
        decisions where the head has none, and the class with the highest mean is the image's. Then the
        images are the samples, and y and groups must be the same for all views of one.
    n_resamples : int, default=1000
    random_state : int, default=0
        Seed of the resampling.

    Returns
    -------
    Evaluation

    Raises
    ------
    HeadError
        When there are no samples, classes that the head does not know, views of one image that differ in
        class or group, views and a head without a score for each class, or a seed that cannot be one.

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
    check_positive("n_resamples", n_resamples, HeadError)
    check_seed("random_state", random_state, HeadError)
    answers = answers_of(head, X, y, groups, images)
    names = [str(name) for name in (head.classes_ if class_names is None else class_names)]
    if len(names) != answers.n_classes:
        received = f"{len(names)} class names for a head of {answers.n_classes} classes"
        raise HeadError(explain(received, "one name a class", "pass all of them"))
    metrics = metrics_of(answers)
    values = metrics(np.ones((1, len(answers.codes))))
    weights = bootstrap(len(answers.codes), answers.groups, n_resamples, random_state)
    resamples = [metrics(block) for block in weights]
    draws = {name: np.concatenate([resample[name] for resample in resamples]) for name in values}
    counts = confusion_matrix(answers.codes, answers.predicted, labels=range(answers.n_classes))
    return _evaluation(values, draws, counts, names)


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
        overall[f"{metric}_ci"] = interval(draws[metric]) if is_known else None
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
        found[f"{metric}_ci"] = interval(draws[metric][:, label]) if is_known else (0.0, 0.0)
    return found
