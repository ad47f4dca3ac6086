"""Nearest neighbours whose votes carry sample weights, which scikit-learn's do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.validation import _check_sample_weight, check_is_fitted


class WeightedNeighbors(KNeighborsClassifier):
    """Scikit-learn's nearest neighbours, each vote multiplied by its sample's weight.

    Its parameters are those of ``sklearn.neighbors.KNeighborsClassifier``. A sample of weight 2 votes as two
    equal samples would, but stands for one among the neighbours that are looked for.

    Attributes
    ----------
    sample_weight_ : ndarray of shape (n_samples,)

    Examples
    --------
    >>> X = [[0.0], [1.0], [2.0]]
    >>> WeightedNeighbors(n_neighbors=3).fit(X, [0, 0, 1], sample_weight=[1, 1, 3]).predict_proba([[1.0]])
    array([[0.4, 0.6]])
    """

    def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None) -> WeightedNeighbors:
        """Keep the samples and their weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional

        Returns
        -------
        self
        """
        super().fit(X, y)
        self.sample_weight_ = _check_sample_weight(sample_weight, X, dtype=np.float64)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The class of most votes, (n_samples,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Shares of the votes, (n_samples, n_classes)."""
        check_is_fitted(self, "sample_weight_")
        distances, neighbors = self.kneighbors(X)
        votes = self._votes(distances) * self.sample_weight_[neighbors]
        codes = self._y[neighbors]
        shares = np.stack(
            [(votes * (codes == code)).sum(axis=1) for code in range(len(self.classes_))], axis=1
        )
        totals = shares.sum(axis=1, keepdims=True)
        # Neighbours that all weigh nothing say nothing.
        return np.where(totals > 0, shares / np.where(totals > 0, totals, 1), 1 / len(self.classes_))

    def _votes(self, distances: np.ndarray) -> Any:
        if callable(self.weights):
            return self.weights(distances)
        if self.weights == "uniform":
            return np.ones_like(distances)
        # Of neighbours at the very place, and only of those where there are any.
        is_here = distances == 0
        with np.errstate(divide="ignore"):
            return np.where(is_here.any(axis=1, keepdims=True), is_here, 1 / distances)
