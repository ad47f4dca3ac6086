"""Families of candidates that share more than their scaling, and how each is fitted at once.

A path takes the last steps of some candidates that differ only in what the path varies, and yields each one
fitted, with the input that the fitted head takes for the test part: features, or a row of kernel values.
What is yielded is an ordinary scikit-learn head, so that scikit-learn's own scorers judge it.

==================  ====================================  ==========================================
heads               vary                                  share
==================  ====================================  ==========================================
SVC                 C, gamma                              the Gram matrix: squared distances or
                                                          products in float32, one kernel a gamma
KNeighbors          n_neighbors, weights                  the search for the most neighbours
RidgeClassifier     alpha                                 the Gram matrix of the columns
LinearSVC           C                                     that, as the shape of the problem, and
                                                          each C starts where the last one ended
LogisticRegression  C                                     the same, from a size on where that is
                                                          faster than scikit-learn's solver
==================  ====================================  ==========================================

Everything else, and every candidate that a path cannot serve, is fitted as it is on the shared features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.svm import SVC, LinearSVC

from featx.heads.design import Design
from featx.heads.linear_paths import fit_path, fit_ridge_path, logistic, squared_hinge
from featx.heads.problem import last_step, parting_no_group
from featx.heads.shared import Fold

# Below, scikit-learn's solver takes milliseconds (measured: 2,100 x 1,280 in 10 to 50), and the path more.
_LEAST_PATH_SIZE = 2e7
_MOST_KERNEL_BYTES = 2**30

_LOG = logging.getLogger(__name__)

Heads: TypeAlias = Sequence[BaseEstimator]


@dataclass(frozen=True)
class Fitted:
    """One candidate's last step, fitted on one fold.

    Attributes
    ----------
    index : int
        Of the candidate in its family.
    head : estimator
    inputs : ndarray
        What it takes for the test part.
    fit_time : float
        Seconds, without what the family shares.
    """

    index: int
    head: BaseEstimator
    inputs: np.ndarray
    fit_time: float


Path: TypeAlias = Callable[[Heads, Fold], Iterator[Fitted]]


def path_of(head: BaseEstimator, n_rows: int, n_features: int) -> tuple[Path, str]:
    """The path that serves a head, and a name that is equal for heads that one call of it serves.

    Parameters
    ----------
    head : estimator
        A last step.
    n_rows : int
        Of the training part.
    n_features : int

    Returns
    -------
    path : callable
    family : str
    """
    params = head.get_params(deep=False)
    for kind, varying, path, serves in _PATHS:
        if type(head) is kind and serves(params, n_rows, n_features):
            rest = {name: value for name, value in params.items() if name not in varying}
            return path, f"{kind.__name__} {sorted(rest.items())}"
    return fit_each, "each"


def fit_each(heads: Heads, fold: Fold) -> Iterator[Fitted]:
    """Fit every head as it is, on the shared features."""
    for index, head in enumerate(heads):
        yield _fit_as_it_is(index, head, fold)


def _fit_as_it_is(index: int, head: BaseEstimator, fold: Fold) -> Fitted:
    X = fold.X_train
    started = perf_counter()
    params = {} if fold.weights is None else {"sample_weight": fold.weights}
    groups = fold.problem.groups
    head = parting_no_group(head, fold.y_train, None if groups is None else groups[fold.train])
    fitted = clone(head).fit(X, fold.y_train, **params)
    return Fitted(index, fitted, fold.X_test, perf_counter() - started)


# ------------------------------------------------------------------------------------------- kernels


def _serves_svc(params: dict[str, Any], n_rows: int, n_features: int) -> bool:  # noqa: ARG001
    # libsvm takes kernel values in double precision.
    return 8 * n_rows**2 <= _MOST_KERNEL_BYTES and (
        params["kernel"] in ("rbf", "linear", "poly", "sigmoid")
        and params["probability"] in (False, "deprecated")
    )


def _fit_svc_path(heads: Heads, fold: Fold) -> Iterator[Fitted]:
    """Support vector machines on kernels made of one Gram matrix.

    One gamma after the other, so that one kernel is in memory at a time.
    """
    gammas = [_gamma(head, fold) for head in heads]
    order = sorted(range(len(heads)), key=lambda index: (gammas[index], heads[index].C))
    kernels, gamma_of_kernels = None, None
    for index in order:
        if kernels is None or gammas[index] != gamma_of_kernels:
            kernels = _kernels(heads[index], gammas[index], fold)
            gamma_of_kernels = gammas[index]
        started = perf_counter()
        machine = clone(heads[index]).set_params(kernel="precomputed")
        # What is computed here of finite numbers need not be looked through for each candidate.
        with config_context(assume_finite=True):
            machine.fit(kernels[0], fold.y_train, sample_weight=fold.weights)
        yield Fitted(index, machine, kernels[1], perf_counter() - started)


def _gamma(head: SVC, fold: Fold) -> float:
    """A number for gamma, by scikit-learn's rule."""
    if head.kernel == "linear" or not isinstance(head.gamma, str):
        return 0.0 if head.kernel == "linear" else float(head.gamma)
    n_features = int(fold.X_train.shape[1])
    if head.gamma == "auto":
        return 1 / n_features
    variance = fold.keep("variance", lambda: float(fold.X_train.astype(np.float64).var()))
    return 1 / (n_features * variance) if variance else 1.0


