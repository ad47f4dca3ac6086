"""The frozen graph: uint8 pixels in, pooled blocks out."""

import numpy as np
import pytest

from featx import BackboneError, FeatxWarning, load_backbone
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
        ("gem", lambda: np.cbrt((np.maximum(maps("second"), 1e-6) ** 3).mean(axis=(1, 2)))),
        ("max+none", lambda: np.hstack([maps("second").max(axis=(1, 2)), maps("second").reshape(3, -1)])),
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


def test_a_tap_may_have_its_own_pooling():
    backbone, features = run(taps=("second:max", "first", "second:gem"), pooling="avg")
    assert backbone.feature_blocks == (("second:max", 12), ("first:avg", 8), ("second:gem", 12))
    np.testing.assert_allclose(features[:, :12], maps("second").max(axis=(1, 2)), atol=1e-5)
    np.testing.assert_allclose(features[:, 12:20], maps("first").mean(axis=(1, 2)), atol=1e-5)
    # However it is asked for, the same columns are one extraction.
    assert load_backbone(TINY, taps=("first:avg", "first:max")) is load_backbone(TINY, "avg+max", ("first",))


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        (("first", "first"), "'first:avg' more than once"),
        (("first:max+avg", "second", "first"), "'first:avg' more than once"),
        (("first:max+max",), "each pooling once"),
        ("first", "pass \\['first'\\]"),
        ((None,), "a layer's name"),
        (("",), "a layer's name"),
    ],
)
def test_taps_that_are_none_are_refused(taps, message):
    with pytest.raises(BackboneError, match=message):
        load_backbone(TINY, taps=taps)


def test_flattening_a_large_map_says_what_it_takes():
    backbone = load_backbone("VGG16", "none", ("block4_pool",), (256, 256), weights=None)
    with pytest.warns(FeatxWarning, match=r"block4_pool:none has 131,072 columns, 524,288 bytes an image"):
        assert backbone.feature_blocks == (("block4_pool:none", 131_072),)


class TestTapsOfOddModels:
    @pytest.fixture
    def inputs(self):
        import keras

        return keras.Input((16, 16, 3))

    def blocks(self, model, *taps):
        return load_backbone(model, taps=taps, preprocessing="unit").feature_blocks

    def test_a_sequential_model_is_tapped(self, inputs):
        import keras

        layers = [keras.layers.Conv2D(4, 3, name="one"), keras.layers.Conv2D(5, 3, name="two")]
        assert self.blocks(keras.Sequential([inputs, *layers]), "one") == (("one:avg", 4),)

    def test_a_layer_within_a_nested_model_is_refused(self, inputs):
        import keras

        nested = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="deep")(inputs), name="nested")
        model = keras.Model(inputs, keras.layers.Conv2D(5, 3)(nested(inputs)))
        assert self.blocks(model, "nested") == (("nested:avg", 4),)
        with pytest.raises(BackboneError, match="'deep', a layer inside of nested"):
            self.blocks(model, "deep")

    def test_a_layer_that_gives_no_one_tensor_is_refused(self, inputs):
        import keras

        shared = keras.layers.Conv2D(3, 3, padding="same", name="shared")
        two = keras.Model(inputs, [keras.layers.ReLU()(inputs), keras.layers.ELU()(inputs)], name="two")
        first, second = two(shared(shared(inputs)))
        model = keras.Model(inputs, keras.layers.Add()([first, second]))
        for tap in ("shared", "two"):
            with pytest.raises(BackboneError, match=f"'{tap}', which has several outputs or is called"):
                self.blocks(model, tap)

    def test_a_model_with_a_call_of_its_own_is_refused(self):
        import keras

        class Own(keras.Model):
            input_shape, output_shape = (None, 16, 16, 3), (None, 3)

            def call(self, images):
                return keras.ops.mean(images, axis=(1, 2))

        with pytest.raises(BackboneError, match="call of its own"):
            self.blocks(Own(), "first")


def test_folding_leaves_a_tapped_layer_as_it_was():
    taps = ("Conv1", "bn_Conv1", "block_2_depthwise", "block_2_add", "top")
    backbone = load_backbone("MobileNetV2", "avg+max+gem", taps, (32, 32), weights=None)
    pixels = make_images(2, size=(32, 32))
    assert backbone.folded is not backbone.model
    expected = backbone.model.predict_on_batch(pixels)
    np.testing.assert_allclose(backbone.folded.predict_on_batch(pixels), expected, atol=1e-5)


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
