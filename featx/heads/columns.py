"""Some columns of a feature matrix as a step before a head, so that the head takes the whole matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from featx.checks import explain
from featx.errors import HeadError


class TakeColumns(TransformerMixin, BaseEstimator):
    """Takes columns by their range or indices.

    Parameters
    ----------
    columns : tuple (start, stop), sequence of int or None, default=None
        A tuple of two is a range; any other sequence is indices, in the order to take them. None takes all.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where `fit` saw names.

    Examples
    --------
    >>> X = np.arange(6).reshape(2, 3)
    >>> TakeColumns((1, 3)).fit_transform(X)
    array([[1, 2],
           [4, 5]])
    >>> TakeColumns([2, 0]).fit_transform(X)
    array([[2, 0],
           [5, 3]])
    """

    def __init__(self, columns: Sequence[int] | None = None) -> None:
        self.columns = columns

    def fit(self, X: np.ndarray, y: Any = None) -> TakeColumns:  # noqa: ARG002 - scikit-learn's signature
        """Check that the columns are there; nothing else is learnt.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        HeadError
            When a column is not among those of X.
        """
        validate_data(self, X, ensure_all_finite=False)
        self._check_columns()
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        """The columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            Of the same type; a range is a view of X.
        """
        check_is_fitted(self, "n_features_in_")
        X = validate_data(self, X, ensure_all_finite=False, reset=False)
        taken: np.ndarray = X[:, self._selection()]
        return taken

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> np.ndarray:
        """Names of the columns that are taken.

        Parameters
        ----------
        input_features : sequence of str, optional
            Names of all columns.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        return np.asarray(_check_feature_names_in(self, input_features)[self._selection()])

    @property
    def indices_(self) -> np.ndarray:
        """Indices of the columns, (n_columns,)."""
        return np.asarray(np.arange(self.n_features_in_)[self._selection()])

    def _selection(self) -> Any:
        if self.columns is None:
            return slice(None)
        return slice(*self.columns) if _is_range(self.columns) else np.asarray(self.columns)

    def _check_columns(self) -> None:
        if self.columns is None:
            return
        columns = np.asarray(self.columns)
        last = columns - 1 if _is_range(self.columns) else columns
        is_usable = columns.ndim == 1 and columns.dtype.kind in "iu" and len(columns)
        if is_usable and _is_range(self.columns):
            is_usable = columns[0] < columns[1]
        if not is_usable or columns.min() < 0 or last.max() >= self.n_features_in_:
            received = f"columns={self.columns!r}"
            expected = f"a range (start, stop) or indices among {self.n_features_in_} columns"
            raise HeadError(explain(received, expected, "pass for example (0, 1)"))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "float16"]
        return tags


def on_columns(head: BaseEstimator, columns: Sequence[int], n_features: int) -> Pipeline:
    """A fitted head on some columns as one that takes all of them.

    Parameters
    ----------
    head : estimator
        Fitted.
    columns : tuple (start, stop) or sequence of int
        That it was fitted on, in order.
    n_features : int
        Number of all columns.

    Returns
    -------
    Pipeline
        Fitted; the head inside is the one given.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> head = LogisticRegression().fit([[0.0], [1.0]], ["cat", "dog"])
    >>> on_columns(head, (2, 3), 3).predict([[9.0, 9.0, 1.0]])
    array(['dog'], dtype='<U3')
    """
    take = TakeColumns(columns).fit(np.zeros((1, n_features), np.float32))
    return Pipeline([("columns", take), ("head", head)])


def _is_range(columns: Any) -> bool:
    return isinstance(columns, tuple) and len(columns) == 2
