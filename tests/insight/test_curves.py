"""Curves against scikit-learn's, and thresholds against every threshold there is."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    auc,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC

from featx import evaluate
from featx.insight.metrics import bootstrap
from featx.insight.proportions import share_of
from tests.insight.problems import LabelHead, ProbabilityHead, draw_problem, each_problem


def curves_of(probabilities, y, **options):
    options = {"n_resamples": 40} | options
    return evaluate(ProbabilityHead(probabilities.shape[1]).fit(), probabilities, y, **options).curves


def draw_binary(seed=0, n_samples=400):
    """Probabilities without ties, and classes that follow them."""
    rng = np.random.default_rng(seed)
    positive = rng.beta(0.7, 0.7, n_samples)
    return np.stack([1 - positive, positive], axis=1), (rng.random(n_samples) < positive).astype(int)


# --------------------------------------------------------------------------------- the same as scikit-learn's


@each_problem
def test_areas_and_average_precisions_are_scikit_learns(seed, n_classes):
    probabilities, y = draw_problem(seed, n_classes)
    found = curves_of(probabilities, y)
    labels = [1] if n_classes == 2 else range(n_classes)
    assert [curve.class_name for curve in found.roc] == [str(label) for label in labels]
    expected = [roc_auc_score(y == label, probabilities[:, label]) for label in labels]
    assert [curve.area for curve in found.roc] == pytest.approx(expected)
    expected = [average_precision_score(y == label, probabilities[:, label]) for label in range(n_classes)]
    assert [curve.average_precision for curve in found.precision_recall] == pytest.approx(expected)
    assert [curve.base_rate for curve in found.precision_recall] == pytest.approx(
        np.bincount(y, minlength=n_classes) / len(y)
    )


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_those_of_a_loop_that_calls_scikit_learn(grouped):
    probabilities, y = draw_problem(2, 3, n_samples=120)
    groups = np.arange(120) // 3 if grouped else None
    areas, precisions = [], []
    for counts in np.concatenate(list(bootstrap(120, groups, 60, random_state=7))):
        weights = {"sample_weight": counts}
        areas.append(roc_auc_score(y == 2, probabilities[:, 2], **weights))
        precisions.append(average_precision_score(y == 2, probabilities[:, 2], **weights))
    found = curves_of(probabilities, y, groups=groups, n_resamples=60, random_state=7)
    assert found.roc[2].area_ci == pytest.approx(np.quantile(areas, [0.025, 0.975]))
    expected = np.quantile(precisions, [0.025, 0.975])
    assert found.precision_recall[2].average_precision_ci == pytest.approx(expected)


@each_problem
def test_short_lines_are_scikit_learns(seed, n_classes):
    probabilities, y = draw_problem(seed, n_classes)
    found = curves_of(probabilities, y)
    curve = found.roc[-1]
    false, true, _ = roc_curve(y == n_classes - 1, probabilities[:, -1])
    assert curve.false_positive_rate == pytest.approx(false, abs=1e-6)
    assert curve.true_positive_rate == pytest.approx(true, abs=1e-6)
    curve = found.precision_recall[-1]
    precision, recall, _ = precision_recall_curve(
        y == n_classes - 1, probabilities[:, -1], drop_intermediate=True
    )
    assert curve.precision[::-1] == pytest.approx(precision, abs=1e-6)
    assert curve.recall[::-1] == pytest.approx(recall, abs=1e-6)


def test_long_lines_are_thinned_and_keep_their_area_and_ends():
    probabilities, y = draw_binary(n_samples=5000)
    found = curves_of(probabilities, y, n_resamples=2)
    assert len(roc_curve(y, probabilities[:, 1])[0]) > 500
    curve = found.roc[0]
    x, line = curve.false_positive_rate, curve.true_positive_rate
    assert 150 < len(x) == len(line) <= 200
    assert (x[0], line[0], x[-1], line[-1]) == (0, 0, 1, 1)
    assert auc(x, line) == pytest.approx(curve.area, abs=0.002)
    curve = found.precision_recall[1]
    assert 150 < len(curve.recall) <= 200
    assert (curve.recall[0], curve.recall[-1]) == (0, 1)
    assert auc(curve.recall, curve.precision) == pytest.approx(curve.average_precision, abs=0.005)


# ------------------------------------------------------------------------------------------ calibration


@pytest.mark.parametrize("n_steps", [20, None], ids=["ties", "no ties"])
@pytest.mark.parametrize(("n_samples", "n_bins"), [(20, 1), (100, 4), (398, 15)])
def test_calibration_is_scikit_learns_of_the_predicted_class(n_samples, n_bins, n_steps):
    probabilities, y = draw_problem(1, 3, n_samples) if n_steps else draw_binary(1, n_samples)
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    found = curves_of(probabilities, y).calibration
    accuracy, claimed = calibration_curve(is_right, confidence, n_bins=n_bins, strategy="quantile")
    assert [one.accuracy for one in found] == pytest.approx(accuracy)
    assert [one.confidence for one in found] == pytest.approx(claimed)
    assert sum(one.n_samples for one in found) == n_samples
    for one in found:
        assert one.lower <= one.confidence <= one.upper
        inside = (confidence >= one.lower) & (confidence <= one.upper)
        assert (one.accuracy, one.accuracy_ci) == share_of(is_right[inside])


def test_bins_of_groups_have_wider_intervals():
    probabilities, y = draw_binary()
    copies = curves_of(np.repeat(probabilities, 9, axis=0), np.repeat(y, 9), groups=np.arange(3600) // 9)
    naive = curves_of(np.repeat(probabilities, 9, axis=0), np.repeat(y, 9))
    widths = [[np.ptp(one.accuracy_ci) for one in found.calibration] for found in (copies, naive)]
    assert np.median(np.divide(*widths)) > 2


# ------------------------------------------------------------------------------------------- thresholds


def test_thresholds_score_what_scikit_learn_says_of_them():
    probabilities, y = draw_binary()
    for choice in curves_of(probabilities, y).thresholds:
        predicted = (probabilities[:, 1] >= choice.threshold).astype(int)
        assert choice.precision == pytest.approx(precision_score(y, predicted))
        assert choice.recall == pytest.approx(recall_score(y, predicted))
        assert choice.specificity == pytest.approx(recall_score(y, predicted, pos_label=0))
        assert choice.f1 == pytest.approx(f1_score(y, predicted))
        assert choice.accuracy == pytest.approx(accuracy_score(y, predicted))
        assert choice.n_positive_predicted == predicted.sum()
        for name in ("precision", "recall", "specificity", "f1", "accuracy"):
            low, high = getattr(choice, f"{name}_ci")
            assert 0 <= low < getattr(choice, name) < high <= 1


@pytest.mark.parametrize("ties", [False, True])
def test_no_threshold_is_better_than_the_best(ties):
    probabilities, y = draw_problem(0, 2) if ties else draw_binary()
    found = {choice.name: choice for choice in curves_of(probabilities, y).thresholds}
    assert next(iter(found)) == "default"
    seen = np.unique(probabilities[:, 1])
    every = [(threshold, (probabilities[:, 1] >= threshold).astype(int)) for threshold in seen]

    def balanced(predicted):
        return balanced_accuracy_score(y, predicted)

    best = found["best balanced accuracy"]
    assert (best.recall + best.specificity) / 2 == pytest.approx(max(balanced(part) for _, part in every))
    assert found["best F1"].f1 == pytest.approx(max(f1_score(y, part) for _, part in every))
    kept = found["recall of 0.95 or more"]
    enough = [balanced for balanced in every if recall_score(y, balanced[1]) >= 0.95]
    assert kept.n_positive_predicted == min(part.sum() for _, part in enough)
    precise = found.get("precision of 0.95 or more")
    recalls = [recall_score(y, part) for _, part in every if precision_score(y, part) >= 0.95]
    assert (precise is None) is (not recalls)
    assert precise is None or precise.recall == pytest.approx(max(recalls))


def test_the_interval_of_f1_holds_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(0)
    n_held = 0
    for seed in range(150):
        y = rng.random(200) < 0.4
        is_predicted = np.where(y, rng.random(200) < 0.8, rng.random(200) < 0.2)
        probabilities = np.stack([1 - is_predicted, is_predicted], axis=1).astype(float)
        low, high = (
            curves_of(probabilities, y.astype(int), n_resamples=1, random_state=seed).thresholds[0].f1_ci
        )
        # 2 TP / (2 TP + FP + FN) of 0.32, 0.12 and 0.08.
        n_held += low <= 0.64 / 0.84 <= high
    assert 135 <= n_held <= 149


def test_a_head_with_a_threshold_of_its_own_stands_first():
    probabilities, y = draw_binary()
    head = FixedThresholdClassifier(GaussianNB(), threshold=0.3).fit(probabilities, y)
    found = evaluate(head, probabilities, y, n_resamples=2)
    choice = found.curves.thresholds[0]
    assert (choice.name, choice.threshold) == ("the one in use", 0.3)
    assert choice.accuracy == pytest.approx(found.accuracy)


# --------------------------------------------------------------------------------------- odd test parts


def test_constant_scores_are_one_point_and_one_bin():
    y = np.array([0, 1] * 30)
    found = curves_of(np.full((60, 2), 0.5), y)
    low, high = found.roc[0].area_ci
    assert low < found.roc[0].area == 0.5 < high
    assert found.roc[0].false_positive_rate == (0, 1)
    assert [one.n_samples for one in found.calibration] == [60]
    choices = {choice.name: choice for choice in found.thresholds}
    assert choices["best F1"].n_positive_predicted == 60
    assert choices["default"].n_positive_predicted == 0
    assert (choices["default"].precision, choices["default"].precision_ci) == (0.0, (0.0, 1.0))
    assert "precision of 0.95 or more" not in choices


@pytest.mark.parametrize("n_samples", [1, 30])
def test_one_class_has_calibration_alone(n_samples):
    probabilities = np.tile([0.3, 0.7], (n_samples, 1))
    found = curves_of(probabilities, np.ones(n_samples, int))
    assert found.roc == found.thresholds == ()
    assert [curve.class_name for curve in found.precision_recall] == ["1"]
    assert found.precision_recall[0].average_precision == 1.0
    assert [(one.n_samples, one.accuracy) for one in found.calibration] == [(n_samples, 1.0)]


def test_a_class_that_is_lacking_has_no_curve():
    probabilities, y = draw_problem(2, 3)
    found = curves_of(probabilities[y != 1], y[y != 1])
    assert [curve.class_name for curve in found.roc] == ["0", "2"]
    assert [curve.class_name for curve in found.precision_recall] == ["0", "2"]


def test_a_head_without_probabilities_is_ranked_and_not_calibrated():
    probabilities, y = draw_binary()
    head = SVC().fit(probabilities, y)
    found = evaluate(head, probabilities, y, n_resamples=2).curves
    assert found.roc[0].area == pytest.approx(roc_auc_score(y, head.decision_function(probabilities)))
    assert found.calibration == found.thresholds == ()


def test_a_head_that_only_classifies_has_no_curves():
    assert evaluate(LabelHead().fit(), [[0], [1]], [0, 1]).curves is None


def test_views_are_averaged_before_curves_are_drawn():
    probabilities, y = draw_binary(n_samples=300)
    images = np.repeat(np.arange(100), 3)
    means = probabilities.reshape(100, 3, 2).mean(axis=1)
    found = curves_of(probabilities, y[images * 3], images=images)
    assert found == curves_of(means, y[::3])
