"""A head's answers by blocks are its answers on the whole: images, views, and heads without probabilities."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featx import FeatureSet, answering
from featx.answering import answers_on, blocks_of
from featx.embedding import averaging, images_of


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("featx.features.rows._BLOCK_BYTES", 102 * 12 * 4)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).standard_normal((512, 12), dtype=np.float32)


def features_of(X, n_views=1):
    view = np.tile(np.arange(n_views), len(X) // n_views)
    return FeatureSet(X, view=view)


def joined(answers):
    labels, probabilities = zip(*answers, strict=True)
    return np.concatenate(labels), None if probabilities[0] is None else np.concatenate(probabilities)


@pytest.mark.parametrize("n_views", [1, 4])
@pytest.mark.parametrize("head", [SVC(), LogisticRegression(), RidgeClassifier()], ids=repr)
def test_blocks_say_what_the_whole_says(X, head, n_views):
    y = np.arange(512) // n_views % 3
    fitted = make_pipeline(StandardScaler(), head).fit(X, y)
    features = features_of(X, n_views)
    whole = averaging(fitted, images_of(features))
    blocks = list(answers_on(features, fitted))
    labels, probabilities = joined(blocks)
    assert len(blocks) == 6
    assert labels.tolist() == whole.predict(X).tolist()
    assert hasattr(whole, "predict_proba") == (probabilities is not None)
    if probabilities is not None:
        # The last bits of a product depend on its shape.
        np.testing.assert_allclose(probabilities, whole.predict_proba(X), atol=1e-6)


def test_one_block_is_the_whole_to_the_bit(X):
    head = LogisticRegression().fit(X, np.arange(512) % 2)
    ((_, probabilities),) = answers_on(features_of(X[:102]), head)
    assert np.array_equal(probabilities, head.predict_proba(X[:102]))


def test_views_of_an_image_are_in_one_block(X):
    blocks = list(blocks_of(features_of(X[:510], 5)))
    assert [len(block.X) for block in blocks] == [100] * 5 + [10]
    assert all(block.images.tolist() == [row // 5 for row in range(len(block.X))] for block in blocks)
    assert np.array_equal(np.concatenate([block.X for block in blocks]), X[:510])


@pytest.mark.parametrize(("block_s", "in_all_s", "goes"), [(0, 0, True), (0, 1e9, False), (1e9, 0, False)])
def test_only_a_head_for_which_it_pays_goes_to_the_cluster(X, monkeypatch, block_s, in_all_s, goes):
    sent = []

    def answers_on_ray(head, blocks, *, address):
        sent.append(address)
        return [answering.answer(head, block) for block in blocks]

    monkeypatch.setattr("featx.distributed.prediction.answers_on_ray", answers_on_ray)
    monkeypatch.setattr(answering, "_PAYS_FROM_BLOCK_S", block_s)
    monkeypatch.setattr(answering, "_PAYS_FROM_S", in_all_s)
    head = LogisticRegression().fit(X[:32], np.arange(32) % 2)
    labels, _ = joined(answers_on(features_of(X), head, cluster="host:1"))
    assert labels.tolist() == head.predict(X).tolist()
    assert sent == ["host:1"] * goes


class Slow(LogisticRegression):
    """A second for each block but the first ones, which take no time."""

    def predict(self, X):
        self.n_blocks = getattr(self, "n_blocks", 0) + 1
        self.clock.now += self.n_blocks > self.n_quick
        return super().predict(X)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("n_quick", "read_s", "in_all_s", "goes"),
    [(0, 0, 4.0, True), (0, 0, 4.1, False), (6, 10, 0, False), (1, 0, 0, False)],
    ids=["all slow", "too few blocks", "slow to read", "slow later"],
)
def test_the_time_of_answers_to_the_first_block_decides(X, monkeypatch, n_quick, read_s, in_all_s, goes):
    clock, sent = Clock(), []

    def slowly_read(features):
        for block in blocks_of(features):
            clock.now += read_s
            yield block

    def answers_on_ray(head, blocks, *, address):
        sent.append(address)
        return [answering.answer(head, block) for block in blocks]

    monkeypatch.setattr(answering, "perf_counter", clock)
    monkeypatch.setattr(answering, "blocks_of", slowly_read)
    monkeypatch.setattr("featx.distributed.prediction.answers_on_ray", answers_on_ray)
    monkeypatch.setattr(answering, "_PAYS_FROM_S", in_all_s)
    head = Slow().fit(X[:32], np.arange(32) % 2)
    head.clock, head.n_quick = clock, n_quick
    labels, _ = joined(answers_on(features_of(X), head, cluster="host:1"))
    assert len(labels) == len(X)
    assert sent == ["host:1"] * goes
