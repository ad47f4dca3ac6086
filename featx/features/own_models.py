"""A user's own Keras model as a backbone: of images, or of arrays of whatever shape and type it takes.

An image is decoded, resized and preprocessed on its way into a network; an array reaches it as it is. So of
images a user says what their model expects of pixels, and of arrays the model itself says all there is to
know: the shape of a sample, the type of its numbers, and for token ids how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.checks import check_choice, explain, suggest
from featx.errors import BackboneError
from featx.features.frozen import OWN, PREPROCESSING, Backbone, BackboneSpec, functional
from featx.features.keras_files import load_keras_file

if TYPE_CHECKING:
    import keras

_WEIGHTS = "the model's own"


def own_model(backbone: Any, known: Sequence[str]) -> tuple[keras.Model, str]:
    """The model that a user passed, or named by its file, and what to call it.

    Parameters
    ----------
    backbone : path-like or keras.Model
    known : sequence of str
        Names of registered backbones, one of which may have been meant.

    Raises
    ------
    BackboneError
        When it is neither.

    Examples
    --------
    >>> own_model("resnet-50", ["ResNet50", "VGG16"])
    Traceback (most recent call last):
    featx.errors.BackboneError: received the backbone 'resnet-50'; expected ...; did you mean ResNet50?
    """
    if isinstance(backbone, str | os.PathLike):
        path = Path(backbone)
        if path.suffix == ".keras":
            return load_keras_file(path), path.stem
        received, expected = f"the backbone {str(backbone)!r}", "a registered name or a .keras file"
        raise BackboneError(explain(received, expected, suggest(str(backbone), known)))
    import keras

    if isinstance(backbone, keras.Model):
        return backbone, backbone.name
    expected = "a backbone's name, a .keras file or a keras.Model"
    raise BackboneError(explain(f"a {type(backbone).__name__}", expected, "pass one"))


def image_backbone(
    model: keras.Model,
    name: str,
    pooling: str,
    taps: tuple[str, ...],
    *,
    input_size: tuple[int, int] | None,
    preprocessing: str,
) -> Backbone:
    """A backbone out of a user's model of images.

    Raises
    ------
    BackboneError
        When the model does not take images, or leaves their size or preprocessing open.

    Examples
    --------
    >>> import keras
    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    >>> image_backbone(model, "mine", "avg", (), input_size=None, preprocessing="unit").feature_blocks
    (('top:avg', 4),)
    """
    expected = getattr(model, "input_shape", None)
    if not isinstance(expected, tuple) or len(expected) != 4 or expected[-1] != 3:
        received = f"the model {name} with inputs of shape {expected}"
        remedy = "pass inputs='arrays' for samples that are no images, or adapt the model"
        raise BackboneError(explain(received, "one input of shape (None, height, width, 3)", remedy))
    if preprocessing == "auto":
        choices = ", ".join(f"{mode!r} ({meaning})" for mode, meaning in PREPROCESSING.items())
        received = f"the model {name} without a preprocessing"
        raise BackboneError(explain(received, f"one of {choices}", "pass preprocessing=..."))
    _check_one_output(model, name)
    fixed = tuple(expected[1:3]) if None not in expected[1:3] else None
    if input_size is None and fixed is None:
        received = f"the model {name}, of any input size"
        raise BackboneError(explain(received, "one size", "pass input_size=..."))
    size: Any = input_size or fixed
    if fixed is not None and size != fixed:
        expected_size = f"the model's own, {fixed}"
        raise BackboneError(explain(f"input_size={size}", expected_size, "leave input_size out"))
    spec = BackboneSpec(name, lambda *_: model, preprocessing, size, model.output_shape[-1], _WEIGHTS)
    return Backbone(spec, lambda: model, pooling, taps, size, weights=OWN)


def array_backbone(
    model: keras.Model,
    name: str,
    pooling: str,
    taps: tuple[str, ...],
    *,
    input_size: Any,
    preprocessing: str,
) -> Backbone:
    """A backbone out of a user's model of arrays.

    Parameters
    ----------
    model : keras.Model
        With one input of numbers and one output.
    name, pooling, taps
        See `featx.load_backbone`.
    input_size : tuple of int, optional
        Shape of one sample; needed where the model leaves a side of it open.
    preprocessing : {"auto", "none"}

    Raises
    ------
    BackboneError
        When the model takes anything else, or the shape does not fit it.

    Examples
    --------
    >>> import keras
    >>> tokens = keras.Input((None,), dtype="int32")
    >>> model = keras.Model(tokens, keras.layers.GRU(4)(keras.layers.Embedding(100, 8)(tokens)))
    >>> backbone = array_backbone(model, "mine", "avg", (), input_size=(50,), preprocessing="auto")
    >>> backbone.input_dtype, backbone.feature_blocks
    ('int32', (('top:avg', 4),))
    """
    check_choice("preprocessing", preprocessing, ("auto", "none"), BackboneError)
    expected = getattr(model, "input_shape", None)
    if not isinstance(expected, tuple) or len(expected) < 2:
        received = f"the model {name} with inputs of shape {expected}"
        remedy = "make a model of one input, with keras.Input"
        raise BackboneError(explain(received, "one input of shape (None, ...)", remedy))
    _check_one_output(model, name)
    shape = _sample_shape(expected[1:], input_size)
    dtype = str(model.inputs[0].dtype)
    if dtype not in np.sctypeDict or np.dtype(dtype).kind not in "biuf":
        received = f"the model {name} with inputs of the type {dtype}"
        raise BackboneError(explain(received, "one of NumPy's numbers", "give it an Input of another dtype"))
    spec = BackboneSpec(name, lambda *_: model, "none", shape, model.output_shape[-1], _WEIGHTS)
    return Backbone(spec, lambda: model, pooling, taps, shape, weights=OWN, array_dtype=dtype)


def vocabulary_size(model: keras.Model) -> int | None:
    """How many token ids a model knows, or None where it takes anything else.

    An id beyond them ends a forward pass on TensorFlow, and gives some other row, or NaN, elsewhere.

    Examples
    --------
    >>> import keras
    >>> vocabulary_size(keras.Sequential([keras.Input((5,)), keras.layers.Embedding(100, 8)]))
    100
    """
    return min(_embedding_sizes(model), default=None)


def _embedding_sizes(model: Any) -> Iterator[int]:
    """Sizes of the embeddings that a model's input goes into, also within models in it."""
    import keras

    try:
        graph: Any = functional(model)
    except BackboneError:
        # A call of its own tells nobody what it does with its input.
        return
    # Keras has no public way to walk a graph.
    for node in (node for nodes in graph._nodes_by_depth.values() for node in nodes):  # noqa: SLF001
        if any(tensor is source for tensor in node.input_tensors for source in graph.inputs):
            if isinstance(node.operation, keras.layers.Embedding):
                yield int(node.operation.input_dim)
            elif isinstance(node.operation, keras.Model):
                yield from _embedding_sizes(node.operation)


def _check_one_output(model: keras.Model, name: str) -> None:
    if not isinstance(model.output_shape, tuple):
        received = f"the model {name} with {len(model.output_shape)} outputs"
        raise BackboneError(explain(received, "one", "make a model of the one you want"))


def _sample_shape(own: tuple[int | None, ...], input_size: Any) -> tuple[int, ...]:
    """Shape of one sample: what the model says, and where that is open, what the user says."""
    if input_size is None:
        if None in own:
            received = f"a model of samples of shape {own}"
            raise BackboneError(explain(received, "one shape", "pass input_size=(the shape of one sample)"))
        return tuple(int(side) for side in own if side is not None)
    is_shape = isinstance(input_size, Sequence) and all(isinstance(side, Integral) for side in input_size)
    fits = is_shape and len(input_size) == len(own)
    if not fits or any(s < 1 or side not in (None, s) for side, s in zip(own, input_size, strict=True)):
        expected = f"the shape of one sample, {own}"
        raise BackboneError(explain(f"input_size={input_size!r}", expected, "pass one that fits"))
    return tuple(int(side) for side in input_size)
