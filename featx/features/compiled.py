"""A Keras model compiled by its backend: TensorFlow's graphs, JAX's jit, torch's inference mode.

``keras.Model.predict`` waits for every batch's result before it takes the next. Here a batch is sent on its
way and fetched later, so that a device computes while the next batch travels to it; several devices take
batches in turn, each with a copy of the model of its own.

XLA is ten times slower than TensorFlow's own kernels for depthwise convolutions on a CPU, and torch
compiles for minutes; for JAX, compiling is the only way to run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import keras

# Models whose compiled form is kept: every extraction with one compiles it otherwise, in every fold.
_KEPT_GRAPHS = 2

#: From a batch to what becomes its features, before they are there.
Start: TypeAlias = Callable[[np.ndarray], Any]


def visible_devices() -> list[str]:
    """The devices that Keras's backend computes on: all its accelerators, or its one processor.

    Examples
    --------
    >>> len(visible_devices()) >= 1
    True
    """
    import keras

    if keras.backend.backend() == "torch":
        import torch

        # Keras lists no devices for torch.
        return [f"gpu:{index}" for index in range(torch.cuda.device_count())] or ["cpu:0"]
    for kind in ("gpu", "tpu"):
        try:
            if found := keras.distribution.list_devices(kind):
                return list(found)
        except RuntimeError:
            # JAX knows no such kind on this machine.
            continue
    return ["cpu:0"]


def compile_model(model: keras.Model, device: str) -> Start:
    """What starts a forward pass on one device.

    Parameters
    ----------
    model : keras.Model
    device : str
        One of `visible_devices`.

    Returns
    -------
    callable
        From a batch to the backend's tensor of features. It need not be there yet:
        ``keras.ops.convert_to_numpy`` waits for it.

    Examples
    --------
    >>> import keras
    >>> start = compile_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]), "cpu:0")
    >>> keras.ops.convert_to_numpy(start(np.zeros((5, 2), np.float32))).shape
    (5, 3)
    """
    import keras

    compilers = {"tensorflow": _compile_tensorflow, "jax": _compile_jax, "torch": _compile_torch}
    return compilers[keras.backend.backend()](model, device)


@functools.lru_cache(maxsize=_KEPT_GRAPHS)
def _tensorflow_graph(model: keras.Model) -> Any:
    # It reads the model's variables whenever it runs.
    import tensorflow as tf

    shape, dtype = model.inputs[0].shape, model.inputs[0].dtype
    signature = [tf.TensorSpec(shape, dtype)]
    return tf.function(lambda inputs: model(inputs, training=False), input_signature=signature)


def _compile_tensorflow(model: keras.Model, device: str) -> Start:
    import tensorflow as tf

    run = _tensorflow_graph(model)

    def start(inputs: np.ndarray) -> Any:
        with tf.device(device):
            return run(tf.constant(inputs))

    return start


@functools.lru_cache(maxsize=_KEPT_GRAPHS)
def _jax_program(model: keras.Model) -> Any:
    # Weights are arguments, not constants: those would be compiled into every program of every shape, and
    # stay what they were if the model is trained on.
    import jax

    return jax.jit(
        lambda trained, kept, inputs: model.stateless_call(trained, kept, inputs, training=False)[0]
    )


def _compile_jax(model: keras.Model, device: str) -> Start:
    import jax

    kind, _, index = device.rpartition(":")
    place = jax.devices(kind)[int(index)]
    variables = (model.trainable_variables, model.non_trainable_variables)
    trainable, fixed = jax.device_put([[each.value for each in group] for group in variables], place)
    run = _jax_program(model)
    return lambda inputs: run(trainable, fixed, jax.device_put(inputs, place))


def _compile_torch(model: keras.Model, device: str) -> Start:
    import keras
    import torch

    place = device.replace("gpu", "cuda")

    def start(inputs: np.ndarray) -> Any:
        batch = torch.from_numpy(inputs)
        if place.startswith("cuda"):
            # From pinned memory a copy to the device does not stop the host.
            batch = batch.pin_memory().to(place, non_blocking=True)
        # Keras puts the constants of a graph on the device in scope.
        with torch.inference_mode(), keras.device(device):
            return model(batch, training=False)

    return start
