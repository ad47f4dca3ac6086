"""The command search: one or several feature files, every option, and a kill that costs nothing."""

from pathlib import Path

import numpy as np
import pytest

from featx import FeatureSet, ModelFile, search_jobs
from featx.heads import trials
from tests.conftest import TINY, write_class_folder

SEARCH_KEYS = {
    *("best_head", "best_params", "cv_score", "test", "model", "candidates", "seconds"),
    *("features", "calibration", "threshold", "nested"),
}


class TestSearch:
    def test_images_are_embedded_first(self, featx, feature_file):
        heads = ["--head", "logistic_regression"]
        one = featx.json("search", "images", *heads, "--backbone", TINY, "--out", "one.featx")
        two = featx.json("search", feature_file, *heads, "--out", "two.featx")
        assert one["model"] == "one.featx"
        assert (one["test"], one["candidates"][0]["params"]) == (two["test"], two["candidates"][0]["params"])
        assert "40 from the store" in featx("search", "images", *heads, "--backbone", TINY).stdout

    def test_json_holds_the_contracts_keys(self, featx, feature_file):
        heads = ["--head", "logistic_regression", "--head", "rbf_svm"]
        found = featx.json("search", feature_file, *heads, "--cv", 3, "--out", "m.featx")
        assert set(found) >= SEARCH_KEYS
        assert (found["features"], found["calibration"], found["threshold"]) == ("f.h5", None, None)
        assert found["model"] == "m.featx"
        assert found["test"]["n_samples"] == 10
        assert len(found["candidates"]) == 6 + 12
        assert found["candidates"][0]["mean_test_score"] == found["cv_score"]

    def test_the_tables_show_the_leaderboard_and_the_intervals(self, featx, feature_file):
        output = featx("search", feature_file, "--head", "logistic_regression", "--cv", 3).stdout
        assert "Best 6 of 6 candidates" in output
        assert "held-out part" in output
        # Nothing is certain where no mistake was made.
        assert "[1.000, 1.000]" not in output
        assert "1.0000 [0.722, 1.000]" in output

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["f.h5", "--head", "svm"], "did you mean"),
            (
                ["f.h5", "--cv", 50],
                "for 50 folds; add images, drop the class, or pass a smaller cv (test_size=",
            ),
            (["f.h5", "--backbone", TINY], "--backbone tiny for a feature file; expected images"),
            (["f.h5", "--n-views", 4], "--n-views 4 for a feature file; expected images"),
            (["f.h5", "--view", "flip", "--view", "crop"], "--view flip crop without --n-views"),
            (["f.h5", "--out", "f.h5"], "which is read from"),
            (["f.h5", "--n-jobs", 0], "n_jobs=0"),
            (["f.h5", "--test-size", 1.5], "between 0 and 1"),
            (["f.h5", "--scoring", "nonsense"], "nonsense"),
            (["f.h5", "--scoring", "accuracy", "--scoring", "nonsense"], "nonsense"),
            (["f.h5", "f.h5"], "expected each once"),
            (["f.h5", "images"], "images"),
            (["f.h5", "--combine", "some"], "'none', 'parts', 'all'"),
            (["f.h5", "--strategy", "luck"], "'grid', 'refine', 'random', 'halving'"),
            (["f.h5", "--calibration", "some"], "'sigmoid', 'isotonic', 'auto'"),
            (["f.h5", "--class-weight", "heavy"], "'balanced'"),
            (["f.h5", "--assignment", "drawn"], "'stratified', 'hashed'"),
            (["f.h5", "--nested", 1], "cv=1"),
            (["f.h5", "--n-repeats", 0], "n_repeats=0"),
            (["f.h5", "--strategy", "random", "--n-iter", 0], "n_iter=0"),
            (["f.h5", "--journal", "f.h5"], "which is read from"),
            (["f.h5", "--journal", "none/j"], "No such file"),
            (["absent.h5"], "no such file"),
        ],
    )
    def test_bad_input_is_one_line(self, featx, feature_file, arguments, message):
        assert feature_file == "f.h5"
        error = featx.fails("search", *arguments)
        assert message in error
        assert error.count("\n") == 1

    def test_one_class_is_refused_by_name(self, featx, tmp_path):
        write_class_folder(tmp_path / "images", 12)
        said = featx("extract", tmp_path / "images" / "dark", "--backbone", TINY, "--out", "u.h5").stderr
        assert "one subfolder a class" in said
        assert "one subfolder a class" in featx.fails("search", "u.h5")
        (tmp_path / "one").mkdir()
        (tmp_path / "images" / "dark").rename(tmp_path / "one" / "dark")
        featx("extract", "one", "--backbone", TINY, "--out", "o.h5")
        assert "one class only (dark)" in featx.fails("search", "o.h5")


