"""Repeats: no group parted, classes in their shares, parts that hold the smaller ones; honest intervals."""

import numpy as np
import pytest

from featx.insight.folds import fold_interval
from featx.insight.repeats import corrected_interval, draw_means, draw_repeats


def draw(codes, members=None, *, n_repeats=5, seed=0):
    members = np.arange(len(codes)) if members is None else members
    return draw_repeats(codes, members, n_repeats=n_repeats, test_size=0.25, random_state=seed)


def test_a_repeat_holds_every_sample_once():
    codes = np.arange(40) % 3
    for training, held_out in draw(codes):
        assert sorted([*training, *held_out]) == list(range(40))
        assert len(held_out) == 10


def test_beginnings_have_the_classes_in_their_shares():
    codes = np.repeat([0, 1], [800, 200])
    for training, held_out in draw(codes):
        for size in (50, 100, 400):
            assert np.mean(codes[training[:size]]) == pytest.approx(0.2, abs=2 / size + 0.01)
        assert np.mean(codes[held_out]) == pytest.approx(0.2, abs=0.02)


def test_the_first_samples_are_one_of_each_class():
    codes = np.repeat([0, 1, 2], [95, 3, 2])
    for training, _ in draw(codes, n_repeats=20):
        assert sorted(codes[training[:3]]) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_parted(seed):
    rng = np.random.default_rng(seed)
    members = np.sort(rng.integers(0, 30, 200))
    members = np.unique(members, return_inverse=True)[1]
    codes = rng.integers(0, 3, 200)
    for training, held_out in draw(codes, members, seed=seed):
        assert not set(members[training]) & set(members[held_out])
        assert len(training) + len(held_out) == 200
        assert len(held_out) == pytest.approx(50, abs=12)


def test_two_groups_of_every_class_are_enough():
    # Every group but one leads, for the class that is in it first.
    codes, members = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 3])
    for training, held_out in draw(codes, members, n_repeats=50):
        assert set(codes[training]) == {0, 1, 2}
        assert len(held_out)


def test_the_seed_decides():
    codes = np.arange(40) % 2
    first, again, other = (draw(codes, seed=seed)[0][1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


# ---------------------------------------------------------------------------------------- the intervals


def test_the_interval_is_nadeau_and_bengios():
    scores = np.array([0.6, 0.7, 0.8, 0.7, 0.7])
    half = 2.7764451 * np.std(scores, ddof=1) * np.sqrt(1 / 5 + 0.25 / 0.75)
    assert corrected_interval(scores, 0.25, 1000) == pytest.approx((0.7 - half, 0.7 + half))
    assert corrected_interval(scores, 0.25, 1000) == pytest.approx(
        fold_interval(scores, 0.25 / 0.75, (0.0, 1.0), 1000)
    )


def test_repeats_without_a_mistake_leave_room_for_one():
    low, high = corrected_interval(np.ones(10), 0.25, n_scored=20)
    assert 0.9 < low < 1.0 == high


def test_the_interval_holds_the_score_of_the_population():
    # A head that is right 0.8 of the time on samples of which each is held out in some repeats.
    rng, n_held, n_naive = np.random.default_rng(0), 0, 0
    for _ in range(200):
        is_right = rng.random(200) < 0.8
        scores = np.array([is_right[rng.permutation(200)[:50]].mean() for _ in range(10)])
        low, high = corrected_interval(scores, 0.25, n_scored=50)
        n_held += low <= 0.8 <= high
        n_naive += abs(scores.mean() - 0.8) <= 2.26 * scores.std(ddof=1) / np.sqrt(10)
    assert 185 <= n_held <= 200
    # Taken as independent, the repeats promise far too much.
    assert n_naive < 170


def test_drawn_means_are_as_wide_as_the_interval():
    scores = np.random.default_rng(0).normal(0.7, 0.02, (10, 3))
    draws = draw_means(scores, 0.25, 4000, 0)
    for column in range(3):
        low, high = np.quantile(draws[:, column], [0.025, 0.975])
        expected = corrected_interval(scores[:, column], 0.25, 10_000)
        assert high - low == pytest.approx(expected[1] - expected[0], rel=0.15)
