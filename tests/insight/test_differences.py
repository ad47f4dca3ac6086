"""Differences of two heads that answer alike are never certain. Of others, compare() is tested."""

import numpy as np
import pytest

from featx.insight.answers import Answers
from featx.insight.differences import differences_of
from featx.insight.proportions import paired_difference_interval


def differences(a, b, y, groups=None):
    y = np.asarray(y)
    pair = (Answers(y, np.asarray(predicted), None, None, groups, 2) for predicted in (a, b))
    return differences_of(*pair, 20, 0)


@pytest.mark.parametrize("n_samples", [10, 1000])
def test_the_same_answers_are_no_certainty(n_samples):
    y = np.arange(n_samples) % 2
    found = differences(y, y, y)
    low, high = found["accuracy"].difference_ci
    assert (low, high) == paired_difference_interval(n_samples, 0, 0, 0)
    # By the rule of three, 3 / n differ at most; which of the heads is then better is open.
    assert 2 / n_samples < high == -low < 4 / n_samples
    wider = differences(y, y, y, groups=np.arange(n_samples) // 5)["accuracy"].difference_ci
    assert wider == paired_difference_interval(n_samples // 5, 0, 0, 0)
    balanced = found["balanced_accuracy"].difference_ci
    assert balanced[0] < low < high < balanced[1]


def test_the_interval_of_samples_by_themselves_is_newcombes():
    # Of his table of examples, the first and the fifth by method 10.
    for counts, expected in (((36, 12, 2, 0), (0.0569, 0.3404)), ((36, 14, 0, 0), (0.1528, 0.4167))):
        assert paired_difference_interval(*counts) == pytest.approx(expected, abs=1e-4)
    found = differences([1] * 48 + [0] * 2, [1] * 36 + [0] * 12 + [1] * 2, [1] * 50)
    assert found["accuracy"].difference_ci == paired_difference_interval(36, 12, 2, 0)
