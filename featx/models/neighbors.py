"""Converters of heads that compare with samples or centroids: nearest neighbours, nearest centroid."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from featx.heads.neighbors import WeightedNeighbors
from featx.models.dispatch import Converter, as_array, refuse
from featx.models.layers import distance_scores, rows
from featx.models.transformers import norms

_METRICS = ("euclidean", "cosine")

# Neighbours beyond n_neighbors whose distances are taken exactly.
_N_SPARE = 8


def _convert_knn(head: KNeighborsClassifier, inputs: Any, method: str) -> Any:  # noqa: ARG001 - all the same
    """The share of each class among the neighbours, which is also what the class is chosen by."""
    return _shares(head, inputs, np.ones(len(head._y)))  # noqa: SLF001 - there is no public name for it


def _convert_weighted_knn(head: WeightedNeighbors, inputs: Any, method: str) -> Any:  # noqa: ARG001 - the same
    """The same with votes that are worth their sample's weight; where none is, classes are equally likely."""
    from keras import ops

    shares = _shares(head, inputs, head.sample_weight_)
    totals = ops.sum(shares, axis=1, keepdims=True)
    is_known = totals > 0.0
    return ops.where(is_known, shares / ops.where(is_known, totals, 1.0), 1 / len(head.classes_))


def _shares(head: KNeighborsClassifier, inputs: Any, weights: np.ndarray) -> Any:
    from keras import ops

    _check_knn(head)
    samples = as_array(head._fit_X)  # noqa: SLF001 - the same
    if is_cosine := head.effective_metric_ == "cosine":
        lengths = np.linalg.norm(samples, axis=1, keepdims=True)
        if not lengths.all():
            raise refuse(head, "a sample of zeros", "samples with a direction, as the metric is 'cosine'")
        samples = samples / lengths
        # A row of zeros stays one: it is equally far from every sample.
        is_zero = ops.cast(ops.equal(ops.max(ops.abs(inputs), axis=1, keepdims=True), 0.0), "float32")
        inputs = inputs / norms(inputs, "l2")
    is_weighted = head.weights == "distance"
    # Where all neighbours count the same, there is no gradient to move the samples by.
    table = rows(inputs, samples, trainable=is_weighted)
    nearest, squares = _nearest(inputs, table, samples.mean(axis=0), head.n_neighbors)
    # The labels are weights, so that a head without distances has something to learn too.
    labels = np.eye(len(head.classes_))[head._y] * weights[:, np.newaxis]  # noqa: SLF001 - the same
    votes = ops.take(rows(inputs, labels), nearest, axis=0)
    if not is_weighted:
        return ops.mean(votes, axis=1)
    is_same = ops.equal(squares, 0.0)
    if is_cosine:
        # With vectors of length one, half the squared distance is 1 - cosine, and keeps its small values.
        return _weighted_votes(votes, squares / 2.0 + is_zero / 2.0, is_same)
    # The root's gradient at zero is infinite.
    return _weighted_votes(votes, ops.sqrt(ops.where(is_same, 1.0, squares)), is_same)


def _check_knn(head: KNeighborsClassifier) -> None:
    if head.weights not in ("uniform", "distance", None):
        raise refuse(head, "weights of its own", "weights='uniform' or 'distance'")
    if head.effective_metric_ not in _METRICS or head.metric_params:
        expected = f"one of {', '.join(_METRICS)}, without metric_params"
        raise refuse(head, f"metric={head.effective_metric_!r}", expected)


def _nearest(inputs: Any, table: Any, centre: np.ndarray, n_neighbors: int) -> tuple[Any, Any]:
    """Rows of the nearest samples and their squared distances, both (n_samples, n_neighbors).

    The product with all samples finds a few more than are asked for, and the differences to those order
    them: differences to all would not fit into memory, and products alone lose the digits of small distances.
    """
    from keras import ops

    centre = centre.astype(np.float32)
    around, query = table - centre, inputs - centre
    closeness = ops.matmul(query, ops.transpose(around)) - ops.sum(ops.square(around), axis=1) / 2.0
    n_candidates = min(n_neighbors + _N_SPARE, table.shape[0])
    candidates = ops.top_k(closeness, n_candidates)[1]
    differences = inputs[:, np.newaxis] - ops.take(table, candidates, axis=0)
    negative_squares, order = ops.top_k(-ops.sum(ops.square(differences), axis=2), n_neighbors)
    return ops.take_along_axis(candidates, order, axis=1), -negative_squares


def _weighted_votes(votes: Any, distances: Any, is_same: Any) -> Any:
    """Votes weighted by 1 / distance; where samples equal the query, by those alone."""
    from keras import ops

    same = ops.cast(is_same, "float32")
    # Relative to the nearest, as the inverse of a small distance overflows.
    weights = ops.where(
        is_same, 1.0, ops.min(distances, axis=1, keepdims=True) / ops.where(is_same, 1.0, distances)
    )
    weights = ops.where(ops.max(same, axis=1, keepdims=True) > 0.0, same, weights)
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    return ops.sum(weights[:, :, np.newaxis] * votes, axis=1)


def _convert_centroid(head: NearestCentroid, inputs: Any, method: str) -> Any:
    from keras import ops

    if head.metric != "euclidean":
        raise refuse(head, f"metric={head.metric!r}", "metric='euclidean'")
    centroids, deviation = as_array(head.centroids_), as_array(head.within_class_std_dev_)
    precision = 1 / np.where(deviation == 0, 1, deviation) ** 2
    bias = 2 * np.log(head.class_prior_)
    is_binary = len(head.classes_) == 2
    if method == "predict" and np.allclose(head.class_prior_, 1 / len(head.classes_)):
        # scikit-learn takes a shortcut here, in which features are not scaled by their deviation.
        precision, bias = np.ones_like(precision), np.zeros_like(bias)
    are_absolute = method == "decision_function" and not is_binary
    scores = distance_scores(inputs, centroids, precision, bias, with_squares=are_absolute)
    if method == "predict_proba":
        return ops.softmax(scores, axis=1)
    return scores[:, 1:] - scores[:, :1] if method == "decision_function" and is_binary else scores


CONVERTERS: dict[type, Converter] = {
    KNeighborsClassifier: _convert_knn,
    NearestCentroid: _convert_centroid,
    WeightedNeighbors: _convert_weighted_knn,
}
