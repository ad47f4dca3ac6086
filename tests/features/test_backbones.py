"""The registry, and what becomes of names, files and models of the user's."""

import importlib
import inspect
import random
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from featx import (
    BackboneError,
    BackboneSpec,
    FeatureExtractor,
    list_backbones,
    load_backbone,
    register_backbone,
)
from featx.features import backbones as module
from featx.features.frozen import preprocess
from tests.conftest import TINY, TINY_FEATURES, build_tiny

APPLICATIONS = [spec for spec in list_backbones() if "keras.applications" in spec.weights]


def module_of(name):
    """The module of keras.applications that an architecture is defined in."""
    source = getattr(keras.applications, name).__module__.rpartition(".")[2]
    return importlib.import_module(f"keras.src.applications.{source}")


def test_every_model_of_keras_applications_is_registered():
    functions = {name for name, value in vars(keras.applications).items() if inspect.isfunction(value)}
    assert functions == {spec.name for spec in APPLICATIONS}


@pytest.mark.parametrize("spec", APPLICATIONS, ids=lambda spec: spec.name)
def test_preprocessing_is_that_of_keras(spec):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    ours = keras.ops.convert_to_numpy(preprocess(pixels, spec.preprocess))
    np.testing.assert_allclose(ours, module_of(spec.name).preprocess_input(pixels.copy()), atol=1e-5)


# Quick ones here, all of them in the slow suite.
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec, marks=() if spec.name in {"MobileNetV2", "VGG16"} else pytest.mark.slow)
        for spec in APPLICATIONS
    ],
    ids=lambda spec: spec.name,
)
def test_the_table_holds_the_real_widths_and_sizes(spec):
    build = getattr(keras.applications, spec.name)
    assert build(weights=None, include_top=False, pooling="avg").output_shape == (None, spec.n_features)
    # A size of None means any, and then 224 is what it was trained on.
    expected = build(weights=None).input_shape[1:3]
    assert spec.input_size == tuple(size or 224 for size in expected)
    keras.backend.clear_session()


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(BackboneError, match="did you mean ResNet50"):
        load_backbone("resnet-50")


def test_a_pattern_ignores_case_and_offline_means_on_this_machine():
    assert [spec.name for spec in list_backbones("RESNET50*")] == ["ResNet50", "ResNet50V2"]
    offline = {spec.name for spec in list_backbones("[!t]*", offline_only=True)}
    assert offline == {"efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"}


def test_registering_a_name_anew_replaces_it():
    register_backbone(BackboneSpec("replaced", build_tiny, "unit", (16, 16), TINY_FEATURES, "random"))
    first = load_backbone("replaced").weights_sha256
    other = BackboneSpec(
        "replaced",
        lambda size, weights: build_tiny((size[0], size[1]), weights),
        "tf",
        (16, 16),
        12,
        "random",
    )
    register_backbone(other)
    assert load_backbone("replaced").spec is other
    assert load_backbone("replaced").weights_sha256 == first


def test_registering_with_an_unknown_preprocessing_is_refused():
    with pytest.raises(BackboneError, match="preprocess='imagenet'"):
        register_backbone(BackboneSpec("bad", build_tiny, "imagenet", (16, 16), 12, "random"))


def test_random_weights_repeat_by_seed_and_leave_the_callers_generator_alone():
    random.seed(1)
    expected = random.random()
    random.seed(1)
    digests = [load_backbone(TINY, weights=None, random_state=seed).weights_sha256 for seed in (0, 1)]
    assert random.random() == expected
    assert digests[0] != digests[1]
    module._shared_backbone.cache_clear()
    assert load_backbone(TINY, weights=None, random_state=0).weights_sha256 == digests[0]
    assert load_backbone(TINY, weights=None).weights_sha256 == digests[0]


def test_random_weights_are_the_same_in_every_process():
    script = "from featx import load_backbone as load; "
    script += "print(load('MobileNetV2', input_size=(32, 32), weights=None).weights_sha256)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = load_backbone("MobileNetV2", input_size=(32, 32), weights=None)
    assert done.stdout.strip() == here.weights_sha256


def test_extractors_alike_share_one_network():
    assert load_backbone(TINY).model is load_backbone(TINY).model


def test_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(BackboneError, match=r"could not be downloaded.*weights=None"):
        _ = load_backbone("MobileNet", input_size=(32, 32)).model


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("VGG16", (16, 16), r"input_size=\(16, 16\) for VGG16; expected at least 32 x 32"),
        ("MobileNetV2", (31, 40), "at least 32 x 32"),
        ("InceptionV3", (32, 32), "at least 75 x 75"),
        (TINY, (1, 1), r"input_size=\(1, 1\) for tiny.*pass another"),
        (TINY, (4, 4), r"input_size=\(4, 4\) for tiny"),
    ],
)
def test_an_input_too_small_for_the_network_is_refused_before_any_image(name, size, message):
    with pytest.raises(BackboneError, match=message):
        FeatureExtractor(name, input_size=size, weights=None).fit()


