"""Converters of calibrated heads: a head's own scores through sigmoids or steps to probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from featx.models.dispatch import Converter, as_array, check_convertible, convert, refuse
from featx.models.layers import centred, dense, normalised, normalised_sigmoids, scaled, two_columns


def _convert_frozen(head: FrozenEstimator, inputs: Any, method: str) -> Any:
    return convert(head.estimator, inputs, method)


def _convert_calibrated(head: CalibratedClassifierCV, inputs: Any, method: str) -> Any:  # noqa: ARG001
    """The mean of the members' probabilities, by which the class is chosen too."""
    import keras

    if head.method not in ("sigmoid", "isotonic"):
        raise refuse(head, f"method={head.method!r}", "method='sigmoid' or 'isotonic'")
    members = head.calibrated_classifiers_
    if any(len(member.estimator.classes_) < len(head.classes_) for member in members):
        raise refuse(head, "a fold that lacks a class", "every class in every fold")
    found = [_member_probabilities(member, inputs) for member in members]
    return found[0] if len(found) == 1 else keras.layers.Average(dtype="float32")(found)


def _member_probabilities(member: Any, inputs: Any) -> Any:
    check_convertible(member.estimator)
    calibrators, n_classes = member.calibrators, len(member.classes)
    scores = _responses(member.estimator, inputs)
    if member.method == "isotonic":
        return _isotonic_probabilities(calibrators, scores, n_classes)
    slopes, biases = (-np.array([getattr(each, name) for each in calibrators]) for name in ("a_", "b_"))
    if n_classes == 2:
        return dense(scores, *two_columns(slopes[:, np.newaxis], biases), activation="softmax")
    return normalised_sigmoids(scaled(scores, slopes, biases), 1 / n_classes)


def _responses(estimator: Any, inputs: Any) -> Any:
    """What is calibrated: one column for two classes, else one a class."""
    n_classes = len(estimator.classes_)
    if hasattr(estimator, "decision_function"):
        scores = convert(estimator, inputs, "decision_function")
        # One-vs-one decisions are more than the classes, and scikit-learn calibrates the first of them.
        return scores[:, :n_classes] if scores.shape[1] > n_classes else scores
    probabilities = convert(estimator, inputs, "predict_proba")
    return probabilities[:, 1:] if n_classes == 2 else probabilities


def _isotonic_probabilities(calibrators: list[Any], scores: Any, n_classes: int) -> Any:
    from keras import ops

    columns = [_steps(each, scores[:, index : index + 1]) for index, each in enumerate(calibrators)]
    if n_classes == 2:
        return ops.concatenate([1.0 - columns[0], columns[0]], axis=1)
    return normalised(ops.concatenate(columns, axis=1), 1 / n_classes)


def _steps(calibrator: Any, score: Any) -> Any:
    """A piecewise linear function of one score, constant outside: KerasTensor (n_samples, 1).

    A sum over its pieces, each of which rises from 0 to its share: large slopes do not cancel, as they
    would in a sum of ramps.
    """
    from keras import ops

    x, y = as_array(calibrator.X_thresholds_), as_array(calibrator.y_thresholds_)
    if len(x) == 1:
        # A constant is one piece that does not rise.
        x, y = np.array([x[0], x[0] + 1]), np.repeat(y, 2)
    after_start, rest = centred(score, x[:-1])
    ramps = scaled(after_start, 1 / np.diff(x), rest / np.diff(x))
    return dense(ops.clip(ramps, 0.0, 1.0), np.diff(y)[:, np.newaxis], y[:1])


CONVERTERS: dict[type, Converter] = {
    CalibratedClassifierCV: _convert_calibrated,
    FrozenEstimator: _convert_frozen,
}
