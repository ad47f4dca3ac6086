"""Noise among digits is found, one frame or some alike, and hardly anything where there is none."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.errors import HeadError
from featx.insight import outliers as outliers_module
from featx.insight.neighbors import nearest_neighbors, neighbors_among
from featx.insight.outliers import out_of_distribution, outliers


def digits(n_samples=1000):
    return load_digits().data[:n_samples].astype(np.float32)


def noise(n_samples, seed=0):
    return np.random.default_rng(seed).uniform(0, 16, (n_samples, 64)).astype(np.float32)


def found_in(X, **options):
    return outliers(nearest_neighbors(X), **options)


def test_noise_is_found_and_little_else():
    found = found_in(np.vstack([digits(), noise(10)]))
    assert set(range(1000, 1010)) <= set(found.rows.tolist())
    assert len(found.rows) <= 14
    assert (np.diff(found.scores[found.rows]) <= 0).all()
    assert found.thresholds["score"] == found.scores[found.rows].min()
    assert found.thresholds["expected_false"] == pytest.approx(0.05 * len(found.rows))


def test_digits_are_hardly_ever_outliers():
    assert len(found_in(digits(1797)).rows) <= 5


def test_scores_are_deviations_of_the_logarithm():
    X = digits()
    distances = nearest_neighbors(X).distances[:, -1].astype(np.float64)
    found = found_in(X)
    assert np.median(found.scores) == pytest.approx(0, abs=1e-9)
    assert np.quantile(found.scores, 0.75) == pytest.approx(0.6745, abs=1e-3)
    np.testing.assert_allclose(found.ratios, distances / np.median(distances), rtol=1e-6)
    assert found.thresholds["median"] == pytest.approx(np.median(distances))


@pytest.mark.parametrize("n_copies", [2, 15])
def test_a_few_copies_do_not_hide_an_outlier(n_copies):
    found = found_in(np.vstack([digits(), np.repeat(noise(1), n_copies, axis=0)]))
    assert set(range(1000, 1000 + n_copies)) <= set(found.rows.tolist())


def test_many_copies_do_not_hide_an_outlier_where_they_are_known():
    X = np.vstack([digits(), np.repeat(noise(1), 40, axis=0)])
    copies = np.arange(1000, 1040)
    assert not set(copies) & set(found_in(X).rows)
    found = outliers(nearest_neighbors(X), X=X, sets=[copies, np.array([3, 4])])
    assert set(copies) <= set(found.rows)


def test_many_sets_are_measured_at_once(monkeypatch):
    X = np.vstack([digits(1797), np.repeat(noise(8), 25, axis=0)])
    sets = [np.arange(start, start + 25) for start in range(1797, len(X), 25)]
    neighbors, n_calls = nearest_neighbors(X), []

    def counted(*args):
        n_calls.append(1)
        return neighbors_among(*args)

    monkeypatch.setattr(outliers_module, "neighbors_among", counted)
    found = outliers(neighbors, X=X, sets=sets)
    # One matrix for all of them, not a copy of it for each.
    assert len(n_calls) == 1
    assert set(range(1797, len(X))) <= set(found.rows)
    assert len(found.rows) <= 208


def test_the_order_of_the_rows_changes_nothing():
    X = np.vstack([digits(), noise(10)])
    order = np.random.default_rng(0).permutation(len(X))
    found, shuffled = found_in(X), found_in(X[order])
    assert sorted(order[shuffled.rows]) == sorted(found.rows)
    np.testing.assert_allclose(shuffled.scores, found.scores[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_samples", [0, 1, 9])
def test_a_handful_says_nothing(n_samples):
    found = found_in(digits(n_samples))
    assert not len(found.rows)
    assert found.scores.tolist() == [0.0] * n_samples
    assert found.thresholds == {}


def test_constant_features_say_nothing():
    X = np.ones((50, 4))
    assert not len(found_in(X).rows)
    assert not len(outliers(nearest_neighbors(X), X=X, sets=[np.arange(50)]).rows)
    assert not len(out_of_distribution(X, np.arange(50) < 25).rows)


# ------------------------------------------------------------------------------------ out of distribution


def test_noise_in_the_test_part_is_out_of_distribution():
    X = np.vstack([digits(), noise(40)])
    # All of the noise is in the test part: more than there are neighbours, and yet found.
    is_training = np.arange(1040) % 4 > 0
    is_training[1000:] = False
    found = out_of_distribution(X, is_training)
    assert set(range(1000, 1040)) <= set(found.rows.tolist())
    assert len(found.rows) <= 45
    assert (found.scores[is_training] == 0).all()


def test_a_test_part_drawn_at_random_is_of_the_distribution():
    is_training = np.random.default_rng(0).random(1797) < 0.75
    assert len(out_of_distribution(digits(1797), is_training).rows) <= 3


def test_a_class_that_is_absent_from_training_is_farther():
    X, y = load_digits(return_X_y=True)
    found = out_of_distribution(X, (np.arange(len(X)) % 4 > 0) & (y != 6))
    held = np.arange(len(X)) % 4 == 0
    assert np.median(found.scores[y == 6]) > np.quantile(found.scores[held & (y != 6)], 0.75)


@pytest.mark.parametrize("share", [0.75, 0.3])
def test_the_distance_is_that_of_one_of_the_nearest_references(share):
    X = digits()
    is_training = np.random.default_rng(0).random(1000) < share
    neighbors = nearest_neighbors(X)
    found = out_of_distribution(X, is_training, neighbors=neighbors)
    n_counted = int(0.67 * 20 * is_training.mean())
    among = neighbors_among(X[~is_training], X[is_training], n_counted).distances[:, -1]
    np.testing.assert_allclose(found.ratios[~is_training] * found.thresholds["median"], among, rtol=1e-5)
    alone = out_of_distribution(X, is_training)
    np.testing.assert_array_equal(alone.scores, found.scores)


@pytest.mark.parametrize("is_reference", [np.arange(50) < 9, np.ones(50, bool)])
def test_too_few_references_or_nobody_asked_says_nothing(is_reference):
    found = out_of_distribution(digits(50), is_reference)
    assert not len(found.rows)
    assert found.scores.tolist() == [0.0] * 50


def test_as_many_references_as_neighbours_or_fewer():
    found = out_of_distribution(np.vstack([digits(14), noise(1)]), np.arange(15) < 14)
    assert found.scores.shape == (15,)
    assert np.isfinite(found.scores).all()


@pytest.mark.parametrize("rate", [0, 1, float("nan")])
def test_senseless_rates_are_refused(rate):
    with pytest.raises(HeadError, match="a share between 0 and 1"):
        found_in(digits(20), false_discovery_rate=rate)
    with pytest.raises(HeadError, match="a share between 0 and 1"):
        out_of_distribution(digits(20), np.arange(20) < 10, false_discovery_rate=rate)
