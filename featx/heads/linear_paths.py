"""Linear heads along a path of penalties: logistic regression, linear SVM and ridge, from one Gram matrix.

All three minimise a smooth loss with an L2 penalty, and their candidates differ in its strength alone. What
the candidates share is the Gram matrix of the fold. For ridge it is the answer: one Cholesky factorisation a
candidate. For the other two it is the shape of the problem: with ``M = c * Gram / n + penalty``, where c is
the mean curvature of the loss, and ``M = R R'``, the objective as a function of ``R' w`` is nearly round, and
L-BFGS needs 10 to 20 passes over the data where it otherwise needs 40 to 180 (and liblinear minutes). Each
candidate starts where the one before ended.

A change of variables changes no minimum: the heads are scikit-learn's, with scikit-learn's minimum. The
gradient in these variables says how far it is, too: its norm over the root of c bounds the root mean square
error of the decision values, and the search stops where that is a thousandth.

The rejected alternative is an eigendecomposition of the Gram matrix, which would serve every penalty at once:
it costs as much as thirty factorisations, and a path has about six.

References
----------
Nocedal and Wright, Numerical Optimization, 2006, section 7.2 (L-BFGS) and 5.1 (preconditioning).
Hsieh et al., A Dual Coordinate Descent Method for Large-scale Linear SVM, ICML 2008 (the SVM's objective).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# NumPy's factorisation, and not SciPy's, lets other threads run.
from numpy.linalg import LinAlgError, cholesky
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import OptimizeResult, minimize
from scipy.special import expit, log_expit, log_softmax, softmax

from featx.heads.design import Design, Judge

# Of the decision values, root mean square, where those are of the order of one.
_TOLERANCE = 1e-4
_MAX_ITERATIONS = 300
_MAX_LINE_SEARCH = 6
_LEAST_CURVATURE = 1e-4
_MAX_REFINEMENTS = 10
_RESIDUAL = 1e-10


class NotConvergedError(Exception):
    """The minimum was not reached; another solver may."""


@dataclass(frozen=True)
class Objective:
    """A loss with its curvature, and what the intercept is penalised by.

    Attributes
    ----------
    judge : callable
        The loss.
    curvature : callable
        Maps decision values (n_rows, n_outputs) to second derivatives (n_rows, n_outputs).
    intercept_penalty : float
        In units of the weights' own; infinite means no intercept.
    n_outputs : int
    """

    judge: Judge
    curvature: Callable[[np.ndarray], np.ndarray]
    intercept_penalty: float
    n_outputs: int


def logistic(codes: np.ndarray, n_classes: int, *, has_intercept: bool = True) -> Objective:
    """Logistic regression: one output for two classes, and else one a class, with a softmax.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Classes as integers from 0.
    n_classes : int
    has_intercept : bool, default=True

    Returns
    -------
    Objective
    """
    penalty = 0.0 if has_intercept else np.inf
    if n_classes == 2:
        signs = np.where(codes == 1, 1.0, -1.0)[:, np.newaxis]

        def binary(rows: slice, decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            margins = signs[rows] * decisions
            return -log_expit(margins)[:, 0], -signs[rows] * expit(-margins)

        return Objective(binary, lambda decisions: expit(decisions) * expit(-decisions), penalty, 1)

    def multinomial(rows: slice, decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logarithms = log_softmax(decisions, axis=1)
        truth = np.arange(len(decisions)), codes[rows]
        gradient = np.exp(logarithms)
        gradient[truth] -= 1
        return -logarithms[truth], gradient

    def curvature(decisions: np.ndarray) -> np.ndarray:
        shares = softmax(decisions, axis=1)
        return np.asarray(shares * (1 - shares))

    return Objective(multinomial, curvature, penalty, n_classes)


def squared_hinge(
    codes: np.ndarray, n_classes: int, *, has_intercept: bool = True, intercept_scaling: float = 1.0
) -> Objective:
    """The linear SVM of liblinear: squared hinge loss, each class against the rest, the intercept penalised.

    Parameters
    ----------
    codes : ndarray of shape (n_rows,)
        Classes as integers from 0.
    n_classes : int
    has_intercept : bool, default=True
    intercept_scaling : float, default=1.0
        Value of liblinear's column for the intercept.

    Returns
    -------
    Objective
    """
    penalty = 1 / intercept_scaling**2 if has_intercept else np.inf
    classes = np.array([1]) if n_classes == 2 else np.arange(n_classes)
    signs = np.where(codes[:, np.newaxis] == classes, 1.0, -1.0)

    def judge(rows: slice, decisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        short = np.maximum(0.0, 1 - signs[rows] * decisions)
        return (short**2).sum(axis=1), -2 * signs[rows] * short

    return Objective(judge, lambda decisions: 2.0 * (signs * decisions < 1), penalty, len(classes))


def fit_path(
    design: Design, objective: Objective, strengths: Sequence[float]
) -> Iterator[tuple[np.ndarray, int]]:
    """Weights for each C of a path, each from where the one before ended.

    Parameters
    ----------
    design : Design
    objective : Objective
    strengths : sequence of float
        scikit-learn's C: what the summed loss is multiplied by. Ascending is fastest.

    Yields
    ------
    columns : ndarray of shape (n_features + 1, n_outputs)
        The intercept's row last.
    n_iter : int

    Raises
    ------
    NotConvergedError
    """
    gram = design.gram() / design.total_weight
    columns = np.zeros((design.n_columns, objective.n_outputs))
    for strength in strengths:
        columns, n_iter = _minimise(design, objective, strength, gram, columns)
        yield columns, n_iter


def _minimise(
    design: Design, objective: Objective, strength: float, gram: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, int]:
    """Mean loss plus the penalty over ``strength * total_weight``, in the variables ``R' w``."""
    share = design.weights[:, np.newaxis] / design.total_weight
    penalty = np.full((design.n_columns, 1), 1 / (strength * design.total_weight))
    has_intercept = np.isfinite(objective.intercept_penalty)
    penalty[-1] *= objective.intercept_penalty if has_intercept else 0.0
    decisions = design.dot(start)
    curvature = max(float((share * objective.curvature(decisions)).sum(axis=0).mean()), _LEAST_CURVATURE)
    typical = max(1.0, float(np.sqrt(np.mean(decisions**2))))
    # The factor shapes the problem and not its minimum, so that single precision does.
    matrix = _preconditioner(gram, curvature, penalty, has_intercept=has_intercept).astype(np.float32)
    factor = cholesky(matrix)

    def solve(columns: np.ndarray, trans: str) -> np.ndarray:
        columns = columns.astype(np.float32)
        solved = solve_triangular(factor, columns, lower=True, trans=trans, check_finite=False)
        return np.asarray(solved, np.float64)

    def to_columns(rounded: np.ndarray) -> np.ndarray:
        return solve(rounded.reshape(start.shape), "T")

    def value_and_gradient(rounded: np.ndarray) -> tuple[float, np.ndarray]:
        columns = to_columns(rounded)
        loss, gradient = design.sweep(columns, objective.judge)
        gradient += penalty * columns
        if not has_intercept:
            gradient[-1] = 0
        value = loss + 0.5 * float((penalty * columns**2).sum())
        rounded_gradient = solve(gradient, "N")
        norms.append(float(np.linalg.norm(rounded_gradient)))
        return value, rounded_gradient.ravel()

    def stop_when_near(intermediate_result: OptimizeResult) -> None:  # noqa: ARG001 - scipy's signature
        if norms[-1] <= tolerance:
            raise StopIteration

    norms: list[float] = []
    tolerance = _TOLERANCE * typical * np.sqrt(curvature)
    found = minimize(
        value_and_gradient,
        (factor.T @ start).ravel(),
        jac=True,
        method="L-BFGS-B",
        callback=stop_when_near,
        options={
            "maxiter": _MAX_ITERATIONS,
            "gtol": tolerance / np.sqrt(start.size),
            "ftol": 0.0,
            "maxcor": 20,
            # Where single precision ends, a line search finds no descent however often it looks.
            "maxls": _MAX_LINE_SEARCH,
        },
    )
    # Float32 products are too coarse for the last steps now and then; what counts is where they ended.
    if (norm := float(np.linalg.norm(found.jac))) > 10 * tolerance:
        message = f"gradient {norm:.1e}, not {tolerance:.1e}, after {found.nit} iterations"
        raise NotConvergedError(message)
    return to_columns(found.x), int(found.nit)


