"""Metrics of a head on samples it was not fitted on, each with an interval.

They are of all samples, class by class, as curves, and by what else is known of the samples. All that
resampling serves is drawn in one pass over the same bootstrap weights; which interval a figure has is told in
`featx.insight.intervals`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import confusion_matrix

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.answers import Answers, answers_of
from featx.insight.curves import Curves, curves_of
from featx.insight.intervals import Figure, class_figures, overall_intervals
from featx.insight.metrics import Interval, Metrics, bootstrap, metrics_of
from featx.insight.subgroups import Subgroup, parts_of, subgroup_metrics, subgroups_of
from featx.views import threshold_of

# By one figure each.
_OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss", "brier", "ece")
# Points of the lines, of which there are up to 400 a class.
_LINES = {
    "roc": ("false_positive_rate", "true_positive_rate"),
    "precision_recall": ("recall", "precision"),
}


@dataclass(frozen=True)
class ClassMetrics:
    """Metrics of one class against the rest.

    Attributes
    ----------
    name : str
    precision, recall, f1 : float or None
        None where there is none: precision where nothing was predicted as the class, recall where nothing
        belongs to it, F1 where neither did. scikit-learn puts 0 there, and warns.
    precision_ci, recall_ci, f1_ci : tuple of float or None
        Wilson's, for as many independent samples as those in groups are worth.
    n_samples : int
        That truly belong to it.
    """

    name: str
    precision: float | None
    precision_ci: Interval | None
    recall: float | None
    recall_ci: Interval | None
    f1: float | None
    f1_ci: Interval | None
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
    macro_f1 : float
        Mean of the classes' F1, which counts a rare class as much as a common one. It and the balanced
        accuracy leave out classes that have no such figure.
    roc_auc : float or None
        For more than two classes, the mean of each class against the rest. None when the test part
        lacks a class.
    log_loss, brier, ece : float or None
        In nats; the Brier score, from 0 to 1 of two classes and to 2 of several; and the expected
        calibration error. Less is better. None for a head without probabilities.
    accuracy_ci, balanced_accuracy_ci, macro_f1_ci, roc_auc_ci, log_loss_ci, brier_ci, ece_ci : \
tuple of float or None
        None where the figure is, and of a log loss that is the same for all samples, which bound nothing.
    per_class : tuple of ClassMetrics
    confusion_matrix : tuple of tuple of int
        Rows are true classes, columns predicted ones.
    curves : Curves or None
        None where they were not asked for, or nothing ranks the samples.
    subgroups : tuple of Subgroup
        By the columns that were passed, value by value.
    """

    n_samples: int
    class_names: tuple[str, ...]
    accuracy: float
    accuracy_ci: Interval
    balanced_accuracy: float
    balanced_accuracy_ci: Interval
    macro_f1: float
    macro_f1_ci: Interval
    roc_auc: float | None
    roc_auc_ci: Interval | None
    log_loss: float | None
    log_loss_ci: Interval | None
    brier: float | None
    brier_ci: Interval | None
    ece: float | None
    ece_ci: Interval | None
    per_class: tuple[ClassMetrics, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    curves: Curves | None = None
    subgroups: tuple[Subgroup, ...] = ()

    def to_dict(self, *, lines: bool = False) -> dict[str, Any]:
        """As plain values, for JSON.

        Parameters
        ----------
        lines : bool, default=False
            With the points of the ROC and precision-recall curves, some 10 kB a class; otherwise their
            areas alone.
        """
        found = asdict(self)
        if self.curves is not None and not lines:
            for kind, names in _LINES.items():
                for curve, name in ((curve, name) for curve in found["curves"][kind] for name in names):
                    del curve[name]
        return found


def evaluate(
    head: BaseEstimator,
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    *,
    class_names: Sequence[str] | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    images: Sequence[Any] | np.ndarray | None = None,
    subgroups: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
    curves: bool = True,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> Evaluation:
    """Score a fitted head, with 95 % intervals: of shares Wilson's, of the others the bootstrap's.

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
        Samples that are not independent of each other: resampling draws whole groups, and shares count
        them for as many samples as would tell as much.
    images : array-like of shape (n_samples,), optional
        The image of every row. Rows of one image are its views: their probabilities are averaged, or their
        decisions where the head has none, and the class with the highest mean is the image's. Then the
        images are the samples, and y, groups and subgroups must be the same for all views of one.
    subgroups : mapping of str to array-like of shape (n_samples,), optional
        What else is known of the samples, by the name of the column: numbers or text, None where it is not
        known. The head is also scored on the samples of each value, and tested against the others.
    curves : bool, default=True
        Also calibration, ROC and precision-recall curves and choices of a threshold.
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
        class, group or subgroup, views and a head without a score for each class, a column of too many
        values, or a seed that cannot be one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> evaluation = evaluate(KNeighborsClassifier().fit(X[:900], y[:900]), X[900:], y[900:])
    >>> low, high = evaluation.accuracy_ci
    >>> 0.9 < low < evaluation.accuracy < high < 1.0
    True

    Is it worse on digits of little ink?

    >>> ink = X[900:].sum(axis=1)
    >>> head = KNeighborsClassifier().fit(X[:900], y[:900])
    >>> evaluation = evaluate(head, X[900:], y[900:], subgroups={"ink": ink})
    >>> least = evaluation.subgroups[0]
    >>> least.value, least.n_samples, round(least.accuracy, 3), least.p_value
    ('185 to below 282', 217, 0.949, 1.0)
    """
    check_positive("n_resamples", n_resamples, HeadError)
    check_seed("random_state", random_state, HeadError)
    answers = answers_of(head, X, y, groups, images)
    names = [str(name) for name in (head.classes_ if class_names is None else class_names)]
    if len(names) != answers.n_classes:
        received = f"{len(names)} class names for a head of {answers.n_classes} classes"
        raise HeadError(explain(received, "one name a class", "pass all of them"))
    parts = parts_of(subgroups or {}, len(answers.codes) if images is None else len(images), images)
    values, draws = _measured(
        (metrics_of(answers, by_class=curves), subgroup_metrics(parts, answers)),
        bootstrap(len(answers.codes), answers.groups, n_resamples, random_state),
        len(answers.codes),
    )
    threshold = threshold_of(head)
    return replace(
        _evaluation(values, draws, answers, names),
        curves=curves_of(answers, names, values, draws, threshold) if curves else None,
        subgroups=subgroups_of(parts, answers, values, draws, random_state),
    )


def _measured(
    metrics: Sequence[Metrics], resamples: Iterator[np.ndarray], n_samples: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Metrics of the samples as they are, and of resamples."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {name: found for each in metrics for name, found in each(weights).items()}

    values, blocks = measure(np.ones((1, n_samples))), [measure(weights) for weights in resamples]
    return values, {name: np.concatenate([block[name] for block in blocks]) for name in values}


def _evaluation(
    values: dict[str, np.ndarray], draws: dict[str, np.ndarray], answers: Answers, names: list[str]
) -> Evaluation:
    counts = confusion_matrix(answers.codes, answers.predicted, labels=range(answers.n_classes))
    of_classes = [class_figures(answers, label) for label in range(answers.n_classes)]
    known = {name: float(values[name][0]) for name in _OVERALL if name in values}
    known = {name: value for name, value in known.items() if not np.isnan(value)}
    intervals = overall_intervals(known, draws, answers, of_classes)
    overall: dict[str, Any] = {name: known.get(name) for name in _OVERALL}
    overall |= {f"{name}_ci": intervals.get(name) for name in _OVERALL}
    return Evaluation(
        n_samples=int(counts.sum()),
        class_names=tuple(names),
        per_class=tuple(
            _class_metrics(name, figures, int(n_true))
            for name, figures, n_true in zip(names, of_classes, counts.sum(axis=1), strict=True)
        ),
        confusion_matrix=tuple(tuple(map(int, row)) for row in counts),
        **overall,
    )


def _class_metrics(name: str, figures: dict[str, Figure], n_samples: int) -> ClassMetrics:
    (precision, precision_ci), (recall, recall_ci), (f1, f1_ci) = (
        figures[metric] for metric in ("precision", "recall", "f1")
    )
    return ClassMetrics(name, precision, precision_ci, recall, recall_ci, f1, f1_ci, n_samples)
