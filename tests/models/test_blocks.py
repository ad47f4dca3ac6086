"""Blocks as architectures name them, and networks cut in two that still compute the same."""

import keras
import numpy as np
import pytest

from featx import attach_head, load_backbone
from featx.errors import ConversionError
from featx.models.blocks import blocks_of, cut, last_blocks, parts_of

# Architecture: smallest input size, number of blocks, the last of them.
ARCHITECTURES = {
    "efficientnet_lite0": (32, 18, ["block_15", "top"]),
    "MobileNet": (32, 14, ["12", "13"]),
    "MobileNetV2": (32, 19, ["block_16", "top"]),
    "MobileNetV3Small": (32, 13, ["expanded_conv_10", "top"]),
    "ResNet50": (32, 17, ["conv5_block2", "conv5_block3"]),
    "ResNet50V2": (32, 17, ["conv5_block2", "conv5_block3"]),
    "DenseNet121": (32, 59, ["conv5_block15", "conv5_block16"]),
    "EfficientNetB0": (32, 18, ["block7a", "top"]),
    "EfficientNetV2B0": (32, 23, ["block6h", "top"]),
    "ConvNeXtTiny": (32, 22, ["convnext_tiny_stage_3_block_1", "convnext_tiny_stage_3_block_2"]),
    "Xception": (71, 14, ["block13", "block14"]),
    "InceptionV3": (75, 11, ["mixed9", "mixed10"]),
    "NASNetMobile": (32, 14, ["11", "12"]),
    "VGG16": (32, 5, ["block4", "block5"]),
}


def network_of(name):
    side = ARCHITECTURES[name][0]
    return load_backbone(name, input_size=(side, side), weights=None).base


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_cut_at_its_own_blocks(name):
    network = network_of(name)
    blocks = blocks_of(network)
    _, n_blocks, last = ARCHITECTURES[name]
    assert len(blocks) == n_blocks
    assert [block.name for block in blocks[-2:]] == last
    in_blocks = [layer for block in blocks for layer in block.layers]
    assert sorted(map(id, in_blocks)) == sorted(id(layer) for layer in network.layers if layer.weights)

    frozen, rest = cut(network, blocks[-1].layers)
    assert not {layer.name for layer in frozen.layers} & {layer.name for layer in blocks[-1].layers}
    pixels = np.random.default_rng(0).random((1, *network.input_shape[1:])).astype(np.float32)
    whole, in_two = network(pixels, training=False), rest(frozen(pixels, training=False), training=False)
    np.testing.assert_array_equal(np.asarray(in_two), np.asarray(whole))


def test_layers_that_nobody_named_are_blocks_of_their_own():
    inputs = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(4, 3, name="one")(inputs)
    features = keras.layers.BatchNormalization(name="norm")(features)
    features = keras.layers.Conv2D(4, 3, name="two")(keras.layers.ReLU()(features))
    blocks = blocks_of(keras.Model(inputs, features))
    assert [[layer.name for layer in block.layers] for block in blocks] == [["one", "norm"], ["two"]]


def test_a_cut_through_branches_keeps_every_tensor_that_crosses_it():
    inputs = keras.Input((4,))
    below = keras.layers.Dense(3, name="below")(inputs)
    beside = keras.layers.Dense(2, name="beside")(inputs)
    outputs = keras.layers.Concatenate()([keras.layers.Dense(3, name="trained")(below), beside])
    network = keras.Model(inputs, outputs)
    frozen, rest = cut(network, [network.get_layer("trained")])
    assert sorted(output.shape[-1] for output in frozen.outputs) == [2, 3]
    values = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(np.asarray(rest(frozen(values))), np.asarray(network(values)))


def test_a_tap_in_the_first_part_comes_out_all_the_same():
    inputs = keras.Input((4,))
    first = keras.layers.Dense(3, name="block_0")(inputs)
    second = keras.layers.Dense(2, name="block_1")(first)
    network = keras.Model(inputs, [first, second])
    frozen, rest = cut(network, [network.get_layer("block_1")])
    values = np.ones((2, 4), np.float32)
    for found, expected in zip(rest(frozen(values)), network(values), strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize("unfreeze", ["last:0", "last:6", "last", "first:1", "ALL", 1, None])
def test_what_is_no_choice_of_blocks_is_refused(unfreeze):
    with pytest.raises(ConversionError, match=r'"last:1" to "last:5", this network\'s number of blocks'):
        last_blocks(blocks_of(network_of("VGG16")), unfreeze)


def test_what_attach_head_did_not_make_is_refused():
    for model in (keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), object()):
        with pytest.raises(ConversionError, match="expected a backbone with a head behind it"):
            parts_of(model)


def test_a_model_of_arrays_is_refused():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ConversionError, match="expected one from uint8 images"):
        parts_of(keras.Sequential([network, head]))


def test_the_parts_together_are_the_model():
    backbone = load_backbone("MobileNetV2", input_size=(32, 32), weights=None, pooling="avg+max")
    head = keras.Sequential([keras.Input((2560,)), keras.layers.Dense(3, "softmax")])
    model = attach_head(backbone, head)
    parts = parts_of(model)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    expected = np.asarray(model(images))
    np.testing.assert_array_equal(np.asarray(parts.after(parts.network(parts.before(images)))), expected)
    np.testing.assert_array_equal(np.asarray(parts.head(parts.features(images))), expected)
