"""What a search answers once it is fitted: the best head's classes, probabilities and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.checks import check_finite
from featx.heads.candidates import will_give
from featx.heads.problem import Columns
from featx.heads.spaces import resolve_heads


def _best_has(method: str) -> Any:
    def check(search: AnswersWithBest) -> bool:
        if not search.refit:
            return False
        if hasattr(search, "best_estimator_"):
            return hasattr(search.best_estimator_, method)
        # Before fitting, what every head will give is there, and says that a fit is missing.
        return all(
            will_give(spec.estimator, method, search.calibration) for spec in resolve_heads(search.heads)
        )

    return check


class AnswersWithBest:
    """A search's methods that its ``best_estimator_`` answers.

    Attributes
    ----------
    best_estimator_ : estimator
    best_columns_ : slice or ndarray
        Of the features that it takes.
    """

    heads: Any
    refit: bool | str
    scoring: Any
    calibration: str | None
    best_estimator_: Any
    best_columns_: Columns

    @available_if(_best_has("predict"))
    def score(self, X: np.ndarray, y: Sequence[Any] | np.ndarray) -> float:
        """What ``scoring`` gives for the best head on some samples; of several, the one that ranked.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            True classes.

        Returns
        -------
        float
            Higher is better.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw, or ``scoring`` does not suit y; a
            `HeadError` when features are not finite.
        """
        check_is_fitted(self, "best_estimator_")
        X = self._features_of_best(X)
        scores = check_scoring(self.best_estimator_, self.scoring)(self.best_estimator_, X, y)
        return float(scores[self.refit] if isinstance(scores, Mapping) else scores)

    @available_if(_best_has("predict"))
    def predict(self, X: np.ndarray) -> np.ndarray:
        """The best head's classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Of a calibrated head, the classes of the highest probability.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw; a `HeadError` when they are not finite.
        """
        return self._of_best("predict", X)

    @available_if(_best_has("predict_proba"))
    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """The best head's probabilities; absent where it has none and ``calibration=None``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw; a `HeadError` when they are not finite.
        """
        return self._of_best("predict_proba", X)

    @available_if(_best_has("decision_function"))
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """The best head's decision values; absent where it has none, and where it was calibrated.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One column for two classes.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw; a `HeadError` when they are not finite.
        """
        return self._of_best("decision_function", X)

    def _of_best(self, method: str, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self, "best_estimator_")
        answers = getattr(self.best_estimator_, method)(self._features_of_best(X))
        # Of several labels, some heads give a list of tables, one a label.
        return (
            np.stack([table[:, 1] for table in answers], 1)
            if isinstance(answers, list)
            else np.asarray(answers)
        )

    def _features_of_best(self, X: np.ndarray) -> np.ndarray:
        # scikit-learn would say that something is not finite, and not where.
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False, ensure_all_finite=False)
        check_finite(X)
        is_all = isinstance(self.best_columns_, slice) and self.best_columns_ == slice(None)
        return X if is_all else X[:, self.best_columns_]
