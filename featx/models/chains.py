"""Linear chains multiplied out: a scaler, a projection and a linear head become one linear head.

Done on the fitted estimators, before any layer is made, so that converters know nothing of it. What is
given is never changed: every estimator that gets new weights is a copy.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline

from featx.models.dispatch import as_array
from featx.models.linear import LINEAR_HEADS, linear_weights
from featx.models.transformers import Affine, affine_of, steps_of


def folded(head: Any) -> Any:
    """A head that answers the same, with fewer steps: scaling and projection inside its weights.

    Parameters
    ----------
    head : estimator
        Fitted; it is left as it is. Pipelines inside calibrated and one-vs-rest heads are folded too.

    Returns
    -------
    estimator
        A copy for conversion alone, or ``head`` itself where nothing can be folded.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> head = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> bool(np.allclose(folded(head).predict_proba(X), head.predict_proba(X)))
    True
    """
    if type(head) is not Pipeline:
        return _with_members(head, folded)
    *transformers, last = steps_of(head)
    last = folded(last)
    while transformers:
        affine = affine_of(transformers[-1])
        absorbed = None if affine is None else _absorbed(last, affine)
        if absorbed is None:
            break
        transformers, last = transformers[:-1], absorbed
    steps = [*transformers, last]
    return last if len(steps) == 1 else Pipeline([(str(index), step) for index, step in enumerate(steps)])


def _absorbed(head: Any, affine: Affine) -> Any:
    """A copy of a head that does an affine map by its own weights; None where it has none to do it by."""
    if type(head) in LINEAR_HEADS:
        kernel, bias = _composed(affine, *linear_weights(head))
        return _copy_with(head, coef_=kernel.T, intercept_=bias)
    if type(head) is MLPClassifier:
        kernel, bias = _composed(affine, as_array(head.coefs_[0]), as_array(head.intercepts_[0]))
        return _copy_with(head, coefs_=[kernel, *head.coefs_[1:]], intercepts_=[bias, *head.intercepts_[1:]])
    if type(head) in (CalibratedClassifierCV, OneVsRestClassifier, FrozenEstimator):
        return _with_members(head, lambda member: _absorbed(member, affine))
    return None


def _composed(affine: Affine, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = affine.scale
    outer = scale[:, np.newaxis] * kernel if scale.ndim == 1 else scale @ kernel
    return outer, bias + affine.shift @ kernel - affine.centre @ outer


def _with_members(head: Any, change: Any) -> Any:
    """A copy of a head of heads, each of them changed; None where one cannot be."""
    if type(head) is FrozenEstimator:
        changed = change(head.estimator)
        return None if changed is None else FrozenEstimator(changed)
    if type(head) is OneVsRestClassifier:
        members = [change(member) for member in head.estimators_]
        return None if None in members else _copy_with(head, estimators_=members)
    if type(head) is CalibratedClassifierCV:
        members = [change(member.estimator) for member in head.calibrated_classifiers_]
        pairs = zip(head.calibrated_classifiers_, members, strict=True)
        calibrated = [_copy_with(member, estimator=changed) for member, changed in pairs]
        return None if None in members else _copy_with(head, calibrated_classifiers_=calibrated)
    return head


def _copy_with(estimator: Any, /, **attributes: Any) -> Any:
    twin = copy.copy(estimator)
    vars(twin).update(attributes)
    return twin
