"""Maps, tokens and vectors to columns."""

import keras
import numpy as np
import pytest

from featx.features.folding import copy_in_precision
from featx.features.pooling import pool


@pytest.mark.parametrize("shape", [(1, 64, 64, 2), (1, 4_096, 2)])
@pytest.mark.parametrize("pooling", ["avg", "max", "gem", "none"])
def test_sums_are_taken_in_float32(shape, pooling):
    # bfloat16 cannot count beyond 256 by ones.
    pooled = pool(keras.ops.ones(shape, "bfloat16"), pooling)
    assert keras.backend.standardize_dtype(pooled.dtype) == "float32"
    np.testing.assert_allclose(keras.ops.convert_to_numpy(pooled), 1.0, rtol=1e-6)


def masked_model():
    """The average over the embeddings of those of 300 tokens that are not 0."""
    inputs = keras.Input((300,), dtype="int32")
    tokens = keras.Model(inputs, keras.layers.Embedding(10, 4, mask_zero=True)(inputs))
    outer = keras.Input((300,), dtype="int32")
    return keras.Model(outer, pool(tokens(outer), "avg")), tokens


def test_padding_is_left_out_of_an_average():
    model, tokens = masked_model()
    ids = np.random.default_rng(0).integers(1, 10, (3, 300)).astype(np.int32)
    ids[1, 100:] = 0
    outputs, is_token = tokens.predict_on_batch(ids), (ids > 0)[..., None]
    expected = (outputs * is_token).sum(axis=1) / is_token.sum(axis=1)
    np.testing.assert_allclose(model.predict_on_batch(ids), expected, atol=1e-7)
    in_half = copy_in_precision(model, "bfloat16", 0.0)
    assert in_half.layers[1].layers[-1].compute_dtype == "bfloat16"
    assert in_half.layers[-1].compute_dtype == "float32"
    # What is rounded is each embedding; the sum and the count are not.
    np.testing.assert_allclose(in_half.predict_on_batch(ids), expected, atol=2e-4)
    np.testing.assert_allclose(np.asarray(in_half(ids)), in_half.predict_on_batch(ids), atol=1e-7)