@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite0", (1, 1)), ("MobileNetV2", (33, 70))])
def test_an_input_of_another_size_works(name, size):
    model = load_backbone(name, input_size=size, weights=None).model
    features = model.predict_on_batch(np.full((1, *size, 3), 99, np.uint8))
    assert features.shape == (1, 1280)
    assert np.isfinite(features).all()


def test_names_that_keras_makes_up_are_those_of_a_new_process():
    def build(input_size, _):
        inputs = keras.Input((*input_size, 3))
        features = keras.layers.Conv2D(4, 3)(inputs)
        return keras.Model(inputs, keras.layers.Conv2D(2, 3)(features))

    keras.layers.Conv2D(1, 1)
    spec = BackboneSpec("unnamed", build, "unit", (16, 16), 2, "random")
    for random_state in (0, 1):
        backbone = load_backbone(spec, taps=("conv2d",), weights=None, random_state=random_state)
        assert backbone.feature_blocks == (("conv2d:avg", 4),)
    # Outside, counting goes on.
    assert keras.layers.Conv2D(1, 1).name not in {"conv2d", "conv2d_1"}


@pytest.mark.parametrize("size", [224, (0, 5), (224,), (224.0, 224.0), "224"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(BackboneError, match="input_size"):
        load_backbone(TINY, input_size=size)


@pytest.mark.parametrize("pooling", ["mean", "", "avg+", None, "avg+avg", "max+gem+max"])
def test_an_unknown_or_repeated_pooling_is_refused(pooling):
    with pytest.raises(BackboneError, match=r"pooling=.*; expected"):
        load_backbone(TINY, pooling)


@pytest.mark.parametrize("options", [{"weights": "noisy"}, {"preprocessing": "keras"}])
def test_an_unknown_choice_is_refused_with_the_choices(options):
    with pytest.raises(BackboneError, match="expected one of"):
        load_backbone(TINY, **options)


class TestOwnModels:
    def test_a_model_needs_a_preprocessing(self):
        with pytest.raises(BackboneError, match=r"without a preprocessing.*'unit' \(x / 255\)"):
            load_backbone(build_tiny((16, 16), None))

    def test_a_model_keeps_its_own_input_size(self):
        backbone = load_backbone(build_tiny((16, 20), None), preprocessing="unit")
        assert backbone.input_size == (16, 20)
        with pytest.raises(BackboneError, match="leave input_size out"):
            load_backbone(build_tiny((16, 20), None), preprocessing="unit", input_size=(16, 16))

    def test_a_model_of_any_size_needs_one(self):
        model = build_tiny((None, None), None)
        with pytest.raises(BackboneError, match="pass input_size"):
            load_backbone(model, preprocessing="unit")
        assert load_backbone(model, preprocessing="unit", input_size=(9, 9)).model.input_shape == (
            None,
            9,
            9,
            3,
        )

    def test_a_model_of_any_size_that_leaves_nothing_of_a_small_one_is_refused(self):
        inputs = keras.Input((None, None, 3))
        pooled = keras.Model(inputs, keras.layers.MaxPooling2D(4)(inputs))
        for model, size in ((build_tiny((None, None), None), (4, 4)), (pooled, (3, 8))):
            with pytest.raises(BackboneError, match=r"input_size=.*pass another"):
                FeatureExtractor(model, preprocessing="unit", input_size=size).fit()

    def test_a_model_is_left_trainable(self):
        model = build_tiny((16, 16), None)
        _ = load_backbone(model, preprocessing="unit").model
        assert model.trainable
        assert all(layer.trainable for layer in model.layers)

    def test_batch_norm_and_dropout_are_in_inference(self):
        inputs = keras.Input((8, 8, 3))
        outputs = keras.layers.Dropout(0.9)(keras.layers.BatchNormalization()(inputs))
        model = load_backbone(keras.Model(inputs, outputs), preprocessing="none").model
        white = np.full((2, 8, 8, 3), 255, np.uint8)
        np.testing.assert_allclose(model.predict_on_batch(white), 255 / np.sqrt(1 + 1e-3), rtol=1e-5)

    @pytest.mark.parametrize(
        "model",
        [
            keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]),
            keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)]),
        ],
        ids=["vectors", "grey"],
    )
    def test_a_model_of_other_inputs_is_refused(self, model):
        with pytest.raises(BackboneError, match="one input of shape"):
            load_backbone(model, preprocessing="unit")

    def test_a_file_is_a_backbone_under_its_name(self, tmp_path):
        model = build_tiny((16, 16), None)
        model.save(tmp_path / "mine.keras")
        backbone = load_backbone(tmp_path / "mine.keras", preprocessing="unit")
        own = load_backbone(model, preprocessing="unit")
        assert backbone.spec.name == "mine"
        assert (backbone.weights_sha256, backbone.architecture) == (own.weights_sha256, own.architecture)

    @pytest.mark.parametrize("value", [3, None, [1, 2], b"bytes"])
    def test_anything_else_is_refused(self, value):
        with pytest.raises(BackboneError, match=r"a keras\.Model"):
            load_backbone(value)
