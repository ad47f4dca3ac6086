"""Searches on a Ray cluster: what loky finds, features placed once, dead workers, and the command."""

import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import joblib
import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

import featx
from featx import FeatureSet, FeatxWarning, HeadSearch, HeadSpec, MissingPackageError
from featx.cli import app
from featx.distributed import searching
from featx.distributed.cluster import connected
from tests.heads.real_data import digits, scaled

README = Path(__file__).parents[2] / "README.md"
HEADS = ["logistic_regression", "linear_svm", "rbf_svm", "knn"]


class Fragile(GaussianNB):
    """A head whose ``mode`` says what happens in its fit; ``folder`` is where it leaves marks."""

    def __init__(self, mode="fine", folder="", *, var_smoothing=1e-9):
        super().__init__(var_smoothing=var_smoothing)
        self.mode, self.folder = mode, folder

    def fit(self, X, y, sample_weight=None):
        mark = Path(self.folder, f"{self.mode} {os.getpid()}")
        is_first = not list(Path(self.folder).glob(f"{self.mode} *"))
        mark.touch()
        if self.mode == "die" or (self.mode == "die once" and is_first):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.mode == "sleep" or (self.mode == "sleep once" and is_first):
            time.sleep(60)
        return super().fit(X, y, sample_weight)


def where_and_how(head, X, y):
    """A scorer that tells of the worker: its process, the matrix that it scores on, its threads."""
    threads = [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]
    told = {"pid": os.getpid(), "address": X.ctypes.data, "threads": max(threads)}
    return {"score": head.score(X, y), **told}


def without_times(results):
    return {name: np.asarray(values).tolist() for name, values in results.items() if "time" not in name}


def assert_same(one, other):
    # What is no parameter of a candidate is NaN or masked, and as such equal to nothing.
    assert repr(without_times(one.cv_results_)) == repr(without_times(other.cv_results_))
    assert (one.best_head_, one.best_params_) == (other.best_head_, other.best_params_)


def save_digits(path):
    X, y = digits()
    names = [f"{number}.png" for number in range(len(y))]
    FeatureSet(X.astype(np.float32), y, sample_ids=names, class_names=list("0123456789")).save(path)


def fit_on(backend, search, *args, **kwargs):
    with parallel_config(backend=backend, n_jobs=2):
        return search.fit(*args, **kwargs)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"featx\[ray\]"):
        featx.register_ray()
    assert CliRunner().invoke(app, ["search", "none.h5", "--ray"]).exit_code == 1


def test_an_address_is_checked_first():
    result = CliRunner().invoke(app, ["search", "none.h5", "--ray=photos"])
    assert result.exit_code == 1
    assert "HOST:PORT" in result.stderr


@pytest.fixture(scope="module")
def ray():
    with connected(n_cpus=2) as ray:
        featx.register_ray()
        yield ray


