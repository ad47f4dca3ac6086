"""Commands in this process on the tiny backbone: what they print, what they write, how they fail."""

import csv
import shutil
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_iris

from featx import FeatureSet
from tests.conftest import TINY, make_images

EXTRACT_KEYS = {
    *("path", "key", "n_samples", "n_features", "n_computed", "n_cached", "n_failed", "failed"),
    *("seconds", "images_per_second", "stages", "n_views", "n_rows_computed", "engine", "difference"),
}


class TestExtract:
    def test_json_holds_the_contracts_keys(self, featx, folder):
        found = featx.json("extract", folder, "--backbone", TINY, "--out", "f.h5")
        assert set(found) >= EXTRACT_KEYS
        assert (found["path"], found["n_samples"], found["n_computed"]) == ("f.h5", 40, 40)
        assert len(FeatureSet.load("f.h5")) == 40
        assert featx.json("extract", folder, "--backbone", TINY)["n_computed"] == 0

    def test_options_reach_the_extractor(self, featx, folder):
        options = ["--tap", "first", "--tap", "top", "--pooling", "avg+max", "--input-size", "20x18"]
        options += ["--weights", "none", "--random-state", 3, "--preprocessing", "tf", "--dtype", "float16"]
        featx("extract", folder, "--backbone", TINY, *options, "--out", "f.h5")
        features = FeatureSet.load("f.h5")
        spec = features.spec
        assert (spec.taps, spec.pooling, spec.input_size) == (("first", "top"), "avg+max", (20, 18))
        assert (spec.weights, spec.weights_seed, spec.preprocessing) == ("random", 3, "tf")
        assert features.X.dtype == np.float16

    def test_views_are_rows(self, featx, folder):
        options = ["--n-views", 3, "--view", "crop", "--view", "colour", "--random-state", 7]
        found = featx.json("extract", folder, "--backbone", TINY, *options, "--out", "f.h5")
        assert (found["n_samples"], found["n_views"], found["n_rows_computed"]) == (40, 3, 120)
        spec = FeatureSet.load("f.h5").spec
        assert (spec.n_views, spec.views, spec.view_seed) == (3, ("crop", "colour"), 7)
        again = featx("extract", folder, "--backbone", TINY, *options[:-2], "--n-views", 4).stdout
        assert "40 images of 4 views: 40 embedded (120 rows)" in again

    def test_the_engine_and_what_limits_are_said(self, featx, folder):
        options = ["--engine", "keras", "--batch-size", 8]
        output = featx("extract", folder, "--backbone", TINY, *options).stdout
        assert "engine: keras in float32, batches of 8: asked for" in output
        assert "what limits: " in output
        found = featx.json("extract", folder, "--backbone", TINY, *options)
        assert (found["engine"], found["difference"]) == ({}, None)

    def test_another_precision_comes_with_its_difference(self, featx, folder):
        options = ["--backbone", TINY, "--precision", "bfloat16", "--engine", "keras", "--batch-size", "auto"]
        found = featx.json("extract", folder, *options)
        assert (found["engine"]["name"], found["engine"]["precision"]) == ("keras", "bfloat16")
        assert found["difference"]["n_samples"] == 40
        assert 0.99 < found["difference"]["cosine_min"] <= 1.0
        assert "bfloat16 beside float32 on 40 images: cosine" in featx("extract", folder, *options).stdout

    def test_a_manifest_with_columns_of_its_own_names(self, featx, tmp_path, folder):
        names = sorted(path.relative_to(tmp_path) for path in folder.rglob("*.*"))
        lines = [f"{name},{name.parent.name},g{index // 2}" for index, name in enumerate(names)]
        (tmp_path / "list.csv").write_text("file,kind,plate\n" + "\n".join(lines))
        columns = ["--path-column", "file", "--label-column", "kind", "--group-column", "plate"]
        featx("extract", "list.csv", "--backbone", TINY, *columns, "--out", "f.h5")
        features = FeatureSet.load("f.h5")
        assert features.class_names == ["dark", "light"]
        assert len(set(features.groups)) == 20

    def test_arrays_in_a_stated_range(self, featx, tmp_path):
        np.save(tmp_path / "a.npy", make_images(4) / 255.0)
        assert "value_range" in featx.fails("extract", "a.npy", "--backbone", TINY)
        assert featx.json("extract", "a.npy", "--backbone", TINY, "--value-range", 0, 1)["n_computed"] == 4

    def test_arrays_of_any_kind_go_all_the_way(self, featx, tmp_path):
        flowers = load_iris()
        names = flowers.target_names[flowers.target]
        np.savez(tmp_path / "flowers.npz", values=flowers.data, labels=names)
        keras.utils.set_random_seed(0)
        inputs = keras.Input((None,))
        layer = keras.layers.Dense(16, activation="relu")
        keras.Model(inputs, layer(keras.layers.Reshape((4,))(inputs))).save(tmp_path / "m.keras")
        options = ["--backbone", "m.keras", "--inputs", "arrays"]
        assert "input_size=(the shape of one sample)" in featx.fails("extract", "flowers.npz", *options)
        options += ["--input-size", 4]
        found = featx.json("extract", "flowers.npz", *options, "--out", "f.h5")
        assert (found["n_samples"], found["n_failed"]) == (150, 0)
        assert featx.json("extract", "flowers.npz", *options)["n_computed"] == 0
        featx("search", "f.h5", "--head", "logistic_regression", "--cv", 3, "--out", "m.featx")
        assert featx.json("evaluate", "m.featx", "f.h5")["accuracy"] > 0.8
        np.save(tmp_path / "more.npy", flowers.data[:6])
        found = featx.json("predict", "m.featx", "more.npy", "--backbone", "m.keras")
        assert [row["label"] for row in found["predictions"]] == names[:6].tolist()
        assert "'labels' beside 'values'" in featx("extract", "more.npy", *options).stderr

    def test_skipped_images_are_counted_and_listed(self, featx, folder):
        (folder / "dark" / "broken.png").write_bytes(b"")
        (folder / "notes.txt").write_text("not an image")
        error = featx.fails("extract", folder, "--backbone", TINY)
        assert error == "error: dark/broken.png: empty file; --on-error skip leaves such images out\n"
        result = featx("extract", folder, "--backbone", TINY, "--on-error", "skip")
        assert "1 of 41 images failed" in result.stderr
        assert "dark/broken.png: empty file" in result.stderr
        assert "1 files are not named as images" in result.stderr
        shutil.copy(folder / "dark" / "00-002.png", folder / "dark" / "copy.jpg")
        (folder / "dark" / "copy.jpg").write_bytes((folder / "dark" / "copy.jpg").read_bytes() + b"\0")
        result = featx("extract", folder, "--backbone", TINY, "--on-error", "skip")
        assert "odd, and embedded: 1 images, PNG named .jpg (dark/copy.jpg)\n" in result.stderr
        (folder / "dark" / "copy.jpg").unlink()
        found = featx.json("extract", folder, "--backbone", TINY, "--on-error", "skip")
        assert found["n_failed"] == 1
        assert found["failed"] == [
            {
                "sample_id": "dark/broken.png",
                "stage": "decode",
                "reason": "empty file",
                "index": 20,
                "path": str(folder / "dark" / "broken.png"),
            }
        ]
        options = ["--backbone", TINY, "--on-error", "skip", "--max-failed", 0]
        error = featx.fails("extract", folder, *options)
        assert (
            "1 images of 41 that failed, the last for: dark/broken.png: empty file; expected at most 0"
            in error
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nowhere"], "no such file or folder"),
            (["empty"], "0 images in empty"),
            (["images", "--inputs", "tables"], "'images', 'arrays'"),
            (["images", "--inputs", "arrays"], "a folder"),
            (["images", "--backbone", "tinny"], "did you mean tiny"),
            (["images", "--backbone", TINY, "--tap", "frist"], "did you mean first"),
            (["images", "--backbone", TINY, "--input-size", "big"], "300 or 300x200"),
            (["images", "--backbone", TINY, "--weights", "mine"], "'imagenet', 'none'"),
            (["images", "--backbone", TINY, "--batch-size", "many"], "a number, or auto"),
            (["images", "--backbone", TINY, "--batch-size", 0], "batch_size=0"),
            (["images", "--backbone", TINY, "--engine", "steam"], "'openvino'"),
            (["images", "--backbone", TINY, "--precision", "float8"], "'bfloat16'"),
            (["images", "--backbone", TINY, "--n-views", 0], "n_views=0"),
            (["images", "--backbone", TINY, "--n-views", 2, "--view", "spin"], "'quarter_turn'"),
            (["images", "--backbone", TINY, "--on-error", "ignore"], "'raise', 'skip'"),
            (["images", "--backbone", TINY, "--dtype", "int8"], "'float32', 'float16'"),
            (["images", "--backbone", TINY, "--label-column", "x"], "option label_column"),
            (["images", "--backbone", "no.keras"], "no such file"),
            (["images", "--backbone", TINY, "--out", "images"], "add a file name"),
            (["images", "--backbone", TINY, "--out", "images/dark/00-002.png"], "which is read from"),
        ],
    )
    def test_bad_input_is_one_line(self, featx, folder, tmp_path, arguments, message):
        assert folder.exists()
        (tmp_path / "empty").mkdir()
        error = featx.fails("extract", *arguments)
        assert message in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1


