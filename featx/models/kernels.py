"""Converters of support vector machines with kernels: one-vs-one decisions, votes, Platt's probabilities.

libsvm trains one machine for each pair of classes i < j. Its decision value is positive for class i, and
all of them are linear in the kernel values to the support vectors, so that they are one ``Dense`` layer.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from sklearn.svm import SVC, NuSVC

from featx.models.dispatch import Converter, as_array, refuse
from featx.models.layers import dense, distance_scores, scaled

_KERNELS = ("linear", "poly", "rbf", "sigmoid")

# libsvm's bounds for the probability of a class against another.
_SMALLEST_PROBABILITY = 1e-7
# libsvm sweeps up to a hundred times; it was never seen to need more than five.
_N_SWEEPS = 6

# Smallest normal float32: lets the second of two classes win at a decision value of exactly zero.
_TINY = 1.2e-38


def _convert_svc(head: Any, inputs: Any, method: str) -> Any:
    if head.kernel not in _KERNELS:
        kernel = head.kernel if isinstance(head.kernel, str) else "a callable"
        raise refuse(head, f"kernel={kernel!r}", f"one of {', '.join(_KERNELS)}")
    decisions = _pair_decisions(head, inputs)
    n_classes = len(head.classes_)
    if method == "predict_proba":
        return _couple(_pair_probabilities(head, decisions), n_classes)
    if method == "predict":
        return _class_scores(head, decisions)
    if n_classes == 2:
        return -decisions
    return decisions if head.decision_function_shape == "ovo" else _one_vs_rest_scores(decisions, n_classes)


def _raw(head: Any, name: str) -> Any:
    """One of libsvm's own values: their public forms have other signs for two classes, or warn."""
    return as_array(getattr(head, name))


def _pairs(n_classes: int) -> list[tuple[int, int]]:
    return list(combinations(range(n_classes), 2))


def _pair_decisions(head: Any, inputs: Any) -> Any:
    """What libsvm decides by: KerasTensor (n_samples, n_pairs)."""
    vectors, coefficients = as_array(head.support_vectors_), _pair_coefficients(head)
    if head.kernel == "linear":
        return dense(inputs, vectors.T @ coefficients, _raw(head, "_intercept_"))
    order = _mixed_order(_raw(head, "_n_support"))
    vectors, coefficients = vectors[order], coefficients[order]
    if head.kernel != "rbf":
        return dense(_kernel_values(head, inputs, vectors), coefficients, _raw(head, "_intercept_"))
    # Coefficients of a pair add up to nothing, so that kernel values can be given less what is usual among
    # them: smaller numbers, which lose less where large coefficients cancel.
    spread = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()
    level = float(np.exp(-2 * _raw(head, "_gamma") * spread))
    bias = _raw(head, "_intercept_") + level * coefficients.sum(axis=0)
    return dense(_kernel_values(head, inputs, vectors) - level, coefficients, bias)


def _pair_coefficients(head: Any) -> np.ndarray:
    """Of each support vector in each pair's decision: array of shape (n_vectors, n_pairs).

    libsvm keeps n_classes - 1 rows: a vector of class i has its coefficient against class j in row j - 1
    where i < j, and in row j where i > j.
    """
    dual = _raw(head, "_dual_coef_")
    class_of = np.repeat(np.arange(len(head.classes_)), _raw(head, "_n_support").astype(int))
    pairs = _pairs(len(head.classes_))
    coefficients = np.zeros((dual.shape[1], len(pairs)))
    for column, (first, second) in enumerate(pairs):
        is_first, is_second = class_of == first, class_of == second
        coefficients[is_first, column] = dual[second - 1, is_first]
        coefficients[is_second, column] = dual[first, is_second]
    return coefficients


def _mixed_order(n_support: np.ndarray) -> np.ndarray:
    """The support vectors' order with the classes evenly mixed.

    libsvm keeps them by class, so that a sum over them climbs by all of one class's positive coefficients
    before the other's come off: in float32 that costs a digit or two.
    """
    return np.argsort(np.concatenate([(np.arange(n) + 0.5) / n for n in n_support if n]), kind="stable")


def _kernel_values(head: Any, inputs: Any, vectors: np.ndarray) -> Any:
    """KerasTensor (n_samples, n_vectors). Its layers' weights are the support vectors, times gamma."""
    from keras import ops

    gamma = _raw(head, "_gamma")
    if head.kernel == "rbf":
        return ops.exp(distance_scores(inputs, vectors, np.full(vectors.shape[1], gamma)))
    products = dense(inputs, gamma * vectors.T, np.full(len(vectors), float(head.coef0)))
    return ops.power(products, float(head.degree)) if head.kernel == "poly" else ops.tanh(products)