class TestOptions:
    def test_they_reach_the_search(self, featx, feature_file, monkeypatch):
        seen = []
        search_features = search_jobs.search_features

        def watched(features, search, **options):
            seen.append((search, options))
            return search_features(features, search, **options)

        monkeypatch.setattr(search_jobs, "search_features", watched)
        heads = ["--head", "logistic_regression"]
        featx("search", feature_file, *heads, "--cv", 3)
        search, options = seen[-1]
        defaults = type(search)().get_params()
        changed = {name for name, value in search.get_params().items() if value != defaults[name]}
        assert changed == {"heads", "cv", "n_jobs", "random_state", "verbose"}
        assert options.pop("combine") == "all"
        assert options == {"test_size": 0.25, "assignment": "stratified", "nested": 0, "random_state": 0}
        several = ["--strategy", "random", "--n-iter", 2, "--n-repeats", 2, "--class-weight", "balanced"]
        several += ["--calibration", "none", "--scoring", "roc_auc", "--scoring", "accuracy"]
        several += ["--time-budget-s", 500, "--assignment", "hashed", "--nested", 2, "--combine", "none"]
        found = featx.json("search", feature_file, *heads, "--cv", 2, *several)
        search, options = seen[-1]
        assert (search.strategy, search.n_iter, search.n_repeats) == ("random", 2, 2)
        assert (search.class_weight, search.calibration, search.time_budget_s) == ("balanced", None, 500)
        assert (search.scoring, search.refit) == (["roc_auc", "accuracy"], "roc_auc")
        assert (options["assignment"], options["nested"], options["combine"]) == ("hashed", 2, "none")
        assert len(found["candidates"]) == 2
        assert found["candidates"][0]["mean_test_accuracy"] > 0.9
        assert len(found["nested"]["scores"]) == 2

    def test_the_tables_show_further_scores_and_the_nested_one(self, featx, feature_file):
        options = ["--head", "linear_svm", "--cv", 2, "--nested", 2, "--scoring", "roc_auc"]
        output = featx("search", feature_file, *options, "--scoring", "balanced_accuracy").stdout
        assert "balanced_accuracy" in output
        assert "nested cross-validation: 1.0000 over 2 folds" in output
        assert "probabilities calibrated by sigmoid" in output
        assert "features" not in output.splitlines()[2]

    def test_a_threshold_is_tuned_and_saved(self, featx, feature_file, folder):
        options = ["--head", "logistic_regression", "--cv", 2, "--tune-threshold", "--out", "t.featx"]
        assert "light is predicted from a probability of" in featx("search", feature_file, *options).stdout
        found = featx.json("search", feature_file, *options)
        assert 0 < found["threshold"] < 1
        assert featx.json("evaluate", "t.featx", feature_file)["accuracy"] > 0.9
        assert featx.json("predict", "t.featx", folder)["n_samples"] == 40
        assert "FixedThresholdClassifier" in featx.fails("export", "t.featx", "t.keras")

    def test_weighted_neighbours_are_saved(self, featx, feature_file):
        options = ["--head", "knn", "--cv", 2, "--class-weight", "balanced", "--out", "k.featx"]
        featx("search", feature_file, *options)
        assert featx.json("evaluate", "k.featx", feature_file)["n_samples"] == 10


