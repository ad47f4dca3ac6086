"""What scores over folds can tell: the interval of a mean, and whether one candidate beats another.

The training parts of folds overlap, so their scores go together, and the usual error of a mean is far too
small. Nadeau and Bengio (Inference for the Generalization Error, Machine Learning 52, 2003) put the ratio of
the test part to the training part beside 1 / n_folds: the corrected resampled t-test, whose outcomes repeat
best from split to split (Bouckaert and Frank, Evaluating the Replicability of Significance Tests for
Comparing Learning Algorithms, PAKDD 2004). Two candidates are compared on their differences fold by fold.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from featx.insight.metrics import CONFIDENCE, Interval

# Of scikit-learn's names of scores: what those that are shares begin with.
_SHARES = ("accuracy", "average_precision", "balanced_accuracy", "f1", "jaccard", "precision", "recall",
           "roc_auc", "top_k_accuracy")  # fmt: skip
_UNLIMITED = (-np.inf, np.inf)


def score_range(scoring: str) -> Interval:
    """The least and the largest value of a score, as scikit-learn names it; infinite where none is known.

    Examples
    --------
    >>> score_range("roc_auc_ovr"), score_range("neg_log_loss"), score_range("my score")
    ((0.0, 1.0), (-inf, 0.0), (-inf, inf))
    """
    if scoring.startswith(_SHARES):
        return 0.0, 1.0
    if scoring == "matthews_corrcoef":
        return -1.0, 1.0
    return (-np.inf, 0.0) if scoring.startswith("neg_") else _UNLIMITED


def fold_interval(
    scores: np.ndarray, test_train_ratio: float, limits: Interval = _UNLIMITED
) -> Interval | None:
    """The 95 % interval of the mean of scores over folds: symmetric, but where it would leave the range.

    Parameters
    ----------
    scores : ndarray of shape (n_folds,)
    test_train_ratio : float
        Samples in a test part for each one in its training part: 1 / (k - 1) of k folds.
    limits : tuple of float, optional
        The score's range, as of `score_range`.

    Returns
    -------
    tuple of float, or None
        None where a fold has no score, or there are fewer than two.

    Examples
    --------
    >>> low, high = fold_interval(np.array([0.80, 0.84, 0.82, 0.86, 0.83]), 1 / 4)
    >>> round(low, 3), round(high, 3)
    (0.788, 0.872)
    >>> fold_interval(np.array([0.98, 1.0, 1.0]), 1 / 2, score_range("accuracy"))[1]
    1.0
    """
    scores = np.asarray(scores, float)
    if len(scores) < 2 or np.isnan(scores).any():
        return None
    half = float(t.isf((1 - CONFIDENCE) / 2, len(scores) - 1) * _error(scores, test_train_ratio))
    mean, (least, largest) = float(scores.mean()), limits
    return max(mean - half, least), min(mean + half, largest)


def fold_p_values(scores: np.ndarray, best: int, test_train_ratio: float) -> np.ndarray:
    """How often candidates that are equally good would differ as much as each does from one of them, or more.

    Two-sided, and each by itself: of many candidates, a few are told apart by chance.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_folds)
        On the same folds.
    best : int
        Row of the candidate that the others are compared with.
    test_train_ratio : float
        As for `fold_interval`.

    Returns
    -------
    ndarray of shape (n_candidates,)
        1 for ``best`` itself; NaN where a fold has no score, or there are fewer than two.

    Examples
    --------
    >>> scores = np.array([[0.80, 0.84, 0.82, 0.86, 0.83], [0.79, 0.85, 0.81, 0.86, 0.83], [0.5] * 5])
    >>> fold_p_values(scores, 0, 1 / 4).round(4)
    array([1.    , 0.7396, 0.    ])
    """
    scores = np.asarray(scores, float)
    if scores.shape[1] < 2:
        return np.full(len(scores), np.nan)
    differences = scores - scores[best]
    means, errors = differences.mean(axis=1), _error(differences, test_train_ratio)
    # Differences that are the same on all folds have no error: nothing, or as sure as can be.
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.where(means == 0, 0.0, np.abs(means) / errors)
    statistics[np.isnan(means)] = np.nan
    p_values: np.ndarray = 2 * t.sf(statistics, scores.shape[1] - 1)
    return p_values


def _error(scores: np.ndarray, test_train_ratio: float) -> np.ndarray:
    """Standard error of the mean over the last axis."""
    error: np.ndarray = np.std(scores, axis=-1, ddof=1) * np.sqrt(1 / scores.shape[-1] + test_train_ratio)
    return error
