"""Files of Keras models, opened or refused."""

import json
import zipfile

import keras
import pytest

from featx import BackboneError
from featx.features.keras_files import load_keras_file
from featx.features.keras_models import architecture_digest, weights_digest
from tests.conftest import build_tiny


def small(units=2, activation="relu"):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation=activation)])


@pytest.mark.parametrize("name", ["MobileNetV3Small", "ConvNeXtTiny", "EfficientNetV2B0"])
def test_files_of_keras_own_architectures_open(name, tmp_path):
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(32, 32, 3))
    model.save(tmp_path / "model.keras")
    loaded = load_keras_file(tmp_path / "model.keras")
    assert weights_digest(loaded) == weights_digest(model)
    assert architecture_digest(loaded) == architecture_digest(model)


@keras.saving.register_keras_serializable(package="tests")
class Custom(keras.layers.Layer):
    def call(self, inputs):
        return inputs


def test_a_registered_custom_layer_is_refused_all_the_same(tmp_path):
    keras.Sequential([keras.Input((3,)), Custom()]).save(tmp_path / "model.keras")
    with pytest.raises(BackboneError, match=r"Custom.*pass the model"):
        load_keras_file(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_layer_is_refused(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "model.keras")
    with pytest.raises(BackboneError, match="Lambda"):
        load_keras_file(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_loss_of_the_users_does_not_matter(tmp_path):
    model = small()
    model.compile("adam", loss=lambda truth, guess: keras.ops.mean(truth - guess))
    model.save(tmp_path / "model.keras")
    assert load_keras_file(tmp_path / "model.keras").output_shape == (None, 2)


def rewrite_config(path, change):
    """A copy of a model file with its config changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    change(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    "gadget",
    [
        {"module": "os", "class_name": "system"},
        {"module": "subprocess", "class_name": "run"},
        {"module": "builtins", "class_name": "function", "config": "exec"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "keras.src.utils.file_utils", "class_name": "get_file"},
        {"module": "keras.saving", "class_name": "load_model"},
        {"module": "keras.layers", "class_name": "TFSMLayer"},
        {"module": "keras.layers", "class_name": "TorchModuleWrapper"},
        {"module": "keras.layersevil", "class_name": "Dense"},
        {"module": None, "class_name": "Lambda"},
    ],
    ids=lambda gadget: f"{gadget['module']}.{gadget['class_name']}",
)
def test_gadgets_in_a_config_are_refused_before_keras_sees_them(tmp_path, gadget):
    path = tmp_path / "model.keras"
    small().save(path)
    rewrite_config(path, lambda config: config["config"]["layers"].append({"config": {}, **gadget}))
    with pytest.raises(BackboneError, match="may run code"):
        load_keras_file(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 60])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(BackboneError, match="save it anew"):
        load_keras_file(path)


def test_a_truncated_or_absent_file_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    build_tiny((16, 16), None).save(path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(BackboneError):
        load_keras_file(path)
    with pytest.raises(BackboneError, match="no such file"):
        load_keras_file(tmp_path / "absent.keras")
