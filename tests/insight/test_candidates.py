"""Candidates with what their folds can tell, in the order of the leaderboard."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.heads.search import HeadSearch
from featx.insight.candidates import candidates_of, ranked_by
from featx.insight.folds import fold_interval, fold_p_values, score_range
from featx.insight.subgroups import holm


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
    ratio = search.test_train_ratio_
    limits = (-np.inf, 0.0)
    assert [one["score_ci"] for one in candidates] == [fold_interval(row, ratio, limits) for row in scores]
    assert [one["ci_test_neg_log_loss"] for one in candidates] == [one["score_ci"] for one in candidates]
    alone = fold_p_values(scores, 0, ratio)
    np.testing.assert_allclose([one["p_value_alone"] for one in candidates], alone)
    np.testing.assert_allclose([one["p_value"] for one in candidates], [1, *holm(alone[1:])])


def test_no_interval_leaves_the_range_of_its_score(search):
    ends = np.array([one["ci_test_accuracy"] for one in candidates_of(search)])
    assert ends.max() <= 1
    scores = np.stack([search.cv_results_[f"split{fold}_test_accuracy"] for fold in range(3)], axis=1)
    symmetric = np.array([fold_interval(row, search.test_train_ratio_) for row in scores])
    assert symmetric.max() > 1


def folded(scores, **attributes):
    results = {f"split{fold}_test_score": column for fold, column in enumerate(scores.T)}
    means = scores.mean(axis=1)
    results |= {"rank_test_score": np.arange(1, len(scores) + 1), "mean_test_score": means}
    rows = [{"mean_test_score": mean} for mean in means]
    return SimpleNamespace(
        leaderboard=lambda: rows,
        cv_results_=results | attributes,
        n_splits_=scores.shape[1],
        test_train_ratio_=1 / 4,
    )


def test_without_folds_or_with_one_that_failed_nothing_is_said():
    rows = [{"mean_test_score": 0.9}, {"mean_test_score": np.nan}]
    bare = candidates_of(SimpleNamespace(leaderboard=lambda: rows))
    assert [(one["score_ci"], one["p_value"]) for one in bare] == [(None, None)] * 2
    found = candidates_of(folded(np.array([[0.9, 0.9], [np.nan, 0.8]])))
    assert (found[1]["score_ci"], found[1]["p_value"]) == (None, None)
    assert found[0]["p_value"] == 1


def test_of_many_that_are_as_good_none_is_told_from_the_best_by_chance():
    rng, n_told, n_alone = np.random.default_rng(0), 0, 0
    for _ in range(100):
        scores = rng.normal(0.8, 0.03, (40, 5)) + rng.normal(0, 0.02, 5)
        found = candidates_of(folded(scores[np.argsort(-scores.mean(axis=1))]))
        n_told += any(one["p_value"] < 0.05 for one in found[1:])
        n_alone += any(one["p_value_alone"] < 0.05 for one in found[1:])
    assert n_told <= 10
    assert n_alone > 60


def test_a_search_without_a_mistake_is_not_certain():
    X, y = load_digits(return_X_y=True)
    zeros = y < 2
    found = HeadSearch("knn", cv=5, random_state=0).fit(X[zeros][:100], y[zeros][:100])
    assert found.n_scored_ == 20
    best = candidates_of(found)[0]
    assert best["mean_test_score"] == 1.0
    assert best["score_ci"] == fold_interval(np.ones(5), 1 / 4, score_range("accuracy"), 20)
    assert best["score_ci"][0] < 0.97


def test_a_candidate_that_was_judged_on_fewer_samples_is_not_compared():
    scores = np.array([[0.9, 0.8], [0.8, 0.8], [0.7, 0.8]])
    found = candidates_of(folded(scores, n_resources=np.array([100, 100, 50])))
    assert [one["p_value"] is None for one in found] == [False, False, True]
    assert found[2]["score_ci"] is not None


def test_the_score_that_ranks_is_called_as_it_was_asked_for(search):
    assert ranked_by(search) == "neg_log_loss"
    assert ranked_by(HeadSearch(scoring="roc_auc")) == "roc_auc"
    assert ranked_by(HeadSearch(scoring=["accuracy", "f1"], refit=False)) == "accuracy"
    assert ranked_by(HeadSearch(scoring=len)) == ranked_by(HeadSearch(scoring=None)) == "score"
