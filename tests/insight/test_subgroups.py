"""Subgroups: plain accuracies, tests that are SciPy's or keep their promise, and columns of all kinds."""

import numpy as np
import pytest
from scipy.stats import fisher_exact
from sklearn.metrics import roc_auc_score

from featx import HeadError, evaluate
from featx.insight.proportions import share_of
from featx.insight.subgroups import FISHER, PERMUTATION, SCORE, holm, parts_of, permutation_p_value
from tests.insight.problems import LabelHead, ProbabilityHead, draw_problem


def subgroups_of(probabilities, y, columns, **options):
    options = {"n_resamples": 40, "curves": False, "subgroups": columns} | options
    return evaluate(ProbabilityHead(probabilities.shape[1]).fit(), probabilities, y, **options).subgroups


def of_hits(is_right, columns, **options):
    """Subgroups of a head that is right where told."""
    y = np.zeros(len(is_right), int)
    predicted = np.where(is_right, 0, 1)[:, None]
    return evaluate(LabelHead().fit(), predicted, y, subgroups=columns, n_resamples=5, **options).subgroups


def values_of(column, **options):
    return [(part.value, part.rows.tolist()) for part in parts_of({"c": column}, len(column), **options)]


# ------------------------------------------------------------------------------------------ the figures


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_subgroup_has_the_figures_of_its_samples(n_classes):
    probabilities, y = draw_problem(0, n_classes)
    kinds = np.array(["a", "b", "c", "d"])[np.random.default_rng(0).integers(0, 4, len(y))]
    found = subgroups_of(probabilities, y, {"kind": kinds})
    assert [(one.column, one.value) for one in found] == [("kind", name) for name in "abcd"]
    is_right = probabilities.argmax(axis=1) == y
    for one in found:
        inside = kinds == one.value
        assert one.n_samples == inside.sum()
        assert (one.accuracy, one.accuracy_ci) == share_of(is_right[inside])
        assert one.difference == pytest.approx(is_right[inside].mean() - is_right[~inside].mean())
        assert one.difference_ci[0] < one.difference < one.difference_ci[1]
        scores = probabilities[inside, 1] if n_classes == 2 else probabilities[inside]
        area = roc_auc_score(y[inside], scores, **({} if n_classes == 2 else {"multi_class": "ovr"}))
        assert one.roc_auc == pytest.approx(area)
        assert one.roc_auc_ci[0] < area < one.roc_auc_ci[1]
        table = [[(is_right[part] == hit).sum() for hit in (True, False)] for part in (inside, ~inside)]
        assert (one.test, one.p_value_alone) == (FISHER, pytest.approx(fisher_exact(table).pvalue))
    assert [one.p_value for one in found] == pytest.approx(holm([one.p_value_alone for one in found]))


def test_small_subgroups_are_shown_without_test_and_area():
    probabilities, y = draw_problem(0, 2)
    found = subgroups_of(probabilities, y, {"kind": ["few"] * 9 + ["many"] * (len(y) - 9)})
    for one in found:
        assert one.test is one.p_value is one.p_value_alone is None
    assert (found[0].roc_auc, found[0].n_samples) == (None, 9)
    assert found[0].difference == pytest.approx(-found[1].difference)
    assert found[1].roc_auc is not None


def test_a_column_of_one_value_has_nothing_to_compare_with():
    probabilities, y = draw_problem(0, 2)
    (one,) = subgroups_of(probabilities, y, {"kind": ["same"] * len(y)})
    assert (one.difference, one.difference_ci, one.p_value) == (None, None, None)
    assert one.n_samples == len(y)


def test_one_sample_is_enough():
    (one,) = of_hits(np.array([True]), {"kind": ["a"]})
    assert (one.n_samples, one.accuracy, one.roc_auc) == (1, 1.0, None)
    assert one.accuracy_ci == pytest.approx((0.207, 1.0), abs=0.001)


def test_two_values_are_one_test():
    is_right = np.arange(80) < 60
    kinds = np.where(np.arange(80) % 2, "a", "b")
    first, second = of_hits(is_right, {"kind": kinds})
    assert first.p_value == second.p_value == first.p_value_alone
    # A second column of two is a second test, and its own values one again.
    both = of_hits(is_right, {"kind": kinds, "half": np.where(np.arange(80) < 40, "a", "b")})
    half = both[2].p_value_alone
    assert [one.p_value for one in both] == pytest.approx([1.0, 1.0, 2 * half, 2 * half])


# --------------------------------------------------------------------------------------------- the tests


def test_holm_is_what_its_definition_says():
    rng = np.random.default_rng(0)
    p = rng.random(7) ** 3
    found = np.array(holm(p.tolist()))
    order = np.argsort(p)
    expected = [min(1.0, max(p[order[j]] * (7 - j) for j in range(i + 1))) for i in range(7)]
    assert found[order] == pytest.approx(expected)
    assert holm([]) == []


def test_a_permutation_of_groups_of_one_is_fishers_test():
    rng = np.random.default_rng(0)
    is_right, is_inside = rng.random(60) < 0.7, np.arange(60) < 30
    table = [[(is_right[part] == hit).sum() for hit in (True, False)] for part in (is_inside, ~is_inside)]
    found = permutation_p_value(is_inside, is_right.astype(float), np.ones(60), 0)
    assert found == pytest.approx(fisher_exact(table).pvalue, abs=0.02)


