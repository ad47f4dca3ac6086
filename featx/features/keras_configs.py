"""What may stand in the config of a Keras model that somebody else wrote.

A config is a program of a kind: it names classes that are looked up and called. Let through are the classes
that only compute, each looked up here as Keras will look it up, so that no other name or module leads to
another one; everything else runs code or reads files of its author's choice.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

from featx.errors import printable

#: Layers that run code.
UNSAFE_LAYERS = {"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}

# Where a config may look for classes, and where these are defined: they compute and do nothing else.
_PUBLIC = (
    *("keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.activations"),
    *("keras.dtype_policies", "keras.models", "keras"),
)
_DEFINED = (
    *("keras.src.layers.", "keras.src.models.", "keras.src.ops.", "keras.src.applications."),
    *("keras.src.initializers.", "keras.src.regularizers.", "keras.src.constraints."),
    "keras.src.dtype_policies.",
)
# Values that Keras writes as dictionaries: numbers, shapes and references to layers' outputs.
_PLAIN = {
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__tuple__",
    "__bytes__",
    "__ellipsis__",
    "__slice__",
}
_NUMBERS = re.compile(r"(bool|u?int\d{1,2}|b?float\d{1,2})")

# The largest of keras.applications has 1,041 layers, of a dozen objects each.
_MAX_OBJECTS, _MAX_DEPTH = 50_000, 200


def refusal(config: Any) -> str | None:
    """Why a model's config is not built, or None.

    Parameters
    ----------
    config : plain value
        As JSON gives it.

    Returns
    -------
    str or None
        What it holds, to be read after the file's name and "with".

    Examples
    --------
    >>> import keras
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> refusal(keras.saving.serialize_keras_object(model)) is None
    True
    >>> refusal({"module": "os", "class_name": "system", "config": {}})
    "'os.system', which may run code of its author"
    """
    n_objects = 0
    for item, depth in _dictionaries(config):
        if depth > _MAX_DEPTH:
            return f"a config nested deeper than {_MAX_DEPTH}"
        n_objects += "class_name" in item
        if n_objects > _MAX_OBJECTS:
            return f"more than {_MAX_OBJECTS:,} objects"
        if found := _refusal_of(item):
            return found
    return None


def without_training(config: Any) -> Any:
    """A config in which no model, also none within, knows how it was trained: that is not loaded.

    Examples
    --------
    >>> without_training({"class_name": "Model", "compile_config": {"loss": "mse"}})
    {'class_name': 'Model'}
    """
    for item, _ in _dictionaries(config):
        if "class_name" in item:
            item.pop("compile_config", None)
    return config


def _dictionaries(config: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Every dictionary, from the outside in, and how deep it stands; without recursion, however deep."""
    waiting = [(config, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict):
            yield value, depth
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(inner, depth + 1) for inner in value]


def _refusal_of(item: dict[str, Any]) -> str | None:
    # Keras's lookup tables are lists in a config, unless somebody names a file to take them from.
    if isinstance(item.get("vocabulary"), str):
        return f"the vocabulary {_shown(item['vocabulary'])}, which is another file"
    if "class_name" not in item:
        return None
    name, module = item["class_name"], item.get("module")
    if module is None and isinstance(name, str) and name in _PLAIN:
        inner = item.get("config")
        dtype = inner.get("dtype", "float32") if isinstance(inner, dict) else "float32"
        is_number = isinstance(dtype, str) and _NUMBERS.fullmatch(dtype)
        return None if is_number else f"a value of the type {_shown(dtype)}"
    # What a user has registered is theirs to load.
    registered = item.get("registered_name")
    if _is_safe_class(module, name) and registered in (None, name):
        return None
    other = "" if registered in (None, name) else f" registered as {_shown(registered)}"
    return f"{_shown(f'{module}.{name}')}{other}, which may run code of its author"


def _shown(value: Any) -> str:
    return printable(repr(value)[:100])


def _is_safe_class(module: Any, name: Any) -> bool:
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    if module not in _PUBLIC and not f"{module}.".startswith(_DEFINED):
        return False
    try:
        # Modules of Keras and no others; they are imported already, or define layers and nothing else.
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    if not isinstance(found, type) or not found.__module__.startswith(_DEFINED):
        return False
    return UNSAFE_LAYERS.isdisjoint(base.__name__ for base in found.__mro__)
