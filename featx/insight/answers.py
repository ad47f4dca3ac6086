"""What a fitted head answers on samples it was not fitted on, with the truth beside it.

Where several rows are views of one image, the image is the sample: its rows' probabilities are averaged, or
their decisions where the head has no probabilities, before anything is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from featx.checks import check_finite, explain
from featx.errors import HeadError
from featx.views import (
    average_views,
    decide,
    group_views,
    has_class_decisions,
    one_per_image,
    threshold_of,
)


@dataclass(frozen=True)
class Answers:
    """One row a sample, or an image where there are several views of each.

    Attributes
    ----------
    codes, predicted : ndarray of int, shape (n_samples,)
        True and predicted classes, as indices into the head's ``classes_``.
    probabilities : ndarray of shape (n_samples, n_classes) or None
    scores : ndarray of shape (n_samples, n_classes) or None
        Whatever ranks the samples for each class.
    groups : ndarray of shape (n_samples,) or None
    n_classes : int
    """

    codes: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray | None
    scores: np.ndarray | None
    groups: np.ndarray | None
    n_classes: int

    def among(self, rows: np.ndarray) -> Answers:
        """Those on some of the samples."""
        probabilities, scores, groups = (
            None if part is None else part[rows] for part in (self.probabilities, self.scores, self.groups)
        )
        return Answers(self.codes[rows], self.predicted[rows], probabilities, scores, groups, self.n_classes)


def answers_of(
    head: BaseEstimator,
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    images: Sequence[Any] | np.ndarray | None = None,
) -> Answers:
    """Ask a fitted head, and average what it answers on the views of one image.

    Raises
    ------
    HeadError
        When there are no samples, features that are not finite, classes that the head does not know, views
        of one image that differ in class or group, or views and a head that gives nothing to average.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> head = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], ["cat", "cat", "dog", "dog"])
    >>> answers = answers_of(head, [[0.0], [3.0], [6.0]], ["cat", "cat", "dog"], images=["a", "a", "b"])
    >>> answers.codes, answers.predicted
    (array([0, 1]), array([0, 1]))
    """
    check_is_fitted(head)
    check_consistent_length(X, y, groups, images)
    labels = column_or_1d(y)
    if not len(labels):
        raise HeadError(explain("no samples", "at least one", "check what was passed"))
    features = np.asarray(X)
    if features.ndim == 2 and features.dtype.kind == "f":
        # Some heads answer for what is not a number.
        check_finite(features)
    members = None if groups is None else np.asarray(groups)
    codes, n_classes = _class_codes(head.classes_, labels), len(head.classes_)
    probabilities, scores = _scores(head, X)
    if images is None:
        predicted = _class_codes(head.classes_, head.predict(X))
        return Answers(codes, predicted, probabilities, scores, members, n_classes)
    if scores is None:
        received = f"views of images and {type(head).__name__}, without a score for each class"
        expected = "probabilities, or a decision for each class, to average"
        raise HeadError(explain(received, expected, "calibrate the head, or leave images out"))
    views = group_views(images)
    one_per_image(labels, views, "class")
    members = None if members is None else one_per_image(members, views, "group")
    scores = average_views(scores, views.members)
    probabilities = None if probabilities is None else scores
    predicted = decide(scores, threshold_of(head))
    return Answers(codes[views.first_rows], predicted, probabilities, scores, members, n_classes)


def _class_codes(classes: np.ndarray, labels: np.ndarray) -> np.ndarray:
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
    if not has_class_decisions(head):
        # Nothing that ranks samples for a class.
        return None, None
    decisions = np.asarray(head.decision_function(X), np.float64)
    return None, np.stack([-decisions, decisions], axis=1) if decisions.ndim == 1 else decisions
