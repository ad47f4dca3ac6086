"""A fitted head to trainable Keras layers that answer the same, and the check that they do.

The layers are Keras's own (`featx.models.layers`), so that a converted head loads with plain Keras and
runs on every backend. Converters are found by exact type (`featx.models.dispatch`) and stand in
``transformers``, ``linear``, ``kernels``, ``neighbors`` and ``calibration``. Weights are worked out in
float64 and rounded once; the layers compute in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.checks import check_choice, explain
from featx.errors import ConversionError, ParityError
from featx.models import calibration, kernels, linear, neighbors, transformers
from featx.models.chains import folded
from featx.models.dispatch import CONVERTERS, Converter, check_convertible, convert
from featx.models.transformers import steps_of

if TYPE_CHECKING:
    import keras

for _module in (transformers, linear, kernels, neighbors, calibration):
    CONVERTERS.update(_module.CONVERTERS)

_OUTPUTS = ("auto", "probability", "decision")
_METHOD_OF = {"probability": "predict_proba", "decision": "predict"}

_BATCH_SIZE = 256

# A few units in the last place: what float32 leaves of two scores that are equal.
_ROUNDING = 4 * np.finfo(np.float32).eps


def register_converter(estimator_type: type) -> Callable[[Converter], Converter]:
    """Make a type of estimator convertible; a converter that is registered already is replaced.

    Parameters
    ----------
    estimator_type : type
        Exactly this type; subclasses need converters of their own.

    Returns
    -------
    decorator
        Of a function ``converter(estimator, inputs, method)`` that continues the Keras graph from
        ``inputs``, a float32 KerasTensor (n_samples, n_inputs), to what ``estimator.<method>`` gives.
        ``method`` is "transform" for what stands before a head. For a head it is "decision_function"
        ((n_samples, 1) for two classes), "predict_proba", or "predict": (n_samples, n_classes) scores of
        which the first largest is the class.

    Examples
    --------
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> @register_converter(FunctionTransformer)
    ... def convert_root(transformer, inputs, method):
    ...     from keras import ops
    ...     return ops.sqrt(inputs)
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> X, y = [[1.0], [4.0], [9.0]], ["cat", "cat", "dog"]
    >>> head = make_pipeline(FunctionTransformer(np.sqrt), LogisticRegression()).fit(X, y)
    >>> check_parity(head, to_keras(head), X).n_labels_equal
    3
    """

    def register(converter: Converter) -> Converter:
        CONVERTERS[estimator_type] = converter
        return converter

    return register


def to_keras(head: Any, *, output: str = "auto", fold: bool = False) -> keras.Model:
    """A fitted head as a Keras model that gives the same answers and can be trained on.

    Parameters
    ----------
    head : estimator
        A fitted scikit-learn classifier, a Pipeline that ends in one, or a fitted search, of which the best
        estimator is converted.
    output : {"auto", "probability", "decision"}, default="auto"
        "probability" gives the columns of ``predict_proba``; "decision" gives one column a class, of which
        the first largest is what ``predict`` gives. "auto" is "probability" where the head has it.
    fold : bool, default=False
        Multiply scalers and projections out into the linear head behind them, which makes them one layer:
        faster, and trained as one.

    Returns
    -------
    keras.Model
        A functional model ``featx_head`` of Keras's own layers, from "features", float32 of shape
        (n_samples, n_features), to float32 of shape (n_samples, n_classes), an output named "probability"
        or "decision". Columns stand in the order of ``head.classes_``.

    Raises
    ------
    ConversionError
        When the head, or a part of it, is not fitted or not supported, or lacks the output asked for.

    Notes
    -----
    Everything fitted is a trainable weight but what features are centred by, which the bias after it can
    undo. A ``KNeighborsClassifier`` with uniform weights has no gradient towards the features: only its
    samples' labels can be trained.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> head = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> model = to_keras(head)
    >>> model.output_shape
    (None, 3)
    >>> check_parity(head, model, X).n_labels_equal
    150
    """
    import keras

    check_choice("output", output, _OUTPUTS, ConversionError)
    head = getattr(head, "best_estimator_", head)
    check_convertible(head)
    output = _resolve_output(head, output)
    inputs = keras.Input((_n_features(head),), dtype="float32", name="features")
    scores = convert(folded(head) if fold else head, inputs, _METHOD_OF[output])
    # What is last names the output, in a saved model and in what is exported from it.
    named = keras.layers.Identity(name=output, dtype="float32")(scores)
    return keras.Model(inputs, named, name="featx_head")


def _resolve_output(head: Any, output: str) -> str:
    if not hasattr(head, "predict"):
        received = f"a {type(head).__name__}, which predicts nothing"
        raise ConversionError(explain(received, "a classifier", "pass the head with what stands before it"))
    has_probability = hasattr(head, "predict_proba")
    if output == "auto":
        return "probability" if has_probability else "decision"
    if output == "probability" and not has_probability:
        received = f"output='probability' for a {type(head).__name__} without predict_proba"
        remedy = "pass output='decision' or wrap the head in CalibratedClassifierCV"
        raise ConversionError(explain(received, "a head that gives probabilities", remedy))
    return output


def _n_features(head: Any) -> int:
    # A pipeline asks its first step, which may be "passthrough".
    first = steps_of(head)[0] if hasattr(head, "steps") else head
    check_convertible(first)
    if not hasattr(first, "n_features_in_"):
        received = f"a {type(first).__name__} without n_features_in_"
        raise ConversionError(explain(received, "a number of features", "fit it on an array of numbers"))
    return int(first.n_features_in_)


@dataclass(frozen=True)
class Parity:
    """How closely a model answers like the head it was made from.

    Parameters
    ----------
    n_samples : int
    n_labels_equal : int
        Samples for which both choose the same class.
    n_ties : int
        Further samples, for which the two classes' scores are the same but for float32's rounding.
    max_abs_difference : float or None
        Between probabilities; None for decisions, of which only the largest counts.

    Examples
    --------
    See `check_parity`.
    """

    n_samples: int
    n_labels_equal: int
    n_ties: int
    max_abs_difference: float | None


def check_parity(head: Any, model: keras.Model, X: np.ndarray, atol: float = 1e-5) -> Parity:
    """Compare a converted head with the head itself, and refuse a difference.

    Parameters
    ----------
    head : estimator
        As given to `to_keras`.
    model : keras.Model
        As it came from there, or was loaded from a file.
    X : array-like of shape (n_samples, n_features)
        Features. Both get them as float32 holds them; the head computes in float64.
    atol : float, default=1e-5
        Largest difference between probabilities that is let pass.

    Returns
    -------
    Parity

    Raises
    ------
    ParityError
        When a sample gets another class, or a probability differs by more than ``atol``.
    ConversionError
        When the model was not made by `to_keras` or takes another number of features.

    Notes
    -----
    The class is the one with the largest probability where the model gives probabilities, and what
    ``head.predict`` says where it gives decisions. For most heads these are the same; for
    ``SVC(probability=True)`` and ``NearestCentroid`` they are not, as scikit-learn documents: there,
    ``predict`` goes by other numbers than ``predict_proba``.

    What float32 cannot hold can exceed the tolerance: scores far above 100, as of an unregularised
    ``SGDClassifier``; the modified Huber loss where no class is likely; isotonic steps steeper than a
    score's last digit; neighbours as near as another to the last digit; and ``SVC(probability=True)`` for
    one sample of ten thousands, where libsvm happens to end its iteration.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.svm import LinearSVC
    >>> X, y = load_iris(return_X_y=True)
    >>> head = LinearSVC().fit(X, y)
    >>> check_parity(head, to_keras(head), X)
    Parity(n_samples=150, n_labels_equal=150, n_ties=0, max_abs_difference=None)
    """
    head = getattr(head, "best_estimator_", head)
    check_convertible(head)
    kind = (getattr(model, "output_names", None) or [""])[0]
    if kind not in _METHOD_OF or model.output_shape[1] != len(head.classes_):
        received = f"a model {getattr(model, 'name', model)!r} with another output"
        expected = f"a converted head of {len(head.classes_)} classes"
        raise ConversionError(explain(received, expected, "make it with to_keras"))
    features = _checked_features(X, model)
    found = _outputs(model, features)
    rows, difference = np.arange(len(features)), None
    if kind == "probability":
        expected = head.predict_proba(features.astype(np.float64))
        labels, difference = expected.argmax(axis=1), np.abs(found - expected).max(axis=1)
    else:
        labels = np.searchsorted(head.classes_, head.predict(features.astype(np.float64)))
    is_equal = found.argmax(axis=1) == labels
    rounding = _ROUNDING * np.abs(found).max(axis=1)
    is_tie = ~is_equal & (found.max(axis=1) - found[rows, labels] <= rounding)
    _refuse_differences(is_equal | is_tie, difference, atol)
    largest = None if difference is None else float(difference.max())
    return Parity(len(features), int(is_equal.sum()), int(is_tie.sum()), largest)


def _checked_features(X: Any, model: keras.Model) -> np.ndarray:
    features = np.ascontiguousarray(X, np.float32)
    width = model.input_shape[1]
    if features.ndim != 2 or not len(features) or features.shape[1] != width:
        expected = f"samples of {width} features, one or more"
        raise ConversionError(explain(f"X of shape {features.shape}", expected, "pass the head's features"))
    return features


def _outputs(model: keras.Model, features: np.ndarray) -> np.ndarray:
    import keras

    starts = range(0, len(features), _BATCH_SIZE)
    # Called, not predict: nothing has to be compiled for one pass.
    batches = [model(features[start : start + _BATCH_SIZE], training=False) for start in starts]
    return np.concatenate([keras.ops.convert_to_numpy(batch) for batch in batches])


def _refuse_differences(is_equal: np.ndarray, difference: np.ndarray | None, atol: float) -> None:
    largest = float("nan") if difference is None else float(difference.max())
    if not is_equal.all():
        worst = int(is_equal.argmin())
        message = f"{int((~is_equal).sum())} of {len(is_equal)} samples get another class than from the head"
        raise ParityError(message, largest, atol, worst)
    # Not a number must not pass.
    if difference is not None and not largest <= atol:
        raise ParityError("probabilities differ from the head's", largest, atol, int(difference.argmax()))
