"""Models compiled by Keras's backend: equal to the model, in the batches' order, on every device."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from featx import load_backbone
from featx.features.compiled import compile_model, visible_devices
from tests.conftest import TINY, build_tiny, make_images

pytestmark = pytest.mark.backends

# Two devices that are parts of one processor stand for two accelerators: same code, same placement.
SCRIPT = """
import os, sys
import keras, numpy as np
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from featx.features import engines
from tests.conftest import build_tiny, make_images

engines.visible_devices = lambda: ["cpu:0", "cpu:1"]
used = []
original = engines.compile_model
def compile_model(model, device):
    start = original(model, device)
    return lambda inputs: (used.append(device), start(inputs))[1]
engines.compile_model = compile_model

inputs = keras.Input((16, 16, 3), dtype="uint8")
model = keras.Model(inputs, build_tiny((16, 16), None)(keras.ops.cast(inputs, "float32")))
engine = engines.KerasEngine(model, engines.Settings(4))
batches = [make_images(4, seed, size=(16, 16)) for seed in range(5)]
pending = [engine.start(images) for images in batches]
for images, each in zip(batches, pending):
    expected = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(engine.finish(each), expected, rtol=1e-4, atol=1e-4)
print(engine.n_in_flight, *used)
"""


def test_it_gives_the_models_features():
    model = load_backbone(TINY).model
    images = make_images(4, size=(16, 16))
    start = compile_model(model, visible_devices()[0])
    found = keras.ops.convert_to_numpy(start(images))
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(images)), atol=1e-5)


def test_devices_take_batches_in_turn():
    if keras.backend.backend() == "torch":
        pytest.skip("torch has one processor as its device, and no parts of it")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == ["4", "cpu:0", "cpu:1", "cpu:0", "cpu:1", "cpu:0"]


def test_weights_that_change_are_taken_as_they_are():
    model = build_tiny((16, 16), None)
    images = make_images(2, size=(16, 16)).astype(np.float32)
    before = keras.ops.convert_to_numpy(compile_model(model, visible_devices()[0])(images))
    model.set_weights([2 * weight for weight in model.get_weights()])
    after = keras.ops.convert_to_numpy(compile_model(model, visible_devices()[0])(images))
    np.testing.assert_allclose(after, keras.ops.convert_to_numpy(model(images)), rtol=1e-4)
    assert not np.allclose(after, before)


def test_a_model_is_compiled_once_for_all_extractions():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("counts what TensorFlow traces")
    n_traced = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            n_traced.append(1)
            return keras.ops.mean(inputs, axis=(1, 2))

    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, Counted()(inputs))
    n_traced.clear()
    for _ in range(3):
        compile_model(model, "cpu:0")(np.zeros((2, 16, 16, 3), np.float32))
    assert len(n_traced) == 1
