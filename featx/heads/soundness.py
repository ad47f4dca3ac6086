"""Whether a head that came out of a file can answer at all.

A file may give scikit-learn's classes attributes of any kind. What is wrong with them shows when the head is
asked, which may be hours later and deep in scikit-learn; so it is asked once, about one row, on being opened.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

# More columns than any features have: one row of them is not made.
_MAX_FEATURES = 2**24
_CLASS_KINDS = "biufSUO"


def unsoundness(head: BaseEstimator) -> str | None:
    """What is wrong with a fitted head, or None.

    Parameters
    ----------
    head : estimator
        Fitted, by whoever says so.

    Returns
    -------
    str or None
        To be read after "its head".

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> head = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    >>> unsoundness(head) is None
    True
    >>> head.coef_ = "high"
    >>> unsoundness(head)
    "does not answer ('str' object has no attribute 'ndim')"
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _unsound_answer(head)
    except Exception as error:  # noqa: BLE001 - wherever in scikit-learn its attributes fail it
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"does not answer ({lines[0][:200]})"


def _unsound_answer(head: Any) -> str | None:
    n_features, classes = getattr(head, "n_features_in_", None), getattr(head, "classes_", None)
    if classes is None:
        # A regression, or a step of something else: nothing of featx asks it.
        return None
    if type(n_features) is not int or not 0 < n_features <= _MAX_FEATURES:
        return f"takes {n_features!r:.20} features"
    if not _are_classes(classes):
        return "has classes that are no list of names or numbers"
    # No row of zeros: some distances are not defined there.
    row = np.linspace(0.5, 1.5, n_features, dtype=np.float32)[None]
    if head.predict(row).shape != (1,):
        return "does not answer once for one row"
    if hasattr(head, "predict_proba") and np.shape(head.predict_proba(row)) != (1, len(classes)):
        return "has not one probability a class"
    return None


def _are_classes(classes: Any) -> bool:
    is_list = isinstance(classes, np.ndarray) and classes.ndim == 1 and classes.dtype.kind in _CLASS_KINDS
    return is_list and (classes.dtype.kind != "O" or all(isinstance(name, str) for name in classes))
