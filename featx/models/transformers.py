"""Converters of what comes before a head: scaling, projection, normalisation, and pipelines of them.

Scalers and projections are affine: ``(x - centre) * scale + shift``, with a matrix in place of ``scale``
for a projection. `affine_of` reads them off the estimator once, for the layers made here and for
featx.models.chains, which multiplies them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler

from featx.heads.columns import TakeColumns
from featx.models.dispatch import Converter, check_convertible, convert
from featx.models.layers import centred, dense, scaled

# Rows of a smaller norm are left as they are, as in scikit-learn.
_SMALLEST_NORM = float(10 * np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Affine:
    """What a scaler or a projection does: ``(x - centre) * scale + shift``, or ``@ scale``."""

    centre: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def affine_of(transformer: Any) -> Affine | None:
    """A fitted transformer as an affine map, in float64; None where it is not one."""
    if type(transformer) not in _AFFINE or getattr(transformer, "clip", False):
        return None
    check_convertible(transformer)
    return _read(transformer)


def _read(transformer: Any) -> Affine:
    affine: Affine = _AFFINE[type(transformer)](transformer)
    return affine


def _standard(scaler: StandardScaler) -> Affine:
    zeros, ones = np.zeros(scaler.n_features_in_), np.ones(scaler.n_features_in_)
    centre = zeros if scaler.mean_ is None or not scaler.with_mean else scaler.mean_
    return Affine(centre, ones if scaler.scale_ is None else 1 / scaler.scale_, zeros)


def _min_max(scaler: MinMaxScaler) -> Affine:
    shift = np.full(scaler.n_features_in_, float(scaler.feature_range[0]))
    return Affine(scaler.data_min_, scaler.scale_, shift)


def _max_abs(scaler: MaxAbsScaler) -> Affine:
    zeros = np.zeros(scaler.n_features_in_)
    return Affine(zeros, 1 / scaler.scale_, zeros)


def _projection(pca: PCA) -> Affine:
    matrix = np.asarray(pca.components_, np.float64).T
    if pca.whiten:
        deviation = np.sqrt(pca.explained_variance_)
        # scikit-learn's own bound, for components without variance.
        matrix = matrix / np.maximum(deviation, np.finfo(deviation.dtype).eps)
    return Affine(pca.mean_, matrix, np.zeros(matrix.shape[1]))


_AFFINE: dict[type, Any] = {
    StandardScaler: _standard,
    MinMaxScaler: _min_max,
    MaxAbsScaler: _max_abs,
    PCA: _projection,
}


def _convert_affine(transformer: Any, inputs: Any, method: str) -> Any:  # noqa: ARG001 - transform alone
    affine = _read(transformer)
    inputs, rest = centred(inputs, affine.centre)
    if affine.scale.ndim == 1:
        outputs = scaled(inputs, affine.scale, affine.shift + rest * affine.scale)
    else:
        outputs = dense(inputs, affine.scale, affine.shift + rest @ affine.scale)
    return outputs if not getattr(transformer, "clip", False) else _clipped(transformer, outputs)


def _clipped(scaler: Any, outputs: Any) -> Any:
    from keras import ops

    low, high = getattr(scaler, "feature_range", (-1.0, 1.0))
    return ops.clip(outputs, float(low), float(high))


def _convert_normalizer(normalizer: Normalizer, inputs: Any, method: str) -> Any:  # noqa: ARG001
    return inputs / norms(inputs, normalizer.norm)


def norms(inputs: Any, norm: str) -> Any:
    """The norm of each row, or 1 where it is nothing: KerasTensor of shape (n_samples, 1)."""
    from keras import ops

    if norm == "l2":
        squares = ops.sum(ops.square(inputs), axis=1, keepdims=True)
        # The root's gradient at zero is infinite, and would come through the choice as not-a-number.
        is_small = squares < _SMALLEST_NORM**2
        return ops.sqrt(ops.where(is_small, 1.0, squares))
    reduce = ops.sum if norm == "l1" else ops.max
    found = reduce(ops.abs(inputs), axis=1, keepdims=True)
    return ops.where(found < _SMALLEST_NORM, 1.0, found)


def _convert_columns(take: TakeColumns, inputs: Any, method: str) -> Any:  # noqa: ARG001
    from keras import ops

    indices = take.indices_
    start, stop = int(indices[0]), int(indices[-1]) + 1
    if np.array_equal(indices, np.arange(start, stop)):
        return inputs[:, start:stop]
    return ops.take(inputs, indices, axis=1)


def steps_of(pipeline: Pipeline) -> list[Any]:
    """A pipeline's steps in their order, those of pipelines inside it among them, without idle ones."""
    found: list[Any] = []
    for _, step in pipeline.steps:
        if type(step) is Pipeline:
            found += steps_of(step)
        elif step is not None and not (isinstance(step, str) and step == "passthrough"):
            found.append(step)
    return found


def _convert_pipeline(pipeline: Pipeline, inputs: Any, method: str) -> Any:
    *transformers, last = steps_of(pipeline)
    for transformer in transformers:
        inputs = convert(transformer, inputs, "transform")
    return convert(last, inputs, method)


CONVERTERS: dict[type, Converter] = {
    **dict.fromkeys(_AFFINE, _convert_affine),
    Normalizer: _convert_normalizer,
    TakeColumns: _convert_columns,
    Pipeline: _convert_pipeline,
}
