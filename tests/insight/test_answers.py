"""Answers: one row a sample, or an image whose views are averaged."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC

from featx import HeadError
from featx.insight.answers import answers_of
from tests.insight.problems import LabelHead, ProbabilityHead


def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, np.array([f"digit {label}" for label in range(10)])[y]


@pytest.mark.parametrize("head", [LogisticRegression(), SVC(break_ties=True), LinearSVC()])
def test_images_of_one_view_are_answered_like_samples(head):
    X, y = digits()
    head.fit(X[:300], y[:300])
    alone, views = (
        answers_of(head, X[300:], y[300:], images=images) for images in (None, range(len(X) - 300))
    )
    assert np.array_equal(alone.predicted, views.predicted)
    assert np.array_equal(alone.codes, views.codes)
    assert np.array_equal(alone.scores, views.scores)
    assert (alone.probabilities is None) == (views.probabilities is None)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_decisions_are_averaged_where_there_are_no_probabilities(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    head = LinearSVC().fit(X, y)
    images = np.arange(len(X)) // 2
    found = answers_of(head, X, y, images=images)
    decisions = head.decision_function(X).reshape(len(X) // 2, 2, -1).mean(axis=1)
    assert found.probabilities is None
    assert found.scores[:, -decisions.shape[1] :] == pytest.approx(decisions)
    chosen = decisions.argmax(axis=1) if n_classes == 3 else (decisions[:, 0] > 0).astype(int)
    assert np.array_equal(found.predicted, chosen)


def test_codes_and_groups_are_those_of_the_images():
    head = ProbabilityHead(3).fit()
    y, groups, images = [2, 0, 2, 1], ["x", "y", "x", "y"], ["c", "a", "c", "b"]
    found = answers_of(head, np.full((4, 3), 1 / 3), y, groups, images)
    assert found.codes.tolist() == [2, 0, 1]
    assert found.groups.tolist() == ["x", "y", "y"]


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([0, 1, 1], {"images": ["a", "a", "b"]}, "rows 0 and 1 of one image with the class 0 and 1"),
        ([0, 0, 1], {"images": ["a", "a", "b"], "groups": [0, 1, 1]}, "with the group 0 and 1"),
        ([0, 0, 1], {"images": ["a", None, "b"]}, "no image for row 1"),
        ([0, 0, 1], {"images": ["a", "b"]}, r"inconsistent numbers of samples: \[3, 3, 2\]"),
    ],
)
def test_views_that_do_not_belong_together_are_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        answers_of(ProbabilityHead().fit(), np.full((3, 2), 0.5), y, **options)


def test_a_head_without_scores_has_nothing_to_average():
    X, y = load_iris(return_X_y=True)
    for head, features, labels in (
        (LabelHead().fit(), [[0], [1]], [0, 1]),
        (SVC(decision_function_shape="ovo").fit(X, y), X, y),
    ):
        with pytest.raises(HeadError, match="without a score for each class"):
            answers_of(head, features, labels, images=range(len(labels)))
