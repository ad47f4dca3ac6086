"""Metrics under weights against scikit-learn's, and the weights that resampling draws."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
)

from featx import evaluate
from featx.insight.metrics import (
    bootstrap,
    curve_metrics,
    interval,
    label_metrics,
    probability_metrics,
    score_metrics,
)
from tests.insight.problems import ProbabilityHead, area, draw_problem, each_problem

# --------------------------------------------------------------------------------------------- weights


@each_problem
def test_weighted_metrics_are_scikit_learns(seed, n_classes):
    # A resample is a vector of counts, so this is what the intervals are made of.
    probabilities, y = draw_problem(seed, n_classes)
    predicted, classes = probabilities.argmax(axis=1), range(n_classes)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(y))).astype(float)
    labels = label_metrics(y, predicted, n_classes)(weights)
    scores = score_metrics(y, probabilities)(weights)
    curves = curve_metrics(y, probabilities)(weights)
    assert np.array_equal(curves["roc_auc"], scores["roc_auc"])
    losses = probability_metrics(y, probabilities)(weights)
    for row, weight in enumerate(weights):
        w = {"sample_weight": weight}
        assert labels["accuracy"][row] == pytest.approx(accuracy_score(y, predicted, **w))
        assert labels["balanced_accuracy"][row] == pytest.approx(balanced_accuracy_score(y, predicted, **w))
        assert scores["roc_auc"][row] == pytest.approx(area(y, probabilities, **w))
        assert losses["log_loss"][row] == pytest.approx(log_loss(y, probabilities, **w))
        assert losses["brier"][row] == pytest.approx(brier_score_loss(y, probabilities, **w))
        expected = [average_precision_score(y == label, probabilities[:, label], **w) for label in classes]
        assert curves["class_average_precision"][row].tolist() == pytest.approx(expected)
        for name, score in {"precision": precision_score, "recall": recall_score, "f1": f1_score}.items():
            expected = score(y, predicted, labels=classes, average=None, **w)
            assert labels[name][row].tolist() == pytest.approx(expected.tolist())


def test_a_weight_of_two_is_a_sample_that_stands_twice():
    probabilities, y = draw_problem(0, 3)
    counts = np.random.default_rng(0).integers(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), counts)
    weighted = probability_metrics(y, probabilities)(counts[None].astype(float))
    repeated = evaluate(ProbabilityHead(3).fit(), probabilities[rows], y[rows], n_resamples=1)
    assert weighted["ece"][0] == pytest.approx(repeated.ece)
    assert weighted["log_loss"][0] == pytest.approx(repeated.log_loss)


# --------------------------------------------------------------------------------------------- draws


def test_a_resample_draws_as_many_samples_as_there_are():
    (counts,) = bootstrap(50, None, 200, random_state=0)
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    # Every sample is drawn as often as any other: 200 times, give or take five standard deviations.
    assert np.abs(counts.sum(axis=0) - 200).max() < 5 * np.sqrt(200)


def test_a_resample_draws_whole_groups():
    groups = np.array(["a", "b", "b", "c", "c", "c"])
    (counts,) = bootstrap(6, groups, 100, random_state=0)
    assert (counts[:, 1] == counts[:, 2]).all()
    assert (counts[:, 3:] == counts[:, 3:4]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_draws_without_a_value_are_left_out_of_the_interval():
    draws = np.array([np.nan, *np.linspace(0, 1, 101)])
    assert interval(draws) == pytest.approx((0.025, 0.975))


def test_where_no_draw_has_a_value_the_interval_is_the_metrics_range():
    assert interval(np.full(3, np.nan)) == (0.0, 1.0)
    assert interval(np.full(3, np.nan), lowest=-1.0, highest=1.0) == (-1.0, 1.0)
