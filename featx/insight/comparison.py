"""Which of two fitted heads is better, asked on the same samples: a paired test and paired intervals.

Samples that are hard for one head are mostly hard for the other. Differences taken sample by sample leave
that out, and tell heads apart whose own intervals overlap.

The test is McNemar's, exact (McNemar, Psychometrika 12, 1947; recommended for two classifiers and one test
part by Dietterich, Neural Computation 10, 1998): of the samples that only one head gets right, are those
that only `a` gets right too many or too few for the toss of a coin? It takes samples to be independent of
each other. Where they come in groups they are not, and whole groups are tossed instead: under the
hypothesis that the heads are equal, each group's difference could as well have had the other sign. That is
Fisher's randomization test (The Design of Experiments, 1935, section 21) with groups as the blocks that are
exchanged whole (Winkler et al., NeuroImage 92, 2014). All signs are counted and none are drawn, and groups
of one sample give McNemar's figure again.

Both compare these two heads as they are fitted. They say nothing of the ways by which they were fitted:
another training part would give other heads.

A test that finds nothing does not say that the heads are equal. What it could have found is said beside
it: of samples on which the heads disagree as often as here, the difference that such a test finds four
times in five, by the normal approximation (Miettinen, Biometrics 24, 1968; Connor, Biometrics 43, 1987, who
takes a little less). It is a property of the samples, and not of the difference that was seen, which would
only tell the p-value over again (Hoenig and Heisey, The American Statistician 55, 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import binom, binomtest, norm
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.answers import Answers, answers_of
from featx.insight.differences import Difference, differences_of
from featx.insight.metrics import CONFIDENCE
from featx.insight.proportions import members_of
from featx.views import group_views

MCNEMAR = "McNemar's exact test"
SIGN_FLIP = "exact sign-flip test of whole groups"

_POWER = 0.8

# Of each metric: how it is called, and whether less of it is better.
_METRICS = {
    "accuracy": ("accuracy", False),
    "balanced_accuracy": ("balanced accuracy", False),
    "roc_auc": ("ROC AUC", False),
    "log_loss": ("log loss", True),
}


@dataclass(frozen=True)
class Comparison:
    """Two heads on the same samples; see `compare`.

    Attributes
    ----------
    n_samples : int
        Images, where ``images`` said which rows are views of the same.
    n_groups : int or None
        None where every sample is by itself.
    n_both_right, n_only_a_right, n_only_b_right, n_both_wrong : int
        Samples.
    only_a_right, only_b_right, both_wrong_differently : tuple of int
        Which samples those are, and which ones both take for a class that is not theirs, but not for the
        same: indices of rows, of an image with several views the first one's.
    test : str
        McNemar's exact test or, where samples come in groups, the exact sign-flip test of whole groups.
    p_value : float
        How often heads of equal accuracy would differ as much in it, or more, two-sided.
    detectable : float or None
        The difference in accuracy that the test finds four times in five. None for heads that never
        disagree.
    accuracy, balanced_accuracy : Difference
    roc_auc : Difference or None
        None where a head does not rank the samples, or the samples lack a class.
    log_loss : Difference or None
        Less is better. None where a head has no probabilities.
    """

    n_samples: int
    n_groups: int | None
    n_both_right: int
    n_only_a_right: int
    n_only_b_right: int
    n_both_wrong: int
    only_a_right: tuple[int, ...]
    only_b_right: tuple[int, ...]
    both_wrong_differently: tuple[int, ...]
    test: str
    p_value: float
    detectable: float | None
    accuracy: Difference
    balanced_accuracy: Difference
    roc_auc: Difference | None
    log_loss: Difference | None

    @property
    def verdict(self) -> str:
        """Which head is better, or that the data cannot tell, in words.

        The test decides, at 5 %, and so accuracy. Other metrics whose interval leaves 0 out are named
        after it, and may speak for the other head.
        """
        return self.describe()

    def describe(self, a: str = "a", b: str = "b") -> str:
        """The verdict with names in place of a and b.

        Parameters
        ----------
        a, b : str

        Returns
        -------
        str
        """
        accuracy = self.accuracy
        figures = (
            f"accuracy {accuracy.a:.3f} of {a}, {accuracy.b:.3f} of {b}; {self.test}, p = {self.p_value:.2g}"
        )
        if self.p_value < 1 - CONFIDENCE:
            verdict = f"{a if accuracy.difference > 0 else b} is better"
        else:
            verdict = "the data cannot tell which is better"
            if self.detectable is not None:
                points = f"{100 * self.detectable:.1f} points"
                figures += f"; a difference of {points} would be found 4 times in 5"
        return "; ".join([f"{verdict} ({figures})", *self._others(a, b)])

    def _others(self, a: str, b: str) -> list[str]:
        """What the intervals of the metrics say that the test is not about."""
        found = []
        for name in ("balanced_accuracy", "roc_auc", "log_loss"):
            metric, (title, is_less_better) = getattr(self, name), _METRICS[name]
            if metric is None or metric.difference_ci is None:
                continue
            if metric.difference_ci[0] <= 0 <= metric.difference_ci[1]:
                continue
            better = a if (metric.difference > 0) != is_less_better else b
            # The signs say who is better already.
            low, high = sorted(map(abs, metric.difference_ci))
            by = f"{abs(metric.difference):.2g}, 95 % interval {low:.2g} to {high:.2g}"
            found.append(f"by {title}, {better} is better (by {by})")
        return found

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON, with the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def compare(
    a: BaseEstimator,
    b: BaseEstimator,
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    *,
    X_b: np.ndarray | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    images: Sequence[Any] | np.ndarray | None = None,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> Comparison:
    """Compare two fitted heads on samples that neither was fitted on.

    Parameters
    ----------
    a, b : estimator
        Fitted classifiers of the same classes.
    X : array-like of shape (n_samples, n_features)
        Features.
    y : array-like of shape (n_samples,)
        True classes.
    X_b : array-like of shape (n_samples, n_features_b), optional
        The features that ``b`` was fitted on, of the same samples in the same order. None means X.
    groups : array-like of shape (n_samples,), optional
        Samples that are not independent of each other: the test and the intervals take whole groups.
    images : array-like of shape (n_samples,), optional
        The image of every row, whose views are averaged as in `evaluate`.
    n_resamples : int, default=1000
    random_state : int, default=0
        Seed of the resampling.

    Returns
    -------
    Comparison

    Raises
    ------
    HeadError
        When the heads know different classes, X has not the features that ``b`` was fitted on, and for all
        that `evaluate` refuses.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> heads = [head.fit(X[:900], y[:900]) for head in (KNeighborsClassifier(), GaussianNB())]
    >>> comparison = compare(*heads, X[900:], y[900:])
    >>> comparison.verdict
    "a is better (accuracy 0.957 of a, 0.807 of b; McNemar's exact test, p = 7.8e-33); by balanced ..."
    >>> low, high = comparison.accuracy.difference_ci
    >>> 0 < low < comparison.accuracy.difference < high
    True
    """
    check_positive("n_resamples", n_resamples, HeadError)
    check_seed("random_state", random_state, HeadError)
    _check_same_classes(a, b)
    X_b = _features_of_b(b, X, X_b)
    check_consistent_length(X, X_b)
    of_a, of_b = answers_of(a, X, y, groups, images), answers_of(b, X_b, y, groups, images)
    rows = np.arange(len(of_a.codes)) if images is None else group_views(images).first_rows
    return compare_answers(of_a, of_b, rows=rows, n_resamples=n_resamples, random_state=random_state)


def compare_answers(
    of_a: Answers, of_b: Answers, *, rows: np.ndarray, n_resamples: int = 1000, random_state: int = 0
) -> Comparison:
    """Compare what two heads answered on the same samples.

    Parameters
    ----------
    of_a, of_b : Answers
        Of the same samples, with one code for each class in both.
    rows : ndarray of int, shape (n_samples,)
        By which the comparison names the samples.
    n_resamples : int, default=1000
    random_state : int, default=0

    Returns
    -------
    Comparison
    """
    is_right_a, is_right_b = of_a.predicted == of_a.codes, of_b.predicted == of_b.codes
    members = members_of(of_a.groups)
    differences = _summed(is_right_a.astype(int) - is_right_b, members)
    only_a, only_b = is_right_a & ~is_right_b, ~is_right_a & is_right_b
    is_wrong = ~is_right_a & ~is_right_b
    return Comparison(
        n_samples=len(of_a.codes),
        n_groups=None if members is None else int(members.max()) + 1,
        n_both_right=int((is_right_a & is_right_b).sum()),
        n_only_a_right=int(only_a.sum()),
        n_only_b_right=int(only_b.sum()),
        n_both_wrong=int(is_wrong.sum()),
        only_a_right=tuple(rows[only_a].tolist()),
        only_b_right=tuple(rows[only_b].tolist()),
        both_wrong_differently=tuple(rows[is_wrong & (of_a.predicted != of_b.predicted)].tolist()),
        test=MCNEMAR if members is None else SIGN_FLIP,
        p_value=sign_flip_p_value(differences) if members is not None else _mcnemar_p_value(differences),
        detectable=_detectable(differences, len(of_a.codes)),
        **differences_of(of_a, of_b, n_resamples, random_state),
    )


# ---------------------------------------------------------------------------------- what was passed


def _check_same_classes(a: BaseEstimator, b: BaseEstimator) -> None:
    check_is_fitted(a)
    check_is_fitted(b)
    if not np.array_equal(a.classes_, b.classes_):
        shown = [", ".join(map(str, head.classes_[:20])) for head in (a, b)]
        received = f"a of the classes {shown[0]} and b of the classes {shown[1]}"
        raise HeadError(explain(received, "heads of the same classes", "fit both on the same labels"))


def _features_of_b(b: BaseEstimator, X: np.ndarray, X_b: np.ndarray | None) -> np.ndarray:
    if X_b is not None:
        return X_b
    n_features = np.shape(X)[1] if np.ndim(X) == 2 else None
    n_expected = getattr(b, "n_features_in_", n_features)
    if n_features is not None and n_features != n_expected:
        expected = f"the {n_expected} that b was fitted on"
        raise HeadError(explain(f"{n_features} features", expected, "pass those of b as X_b"))
    return X


# ------------------------------------------------------------------------------------------ the test


def _summed(differences: np.ndarray, members: np.ndarray | None) -> np.ndarray:
    """Those of each group, where samples come in groups."""
    if members is None:
        return differences
    return np.bincount(members, weights=differences).astype(int)


def _mcnemar_p_value(differences: np.ndarray) -> float:
    n_discordant = int(np.abs(differences).sum())
    # Heads that agree everywhere leave nothing to toss for.
    return float(binomtest(int((differences > 0).sum()), n_discordant).pvalue) if n_discordant else 1.0


def _detectable(differences: np.ndarray, n_samples: int) -> float | None:
    deviation = np.sqrt((differences.astype(float) ** 2).sum()) / n_samples
    quantiles = norm.ppf((1 + CONFIDENCE) / 2) + norm.ppf(_POWER)
    # Few disagreements leave the approximation, and no difference is above 1.
    return min(1.0, float(quantiles * deviation)) if deviation else None


def sign_flip_p_value(differences: np.ndarray) -> float:
    """How often a sum of integers is as far from 0, or farther, when their signs are tossed for.

    The sums of all signs are counted: of ``n`` integers of one size, the heads among ``n`` tosses are
    binomial, and sizes are added to each other by convolution.

    Parameters
    ----------
    differences : ndarray of int, shape (n_groups,)

    Returns
    -------
    float

    Examples
    --------
    Of eight ways to sign 1, 1 and 2, the sum is 4 in one and -4 in another:

    >>> sign_flip_p_value(np.array([1, 1, 2]))
    0.25
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    chances = np.ones(1)
    for size, count in zip(sizes, counts, strict=True):
        # One toss more or less moves the sum by two sizes, and sums stand two apart.
        of_size = np.zeros(size * count + 1)
        of_size[::size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, of_size)
    sums = np.arange(len(chances)) * 2 - (len(chances) - 1)
    return min(1.0, float(chances[np.abs(sums) >= abs(differences.sum())].sum()))
