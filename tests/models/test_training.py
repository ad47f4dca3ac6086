"""Scores as scikit-learn counts them, and their order."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from featx.models.samples import Samples
from featx.models.training import Score, are_probabilities, score_of


@pytest.mark.parametrize("is_probability", [True, False])
def test_scores_are_those_of_scikit_learn(is_probability):
    rng = np.random.default_rng(0)
    decisions = rng.normal(size=(50, 3)) * 2
    probability = softmax(decisions, axis=1)
    y, weight = rng.integers(0, 3, 50), rng.random(50).astype(np.float32)
    found = score_of(
        probability if is_probability else decisions, Samples((), y, weight), is_probability=is_probability
    )
    expected = accuracy_score(y, decisions.argmax(axis=1), sample_weight=weight)
    assert found.accuracy == pytest.approx(expected)
    assert found.log_loss == pytest.approx(log_loss(y, probability, sample_weight=weight), rel=1e-5)


def test_accuracy_ranks_first_then_log_loss_and_no_number_last():
    order = [Score(0.5, float("nan")), Score(0.5, 9.0), Score(0.5, 0.1), Score(0.6, 9.0)]
    assert sorted(order, key=lambda score: score.rank) == order


def test_probabilities_are_told_from_decisions():
    assert are_probabilities(np.array([[0.2, 0.8], [1.0, 0.0]]))
    assert not are_probabilities(np.array([[0.2, 0.9]]))
    assert not are_probabilities(np.array([[-0.5, 1.5]]))
    assert not are_probabilities(np.array([[np.nan, 1.0]]))
