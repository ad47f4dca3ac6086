"""evaluate() against scikit-learn's metrics, and its intervals against a plain loop and against chance."""

import json
import tracemalloc
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from featx import HeadError, evaluate
from featx.insight import metrics as module
from featx.insight.metrics import bootstrap
from featx.insight.proportions import wilson_interval
from tests.insight.problems import LabelHead, ProbabilityHead, area, draw_problem, each_problem


def evaluate_probabilities(probabilities, y, **options):
    options = {"n_resamples": 50} | options
    return evaluate(ProbabilityHead(probabilities.shape[1]).fit(), probabilities, y, **options)


def expected_calibration_error(y, probabilities, n_bins=15):
    """The definition, bin by bin."""
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    total = 0.0
    for low, high in pairwise(np.linspace(0, 1, n_bins + 1)):
        in_bin = (confidence >= low) & ((confidence < high) | (high == 1))
        if in_bin.any():
            total += in_bin.mean() * abs(is_right[in_bin].mean() - confidence[in_bin].mean())
    return total


# ----------------------------------------------------------------------------- the same as scikit-learn's


@each_problem
def test_every_metric_is_scikit_learns(seed, n_classes):
    probabilities, y = draw_problem(seed, n_classes)
    found = evaluate_probabilities(probabilities, y)
    predicted = probabilities.argmax(axis=1)
    assert found.accuracy == pytest.approx(accuracy_score(y, predicted))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, predicted))
    assert found.roc_auc == pytest.approx(area(y, probabilities))
    assert found.log_loss == pytest.approx(log_loss(y, probabilities))
    assert found.brier == pytest.approx(brier_score_loss(y, probabilities))
    assert found.macro_f1 == pytest.approx(f1_score(y, predicted, average="macro"))
    assert found.ece == pytest.approx(expected_calibration_error(y, probabilities))
    assert np.array_equal(found.confusion_matrix, confusion_matrix(y, predicted))


@each_problem
def test_every_metric_of_a_class_is_scikit_learns(seed, n_classes):
    probabilities, y = draw_problem(seed, n_classes)
    found = evaluate_probabilities(probabilities, y).per_class
    expected = precision_recall_fscore_support(y, probabilities.argmax(axis=1))
    for name, values in zip(("precision", "recall", "f1", "n_samples"), expected, strict=True):
        assert [getattr(one, name) for one in found] == pytest.approx(values.tolist())


@pytest.mark.parametrize("n_steps", [1, 2, 10])
def test_ties_count_half_in_the_area(n_steps):
    probabilities, y = draw_problem(0, 2, n_steps=n_steps)
    assert len(np.unique(probabilities)) == n_steps + 1
    assert evaluate_probabilities(probabilities, y).roc_auc == pytest.approx(area(y, probabilities))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_error_costs_what_scikit_learn_makes_it_cost(dtype):
    probabilities, y = np.array([[1, 0], [0, 1], [0.5, 0.5]], dtype), np.array([1, 0, 1])
    expected = log_loss(y, probabilities)
    assert evaluate_probabilities(probabilities, y).log_loss == pytest.approx(expected, rel=1e-5)


def test_a_fitted_head_is_scored_on_its_own_classes():
    X, y = load_digits(return_X_y=True)
    names = np.array([f"digit {label}" for label in range(10)])[y]
    head = KNeighborsClassifier().fit(X[:300], names[:300])
    found = evaluate(head, X[300:600], names[300:600], n_resamples=20)
    assert found.accuracy == pytest.approx(head.score(X[300:600], names[300:600]))
    assert found.class_names == tuple(head.classes_)


@pytest.mark.parametrize("kind", ["multi-class", "binary"])
@pytest.mark.parametrize("head", [LinearSVC(), SVC()], ids=["linear", "rbf"])
def test_a_head_without_probabilities_is_ranked_by_its_decisions(head, kind):
    X, y = load_digits(return_X_y=True)
    if kind == "binary":
        y = (y > 4).astype(int)
    head.fit(X[:300] / 16, y[:300])
    found = evaluate(head, X[300:600] / 16, y[300:600], n_resamples=20)
    decisions = head.decision_function(X[300:600] / 16)
    if kind == "binary":
        expected = roc_auc_score(y[300:600], decisions)
    else:
        expected = np.mean([roc_auc_score(y[300:600] == label, decisions[:, label]) for label in range(10)])
    assert found.roc_auc == pytest.approx(expected)
    assert (found.log_loss, found.log_loss_ci, found.ece, found.ece_ci) == (None,) * 4


