"""Batch normalisation folded into convolutions: the same features, and only where that is certain."""

import keras
import numpy as np
import pytest

from featx import FeatxWarning, load_backbone
from featx.features.folding import copy_model, fold_batch_norm
from tests.conftest import make_images

SIZE = (32, 32)


def layers_of(model):
    for layer in model.layers:
        yield from layers_of(layer) if isinstance(layer, keras.Model) else [layer]


def n_norms(model):
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in layers_of(model))


def randomise(model):
    """Weights as after training: initial statistics (mean 0, variance 1) would hide most mistakes."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "seed" not in weight.name:
            spread = rng.uniform(0.5, 1.5, weight.shape)
            is_norm = weight.name in ("gamma", "moving_variance", "variance")
            weight.assign(
                spread if is_norm else np.asarray(weight) * spread + 0.01 * rng.normal(size=weight.shape)
            )
    for layer in layers_of(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return model


def features_of(model):
    return model.predict_on_batch(make_images(3, size=SIZE))


def assert_same_features(folded, model):
    expected = features_of(model)
    np.testing.assert_allclose(features_of(folded), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def network(build):
    """uint8 images through ``build`` to vectors."""
    images = keras.Input((*SIZE, 3), dtype="uint8")
    pixels = keras.ops.cast(images, "float32") / 255.0
    return randomise(keras.Model(images, build(pixels)))


@pytest.mark.parametrize(
    ("name", "n_left"),
    [
        ("efficientnet_lite0", 0),
        ("EfficientNetB0", 0),
        ("MobileNetV2", 0),
        ("MobileNetV3Small", 0),
        ("ResNet50V2", 17),
    ],
)
def test_a_backbone_gives_the_same_features(name, n_left):
    model = randomise(load_backbone(name, input_size=SIZE, weights=None).model)
    folded = fold_batch_norm(model)
    assert n_norms(model) > n_norms(folded) == n_left
    assert_same_features(folded, model)


def test_the_packaged_weights_give_the_same_features():
    backbone = load_backbone("efficientnet_lite0", input_size=SIZE)
    assert n_norms(backbone.folded) == 0
    assert_same_features(backbone.folded, backbone.model)


@pytest.mark.parametrize(
    "convolution",
    [
        keras.layers.Conv2D(8, 3, use_bias=False),
        keras.layers.Conv2D(8, 3, padding="same", strides=2, dilation_rate=1),
        keras.layers.Conv2D(9, 3, groups=3),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        keras.layers.SeparableConv2D(8, 3, depth_multiplier=2, use_bias=False),
    ],
    ids=lambda layer: layer.name,
)
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 0.1}], ids=str)
def test_every_kind_of_convolution_and_normalisation(convolution, options):
    # A layer of its own a test: layers remember where they were called.
    convolution = type(convolution).from_config(convolution.get_config())
    model = network(lambda pixels: keras.layers.BatchNormalization(**options)(convolution(pixels)))
    folded = fold_batch_norm(model)
    assert n_norms(folded) == 0
    assert_same_features(folded, model)


def used_twice(pixels):
    features = keras.layers.Conv2D(4, 3)(pixels)
    return keras.layers.Add()([features, keras.layers.BatchNormalization()(features)])


def shared_convolution(pixels):
    convolve = keras.layers.Conv2D(4, 3)
    return keras.layers.BatchNormalization()(convolve(pixels)) + convolve(1.0 - pixels)


def shared_normalisation(pixels):
    normalise = keras.layers.BatchNormalization()
    return normalise(keras.layers.Conv2D(4, 3)(pixels)) + normalise(keras.layers.Conv2D(4, 3)(pixels))


def also_an_output(pixels):
    features = keras.layers.Conv2D(4, 3)(pixels)
    return [features, keras.layers.BatchNormalization()(features)]


def activated(pixels):
    return keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, activation="relu")(pixels))


def other_axis(pixels):
    return keras.layers.BatchNormalization(axis=1)(keras.layers.Conv2D(4, 3)(pixels))


def no_convolution(pixels):
    return keras.layers.BatchNormalization()(pixels)


@pytest.mark.parametrize(
    "build",
    [
        used_twice,
        shared_convolution,
        shared_normalisation,
        also_an_output,
        activated,
        other_axis,
        no_convolution,
    ],
)
def test_what_cannot_be_folded_is_left_as_it_is(build):
    model = network(build)
    assert fold_batch_norm(model) is model


def test_a_tap_before_the_normalisation_is_kept():
    backbone = load_backbone("MobileNetV2", taps=("Conv1", "out_relu"), input_size=SIZE, weights=None)
    randomise(backbone.base)
    assert n_norms(backbone.folded) == 1
    assert_same_features(backbone.folded, backbone.model)


def test_layers_of_a_users_own_are_never_copied():
    class Hidden(keras.layers.Layer):
        """What it computes with stands neither in its config nor in its weights."""

        factor = 3.0

        def call(self, inputs):
            return inputs * self.factor

    model = network(
        lambda pixels: keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(Hidden()(pixels)))
    )
    assert fold_batch_norm(model) is model


def test_a_copy_that_loses_precision_is_not_used():
    model = network(lambda pixels: keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(pixels)))
    convolution, norm = model.layers[-2:]
    # The convolution's large offset cancels in the normalisation, and would not after folding.
    convolution.bias.assign(np.full(4, 1e6))
    norm.moving_mean.assign(np.full(4, 1e6))
    norm.moving_variance.assign(np.full(4, 1e-2))
    norm.beta.assign(np.zeros(4))
    convolution.kernel.assign(np.asarray(convolution.kernel) * 1e-3)
    with pytest.warns(FeatxWarning, match="runs slower than it could"):
        assert fold_batch_norm(model) is model


def test_weights_that_are_not_finite_are_left_for_the_extraction_to_report():
    model = network(lambda pixels: keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(pixels)))
    model.layers[-2].bias.assign(np.full(4, np.nan))
    assert not np.isfinite(features_of(fold_batch_norm(model))).any()


# ---------------------------------------------------------------------- models of other things than images


def model_of(shape, dtype, *layers):
    """A user's own model of samples of this shape and type."""
    inputs = features = keras.Input(shape, dtype=dtype)
    for layer in layers:
        features = type(layer).from_config(layer.get_config())(features)
    return randomise(keras.Model(inputs, features))


