"""The command audit, and what search does with the file that it writes."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from featx import FeatureSet
from featx.insight.findings import KINDS
from tests.conftest import TINY, write_class_folder


@pytest.fixture
def odd_folder(folder):
    """The folder with a copy, a blank image, a text and a name of markup besides."""
    shutil.copy(folder / "dark" / "00-000.jpg", folder / "light" / "copy.jpg")
    shutil.copy(folder / "dark" / "00-002.png", folder / "dark" / "[b]x[|b].png")
    Image.new("RGB", (20, 24), (9, 9, 9)).save(folder / "dark" / "blank.png")
    (folder / "dark" / "text.png").write_bytes(b"<html>")
    return folder


class TestAudit:
    def test_a_folder_is_embedded_and_looked_at(self, featx, odd_folder):
        found = featx.json("audit", odd_folder, "--backbone", TINY)
        assert set(found["counts"]) == set(KINDS)
        assert found["counts"]["exact_duplicate"] == 2
        odd = {each["sample_ids"][0] for each in found["findings"] if each["kind"] == "odd_image"}
        assert odd == {"dark/blank.png", "dark/text.png"}
        assert (found["n_samples"], found["path"]) == (41, None)
        assert found["class_counts"] == {"dark": 21, "light": 20}

    def test_the_table_says_it_in_words(self, featx, odd_folder):
        result = featx("audit", odd_folder, "--backbone", TINY)
        lines = result.stdout.splitlines()
        assert "      2 images stand more than once, 1 across labels" in lines
        assert "dark/[b]x[|b].png" in result.stdout
        assert any(line.startswith("left out by search --exclude") for line in lines)

    def test_files_are_parts(self, featx, feature_file, folder):
        other = write_class_folder(folder.parent / "more", 40, seed=1)
        shutil.copy(folder / "dark" / "00-000.jpg", other / "dark" / "leak.jpg")
        featx("extract", other, "--backbone", TINY, "--out", "test.h5")
        result = featx("audit", feature_file, "test.h5", "--out", "a.csv")
        assert "      1 image stands more than once, 1 across parts" in result.stdout
        with open("a.csv", newline="") as file:  # noqa: PTH123
            rows = [row for row in csv.DictReader(file) if row["kind"] == "exact_duplicate"]
        assert [(row["sample_id"], row["part"], row["exclude"]) for row in rows] == [
            ("dark/00-000.jpg", "f", ""),
            ("dark/leak.jpg", "test", "everywhere"),
        ]

    def test_a_model_parts_one_file(self, featx, feature_file, model_file):
        found = featx.json("audit", feature_file, "--model", model_file)
        assert set(found["parts"].values()) <= {"training", "test"}
        assert "out_of_distribution_median" in found["thresholds"]

    def test_images_of_a_feature_file(self, featx, odd_folder):
        options = ["--on-error", "skip"]
        featx("extract", odd_folder, "--backbone", TINY, "--out", "f.h5", *options)
        (odd_folder / "dark" / "00-004.png").unlink()
        result = featx("audit", "f.h5", "--images", odd_folder)
        assert "      2 images are odd in themselves" in result.stdout
        assert "note: 1 samples of f.h5 are not among the images (dark/00-004.png)" in result.stderr
        without = featx.json("audit", "f.h5")
        assert without["counts"]["odd_image"] == 1

    def test_json_to_a_file(self, featx, feature_file):
        featx("audit", feature_file, "--out", "a.json")
        with open("a.json") as file:  # noqa: PTH123
            assert json.load(file)["counts"]["exact_duplicate"] == 0

    def test_without_labels(self, featx, tmp_path):
        X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
        FeatureSet(X).save(tmp_path / "bare.h5")
        result = featx("audit", "bare.h5")
        assert "note: no sample has a label" in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["absent.h5"], "absent.h5"),
            (["f.h5", "f.h5"], "expected each once"),
            (["f.h5", "--backbone", TINY], "--backbone tiny for a feature file"),
            (["f.h5", "--model", "absent.featx"], "absent.featx"),
            (["f.h5", "--images", "absent"], "absent"),
            (["f.h5", "--label-method", "guess"], "one of 'confident', 'cleanlab'"),
            (["f.h5", "--max-samples", 0], "max_samples=0"),
            (["f.h5", "--test-size", 1], "test_size=1"),
            (["f.h5", "--assignment", "drawn"], "assignment"),
            (["f.h5", "--out", "f.h5"], "which is read from"),
            (["f.h5", "images"], "audit them one at a time"),
        ],
    )
    def test_bad_input_is_one_line(self, featx, feature_file, arguments, message):
        assert feature_file == "f.h5"
        error = featx.fails("audit", *arguments)
        assert message in error
        assert error.count("\n") == 1


class TestExclude:
    def test_search_leaves_out_what_an_audit_found(self, featx, odd_folder):
        featx("extract", odd_folder, "--backbone", TINY, "--out", "f.h5", "--on-error", "skip")
        featx("audit", "f.h5", "--images", odd_folder, "--out", "a.csv")
        search = ["search", "f.h5", "--head", "logistic_regression", "--cv", 3]
        found = featx.json(*search, "--exclude", "a.csv", "--out", "m.featx")
        # A pair of two labels has no features to begin with.
        assert found["excluded"]["n_everywhere"] == 1
        assert found["excluded"]["n_training"] >= 1
        result = featx(*search, "--exclude", "a.csv")
        assert "excluded: 1 samples everywhere" in result.stderr
        plain = featx.json(*search)
        assert (plain["excluded"], plain["notes"]) == (None, [])
        assert found["notes"][0].startswith("Cross-validation scores are of the training part without")
        assert f"note: {found['notes'][0]}" in result.stderr
        assert "samples that the search had left out" in featx("evaluate", "m.featx", "f.h5").stderr
        n_tested = featx.json("evaluate", "m.featx", "f.h5")["n_samples"]
        assert n_tested == found["test"]["n_samples"]

    def test_an_audit_of_other_parts_is_refused(self, featx, tmp_path):
        X = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
        X[:, 0] += np.arange(120) % 2
        FeatureSet(X, np.arange(120) % 2, class_names=["dark", "light"]).save(tmp_path / "f.h5")
        search = ["search", "f.h5", "--head", "logistic_regression", "--cv", 3, "--exclude", "a.csv"]
        parts = ["--test-size", 0.4, "--assignment", "hashed", "--random-state", 3]
        featx("audit", "f.h5", *parts, "--out", "a.csv")
        assert featx.json(*search, *parts)["excluded"]["n_training"] > 3
        assert "run featx audit on this file with the same" in featx.fails(*search)
        featx("audit", "f.h5", "--test-size", 0, "--out", "a.csv")
        assert "all labels were asked about" in featx.fails(*search)
        assert featx.json(*search, "--test-size", 0)["test"] is None

    def test_a_list_of_ones_own(self, featx, feature_file, tmp_path):
        (tmp_path / "mine.csv").write_text("sample_id\ndark/00-000.jpg\nnobody.png\n")
        (tmp_path / "more.csv").write_text("sample_id,exclude\ndark/00-002.png,everywhere\n")
        search = ["search", feature_file, "--head", "logistic_regression", "--cv", 3]
        result = featx(*search, "--exclude", "mine.csv", "--exclude", "more.csv")
        assert "excluded: 2 samples everywhere, 0 more of the training part" in result.stderr
        assert "1 ids to exclude are of no sample with a label here" in result.stderr

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("id\na\n", "without a column 'sample_id'"),
            ("sample_id,exclude\na,always\n", "received exclude 'always'"),
            ("sample_id,exclude\na\n", "received 1 fields"),
            ("sample_id\na\0\n", "a NUL byte"),
        ],
    )
    def test_a_bad_list_is_one_line(self, featx, feature_file, tmp_path, content, message):
        (tmp_path / "x.csv").write_text(content)
        error = featx.fails("search", feature_file, "--exclude", "x.csv")
        assert message in error
        assert error.count("\n") == 1
        assert "which is read from" in featx.fails(
            "search", feature_file, "--exclude", "x.csv", "--out", "x.csv"
        )
