"""Identity of Keras models."""

import keras
import numpy as np
import pytest

from featx import BackboneError
from featx.features.keras_models import architecture_digest, weights_digest


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
