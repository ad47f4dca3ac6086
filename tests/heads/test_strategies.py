"""Which candidates are tried: refinement, halving, draws, and the bell."""

from time import sleep

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from featx import FeatxWarning, HeadError, HeadSpec
from featx.heads.candidates import Preparation
from featx.heads.search import HeadSearch
from featx.heads.strategies import Space, make_strategy
from tests.heads.real_data import cancer, scaled


def space_of(*specs, n_iter=20, n_rows=1000):
    return Space(list(specs), ("all",), Preparation(0), n_iter, n_rows)


def run(name, space, score):
    """All rounds of a strategy for a score that is a function of the parameters."""
    strategy, rounds = make_strategy(name, space), []
    round_ = next(strategy)
    while True:
        rounds.append(round_)
        assert len(rounds) < 20
        scores = np.array([score(candidate.params) for candidate in round_.candidates])
        try:
            round_ = strategy.send((round_.candidates, scores))
        except StopIteration:
            return rounds


def tried(rounds):
    return [tuple(candidate.params.values()) for round_ in rounds for candidate in round_.candidates]


@pytest.mark.parametrize("peak", [10**power for power in (-3.4, -1.7, 0.31, 0.9)])
def test_refinement_comes_within_an_eighth_of_a_decade_of_the_peak(peak):
    spec = HeadSpec("lr", LogisticRegression(), {"C": [float(10.0**power) for power in range(-4, 2)]})
    values = [C for (C,) in tried(run("refine", space_of(spec), lambda p: -abs(np.log10(p["C"] / peak))))]
    best = min(values, key=lambda C: abs(np.log10(C / peak)))
    assert abs(np.log10(best / peak)) <= 1 / 8
    assert len(set(np.round(np.log10(values), 6))) == len(values) <= 14


def test_refinement_tries_nothing_twice_though_candidates_fail():
    spec = HeadSpec("lr", LogisticRegression(), {"C": [0.1, 1.0, 10.0, 100.0]})

    def score(params):
        return np.nan if params["C"] > 2 else -abs(np.log10(params["C"]))

    values = tried(run("refine", space_of(spec), score))
    assert len(set(values)) == len(values)


def test_refinement_ends_where_every_candidate_fails():
    spec = HeadSpec("lr", LogisticRegression(), {"C": [0.1, 1.0, 10.0]})
    assert len(run("refine", space_of(spec), lambda _: np.nan)) == 1


def test_refinement_finds_what_its_grid_lacks():
    grid = HeadSearch("ridge", cv=3, random_state=0).fit(*cancer())
    search = HeadSearch("ridge", cv=3, strategy="refine", random_state=0).fit(*cancer())
    assert search.best_score_ > grid.best_score_
    assert search.best_params_ not in grid.cv_results_["params"]
    # Half a decade to either side of the grid's best comes first.
    assert grid.best_params_ == {"head__alpha": 10.0}
    alphas = search.cv_results_["param_head__alpha"][search.cv_results_["iter"] == 1]
    assert sorted(np.log10(alphas.astype(float))) == pytest.approx([0.5, 1.5])


def test_halving_keeps_a_third_and_ends_on_every_row():
    spec = HeadSpec("lr", LogisticRegression(), {"C": [float(C) for C in range(1, 28)]})
    rounds = run("halving", space_of(spec, n_rows=200 * 27), lambda params: params["C"])
    assert [len(round_.candidates) for round_ in rounds] == [27, 9, 3, 1]
    assert [round_.share for round_ in rounds] == pytest.approx([1 / 27, 1 / 9, 1 / 3, 1])
    assert tried(rounds)[-1] == (27.0,)
    assert min(tried(rounds[1:])) == (19.0,)


def test_the_last_round_of_halving_ranks_first():
    X, y = load_digits(return_X_y=True)
    spec = HeadSpec("knn", KNeighborsClassifier(), {"n_neighbors": list(range(1, 10))})
    search = HeadSearch(spec, cv=3, strategy="halving", random_state=0).fit(X, y)
    results = search.cv_results_
    assert results["n_resources"].tolist() == sorted(results["n_resources"])
    last = results["iter"] == results["iter"].max()
    assert last.sum() < 9
    assert results["n_resources"][last].tolist() == [1198] * last.sum()
    assert results["rank_test_score"][last].max() == last.sum()


def test_what_failed_on_every_row_does_not_rank_before_what_did_not():
    class FailsOnMany(GaussianNB):
        def fit(self, X, y):
            if len(y) > 1000:
                raise RuntimeError("too many rows")
            return super().fit(X, y)

    X, y = load_digits(return_X_y=True)
    spec = HeadSpec("many", FailsOnMany(), {"var_smoothing": [1e-9, 1e-6, 1e-3]})
    with pytest.warns(FeatxWarning, match="too many rows"):
        search = HeadSearch(spec, cv=3, strategy="halving", refit=False).fit(X, y)
    assert not np.isnan(search.best_score_)


def test_draws_from_lists_and_distributions_are_the_same_for_a_seed():
    spec = HeadSpec("lr", LogisticRegression(), {"C": loguniform(1e-4, 10), "fit_intercept": [True, False]})
    first, again = (tried(run("random", space_of(spec, n_iter=8), lambda _: 0.0)) for _ in range(2))
    assert first == again
    assert len(set(first)) == 8
    assert all(1e-4 <= C <= 10 for C, _ in first)


def test_of_a_small_grid_there_is_no_more_to_draw_than_all_of_it():
    spec = HeadSpec("lr", LogisticRegression(), {"C": [0.1, 1.0, 10.0]})
    assert sorted(tried(run("random", space_of(spec), lambda _: 0.0))) == [(0.1,), (1.0,), (10.0,)]


class Slow(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        sleep(0.03)
        return super().fit(X, y, sample_weight)


def test_at_the_bell_the_best_so_far_is_refitted():
    spec = HeadSpec("slow", scaled(Slow()), {"head__var_smoothing": np.logspace(-9, 0, 60).tolist()})
    with pytest.warns(FeatxWarning, match=r"after \d+ of 60 candidates in 0.6 seconds"):
        search = HeadSearch(spec, cv=3, time_budget_s=0.6).fit(*cancer())
    scores = search.cv_results_["mean_test_score"]
    assert 1 <= len(scores) < 60
    assert search.best_score_ == scores.max()
    assert search.predict(cancer()[0]).shape == (240,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "gird"}, "strategy='gird'"),
        ({"n_iter": 0, "strategy": "random"}, "n_iter=0"),
        ({"n_iter": "a", "strategy": "random"}, "n_iter='a'"),
        ({"time_budget_s": "5"}, "time_budget_s='5'; expected a number of seconds"),
        ({"time_budget_s": float("nan")}, "time_budget_s=nan"),
    ],
)
def test_what_no_strategy_can_go_by_is_refused(options, message):
    with pytest.raises(HeadError, match=message):
        HeadSearch("ridge", cv=3, **options).fit(*cancer())
