"""Duplicates that are planted are found, and hardly anything where there are none."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.errors import HeadError
from featx.insight.duplicates import connected_sets, exact_duplicates, near_copies, near_duplicates, united
from featx.insight.neighbors import nearest_neighbors


def digits(n_samples=1000):
    """Real, ten classes, hardly any two alike."""
    return load_digits().data[:n_samples].astype(np.float32)


def noisy(X, amount=0.02, seed=0):
    """Copies that are nearly the same."""
    return X * np.random.default_rng(seed).normal(1, amount, X.shape).astype(np.float32)


def found_in(X, **options):
    return near_duplicates(nearest_neighbors(X), **options)


def as_tuples(sets):
    return sorted(tuple(rows.tolist()) for rows in sets)


# ------------------------------------------------------------------------------------------------ exact


def test_equal_digests_are_sets_and_unknown_ones_are_none():
    found = exact_duplicates(["", "b", "a", "b", "", "a", "b", "c"])
    assert as_tuples(found) == [(1, 3, 6), (2, 5)]
    assert found[0][0] == 1
    assert exact_duplicates([]) == exact_duplicates(["", ""]) == exact_duplicates(["a", "b"]) == []


# ------------------------------------------------------------------------------------------------- near


def test_planted_copies_are_found_and_little_else():
    X = digits()
    rows = np.random.default_rng(1).permutation(1000)[:30]
    found = found_in(np.vstack([X, noisy(X[rows])]))
    planted = {(row, 1000 + number) for number, row in enumerate(rows.tolist())}
    assert len(planted & set(as_tuples(found.sets))) >= 29
    assert len(found.sets) <= 33
    assert (found.scores > 0.95).all()
    assert (np.diff(found.ratios) >= 0).all()
    assert found.ratios[0] < 0.3
    assert len(found.pairs) >= len(found.sets)
    assert (found.pairs[:, 0] < found.pairs[:, 1]).all()


def test_digits_without_copies_are_hardly_ever_called_copies():
    found = found_in(digits(1797))
    assert len(found.sets) <= 3
    assert set(found.thresholds) >= {"location", "width", "false_discovery_rate"}


@pytest.mark.parametrize("n_samples", [12, 40, 300])
def test_chance_is_called_a_copy_as_rarely_as_stated(n_samples):
    n_wrong = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = np.abs(rng.normal(size=(n_samples, (3, 10, 30)[seed % 3]))) + 1
        n_wrong += bool(found_in(X).sets)
    # Where all is chance, the rate is that of any finding at all: 2 are expected, 8 are one in a thousand.
    assert n_wrong < 8


def test_the_rate_is_a_matter_of_choice():
    X = digits()
    X = np.vstack([X, noisy(X[:30], 0.1)])
    numbers = [len(found_in(X, false_discovery_rate=rate).sets) for rate in (1e-6, 0.05, 0.5)]
    assert numbers[0] < numbers[1] < numbers[2]


@pytest.mark.parametrize("n_copies", [2, 5, 10])
def test_several_copies_are_one_set(n_copies):
    X = digits()
    copies = [noisy(X[[5, 70, 300]], seed=seed) for seed in range(n_copies)]
    sets = as_tuples(found_in(np.vstack([X, *copies])).sets)
    for number, row in enumerate((5, 70, 300)):
        assert (row, *range(1000 + number, 1000 + 3 * n_copies, 3)) in sets


def test_more_copies_than_neighbours_are_found_too():
    X = digits()
    sets = as_tuples(found_in(np.vstack([X, np.repeat(X[5:6], 30, axis=0)])).sets)
    assert {5, *range(1000, 1030)} <= set().union(*sets)


def test_equal_features_are_found():
    X = digits()
    found = found_in(np.vstack([X, X[:30]]))
    assert {(row, 1000 + row) for row in range(30)} <= set(as_tuples(found.sets))
    assert np.isfinite(found.ratios).all()
    assert found.scores[0] == pytest.approx(1)


@pytest.mark.parametrize("share", [0.3, 1.0], ids=["a third", "all"])
def test_copies_of_most_samples_are_not_the_ordinary_case(share):
    X = digits()
    n_copies = int(1000 * share)
    sets = as_tuples(found_in(np.vstack([X, noisy(X[:n_copies])])).sets)
    assert len(set(sets) & {(row, 1000 + row) for row in range(n_copies)}) > 0.9 * n_copies


@pytest.mark.parametrize(("n_sets", "n_copies", "amount"), [(75, 40, 0.02), (300, 12, 0.1), (20, 100, 0.02)])
@pytest.mark.parametrize("n_others", [1400, 0], ids=["among others", "alone"])
def test_many_sets_of_many_copies_are_found_and_said(n_sets, n_copies, amount, n_others):
    rows = np.random.default_rng(100).permutation(1797)
    X = load_digits().data.astype(np.float32)[rows]
    frames = noisy(np.repeat(X[:n_sets], n_copies, axis=0), amount)
    X = np.vstack([frames, X[n_sets : n_sets + n_others]])
    found = near_duplicates(nearest_neighbors(X), X=X)
    sets = set(as_tuples(found.sets))
    whole = sum(
        tuple(range(start, start + n_copies)) in sets for start in range(0, n_sets * n_copies, n_copies)
    )
    assert whole >= 0.9 * n_sets
    assert len(set().union(*sets) - set(range(n_sets * n_copies))) < 0.07 * max(1, n_others)
    assert "in sets of many copies, as in bursts and videos" in found.note
    assert "look at some of the sets" in found.note


def test_where_theory_alone_tells_it_is_said():
    X = digits()
    assert found_in(X).note == near_duplicates(nearest_neighbors(X), X=X).note == ""
    assert "theory alone" in found_in(np.vstack([X, noisy(X)])).note


def test_classes_that_stand_apart_are_no_copies():
    rng = np.random.default_rng(100)
    X = np.repeat(10 + 3 * rng.normal(size=(60, 64)), 30, axis=0) + rng.normal(size=(1800, 64))
    found = near_duplicates(nearest_neighbors(X), X=X)
    assert not found.sets
    assert not found.note


def test_the_order_of_the_rows_changes_nothing():
    X = digits()
    X = np.vstack([X, noisy(X[:30], 0.1)])
    order = np.random.default_rng(0).permutation(len(X))
    found, shuffled = found_in(X), found_in(X[order])
    assert as_tuples([np.sort(order[rows]) for rows in shuffled.sets]) == as_tuples(found.sets)
    np.testing.assert_allclose(shuffled.scores, found.scores)


@pytest.mark.parametrize("n_samples", [0, 1, 2, 9])
def test_a_handful_says_nothing(n_samples):
    X = np.repeat(digits(5), 2, axis=0)[:n_samples]
    found = found_in(X)
    assert not found.sets
    assert found.scores.shape == found.ratios.shape == (0,)
    assert found.pairs.shape == (0, 2)
    assert found.thresholds == {}


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_say_nothing(value):
    assert found_in(np.full((50, 4), value)).sets == []


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_senseless_rates_are_refused(rate):
    with pytest.raises(HeadError, match="a share between 0 and 1"):
        found_in(digits(20), false_discovery_rate=rate)


# ----------------------------------------------------------------------------------- content, and both


def test_copies_by_content_leave_out_what_is_unknown():
    content = np.vstack([digits(300), noisy(digits(3))])
    content[10] = np.nan
    content[301, 5] = np.inf
    sets = as_tuples(near_copies(content).sets)
    assert {(0, 300), (2, 302)} <= set(sets)
    assert not {10, 301} & set().union(*sets)


def test_sets_that_share_a_sample_become_one():
    X = digits(300)
    one = found_in(np.vstack([X, noisy(X[[0]]), X[[60, 0]]]))
    other = found_in(np.vstack([X, X[[100]], noisy(X[[70, 0]], 0.05)]))
    both = united(one, other, 303)
    assert as_tuples(one.sets) == [(0, 300, 302), (60, 301)]
    assert as_tuples(other.sets) == [(0, 302), (70, 301), (100, 300)]
    assert as_tuples(both.sets) == [(0, 100, 300, 302), (60, 70, 301)]
    assert both.ratios.tolist() == sorted(both.ratios)
    assert both.ratios[0] == min(one.ratios.min(), other.ratios.min())
    assert (both.scores == 1).all()
    assert both.thresholds["ratio"] == one.thresholds["ratio"]
    assert both.thresholds["content_ratio"] == other.thresholds["ratio"]


def test_nothing_united_with_nothing_is_nothing():
    nothing = near_copies(np.ones((3, 4)))
    assert united(nothing, nothing, 3).sets == []


def test_pairs_connect():
    assert as_tuples(connected_sets(np.array([[4, 5], [0, 2], [2, 5]]), 7)) == [(0, 2, 4, 5)]
    assert connected_sets(np.zeros((0, 2), int), 3) == []