class TestEvaluate:
    def test_json_holds_the_contracts_keys(self, featx, model_file, feature_file):
        found = featx.json("evaluate", model_file, feature_file)
        assert set(found) >= {
            *("accuracy", "accuracy_ci", "roc_auc", "log_loss", "ece", "n_samples", "per_class"),
        }
        assert (found["n_samples"], found["n_trained_on"]) == (10, 30)
        assert found["brier_ci"][0] <= found["brier"] <= found["brier_ci"][1]
        assert found["curves"]["thresholds"][0]["name"] == "default"

    def test_subgroups_come_from_a_manifest(self, featx, model_file, feature_file, tmp_path):
        ids = FeatureSet.load(feature_file).sample_ids
        lines = [f"{name},{'odd' if row % 2 else 'even'}" for row, name in enumerate(ids[:-4])]
        (tmp_path / "cells.csv").write_text("\n".join(["path,kind", *lines]))
        options = ["--by", "kind", "--manifest", "cells.csv"]
        result = featx("evaluate", model_file, feature_file, *options)
        assert "By subgroup" in result.stdout
        found = featx.json("evaluate", model_file, feature_file, *options)
        n_unlisted = found["n_unlisted"]
        assert f"{n_unlisted} samples are not in cells.csv" in result.stderr or not n_unlisted
        assert sum(part["n_samples"] for part in found["subgroups"]) == 10
        assert {part["column"] for part in found["subgroups"]} == {"kind"}
        error = featx.fails("evaluate", model_file, feature_file, "--by", "kind")
        assert "by=kind without a manifest" in error
        error = featx.fails("evaluate", model_file, feature_file, "--by", "kid", "--manifest", "cells.csv")
        assert "did you mean kind?" in error

    def test_another_threshold_is_evaluated(self, featx, model_file, feature_file):
        found = featx.json("evaluate", model_file, feature_file, "--threshold", 0)
        assert sum(row[1] for row in found["confusion_matrix"]) == 10
        assert "from 0 to 1" in featx.fails("evaluate", model_file, feature_file, "--threshold", 2)

    def test_it_says_what_it_left_out(self, featx, model_file, feature_file):
        result = featx("evaluate", model_file, feature_file)
        assert "left out 30 samples that the model was fitted on" in result.stderr
        assert "dark" in result.stdout

    def test_another_extraction_is_refused_with_the_fields(self, featx, model_file, folder):
        featx("extract", folder, "--backbone", TINY, "--pooling", "max", "--out", "max.h5")
        error = featx.fails("evaluate", model_file, "max.h5")
        assert "pooling: found max, expected avg" in error

    def test_what_is_no_model_is_refused(self, featx, feature_file):
        assert "expected a model file" in featx.fails("evaluate", feature_file, feature_file)
        assert "no such file" in featx.fails("evaluate", "absent.featx", feature_file)


