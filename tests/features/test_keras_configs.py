"""Configs of Keras models: Keras's own classes that compute pass, and nothing else."""

import json

import keras
import pytest

from featx.features.keras_configs import refusal, without_training


def config_of(*layers):
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


def test_layers_with_all_that_belongs_to_them_pass():
    dense = keras.layers.Dense(
        3,
        kernel_initializer=keras.initializers.HeNormal(seed=1),
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_constraint=keras.constraints.NonNeg(),
        dtype=keras.DTypePolicy("mixed_bfloat16"),
    )
    layers = keras.layers
    found = config_of(
        layers.Rescaling(1 / 255),
        layers.Normalization(mean=[0.0, 0.0, 0.0], variance=[1.0, 1.0, 1.0]),
        layers.TimeDistributed(layers.Dense(2)),
        layers.Flatten(),
        dense,
        layers.Dropout(0.5),
    )
    assert refusal(found) is None


def test_operations_between_layers_pass():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.ops.mean(inputs[:, 1:] / 2 + 1, axis=(1, 2)))
    assert refusal(json.loads(json.dumps(keras.saving.serialize_keras_object(model)))) is None


def test_lists_for_a_lookup_pass_and_files_do_not():
    layer = {"module": "keras.layers", "class_name": "IntegerLookup", "registered_name": None}
    assert refusal({**layer, "config": {"vocabulary": [1, 2]}}) is None
    assert refusal({**layer, "config": {"vocabulary": "/etc/passwd"}}) == (
        "the vocabulary '/etc/passwd', which is another file"
    )


@pytest.mark.parametrize(
    "item",
    [
        {"module": "keras.layers", "class_name": "no_such_layer"},
        {"module": "keras.src.layers.core.lambda_layer", "class_name": "Lambda"},
        {"module": "keras.models", "class_name": "load_model"},
        {"module": "keras.layers", "class_name": "Dense", "registered_name": "mine>Dense"},
        {"module": None, "class_name": "__lambda__", "config": {}},
        {"module": None, "class_name": "__numpy__", "config": {"value": 0, "dtype": "S2000000000"}},
        {"class_name": ["Dense"], "module": "keras.layers"},
    ],
    ids=lambda item: f"{item['module']}.{item['class_name']}",
)
def test_anything_else_is_refused_wherever_it_stands(item):
    assert refusal(item)
    assert refusal({"a": [{"b": item}]})


def test_how_a_model_was_trained_is_taken_off_everywhere():
    inner = {"class_name": "Model", "compile_config": {"loss": {"class_name": "evil"}}, "config": {}}
    whole = {"class_name": "Model", "compile_config": {}, "config": {"layers": [inner]}}
    assert refusal(without_training(whole)) != "evil"
    assert "compile_config" not in json.dumps(whole)


def test_depth_and_number_are_bounded():
    nested: dict = {}
    for _ in range(300):
        nested = {"a": nested}
    assert refusal(nested) == "a config nested deeper than 200"
    plain = {"class_name": "__ellipsis__", "config": {}}
    assert refusal([plain] * 60_000) == "more than 50,000 objects"
