"""Keras models as things to be identified.

Identity is two digests: the architecture's, over the model's config with the names that Keras counts
up per process taken out, and the weights', over all tensors.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.checks import explain
from featx.digests import arrays_sha256
from featx.errors import BackboneError

if TYPE_CHECKING:
    import keras

# What a config holds that changes no feature.
_IRRELEVANT = ("trainable", "build_config", "compile_config", "registered_name", "shared_object_id")


# Where a config refers to layers by their names.
_REFERENCES = {"keras_history", "input_layers", "output_layers"}


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of all weight tensors of a model, in order, whatever their names.

    Examples
    --------
    >>> import keras
    >>> len(weights_digest(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])))
    64
    """
    tensors = enumerate(model.get_weights())
    return arrays_sha256((str(index), np.ascontiguousarray(tensor)) for index, tensor in tensors)


def architecture_digest(model: keras.Model) -> str:
    """SHA-256 of a model's config, without the names that Keras makes up, and of code that is not Keras's.

    Parameters
    ----------
    model : keras.Model
        Functional, Sequential, or a subclass whose ``get_config`` says how to build it.

    Raises
    ------
    BackboneError
        When the model cannot describe itself.

    Examples
    --------
    >>> import keras
    >>> def build(): return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> architecture_digest(build()) == architecture_digest(build())
    True
    """
    import keras

    try:
        config = keras.saving.serialize_keras_object(model)
        text = json.dumps([_canonical(config, _layer_numbers(config)), *_own_code(model)], sort_keys=True)
    except (NotImplementedError, TypeError, ValueError) as error:
        received = f"the model {model.name!r}, which cannot describe itself ({error})"
        raise BackboneError(explain(received, "a model with a get_config", "give it one")) from error
    return hashlib.sha256(text.encode()).hexdigest()


def _dictionaries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _dictionaries(item)


def _is_named(item: dict[str, Any]) -> bool:
    """Whether this describes a layer or an operation; a type of numbers has a name that means something."""
    config = item.get("config")
    is_type = str(item.get("class_name")).endswith("DTypePolicy")
    return isinstance(config, dict) and isinstance(config.get("name"), str) and not is_type


def _layer_numbers(config: Any) -> dict[str, str]:
    """Layers' names in order of appearance: ``conv2d_7`` in one process is ``conv2d`` in the next."""
    names: dict[str, str] = {}
    for item in _dictionaries(config):
        if _is_named(item):
            names.setdefault(item["config"]["name"], f"layer {len(names)}")
    return names


def _canonical(value: Any, names: dict[str, str]) -> Any:
    """A config in which layers are numbered, where they stand and where they are referred to.

    Nowhere else: a layer may be called like an activation.
    """
    if isinstance(value, list | tuple):
        return [_canonical(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    canonical = {key: _canonical(item, names) for key, item in value.items() if key not in _IRRELEVANT}
    if _is_named(value):
        canonical["config"]["name"] = names[value["config"]["name"]]
        # Beside the config of a functional model's layer its name stands a second time.
        canonical.pop("name", None)
    for key in _REFERENCES & canonical.keys():
        canonical[key] = _renamed(canonical[key], names)
    return canonical


def _renamed(reference: Any, names: dict[str, str]) -> Any:
    """A reference ``[layer, call, output]``, or several in lists, with the layers' numbers."""
    if isinstance(reference, list):
        return [_renamed(item, names) for item in reference]
    return names.get(reference, reference) if isinstance(reference, str) else reference


def _own_code(model: Any) -> list[str]:
    """The code of every class of a model that is not Keras's: its config does not tell what it computes."""
    # Keras has no public way to walk into layers that are made of layers.
    kinds = {kind for layer in model._flatten_layers() for kind in type(layer).__mro__}  # noqa: SLF001
    own = [kind for kind in kinds if not kind.__module__.startswith(("keras.", "tensorflow.", "builtins"))]
    return sorted(_code_of(kind) for kind in own)


def _code_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        # Typed into an interpreter, it has no source: its methods' byte code and constants must do.
        methods = [(name, value.__code__) for name, value in vars(kind).items() if inspect.isfunction(value)]
        return repr([(name, code.co_code, code.co_names, repr(code.co_consts)) for name, code in methods])
