"""The pieces that converters build with: Keras's own layers and operations, and nothing else.

So a converted head loads with plain Keras, runs on every backend, and exports. Everything is float32
whatever the global policy says: a head costs nothing beside its backbone, and half precision would change
its answers. Weights start as zeros before they are set, so that no random state is drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# Where exp(-x) overflows in float64, so that scikit-learn's sigmoid is exactly zero. A plain float: a NumPy
# one would make what it is compared with float64.
_SIGMOID_IS_ZERO = float(-np.log(np.finfo(np.float64).max))


def dense(inputs: Any, kernel: np.ndarray, bias: np.ndarray | None = None, activation: Any = None) -> Any:
    """A ``Dense`` layer with fitted weights: kernel of shape (n_inputs, n_outputs), bias (n_outputs,)."""
    import keras

    layer = keras.layers.Dense(
        kernel.shape[1],
        activation=activation,
        use_bias=bias is not None,
        kernel_initializer="zeros",
        dtype="float32",
    )
    outputs = layer(inputs)
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    return outputs


def scaled(inputs: Any, scale: np.ndarray, bias: np.ndarray) -> Any:
    """Each column times its scale plus its bias, both trainable and of shape (n_columns,)."""
    import keras

    # A Dense layer whose kernel is a diagonal, of which it stores nothing else.
    layer = keras.layers.EinsumDense(
        "nf,f->nf", len(scale), bias_axes="f", kernel_initializer="zeros", dtype="float32"
    )
    outputs = layer(inputs)
    layer.set_weights([scale, bias])
    return outputs


def centred(inputs: Any, centre: np.ndarray) -> tuple[Any, np.ndarray]:
    """Inputs less a constant of shape (n_columns,), and what its rounding to float32 takes off too much.

    Not trainable: every use is followed by a bias that is, and that puts the rest back. Multiplying first
    and taking the product of scale and centre off in that bias would cancel digits where a column's mean is
    far above its spread.
    """
    rounded = np.asarray(centre, np.float32)
    return inputs - rounded if rounded.any() else inputs, rounded - np.asarray(centre, np.float64)


def rows(inputs: Any, matrix: np.ndarray, *, trainable: bool = True) -> Any:
    """A matrix of the head's own as a trainable tensor of its shape, whatever the inputs.

    An ``Embedding`` that is asked for all its rows. The indices are made from the inputs because a
    functional model holds only what depends on them.
    """
    import keras

    zero = keras.ops.cast(keras.ops.sum(keras.ops.zeros_like(inputs)), "int32")
    layer = keras.layers.Embedding(*matrix.shape, embeddings_initializer="zeros", dtype="float32")
    outputs = layer(zero + np.arange(len(matrix), dtype=np.int32))
    layer.set_weights([matrix])
    layer.trainable = trainable
    return outputs


def two_columns(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of two scores, half of each sign, from those of one decision value d.

    Their softmax is exactly ``(1 - sigmoid(d), sigmoid(d))``, and both classes get equal gradients.
    """
    return np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2


def distance_scores(
    inputs: Any,
    centres: np.ndarray,
    precision: np.ndarray,
    bias: np.ndarray | float = 0.0,
    *,
    with_squares: bool = True,
) -> Any:
    """``bias - sum(precision * (x - centre)**2)`` for each centre: KerasTensor (n_samples, n_centres).

    Multiplied out into a layer of the inputs and one of their squares, so that no difference of every
    sample to every centre is held. Taking the centres' mean off first keeps the terms small that cancel.
    The squares' layer adds the same to all centres: where only differences matter, it can be left out.
    """
    from keras import ops

    mean = centres.mean(axis=0).astype(np.float32)
    inputs, centres = centred(inputs, mean)[0], centres - mean
    weighted = precision * centres
    linear = dense(inputs, 2 * weighted.T, bias - (weighted * centres).sum(axis=1))
    return linear + dense(ops.square(inputs), -precision[:, np.newaxis]) if with_squares else linear


def normalised(values: Any, when_zero: float) -> Any:
    """Each row divided by its sum; rows of zeros get ``when_zero`` everywhere."""
    from keras import ops

    total = ops.sum(values, axis=1, keepdims=True)
    # Not `==`, which compares symbolic tensors by identity.
    is_zero = ops.equal(total, 0.0)
    return ops.where(is_zero, when_zero, values / ops.where(is_zero, 1.0, total))


def normalised_sigmoids(scores: Any, when_zero: float) -> Any:
    """Sigmoid of each score, divided by their sum; rows where all are zero in float64 get ``when_zero``.

    By logarithms, so that rows whose sigmoids are zero in float32 alone still have their probabilities.
    """
    from keras import ops

    # Not ops.log_sigmoid: LiteRT has no such operation.
    logarithms = ops.minimum(scores, 0.0) - ops.log(1.0 + ops.exp(-ops.abs(scores)))
    is_zero = ops.max(scores, axis=1, keepdims=True) < _SIGMOID_IS_ZERO
    return ops.where(is_zero, when_zero, ops.softmax(logarithms, axis=1))