def _preconditioner(
    gram: np.ndarray, curvature: float, penalty: np.ndarray, *, has_intercept: bool
) -> np.ndarray:
    matrix = curvature * gram
    matrix[np.diag_indices_from(matrix)] += penalty[:, 0]
    if not has_intercept:
        matrix[-1], matrix[:, -1] = 0, 0
        matrix[-1, -1] = 1
    return matrix


def fit_ridge_path(
    design: Design, targets: np.ndarray, alphas: Sequence[float], *, has_intercept: bool = True
) -> Iterator[np.ndarray]:
    """Weights of ridge regression for each alpha, exactly, from one Gram matrix.

    Parameters
    ----------
    design : Design
    targets : ndarray of shape (n_rows, n_outputs)
    alphas : sequence of float
        What the squared norm of the weights is multiplied by; the intercept is free.
    has_intercept : bool, default=True

    Yields
    ------
    ndarray of shape (n_features + 1, n_outputs)
        The intercept's row last.
    """
    gram = design.gram()
    moments = design.transposed_dot(design.weights[:, np.newaxis] * targets)
    mean, target_mean = gram[-1, :-1] / gram[-1, -1], moments[-1] / gram[-1, -1]
    if not has_intercept:
        mean, target_mean = np.zeros_like(mean), np.zeros_like(target_mean)
    # Centred, the intercept drops out of the system.
    centred = gram[:-1, :-1] - gram[-1, -1] * np.outer(mean, mean)
    right = moments[:-1] - gram[-1, -1] * np.outer(mean, target_mean)
    for alpha in alphas:
        matrix = centred.copy()
        matrix[np.diag_indices_from(matrix)] += alpha
        weights = _solve(matrix, right)
        yield np.vstack([weights, target_mean - mean @ weights])


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """A positive definite system, factorised in single precision and refined to double.

    A third of the time of a factorisation in double precision, which is what is left where the refinement
    does not converge (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 12.1).
    """
    try:
        factor = cholesky(matrix.astype(np.float32)), True
        found, size = np.zeros_like(right), np.linalg.norm(right)
        for _ in range(_MAX_REFINEMENTS):
            residual = right - matrix @ found
            if np.linalg.norm(residual) <= _RESIDUAL * size:
                return found
            found += cho_solve(factor, residual.astype(np.float32), check_finite=False)
    except LinAlgError:
        # Positive definite in double precision only.
        factor = None
    return np.asarray(cho_solve((cholesky(matrix), True), right, check_finite=False))
