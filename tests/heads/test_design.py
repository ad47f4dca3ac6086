"""A design matrix against the dense one that it stands for."""

import numpy as np
import pytest

from featx.heads import design as design_module
from featx.heads.design import Design
from tests.heads.real_data import digits

EXACT = {np.float64: 1e-9, np.float32: 1e-3, np.float16: 1e-3}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(design_module, "_BLOCK_BYTES", 10_000)


def dense(X, mean, scale):
    return np.column_stack([(X.astype(np.float64) - mean) / scale, np.ones(len(X))])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("dtype", EXACT)
def test_products_are_those_of_the_standardised_matrix(dtype):
    X = digits()[0].astype(dtype)
    rng = np.random.default_rng(0)
    mean, scale = X.mean(axis=0, dtype=np.float64), rng.uniform(1, 5, X.shape[1])
    weights = rng.integers(0, 3, len(X)).astype(float)
    design, expected = Design(X, weights, mean, scale), dense(X, mean, scale)
    columns, residuals = rng.normal(size=(65, 3)), rng.normal(size=(len(X), 3))
    tolerance = {"rtol": EXACT[dtype], "atol": EXACT[dtype]}
    np.testing.assert_allclose(design.dot(columns), expected @ columns, **tolerance)
    np.testing.assert_allclose(design.transposed_dot(residuals), expected.T @ residuals, **tolerance)
    gram = (expected * weights[:, np.newaxis]).T @ expected
    np.testing.assert_allclose(design.gram(), gram, **tolerance)
    assert design.total_weight == weights.sum()
    assert design.n_columns == 65


@pytest.mark.usefixtures("small_blocks")
def test_rows_of_no_weight_are_as_if_they_were_not_there():
    X = digits()[0]
    weights = np.r_[np.zeros(100), np.ones(140)]
    np.testing.assert_allclose(Design(X, weights).gram(), Design(X[100:]).gram(), rtol=1e-12)
    assert np.isfinite(Design(X, weights).dot(np.ones((65, 1)))).all()


def test_nothing_of_the_matrix_is_copied():
    X = digits()[0].astype(np.float16)
    assert np.shares_memory(Design(X)._X, X)