def samples_of(model, n_samples=3):
    shape = tuple(9 if side is None else side for side in model.input_shape[1:])
    rng = np.random.default_rng(1)
    if model.inputs[0].dtype == "float32":
        return rng.normal(size=(n_samples, *shape)).astype(np.float32)
    return rng.integers(0, 7, (n_samples, *shape)).astype(model.inputs[0].dtype)


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((40, 7), keras.layers.Conv1D(8, 5, strides=2, use_bias=False)),
        ((40, 7), keras.layers.DepthwiseConv1D(5, depth_multiplier=2)),
        ((40, 7), keras.layers.SeparableConv1D(8, 5)),
        ((6, 6, 6, 2), keras.layers.Conv3D(4, 3)),
        ((30,), keras.layers.Dense(16, use_bias=False)),
        ((40, 7), keras.layers.Dense(16)),
    ],
    ids=lambda value: value.name if isinstance(value, keras.layers.Layer) else str(value),
)
def test_a_model_of_arrays_is_folded_like_one_of_images(shape, layer):
    model = model_of(shape, "float32", layer, keras.layers.BatchNormalization(), keras.layers.ReLU())
    folded = fold_batch_norm(model)
    assert n_norms(folded) == 0
    samples = samples_of(model)
    expected = model.predict_on_batch(samples)
    np.testing.assert_allclose(
        folded.predict_on_batch(samples), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
@pytest.mark.parametrize("length", [50, None], ids=["fixed", "any length"])
def test_a_model_of_tokens_is_checked_with_tokens_that_it_knows(dtype, length):
    # The vocabulary is smaller than a byte: noise of 0 to 255 would be refused by the embedding.
    model = model_of(
        (length,),
        dtype,
        keras.layers.Embedding(7, 8),
        keras.layers.Dense(4),
        keras.layers.BatchNormalization(),
        keras.layers.GRU(5),
    )
    samples = np.abs(np.rint(samples_of(model))).clip(0, 6).astype(dtype)
    expected = model.predict_on_batch(samples)
    for other, n_left in ((fold_batch_norm(model), 0), (copy_model(model), 1)):
        assert other is not model
        assert n_norms(other) == n_left
        np.testing.assert_allclose(other.predict_on_batch(samples), expected, atol=1e-6)


def test_a_model_of_images_of_any_size_is_copied():
    model = model_of((None, None, 3), "float32", keras.layers.Conv2D(4, 3, strides=32))
    np.testing.assert_array_equal(features_of(copy_model(model)), features_of(model))


def test_a_normalisation_that_takes_a_mask_is_left_as_it_is():
    layers = [keras.layers.Embedding(7, 8, mask_zero=True), keras.layers.Dense(4)]
    model = model_of((50,), "int32", *layers, keras.layers.BatchNormalization(), keras.layers.GRU(5))
    assert fold_batch_norm(model) is model
    samples = samples_of(model)
    np.testing.assert_array_equal(
        copy_model(model).predict_on_batch(samples), model.predict_on_batch(samples)
    )
