"""Which samples are trained on and which tested on, fold by fold.

Folds part no group. A group is what a user says belongs together, and always the copies of one image:
without that, a copy in training gives its twin in the test part away. Whoever makes the folds, featx,
a splitter or the user, all are held to the same before anything is fitted: `check_folds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils.validation import check_consistent_length

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.heads.strata import combine_strata, count_members

Folds: TypeAlias = list[tuple[np.ndarray, np.ndarray]]


def make_folds(
    y: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    cv: Any = 5,
    random_state: int | None = None,
    *,
    n_repeats: int = 1,
    strata: Any = None,
) -> Folds:
    """Stratified folds that part no group.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Classes, or a column of 0 and 1 for each of several labels. The folds of labels are shuffled and
        not stratified, unless ``strata`` says by what.
    groups : array-like of shape (n_samples,), optional
    cv : int, splitter, iterable of (train, test) or None, default=5
        An integer makes as many folds, and None makes 5; anything else is used as scikit-learn uses it,
        once it has passed `check_folds`.
    random_state : int, optional
        Seed to shuffle by, with an integer ``cv``. None keeps the order, as scikit-learn does, but where
        there is nothing to stratify by: then it is 0.
    n_repeats : int, default=1
        How often to make the folds anew, each time with the next seed: ``random_state``,
        ``random_state + 1`` and so on, or 0, 1 and so on where it is None. With an integer ``cv``.
    strata : array-like of shape (n_samples,) or (n_samples, n_columns), or list of columns, optional
        What to stratify by in place of the classes: with several columns by their combinations. One with
        fewer samples (or groups) than folds is stratified by its leading columns, together with others that
        are rare, so that the column that matters most comes first. With an integer ``cv``.

    Returns
    -------
    list of (ndarray, ndarray)
        Indices to train on and to test on; those of one repeat after those of another.

    Raises
    ------
    HeadError
        When a class has too few samples or groups for the folds, the seed cannot be one, there are fewer
        groups than folds, or folds of another making fail `check_folds`.

    Examples
    --------
    >>> y = np.array([0, 0, 1, 1])
    >>> [test.tolist() for _, test in make_folds(y, groups=["a", "a", "b", "c"], cv=2)]
    Traceback (most recent call last):
    featx.errors.HeadError: received the class 0 with 2 samples in 1 group; expected 2 groups or more ...
    >>> [test.tolist() for _, test in make_folds(y, cv=2)]
    [[0, 2], [1, 3]]
    >>> len(make_folds(y, cv=2, n_repeats=10))
    20
    """
    check_seed("random_state", random_state, HeadError)
    check_positive("n_repeats", n_repeats, HeadError)
    y = np.asarray(y)
    check_consistent_length(y, groups)
    # scikit-learn's own default folds would part groups.
    cv = 5 if cv is None else cv
    if isinstance(cv, int | np.integer):
        check_classes(y, groups, n_splits=int(cv))
        by = y if strata is None else combine_strata(strata, groups, len(y), int(cv))
        seeds = _seeds(random_state, n_repeats)
        folds = [fold for seed in seeds for fold in _k_folds(by, groups, int(cv), seed)]
    elif strata is not None or n_repeats > 1:
        received = f"cv of type {type(cv).__name__} with {'n_repeats' if strata is None else 'strata'}"
        raise HeadError(explain(received, "a number of folds", "pass an integer cv, or your folds alone"))
    else:
        _names_of_classes(y, None)
        folds = _folds_of(cv, y, groups)
    check_folds(folds, y, groups)
    return folds


def _seeds(random_state: int | None, n_repeats: int) -> Iterable[int | None]:
    if n_repeats == 1:
        return [random_state]
    first = random_state or 0
    check_seed("random_state + n_repeats - 1", first + n_repeats - 1, HeadError)
    return range(first, first + n_repeats)


def _k_folds(
    by: np.ndarray, groups: Sequence[Any] | np.ndarray | None, n_splits: int, seed: int | None
) -> Folds:
    values = np.empty((len(by), 0))
    shuffle: dict[str, Any] = {"shuffle": seed is not None, "random_state": seed}
    kinds = (StratifiedKFold, StratifiedGroupKFold)
    if by.ndim == 2:
        # Without strata, folds in the samples' order would each be of a class or two of a sorted file.
        kinds, shuffle = (KFold, GroupKFold), {"shuffle": True, "random_state": seed or 0}
    if has_groups(groups):
        return list(kinds[1](n_splits, **shuffle).split(values, by, groups))
    return list(kinds[0](n_splits, **shuffle).split(values, by))


def _folds_of(cv: Any, y: np.ndarray, groups: Sequence[Any] | np.ndarray | None) -> Folds:
    """Folds of a splitter or of the user's own, as arrays."""
    values = np.empty((len(y), 0))
    try:
        return [
            (_as_indices(train), _as_indices(test))
            for train, test in check_cv(cv, y, classifier=True).split(values, y, groups)
        ]
    except (TypeError, ValueError) as error:
        in_groups = "" if groups is None else f" in {_n_distinct(groups)} groups"
        received = f"cv of type {type(cv).__name__}, for {len(y)} samples{in_groups}"
        raise HeadError(f"{received}, makes no folds: {error}") from error


