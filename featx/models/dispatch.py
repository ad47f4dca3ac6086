"""Which converter builds the layers of which estimator: by its exact type, and nothing else.

A converter is ``converter(estimator, inputs, method)``. It continues the Keras graph from ``inputs``, a
tensor (n_samples, n_inputs), to what the estimator's method gives, always with two axes:

=====================  ==================================================================
``transform``          (n_samples, n_outputs)
``decision_function``  (n_samples, 1) for two classes, else as scikit-learn has it
``predict_proba``      (n_samples, n_classes)
``predict``            (n_samples, n_classes) scores, of which the first largest is the class
=====================  ==================================================================

Exact types: a subclass may answer differently, and nothing here would notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from featx.checks import explain
from featx.errors import ConversionError

#: From an estimator, a Keras tensor and a method's name to a Keras tensor.
Converter: TypeAlias = Callable[[Any, Any, str], Any]

#: Filled by featx.models.conversion, which knows the modules with converters.
CONVERTERS: dict[type, Converter] = {}


def convert(estimator: Any, inputs: Any, method: str) -> Any:
    """What an estimator's method gives for some inputs, as a Keras tensor.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    inputs : KerasTensor of shape (n_samples, n_inputs), float32
    method : {"transform", "decision_function", "predict_proba", "predict"}

    Returns
    -------
    KerasTensor of shape (n_samples, n_outputs), float32

    Raises
    ------
    ConversionError
        When no converter is registered for the estimator's type, or it is not fitted or cannot be converted.
    """
    check_convertible(estimator)
    return CONVERTERS[type(estimator)](estimator, inputs, method)


def check_convertible(estimator: Any) -> None:
    """Refuse what has no converter, is not fitted, or gives several labels a sample."""
    if type(estimator) not in CONVERTERS:
        names = ", ".join(sorted(kind.__name__ for kind in CONVERTERS))
        received = f"an estimator of type {type(estimator).__name__}"
        raise ConversionError(explain(received, f"one of {names}", "use one of them or register_converter"))
    name = type(estimator).__name__
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        message = explain(f"a {name} that is not fitted", "a fitted one", "call fit first")
        raise ConversionError(message) from None
    if _is_multilabel(estimator):
        expected = "one label a sample"
        raise ConversionError(explain(f"a {name} of several labels", expected, "fit one head a label"))


def refuse(estimator: Any, received: str, expected: str) -> ConversionError:
    """The error for an estimator whose type is supported and whose parameters are not."""
    return ConversionError(explain(f"a {type(estimator).__name__} with {received}", expected, "fit it anew"))


def _is_multilabel(estimator: Any) -> bool:
    if isinstance(estimator, Pipeline):
        return False
    binarizer = getattr(estimator, "_label_binarizer", getattr(estimator, "label_binarizer_", None))
    of_binarizer = str(getattr(binarizer, "y_type_", "")).startswith("multilabel")
    return of_binarizer or isinstance(getattr(estimator, "classes_", None), list)


def as_array(values: Any) -> np.ndarray:
    """Fitted values as a dense float64 array, from which float32 weights are rounded once."""
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, np.float64)