def _signs(n_classes: int) -> np.ndarray:
    """Whom a pair's positive decision is for (+1) and against (-1): array (n_pairs, n_classes)."""
    signs = np.zeros((n_classes * (n_classes - 1) // 2, n_classes), np.float32)
    for row, (first, second) in enumerate(_pairs(n_classes)):
        signs[row, first], signs[row, second] = 1.0, -1.0
    return signs


def _votes(first_wins: Any, n_classes: int) -> Any:
    """Pairs won by each class: whole numbers, KerasTensor (n_samples, n_classes)."""
    from keras import ops

    signs = _signs(n_classes)
    # All pairs start as won by their second class.
    return ops.matmul(ops.cast(first_wins, "float32"), signs) + (signs < 0).sum(axis=0, dtype=np.float32)


def _confidences(decisions: Any, n_classes: int) -> Any:
    """Each class's sum of decisions, squeezed between -1/3 and 1/3."""
    from keras import ops

    total = ops.matmul(decisions, _signs(n_classes))
    return total / (3.0 * (ops.abs(total) + 1.0))


def _one_vs_rest_scores(decisions: Any, n_classes: int) -> Any:
    """``decision_function`` for more than two classes: votes, ties broken by confidence."""
    return _votes(decisions >= 0.0, n_classes) + _confidences(decisions, n_classes)


def _class_scores(head: Any, decisions: Any) -> Any:
    """Scores whose first largest is libsvm's class."""
    from keras import ops

    n_classes = len(head.classes_)
    if n_classes == 2:
        return ops.concatenate([decisions - _TINY, -decisions], axis=1)
    if head.break_ties:
        return _one_vs_rest_scores(decisions, n_classes)
    # A tie in votes goes to the first class whatever the confidence, which is there for the gradient that
    # votes do not have: with its class's place it stays below one vote.
    place = np.arange(n_classes, dtype=np.float32) * 2.0 / 3.0
    return _votes(decisions > 0.0, n_classes) + (_confidences(decisions, n_classes) - place) / n_classes


def _pair_probabilities(head: Any, decisions: Any) -> Any:
    """Platt's probability of each pair's first class: KerasTensor (n_samples, n_pairs)."""
    from keras import ops

    probabilities = ops.sigmoid(scaled(decisions, -_raw(head, "_probA"), -_raw(head, "_probB")))
    return ops.clip(probabilities, _SMALLEST_PROBABILITY, 1.0 - _SMALLEST_PROBABILITY)


def _couple(pair_probabilities: Any, n_classes: int) -> Any:
    """Class probabilities from those of pairs, as libsvm iterates to them.

    It is algorithm 2 of Wu et al. (JMLR 2004), which libsvm stops early, also for two classes: the fixed
    point itself differs from its answer in the fourth digit. So its loop is written out here, and a row
    that it would have left is kept as it is. A row that is on the verge of being left when it is rounded
    to float32, one of ten thousands, may get one pass more or less and differ in that digit.
    """
    from keras import ops

    matrix = _coupling_matrix(pair_probabilities, n_classes)
    probabilities = ops.full_like(matrix[:, 0], 1 / n_classes)
    for _ in range(_N_SWEEPS):
        products = ops.sum(matrix * probabilities[:, np.newaxis], axis=2)
        objective = ops.sum(probabilities * products, axis=1, keepdims=True)
        error = ops.max(ops.abs(products - objective), axis=1, keepdims=True)
        swept = _sweep(matrix, probabilities, products, objective)
        probabilities = ops.where(error < 0.005 / n_classes, probabilities, swept)
    return probabilities


def _sweep(matrix: Any, probabilities: Any, products: Any, objective: Any) -> Any:
    """One pass of libsvm's over the classes, each step of which keeps products and objective up to date."""
    n_classes = matrix.shape[1]
    for index, place in enumerate(np.eye(n_classes, dtype=np.float32)):
        row, product = matrix[:, index], products[:, index : index + 1]
        diagonal = row[:, index : index + 1]
        step = (objective - product) / diagonal
        total = 1.0 + step
        probabilities = (probabilities + step * place) / total
        objective = (objective + step * (step * diagonal + 2.0 * product)) / (total * total)
        products = (products + step * row) / total
    return probabilities


def _coupling_matrix(pair_probabilities: Any, n_classes: int) -> Any:
    """The quadratic form that coupling minimises: KerasTensor (n_samples, n_classes, n_classes)."""
    from keras import ops

    shape = (n_classes * (n_classes - 1) // 2, n_classes, n_classes)
    of_products, of_lost, of_won = (np.zeros(shape, np.float32) for _ in range(3))
    for pair, (first, second) in enumerate(_pairs(n_classes)):
        of_products[pair, first, second] = of_products[pair, second, first] = -1.0
        of_lost[pair, first, first] = of_won[pair, second, second] = 1.0
    lost = 1.0 - pair_probabilities
    terms = ops.concatenate([pair_probabilities * lost, lost * lost, pair_probabilities**2], axis=1)
    placed = np.concatenate([of_products, of_lost, of_won]).reshape(-1, n_classes**2)
    return ops.reshape(ops.matmul(terms, placed), (-1, n_classes, n_classes))


CONVERTERS: dict[type, Converter] = {SVC: _convert_svc, NuSVC: _convert_svc}
