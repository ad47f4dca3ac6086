r"""Batch normalisation folded into the convolutions before it, for inference.

With fixed statistics, normalisation is one multiplication and one addition a channel, which a
convolution can do on its way (Jacob et al., CVPR 2018, section 3.2)::

    gamma * (W x + b - mean) / sqrt(variance + epsilon) + beta  =  (s W) x + (b - mean) s + beta
    with s = gamma / sqrt(variance + epsilon)

It saves a pass over memory a layer: on two cores EfficientNet-Lite and MobileNetV2 embed 1.6 times as
many images a second, ResNet50 1.15 times, and a network of three 1-D convolutions 1.17 times as many
spectrograms. The rejected alternative is to freeze the variables into constants and leave the rest to
TensorFlow: 1.3 times, and on that backend alone.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.checks import explain
from featx.errors import BackboneError, FeatxWarning
from featx.features.keras_configs import UNSAFE_LAYERS

if TYPE_CHECKING:
    import keras

# The weight of each kind of convolution whose last axes are its output channels; a dense layer is one too.
_KERNELS = {
    **dict.fromkeys(("Dense", "Conv1D", "Conv2D", "Conv3D"), "kernel"),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), "kernel"),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), "pointwise_kernel"),
}

#: How the names of layers begin that compute in float32 whatever the precision of the others.
KEEPS_FLOAT32 = "featx_float32"

# Largest difference allowed, as a share of the largest feature: that of another order of summation.
_TOLERANCE = 1e-5


def fold_batch_norm(model: keras.Model) -> keras.Model:
    """A model that gives the same features with fewer layers to run.

    Parameters
    ----------
    model : keras.Model
        With one input, of any shape and type, such as uint8 images. It is left as it is.

    Returns
    -------
    keras.Model
        A copy, or ``model`` itself where nothing can be folded: where a normalisation does not follow a
        convolution of its own, or where there are layers that are not Keras's own, of which nobody knows
        whether a copy does the same.

    Examples
    --------
    >>> from featx import load_backbone
    >>> model = load_backbone("MobileNetV2", input_size=(32, 32), weights=None).model
    >>> images = np.full((1, 32, 32, 3), 128, np.uint8)
    >>> folded = fold_batch_norm(model)
    >>> bool(np.allclose(folded.predict_on_batch(images), model.predict_on_batch(images), atol=1e-6))
    True
    """
    import keras

    # XLA fuses the layers itself: measured, folding gains nothing there and checking it takes ten seconds.
    is_fused = keras.backend.backend() == "jax"
    is_copyable = _is_functional(model) and _is_copyable(model)
    norm_of = dict(_foldable(model)) if is_copyable and not is_fused else {}
    if not norm_of:
        return model
    folded = _folded_copy(model, norm_of)
    if _agree(model, folded):
        return folded
    message = f"{model.name} runs slower than it could: folding its batch normalisation changes its features"
    warnings.warn(message, FeatxWarning, stacklevel=2)
    return model


def copy_model(model: keras.Model) -> keras.Model:
    """A functional model's equal, with weights of its own.

    Parameters
    ----------
    model : keras.Model
        With one input, of any shape and type. It is left as it is.

    Returns
    -------
    keras.Model

    Raises
    ------
    BackboneError
        When it cannot be copied: it is a subclass with a call of its own, or has layers whose config and
        weights are not all there is to them.

    Examples
    --------
    >>> import keras
    >>> inputs = keras.Input((8, 8, 3))
    >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    >>> copy_model(model).output_shape
    (None, 6, 6, 4)
    """
    if _is_copyable(model):
        copy = _folded_copy(model, {})
        if _agree(model, copy):
            return copy
    received = f"the model {model.name}, of which no equal copy can be made"
    raise BackboneError(explain(received, "a functional model of Keras's own layers", "rebuild it as one"))


def copy_in_precision(model: keras.Model, precision: str, float32_share: float) -> keras.Model:
    """A functional model's equal that computes in half the bits.

    Parameters
    ----------
    model : keras.Model
        It is left as it is.
    precision : {"bfloat16", "float16"}
        Of its layers' weights and arithmetic.
    float32_share : float
        Share of the layers with weights, from the input on, that stay as they are. Rounding hurts most
        where it is carried through every layer after.

    Returns
    -------
    keras.Model

    Raises
    ------
    BackboneError
        When it cannot be copied.

    Examples
    --------
    >>> import keras
    >>> inputs = keras.Input((8, 8, 3))
    >>> model = keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))
    >>> copy_in_precision(model, "bfloat16", 0.0).layers[-1].compute_dtype
    'bfloat16'
    """
    if not (_is_functional(model) and _is_copyable(model)):
        received = f"the model {model.name}, of which no copy in {precision} can be made"
        raise BackboneError(
            explain(received, "a functional model of Keras's own layers", "pass precision='float32'")
        )
    leaves = list(_leaves(model))
    n_seen = np.cumsum([bool(layer.weights) for layer in leaves])
    n_kept = round(float32_share * n_seen[-1])
    changed = (layer for layer, seen in zip(leaves, n_seen, strict=True) if seen > n_kept)
    is_free = (layer for layer in changed if not layer.name.startswith(KEEPS_FLOAT32))
    return _folded_copy(model, {}, {id(layer): precision for layer in is_free})


# Modules whose classes do what their config and weights say, and nothing else.
_PLAIN_MODULES = ("keras.src.layers.", "keras.src.ops.", "keras.src.applications.")


def _is_functional(layer: Any) -> bool:
    # Not isinstance: a subclass may do in its call what no copy of its graph does.
    return type(layer).__module__ == "keras.src.models.functional"


def _is_sequential(layer: Any) -> bool:
    return type(layer).__module__ == "keras.src.models.sequential"


def _is_copyable(operation: Any) -> bool:
    """Whether all of it is Keras's own, so that config and weights are all there is to a layer."""
    if _is_functional(operation):
        return all(_is_copyable(inner) for inner in operation.operations)
    if _is_sequential(operation):
        return all(_is_copyable(inner) for inner in operation.layers)
    kind = type(operation)
    return kind.__module__.startswith(_PLAIN_MODULES) and kind.__name__ not in UNSAFE_LAYERS


