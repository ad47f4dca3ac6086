"""finetune, export, and predict on what they write: keys, files, and refusals that leave files alone."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from featx import ModelFile, load_exported
from featx.cli import app
from tests.conftest import TINY, write_class_folder

FINETUNE_KEYS = {"frozen", "finetuned", "kept", "history", "model", "frozen_test", "test", "plan"}

# The tiny backbone's features are random: thumbnails do as well.
pytestmark = pytest.mark.filterwarnings("ignore:negative transfer:featx.errors.FeatxWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``images/`` and ``m.featx``, a model fitted on three quarters of them."""
    place = tmp_path_factory.mktemp("models")
    write_class_folder(place / "images", 40)
    run(place, "search", "images", "--backbone", TINY, "--head", "logistic_regression", "--out", "m.featx")
    return place


def run(place, *arguments, code=0):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("FEATX_CACHE", str(place / "cache"))
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def predictions(place, model):
    run(place, "predict", model, "images", "--out", "p.csv")
    with (place / "p.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def keras_file(place):
    run(place, "finetune", "m.featx", "images", "--epochs", 1, "--out", "m.keras")
    return "m.keras"


class TestFinetune:
    def test_json_holds_the_contracts_keys(self, place):
        options = ("--epochs", 2, "--batch-size", 8, "--flip", "horizontal", "--plot", "h.png", "--balanced")
        found = json.loads(
            run(place, "finetune", "m.featx", "images", *options, "--out", "j.keras", "--json").stdout
        )
        assert set(found) >= FINETUNE_KEYS
        assert found["kept"] in ("frozen", "finetuned")
        assert (found["n_train"], found["n_validation"], found["test"]["n_samples"]) == (24, 6, 10)
        assert len(found["history"]["loss"]) == found["n_epochs"] == 2
        assert (place / "h.png").read_bytes()[:4] == b"\x89PNG"
        assert load_exported(place / "j.keras").class_names == ("dark", "light")

    def test_images_of_the_head_train_and_the_others_test(self, place):
        output = run(place, "finetune", "m.featx", "images", "--epochs", 1).stdout
        assert "Images that neither was trained on" in output
        write_class_folder(place / "new", 20, seed=7)
        output = run(place, "finetune", "m.featx", "new", "--epochs", 1, "--unfreeze", "none").stdout
        assert "Images that neither was trained on" not in output

    def test_a_folder_to_decide_by(self, place):
        write_class_folder(place / "validation", 8, seed=9)
        arguments = ("finetune", "m.featx", "images", "--epochs", 1, "--validation", "validation", "--json")
        found = json.loads(run(place, *arguments).stdout)
        assert (found["n_train"], found["n_validation"]) == (30, 8)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["m.featx", "nowhere"], "no such file or folder"),
            (["no.featx", "images"], "no such file"),
            (["images/dark/00-002.png", "images"], "another file"),
            (["m.featx", "images", "--unfreeze", "last:9"], '"last:2"'),
            (["m.featx", "images", "--out", "m.txt"], "ends in .keras, .onnx or .tflite"),
            (["m.featx", "images", "--out", "images/dark/x.keras/y.keras"], ""),
            (["m.featx", "images", "--checkpoint", "m.featx"], "which is read from"),
            (["m.featx", "images", "--plot", "images"], "add a file name"),
            (["m.featx", "images", "--flip", "sideways"], "flip='sideways'"),
            (["m.featx", "images", "--precision", "float16"], "'float32', 'bfloat16'"),
        ],
    )
    def test_bad_input_is_one_line(self, place, arguments, message):
        before = (place / "m.featx").read_bytes()
        (place / "images" / "dark" / "x.keras").touch()
        error = run(place, "finetune", *arguments, code=1).stderr.splitlines()[-1]
        (place / "images" / "dark" / "x.keras").unlink()
        assert message in error
        assert error.startswith("error: ")
        assert (place / "m.featx").read_bytes() == before


class TestExport:
    @pytest.mark.parametrize(
        ("name", "package"),
        [("e.keras", "keras"), ("e.onnx", "tf2onnx"), ("e.tflite", "ai_edge_litert"), ("e_saved", "keras")],
    )
    def test_every_format_predicts_as_the_model_does(self, place, keras_file, name, package):
        pytest.importorskip(package)
        found = json.loads(run(place, "export", keras_file, name, "--images", "images", "--json").stdout)
        assert set(found) >= {"path", "format", "max_abs_difference"}
        assert found["max_abs_difference"] <= 1e-5
        assert found["n_images"] == 40
        expected, rows = predictions(place, keras_file), predictions(place, name)
        assert [row["label"] for row in rows] == [row["label"] for row in expected]
        for row, other in zip(rows, expected, strict=True):
            assert float(row["probability_dark"]) == pytest.approx(float(other["probability_dark"]), abs=2e-6)

    def test_a_model_file_is_converted_first(self, place):
        run(place, "export", "m.featx", "converted.keras")
        expected, found = predictions(place, "m.featx"), predictions(place, "converted.keras")
        assert [row["label"] for row in found] == [row["label"] for row in expected]
        np.testing.assert_allclose(
            [float(row["probability_dark"]) for row in found],
            [float(row["probability_dark"]) for row in expected],
            atol=2e-6,
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["m.featx", "m.featx"], "ends in .keras, .onnx or .tflite"),
            (["m.featx", "m.bin"], "ends in .keras, .onnx or .tflite"),
            (["m.featx", "x.onnx", "--format", "keras"], "format='keras'"),
            (["m.featx", "images"], "which is something else"),
            (["m.onnx", "x.keras"], "expected a model file or a .keras file"),
            (["damaged.keras", "x.keras"], "damaged.keras"),
        ],
    )
    def test_bad_input_is_one_line(self, place, keras_file, arguments, message):
        (place / "damaged.keras").write_bytes((place / keras_file).read_bytes()[:1000])
        error = run(place, "export", *arguments, code=1).stderr
        assert message in error
        assert error.count("\n") == 1
        assert ModelFile.load(place / "m.featx").class_names == ["dark", "light"]


class TestPredict:
    def test_failures_are_listed_and_rows_kept(self, place, keras_file):
        (place / "images" / "dark" / "broken.png").touch()
        try:
            assert "empty file" in run(place, "predict", keras_file, "images", code=1).stderr
            arguments = ("predict", keras_file, "images", "--on-error", "skip", "--json")
            found = json.loads(run(place, *arguments).stdout)
        finally:
            (place / "images" / "dark" / "broken.png").unlink()
        assert (found["n_samples"], found["n_failed"], len(found["predictions"])) == (41, 1, 40)

    def test_a_damaged_file_is_one_line(self, place, keras_file):
        (place / "torn.keras").write_bytes((place / keras_file).read_bytes()[:-100])
        error = run(place, "predict", "torn.keras", "images", code=1).stderr
        assert error.startswith("error: torn.keras")
        assert error.count("\n") == 1
