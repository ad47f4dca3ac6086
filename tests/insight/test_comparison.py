"""compare(): the tests against scipy's and against counting, the intervals against a plain loop."""

import itertools
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from featx import Comparison, HeadError, compare, evaluate
from featx.insight.comparison import MCNEMAR, SIGN_FLIP, Difference, sign_flip_p_value
from featx.insight.metrics import bootstrap
from tests.insight.problems import LabelHead, ProbabilityHead, area, draw_problem, each_problem


def compare_labels(a, b, y, **options):
    """Of two heads that answer these classes."""
    head = LabelHead(max(2, np.max([*a, *b, *y]) + 1)).fit()
    options = {"n_resamples": 50} | options
    return compare(head, head, np.reshape(a, (-1, 1)), y, X_b=np.reshape(b, (-1, 1)), **options)


def compare_rights(is_right_a, is_right_b, **options):
    return compare_labels(
        np.asarray(is_right_a, int), np.asarray(is_right_b, int), np.ones(len(is_right_a), int), **options
    )


def compare_probabilities(a, b, y, **options):
    head = ProbabilityHead(a.shape[1]).fit()
    options = {"n_resamples": 50} | options
    return compare(head, head, a, y, X_b=b, **options)


def draw_pair(seed, n_classes, n_samples=150):
    """Probabilities of two heads for the same classes, the second's with more noise."""
    a, y = draw_problem(seed, n_classes, n_samples)
    b = a + np.random.default_rng(seed + 100).random(a.shape)
    return a, b / b.sum(axis=1, keepdims=True), y


# ----------------------------------------------------------------------------------------- the tests


@pytest.mark.parametrize(("n_only_a", "n_only_b"), [(0, 0), (1, 0), (5, 5), (9, 2), (0, 12), (40, 25)])
def test_the_test_is_mcnemars(n_only_a, n_only_b):
    a = [1] * 20 + [1] * n_only_a + [0] * n_only_b + [0] * 7
    b = [1] * 20 + [0] * n_only_a + [1] * n_only_b + [0] * 7
    found = compare_rights(a, b)
    counts = found.n_both_right, found.n_only_a_right, found.n_only_b_right, found.n_both_wrong
    assert counts == (20, n_only_a, n_only_b, 7)
    n_discordant = n_only_a + n_only_b
    expected = binomtest(n_only_a, n_discordant).pvalue if n_discordant else 1.0
    assert (found.test, found.p_value) == (MCNEMAR, expected)


def test_the_p_value_of_a_hand_made_table():
    # Of 6 discordant samples, 1 for b: (C(6,0) + C(6,1)) / 2**6, on both sides.
    found = compare_rights([1] * 5 + [0] + [1] * 4, [0] * 5 + [1] + [1] * 4)
    assert found.p_value == pytest.approx(2 * (1 + 6) / 64)


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_are_tossed_as_if_every_sign_were_written_down(seed):
    differences = np.random.default_rng(seed).integers(-3, 4, 9)
    sums = [np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=9)]
    expected = np.mean(np.abs(sums) >= abs(differences.sum()))
    assert sign_flip_p_value(differences) == pytest.approx(expected)


@pytest.mark.parametrize(("n_only_a", "n_only_b"), [(0, 0), (3, 3), (9, 2), (130, 160), (2000, 2150)])
def test_groups_of_one_sample_give_mcnemars_figure(n_only_a, n_only_b):
    differences = np.array([1] * n_only_a + [-1] * n_only_b + [0] * 10)
    n_discordant = n_only_a + n_only_b
    expected = binomtest(n_only_a, n_discordant).pvalue if n_discordant else 1.0
    assert sign_flip_p_value(differences) == pytest.approx(expected, rel=1e-9)


