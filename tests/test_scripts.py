"""The programs to copy from, run as they are."""

import importlib
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from featx import FeatureSet, Finding, ImageClassifier, audit_features, load_exported
from tests.conftest import write_class_folder

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(script, *arguments, cwd):
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """Runs a program in a folder of its own, in this process, which has TensorFlow loaded."""

    def run_program(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    return run_program


def test_bulk_embed_then_grid_search(tmp_path, run_here):
    folder = write_class_folder(tmp_path / "images", 40)
    (folder / "dark" / "broken.png").write_bytes(b"")
    backbone = ("--backbone", "MobileNetV2", "--weights", "none", "--input-size", 32)
    output = run_here("bulk_embed.py", folder, *backbone)
    assert "40 rows, 40 embedded, 0 cached, 1 failed" in output
    assert "dark/broken.png: empty file" in output
    path = tmp_path / "features" / "images-MobileNetV2.h5"
    assert len(FeatureSet.load(path)) == 40
    output = run_here("grid_search.py", path, "--out", "m.featx")
    assert "pca_logistic_regression" in output
    assert "held out: accuracy" in output
    assert ImageClassifier.load(tmp_path / "m.featx").classes_.tolist() == ["dark", "light"]


# As random features do: a linear classifier on thumbnails does better.
@pytest.mark.filterwarnings("ignore:negative transfer:featx.errors.FeatxWarning")
def test_fine_tune(tmp_path, run_here):
    folder = write_class_folder(tmp_path / "images", 40)
    backbone = ("--backbone", "MobileNetV2", "--weights", "none", "--input-size", 32)
    output = run_here("fine_tune.py", folder, *backbone, "--epochs", 1, "--flip")
    assert "validation part: frozen" in output
    assert "on 10 images" in output
    assert load_exported(tmp_path / "model.keras").class_names == ("dark", "light")


def test_one_run_across_wafer_types_has_no_deviation():
    pytest.importorskip("elpv_dataset", reason="the extra demo is not installed")
    script = runpy.run_path(str(SCRIPTS / "elpv.py"))
    runs = [{"accuracy": 80.0, "roc_auc": 88.0}, {"accuracy": 84.0, "roc_auc": 90.0}]
    table = {"all": script["summary"](runs)}
    assert script["table_lines"](table, {"accuracy": 81.5, "roc_auc": 89.25}) == [
        "all           accuracy 82.00 +- 2.00   ROC AUC 89.00 +- 1.00",
        "mono-to-poly  accuracy 81.50 (one run) ROC AUC 89.25 (one run)",
    ]


def test_the_startup_benchmark_measures():
    output = run("benchmark.py", "startup", cwd=SCRIPTS.parent)
    assert "import featx" in output


def test_the_scale_benchmark_takes_every_step_and_leaves_nothing(tmp_path):
    output = run("benchmark.py", "scale", "--rows", 2_001, "--features", 8, cwd=tmp_path)
    for step in ("commit", "open", "read scattered", "store verify", "load it", "select half", "search"):
        assert f"\n{step}" in output
    assert "2 shards" in output
    assert "4 of 8 columns" in output
    assert not list(tmp_path.iterdir())


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return SimpleNamespace(
        **{name: importlib.import_module(f"benchmark_{name}") for name in ("tables", "extract", "sides")}
    )


def test_a_row_is_the_ratio_of_medians_and_its_goal(benchmarks):
    goal = benchmarks.tables.Goal(1.5, 2.0)
    row = benchmarks.tables.compared(
        "featx", [9, 10, 60], 500, against="tutorial", against_seconds=[1, 18, 19], goal=goal
    )
    assert row["images_per_second"] == 50.0
    assert (row["ratio"], row["must_reach"], row["verdict"]) == ("1.8x", "1.5x", "reached")
    assert row["rounds"] == [9, 10, 60]
    assert goal.verdict(1.49) == "MISSED"
    assert goal.verdict(2.0) == "as aimed"


def test_a_share_of_a_time_is_to_stay_below_its_goal(benchmarks):
    goal = benchmarks.tables.Goal(0.03, 0.012, is_most=True)
    row = benchmarks.tables.compared("new", [2], 10, against="first", against_seconds=[100], goal=goal)
    assert (row["ratio"], row["must_reach"], row["verdict"]) == ("2 %", "3 %", "reached")
    assert goal.verdict(0.031) == "MISSED"


def test_a_table_is_aligned_and_leaves_the_rounds_out(benchmarks):
    rows = [{"what": "a", "seconds": 1.5, "rounds": [1]}, {"what": "bc", "skipped": "no torch"}, {"n": 1}]
    assert benchmarks.tables.table_lines(rows) == [
        "what  seconds  skipped",
        "a         1.5",
        "bc             no torch",
        "",
        "n",
        "1",
    ]


def test_a_chart_is_drawn_of_rows_that_are_speeds(benchmarks, tmp_path):
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    rows = [
        {"what": "arrays in memory", "images_per_second": 90.0, "ratio": "0.9x", "against": "forward alone"},
        {"what": "all cached", "images_per_second": 9_000.0},
        {"what": "torch", "skipped": "torch is not installed"},
    ]
    panels = benchmarks.extract.extract_panels(rows)
    assert list(panels.values()) == [[("arrays in memory", 90.0, "  (0.9x forward alone)")]]
    assert benchmarks.tables.draw_bars(tmp_path / "chart.png", "title", panels)
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert not benchmarks.tables.draw_bars(tmp_path / "none.png", "title", {"empty": []})


def test_benchmark_images_are_distinct_and_photos_are_photos(benchmarks, tmp_path):
    crops = benchmarks.sides.photo_crops(40, seed=3)
    assert len({crop.tobytes() for crop in crops}) == 40
    benchmarks.extract.make_photos(tmp_path, 1)
    paths = sorted(tmp_path.glob("*/*.jpg"))
    contents = {path.read_bytes() for path in paths}
    assert len(contents) == benchmarks.extract.PHOTO_COPIES
    assert 2e6 < min(map(len, contents)) < 4e6
    first, last = (np.asarray(Image.open(path)) for path in (paths[0], paths[-1]))
    assert first.shape == (3000, 4000, 3)
    np.testing.assert_array_equal(first, last)


def test_a_side_that_fails_says_why(benchmarks, tmp_path):
    with pytest.raises(SystemExit, match="no such file or folder"):
        benchmarks.sides.measure("featx_folder", source=tmp_path / "no", out="f.h5", store=tmp_path)


@pytest.mark.slow
def test_the_extraction_benchmark_measures_all_sides():
    output = run("benchmark.py", "extract", "--images", 16, "--rounds", 1, cwd=SCRIPTS.parent)
    for what in ("tutorial's way", "all cached", "12-megapixel", "arrays in memory", "ResNet50", "4 taps"):
        assert what in output


@pytest.mark.slow
def test_killed_runs_of_the_views_benchmark_end_alike():
    output = run("benchmark.py", "views", "--images", 24, "--rounds", 2, cwd=SCRIPTS.parent)
    assert output.count("same") == 2
    assert "4 an image" in output


@pytest.fixture
def planting():
    pytest.importorskip("elpv_dataset", reason="the extra demo is not installed")
    return SimpleNamespace(**runpy.run_path(str(SCRIPTS / "audit_elpv.py")))


def test_what_is_planted_is_what_is_counted(planting):
    images = np.random.default_rng(0).integers(0, 256, (120, 20, 20), dtype=np.uint8)
    labels = ["functional", "defective"] * 60
    planted = planting.plant(images, labels, seed=3)
    assert len(planted.images) == len(planted.labels) == len(planted.parts) == 120 + 30 + 30 + 10
    at = {name: row for row, name in enumerate(planted.ids)}
    for pair in planted.exact + planted.encoded:
        cell, copy = sorted(pair, key=lambda name: not name.startswith("cell"))
        is_equal = np.array_equal(planted.images[at[cell]], planted.images[at[copy]])
        assert is_equal == (pair in planted.exact)
        is_other = planted.labels[at[cell]] != planted.labels[at[copy]]
        assert is_other == (pair in planted.across_labels)
    changed = {f"cell {row}" for row in range(120) if planted.labels[row] != labels[row]}
    assert changed == planted.flipped
    assert len(changed) == 40
    assert not changed & {name for pair in planted.exact + planted.encoded for name in pair}
    again = planting.plant(images, labels, seed=3)
    assert (again.parts, again.labels) == (planted.parts, planted.labels)


def test_recall_and_precision_of_sets_and_of_samples(planting):
    sets = [Finding("near_duplicate", ids, 1.0, "") for ids in (("a", "b", "c"), ("d", "e"))]
    score = planting.pairs_scored(sets, [frozenset("ab"), frozenset("bc"), frozenset("ad")])
    assert (score.n_planted, score.n_found, score.recall, score.precision) == (3, 2, 2 / 3, 1 / 2)
    score = planting.samples_scored(sets, {"a", "e", "x", "y"})
    assert (score.n_planted, score.n_found, score.recall, score.precision) == (4, 5, 1 / 2, 2 / 5)
    nothing = planting.samples_scored([], set())
    assert np.isnan([nothing.recall, nothing.precision]).all()
    # Seeds without a figure do not count.
    table = planting.table_of([{"x": score}, {"x": nothing}])
    assert table["x"]["recall"] == 1 / 2
    assert "0.500 +- 0.000" in planting.table_lines(table)[1]


@pytest.mark.usefixtures("benchmarks")
def test_the_audited_features_are_made_with_known_faults():
    made = importlib.import_module("benchmark_audit")
    features, planted = made.make_features(4_000)
    assert {kind: len(rows) for kind, rows in planted.items()} == {
        "near_duplicate": 500,
        "suspected_label": 500,
        "outlier": 50,
    }
    # Without labels, which would take most of the time.
    audit = audit_features(FeatureSet(features.X))
    near = {name for each in audit.of("near_duplicate") for name in each.sample_ids}
    odd = {name for each in audit.of("outlier") for name in each.sample_ids}
    assert planted["near_duplicate"] <= near
    assert planted["outlier"] <= odd
