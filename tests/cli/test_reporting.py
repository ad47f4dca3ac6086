"""The option --report of several commands: what the file is of, and what is refused before any work."""

import sys

import pytest

from tests.conftest import TINY

HEAD = ("--head", "logistic_regression", "--cv", 3)


def text_of(path):
    return path.read_text(encoding="utf-8")


def n_pictures(path):
    return text_of(path).count("data:image/webp;base64,")


class TestReport:
    def test_images_that_were_embedded_for_a_search_are_its_pictures(self, featx, folder, tmp_path):
        found = featx("search", folder, *HEAD, "--backbone", TINY, "--report", "r.html")
        assert "wrote r.html" in found.stdout
        assert n_pictures(tmp_path / "r.html") >= 1
        assert f"featx search {folder} --head logistic_regression" in text_of(tmp_path / "r.html")

    def test_a_feature_file_has_pictures_where_the_images_are_given(
        self, featx, feature_file, folder, tmp_path
    ):
        options = ("search", feature_file, *HEAD, "--report")
        without = featx(*options, "without.html")
        assert "report: There are no pictures" in without.stderr
        assert n_pictures(tmp_path / "without.html") == 0
        found = featx.json(*options, "with.html", "--images", folder)
        assert (found["report"], found["report_notes"]) == ("with.html", [])
        [note] = featx.json(*options, "again.html")["report_notes"]
        assert note.startswith("There are no pictures")
        assert featx.json(*options[:-1])["report_notes"] == []
        assert n_pictures(tmp_path / "with.html") >= 1

    def test_images_that_moved_are_told(self, featx, feature_file, folder, tmp_path):
        for path in (folder / "dark").iterdir():
            path.rename(tmp_path / path.name)
        told = featx("search", feature_file, *HEAD, "--report", "r.html", "--images", folder).stderr
        assert "report: 20 of 40 samples have no picture: not among the images given" in told
        assert n_pictures(tmp_path / "r.html") >= 1

    def test_an_evaluation_and_a_comparison(self, featx, model_file, feature_file, folder, tmp_path):
        pictures = ("--images", folder)
        featx("evaluate", model_file, feature_file, "--report", "e.html", *pictures)
        featx("search", feature_file, "--head", "knn", "--cv", 3, "--out", "other.featx")
        featx("compare", model_file, "other.featx", feature_file, "--report", "c.html", *pictures)
        for name in ("e.html", "c.html"):
            assert n_pictures(tmp_path / name) >= 1
        assert "other.featx" in text_of(tmp_path / "c.html")

    @pytest.mark.parametrize("command", ["search", "evaluate", "compare"])
    def test_the_map_is_chosen(self, command, featx, model_file, feature_file, tmp_path, monkeypatch):
        inputs = {
            "search": [feature_file, *HEAD],
            "evaluate": [model_file, feature_file],
            "compare": [model_file, model_file, feature_file],
        }[command]
        featx(command, *inputs, "--report", "r.html", "--projection", "pca")
        assert "Principal components" in text_of(tmp_path / "r.html")
        monkeypatch.setitem(sys.modules, "umap", None)
        monkeypatch.setattr("featx.cli.options.load_feature_files", lambda *_: pytest.fail("it read them"))
        message = featx.fails(command, *inputs, "--report", "again.html", "--projection", "umap")
        assert "pip install" in message
        assert "umap" in message
        assert not (tmp_path / "again.html").exists()

    def test_the_seed_of_an_evaluation_is_that_of_its_intervals(self, featx, model_file, feature_file):
        def interval(seed):
            found = featx.json("evaluate", model_file, feature_file, "--random-state", seed)
            return found["log_loss_ci"]

        assert interval(1) == interval(1) != interval(2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--report", "images"], "the folder images"),
            (["--report", "f.h5"], "f.h5 to write to, which is read from"),
            (["--report", "images/dark/00-000.jpg", "--images", "images"], "which is read from"),
            (["--report", "m.featx", "--out", "m.featx"], "another file than the others that are written"),
            (["--images", "images"], "--images images without --report"),
            (["--projection", "umap"], "--projection umap without --report"),
            (["--report", "r.html", "--projection", "tsne"], "expected one of 'pca', 'umap'"),
            (["--report", "r.html", "--images", "gone"], "no such file or folder"),
        ],
    )
    def test_what_cannot_be_reported_is_refused_before_the_search(
        self, featx, feature_file, arguments, message, monkeypatch
    ):
        monkeypatch.setattr("featx.search_jobs.search_features", lambda *_, **__: pytest.fail("it searched"))
        assert message in featx.fails("search", feature_file, *HEAD, *arguments)