def test_a_head_that_only_classifies_has_no_area():
    found = evaluate(LabelHead().fit(), [[0], [1], [1]], [0, 1, 0])
    assert found.accuracy == pytest.approx(2 / 3)
    assert (found.roc_auc, found.roc_auc_ci, found.log_loss, found.ece) == (None,) * 4


# ------------------------------------------------------------------------------------------- intervals


@each_problem
@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_those_of_a_loop_that_draws_samples_and_calls_scikit_learn(seed, n_classes, grouped):
    probabilities, y = draw_problem(seed, n_classes, n_samples=120)
    groups = np.arange(120) // 3 if grouped else None
    names = ("roc_auc", "log_loss", "brier", "ece")
    draws = {name: [] for name in names}
    for counts in np.concatenate(list(bootstrap(120, groups, 60, random_state=7))):
        rows = np.repeat(np.arange(120), counts.astype(int))
        truth, drawn = y[rows], probabilities[rows]
        draws["roc_auc"].append(area(truth, drawn))
        draws["log_loss"].append(log_loss(truth, drawn, labels=range(n_classes)))
        draws["brier"].append(brier_score_loss(truth, drawn, labels=range(n_classes)))
        draws["ece"].append(expected_calibration_error(truth, drawn))
    found = evaluate_probabilities(probabilities, y, groups=groups, n_resamples=60, random_state=7)
    low, high = np.quantile(draws.pop("ece"), [0.025, 0.975])
    expected = max(0, min(found.ece, 2 * found.ece - high)), max(found.ece, 2 * found.ece - low)
    assert found.ece_ci == pytest.approx(expected)
    for name, values in draws.items():
        assert getattr(found, f"{name}_ci") == pytest.approx(np.quantile(values, [0.025, 0.975])), name


@pytest.mark.parametrize(("slope", "least"), [(1.0, 30), (2.5, 50)], ids=["calibrated", "overconfident"])
def test_the_interval_of_the_calibration_error_can_hold_what_it_is_of(slope, least):
    # The percentile interval of a calibrated head does in none of these.
    def draw(rng, n_samples):
        z = rng.normal(0, 1.5, n_samples)
        claimed = 1 / (1 + np.exp(-slope * z))
        y = (rng.random(n_samples) < 1 / (1 + np.exp(-z))).astype(int)
        return np.stack([1 - claimed, claimed], axis=1), y

    truth = evaluate_probabilities(*draw(np.random.default_rng(0), 300_000), n_resamples=1, curves=False).ece
    rng, n_held = np.random.default_rng(1), 0
    for seed in range(60):
        options = {"n_resamples": 200, "random_state": seed, "curves": False}
        found = evaluate_probabilities(*draw(rng, 500), **options)
        assert found.ece_ci[0] <= found.ece <= found.ece_ci[1]
        n_held += found.ece_ci[0] <= truth <= found.ece_ci[1]
    assert n_held >= least


def test_blocks_change_nothing(monkeypatch):
    probabilities, y = draw_problem(0, 3)
    whole = evaluate_probabilities(probabilities, y)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * len(y) * 7)
    assert len(list(bootstrap(len(y), None, 50, 0))) == 8
    in_blocks = evaluate_probabilities(probabilities, y)
    assert in_blocks.roc_auc_ci == pytest.approx(whole.roc_auc_ci)
    assert in_blocks.log_loss_ci == pytest.approx(whole.log_loss_ci)


