"""The programs to copy from, run as they are."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from featx import FeatureSet, ImageClassifier, load_exported
from tests.conftest import write_class_folder

SCRIPTS = Path(__file__).parent.parent / "scripts"


def run(script, *arguments, cwd):
    command = [sys.executable, SCRIPTS / script, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bulk_embed_then_grid_search(tmp_path):
    folder = write_class_folder(tmp_path / "images", 40)
    (folder / "dark" / "broken.png").write_bytes(b"")
    backbone = ("--backbone", "MobileNetV2", "--weights", "none", "--input-size", 32)
    output = run("bulk_embed.py", folder, *backbone, cwd=tmp_path)
    assert "40 rows, 40 embedded, 0 cached, 1 failed" in output
    assert "dark/broken.png: empty file" in output
    path = tmp_path / "features" / "images-MobileNetV2.h5"
    assert len(FeatureSet.load(path)) == 40
    output = run("grid_search.py", path, "--out", "m.featx", cwd=tmp_path)
    assert "pca_logistic_regression" in output
    assert "held out: accuracy" in output
    assert ImageClassifier.load(tmp_path / "m.featx").classes_.tolist() == ["dark", "light"]


def test_fine_tune(tmp_path):
    folder = write_class_folder(tmp_path / "images", 40)
    backbone = ("--backbone", "MobileNetV2", "--weights", "none", "--input-size", 32)
    output = run("fine_tune.py", folder, *backbone, "--epochs", 1, "--flip", cwd=tmp_path)
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


@pytest.mark.slow
def test_the_extraction_benchmark_measures_both_sides():
    output = run("benchmark.py", "extract", "--images", 64, "--rounds", 1, cwd=SCRIPTS.parent)
    assert "tutorial's way" in output
    assert "all cached" in output
