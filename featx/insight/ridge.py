"""Ridge regression to classes by products that several fits share, of the samples or of the columns.

Either form gives the same answers, that of samples where they are fewer than columns for less work.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve


def ridge_of_samples(inner: np.ndarray, outer: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """What ridge regression with an intercept answers, from the products of its samples alone.

    Parameters
    ----------
    inner : ndarray of shape (n_training, n_training)
        Products of the training samples with each other.
    outer : ndarray of shape (n_held_out, n_training)
    targets : ndarray of shape (n_training, n_classes)
    penalty : float

    Returns
    -------
    ndarray of shape (n_held_out, n_classes)

    Examples
    --------
    >>> shown, targets = np.array([[-1.0], [1.0]]), np.eye(2)
    >>> ridge_of_samples(shown @ shown.T, np.array([[0.5]]) @ shown.T, targets, 1.0).round(3)
    array([[0.333, 0.667]])
    """
    mean, shares = inner.mean(axis=0), targets.mean(axis=0)
    centred = inner - mean - mean[:, None] + mean.mean()
    np.fill_diagonal(centred, centred.diagonal() + penalty)
    weights = solve(centred, targets - shares, assume_a="pos").astype(outer.dtype)
    # The weights add up to 0, so that of the centring only the training samples' own mean is left.
    answers: np.ndarray = outer @ weights - mean @ weights + shares
    return answers


def ridge_of_columns(
    products: np.ndarray, sums: np.ndarray, counts: np.ndarray, asked: np.ndarray
) -> np.ndarray:
    """The same from the products of columns and the sums of classes; the penalty is the number of columns.

    Parameters
    ----------
    products : ndarray of shape (n_features, n_features)
        Of the columns of the training samples with each other.
    sums : ndarray of shape (n_classes, n_features)
    counts : ndarray of shape (n_classes,)
    asked : ndarray of shape (n_held_out, n_features)

    Returns
    -------
    ndarray of shape (n_held_out, n_classes)

    Examples
    --------
    >>> shown = np.array([[-1.0], [1.0]])
    >>> ridge_of_columns(shown.T @ shown, shown, np.ones(2), np.array([[0.5]])).round(3)
    array([[0.333, 0.667]])
    """
    n_samples = counts.sum()
    mean, shares = sums.sum(axis=0, dtype=np.float64) / n_samples, counts / n_samples
    centred = (products - n_samples * np.outer(mean, mean)).astype(np.float32)
    np.fill_diagonal(centred, centred.diagonal() + len(centred))
    towards = sums.T - np.outer(mean, counts).astype(np.float32)
    weights = solve(centred, towards, assume_a="pos", overwrite_a=True, overwrite_b=True)
    answers: np.ndarray = asked @ weights + (shares - mean @ weights).astype(np.float32)
    return answers
