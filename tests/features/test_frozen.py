"""The frozen graph: uint8 pixels in, pooled blocks out."""

import numpy as np
import pytest

from featx import BackboneError, load_backbone
from tests.conftest import TINY, make_images

PIXELS = make_images(3, size=(16, 16))


def run(**options):
    backbone = load_backbone(TINY, **options)
    return backbone, backbone.model.predict_on_batch(PIXELS)


def maps(layer):
    """What a layer of the tiny network gives, computed apart from the graph under test."""
    import keras

    base = load_backbone(TINY).base
    inner = keras.Model(base.input, base.get_layer(layer).output)
    return keras.ops.convert_to_numpy(inner(PIXELS.astype(np.float32) / 255.0))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("avg", lambda: maps("second").mean(axis=(1, 2))),
        ("max", lambda: maps("second").max(axis=(1, 2))),
        (
            "avg+max",
            lambda: np.hstack([maps("second").mean(axis=(1, 2)), maps("second").max(axis=(1, 2))]),
        ),
        ("none", lambda: maps("second").reshape(3, -1)),
    ],
)
def test_pooling_does_what_it_says(pooling, expected):
    backbone, features = run(pooling=pooling)
    np.testing.assert_allclose(features, expected(), atol=1e-5)
    assert sum(width for _, width in backbone.feature_blocks) == features.shape[1]
    assert features.dtype == np.float32


def test_taps_stand_side_by_side_in_the_order_asked():
    backbone, features = run(taps=("second", "first", "top"), pooling="avg+max")
    blocks = [("second:avg", 12), ("second:max", 12), ("first:avg", 8), ("first:max", 8)]
    assert backbone.feature_blocks == (*blocks, ("top:avg", 12), ("top:max", 12))
    np.testing.assert_allclose(features[:, 24:32], maps("first").mean(axis=(1, 2)), atol=1e-5)
    np.testing.assert_array_equal(features[:, :24], features[:, 40:])


def test_an_unknown_tap_suggests_the_nearest():
    with pytest.raises(BackboneError, match="did you mean second"):
        _ = load_backbone(TINY, taps=("secnd",)).feature_blocks


def test_what_is_known_beforehand_needs_no_network():
    backbone = load_backbone("efficientnet_lite0", pooling="avg+max")
    assert backbone.feature_blocks == (("top:avg", 1280), ("top:max", 1280))
    assert len(backbone.weights_sha256) == 64
    assert backbone.architecture
    assert "base" not in vars(load_backbone("efficientnet_lite0", input_size=(33, 33)))


def test_tokens_are_pooled_over_their_axis():
    import keras

    inputs = keras.Input((4, 4, 3))
    tokens = keras.layers.Reshape((16, 3))(inputs)
    model = load_backbone(keras.Model(inputs, tokens), preprocessing="none").model
    pixels = make_images(2, size=(4, 4))
    np.testing.assert_allclose(
        model.predict_on_batch(pixels), pixels.reshape(2, 16, 3).mean(axis=1), rtol=1e-5
    )
