"""What to stratify by, from one column or several, without strata too rare to be spread over the parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from featx.checks import explain
from featx.errors import HeadError


def combine_strata(
    strata: Any, groups: Sequence[Any] | np.ndarray | None, n_samples: int, n_parts: int
) -> np.ndarray:
    """One stratum a sample: the combination of its values, or fewer of them where that is too rare.

    A combination with fewer members than ``n_parts`` cannot have one in every part. Its samples are
    stratified by the leading columns instead, the last being left out first, together with the other rare
    ones of the same values; what is rare in every column is one stratum, or joins the smallest when it is
    too small itself. So the column that matters most comes first.

    Parameters
    ----------
    strata : array-like of shape (n_samples,) or (n_samples, n_columns), or list of columns
        A list or tuple of sequences is one of columns, each of shape (n_samples,).
    groups : array-like of shape (n_samples,) or None
        Whole groups are members then, and not samples.
    n_samples : int
    n_parts : int
        Members that a stratum needs.

    Returns
    -------
    ndarray of int, shape (n_samples,)

    Raises
    ------
    HeadError
        When there is no column, or more than two dimensions.
    ValueError
        When a column has another length.

    Examples
    --------
    >>> kind = ["mono", "mono", "mono", "mono", "poly", "poly", "poly"]
    >>> defect = ["none", "none", "none", "crack", "crack", "crack", "none"]

    The one cracked mono cell and the one sound poly cell are rare in both columns:

    >>> combine_strata([kind, defect], None, n_samples=7, n_parts=2)
    array([1, 1, 1, 0, 2, 2, 0])
    """
    columns = _columns(strata, n_samples)
    found, is_left = np.zeros(n_samples, int), np.ones(n_samples, bool)
    for n_columns in range(len(columns), 0, -1):
        rows = np.flatnonzero(is_left)
        combinations = np.unique(columns[:n_columns, rows], axis=1, return_inverse=True)[1].ravel()
        members = None if groups is None else np.asarray(groups)[rows]
        is_common = (count_members(combinations, members) >= n_parts)[combinations]
        found[rows[is_common]] = 1 + found.max() + combinations[is_common]
        is_left[rows[is_common]] = False
    found = np.unique(found, return_inverse=True)[1]
    sizes = count_members(found, groups)
    if is_left.any() and sizes[0] < n_parts and len(sizes) > 1:
        found[is_left] = 1 + sizes[1:].argmin()
        found -= 1
    return found


def count_members(codes: np.ndarray, groups: Sequence[Any] | np.ndarray | None) -> np.ndarray:
    """Samples of each code, or groups that have one.

    Parameters
    ----------
    codes : ndarray of int, shape (n_samples,)
    groups : array-like of shape (n_samples,) or None

    Returns
    -------
    ndarray of int, shape (n_codes,)

    Examples
    --------
    >>> count_members(np.array([0, 0, 1, 1]), ["a", "a", "a", "b"])
    array([1, 2])
    """
    if groups is None:
        return np.bincount(codes)
    members = np.unique(np.asarray(groups), return_inverse=True)[1]
    return np.bincount(np.unique([codes, members], axis=1)[0])


def _columns(strata: Any, n_samples: int) -> np.ndarray:
    """Integers of shape (n_columns, n_samples), in the order of the values."""
    are_columns = isinstance(strata, list | tuple) and len(strata) > 0 and np.ndim(strata[0]) == 1
    columns = [np.asarray(column) for column in strata] if are_columns else _split(np.asarray(strata))
    check_consistent_length(np.empty(n_samples), *columns)
    if not columns or any(column.ndim != 1 for column in columns):
        received = f"strata of shape {np.shape(strata)}" if columns else "strata without a column"
        raise HeadError(explain(received, "one column or more", "pass shape (n_samples, n_columns)"))
    return np.stack([np.unique(column, return_inverse=True)[1] for column in columns])


def _split(strata: np.ndarray) -> list[np.ndarray]:
    return list(strata.T) if strata.ndim == 2 else [strata]
