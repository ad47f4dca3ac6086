"""Converters of heads that are linear, made of linear ones, or a stack of linear layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC

from featx.models.dispatch import Converter, as_array, convert, refuse
from featx.models.layers import dense, normalised, normalised_sigmoids, two_columns

#: Heads that decide by ``coef_`` and ``intercept_``.
LINEAR_HEADS = (
    LogisticRegression,
    LogisticRegressionCV,
    LinearDiscriminantAnalysis,
    LinearSVC,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
_LOGISTIC_HEADS = (LogisticRegression, LogisticRegressionCV, LinearDiscriminantAnalysis)

_ACTIVATIONS = {"identity": "linear", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def linear_weights(head: Any) -> tuple[np.ndarray, np.ndarray]:
    """A linear head's kernel (n_features, n_scores) and bias (n_scores,), one score for two classes."""
    kernel = np.atleast_2d(as_array(head.coef_)).T
    # Without an intercept some heads have a plain 0.
    return kernel, np.broadcast_to(as_array(head.intercept_), kernel.shape[1:])


def _convert_linear(head: Any, inputs: Any, method: str) -> Any:
    kernel, bias = linear_weights(head)
    if method == "decision_function":
        return dense(inputs, kernel, bias)
    if kernel.shape[1] == 1:
        kernel, bias = two_columns(kernel, bias)
    if method == "predict":
        return dense(inputs, kernel, bias)
    if isinstance(head, SGDClassifier):
        return _sgd_probabilities(head, dense(inputs, kernel, bias))
    return dense(inputs, kernel, bias, activation="softmax")


def _sgd_probabilities(head: SGDClassifier, scores: Any) -> Any:
    from keras import ops

    is_binary, uniform = len(head.classes_) == 2, 1 / len(head.classes_)
    if head.loss == "log_loss":
        return ops.softmax(scores, axis=1) if is_binary else normalised_sigmoids(scores, uniform)
    # The modified Huber loss. Each of two scores is half the decision value.
    if is_binary:
        return ops.clip(scores + 0.5, 0.0, 1.0)
    return normalised((ops.clip(scores, -1.0, 1.0) + 1.0) / 2.0, uniform)


def _convert_one_vs_rest(head: OneVsRestClassifier, inputs: Any, method: str) -> Any:
    if len(head.estimators_) == 1:
        return convert(head.estimators_[0], inputs, method)
    is_probability = method == "predict_proba"
    if all(_is_stackable(member, method) for member in head.estimators_):
        # One layer for all classes.
        weights = zip(*map(linear_weights, head.estimators_), strict=True)
        kernel, bias = (np.concatenate(parts, axis=-1) for parts in weights)
        scores = dense(inputs, kernel, bias)
        return normalised_sigmoids(scores, 0.0) if is_probability else scores
    return _separate_members(head.estimators_, inputs, is_probability=is_probability)


def _is_stackable(member: Any, method: str) -> bool:
    has_sigmoid = type(member) in _LOGISTIC_HEADS or getattr(member, "loss", None) == "log_loss"
    return type(member) in LINEAR_HEADS and (method != "predict_proba" or has_sigmoid)


def _separate_members(members: list[Any], inputs: Any, *, is_probability: bool) -> Any:
    from keras import ops

    if not is_probability and hasattr(members[0], "decision_function"):
        columns = [convert(member, inputs, "decision_function") for member in members]
        return ops.concatenate(columns, axis=1)
    columns = [convert(member, inputs, "predict_proba")[:, 1:] for member in members]
    positive = ops.concatenate(columns, axis=1)
    return normalised(positive, 0.0) if is_probability else positive


def _convert_mlp(head: MLPClassifier, inputs: Any, method: str) -> Any:
    from keras import ops

    if head.activation not in _ACTIVATIONS:
        raise refuse(head, f"activation={head.activation!r}", f"one of {', '.join(_ACTIVATIONS)}")
    *hidden, (kernel, bias) = zip(map(as_array, head.coefs_), map(as_array, head.intercepts_), strict=True)
    for weights in hidden:
        inputs = dense(inputs, *weights, activation=_ACTIVATIONS[head.activation])
    if kernel.shape[1] == 1:
        kernel, bias = two_columns(kernel, bias)
    scores = dense(inputs, kernel, bias)
    return ops.softmax(scores, axis=1) if method == "predict_proba" else scores


CONVERTERS: dict[type, Converter] = {
    **dict.fromkeys(LINEAR_HEADS, _convert_linear),
    MLPClassifier: _convert_mlp,
    OneVsRestClassifier: _convert_one_vs_rest,
}
