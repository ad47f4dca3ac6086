"""Strata: combined from columns in any form, and none too rare to be spread."""

import numpy as np
import pytest

from featx import HeadError
from featx.heads.strata import combine_strata, count_members

KIND = ["mono"] * 6 + ["poly"] * 6
GRADE = ["a", "a", "a", "b", "b", "b"] * 2


def test_columns_may_come_in_any_form():
    expected = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    rows = list(zip(KIND, GRADE, strict=True))
    for strata in ([KIND, GRADE], (np.array(KIND), GRADE), np.array(rows), np.array(rows, object)):
        assert combine_strata(strata, None, 12, 3).tolist() == expected


def test_columns_of_different_types_stand_side_by_side():
    found = combine_strata([KIND, np.tile([0.5, 0.5, 0.5, 1, 1, 1], 2)], None, 12, 3)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_one_column_is_the_order_of_its_values():
    assert combine_strata(["b", "b", "a", "a"], None, 4, 2).tolist() == [1, 1, 0, 0]
    assert combine_strata([["b", "b", "a", "a"]], None, 4, 2).tolist() == [1, 1, 0, 0]
    assert combine_strata(range(3), None, 3, 1).tolist() == [0, 1, 2]


def test_rare_combinations_fall_back_on_their_leading_columns():
    # Of poly, grades c and d are rare, and together they are not; of mono, none is.
    grade = [*GRADE[:6], "a", "a", "a", "c", "c", "d"]
    found = combine_strata([KIND, grade], None, 12, 3)
    assert found.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert combine_strata([grade, KIND], None, 12, 3)[-3:].tolist() == [0, 0, 0]


def test_what_is_rare_everywhere_is_one_stratum():
    assert combine_strata(["a"] * 4 + ["b", "c", "d"], None, 7, 3).tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert combine_strata(range(6), None, 6, 2).tolist() == [0] * 6


def test_a_rest_that_is_still_too_small_joins_the_smallest():
    found = combine_strata(["a"] * 5 + ["b"] * 4 + ["c", "d"], None, 11, 3)
    assert found.tolist() == [0] * 5 + [1] * 6


def test_groups_are_counted_where_there_are_groups():
    # Four samples of b are one image.
    strata, groups = ["a"] * 4 + ["b"] * 4, [0, 1, 2, 3, 4, 4, 4, 4]
    assert combine_strata(strata, None, 8, 2).tolist() == [0] * 4 + [1] * 4
    assert combine_strata(strata, groups, 8, 2).tolist() == [0] * 8


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("grouped", [False, True])
def test_no_stratum_is_too_rare(seed, grouped):
    rng = np.random.default_rng(seed)
    columns = [rng.zipf(2, 80).clip(max=9) for _ in range(3)]
    groups = rng.integers(0, 30, 80) if grouped else None
    found = combine_strata(columns, groups, 80, 4)
    counts = count_members(found, groups)
    assert len(counts) > 1
    assert counts.min() >= 4
    # Those that share a common combination stay together.
    both = np.unique(columns, axis=1, return_inverse=True)[1].ravel()
    assert all(len(set(found[both == code])) == 1 for code in both)


@pytest.mark.parametrize(
    ("strata", "error", "message"),
    [
        (range(3), ValueError, "inconsistent numbers of samples"),
        ([range(4), range(3)], ValueError, "inconsistent numbers of samples"),
        (np.zeros((4, 2, 2)), HeadError, r"strata of shape \(4, 2, 2\)"),
        (np.zeros((4, 0)), HeadError, "strata without a column"),
    ],
)
def test_strata_of_another_shape_are_refused(strata, error, message):
    with pytest.raises(error, match=message):
        combine_strata(strata, None, 4, 2)
