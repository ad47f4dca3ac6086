"""A fitted head that judges an image by all its views: their scores are averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from featx.views import average_views, decide, group_views, threshold_of


def _has(method: str) -> Any:
    return available_if(lambda average: hasattr(average.estimator, method))


class ViewAverage(ClassifierMixin, BaseEstimator):
    """A fitted head whose probabilities, or decisions, are means over the views of each image.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    members : ndarray of shape (n_rows,)
        Image of each row that it will be asked about, integers from 0.
    """

    def __init__(self, estimator: BaseEstimator, members: np.ndarray) -> None:
        self.estimator = estimator
        self.members = members

    @classmethod
    def of(
        cls, estimator: BaseEstimator, images: np.ndarray, y: np.ndarray
    ) -> tuple[ViewAverage, np.ndarray]:
        """The averaging head for some rows, and the classes of their images."""
        views = group_views(images)
        return cls(estimator, views.members), y[views.first_rows]

    @property
    def classes_(self) -> np.ndarray:
        """Of the head."""
        classes: np.ndarray = self.estimator.classes_
        return classes

    def fit(self) -> ViewAverage:
        """Nothing: the head is fitted. Scorers ask for one."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        check_is_fitted(self.estimator)
        return True

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The class of the highest mean score, (n_images,)."""
        if hasattr(self.estimator, "predict_proba"):
            scores = self.predict_proba(X)
        else:
            scores = self.decision_function(X)
        return np.asarray(self.classes_[decide(scores, threshold_of(self.estimator))])

    @_has("predict_proba")
    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Mean probabilities, (n_images, n_classes)."""
        return average_views(np.asarray(self.estimator.predict_proba(X)), self.members)

    @_has("decision_function")
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Mean decisions, (n_images,) or (n_images, n_classes)."""
        return average_views(np.asarray(self.estimator.decision_function(X)), self.members)
