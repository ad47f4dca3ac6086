"""What scores over folds can tell: the interval of a mean, and whether one candidate beats another.

The training parts of folds overlap, so their scores go together, and the usual error of a mean is far too
small. Nadeau and Bengio (Inference for the Generalization Error, Machine Learning 52, 2003) put the ratio of
the test part to the training part beside 1 / n_folds: the corrected resampled t-test, whose outcomes repeat
best from split to split (Bouckaert and Frank, Evaluating the Replicability of Significance Tests for
Comparing Learning Algorithms, PAKDD 2004). Two candidates are compared on their differences fold by fold.

Few folds may agree by chance, and most often where a score is near its end: five folds without a mistake have
no spread, and yet the next sample may be wrong. So shares of samples vary by no less than the binomial
distribution has it, with one right and one wrong sample added (Laplace's rule of succession). That goes for
other scores from 0 to 1, too, which vary more than a share does. So does a difference of two shares: samples
on which two candidates differ by ``d`` are at least the share ``d`` of all. Where there is no spread, and no
such bound either, nothing is said.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t

from featx.insight.metrics import CONFIDENCE, Interval

# Of scikit-learn's names of scores: what those that are shares begin with.
_SHARES = ("accuracy", "average_precision", "balanced_accuracy", "f1", "jaccard", "precision", "recall",
           "roc_auc", "top_k_accuracy")  # fmt: skip
_UNLIMITED = (-np.inf, np.inf)
_OF_SHARES = (0.0, 1.0)
_ROUNDING = 1e-12


def score_range(scoring: str) -> Interval:
    """The least and the largest value of a score, as scikit-learn names it; infinite where none is known.

    Examples
    --------
    >>> score_range("roc_auc_ovr"), score_range("neg_log_loss"), score_range("my score")
    ((0.0, 1.0), (-inf, 0.0), (-inf, inf))
    """
    if scoring.startswith(_SHARES):
        return _OF_SHARES
    if scoring == "matthews_corrcoef":
        return -1.0, 1.0
    return (-np.inf, 0.0) if scoring.startswith("neg_") else _UNLIMITED


def deviation_of_mean(
    scores: np.ndarray, test_train_ratio: float, n_scored: float | None = None
) -> np.ndarray:
    """Standard deviation of the mean of scores whose training parts overlap, by Nadeau and Bengio.

    Parameters
    ----------
    scores : ndarray of shape (..., n_folds)
        Or of repeats in place of folds, or differences of two candidates' scores.
    test_train_ratio : float
        Samples in a test part for each one in its training part.
    n_scored : float, optional
        Samples in a test part, where scores are from 0 to 1, which then vary by no less than chance has it.

    Returns
    -------
    ndarray of shape (...)
        0 where all scores are equal, and n_scored is not given.

    Examples
    --------
    >>> perfect = np.ones(5)
    >>> deviation_of_mean(perfect, 1 / 4), deviation_of_mean(perfect, 1 / 4, 20).round(4)
    (np.float64(0.0), np.float64(0.0132))
    """
    scores = np.asarray(scores, float)
    n_folds, means = scores.shape[-1], np.abs(scores.mean(axis=-1))
    # Equal scores are a rounding apart, and so are their differences.
    spread = scores.std(axis=-1, ddof=1)
    variance = np.where(spread <= _ROUNDING * np.abs(scores).max(axis=-1), 0.0, spread**2)
    if n_scored is not None:
        n_all = n_scored * n_folds
        share = (means * n_all + 1) / (n_all + 2)
        # Parts of one data set are drawn without replacement.
        variance = np.maximum(variance, share * (1 - share) / n_scored / (1 + test_train_ratio))
    deviation: np.ndarray = np.sqrt(variance * (1 / n_folds + test_train_ratio))
    return deviation


def fold_interval(
    scores: np.ndarray,
    test_train_ratio: float,
    limits: Interval = _UNLIMITED,
    n_scored: float | None = None,
) -> Interval | None:
    """The 95 % interval of the mean of scores over folds: symmetric, but where it would leave the range.

    Parameters
    ----------
    scores : ndarray of shape (n_folds,)
    test_train_ratio : float
        Samples in a test part for each one in its training part: 1 / (k - 1) of k folds.
    limits : tuple of float, optional
        The score's range, as of `score_range`.
    n_scored : float, optional
        Samples in a test part, by which scores from 0 to 1 vary no less than chance has it.

    Returns
    -------
    tuple of float, or None
        None where a fold has no score, there are fewer than two, or all are equal and nothing bounds how
        much they could have differed.

    Examples
    --------
    >>> low, high = fold_interval(np.array([0.80, 0.84, 0.82, 0.86, 0.83]), 1 / 4)
    >>> round(low, 3), round(high, 3)
    (0.788, 0.872)
    >>> low, high = fold_interval(np.ones(5), 1 / 4, score_range("accuracy"), n_scored=20)
    >>> round(low, 3), high
    (0.963, 1.0)
    """
    scores = np.asarray(scores, float)
    if len(scores) < 2 or np.isnan(scores).any():
        return None
    deviation = deviation_of_mean(scores, test_train_ratio, n_scored if limits == _OF_SHARES else None)
    if deviation == 0:
        return None
    half = float(t.isf((1 - CONFIDENCE) / 2, len(scores) - 1) * deviation)
    mean, (least, largest) = float(scores.mean()), limits
    return max(mean - half, least), min(mean + half, largest)


def fold_p_values(
    scores: np.ndarray, best: int, test_train_ratio: float, n_scored: float | None = None
) -> np.ndarray:
    """How often candidates that are equally good would differ as much as each does from one of them, or more.

    Two-sided, and each by itself: of many candidates, a few are told apart by chance, unless the p-values
    are corrected for their number.

    Parameters
    ----------
    scores : ndarray of shape (n_candidates, n_folds)
        On the same folds.
    best : int
        Row of the candidate that the others are compared with.
    test_train_ratio : float
        As for `fold_interval`.
    n_scored : float, optional
        Samples in a test part, where the scores are from 0 to 1.

    Returns
    -------
    ndarray of shape (n_candidates,)
        1 for ``best`` itself, and its equals; NaN where a fold has no score, there are fewer than two, or
        the differences are all the same and nothing bounds how much they could have differed.

    Examples
    --------
    >>> scores = np.array([[0.80, 0.84, 0.82, 0.86, 0.83], [0.79, 0.85, 0.81, 0.86, 0.83], [0.5] * 5])
    >>> fold_p_values(scores, 0, 1 / 4).round(4)
    array([1.    , 0.7396, 0.    ])

    One hundredth less on every fold is less than chance does to a hundred samples:

    >>> fold_p_values(np.array([[0.9, 0.8, 0.7], [0.89, 0.79, 0.69]]), 0, 1 / 2, n_scored=100).round(2)
    array([1.  , 0.36])
    """
    scores = np.asarray(scores, float)
    if scores.shape[1] < 2:
        return np.full(len(scores), np.nan)
    differences = scores - scores[best]
    means, deviations = differences.mean(axis=1), deviation_of_mean(differences, test_train_ratio, n_scored)
    is_same = np.abs(differences).max(axis=1) <= _ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.where(is_same, 0.0, np.abs(means) / deviations)
    statistics[np.isnan(means) | (~is_same & (deviations == 0))] = np.nan
    p_values: np.ndarray = 2 * t.sf(statistics, scores.shape[1] - 1)
    return p_values
