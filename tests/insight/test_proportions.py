"""Intervals of shares: SciPy's where samples are independent, wider where they come in groups."""

import numpy as np
import pytest
from scipy.stats import binomtest

from featx.insight.proportions import difference_interval, effective_size, share_of, wilson_interval


@pytest.mark.parametrize(("n_hits", "n_samples"), [(0, 1), (1, 1), (0, 10), (10, 10), (7, 10), (499, 500)])
def test_of_independent_samples_the_interval_is_scipys(n_hits, n_samples):
    is_hit = np.arange(n_samples) < n_hits
    expected = binomtest(n_hits, n_samples).proportion_ci(method="wilson")
    share, found = share_of(is_hit)
    assert share == n_hits / n_samples
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_samples_may_have_any_share():
    assert share_of(np.zeros(0, bool)) == (0.0, (0.0, 1.0))


def test_groups_of_one_change_nothing():
    is_hit = np.random.default_rng(0).random(50) < 0.7
    assert share_of(is_hit, np.arange(50)) == share_of(is_hit)


@pytest.mark.parametrize("n_copies", [2, 9])
@pytest.mark.parametrize("share", [0.7, 1.0])
def test_copies_count_for_no_more_than_one(n_copies, share):
    is_hit = np.arange(100) < 100 * share
    size = effective_size(np.repeat(is_hit, n_copies), np.repeat(np.arange(100), n_copies))
    assert size == pytest.approx(100, rel=0.05)


def test_independent_samples_in_groups_count_for_nearly_all():
    is_hit = np.random.default_rng(0).random(3000) < 0.7
    assert 0.8 * 3000 < effective_size(is_hit, np.arange(3000) // 3) <= 3000


def test_one_group_is_one_sample():
    assert effective_size(np.array([True, False, True]), np.zeros(3, int)) == 1


def test_groups_that_are_more_even_than_chance_give_no_more_samples_than_there_are():
    assert effective_size(np.tile([True, False], 500), np.repeat(np.arange(500), 2)) <= 1000


def test_grouped_intervals_hold_the_truth_about_95_times_in_100():
    # Groups of 8 whose own share varies, so that naive intervals hold it in far fewer.
    rng = np.random.default_rng(0)
    n_held = {"grouped": 0, "naive": 0}
    for _ in range(200):
        shares = np.repeat(rng.beta(0.8, 0.2, 30), 8)
        is_hit = rng.random(240) < shares
        for name, members in (("grouped", np.repeat(np.arange(30), 8)), ("naive", None)):
            low, high = share_of(is_hit, members)[1]
            n_held[name] += low <= 0.8 <= high
    assert 182 <= n_held["grouped"] <= 198
    assert n_held["naive"] < 160


def test_a_difference_is_newcombes():
    # The example of his paper, 56 of 70 and 48 of 80, method 10.
    a, b = ((share, wilson_interval(share, n_samples)) for share, n_samples in ((56 / 70, 70), (48 / 80, 80)))
    assert difference_interval(a, b) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval(b, a) == pytest.approx((-0.3339, -0.0524), abs=5e-5)