def _as_indices(part: Any) -> np.ndarray:
    # An empty list would become numbers, which are no indices.
    return np.asarray(part, dtype=None if len(part) else int)


# ------------------------------------------------------------------------------ what folds are held to


def check_folds(folds: Folds, y: np.ndarray, groups: Sequence[Any] | np.ndarray | None = None) -> None:
    """Refuse folds by which a head could not be fitted, or would be scored on what it was fitted on.

    Every part must hold indices of samples; no sample and no group may be in both parts of a fold; there
    must be something to test on; and every class must be in every training part, or a positive and a
    negative of every label. Messages count folds from 0, like ``cv_results_``.

    Parameters
    ----------
    folds : list of (ndarray, ndarray)
        Indices to train on and to test on.
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
    groups : array-like of shape (n_samples,), optional

    Raises
    ------
    HeadError

    Examples
    --------
    >>> check_folds([(np.array([0, 1]), np.array([1, 2]))], np.array([0, 1, 0]))
    Traceback (most recent call last):
    featx.errors.HeadError: received sample 1 in both parts of fold 0; expected parts that share none; ...
    """
    if not folds:
        raise HeadError(explain("no folds", "one or more", "pass for example cv=5"))
    names, members = np.unique(np.arange(len(y)) if groups is None else groups, return_inverse=True)
    remedy = "pass other folds, fewer of them or another random_state"
    for index, (train, test) in enumerate(folds):
        for part in (train, test):
            _check_indices(part, index, len(y))
        shared = np.intersect1d(train, test)
        if len(shared):
            received = f"sample {shared[0]} in both parts of fold {index}"
            raise HeadError(explain(received, "parts that share none", remedy))
        parted = np.intersect1d(members[train], members[test])
        if len(parted):
            received = f"the group {names[parted[0]]} in both parts of fold {index}"
            raise HeadError(explain(received, "whole groups", "pass an integer cv or a splitter by groups"))
        if not len(test):
            raise HeadError(explain(f"nothing to test on in fold {index}", "a sample or more", remedy))
        missing = missing_in_training(y, train)
        if missing:
            expected = "every class, or both values of every label, in every training part"
            raise HeadError(explain(f"{missing} to train on in fold {index}", expected, remedy))


def _check_indices(part: np.ndarray, fold: int, n_samples: int) -> None:
    if part.ndim != 1 or not np.issubdtype(part.dtype, np.integer):
        received = f"a part of type {part.dtype} and shape {part.shape} in fold {fold}"
        raise HeadError(explain(received, "indices of samples", "pass np.flatnonzero of a mask"))
    outside = part[(part < 0) | (part >= n_samples)]
    if len(outside):
        received = f"the index {outside[0]} in fold {fold}"
        raise HeadError(explain(received, f"0 to {n_samples - 1}", "pass the rows of these samples"))


def missing_in_training(y: np.ndarray, train: np.ndarray) -> str:
    """What a training part must hold and does not, in words; empty where nothing is missing.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
    train : ndarray of int
        Indices.

    Returns
    -------
    str

    Examples
    --------
    >>> missing_in_training(np.array(["cat", "dog"]), np.array([0]))
    'none of the class dog'
    >>> missing_in_training(np.array([[0, 1], [1, 1]]), np.array([0, 1]))
    'no negative of the label 1'
    """
    if y.ndim == 1:
        lost = np.setdiff1d(y, y[train])
        return f"none of the class {lost[0]}" if len(lost) else ""
    n_positive = (y[train] == 1).sum(axis=0)
    for sign, n_found in (("positive", n_positive), ("negative", len(train) - n_positive)):
        lost = np.flatnonzero(n_found == 0)
        if len(lost):
            return f"no {sign} of the label {lost[0]}"
    return ""


