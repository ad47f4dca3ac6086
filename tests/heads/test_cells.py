"""Cells: what fails costs itself, workers that die, threads and processes alike."""

import os
import signal
import time

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import FunctionTransformer
from threadpoolctl import threadpool_info

from featx import FeatxWarning, HeadSpec
from featx.heads import cells
from featx.heads.candidates import Candidate
from featx.heads.search import HeadSearch
from tests.heads.real_data import cancer, digits, problem_of, scaled


class Fragile(GaussianNB):
    """A head whose ``mode`` says what happens in its fit."""

    seen = []  # noqa: RUF012 - of all instances, so that clones write to it

    def __init__(self, mode="fine", *, var_smoothing=1e-9):
        super().__init__(var_smoothing=var_smoothing)
        self.mode = mode

    def fit(self, X, y, sample_weight=None):
        if self.mode == "fail":
            raise RuntimeError("as it was told to")
        if self.mode == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        threads = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
        Fragile.seen.append((X, max(threads)))
        return super().fit(X, y, sample_weight)


@pytest.fixture(autouse=True)
def _nothing_seen():
    Fragile.seen.clear()


def test_a_head_that_fails_costs_itself_alone_and_says_why():
    spec = HeadSpec("fragile", scaled(Fragile()), {"head__mode": ["fine", "fail", "fine"]})
    with pytest.warns(FeatxWarning, match="'fail'} failed: as it was told to"):
        search = HeadSearch(spec, cv=3).fit(*cancer())
    assert search.cv_results_["error"].tolist() == ["", "as it was told to", ""]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False]
    assert search.cv_results_["rank_test_score"].tolist() == [1, 3, 1]


@pytest.mark.faults
def test_a_head_that_kills_its_worker_costs_itself_alone():
    modes = ["fine", "die", "fine"]
    specs = [
        HeadSpec("fragile", scaled(Fragile()), {"head__mode": modes}),
        HeadSpec("logistic", scaled(LogisticRegression()), {"head__C": [0.1, 1.0]}),
    ]
    with joblib.parallel_config(backend="loky", n_jobs=2), pytest.warns(FeatxWarning, match="'die'} failed"):
        search = HeadSearch(specs, cv=2).fit(*cancer())
    errors = search.cv_results_["error"].tolist()
    assert errors == ["", "its worker process died: out of memory, or killed", "", "", ""]
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False, False, False]
    alone = HeadSearch(specs[1], cv=2).fit(*cancer())
    assert search.cv_results_["mean_test_score"][3:].tolist() == alone.cv_results_["mean_test_score"].tolist()


def test_what_ray_raises_of_a_dead_worker_is_known_by_its_name():
    of_ray = type("RayActorError", (Exception,), {"__module__": "ray.exceptions"})
    assert cells._is_death(type("ActorDiedError", (of_ray,), {})())
    # Of no other kind than RayError.
    assert cells._is_death(type("NodeDiedError", (Exception,), {"__module__": "ray.exceptions"})())
    assert not cells._is_death(type("RayActorError", (Exception,), {})())
    assert not cells._is_death(RuntimeError("RayActorError"))


def test_a_deadline_is_kept_by_a_machine_with_another_clock(monkeypatch):
    problem = problem_of(*digits())
    candidate = Candidate(HeadSpec("bayes", GaussianNB(), {}), {}, "all", GaussianNB())
    (task,) = cells.tasks_of([candidate], problem, lambda _, fold: fold > 0, None)
    monkeypatch.setattr(cells, "monotonic", lambda: 1e9 + time.monotonic())
    assert len(cells._run_until(task, problem, time.time() + 60)) == 1
    assert cells._run_until(task, problem, time.time() - 1) == []


def test_threads_and_processes_find_the_same():
    heads = ["ridge", "rbf_svm", "knn"]
    alone = HeadSearch(heads, cv=3, random_state=0, refit=False).fit(*digits())
    threads = HeadSearch(heads, cv=3, random_state=0, refit=False, n_jobs=2).fit(*digits())
    with joblib.parallel_config(backend="loky", n_jobs=2):
        processes = HeadSearch(heads, cv=3, random_state=0, refit=False).fit(*digits())
    for other in (threads, processes):
        for fold in range(3):
            name = f"split{fold}_test_score"
            assert other.cv_results_[name].tolist() == alone.cv_results_[name].tolist()


def test_two_workers_share_the_processors_and_the_features():
    spec = HeadSpec("fragile", scaled(Fragile()), {"head__var_smoothing": [1e-9, 1e-8, 1e-7, 1e-6]})
    HeadSearch(spec, cv=2, refit=False, n_jobs=2).fit(*digits())
    assert len(Fragile.seen) == 8
    assert {n_threads for _, n_threads in Fragile.seen} == {max(1, joblib.cpu_count() // 2)}
    # One scaled training part a fold, whatever the number of candidates.
    assert len({X.ctypes.data for X, _ in Fragile.seen}) == 2


def test_what_has_no_name_of_its_own_is_searched_too():
    """As scikit-learn's GridSearchCV does: a class that a function defines, a lambda among the parameters."""

    class Local(GaussianNB):
        pass

    halve = FunctionTransformer(lambda X: X / 2)
    specs = [
        HeadSpec("local", scaled(Local()), {"head__var_smoothing": [1e-9, 1e-3]}),
        HeadSpec("lambda", scaled(GaussianNB(), ("halve", halve)), {}),
        HeadSpec("plain", scaled(GaussianNB()), {}),
    ]
    scores = HeadSearch(specs, cv=3).fit(*cancer()).cv_results_["mean_test_score"]
    assert scores[0] == scores[2] == scores[3]


def test_scores_may_be_numbers_of_any_kind():
    def score(head, X, y):
        return {"single": np.float32(head.score(X, y)), "n": len(y)}

    search = HeadSearch("ridge", cv=3, scoring=score, refit="single").fit(*cancer())
    assert search.cv_results_["mean_test_n"].tolist() == [80.0] * 6
