"""rank: a table for people, a list for programs, and files that do not belong together."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from featx import ArraySource, FeatureExtractor, FeatureSet, extract
from featx.cli import app
from tests.conftest import TINY, make_images

RANK_KEYS = {
    *("rank", "name", "n_features", "n_samples", "mean_rank", "ranks"),
    *("logme", "knn_accuracy", "centroid_accuracy", "ridge_accuracy", "ridge_roc_auc"),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with ``one.h5``, of two taps, and ``two.h5``, of the same images in another order."""
    monkeypatch.chdir(tmp_path)
    images, labels, ids = (
        make_images(40),
        ["dark", "light"] * 20,
        np.array([f"{row}.png" for row in range(40)]),
    )
    for path, taps, rows in (
        ("one.h5", ("first", "top"), slice(None)),
        ("two.h5", (), slice(None, None, -1)),
    ):
        source = ArraySource(images[rows], labels[rows])
        found = extract(source, FeatureExtractor(TINY, taps=taps), store=None)
        samples = {
            name: getattr(found, name) for name in ("y", "class_names", "image_sha256", "groups", "spec")
        }
        FeatureSet(found.X, sample_ids=ids[rows].tolist(), **samples).save(path)
    return tmp_path


def run(*arguments, code=0):
    result = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_json_is_a_list_from_best_to_worst(place):
    assert place.exists()
    found = json.loads(run("one.h5", "two.h5", "--json").stdout)
    assert [entry["rank"] for entry in found] == [1, 2, 3, 4]
    assert {entry["name"] for entry in found} == {"one.h5", "one.h5[first:avg]", "one.h5[top:avg]", "two.h5"}
    assert all(set(entry) == RANK_KEYS for entry in found)
    by_name = {entry["name"]: entry for entry in found}
    # The same tap, whatever the order of the rows.
    for measure in RANK_KEYS - {"rank", "name", "ranks", "mean_rank"}:
        assert by_name["two.h5"][measure] == pytest.approx(by_name["one.h5[top:avg]"][measure], abs=1e-5)


def test_the_table_shows_each_measure_with_its_rank(place):
    assert place.exists()
    output = run("one.h5").stdout
    for text in ("LogME", "kNN", "centroid", "ridge AUC", "one.h5[first:avg]", "(1)", "40 samples"):
        assert text in output


def test_unlabelled_rows_are_counted_on_stderr(place):
    features = FeatureSet.load(place / "two.h5")
    features.y[:4] = -1
    features.save(place / "three.h5")
    result = run("three.h5", "--json")
    assert result.stderr == "4 samples without a label were left out\n"
    assert json.loads(result.stdout)[0]["n_samples"] == 36


def test_a_sample_can_be_ranked_on(place):
    assert place.exists()
    found = json.loads(run("two.h5", "--n-samples", 20, "--random-state", 1, "--json").stdout)
    assert found[0]["n_samples"] == 20


def test_bad_input_is_one_line(place):
    features = FeatureSet.load(place / "two.h5")
    FeatureSet(features.X[:30], features.y[:30], sample_ids=features.sample_ids[:30]).save(place / "less.h5")
    (place / "a.txt").write_text("no features")
    for arguments, message in (
        (
            ["two.h5", "less.h5"],
            "less.h5 without 10 samples of two.h5 (9.png, 8.png, 7.png, 6.png, 5.png, ...)",
        ),
        (["two.h5", "two.h5"], "each once"),
        (["a.txt"], "a.txt"),
        (["two.h5", "--n-samples", 0], "n_samples=0"),
    ):
        error = run(*arguments, code=1).stderr
        assert message in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
    assert run(code=2).stderr