@pytest.mark.parametrize("kind", ["of one value", "mixed"])
def test_equal_subgroups_of_dependent_samples_are_told_apart_in_5_of_100(kind):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 6)
    p_values = []
    for seed in range(50):
        # Groups are easy or hard as a whole.
        is_right = rng.random(360) < np.repeat(rng.beta(1.6, 0.4, 60), 6)
        n_drawn = 60 if kind == "of one value" else 360
        values = np.repeat(np.array(["a", "b"])[rng.integers(0, 2, n_drawn)], 360 // n_drawn)
        one = of_hits(is_right, {"kind": values}, groups=groups, random_state=seed)[0]
        assert one.test == (PERMUTATION if kind == "of one value" else SCORE)
        p_values.append(one.p_value_alone)
    # Four standard deviations of a binomial of 50 and 0.05 are 6.2.
    assert np.sum(np.array(p_values) < 0.05) < 2.5 + 6.2
    assert 0.35 < np.mean(p_values) < 0.65


@pytest.mark.parametrize("grouped", [None, "of one value", "mixed"])
def test_a_real_difference_is_found(grouped):
    rng = np.random.default_rng(0)
    values = np.repeat(["a", "b"], 200) if grouped != "mixed" else np.tile(["a", "b"], 200)
    is_right = rng.random(400) < np.where(values == "a", 0.6, 0.9)
    groups = None if grouped is None else np.arange(400) // 4
    one = of_hits(is_right, {"kind": values}, groups=groups)[0]
    assert one.p_value < 0.001
    assert one.difference_ci[1] < 0


def test_many_groups_are_not_permuted():
    values = np.repeat(["a", "b"], 4200)
    one = of_hits(np.random.default_rng(0).random(8400) < 0.8, {"kind": values}, groups=np.arange(8400) // 2)[
        0
    ]
    assert one.test == SCORE
    assert one.p_value > 0.001


def test_all_right_is_no_difference():
    for groups in (None, np.arange(40) // 2):
        for values in (np.repeat(["a", "b"], 20), np.tile(["a", "b"], 20)):
            assert of_hits(np.ones(40, bool), {"kind": values}, groups=groups)[0].p_value == 1.0


# ------------------------------------------------------------------------------------------- the columns


@pytest.mark.parametrize("nothing", [None, float("nan"), "", "  ", "NaN", "missing"])
def test_what_is_not_known_is_a_subgroup_and_last(nothing):
    assert values_of(["b", nothing, "a"]) == [("a", [2]), ("b", [0]), ("missing", [1])]
    assert values_of([nothing, nothing]) == [("missing", [0, 1])]


def test_few_numbers_are_values_in_their_order():
    assert values_of(["10", "9", "10", "-1"]) == [("-1", [3]), ("9", [1]), ("10", [0, 2])]
    assert [name for name, _ in values_of([1 / 3, 2 / 3, 0.0])] == ["0", "0.333333", "0.666667"]


def test_many_numbers_are_parted_into_quarters_that_say_their_range():
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=100)
    found = values_of(numbers)
    assert [len(rows) for _, rows in found] == pytest.approx([25] * 4, abs=2)
    for name, rows in found[:-1]:
        low, high = map(float, name.split(" to below "))
        assert (numbers[rows] >= low - 1e-5).all()
        assert (numbers[rows] < high + 1e-5).all()
    assert found[-1][0].endswith(f" to {numbers.max():.6g}")
    assert sorted(row for _, rows in found for row in rows) == list(range(100))


def test_missing_numbers_stand_apart():
    found = values_of([*range(20), None])
    assert len(found) == 5
    assert found[-1] == ("missing", [20])


def test_numbers_that_differ_late_are_told_apart():
    names = [name for name, _ in values_of([1_700_000_000 + step for step in range(12)])]
    assert names[0] == "1700000000 to below 1700000002"
    assert len(set(names)) == 4


def test_numbers_of_which_most_are_one_are_still_parted():
    found = values_of([0] * 200 + list(range(1, 13)))
    assert len(found) > 1
    assert sum(len(rows) for _, rows in found) == 212


def test_codes_with_letters_and_infinities_are_text():
    assert [name for name, _ in values_of(["10", "x", "9"])] == ["10", "9", "x"]
    assert [name for name, _ in values_of([np.inf, 1.0])] == ["1.0", "inf"]


def test_truth_values_are_text():
    assert values_of(np.array([True, False])) == [("False", [1]), ("True", [0])]


@pytest.mark.parametrize(
    ("column", "images", "message"),
    [
        (["a"], None, "1 values of c for 2 samples; expected one a sample"),
        (["a", "b"], [7, 7], "rows 0 and 1 of one image with the c a and b"),
    ],
)
def test_columns_that_do_not_fit_are_refused(column, images, message):
    with pytest.raises(HeadError, match=message):
        parts_of({"c": column}, 2, images)


def test_a_column_of_names_is_refused():
    with pytest.raises(HeadError, match="the column c with 60 different values; expected at most 50"):
        values_of([f"{row}.jpg" for row in range(60)])


def test_views_of_an_image_are_one_sample():
    found = values_of(["a", "b", "a", None], images=[5, 7, 5, 8])
    assert found == [("a", [0]), ("b", [1]), ("missing", [2])]
    probabilities, y = draw_problem(0, 2)
    images, kinds = np.repeat(np.arange(100), 2), np.tile(["a", "b"], 50)
    found = subgroups_of(probabilities, y[images], {"kind": kinds[images]}, images=images)
    means = probabilities.reshape(100, 2, 2).mean(axis=1)
    assert found == subgroups_of(means, y[:100], {"kind": kinds})