class TestPredict:
    def test_labels_have_no_say(self, featx, model_file, folder):
        copy = next((folder / "dark").iterdir())
        (folder / "light" / copy.name).write_bytes(copy.read_bytes())
        names = sorted(f"{path.parent.name}/{path.name}" for path in folder.rglob("*.*g"))
        lines = [f"{name},{'dark' if index % 2 else ''}" for index, name in enumerate(names)]
        (folder / "list.csv").write_text("\n".join(["path,label", *lines]))
        for source in (folder, folder / "list.csv"):
            found = featx.json("predict", model_file, source)["predictions"]
            assert [prediction["sample_id"] for prediction in found] == names
            label_of = {prediction["sample_id"]: prediction["label"] for prediction in found}
            assert label_of[f"dark/{copy.name}"] == label_of[f"light/{copy.name}"]

    def test_a_csv_of_labels_and_probabilities(self, featx, model_file, folder):
        found = featx.json("predict", model_file, folder, "--out", "p.csv")
        assert (found["path"], found["n_samples"], found["n_failed"]) == ("p.csv", 40, 0)
        with Path("p.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["label"] == row["sample_id"].partition("/")[0] for row in rows} == {True}

    def test_a_parquet_file_says_the_same(self, featx, model_file, folder):
        (folder / "dark" / "broken.png").write_bytes(b"")
        for name in ("p.csv", "p.parquet"):
            found = featx.json("predict", model_file, folder, "--on-error", "skip", "--out", name)
            assert set(found) == {"path", "n_samples", "n_failed", "failed", "seconds"}
        with Path("p.csv").open(newline="") as file:
            texts = list(csv.DictReader(file))
        rows = pq.read_table("p.parquet").to_pylist()
        assert len(rows) == 41
        for name in ("sample_id", "label", "error"):
            assert [row[name] or "" for row in rows] == [text[name] for text in texts]
        assert {row["sample_id"] for row in rows if row["error"]} == {"dark/broken.png"}
        assert (
            "wrote p.parquet" in featx("predict", model_file, folder / "light", "--out", "p.parquet").stdout
        )

    def test_another_ending_is_refused_at_once(self, featx, model_file, folder):
        error = featx.fails("predict", model_file, folder, "--out", "p.xlsx")
        assert error.startswith("error: received p.xlsx; expected a name that ends in .csv or .parquet")

    def test_json_lists_the_predictions(self, featx, model_file, folder):
        (folder / "dark" / "broken.png").write_bytes(b"")
        assert "broken.png" in featx.fails("predict", model_file, folder)
        found = featx.json("predict", model_file, folder, "--on-error", "skip")
        assert len(found["predictions"]) == 40
        assert found["n_failed"] == 1
        first = found["predictions"][0]
        assert first["probabilities"][first["label"]] > 0.5

    def test_inputs_are_no_outputs_and_features_no_images(self, featx, model_file, folder):
        for target in (model_file, folder / "dark" / "00-002.png"):
            assert "which is read from" in featx.fails("predict", model_file, folder, "--out", target)
        assert "f.h5, a file of features" in featx.fails("predict", model_file, "f.h5")

    def test_views_are_averaged_and_may_be_fewer(self, featx, folder):
        images = [folder, "--backbone", TINY, "--n-views", 4]
        featx("search", *images, "--head", "logistic_regression", "--cv", 3, "--out", "v.featx")
        found = {}
        for n_views in (None, 1, 4):
            options = [] if n_views is None else ["--n-views", n_views, "--engine", "keras"]
            predictions = featx.json("predict", "v.featx", folder, *options)["predictions"]
            assert len(predictions) == 40
            found[n_views] = [prediction["probabilities"]["dark"] for prediction in predictions]
        assert found[None] == found[4] != found[1]
        # A plain feature file serves the evaluation of a model of views.
        featx("extract", folder, "--backbone", TINY, "--out", "plain.h5")
        assert featx.json("evaluate", "v.featx", "plain.h5")["n_samples"] == 10

    def test_an_exported_model_embeds_nothing(self, featx, model_file, folder):
        featx("export", model_file, "m.keras")
        error = featx.fails("predict", "m.keras", folder, "--n-views", 2)
        assert "--n-views 2 for the exported model m.keras; expected a model file" in error
        error = featx.fails("predict", "m.keras", folder, "--ray")
        assert "--ray local for the exported model m.keras; expected a model file" in error

    def test_a_single_image(self, featx, model_file, folder):
        image = next((folder / "light").iterdir())
        assert "light" in featx("predict", model_file, image).stdout


class TestStore:
    def test_list_info_verify_prune(self, featx, feature_file, tmp_path):
        assert feature_file
        (entry,) = featx.json("store", "list")
        assert (entry["backbone"], entry["n_samples"]) == (TINY, 40)
        assert featx.json("store", "info", entry["key"])["pooling"] == "avg"
        (shard,) = (tmp_path / "cache").rglob("*.h5")
        shard.write_bytes(shard.read_bytes()[:-1])
        with pytest.warns(match="set aside"):
            assert "40 rows are to be computed anew" in featx.fails("store", "verify")
        (check,) = featx.json("store", "verify")
        assert (check["n_shards"], check["damaged"]) == (0, [])
        assert len(featx.json("store", "prune", "--dry-run")) == 1
        featx("store", "prune", entry["key"])
        assert featx.json("store", "list") == []
        assert "nothing" in featx("store", "list").stdout

    def test_an_unknown_key_is_one_line(self, featx):
        assert "the start of one key" in featx.fails("store", "info", "abcd")


class TestBackbones:
    def test_what_can_be_loaded(self, featx):
        found = featx.json("backbones", "resnet50*")
        assert [row["name"] for row in found] == ["ResNet50", "ResNet50V2"]
        assert found[0]["input_size"] == [224, 224]
        assert "efficientnet_lite0" in featx("backbones", "--offline").stdout

    def test_what_may_be_tapped(self, featx):
        arguments = ("backbones", "VGG16", "--taps", "--input-size", 32)
        found = featx.json(*arguments)
        assert found[0] == {"name": "block1_conv2", "shape": [32, 32, 64], "depth": 0.154, "n_features": 64}
        assert len(featx.json(*arguments, "--all")) == 18
        assert "32 x 32 x 64" in featx(*arguments).stdout
        assert "did you mean VGG16" in featx.fails("backbones", "VGG-16", "--taps")
        featx("backbones", "--all", code=2)


def test_usage_errors_exit_with_two(featx):
    featx("extract", code=2)
    featx("nonsense", code=2)
    featx("search", "f.h5", "--cv", "many", code=2)


def test_every_command_has_help(featx):
    for command in ("demo", "backbones", "extract", "search", "evaluate", "predict", "rank", "store"):
        assert "Usage" in featx(command, "--help").stdout


def test_extract_isolates_decoders_where_that_is_asked_for(featx, folder, monkeypatch):
    monkeypatch.setattr("featx.images.isolation._TARGET", "tests.children:fragile_decoder")
    marked = next(folder.rglob("*.jpg"))
    marked.write_bytes(marked.read_bytes() + b"crash")
    command = ("extract", folder, "--backbone", TINY, "--isolate")
    assert "its decoder died (SIGSEGV)" in featx.fails(*command)
    found = featx.json(*command, "--on-error", "skip")
    assert [each["reason"] for each in found["failed"]] == ["its decoder died (SIGSEGV)"]