@pytest.fixture
def placed(ray, monkeypatch):
    """The sizes of what is placed in the object store, and of what goes along with each task."""
    sizes = {"placed": [], "sent": []}
    put, send = ray.put, searching.ClusterBackend._send

    def count_put(value, **options):
        sizes["placed"].append(len(cloudpickle.dumps(value)))
        return put(value, **options)

    def count_sent(backend, sent):
        sizes["sent"].append(len(cloudpickle.dumps(sent.arguments[0])))
        return send(backend, sent)

    monkeypatch.setattr(ray, "put", count_put)
    monkeypatch.setattr(searching.ClusterBackend, "_send", count_sent)
    return sizes


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
class TestTheSameAsLoky:
    def check(self, heads, X, y, *, of_rows=None, **options):
        searches = [HeadSearch(heads, cv=3, random_state=0, **options) for _ in range(2)]
        one, other = (
            fit_on(backend, search, X, y, **(of_rows or {}))
            for backend, search in zip(("loky", "ray"), searches, strict=True)
        )
        assert_same(one, other)
        np.testing.assert_array_equal(one.predict(X), other.predict(X))
        return other

    def test_heads_that_share_and_heads_that_do_not(self):
        X, y = digits()
        self.check([*HEADS, "ridge", "mlp"], X.astype(np.float32), y)

    def test_groups_weights_and_feature_sets(self):
        X, y = digits()
        weights = np.linspace(0.5, 2, len(y))
        of_rows = {"groups": np.arange(len(y)) // 2, "sample_weight": weights}
        blocks = {"left": (0, 32), "right": slice(32, 64), "odd": list(range(1, 64, 2))}
        self.check(HEADS, X, y, of_rows=of_rows, feature_blocks=blocks, class_weight="balanced")

    def test_views_in_half_precision(self):
        X, y = digits()
        views = np.repeat(X, 2, axis=0) + np.tile([[0.0], [0.25]], (len(X), 1))
        of_rows = {"images": np.repeat(np.arange(len(y)), 2)}
        self.check(HEADS, views.astype(np.float16), np.repeat(y, 2), of_rows=of_rows)

    def test_features_that_are_read_in_blocks(self, monkeypatch):
        monkeypatch.setattr("featx.heads.search._MOST_CONVERTED_BYTES", 0)
        X, y = digits()
        self.check(["logistic_regression"], X.astype(np.float16), y)

    @pytest.mark.parametrize("strategy", ["refine", "halving"])
    def test_rounds_and_several_scores(self, strategy):
        options = {"scoring": ["accuracy", "neg_log_loss"], "refit": "accuracy", "calibration": "auto"}
        self.check(["logistic_regression"], *digits(), strategy=strategy, **options)


@pytest.mark.ray
class TestPlacing:
    def test_features_are_placed_once_whatever_the_rounds(self, placed):
        X, y = (np.tile(part, (10, 1)) if part.ndim == 2 else np.tile(part, 10) for part in digits())
        search = HeadSearch(["logistic_regression", "ridge"], strategy="halving", cv=3)
        fit_on("ray", search, X, y)
        assert len(set(search.cv_results_["n_resources"])) > 1
        assert sum(size > X.nbytes for size in placed["placed"]) == 1
        # Folds and classes, once for each share of the rows.
        assert sum(placed["placed"]) < 1.5 * X.nbytes
        assert max(placed["sent"]) < 0.05 * X.nbytes

    def test_what_is_written_to_between_two_fits_is_placed_anew(self, placed):
        X, y = (part.copy() for part in digits())
        search = HeadSearch(["ridge"], cv=3, random_state=0)
        with parallel_config(backend="ray"):
            search.fit(X, y)
            X[:, ::2] = 0
            search.fit(X, y)
        assert_same(search, HeadSearch(["ridge"], cv=3, random_state=0).fit(X, y))
        assert sum(size > X.nbytes for size in placed["placed"]) == 2

    def test_workers_share_what_candidates_share_on_one_thread_each(self, ray):
        X, y = digits()
        spec = HeadSpec("bayes", scaled(GaussianNB()), {"head__var_smoothing": list(np.logspace(-9, -1, 12))})
        search = HeadSearch(spec, cv=2, scoring=where_and_how, refit=False)
        with parallel_config(backend="ray"):
            assert joblib.effective_n_jobs() == ray.cluster_resources()["CPU"]
            assert joblib.effective_n_jobs(-2) == 1
            search.fit(X, y)
        told = {name: search.cv_results_[f"split0_test_{name}"] for name in ("pid", "address", "threads")}
        pids = set(told["pid"])
        assert os.getpid() not in pids
        # One scaled matrix for all twelve in a worker.
        assert len(set(zip(told["pid"], told["address"], strict=True))) == len(pids)
        assert set(told["threads"]) == {1}

    def test_scikit_learn_around_a_search_and_instead_of_one(self, placed):
        X, y = (np.tile(part, (15, 1)) if part.ndim == 2 else np.tile(part, 15) for part in digits())
        grid = GridSearchCV(HeadSearch("ridge", cv=3), {"class_weight": [None, "balanced"]}, cv=2)
        plain = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-3]}, cv=2)
        # The search that is refitted here is one of its own.
        for search, n_placed in ((grid, 2), (plain, 1)):
            alone = without_times(search.fit(X, y).cv_results_)
            placed["placed"].clear()
            assert without_times(fit_on("ray", search, X, y).cv_results_) == alone
            assert sum(size > X.nbytes for size in placed["placed"]) == n_placed
        assert max(placed["sent"]) < X.nbytes / 2

    def test_what_a_task_raises_is_raised_here(self, ray):
        def fail(number):
            raise KeyError(number)

        with parallel_config(backend="ray"), pytest.raises(KeyError, match="3") as raised:
            joblib.Parallel()(joblib.delayed(fail)(number) for number in [3])
        assert type(raised.value) is KeyError
        assert isinstance(raised.value.__cause__, ray.exceptions.RayTaskError)


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
class TestDeath:
    def search(self, tmp_path, *modes, **options):
        grid = {"head__mode": list(modes)}
        return HeadSearch(HeadSpec("fragile", scaled(Fragile(folder=str(tmp_path))), grid), cv=2, **options)

    def test_a_worker_that_dies_once_costs_nothing(self, tmp_path):
        search = fit_on("ray", self.search(tmp_path, "fine", "die once", "other"), *digits())
        assert search.cv_results_["error"].tolist() == ["", "", ""]
        assert len(set(search.cv_results_["mean_test_score"])) == 1

    def test_a_worker_that_is_killed_from_without_costs_nothing(self, tmp_path):
        def kill():
            while not (marks := list(tmp_path.glob("sleep once *"))):
                time.sleep(0.05)
            os.kill(int(marks[0].name.split()[-1]), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        started = time.monotonic()
        search = fit_on("ray", self.search(tmp_path, "fine", "sleep once", "other"), *digits())
        killer.join()
        assert time.monotonic() - started < 50
        assert search.cv_results_["error"].tolist() == ["", "", ""]

    @pytest.mark.parametrize("is_rays_own", [False, True])
    def test_a_head_that_kills_its_workers_costs_itself_alone(self, tmp_path, is_rays_own):
        if is_rays_own:
            pytest.importorskip("ray.util.joblib").register_ray()
        try:
            with pytest.warns(FeatxWarning, match="'die'} failed"):
                search = fit_on("ray", self.search(tmp_path, "fine", "die"), *digits())
        finally:
            featx.register_ray()
        errors = search.cv_results_["error"].tolist()
        assert errors == ["", "its worker process died: out of memory, or killed"]

    def test_ctrl_c_ends_it_and_what_it_runs(self, tmp_path):
        def interrupt():
            while not list(tmp_path.glob("sleep *")):
                time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            fit_on("ray", self.search(tmp_path, "sleep"), *digits())
        thread.join()
        # The processors are free again for the next.
        fit_on("ray", self.search(tmp_path, "fine"), *digits())
        assert time.monotonic() - started < 30


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_rays_own_backend_finds_the_same_and_is_told_on():
    X, y = (np.tile(part, (10, 1)) if part.ndim == 2 else np.tile(part, 10) for part in digits())
    searches = [HeadSearch(["ridge", "logistic_regression"], cv=2, random_state=0) for _ in range(2)]
    pytest.importorskip("ray.util.joblib").register_ray()
    try:
        with pytest.warns(FeatxWarning, match=r"call featx.register_ray\(\)"):
            fit_on("ray", searches[0], X, y)
    finally:
        featx.register_ray()
    assert_same(searches[0], searches[1].fit(X, y))


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_journal_and_a_time_budget(tmp_path):
    journal = tmp_path / "journal"
    options = {"cv": 2, "random_state": 0, "journal": journal}
    with pytest.warns(FeatxWarning, match="time budget"):
        fit_on("ray", HeadSearch(HEADS, time_budget_s=0.0, **options), *digits())
    n_bytes = journal.stat().st_size
    one = fit_on("ray", HeadSearch(HEADS, **options), *digits())
    assert journal.stat().st_size > n_bytes > 0
    assert_same(one, HeadSearch(HEADS, cv=2, random_state=0).fit(*digits()))


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_the_command(tmp_path, placed):
    save_digits(tmp_path / "digits.h5")
    arguments = ["search", str(tmp_path / "digits.h5"), "--head", "ridge", "--head", "knn", "--nested", "2"]
    found = []
    for options in ([], ["--ray"]):
        result = CliRunner().invoke(app, [*arguments, *options, "--json"])
        assert result.exit_code == 0, result.output
        found.append(json.loads(result.stdout))
    # The search, and two of the nested cross-validation.
    assert len(placed["placed"]) == 2 * 3
    for name in ("best_head", "best_params", "cv_score", "nested"):
        assert found[0][name] == found[1][name]
    assert found[0]["test"]["accuracy"] == found[1]["test"]["accuracy"]


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_the_readmes_examples(tmp_path, monkeypatch):
    section = README.read_text().partition("### The search on a cluster")[2]
    example, command = re.findall(r"```text\n(.*?)```", section, flags=re.DOTALL)[:2]
    monkeypatch.chdir(tmp_path)
    X, y = digits()
    namespace = {"X": X, "y": y}
    exec(compile(example, "README.md", "exec"), namespace)
    assert namespace["search"].best_score_ > 0.9
    save_digits("photos.h5")
    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert program == "featx"
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert Path("photos.featx").exists()