def _kernels(head: SVC, gamma: float, fold: Fold) -> list[np.ndarray]:
    """Kernel values among the training part, and of the test part with it, as libsvm takes them."""
    if head.kernel == "rbf":
        distances = fold.keep("squared distances", lambda: _squared_distances(fold))
        values = [np.exp(part * part.dtype.type(-gamma)) for part in distances]
    else:
        products = fold.keep("products", lambda: _products(fold))
        values = [_of_products(part.astype(np.float64), head, gamma) for part in products]
    return [np.ascontiguousarray(part, np.float64) for part in values]


def _of_products(products: np.ndarray, head: SVC, gamma: float) -> np.ndarray:
    if head.kernel == "linear":
        return products
    shifted = gamma * products + head.coef0
    return np.asarray(shifted**head.degree if head.kernel == "poly" else np.tanh(shifted))


def _products(fold: Fold) -> list[np.ndarray]:
    """In double precision: products, unlike distances, cannot be centred."""
    train, test = fold.X_train.astype(np.float64), fold.X_test.astype(np.float64)
    return [train @ train.T, test @ train.T]


def _squared_distances(fold: Fold) -> list[np.ndarray]:
    # Distances know no place, and far from zero single precision would not know them.
    centre = fold.X_train.mean(axis=0, dtype=np.float64).astype(fold.X_train.dtype)
    train, test = fold.X_train - centre, fold.X_test - centre
    squares = np.einsum("ij,ij->i", train, train)
    distances = [
        np.einsum("ij,ij->i", rows, rows)[:, np.newaxis] + squares - 2 * (rows @ train.T)
        for rows in (train, test)
    ]
    for part in distances:
        np.maximum(part, 0, out=part)
    np.fill_diagonal(distances[0], 0)
    return distances


# ---------------------------------------------------------------------------------------- neighbours


class _Acquainted(KNeighborsClassifier):
    """Nearest neighbours that were looked for before: scikit-learn's votes on them."""

    def know(self, neighbors: tuple[np.ndarray, np.ndarray]) -> _Acquainted:
        self._neighbors = neighbors
        return self

    def kneighbors(
        self,
        X: Any = None,  # noqa: ARG002 - known before
        n_neighbors: int | None = None,  # noqa: ARG002
        return_distance: bool = True,  # noqa: FBT001, FBT002 - scikit-learn's signature
    ) -> Any:
        # Sorted by distance, so that fewer neighbours are the first of them.
        distances, indices = (part[:, : self.n_neighbors] for part in self._neighbors)
        return (distances, indices) if return_distance else indices


