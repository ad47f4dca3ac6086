"""Labelled features as an insight takes them: checked, the classes and groups as codes, the views gathered.

The sample is the image: of rows that are views of one image, none is a sample by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_consistent_length

from featx.checks import explain
from featx.errors import HeadError
from featx.views import ViewGroups, group_views, one_per_image

_N_SHOWN = 5
_ROWS_AT_ONCE = 4096
_KINDS_OF_CLASSES = ("binary", "multiclass")


@dataclass(frozen=True)
class Labelled:
    """Features with a class and a group for each sample.

    Attributes
    ----------
    X : ndarray of shape (n_rows, n_features)
    codes, members : ndarray of int, shape (n_samples,)
        Class and group of each sample, from 0.
    classes : ndarray of shape (n_classes,)
    views : ViewGroups or None
        Which rows are views of which sample; None where every row is a sample.

    Examples
    --------
    >>> X = np.zeros((6, 2), np.float32)
    >>> labelled = Labelled.of(X, list("aaaabb"), None, images=[1, 1, 2, 2, 3, 4])
    >>> labelled.codes, labelled.rows(np.array([1, 2]))
    (array([0, 0, 1, 1]), array([2, 3, 4]))
    """

    X: np.ndarray
    codes: np.ndarray
    members: np.ndarray
    classes: np.ndarray
    views: ViewGroups | None

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        y: Sequence[Any] | np.ndarray,
        groups: Sequence[Any] | np.ndarray | None,
        images: Sequence[Any] | np.ndarray | None,
    ) -> Labelled:
        """Check and code; a `HeadError` says what cannot serve."""
        classes, codes = coded_classes(y)
        members = coded_groups(groups, len(codes))
        X, views = check_features("X", X, len(codes)), None
        if images is not None:
            check_consistent_length(codes, images)
            views = group_views(images)
            one_per_image(np.asarray(y), views, "class")
            if groups is None:
                members = views.members
            one_per_image(members if groups is None else np.asarray(groups), views, "group")
            codes, members = codes[views.first_rows], members[views.first_rows]
        members = _by_first_appearance(members)
        check_classes(codes, members, classes)
        return cls(X, codes, members, classes, views)

    def rows(self, samples: np.ndarray) -> np.ndarray:
        """The rows of some samples, sorted."""
        if self.views is None:
            return np.sort(samples)
        return np.flatnonzero(np.isin(self.views.members, samples))

    def image_of(self, rows: np.ndarray) -> np.ndarray:
        """The sample of each of some rows."""
        return rows if self.views is None else self.views.members[rows]


def _by_first_appearance(members: np.ndarray) -> np.ndarray:
    """Groups numbered in the order of their samples: what they are called decides nothing."""
    _, first, members = np.unique(members, return_index=True, return_inverse=True)
    numbers: np.ndarray = np.argsort(np.argsort(first))
    return numbers[members]


def coded_classes(y: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as the distinct classes and an index into them, or a `HeadError`.

    Examples
    --------
    >>> classes, codes = coded_classes(["dog", "cat", "dog"])
    >>> classes.tolist(), codes.tolist()
    (['cat', 'dog'], [1, 0, 1])
    """
    try:
        labels = np.asarray(y)
        with warnings.catch_warnings():
            # Many classes for few samples are refused later on, and labels that are not finite here.
            warnings.simplefilter("ignore")
            kind = type_of_target(labels, input_name="y")
    except ValueError as error:
        raise HeadError(f"the labels cannot be used: {error}") from error
    if labels.ndim != 1 or kind not in _KINDS_OF_CLASSES:
        received = f"labels of shape {labels.shape}, {kind}"
        raise HeadError(explain(received, "one class a sample", "pass integers or names"))
    classes, codes = np.unique(labels, return_inverse=True)
    return classes, codes


def coded_groups(groups: Sequence[Any] | np.ndarray | None, n_samples: int) -> np.ndarray:
    """Groups as indices from 0; without groups, every sample by itself.

    Examples
    --------
    >>> coded_groups(["b", "a", "b"], 3).tolist(), coded_groups(None, 2).tolist()
    ([1, 0, 1], [0, 1])
    """
    if groups is None:
        return np.arange(n_samples)
    if len(groups) != n_samples:
        raise HeadError(explain(f"{len(groups)} groups for {n_samples} labels", "one a sample", "align them"))
    members: np.ndarray = np.unique(np.asarray(groups), return_inverse=True)[1]
    return members


def check_classes(codes: np.ndarray, members: np.ndarray, names: np.ndarray) -> None:
    """Refuse labels of one class, and a class in one group alone: nothing is left to judge it by.

    Examples
    --------
    >>> check_classes(np.array([0, 1, 1]), np.array([0, 1, 2]), np.array(["cat", "dog"]))
    Traceback (most recent call last):
    featx.errors.HeadError: received the class cat with 1 sample; expected 2 samples or more of ...
    """
    if len(names) < 2:
        received = f"one class only ({', '.join(map(str, names))})" if len(names) else "no labels"
        raise HeadError(explain(received, "two classes or more", "add samples of another class"))
    cells = np.unique([codes, members], axis=1)[0]
    alone = np.flatnonzero(np.bincount(cells) < 2)
    if len(alone):
        name, n_samples = names[alone[0]], int((codes == alone[0]).sum())
        in_group = " in one group" if n_samples > 1 else ""
        received = f"the class {name} with {n_samples} sample{'s' * (n_samples > 1)}{in_group}"
        unit = "groups" if in_group else "samples"
        raise HeadError(explain(received, f"2 {unit} or more of each class", "add some, or drop the class"))


def check_features(name: str, X: np.ndarray, n_samples: int) -> np.ndarray:
    """Refuse what is not a matrix of finite numbers with one row a label.

    Examples
    --------
    >>> check_features("X", np.ones((3, 2)), 4)
    Traceback (most recent call last):
    featx.errors.HeadError: received X with 3 rows for 4 labels; expected one a sample; align them
    """
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] < 1 or X.dtype.kind not in "fiu":
        received = f"{name} with shape {X.shape} and type {X.dtype}"
        raise HeadError(explain(received, "numbers of shape (n_samples, n_features)", "convert them"))
    if len(X) != n_samples:
        received = f"{name} with {len(X)} rows for {n_samples} labels"
        raise HeadError(explain(received, "one a sample", "align them"))
    bad = [row for start in range(0, n_samples, _ROWS_AT_ONCE) for row in _rows_not_finite(X, start)]
    if bad:
        received = f"{name} with values that are not finite in {_listed(bad)}"
        raise HeadError(explain(received, "numbers within float32", "extract these samples anew"))
    return X


def _rows_not_finite(X: np.ndarray, start: int) -> list[int]:
    # In float32, where everything is computed.
    with np.errstate(over="ignore"):
        block = X[start : start + _ROWS_AT_ONCE].astype(np.float32, copy=False)
    return (np.flatnonzero(~np.isfinite(block).all(axis=1)) + start).tolist()


def _listed(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:_N_SHOWN]))
    more = f" and {len(rows) - _N_SHOWN} more" if len(rows) > _N_SHOWN else ""
    return f"row{'s' * (len(rows) > 1)} {shown}{more}"
