"""The linear paths: gradients against differences, and what the design gives them."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from featx.heads import design as design_module
from featx.heads.design import Design
from featx.heads.linear_paths import NotConvergedError, fit_path, fit_ridge_path, logistic, squared_hinge
from tests.heads.real_data import cancer, digits

OBJECTIVES = {"logistic": logistic, "squared hinge": squared_hinge}

# All of them.
ROWS = slice(None)

each_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def standardised(data):
    X, y = data()
    X = X[:, X.std(axis=0) > 0]
    return (X - X.mean(axis=0)) / X.std(axis=0), y


@each_objective
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_gradient_of_a_loss_is_its_differences(objective, n_classes):
    rng = np.random.default_rng(0)
    found = objective(rng.integers(0, n_classes, 7), n_classes)
    decisions = rng.normal(size=(7, found.n_outputs))

    def total(flat):
        return found.judge(ROWS, flat.reshape(decisions.shape))[0].sum()

    gradient = found.judge(ROWS, decisions)[1]
    differences = approx_fprime(decisions.ravel(), total, 1e-7)
    np.testing.assert_allclose(gradient.ravel(), differences, rtol=0, atol=1e-5)
    step = 1e-6
    for output in range(found.n_outputs):
        moved = decisions.copy()
        moved[:, output] += step
        slope = (found.judge(ROWS, moved)[1] - gradient)[:, output] / step
        np.testing.assert_allclose(found.curvature(decisions)[:, output], slope, rtol=0, atol=1e-4)


@each_objective
@pytest.mark.parametrize("data", [cancer, digits])
def test_no_step_in_any_direction_lowers_the_minimum_by_more_than_its_tolerance(objective, data):
    X, codes = standardised(data)
    n_classes = len(np.unique(codes))
    weights = np.random.default_rng(0).uniform(0.1, 5, len(X))
    found = objective(codes, n_classes)
    (columns, n_iter), *_ = fit_path(Design(X, weights), found, [0.01])

    def value(columns):
        losses = found.judge(ROWS, X @ columns[:-1] + columns[-1])[0]
        penalty = (columns[:-1] ** 2).sum() + found.intercept_penalty * (columns[-1] ** 2).sum()
        return 0.01 * weights @ losses + penalty / 2

    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(10):
            step = size * rng.normal(size=columns.shape)
            assert value(columns + step) > value(columns) * (1 - 1e-6)
    assert 0 < n_iter < 100


def test_a_path_finds_what_each_strength_finds_alone():
    X, codes = standardised(digits)
    strengths = [1e-4, 1e-2, 1.0]
    together = [columns for columns, _ in fit_path(Design(X), logistic(codes, 10), strengths)]
    for strength, columns in zip(strengths, together, strict=True):
        ((alone, _),) = fit_path(Design(X), logistic(codes, 10), [strength])
        difference = X @ (columns - alone)[:-1] + (columns - alone)[-1]
        assert np.sqrt(np.mean(difference**2)) < 3e-3 * max(1, np.sqrt(np.mean((X @ alone[:-1]) ** 2)))


def test_without_an_intercept_there_is_none():
    X, codes = standardised(cancer)
    for objective in OBJECTIVES.values():
        ((columns, _),) = fit_path(Design(X), objective(codes, 2, has_intercept=False), [0.01])
        assert columns[-1].tolist() == [0.0]
    (columns,) = fit_ridge_path(Design(X), 2.0 * codes[:, np.newaxis] - 1, [1.0], has_intercept=False)
    assert columns[-1].tolist() == [0.0]


def test_a_minimum_that_is_not_reached_is_said_to_be(monkeypatch):
    from featx.heads import linear_paths

    monkeypatch.setattr(linear_paths, "_MAX_ITERATIONS", 1)
    X, codes = standardised(digits)
    with pytest.raises(NotConvergedError, match="after 1 iterations"):
        list(fit_path(Design(X), logistic(codes, 10), [10.0]))


def test_ridge_solves_a_system_that_single_precision_cannot_factorise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 3)) @ rng.normal(size=(3, 20)) + 1e-6 * rng.normal(size=(50, 20))
    targets = rng.normal(size=(50, 1))
    (columns,) = fit_ridge_path(Design(X), targets, [1e-3])
    centred = X - X.mean(axis=0)
    expected = np.linalg.solve(centred.T @ centred + 1e-3 * np.eye(20), centred.T @ targets)
    np.testing.assert_allclose(
        X @ columns[:-1] - X.mean(axis=0) @ columns[:-1], centred @ expected, atol=1e-6
    )


def test_blocks_that_are_left_out_do_not_reach_the_minimum(monkeypatch):
    """A fold's rows may fill whole blocks: what is not read there must not be what memory held before."""
    X, codes = standardised(cancer)
    weights = np.r_[np.zeros(120), np.ones(120)]
    # The spoiled memory that a long search has.
    monkeypatch.setattr(design_module.np, "empty", lambda shape: np.full(shape, np.nan))
    monkeypatch.setattr(design_module, "_BLOCK_BYTES", 60 * X[0].nbytes)
    for objective in OBJECTIVES.values():
        ((part, _),) = fit_path(Design(X, weights), objective(codes, 2), [0.01])
        ((alone, _),) = fit_path(Design(X[120:]), objective(codes[120:], 2), [0.01])
        np.testing.assert_allclose(X @ part[:-1], X @ alone[:-1], rtol=0, atol=1e-3)