class TestJournal:
    HEADS = ("--head", "logistic_regression", "--cv", 3)

    @pytest.fixture
    def n_fits(self, monkeypatch):
        """How many fits each search ran, beyond those of its journal."""
        counts = []
        run_tasks = trials.run_tasks

        def counted(tasks, *rest):
            tasks = list(tasks)
            counts.append(sum(len(task.heads) for task in tasks))
            return run_tasks(tasks, *rest)

        monkeypatch.setattr(trials, "run_tasks", counted)
        return counts

    def test_a_killed_search_goes_on_where_it_was(self, featx, feature_file, n_fits, monkeypatch):
        def die(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(search_jobs, "save_search", die)
            featx("search", feature_file, *self.HEADS, "--out", "m.featx", code=130)
        assert not Path("m.featx").exists()
        assert Path("m.featx.journal").stat().st_size
        first = drain(n_fits)
        featx("search", feature_file, *self.HEADS, "--out", "m.featx")
        assert first == 18
        assert drain(n_fits) == 0
        assert Path("m.featx").exists()
        assert not Path("m.featx.journal").exists()

    def test_a_journal_of_its_own_name_is_kept(self, featx, feature_file):
        featx("search", feature_file, *self.HEADS, "--out", "m.featx", "--journal", "own.journal")
        assert Path("own.journal").stat().st_size
        assert not Path("m.featx.journal").exists()

    def test_without_out_there_is_none(self, featx, feature_file, tmp_path):
        featx("search", feature_file, *self.HEADS)
        assert not list(tmp_path.glob("*.journal"))


def drain(counts):
    total = sum(counts)
    counts.clear()
    return total


class TestSeveralFiles:
    HEADS = ("--head", "ridge", "--cv", 3)

    @pytest.fixture
    def files(self, featx, folder):
        for name, pooling in (("a.h5", "avg"), ("b.h5", "max")):
            featx("extract", folder, "--backbone", TINY, "--pooling", pooling, "--out", name)
        # Neither tells the classes alone: a model needs both.
        first, second = FeatureSet.load("a.h5"), FeatureSet.load("b.h5")
        for given, features, sign in (("a.h5", first, 1), ("b.h5", second, -1)):
            noise = np.random.default_rng(0).normal(size=(40, 1)) * 20
            X = features.X - features.X.mean(axis=0) + (sign * noise + features.y[:, None]).astype("f")
            FeatureSet(X, spec=features.spec, **features._samples()).save(given)
        return "a.h5", "b.h5"

    def test_all_files_together_can_win(self, featx, files, folder):
        found = featx.json("search", *files, *self.HEADS, "--out", "m.featx")
        assert {row["features"] for row in found["candidates"]} == {"a.h5", "b.h5", "a.h5 + b.h5"}
        assert found["features"] == "a.h5 + b.h5"
        assert len(ModelFile.load("m.featx").specs) == 2
        for order in (files, files[::-1]):
            assert featx.json("evaluate", "m.featx", *order)["log_loss"] == found["test"]["log_loss"]
        assert featx.json("predict", "m.featx", folder)["n_samples"] == 40
        assert "expected 2" in featx.fails("evaluate", "m.featx", "a.h5")
        for arguments in (("finetune", "m.featx", folder), ("export", "m.featx", "m.keras")):
            error = featx.fails(*arguments)
            assert "2 extractions (tiny and tiny)" in error
            assert error.count("\n") == 1

    def test_the_table_says_what_each_candidate_takes(self, featx, files):
        output = featx("search", *files, *self.HEADS).stdout
        assert "a.h5 + b.h5" in output
        output = featx("search", *files, *self.HEADS, "--combine", "none").stdout
        assert "a.h5 + b.h5" not in output

    def test_files_of_other_images_are_refused(self, featx, files, tmp_path):
        write_class_folder(tmp_path / "more", 44, seed=1)
        featx("extract", "more", "--backbone", TINY, "--out", "c.h5")
        assert "samples of a.h5" in featx.fails("search", files[0], "c.h5")


def test_a_part_of_one_file_is_evaluated_and_exported(featx, folder):
    featx("extract", folder, "--backbone", TINY, "--tap", "first", "--tap", "top", "--out", "t.h5")
    features = FeatureSet.load("t.h5")
    parts = features.feature_blocks
    # The class is in the first tap alone, and weakly; the second is in the way.
    start, stop = parts["first:avg"]
    random = np.random.default_rng(0)
    X = random.normal(size=features.X.shape).astype(np.float32)
    X[:, start:stop] += features.y[:, None]
    FeatureSet(X, spec=features.spec, **features._samples()).save("t.h5")
    found = featx.json("search", "t.h5", "--head", "knn", "--cv", 3, "--out", "t.featx")
    assert found["features"] == "t.h5[first:avg]"
    assert featx.json("evaluate", "t.featx", "t.h5")["accuracy"] == found["test"]["accuracy"]
    assert featx.json("export", "t.featx", "t.keras")["format"] == "keras"
    frozen, exported = (
        featx.json("predict", model, folder)["predictions"] for model in ("t.featx", "t.keras")
    )
    assert [each["label"] for each in frozen] == [each["label"] for each in exported]
    assert featx.json("finetune", "t.featx", folder, "--epochs", 1)["kept"] in ("frozen", "finetuned")
