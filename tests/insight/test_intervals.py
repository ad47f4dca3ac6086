"""Intervals that are put together: against simulation, and against the papers."""

import numpy as np
import pytest

from featx.insight.answers import Answers
from featx.insight.intervals import (
    area_interval,
    class_figures,
    hull,
    is_certain,
    mean_interval,
    newcombe_area_interval,
    overall_intervals,
)
from featx.insight.metrics import interval
from featx.insight.proportions import wilson_interval


def test_the_mean_of_one_figure_has_its_interval():
    assert mean_interval([(0.7, (0.5, 0.8)), (None, None)]) == pytest.approx((0.5, 0.8))


def test_the_interval_of_a_mean_of_recalls_holds_the_truth_about_95_times_in_100():
    rng, n_held, sizes, truths = np.random.default_rng(0), 0, (10, 40, 200), np.array([0.9, 0.95, 0.7])
    for _ in range(1000):
        shares = rng.binomial(sizes, truths) / sizes
        low, high = mean_interval(
            [(share, wilson_interval(share, n)) for share, n in zip(shares, sizes, strict=True)]
        )
        n_held += low <= truths.mean() <= high
    assert 930 <= n_held <= 975


@pytest.mark.parametrize("area", [0.5, 0.9, 0.999])
def test_an_area_solves_newcombes_equation(area):
    n_positive, n_negative = 30, 20
    for end in newcombe_area_interval(area, n_positive, n_negative):
        # Hanley and McNeil's variance, with the larger of both sizes in place of the mean less one.
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        n_star = (n_positive + n_negative) / 2 - 1
        variance = (end * (1 - end) + n_star * (q1 - end**2 + q2 - end**2)) / (n_positive * n_negative)
        assert abs(area - end) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-4)


def test_an_area_without_a_mistake_holds_the_truth():
    rng, n_held, n_perfect = np.random.default_rng(0), 0, 0
    truth = 0.9831
    for _ in range(300):
        # Normal scores three deviations apart.
        positive, negative = rng.normal(3, 1, 10), rng.normal(0, 1, 10)
        area = (positive[:, None] > negative).mean()
        if area == 1:
            n_perfect += 1
            low, high = area_interval(area, np.ones(5), np.arange(20) < 10, None)
            n_held += low <= truth <= high
    assert n_perfect > 50
    assert n_held == n_perfect


def test_groups_count_once_where_nothing_varies():
    is_positive, members = np.arange(20) < 10, np.arange(20) // 2
    found = area_interval(1.0, np.ones(5), is_positive, members)
    assert found == newcombe_area_interval(1.0, 5, 5)
    draws = np.array([0.8, 0.9])
    assert area_interval(0.85, draws, is_positive, members) == interval(draws)


def test_draws_that_are_a_rounding_apart_are_certain():
    assert is_certain(0.3, np.array([0.1 + 0.2, np.nan, 0.3]))
    assert not is_certain(0.3, np.array([0.3, 0.31]))
    assert not is_certain(0.3, np.full(3, np.nan))


def test_in_groups_each_end_is_the_farther_one():
    codes = np.tile([0, 1], 20)
    predicted = np.where(np.arange(40) < 6, 1 - codes, codes)
    draws = {name: np.array([0.1, 0.999]) for name in ("accuracy", "balanced_accuracy", "macro_f1")}
    values = dict.fromkeys(draws, 0.85)
    found = {}
    for groups in (None, np.arange(40) // 2):
        answers = Answers(codes, predicted, None, None, groups, 2)
        classes = [class_figures(answers, label) for label in range(2)]
        found[groups is None] = overall_intervals(values, draws, answers, classes)
        recalls = mean_interval([figures["recall"] for figures in classes])
    assert found[False]["balanced_accuracy"] == hull(recalls, interval(draws["balanced_accuracy"]))
    assert found[True]["balanced_accuracy"][0] > 0.6
