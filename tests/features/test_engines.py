"""Engines: one fixed batch shape, the same bits for the same image, Keras's features from each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from featx import BackboneError, MissingPackageError, load_backbone
from featx.features import engines
from featx.features.engine_choice import cosines
from featx.features.engines import Settings, check_installed, convert_model, start_engine
from featx.features.precision import resolve_precision
from tests.conftest import TINY, make_images
from tests.contracts import run_python

pytestmark = pytest.mark.backends

BATCH_SIZE = 16

needs_converters = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="the packages that convert are those of TensorFlow's models",
)


def batch(n_images=BATCH_SIZE):
    return make_images(n_images, size=(64, 64))


def backbone(name="MobileNetV2"):
    return load_backbone(name, input_size=(64, 64), weights=None)


def graph(engine, model):
    if not engines.is_installed(engine):
        pytest.skip(f"the extra {engine} is not installed")
    return convert_model(model, engine)


@pytest.fixture(scope="module")
def reference():
    return start_engine(backbone().model, Settings(BATCH_SIZE))(batch())


@pytest.fixture(
    scope="module",
    params=[
        "keras",
        pytest.param("onnx", marks=needs_converters),
        pytest.param("openvino", marks=needs_converters),
    ],
)
def engine(request):
    model = backbone().folded
    source = model if request.param == "keras" else graph(request.param, model)
    return start_engine(source, Settings(BATCH_SIZE))


def test_it_gives_kerass_features(engine, reference):
    features = engine(batch())
    assert features.dtype == np.float32
    assert cosines(features, reference).min() >= 0.99999
    np.testing.assert_allclose(features, reference, atol=1e-5 * np.abs(reference).max())


def test_a_rerun_gives_the_same_bits(engine):
    np.testing.assert_array_equal(engine(batch()), engine(batch()))


def test_a_row_does_not_depend_on_its_neighbours_or_its_place(engine):
    order = np.random.default_rng(1).permutation(BATCH_SIZE)
    features = engine(batch())
    np.testing.assert_array_equal(engine(batch()[order]), features[order])
    padded = batch()
    padded[3:] = 0
    np.testing.assert_array_equal(engine(padded)[:3], features[:3])


def test_features_are_the_callers_own(engine):
    features = engine(batch())
    kept = features.copy()
    engine(255 - batch())
    np.testing.assert_array_equal(features, kept)


def test_several_batches_may_be_under_way(engine):
    pending = [engine.start(images) for images in (batch(), 255 - batch())]
    found = [engine.finish(each) for each in pending]
    np.testing.assert_array_equal(found[0], engine(batch()))
    np.testing.assert_array_equal(found[1], engine(255 - batch()))


def test_it_says_what_it_computed_with(engine):
    assert engine.computed_with["engine"] == engine.name
    assert engine.computed_with["batch_size"] == BATCH_SIZE
    assert {"precision", "pillow"} <= set(engine.computed_with)
    json.dumps([engine.computed_with, engine.described()])


class TestPrecision:
    # Real weights: features at random are too small for float16.
    @pytest.fixture(scope="class")
    @classmethod
    def lite(cls):
        return load_backbone("efficientnet_lite0", input_size=(64, 64)).folded

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls, lite):
        return start_engine(lite, Settings(BATCH_SIZE))(batch())

    @pytest.mark.parametrize("precision", ["bfloat16", "float16"])
    def test_keras_computes_in_half_the_bits(self, precision, lite, reference):
        features = start_engine(lite, Settings(BATCH_SIZE, precision))(batch())
        assert features.dtype == np.float32
        assert 0.98 < cosines(features, reference).min() < 1 - 1e-9

    def test_a_share_of_the_network_keeps_float32(self, lite, reference):
        errors = [
            1
            - cosines(start_engine(lite, Settings(BATCH_SIZE, "bfloat16", share))(batch()), reference).mean()
            for share in (0.0, 0.5, 1.0)
        ]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 1e-9

    @needs_converters
    def test_openvino_keeps_a_share_too(self, lite, reference):
        if resolve_precision("auto", "openvino") != "bfloat16":
            pytest.skip("this processor has no bfloat16")
        source = graph("openvino", lite)
        errors = [
            1
            - cosines(
                start_engine(source, Settings(BATCH_SIZE, "bfloat16", share))(batch()), reference
            ).mean()
            for share in (0.0, 0.5, 1.0)
        ]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 1e-9

    def test_a_model_of_layers_of_ones_own_stays_in_float32(self):
        class Twice(keras.layers.Layer):
            def call(self, inputs):
                return 2 * inputs

        inputs = keras.Input((4,))
        model = keras.Model(inputs, Twice()(keras.layers.Dense(3)(inputs)))
        with pytest.raises(BackboneError, match=r"no copy in bfloat16 .* pass precision='float32'"):
            start_engine(model, Settings(2, "bfloat16"))

    def test_what_an_engine_cannot_is_refused(self):
        with pytest.raises(BackboneError, match="expected 'float32'; pass one of these"):
            resolve_precision("bfloat16", "onnx")
        with pytest.raises(BackboneError, match="expected 'float32' or 'bfloat16'"):
            resolve_precision("float16", "openvino")


@needs_converters
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
@pytest.mark.parametrize("preprocessing", ["none", "unit", "tf", "torch", "caffe", "lite"])
def test_every_preprocessing_is_converted(engine, preprocessing):
    model = load_backbone(TINY, preprocessing=preprocessing).model
    images = make_images(4, size=(16, 16))
    features = start_engine(graph(engine, model), Settings(4))(images)
    expected = start_engine(model, Settings(4))(images)
    np.testing.assert_allclose(features, expected, atol=1e-5 * np.abs(expected).max())


def test_an_absent_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(engines.PACKAGES, "openvino", "no_such_package")
    with pytest.raises(MissingPackageError, match=r'pip install "featx\[openvino\]"'):
        check_installed("openvino")
    with pytest.raises(MissingPackageError, match="no_such_package"):
        resolve_precision("float32", "openvino")


@needs_converters
def test_converting_tells_nobody(tmp_path):
    """OpenVINO's converter reports its use over the network, and keeps an id for it, unless told not to."""
    if not engines.is_installed("openvino"):
        pytest.skip("the extra openvino is not installed")
    script = """
import sys
told = []
sys.addaudithook(lambda event, _: told.append(event) if event in ("socket.connect", "os.fork") else None)
from tests.conftest import build_tiny
from featx.features.engines import convert_model
convert_model(build_tiny((16, 16), None), "openvino")
print(told)
"""
    ours = ("CI", "TF_BUILD", "JENKINS_URL")
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(Path.cwd()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    found = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
    assert not (tmp_path / "intel").exists()


def test_a_tiny_model_of_vectors_runs_as_images_do():
    model = load_backbone(TINY).folded
    assert start_engine(model, Settings(3))(np.zeros((3, 16, 16, 3), np.uint8)).shape == (3, 12)


CTRL_C_AFTER_TWO_ENGINES = """
import os, signal
from featx.features.engines import Graph, OpenVINOEngine, Settings
port = '<port id="0" precision="FP32"><dim>1</dim><dim>3</dim></port>'
layers = f'''
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,3" element_type="f32"/>
<output>{port}</output></layer>
<layer id="1" name="y" type="Result" version="opset1"><input>{port}</input></layer>'''
edges = '<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>'
net = f'<net name="m" version="11"><layers>{layers}</layers><edges>{edges}</edges></net>'.encode()
engines = [OpenVINOEngine(Graph("openvino", net, b""), Settings(size)) for size in (2, 3)]
while engines:
    del engines[0]
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_no_crash_once_engines_are_gone():
    pytest.importorskip("openvino")
    done = run_python(CTRL_C_AFTER_TWO_ENGINES)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