def test_the_seed_decides_the_intervals_and_nothing_else():
    probabilities, y = draw_problem(0, 3)
    first, again, other = (evaluate_probabilities(probabilities, y, random_state=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.roc_auc_ci != other.roc_auc_ci
    assert (first.accuracy, first.accuracy_ci) == (other.accuracy, other.accuracy_ci)


def test_groups_of_one_change_nothing():
    probabilities, y = draw_problem(0, 3)
    alone = evaluate_probabilities(probabilities, y, groups=np.arange(len(y)))
    assert alone == evaluate_probabilities(probabilities, y)


def test_groups_widen_the_intervals():
    # Nine copies of each sample say no more than one does.
    probabilities, y = draw_problem(0, 2, n_samples=100)
    once = evaluate_probabilities(probabilities, y, n_resamples=1000)
    copies, labels, groups = (np.repeat(part, 9, axis=0) for part in (probabilities, y, np.arange(100)))
    grouped = evaluate_probabilities(copies, labels, groups=groups, n_resamples=1000)
    naive = evaluate_probabilities(copies, labels, n_resamples=1000)
    width = {
        name: np.ptp(found.accuracy_ci)
        for name, found in (("once", once), ("grouped", grouped), ("naive", naive))
    }
    assert width["grouped"] == pytest.approx(width["once"], rel=0.05)
    assert width["grouped"] / width["naive"] == pytest.approx(3, rel=0.15)


@each_problem
def test_shares_have_wilsons_interval(seed, n_classes):
    probabilities, y = draw_problem(seed, n_classes)
    found, predicted = evaluate_probabilities(probabilities, y), probabilities.argmax(axis=1)
    assert found.accuracy_ci == wilson_interval(found.accuracy, len(y))
    for label, one in enumerate(found.per_class):
        assert one.recall_ci == wilson_interval(one.recall, (y == label).sum())
        assert one.precision_ci == wilson_interval(one.precision, (predicted == label).sum())


@pytest.mark.parametrize("grouped", [False, True])
def test_no_mistake_is_no_certainty(grouped):
    # Ten samples that are all right, with confidence, and ranked without a mistake.
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    groups = np.arange(10) // 2 if grouped else None
    found = evaluate_probabilities(
        np.eye(3)[y] * 0.85 + 0.05, y, groups=groups, subgroups={"all": ["a"] * 10}
    )
    alone = evaluate_probabilities(np.eye(2)[y] * 0.9 + 0.05, y, groups=groups)
    assert (found.accuracy, found.balanced_accuracy, alone.roc_auc) == (1.0, 1.0, 1.0)
    shares = [found.accuracy_ci, found.balanced_accuracy_ci, found.macro_f1_ci]
    shares += [getattr(one, f"{name}_ci") for one in found.per_class[:2] for name in ("recall", "f1")]
    shares += [alone.roc_auc_ci, alone.curves.roc[0].area_ci]
    shares += [one.average_precision_ci for one in alone.curves.precision_recall]
    for low, high in shares:
        assert 0.1 < low < (0.8 if grouped else 0.9)
        assert high == 1.0
    for one in (found.brier_ci, found.ece_ci):
        assert one[1] - one[0] > 0.1
    # What has no upper end, and shows no spread, has no interval.
    assert (found.log_loss_ci, found.log_loss) == (None, pytest.approx(-np.log(0.9)))


@pytest.mark.parametrize(("n_groups", "size"), [(20, 1), (20, 5)], ids=["alone", "grouped"])
def test_intervals_hold_the_truth_where_mistakes_are_rare(n_groups, size):
    # A bootstrap of 20 samples of which 95 in 100 are right holds it 64 times in 100.
    rng, held, n_repeats = np.random.default_rng(0), dict.fromkeys(("accuracy", "recall", "balanced"), 0), 150
    for seed in range(n_repeats):
        y = np.repeat([0, 1], n_groups)
        is_right = np.repeat(rng.random(len(y)) < 0.95, size)
        truth = np.repeat(y, size)
        options = {"n_resamples": 20, "random_state": seed, "groups": np.arange(len(truth)) // size}
        found = evaluate(LabelHead().fit(), np.where(is_right, truth, 1 - truth)[:, None], truth, **options)
        intervals = found.accuracy_ci, found.per_class[0].recall_ci, found.balanced_accuracy_ci
        for name, (low, high) in zip(held, intervals, strict=True):
            held[name] += low <= 0.95 <= high
    assert all(0.9 * n_repeats <= n_held for n_held in held.values())


def test_intervals_contain_their_figures():
    probabilities, y = draw_problem(0, 3)
    found = evaluate_probabilities(probabilities, y, n_resamples=500)
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss", "brier"):
        low, high = getattr(found, f"{name}_ci")
        assert low < getattr(found, name) < high
    for one in found.per_class:
        for name in ("precision", "recall", "f1"):
            low, high = getattr(one, f"{name}_ci")
            assert low < getattr(one, name) < high


# ------------------------------------------------------------------------------------------ calibration


@pytest.mark.parametrize(
    "confidence", [None, 0.99, 0.6], ids=["calibrated", "overconfident", "underconfident"]
)
def test_the_calibration_error_is_the_distance_between_confidence_and_accuracy(confidence):
    rng = np.random.default_rng(0)
    accuracy = rng.uniform(0.5, 1, 20_000) if confidence is None else np.full(20_000, 0.8)
    claimed = accuracy if confidence is None else np.full(20_000, confidence)
    probabilities = np.stack([1 - claimed, claimed], axis=1)
    found = evaluate_probabilities(probabilities, (rng.random(20_000) < accuracy).astype(int))
    assert found.ece == pytest.approx(0 if confidence is None else abs(confidence - 0.8), abs=0.015)


def test_certainty_falls_into_the_last_bin():
    # Certain and wrong, or undecided among twenty and right: in one bin they would make up for each other.
    probabilities = np.array([np.eye(20)[0], np.full(20, 0.05)])
    assert evaluate_probabilities(probabilities, np.array([1, 0])).ece == pytest.approx((1 + 0.95) / 2)


# ----------------------------------------------------------------------------------------- odd test parts


def test_a_class_that_the_test_part_lacks_leaves_the_other_figures():
    probabilities, y = draw_problem(0, 3)
    is_kept = y != 1
    found = evaluate_probabilities(probabilities[is_kept], y[is_kept])
    predicted = probabilities[is_kept].argmax(axis=1)
    recalls = recall_score(y[is_kept], predicted, labels=[0, 2], average=None)
    assert (found.roc_auc, found.roc_auc_ci) == (None, None)
    assert found.balanced_accuracy == pytest.approx(recalls.mean())
    assert found.log_loss == pytest.approx(log_loss(y[is_kept], probabilities[is_kept], labels=range(3)))
    absent = found.per_class[1]
    assert (absent.n_samples, absent.recall, absent.recall_ci, absent.precision) == (0, None, None, 0.0)
    assert absent.precision_ci[0] == 0.0 < absent.precision_ci[1]


def test_a_class_that_is_never_predicted_has_no_precision():
    found = evaluate(LabelHead(3).fit(), [[0], [0], [2], [0]], [0, 1, 2, 0])
    absent = found.per_class[1]
    assert (absent.precision, absent.precision_ci) == (None, None)
    assert (absent.recall, absent.f1) == (0.0, 0.0)
    assert found.to_dict()["per_class"][1]["precision"] is None


def test_a_class_of_one_sample_may_have_nearly_any_recall():
    y = np.array([1] + [0] * 9)
    found = evaluate(LabelHead().fit(), y[:, None], y, n_resamples=1).per_class[1]
    assert found.recall_ci == pytest.approx((0.207, 1.0), abs=0.001)


def test_one_sample_is_enough():
    found = evaluate(LabelHead().fit(), [[1]], [1])
    assert (found.n_samples, found.accuracy, found.accuracy_ci) == (1, 1.0, wilson_interval(1.0, 1))


@pytest.mark.parametrize(
    ("X", "y", "options", "error", "message"),
    [
        ([], [], {}, HeadError, "no samples"),
        ([[0], [1]], [0, 7], {}, HeadError, "the classes 7; expected those that the head was fitted on"),
        ([[0], [1]], ["0", "1"], {}, HeadError, "the classes 0, 1"),
        ([[0], [1]], [0, np.nan], {}, HeadError, "the classes nan"),
        ([[0], [1]], [0], {}, ValueError, r"inconsistent numbers of samples: \[2, 1\]"),
        ([[0]], [0, 1], {}, ValueError, r"inconsistent numbers of samples: \[1, 2\]"),
        ([[0], [1]], [[0, 1], [1, 0]], {}, ValueError, "y should be a 1d array"),
        ([[0], [1]], [0, 1], {"groups": [1]}, ValueError, "inconsistent numbers of samples"),
        ([[0], [1]], [0, 1], {"class_names": ["cat"]}, HeadError, "1 class names for a head of 2"),
        ([[0], [1]], [0, 1], {"n_resamples": 0}, HeadError, "n_resamples=0"),
        ([[0], [1]], [0, 1], {"n_resamples": 1.5}, HeadError, "n_resamples=1.5"),
        ([[0], [1]], [0, 1], {"random_state": -1}, HeadError, "random_state=-1"),
    ],
)
def test_what_cannot_be_scored_is_refused(X, y, options, error, message):
    with pytest.raises(error, match=message):
        evaluate(LabelHead().fit(), X, y, **options)


def test_a_head_before_fit_is_refused():
    with pytest.raises(NotFittedError):
        evaluate(LogisticRegression(), [[0.0]], [0])


def test_class_names_take_the_place_of_numbers():
    found = evaluate(LabelHead().fit(), [[0], [1]], [0, 1], class_names=["cat", "dog"])
    assert found.class_names == ("cat", "dog")
    assert [one.name for one in found.per_class] == ["cat", "dog"]


# --------------------------------------------------------------------------------------------- the object


@pytest.mark.parametrize("lacking", [None, 1], ids=["all classes", "a class lacking"])
def test_an_evaluation_is_plain_json(lacking):
    probabilities, y = draw_problem(0, 3)
    is_kept = y != lacking
    found = evaluate_probabilities(probabilities[is_kept], y[is_kept])
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(read) == {field.name for field in fields(found)}
    assert (read["accuracy"], read["n_samples"]) == (found.accuracy, is_kept.sum())
    assert read["per_class"][0]["name"] == "0"


def test_the_points_of_lines_are_left_out_unless_asked_for():
    probabilities, y = draw_problem(0, 3, n_samples=2000, n_steps=2000)
    found = evaluate_probabilities(probabilities, y)
    short, long = (found.to_dict(lines=lines)["curves"] for lines in (False, True))
    assert len(json.dumps(found.to_dict(), allow_nan=False)) < 10_000
    assert set(short["roc"][0]) == {"class_name", "area", "area_ci"}
    assert set(short["precision_recall"][0]) == {
        "class_name", "average_precision", "average_precision_ci", "base_rate",
    }  # fmt: skip
    assert long["roc"][0]["true_positive_rate"] == found.curves.roc[0].true_positive_rate
    assert long["precision_recall"][2]["recall"] == found.curves.precision_recall[2].recall
    assert evaluate_probabilities(probabilities, y, curves=False).to_dict()["curves"] is None


def test_curves_and_subgroups_change_no_other_figure():
    probabilities, y = draw_problem(0, 3)
    whole = evaluate_probabilities(probabilities, y, subgroups={"kind": y})
    bare = evaluate_probabilities(probabilities, y, curves=False)
    assert replace(whole, curves=None, subgroups=()) == bare


def test_memory_is_bounded_whatever_the_resamples():
    probabilities, y = draw_problem(0, 2, n_samples=100_000)
    peaks = []
    for n_resamples in (200, 400):
        tracemalloc.start()
        evaluate_probabilities(probabilities, y, n_resamples=n_resamples)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < 10 * module._BLOCK_BYTES
    assert peaks[1] < 1.1 * peaks[0]


def test_pairwise_decisions_rank_no_class():
    X, y = load_iris(return_X_y=True)
    assert evaluate(SVC(decision_function_shape="ovo").fit(X, y), X, y).roc_auc is None
    assert evaluate(SVC(decision_function_shape="ovr").fit(X, y), X, y).roc_auc > 0.9


# ------------------------------------------------------------------------------------------------ views


def draw_images(seed=0, n_images=60, n_classes=3):
    """Rows that are one to four views of images, mixed."""
    rng = np.random.default_rng(seed)
    images = rng.permutation(np.repeat(np.arange(n_images), rng.integers(1, 5, n_images)))
    probabilities, _ = draw_problem(seed, n_classes, len(images))
    return images, probabilities, rng.integers(0, n_classes, n_images)


def test_views_are_averaged_before_anything_is_scored():
    images, probabilities, y = draw_images()
    found = evaluate_probabilities(probabilities, y[images], images=images)
    order = list(dict.fromkeys(images.tolist()))
    means = np.array([probabilities[images == image].mean(axis=0) for image in order])
    assert found.n_samples == len(order) == 60
    assert found == evaluate_probabilities(means, y[order])


def test_images_with_groups_are_resampled_by_group():
    images, probabilities, y = draw_images()
    order = np.array(list(dict.fromkeys(images.tolist())))
    means = np.array([probabilities[images == image].mean(axis=0) for image in order])
    found = evaluate_probabilities(probabilities, y[images], images=images, groups=images // 3)
    assert found == evaluate_probabilities(means, y[order], groups=order // 3)
    assert found != evaluate_probabilities(means, y[order])


def test_images_of_one_view_change_nothing():
    probabilities, y = draw_problem(0, 3)
    names = [f"{row}.jpg" for row in range(len(y))]
    assert evaluate_probabilities(probabilities, y, images=names) == evaluate_probabilities(probabilities, y)


def test_averaging_views_beats_any_one_of_them():
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 300), 5)
    seen = 0.5 + 0.1 * (2 * y - 1) + 0.3 * rng.normal(size=len(y))
    positive = np.clip(seen, 0, 1)
    probabilities = np.stack([1 - positive, positive], axis=1)
    alone = evaluate_probabilities(probabilities, y)
    together = evaluate_probabilities(probabilities, y, images=np.repeat(np.arange(300), 5))
    assert together.accuracy > alone.accuracy + 0.05
