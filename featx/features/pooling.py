"""Maps and tokens to vectors: what stands between a network's outputs and its features."""

from __future__ import annotations

import math
from typing import Any

from featx.features.folding import KEEPS_FLOAT32

# GeM's exponent, and the least value that it sees.
_GEM_POWER, _GEM_LEAST = 3.0, 1e-6

# As many single floats as the widest registers hold.
_CHANNELS_AT_ONCE = 16


def pool(output: Any, pooling: str) -> Any:
    """Vectors, float32, out of maps (n, height, width, channels), tokens (n, tokens, channels) or vectors.

    Sums over a map are taken in float32, whatever the type that the network computes in. The average of
    tokens leaves out those that the network masks, such as padding; the other poolings see all. "gem" is the
    generalized mean ``mean(max(x, 1e-6) ** p) ** (1 / p)`` of Radenovic, Tolias and Chum, TPAMI 2019,
    section 3.2: p = 1 would be the mean and p = infinity the maximum. Its p is 3 and fixed: nothing is
    trained here that could learn it, and the values learned there are close to 3.

    Examples
    --------
    >>> import numpy as np
    >>> maps = np.array([0.0, 2.0, -1.0, 2.0], np.float32).reshape(1, 2, 2, 1)
    >>> [round(float(pool(maps, pooling)[0, 0]), 3) for pooling in ("avg", "max", "gem")]
    [0.75, 2.0, 1.587]
    """
    from keras import ops

    values = ops.cast(output, "float32")
    axes = tuple(range(1, len(output.shape) - 1))
    if pooling == "none":
        return ops.reshape(values, (-1, math.prod(output.shape[1:])))
    if not axes:
        return values
    if pooling == "avg" and len(axes) == 1:
        return _masked_average(output)
    if pooling == "gem":
        positive = ops.maximum(values, _GEM_LEAST)
        return ops.power(_mean(positive * positive * positive, axes), 1 / _GEM_POWER)
    return ops.max(values, axis=axes) if pooling == "max" else _mean(values, axes)


def _mean(values: Any, axes: tuple[int, ...]) -> Any:
    """Mean over a map, the same bits wherever in its batch the map lies.

    Processors add so many neighbouring numbers at once. Where the channels are no multiple of that, some
    maps' numbers fall apart and are added in another order: zeros make up the rest.
    """
    from keras import ops

    n_channels = values.shape[-1]
    n_missing = -n_channels % _CHANNELS_AT_ONCE
    if not n_missing:
        return ops.mean(values, axis=axes)
    padding = [(0, 0)] * (len(values.shape) - 1) + [(0, n_missing)]
    return ops.mean(ops.pad(values, padding), axis=axes)[:, :n_channels]


def _masked_average(tokens: Any) -> Any:
    """Mean over the tokens that are not masked: NaN, and so a failure, where all are."""
    import keras

    # A layer, because Keras hands masks on to layers alone.
    name = f"{KEEPS_FLOAT32}_{keras.backend.get_uid(KEEPS_FLOAT32)}"
    return keras.layers.GlobalAveragePooling1D(dtype="float32", name=name)(tokens)


def pooled_width(shape: tuple[int, ...], pooling: str) -> int:
    """Columns that one image's map of this shape becomes.

    Examples
    --------
    >>> pooled_width((7, 7, 512), "avg"), pooled_width((7, 7, 512), "none")
    (512, 25088)
    """
    return math.prod(shape) if pooling == "none" else shape[-1]
