"""Which layers are worth tapping: sensible and few for every family, found without weights."""

import socket

import keras
import pytest

from featx import BackboneError, FeatureExtractor, list_taps
from tests.conftest import TINY, build_tiny


def names(backbone, size=(32, 32), **options):
    return [tap.name for tap in list_taps(backbone, size, **options)]


def test_ends_of_blocks_and_the_finest_view_at_each_scale():
    found = names("efficientnet_lite0")
    assert found[:5] == ["block_0", "block_1_expand", "block_1", "block_2", "block_3_expand"]
    assert found[-3:] == ["block_14", "block_15", "top"]
    assert set(names("efficientnet_lite2", (260, 260))) >= {f"block_{n}_expand" for n in (1, 4, 7, 15)}


def test_sums_come_with_the_activation_behind_them():
    found = names("ResNet50")
    assert {"conv1_relu", "conv2_block1_out", "conv5_block2_out"} <= set(found)
    assert not any(name.endswith("_add") for name in found)


def test_without_branches_the_last_of_each_size_is_left():
    assert names("VGG16") == [*(f"block{n}_conv{2 if n < 3 else 3}" for n in range(1, 6)), "top"]
    assert names(TINY, (16, 16)) == ["first", "top"]


# Quick ones here, all of them in the slow suite.
@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                *("DenseNet201", "ConvNeXtTiny", "EfficientNetB7", "EfficientNetV2S", "InceptionResNetV2"),
                *("MobileNet", "MobileNetV3Small", "NASNetMobile", "ResNet152", "ResNet50V2", "Xception"),
            )
        ),
    ],
)
def test_the_list_is_short_runs_from_fine_to_coarse_and_can_be_tapped(name):
    taps = list_taps(name)
    assert 5 <= len(taps) <= 30
    assert [tap.depth for tap in taps] == sorted(tap.depth for tap in taps)
    heights = [tap.shape[0] for tap in taps]
    assert heights == sorted(heights, reverse=True)
    chosen = [tap.name for tap in taps[::3]]
    spec = FeatureExtractor(name, taps=chosen, weights=None).fit().spec_
    assert spec.feature_blocks == tuple((f"{tap.name}:avg", tap.n_features) for tap in taps[::3])


def test_nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))
    assert list_taps("MobileNet", (64, 64))[0].shape == (32, 32, 64)


def test_every_layer():
    layers = list_taps(TINY, every_layer=True)
    assert [(tap.name, tap.shape, tap.depth) for tap in layers] == [
        ("first", (7, 7, 8), 0.5),
        ("top", (5, 5, 12), 1.0),
    ]
    assert len(names("MobileNetV2", every_layer=True)) == 153


def test_a_model_of_ones_own():
    assert names(build_tiny((16, 16), None), None) == ["first", "top"]
    inputs = keras.Input((8, 8, 3))
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, name="hidden"), keras.layers.Dense(2)]
    assert names(keras.Sequential([inputs, *layers]), None)[-1] == "top"


def test_what_cannot_be_listed_is_refused():
    with pytest.raises(BackboneError, match="did you mean VGG16"):
        list_taps("VGG-16")
    with pytest.raises(BackboneError, match="at least 32 x 32"):
        list_taps("VGG16", (8, 8))