def _serves_neighbors(params: dict[str, Any], n_rows: int, n_features: int) -> bool:  # noqa: ARG001
    return isinstance(params["n_neighbors"], int) and params["n_neighbors"] <= n_rows


def _fit_neighbors_path(heads: Heads, fold: Fold) -> Iterator[Fitted]:
    """Votes of the nearest of the most neighbours that any of the heads asks for."""
    most = max(heads, key=lambda head: head.n_neighbors)
    neighbors = clone(most).fit(fold.X_train, fold.y_train).kneighbors(fold.X_test)
    for index, head in enumerate(heads):
        started = perf_counter()
        # Uniform votes of brute force would be counted without asking for neighbours.
        acquainted = _Acquainted(**{**head.get_params(), "algorithm": "kd_tree", "metric": "minkowski"})
        acquainted.fit(fold.X_train[:, :1], fold.y_train).know(neighbors)
        yield Fitted(index, acquainted, fold.X_test[:, :1], perf_counter() - started)


# ------------------------------------------------------------------------------------- linear heads


def _serves_linear_svc(params: dict[str, Any], n_rows: int, n_features: int) -> bool:  # noqa: ARG001
    return bool(
        params["penalty"] == "l2"
        and params["loss"] == "squared_hinge"
        and params["multi_class"] == "ovr"
        and params["class_weight"] is None
        and params["intercept_scaling"] > 0
    )


def _serves_logistic(params: dict[str, Any], n_rows: int, n_features: int) -> bool:
    has_l2 = params["penalty"] in ("l2", "deprecated") and not params["l1_ratio"]
    # liblinear's minimum is another one: it penalises the intercept.
    return bool(
        n_rows * n_features >= _LEAST_PATH_SIZE
        and has_l2
        and params["solver"] != "liblinear"
        and params["class_weight"] is None
        and not params["warm_start"]
        and np.isfinite(params["C"])
    )


def _serves_ridge(params: dict[str, Any], n_rows: int, n_features: int) -> bool:  # noqa: ARG001
    is_plain = not params["positive"] and params["class_weight"] is None
    return is_plain and isinstance(params["alpha"], int | float) and params["alpha"] > 0


def _fit_linear_path(heads: Heads, fold: Fold) -> Iterator[Fitted]:
    """Logistic regression or linear SVM, C ascending, each from where the one before ended."""
    _check_params(heads)
    design, codes, to_features = _fewest_columns(fold)
    first, n_classes = heads[0], len(fold.classes)
    if isinstance(first, LinearSVC):
        scaling = {"intercept_scaling": first.intercept_scaling}
        objective = squared_hinge(codes, n_classes, has_intercept=first.fit_intercept, **scaling)
    else:
        objective = logistic(codes, n_classes, has_intercept=first.fit_intercept)
    order = sorted(range(len(heads)), key=lambda index: heads[index].C)
    path = fit_path(design, objective, [heads[index].C for index in order])
    for index in order:
        started = perf_counter()
        columns, n_iter = next(path)
        head = _with_weights(clone(heads[index]), to_features(columns), fold)
        head.classes_ = fold.classes
        # liblinear gives one number, L-BFGS one for each problem.
        head.n_iter_ = n_iter if isinstance(head, LinearSVC) else np.array([n_iter], np.int32)
        yield Fitted(index, head, fold.X_test, perf_counter() - started)