def test_groups_take_the_place_of_samples():
    # Ten copies of four samples that only a gets right are four tosses, and not forty.
    a, b = np.array([1] * 60), np.array([0] * 40 + [1] * 20)
    assert compare_rights(a, b).p_value < 1e-9
    found = compare_rights(a, b, groups=np.arange(60) // 10)
    assert (found.test, found.n_groups, found.n_only_a_right) == (SIGN_FLIP, 6, 40)
    assert found.p_value == pytest.approx(2 / 2**4)
    assert found.verdict.startswith("the data cannot tell")


def test_groups_of_one_are_no_groups():
    a, b, y = draw_pair(0, 2)
    alone = compare_probabilities(a, b, y)
    assert compare_probabilities(a, b, y, groups=np.arange(len(y))) == alone
    assert alone.n_groups is None


@pytest.mark.parametrize("size", [1, 4])
def test_equal_heads_are_told_apart_5_times_in_100_at_most(size):
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        a, b = (np.repeat(rng.random(40) < 0.7, size) for _ in range(2))
        p_values.append(compare_rights(a, b, groups=np.arange(40 * size) // size, n_resamples=1).p_value)
    # An exact test keeps its promise; five in a hundred of 200, and three standard deviations.
    assert np.mean(np.array(p_values) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(p_values) == pytest.approx(0.55, abs=0.1)


# --------------------------------------------------------------------------------------- differences


@each_problem
@pytest.mark.parametrize("grouped", [False, True])
def test_differences_are_those_of_a_loop_that_draws_samples_and_calls_scikit_learn(seed, n_classes, grouped):
    a, b, y = draw_pair(seed, n_classes)
    groups = np.arange(len(y)) // 3 if grouped else None
    metrics = {
        "accuracy": lambda truth, p: accuracy_score(truth, p.argmax(axis=1)),
        "balanced_accuracy": lambda truth, p: balanced_accuracy_score(truth, p.argmax(axis=1)),
        "roc_auc": area,
        "log_loss": lambda truth, p: log_loss(truth, p, labels=range(n_classes)),
    }
    drawn = [
        np.repeat(np.arange(len(y)), counts.astype(int))
        for counts in np.concatenate(list(bootstrap(len(y), groups, 40, random_state=7)))
    ]
    found = compare_probabilities(a, b, y, groups=groups, n_resamples=40, random_state=7)
    for name, metric in metrics.items():
        difference = getattr(found, name)
        assert (difference.a, difference.b) == pytest.approx((metric(y, a), metric(y, b))), name
        assert difference.difference == difference.a - difference.b
        draws = [metric(y[rows], a[rows]) - metric(y[rows], b[rows]) for rows in drawn]
        if name == "accuracy" and not grouped:
            continue
        assert difference.difference_ci == pytest.approx(np.quantile(draws, [0.025, 0.975])), name


@each_problem
def test_each_heads_figures_are_those_of_evaluate(seed, n_classes):
    a, b, y = draw_pair(seed, n_classes)
    found, head = compare_probabilities(a, b, y), ProbabilityHead(n_classes).fit()
    for side, probabilities in (("a", a), ("b", b)):
        alone = evaluate(head, probabilities, y, n_resamples=1)
        for name in ("accuracy", "balanced_accuracy", "roc_auc", "log_loss"):
            assert getattr(getattr(found, name), side) == getattr(alone, name)


def test_the_other_way_round_every_sign_turns():
    a, b, y = draw_pair(0, 3)
    found, turned = compare_probabilities(a, b, y), compare_probabilities(b, a, y)
    assert (found.p_value, found.n_only_a_right) == (turned.p_value, turned.n_only_b_right)
    for name in ("accuracy", "balanced_accuracy", "roc_auc", "log_loss"):
        one, other = getattr(found, name), getattr(turned, name)
        assert one.difference == -other.difference
        assert one.difference_ci == pytest.approx([-end for end in other.difference_ci[::-1]])


def test_a_head_does_not_differ_from_itself():
    a, _, y = draw_pair(0, 3)
    found = compare_probabilities(a, a, y)
    assert (found.p_value, found.n_only_a_right, found.n_only_b_right) == (1.0, 0, 0)
    for name in ("accuracy", "balanced_accuracy", "roc_auc", "log_loss"):
        assert getattr(found, name).difference == 0.0
    assert (found.roc_auc.difference_ci, found.log_loss.difference_ci) == (None, None)
    assert found.verdict.startswith("the data cannot tell which is better (")
    assert ";" not in found.verdict.partition(")")[2]


def test_pairing_tells_heads_apart_that_their_own_intervals_do_not():
    # Half of the samples are hard for both; a also gets 12 of the others that b does not.
    a = np.array([0] * 100 + [1] * 100)
    b = np.array([0] * 100 + [0] * 12 + [1] * 88)
    head, y = LabelHead().fit(), np.ones(200, int)
    alone = [evaluate(head, part[:, None], y).accuracy_ci for part in (a, b)]
    assert alone[0][0] < alone[1][1]
    found = compare_rights(a, b)
    assert found.accuracy.difference_ci[0] > 0
    assert found.verdict.startswith("a is better")


def test_an_interval_holds_the_true_difference_about_95_times_in_100():
    rng = np.random.default_rng(0)
    n_held = 0
    for seed in range(100):
        # Hard samples are hard for both: a gets 0.3 + 0.4 of them right, b 0.3 + 0.4 / 2.
        shared, own = rng.random(120), rng.random(120)
        a, b = shared < 0.7, (shared < 0.3) | ((shared < 0.7) & (own < 0.5))
        low, high = compare_rights(a, b, n_resamples=200, random_state=seed).accuracy.difference_ci
        n_held += low <= 0.2 <= high
    assert 87 <= n_held <= 99


def test_the_seed_decides_the_intervals_and_nothing_else():
    a, b, y = draw_pair(0, 3)
    first, again, other = (compare_probabilities(a, b, y, random_state=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.roc_auc.difference_ci != other.roc_auc.difference_ci
    assert first.accuracy == other.accuracy
    assert first.p_value == other.p_value


# ------------------------------------------------------------------------------- where the heads differ


def test_the_samples_that_they_differ_on_are_named():
    y = np.array([0, 1, 2, 0, 1, 2])
    found = compare_labels([0, 1, 0, 1, 1, 0], [0, 0, 2, 2, 1, 0], y)
    assert found.only_a_right == (1,)
    assert found.only_b_right == (2,)
    # Both take the last for the same wrong class.
    assert found.both_wrong_differently == (3,)
    assert (found.n_only_a_right, found.n_only_b_right, found.n_both_wrong) == (1, 1, 2)


def test_an_image_is_named_by_its_first_row():
    y = np.array([1, 0, 0, 1])
    a = np.array([[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.2, 0.8]])
    found = compare_probabilities(a, 1 - a, y, images=["p", "q", "q", "p"])
    assert found.only_a_right == (0, 1)


def test_the_detectable_difference_is_found_four_times_in_five():
    rng, n_found, n_repeats, n_samples = np.random.default_rng(0), 0, 200, 500
    # A fifth of the samples are told by one head alone.
    drawn = rng.random(n_samples) < 0.2
    base = compare_rights(np.ones(n_samples), ~drawn, n_resamples=1)
    share = base.n_only_a_right / n_samples
    excess = base.detectable / share
    for _ in range(n_repeats):
        discordant = rng.random(n_samples) < share
        for_a = rng.random(n_samples) < (1 + excess) / 2
        found = compare_rights(~discordant | for_a, ~discordant | ~for_a, n_resamples=1)
        n_found += found.p_value < 0.05
    assert 0.7 < n_found / n_repeats < 0.9


def test_fewer_samples_detect_less_and_groups_less_still():
    a, b = np.tile([1, 1, 1, 0], 100), np.tile([1, 0, 1, 1], 100)
    alone = compare_rights(a, b).detectable
    assert alone == pytest.approx(2.8015852 * np.sqrt(200) / 400)
    assert compare_rights(a[:100], b[:100]).detectable == pytest.approx(2 * alone)
    order = np.argsort(a - b, kind="stable")
    grouped = compare_rights(a[order], b[order], groups=np.arange(400) // 4).detectable
    assert grouped == pytest.approx(2 * alone)


def test_heads_that_never_disagree_detect_nothing():
    found = compare_rights([1, 0, 1], [1, 0, 1])
    assert found.detectable is None
    assert "4 times in 5" not in found.verdict


# ------------------------------------------------------------------------------------------ the verdict


def test_the_verdict_names_the_better_head():
    right, wrong = np.ones(30, int), np.array([1] * 20 + [0] * 10)
    assert compare_rights(right, wrong).verdict.startswith(
        "a is better (accuracy 1.000 of a, 0.667 of b; McNemar"
    )
    assert compare_rights(wrong, right).verdict.startswith(
        "b is better (accuracy 0.667 of a, 1.000 of b; McNemar"
    )


def test_a_verdict_that_cannot_tell_says_what_it_could_have_told():
    a, b = np.array([1] * 90 + [0] * 10), np.array([1] * 85 + [0] * 10 + [1] * 5)
    found = compare_rights(a, b)
    assert found.verdict.startswith("the data cannot tell which is better (")
    assert (
        f"a difference of {100 * found.detectable:.1f} points would be found 4 times in 5)" in found.verdict
    )


def test_names_take_the_place_of_a_and_b():
    right, wrong = np.ones(30, int), np.array([1] * 20 + [0] * 10)
    described = compare_rights(right, wrong).describe("m.featx", "n.featx")
    assert described.startswith("m.featx is better (accuracy 1.000 of m.featx, 0.667 of n.featx; McNemar")
    a, _, y = draw_pair(0, 3)
    found = replace(compare_probabilities(a, a, y), log_loss=Difference(0.3, 0.5, -0.2, (-0.25, -0.12)))
    assert "by log loss, m.featx is better" in found.describe("m.featx", "n.featx")


def test_a_metric_that_speaks_for_the_other_head_is_named():
    a, _, y = draw_pair(0, 3)
    found = compare_probabilities(a, a, y)
    lower, higher = Difference(0.3, 0.5, -0.2, (-0.25, -0.12)), Difference(0.9, 0.8, 0.1, (0.05, 0.15))
    loss = replace(found, log_loss=lower).verdict
    assert loss.endswith("by log loss, a is better (by 0.2, 95 % interval 0.12 to 0.25)")
    assert "by log loss, b is better" in replace(found, log_loss=higher).verdict
    assert "by ROC AUC, b is better" in replace(found, roc_auc=lower).verdict
    both = replace(found, balanced_accuracy=higher, log_loss=higher).verdict
    assert "by balanced accuracy, a is better" in both
    assert "by log loss, b is better" in both


def test_a_comparison_is_plain_json():
    a, b, y = draw_pair(0, 3)
    found = compare_probabilities(a, b, y)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(read) == {field.name for field in fields(Comparison)} | {"verdict"}
    assert read["accuracy"]["difference"] == found.accuracy.difference
    assert read["verdict"] == found.verdict


# -------------------------------------------------------------------------------------- what is compared


def test_heads_on_other_features_of_the_same_samples():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    reduced = PCA(8, random_state=0).fit_transform(X)
    a, b = LogisticRegression().fit(X[:400], y[:400]), GaussianNB().fit(reduced[:400], y[:400])
    found = compare(a, b, X[400:], y[400:], X_b=reduced[400:], n_resamples=20)
    assert found.accuracy.a == a.score(X[400:], y[400:])
    assert found.accuracy.b == b.score(reduced[400:], y[400:])
    with pytest.raises(
        HeadError, match="64 features; expected the 8 that b was fitted on; pass those of b as X_b"
    ):
        compare(a, b, X[400:], y[400:])


def test_views_of_an_image_are_averaged_for_both():
    a, b, _ = draw_pair(0, 3)
    images = np.arange(150) // 3
    y = np.random.default_rng(0).integers(0, 3, 50)
    found = compare_probabilities(a, b, y[images], images=images)
    means = [part.reshape(50, 3, 3).mean(axis=1) for part in (a, b)]
    expected = compare_probabilities(*means, y)
    assert found.n_samples == 50
    assert (found.test, found.p_value) == (MCNEMAR, expected.p_value)
    assert found.log_loss.difference_ci == pytest.approx(expected.log_loss.difference_ci)


def test_a_head_without_probabilities_is_compared_by_the_rest():
    X, y = load_digits(return_X_y=True)
    a, b = LinearSVC().fit(X[:200] / 16, y[:200]), LogisticRegression().fit(X[:200] / 16, y[:200])
    found = compare(a, b, X[200:400] / 16, y[200:400], n_resamples=20)
    assert found.log_loss is None
    assert found.roc_auc.a > 0.9
    assert compare_rights([1, 0], [1, 1]).roc_auc is None


def test_a_class_that_the_samples_lack_leaves_no_area():
    a, b, y = draw_pair(0, 3)
    found = compare_probabilities(a[y != 1], b[y != 1], y[y != 1])
    assert found.roc_auc is None
    assert found.log_loss is not None


@pytest.mark.parametrize(
    ("y", "options", "error", "message"),
    [
        ([], {}, HeadError, "no samples"),
        ([0, 7], {}, HeadError, "the classes 7; expected those that the head was fitted on"),
        ([0], {}, ValueError, r"inconsistent numbers of samples: \[2, 1\]"),
        ([0, 1], {"X_b": [[0]]}, ValueError, r"inconsistent numbers of samples: \[2, 1\]"),
        ([0, 1], {"groups": [0]}, ValueError, "inconsistent numbers of samples"),
        ([0, 1], {"images": ["a", "a"]}, HeadError, "without a score for each class"),
        ([0, 1], {"n_resamples": 0}, HeadError, "n_resamples=0"),
        ([0, 1], {"random_state": -1}, HeadError, "random_state=-1"),
    ],
)
def test_what_cannot_be_compared_is_refused(y, options, error, message):
    head, X = LabelHead().fit(), np.arange(2).reshape(-1, 1) if y else np.empty((0, 1))
    with pytest.raises(error, match=message):
        compare(head, head, X, y, **options)


def test_heads_of_different_classes_are_refused():
    X = [[0], [1]]
    with pytest.raises(
        HeadError, match="a of the classes 0, 1 and b of the classes 0, 1, 2; expected heads of the same"
    ):
        compare(LabelHead(2).fit(), LabelHead(3).fit(), X, [0, 1])


@pytest.mark.parametrize("unfitted", ["a", "b"])
def test_a_head_before_fit_is_refused(unfitted):
    heads = {"a": GaussianNB().fit([[0.0], [1.0]], [0, 1]), "b": GaussianNB().fit([[0.0], [1.0]], [0, 1])}
    heads[unfitted] = GaussianNB()
    with pytest.raises(NotFittedError):
        compare(**heads, X=[[0.0], [1.0]], y=[0, 1])