def has_groups(groups: Sequence[Any] | np.ndarray | None) -> bool:
    """Whether any two samples belong together.

    Examples
    --------
    >>> has_groups(["a", "b"]), has_groups(["a", "a"])
    (False, True)
    """
    return groups is not None and len(np.unique(np.asarray(groups))) < len(groups)


def _n_distinct(groups: Sequence[Any] | np.ndarray) -> int:
    return len(np.unique(np.asarray(groups)))


def fewest_members(y: np.ndarray, groups: Sequence[Any] | np.ndarray | None) -> int:
    """Samples of the smallest class, or its groups: the most folds that every class can be in.

    Of several labels, of the positives or negatives that are fewest.

    Examples
    --------
    >>> fewest_members(np.array([0, 0, 0, 1, 1]), ["a", "b", "c", "d", "d"])
    1
    """
    columns = np.atleast_2d(np.asarray(y).T)
    codes = [np.unique(column, return_inverse=True)[1] for column in columns]
    return min(int(count_members(column, groups).min()) for column in codes)


def check_classes(
    y: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None,
    n_splits: int,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse a single class, and classes that cannot be in every fold.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Classes, or labels of 0 and 1. Each label needs two positives and two negatives, in two groups: one
        to train on whenever the other is tested on.
    groups : array-like of shape (n_samples,) or None
    n_splits : int
        Number of folds.
    class_names : sequence of str, optional
        Names to show for integer classes, or of the labels.

    Raises
    ------
    HeadError

    Examples
    --------
    >>> check_classes(np.array([0, 0, 0]), None, 2, ["cat"])
    Traceback (most recent call last):
    featx.errors.HeadError: received one class only (cat); expected two or more; add images of another class
    """
    if n_splits < 2:
        raise HeadError(explain(f"cv={n_splits}", "2 folds or more", "pass for example cv=5"))
    y = np.asarray(y)
    members = np.asarray(groups) if has_groups(groups) else None
    names = _names_of_classes(y, class_names)
    if y.ndim == 1:
        for label, name in names.items():
            _check_members(f"the class {name} with", y == label, members, n_splits)
        return
    _check_members("labels of", np.ones(len(y), bool), members, n_splits)
    for label, name in names.items():
        # One to train on whenever the other is tested on; whether it is, `check_folds` sees.
        _check_members(f"the label {name} with positives in", y[:, label] == 1, members, 2, n_splits)
        _check_members(f"the label {name} with negatives in", y[:, label] == 0, members, 2, n_splits)


def _check_members(
    what: str, is_member: np.ndarray, groups: np.ndarray | None, n_needed: int, n_splits: int | None = None
) -> None:
    n_samples = int(is_member.sum())
    n_groups = n_samples if groups is None else _n_distinct(groups[is_member])
    if n_groups < n_needed:
        unit = "samples" if n_groups == n_samples else "groups"
        in_groups = "" if unit == "samples" else f" in {n_groups} group{'s' * (n_groups != 1)}"
        received = f"{what} {n_samples} sample{'s' * (n_samples != 1)}{in_groups}"
        expected = f"{n_needed} {unit} or more for {n_splits or n_needed} folds"
        raise HeadError(explain(received, expected, "add images, drop the class, or pass a smaller cv"))


def _names_of_classes(y: np.ndarray, class_names: Sequence[str] | None) -> dict[Any, Any]:
    """Classes, or the indices of labels, by what to call them in a message."""
    if y.ndim != 1:
        if y.ndim > 2 or not y.size:
            received = f"y of shape {y.shape}"
            raise HeadError(explain(received, "one class a sample, or one column a label", "reshape y"))
        if not np.isin(y, (0, 1)).all():
            other = np.setdiff1d(y, (0, 1))[0]
            raise HeadError(explain(f"the label value {other}", "0 or 1", "pass one column a label"))
        return {label: label if class_names is None else class_names[label] for label in range(y.shape[1])}
    classes = np.unique(y).tolist()
    names = {label: label if class_names is None else class_names[label] for label in classes}
    if len(names) < 2:
        received = f"one class only ({', '.join(map(str, names.values()))})"
        raise HeadError(explain(received, "two or more", "add images of another class"))
    return names
