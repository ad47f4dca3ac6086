"""Scores over folds: the definitions, and tests that keep their promise where folds overlap."""

import numpy as np
import pytest
from scipy.stats import t, ttest_rel
from sklearn.model_selection import KFold

from featx.insight.folds import fold_interval, fold_p_values, score_range


def test_without_overlap_it_is_the_paired_t_test():
    scores = np.random.default_rng(0).normal(0.8, 0.02, (3, 5))
    found = fold_p_values(scores, 1, 0.0)
    assert found[[0, 2]] == pytest.approx([ttest_rel(scores[row], scores[1]).pvalue for row in (0, 2)])
    assert found[1] == 1


def test_overlap_widens_by_its_share():
    scores = np.array([0.8, 0.84, 0.82, 0.86])
    plain, corrected = (np.ptp(fold_interval(scores, ratio)) for ratio in (0, 1 / 3))
    assert plain == pytest.approx(2 * t.isf(0.025, 3) * scores.std(ddof=1) / 2)
    assert corrected / plain == pytest.approx(np.sqrt((1 / 4 + 1 / 3) * 4))
    assert np.mean(fold_interval(scores, 1 / 3)) == pytest.approx(scores.mean())


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "roc_auc_ovr_weighted", "jaccard", "precision"])
def test_shares_end_at_0_and_1(name):
    low, high = fold_interval(np.array([0.02, 0.98, 1.0, 1.0]), 1 / 3, score_range(name))
    assert (low, high) == (0.0, 1.0)
    low, high = fold_interval(np.array([0.02, 0.98, 1.0, 1.0]), 1 / 3, score_range("r2"))
    assert low < 0
    assert high > 1


def test_what_cannot_be_told_is_not():
    scores = np.array([[0.8, 0.9], [0.7, np.nan], [0.8, 0.9]])
    assert fold_interval(scores[1], 1) is None
    assert fold_interval(np.array([0.8]), 1) is None
    assert fold_p_values(scores, 0, 1) == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert np.isnan(fold_p_values(scores[:, :1], 0, 1)).all()


@pytest.mark.parametrize("less", [0.01, 0.5])
def test_a_difference_that_is_the_same_on_all_folds_is_as_sure_as_the_samples_are_many(less):
    scores = np.array([[0.9, 0.5, 0.75], [0.9, 0.5, 0.75]]) - [[0], [less]]
    assert fold_p_values(scores, 0, 0.5) == pytest.approx([1, np.nan], nan_ok=True)
    few, many = (fold_p_values(scores, 0, 0.5, n_scored)[1] for n_scored in (20, 20_000))
    assert bool(few > 0.1) is (less == 0.01)
    assert many < min(few, 0.05)


@pytest.mark.parametrize(("score", "expected"), [(1.0, (0.963, 1.0)), (0.0, (0.0, 0.037))])
def test_folds_without_a_mistake_leave_room_for_one(score, expected):
    scores, limits = np.full(5, score), score_range("accuracy")
    assert fold_interval(scores, 1 / 4, limits, n_scored=20) == pytest.approx(expected, abs=0.001)
    assert fold_interval(scores, 1 / 4, limits) is None
    # How much a loss may vary is not known.
    assert fold_interval(-scores, 1 / 4, score_range("neg_log_loss"), n_scored=20) is None
    # Between the ends, folds that differ more than chance are taken as they are.
    scores = np.array([0.6, 0.9, 0.5, 1.0, 0.7])
    assert fold_interval(scores, 1 / 4, limits, n_scored=100) == fold_interval(scores, 1 / 4, limits)


def test_the_interval_of_folds_holds_the_accuracy_where_mistakes_are_rare():
    rng, n_held, n_without = np.random.default_rng(0), 0, 0
    for _ in range(300):
        scores = (rng.random((5, 20)) < 0.98).mean(axis=1)
        low, high = fold_interval(scores, 1 / 4, score_range("accuracy"), n_scored=20)
        n_held += low <= 0.98 <= high
        plain = fold_interval(scores, 1 / 4, score_range("accuracy"))
        n_without += plain is not None and plain[0] <= 0.98 <= plain[1]
    assert n_held >= 282
    assert n_without < 270


def test_equal_candidates_are_seldom_told_apart_where_a_plain_test_often_does():
    # Nearest class means on two columns that tell as much: what is learned of one says nothing of the other.
    rng, plain, corrected = np.random.default_rng(0), 0, 0
    for _ in range(200):
        y = np.tile([0, 1], 30)
        X = 0.7 * y[:, None] + rng.normal(size=(60, 2))
        scores = np.empty((2, 10))
        for fold, (train, test) in enumerate(KFold(10).split(X)):
            middles = (X[train][y[train] == 0].mean(axis=0) + X[train][y[train] == 1].mean(axis=0)) / 2
            scores[:, fold] = ((X[test] > middles) == y[test, None]).mean(axis=0)
        plain += ttest_rel(*scores).pvalue < 0.05
        corrected += fold_p_values(scores, 0, 1 / 9)[1] < 0.05
    assert corrected <= 12
    assert plain > corrected
