"""Both closed forms against scikit-learn's ridge regression."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from featx.insight.ridge import ridge_of_columns, ridge_of_samples


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), (60, 90, 30))
    Z = StandardScaler().fit_transform(rng.normal(size=(180, 12)) + 1.5 * np.eye(12)[y])
    shown, asked = np.arange(0, 180, 5), np.arange(1, 180, 5)
    targets = np.eye(3)[y[shown]]
    return Z[shown], targets, Z[asked], Ridge(alpha=12.0).fit(Z[shown], targets).predict(Z[asked])


def test_products_of_samples_are_enough(parts):
    shown, targets, asked, expected = parts
    found = ridge_of_samples(shown @ shown.T, asked @ shown.T, targets, 12.0)
    assert found == pytest.approx(expected, abs=1e-4)


def test_products_of_columns_are_enough(parts):
    shown, targets, asked, expected = parts
    found = ridge_of_columns(shown.T @ shown, targets.T @ shown, targets.sum(axis=0), asked)
    assert found == pytest.approx(expected, abs=1e-4)
