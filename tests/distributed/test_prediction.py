"""On a cluster a head says what it says here, in the same order, and its error ends the run."""

from itertools import count
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from featx import FeatureSet, ImageClassifier
from featx.answering import Block, answer, blocks_of
from featx.cli import app
from featx.distributed.cluster import connected
from featx.distributed.prediction import answers_on_ray
from tests.conftest import TINY, write_class_folder

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).standard_normal((3_000, 2_048), dtype=np.float32)


@pytest.fixture(scope="module", autouse=True)
def ray():
    with connected(n_cpus=2) as ray:
        yield ray


class Unlucky(ClassifierMixin, BaseEstimator):
    """Fails on the block that begins with 5."""

    classes_ = np.arange(2)

    def predict(self, X):
        if X[0, 0] == 5:
            raise FloatingPointError("five is too much")
        return X[:, 0].astype(int)


@pytest.mark.parametrize("n_views", [1, 2])
@pytest.mark.parametrize(
    "head",
    [SVC(), CalibratedClassifierCV(SVC(), cv=2, ensemble=False), LogisticRegression()],
    ids=["rbf_svm", "calibrated_rbf_svm", "logistic_regression"],
)
def test_the_same_to_the_bit_as_here(X, head, n_views):
    y = np.arange(3_000) // n_views % 3
    fitted = make_pipeline(StandardScaler(), head).fit(X[:300], y[:300])
    features = FeatureSet(X, view=np.tile(np.arange(n_views), 3_000 // n_views))
    # As many threads as a task has: the last bits of a product depend on them.
    with threadpool_limits(1):
        here = [answer(fitted, block) for block in blocks_of(features)]
    there = list(answers_on_ray(fitted, blocks_of(features)))
    assert len(here) == 6
    for expected, found in zip(here, there, strict=True):
        assert found.labels.tolist() == expected.labels.tolist()
        assert (found.probabilities is None) == (expected.probabilities is None)
        if found.probabilities is not None:
            assert np.array_equal(found.probabilities, expected.probabilities)


def numbered(numbers):
    for number in numbers:
        yield Block(np.full((2, 1), number, np.float32))


def test_blocks_are_read_as_they_are_needed_and_come_back_in_order():
    read = []

    def blocks():
        for number, block in enumerate(numbered(count(10))):
            read.append(number)
            yield block

    answers = answers_on_ray(Unlucky(), blocks())
    found = [next(answers).labels.tolist() for _ in range(20)]
    answers.close()
    assert found == [[number] * 2 for number in range(10, 30)]
    assert len(read) <= 20 + 4


def test_an_error_on_one_block_is_the_runs_error():
    answers = answers_on_ray(Unlucky(), numbered(range(20)))
    with pytest.raises(FloatingPointError, match="five is too much"):
        list(answers)


def test_a_command_says_the_same_on_a_cluster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "cache"))
    # So that this head, too, is worth sending.
    monkeypatch.setattr("featx.answering._PAYS_FROM_BLOCK_S", 0)
    monkeypatch.setattr("featx.answering._PAYS_FROM_S", 0)
    monkeypatch.setattr("featx.features.rows._BLOCK_BYTES", 4 * 12 * 4)
    folder = write_class_folder(tmp_path / "images", 12)
    classifier = ImageClassifier(TINY, "logistic_regression", store=tmp_path / "cache", cv=2)
    classifier.fit(folder).save("m.featx")
    (folder / "dark" / "broken.png").write_bytes(b"")
    for options in (["here.csv", "--store", "fresh-here"], ["there.csv", "--store", "fresh-there", "--ray"]):
        command = ["predict", "m.featx", str(folder), "--on-error", "skip", "--out", *options]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert Path("there.csv").read_bytes() == Path("here.csv").read_bytes()
    assert len(Path("there.csv").read_text().splitlines()) == 14