def _fit_ridge_path(heads: Heads, fold: Fold) -> Iterator[Fitted]:
    """Ridge, each alpha from one Gram matrix."""
    _check_params(heads)
    design, codes, to_features = _fewest_columns(fold)
    binarizer = LabelBinarizer(pos_label=1, neg_label=-1).fit(fold.y_train)
    targets = binarizer.transform(fold.classes[codes]).astype(np.float64)
    path = fit_ridge_path(
        design, targets, [head.alpha for head in heads], has_intercept=heads[0].fit_intercept
    )
    for index, head in enumerate(heads):
        started = perf_counter()
        fitted = _with_weights(clone(head), to_features(next(path)), fold)
        fitted.classes_, fitted.n_iter_, fitted.solver_ = fold.classes, None, "cholesky"
        # Its predict asks for this one, and it has no public name.
        vars(fitted)["_label_binarizer"] = binarizer
        yield Fitted(index, fitted, fold.X_test, perf_counter() - started)


def _check_params(heads: Heads) -> None:
    """Refuse what scikit-learn's ``fit``, which a path does without, would refuse."""
    for head in heads:
        head._validate_params()  # noqa: SLF001 - there is no public way to ask


def _fewest_columns(fold: Fold) -> tuple[Design, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The training part, its codes, and what turns weights on it into weights on the features.

    Of fewer rows than columns, only what the rows span matters: X' = Q R, and an L2 penalty sees no rotation,
    so that the head on R' with weights v is the head on X with weights Q v (Hastie and Tibshirani, Efficient
    quadratic regularization for expression arrays, Biostatistics 5, 2004).
    """
    design, codes = fold.design()
    if fold.is_streamed or len(fold.train) >= fold.X_train.shape[1]:
        return design, codes, lambda columns: columns
    basis, triangle = fold.keep("rotation", lambda: np.linalg.qr(fold.X_train.T))

    def to_features(columns: np.ndarray) -> np.ndarray:
        return np.vstack([basis @ columns[:-1].astype(basis.dtype), columns[-1:]])

    return Design(np.ascontiguousarray(triangle.T), fold.weights), codes, to_features


def _with_weights(head: BaseEstimator, columns: np.ndarray, fold: Fold) -> BaseEstimator:
    # liblinear computes in double precision whatever it is given.
    is_double = isinstance(head, LinearSVC) or fold.problem.X.dtype == np.float64
    dtype = np.float64 if is_double else np.float32
    head.coef_ = np.ascontiguousarray(columns[:-1].T, dtype)
    head.intercept_ = columns[-1].astype(dtype)
    head.n_features_in_ = head.coef_.shape[1]
    return head


def fit_alone(estimator: BaseEstimator, fold: Fold) -> BaseEstimator | None:
    """A whole pipeline whose last step a linear path fits on the training part, or None.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    fold : Fold
        Behind the estimator's own prefix.

    Returns
    -------
    estimator or None
        Fitted, as scikit-learn's own solver would leave it; None, too, where the path gives up.
    """
    _, head = last_step(estimator)
    path, _ = path_of(head, len(fold.train), fold.n_features)
    if path not in (_fit_linear_path, _fit_ridge_path):
        return None
    try:
        fitted = next(path([head], fold))
    except Exception:  # noqa: BLE001 - a path may give up; scikit-learn's own solver does not
        _LOG.debug("the best head is refitted without its path", exc_info=True)
        return None
    if not hasattr(estimator, "steps"):
        return fitted.head
    whole, by_name = clone(estimator), dict(fold.transformers)
    before = [(name, by_name.get(name, step)) for name, step in whole.steps[:-1]]
    whole.steps = [*before, (whole.steps[-1][0], fitted.head)]
    return whole


_PATHS: tuple[tuple[type, tuple[str, ...], Path, Callable[[dict[str, Any], int, int], bool]], ...] = (
    (SVC, ("C", "gamma"), _fit_svc_path, _serves_svc),
    (KNeighborsClassifier, ("n_neighbors", "weights"), _fit_neighbors_path, _serves_neighbors),
    (RidgeClassifier, ("alpha",), _fit_ridge_path, _serves_ridge),
    (LinearSVC, ("C",), _fit_linear_path, _serves_linear_svc),
    (LogisticRegression, ("C",), _fit_linear_path, _serves_logistic),
)
