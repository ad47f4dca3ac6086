"""Neighbours whose votes weigh, against scikit-learn's and against repeated samples."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsClassifier

from featx import load_head, save_head
from featx.heads.neighbors import WeightedNeighbors
from tests.contracts import described
from tests.heads.real_data import cancer, digits

each_vote = pytest.mark.parametrize("votes", ["uniform", "distance", lambda d: 1 / (1 + d)], ids=described)


@each_vote
@pytest.mark.parametrize("data", [cancer, digits])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_without_weights_they_are_scikit_learns(votes, data, metric):
    X, y = data()
    options = {"n_neighbors": 7, "weights": votes, "metric": metric, "algorithm": "brute"}
    ours = WeightedNeighbors(**options).fit(X[:160], y[:160])
    theirs = KNeighborsClassifier(**options).fit(X[:160], y[:160])
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-12)
    assert np.array_equal(ours.predict(X), theirs.predict(X))


@each_vote
def test_a_whole_weight_is_that_many_votes(votes):
    X, y = cancer()
    weight = np.random.default_rng(0).integers(1, 4, 160)
    ours = WeightedNeighbors(160, weights=votes).fit(X[:160], y[:160], weight)
    rows = np.repeat(np.arange(160), weight)
    theirs = KNeighborsClassifier(len(rows), weights=votes).fit(X[rows], y[rows])
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-12)


def test_neighbours_of_no_weight_say_nothing():
    neighbors = WeightedNeighbors(2).fit([[0.0], [1.0], [9.0]], ["a", "a", "b"], [0, 0, 1])
    assert neighbors.predict_proba([[0.5]]).tolist() == [[0.5, 0.5]]
    assert neighbors.predict_proba([[8.0]]).tolist() == [[0.0, 1.0]]


def test_weights_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"sample_weight\.shape"):
        WeightedNeighbors().fit([[0.0], [1.0]], [0, 1], [1.0])


def test_before_fit_they_say_so():
    with pytest.raises(NotFittedError):
        WeightedNeighbors().predict([[0.0]])


def test_they_are_cloned_saved_and_loaded(tmp_path):
    X, y = cancer()
    fitted = clone(WeightedNeighbors(3)).fit(X, y, 1.0 + y)
    save_head(fitted, tmp_path / "head")
    assert np.array_equal(load_head(tmp_path / "head").predict_proba(X), fitted.predict_proba(X))
