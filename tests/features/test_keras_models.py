"""Identity of Keras models, and files that are opened or refused."""

import json
import zipfile

import keras
import numpy as np
import pytest

from featx import BackboneError
from featx.features.keras_models import architecture_digest, load_keras_file, weights_digest
from tests.conftest import build_tiny


def small(units=2, activation="relu"):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, activation=activation)])


def test_names_that_keras_counts_up_do_not_change_the_architecture():
    first, second = small(), small()
    assert first.layers[0].name != second.layers[0].name
    assert architecture_digest(first) == architecture_digest(second)


@pytest.mark.parametrize("other", [small(units=3), small(activation="tanh")], ids=["units", "activation"])
def test_another_architecture_has_another_digest(other):
    assert architecture_digest(small()) != architecture_digest(other)


@pytest.mark.parametrize("names", [("relu", "tanh"), ("a", "a")], ids=str)
def test_a_layer_may_be_called_like_a_value_of_its_config(names):
    def build(activation, name):
        return keras.Sequential([keras.Input((3,)), keras.layers.Activation(activation, name=name)])

    first, second = build("relu", names[0]), build("tanh", names[1])
    assert architecture_digest(first) != architecture_digest(second)
    assert architecture_digest(first) == architecture_digest(build("relu", "other"))


def test_the_type_of_numbers_is_part_of_the_architecture():
    def build(dtype):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype=dtype, name="dense")])

    digests = {architecture_digest(build(dtype)) for dtype in ("float32", "bfloat16", "mixed_bfloat16")}
    assert len(digests) == 3


def test_the_code_of_a_users_own_layers_is_part_of_the_architecture():
    def build(code):
        space = {"keras": keras, "__name__": "own_layers"}
        exec(f"class Own(keras.layers.Layer):\n    def call(self, inputs):\n        return {code}", space)
        inputs = keras.Input((3,))
        return keras.Model(inputs, space["Own"](name="own")(inputs))

    assert architecture_digest(build("inputs * 2.0")) == architecture_digest(build("inputs * 2.0"))
    assert architecture_digest(build("inputs * 2.0")) != architecture_digest(build("inputs * 3.0"))


def test_wiring_is_part_of_the_architecture():
    def build(swapped):
        inputs = keras.Input((4,))
        a, b = keras.layers.Dense(4)(inputs), keras.layers.Dense(4, use_bias=False)(inputs)
        return keras.Model(inputs, keras.layers.Subtract()([b, a] if swapped else [a, b]))

    assert architecture_digest(build(swapped=True)) != architecture_digest(build(swapped=False))


def test_freezing_does_not_change_the_architecture():
    model = small()
    before = architecture_digest(model)
    model.trainable = False
    assert architecture_digest(model) == before


def test_one_weight_by_one_ulp_changes_the_digest():
    model = small()
    before = weights_digest(model)
    kernel, bias = model.get_weights()
    kernel[0, 0] = np.nextafter(kernel[0, 0], np.float32(np.inf))
    model.set_weights([kernel, bias])
    assert weights_digest(model) != before


def test_a_model_that_cannot_describe_itself_is_refused():
    class Secret(keras.Model):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    with pytest.raises(BackboneError, match="get_config"):
        architecture_digest(Secret(np.sin))


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
