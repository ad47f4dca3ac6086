"""Neighbours against scikit-learn's brute force, in one block and in many, and on degenerate input."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from featx.errors import HeadError
from featx.insight.neighbors import directions, nearest_neighbors, neighbors_among

# Blocks of some dozens of rows.
LITTLE = 2e-5


def digits(n_samples=700):
    return load_digits().data[:n_samples].astype(np.float32)


def expected(X, n_neighbors, references=None):
    """Distances and rows of the neighbours, in float64."""
    units = directions(X).astype(np.float64)
    others = units if references is None else directions(references).astype(np.float64)
    search = NearestNeighbors(n_neighbors=n_neighbors, algorithm="brute").fit(others)
    return search.kneighbors(None if references is None else units)


each_memory = pytest.mark.parametrize("memory_gb", [1.0, LITTLE], ids=["one block", "many blocks"])


@each_memory
@pytest.mark.parametrize("n_samples", [2, 5, 30, 65, 700])
@pytest.mark.parametrize("n_neighbors", [1, 20])
def test_neighbours_are_those_of_scikit_learn(n_samples, n_neighbors, memory_gb):
    X = digits(n_samples)
    n_expected = min(n_neighbors, n_samples - 1)
    distances, indices = expected(X, n_expected)
    found = nearest_neighbors(X, n_neighbors, memory_gb=memory_gb)
    assert found.indices.shape == (n_samples, n_expected)
    assert (len(found), found.n_neighbors) == (n_samples, n_expected)
    np.testing.assert_allclose(found.distances, distances, atol=1e-6)
    # Distances that differ in float64 alone may change places.
    assert (found.indices == indices).mean() > 0.999


@each_memory
def test_neighbours_among_others_are_those_of_scikit_learn(memory_gb):
    X = digits()
    distances, indices = expected(X[:130], 7, X[130:])
    found = neighbors_among(X[:130], X[130:], 7, memory_gb=memory_gb)
    np.testing.assert_allclose(found.distances, distances, atol=1e-6)
    assert (found.indices == indices).mean() > 0.999


def test_fewer_references_than_neighbours():
    assert neighbors_among(digits(10), digits(3), 7).indices.shape == (10, 3)
    assert neighbors_among(digits(10), digits(0), 7).indices.shape == (10, 0)
    assert neighbors_among(digits(0), digits(3), 7).indices.shape == (0, 3)


def test_no_sample_is_its_own_neighbour_but_its_copy_is():
    X = np.repeat(digits(200), 2, axis=0)
    found = nearest_neighbors(X, 5, memory_gb=LITTLE)
    rows = np.arange(400)
    assert (found.indices != rows[:, None]).all()
    np.testing.assert_array_equal(found.indices[:, 0], rows ^ 1)
    assert (found.distances[:, 0] == 0).all()


def test_distances_rise_and_tell_a_copy_from_nearly_one():
    X = digits(300)
    # A cosine in float32 is the same as the copy's.
    X[100] = X[7] * (1 + 1e-5 * np.sin(np.arange(64)))
    found = nearest_neighbors(X, 10)
    assert (np.diff(found.distances, axis=1) >= 0).all()
    row = directions(X[[7, 100]]).astype(np.float64)
    assert found.indices[7, 0] == 100
    assert found.distances[7, 0] == pytest.approx(np.linalg.norm(row[0] - row[1]), rel=0.1)
    assert 0 < found.distances[7, 0] < 1e-4


def test_the_order_of_the_rows_changes_nothing():
    X = digits(500)
    order = np.random.default_rng(0).permutation(500)
    found, shuffled = nearest_neighbors(X, 5), nearest_neighbors(X[order], 5)
    np.testing.assert_array_equal(shuffled.distances, found.distances[order])
    np.testing.assert_array_equal(order[shuffled.indices], found.indices[order])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8])
def test_any_numbers_will_do(dtype):
    X = digits(100)
    np.testing.assert_array_equal(
        nearest_neighbors(X.astype(dtype)).distances, nearest_neighbors(X).distances
    )


@pytest.mark.parametrize("n_samples", [0, 1])
def test_one_row_has_no_neighbours(n_samples):
    found = nearest_neighbors(digits(n_samples))
    assert found.distances.shape == found.indices.shape == (n_samples, 0)


def test_constant_features_are_all_at_distance_0():
    assert (nearest_neighbors(np.ones((30, 4))).distances == 0).all()
    assert (nearest_neighbors(np.zeros((30, 4))).distances == 0).all()


def test_the_input_stays_as_it_is():
    X = digits(50)
    kept = X.copy()
    nearest_neighbors(X)
    np.testing.assert_array_equal(X, kept)


def test_what_float32_holds_is_scaled_without_overflow():
    X = np.array([[1e38, 1e38], [1e38, 0], [1e-38, 1e-38]], np.float32)
    units = directions(X)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(units[0], units[2], rtol=1e-6)


@pytest.mark.parametrize("options", [{"n_neighbors": 0}, {"memory_gb": 0}, {"memory_gb": float("nan")}])
def test_senseless_parameters_are_refused(options):
    with pytest.raises(HeadError, match=f"received {next(iter(options))}"):
        nearest_neighbors(digits(20), **options)


def test_features_that_are_no_numbers_are_refused():
    X = digits(20)
    X[3, 5] = np.nan
    with pytest.raises(HeadError, match=r"1 of 20 rows \(3\)"):
        nearest_neighbors(X)
    with pytest.raises(HeadError, match="features of one extraction"):
        neighbors_among(digits(20), digits(20)[:, :5])