def _leaves(model: Any) -> Iterator[Any]:
    """The layers of a model and of the models in it, in order, without those that stand for an input."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        elif type(layer).__name__ != "InputLayer":
            yield layer


def _foldable(model: Any) -> Iterator[tuple[Any, Any]]:
    """Each convolution whose output goes to one normalisation and nowhere else, with that."""
    layers = {layer.name: layer for layer in model.layers}
    inputs, n_uses = _graph(model)
    for layer in model.layers:
        if _is_functional(layer):
            yield from _foldable(layer)
        elif type(layer).__name__ == "BatchNormalization" and len(inputs[layer.name]) == 1:
            producer = layers.get(inputs[layer.name][0])
            if producer is not None and n_uses[producer.name] == 1 and _is_linear_convolution(producer):
                is_last_axis = layer.axis in (-1, len(layer.input.shape) - 1)
                if is_last_axis and len(inputs[producer.name]) == 1:
                    yield producer, layer


def _is_linear_convolution(layer: Any) -> bool:
    return (
        type(layer).__name__ in _KERNELS
        and getattr(layer.activation, "__name__", "") == "linear"
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


def _graph(model: Any) -> tuple[dict[str, list[str]], Counter[str]]:
    """The names of what each operation takes, over all its calls, and how often each is taken."""
    config = model.get_config()
    inputs = {layer["name"]: list(_histories(layer["inbound_nodes"])) for layer in config["layers"]}
    n_uses = Counter(name for names in inputs.values() for name in names)
    outputs = config["output_layers"]
    # One output stands there as itself, several as a list.
    n_uses.update([outputs[0]] if isinstance(outputs[0], str) else [name for name, *_ in outputs])
    return inputs, n_uses


def _histories(value: Any) -> Iterator[str]:
    """Names of the operations that the tensors in a piece of a config come from."""
    if isinstance(value, dict):
        history = value.get("keras_history")
        if history is not None:
            yield history[0]
        else:
            for item in value.values():
                yield from _histories(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _histories(item)


def _folded_copy(
    model: keras.Model, norm_of: dict[Any, Any], precision_of: dict[int, str] | None = None
) -> keras.Model:
    import keras

    norms = set(norm_of.values())
    copies: list[tuple[Any, Any]] = []

    def copy(layer: Any) -> Any:
        if layer in norms:
            return keras.layers.Identity(name=layer.name, dtype=layer.dtype_policy.name)
        config = layer.get_config()
        if layer in norm_of:
            config["use_bias"] = True
        if precision_of and id(layer) in precision_of:
            config["dtype"] = precision_of[id(layer)]
        twin = type(layer).from_config(config)
        copies.append((layer, twin))
        return twin

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        # A normalisation is also called with a mask, which an identity does not take.
        return (
            layer(arguments[0]) if isinstance(layer, keras.layers.Identity) else layer(*arguments, **options)
        )

    # A sequential model calls its layers itself, and none of them is replaced.
    options = {} if _is_sequential(model) else {"call_function": call, "recursive": True}
    folded = keras.models.clone_model(model, clone_function=copy, **options)
    for layer, twin in copies:
        if layer in norm_of:
            _set_folded_weights(layer, norm_of[layer], twin)
        elif getattr(layer, "weights", ()):
            twin.set_weights(layer.get_weights())
        if isinstance(twin, keras.layers.Normalization):
            # It computes with values derived from its weights when it was made.
            twin.finalize_state()
    return folded


def _set_folded_weights(convolution: Any, norm: Any, twin: Any) -> None:
    values = {weight.name: np.asarray(weight, np.float64) for weight in (*convolution.weights, *norm.weights)}
    scale = values.get("gamma", 1.0) / np.sqrt(values["moving_variance"] + norm.epsilon)
    kind = type(convolution).__name__
    name = _KERNELS[kind]
    kernel = values[name]
    # A depthwise kernel's last two axes together are its output channels.
    n_axes = 2 if kind.startswith("Depthwise") else 1
    values[name] = kernel * scale.reshape(kernel.shape[-n_axes:])
    values["bias"] = (values.get("bias", 0.0) - values["moving_mean"]) * scale + values.get("beta", 0.0)
    twin.set_weights([values[weight.name] for weight in twin.weights])


def _agree(model: keras.Model, folded: keras.Model) -> bool:
    """Whether two models give the same features for a sample of noise, but for rounding."""
    import keras

    sample = _noise(model)
    expected, found = (keras.ops.convert_to_numpy(each(sample, training=False)) for each in (model, folded))
    # Damaged weights give features that are not finite, and that is for the extraction to report.
    finite = np.isfinite(expected)
    difference, largest = (np.abs(values[finite]).max(initial=0.0) for values in (found - expected, expected))
    return np.array_equal(np.isfinite(found), finite) and difference <= _TOLERANCE * largest


def _noise(model: keras.Model) -> np.ndarray:
    """A sample that a model can take, whatever it was made for."""
    shape = model.input_shape[1:]
    # An axis of any length: images need some size to get through all strides, sequences do not.
    free = 96 if len(shape) == 3 else 8
    sides = (1, *(free if side is None else side for side in shape))
    rng = np.random.default_rng(0)
    dtype = model.inputs[0].dtype
    if dtype == "uint8" and len(shape) == 3:
        return rng.integers(0, 256, sides).astype(np.uint8)
    # 0 and 1, or in between: token ids that every vocabulary has, also where a model takes them as floats.
    noise = rng.uniform(0, 2, sides)
    return noise.astype(dtype if "int" in dtype or dtype == "bool" else np.float32)
