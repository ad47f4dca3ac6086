"""A folder of images, the command line in it, and the files that commands leave for others."""

import json

import pytest
from typer.testing import CliRunner

from featx.cli import app
from tests.conftest import TINY, write_class_folder


@pytest.fixture
def folder(tmp_path):
    return write_class_folder(tmp_path / "images", 40)


@pytest.fixture
def featx(tmp_path, monkeypatch):
    """Runs a command in a folder of its own; ``featx(...)`` must succeed, ``featx.fails(...)`` must not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "cache"))

    def run(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result

    def run_json(*arguments):
        return json.loads(run(*arguments, "--json").stdout)

    run.json = run_json
    run.fails = lambda *arguments: run(*arguments, code=1).stderr
    return run


@pytest.fixture
def feature_file(featx, folder):
    featx("extract", folder, "--backbone", TINY, "--out", "f.h5")
    return "f.h5"


@pytest.fixture
def model_file(featx, feature_file):
    featx("search", feature_file, "--head", "logistic_regression", "--cv", 3, "--out", "m.featx")
    return "m.featx"
