"""Small problems with known answers, for the tests of every module of insight."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import roc_auc_score

each_problem = pytest.mark.parametrize(
    ("seed", "n_classes"), [(0, 2), (1, 2), (2, 3), (3, 5)], ids=["binary", "binary again", "three", "five"]
)


class LabelHead(ClassifierMixin, BaseEstimator):
    """A head whose answers are its features: the predicted class stands in the first column."""

    def __init__(self, n_classes=2):
        self.n_classes = n_classes

    def fit(self, X=None, y=None):  # noqa: ARG002 - scikit-learn's signature
        self.classes_ = np.arange(self.n_classes)
        return self

    def predict(self, X):
        return np.asarray(X)[:, 0].astype(int)


class ProbabilityHead(LabelHead):
    """A head whose features are its probabilities."""

    def predict_proba(self, X):
        return np.asarray(X)

    def predict(self, X):
        return np.asarray(X).argmax(axis=1)


def draw_problem(seed, n_classes, n_samples=200, *, n_steps=20):
    """Probabilities in few steps, so that many are tied, and classes that follow them more or less."""
    rng = np.random.default_rng(seed)
    probabilities = rng.multinomial(n_steps, rng.dirichlet(np.ones(n_classes), n_samples)) / n_steps
    y = np.array([rng.choice(n_classes, p=row / row.sum()) for row in probabilities + 0.1])
    return probabilities, y


def area(y, probabilities, **options):
    if probabilities.shape[1] == 2:
        return roc_auc_score(y, probabilities[:, 1], **options)
    return roc_auc_score(y, probabilities, multi_class="ovr", average="macro", **options)
