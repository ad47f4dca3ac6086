"""Candidates with what their folds can tell, in the order of the leaderboard."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.heads.search import HeadSearch
from featx.insight.folds import fold_interval, fold_p_values
from featx.insight.report_candidates import candidates_of


@pytest.fixture(scope="module")
def search():
    X, y = load_digits(return_X_y=True)
    heads = ["logistic_regression", "knn"]
    return HeadSearch(
        heads, cv=3, random_state=0, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss"
    ).fit(X[:200], y[:200])


def test_the_scores_that_rank_are_those_that_are_compared(search):
    candidates = candidates_of(search)
    table, order = search.cv_results_, np.argsort(search.cv_results_["rank_test_neg_log_loss"], kind="stable")
    scores = np.stack([table[f"split{fold}_test_neg_log_loss"] for fold in range(3)], axis=1)[order]
    assert [one["params"] for one in candidates] == [table["params"][index] for index in order]
    ratio = getattr(search, "test_train_ratio_", 1 / 2)
    assert [one["score_ci"] for one in candidates] == [fold_interval(row, ratio) for row in scores]
    np.testing.assert_allclose([one["p_value"] for one in candidates], fold_p_values(scores, 0, ratio))
    assert candidates[0]["p_value"] == 1


def test_repeats_widen_as_their_folds_do():
    scores = np.random.default_rng(0).normal(0.8, 0.02, (2, 10))
    scores = scores[np.argsort(-scores.mean(axis=1))]
    results = {f"split{fold}_test_score": scores[:, fold] for fold in range(10)}
    results |= {"rank_test_score": np.array([1, 2]), "mean_test_score": scores.mean(axis=1)}
    rows = [{"mean_test_score": mean} for mean in scores.mean(axis=1)]
    search = SimpleNamespace(leaderboard=lambda: rows, cv_results_=results, n_repeats=2)
    assert candidates_of(search)[0]["score_ci"] == fold_interval(scores[0], 1 / 4)


def test_without_folds_or_with_one_that_failed_nothing_is_said():
    rows = [{"mean_test_score": 0.9}, {"mean_test_score": np.nan}]
    bare = candidates_of(SimpleNamespace(leaderboard=lambda: rows))
    assert [(one["score_ci"], one["p_value"]) for one in bare] == [(None, None)] * 2
    results = {"split0_test_score": [0.9, np.nan], "split1_test_score": [0.9, 0.8]}
    results |= {"rank_test_score": [1, 2], "mean_test_score": [0.9, np.nan]}
    found = candidates_of(SimpleNamespace(leaderboard=lambda: rows, cv_results_=results))
    assert (found[1]["score_ci"], found[1]["p_value"]) == (None, None)
    assert found[0]["p_value"] == 1
