"""Who is trained on and who is tested on: folds and the held-out part.

Both are stratified by class and never part a group. A group is what a user says belongs together, and
always the copies of one image: without that, a copy in training gives its twin in the test part away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
    train_test_split,
)
from sklearn.utils.validation import check_consistent_length

from featx.checks import check_seed, explain
from featx.errors import HeadError

Folds: TypeAlias = list[tuple[np.ndarray, np.ndarray]]

# Each draw is a pass over the groups; more than these bring the shares hardly nearer.
_N_DRAWS = 10
# Shares that are equal on paper must tie, or the order of the sums would decide who is set aside.
_ROUNDING = 1e-12


def make_folds(
    y: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    cv: Any = 5,
    random_state: int | None = None,
) -> Folds:
    """Stratified folds that part no group.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Classes.
    groups : array-like of shape (n_samples,), optional
    cv : int, splitter, iterable of (train, test) or None, default=5
        An integer makes as many folds, and None makes 5; anything else is used as scikit-learn uses it.
    random_state : int, optional
        Seed to shuffle by, with an integer ``cv``. None keeps the order, as scikit-learn does.

    Returns
    -------
    list of (ndarray, ndarray)
        Indices to train on and to test on.

    Raises
    ------
    HeadError
        When a class has too few samples or groups for the folds, or the seed cannot be one.

    Examples
    --------
    >>> y = np.array([0, 0, 1, 1])
    >>> [test.tolist() for _, test in make_folds(y, groups=["a", "a", "b", "c"], cv=2)]
    Traceback (most recent call last):
    featx.errors.HeadError: received the class 0 with 2 samples in 1 group; expected 2 groups or more ...
    >>> [test.tolist() for _, test in make_folds(y, cv=2)]
    [[0, 2], [1, 3]]
    """
    check_seed("random_state", random_state, HeadError)
    check_consistent_length(y, groups)
    values = np.empty((len(y), 0))
    # scikit-learn's own default folds would part groups.
    cv = 5 if cv is None else cv
    if not isinstance(cv, int | np.integer):
        return list(check_cv(cv, y, classifier=True).split(values, y, groups))
    check_classes(y, groups, n_splits=int(cv))
    shuffle: dict[str, Any] = {"shuffle": random_state is not None, "random_state": random_state}
    if has_groups(groups):
        return list(StratifiedGroupKFold(int(cv), **shuffle).split(values, y, groups))
    return list(StratifiedKFold(int(cv), **shuffle).split(values, y))


def holdout_split(
    y: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    *,
    test_size: float = 0.25,
    strata: Sequence[Any] | np.ndarray | None = None,
    random_state: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Set a stratified part of the samples aside, parting no group.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Classes. Leave samples without a label out: -1, by which featx codes them, is a class here.
    groups : array-like of shape (n_samples,), optional
    test_size : float, default=0.25
        Share that is set aside. With groups it is met as nearly as whole groups allow.
    strata : array-like of shape (n_samples,), optional
        What to stratify by in place of the classes.
    random_state : int, default=0
        Seed to shuffle by.

    Returns
    -------
    train, test : ndarray of int
        Indices, sorted.

    Raises
    ------
    HeadError
        When the share is not between 0 and 1, a class is too small to be split by it, or the seed cannot be
        one.

    Examples
    --------
    >>> train, test = holdout_split(np.array([0, 1] * 8))
    >>> len(train), len(test)
    (12, 4)

    Of features of which some have no label, only those that have one are split:

    >>> from featx import FeatureSet
    >>> features = FeatureSet(np.zeros((12, 3), np.float32), [0, 1, -1] * 4, class_names=["cat", "dog"])
    >>> labelled = np.flatnonzero(features.y >= 0)
    >>> train, test = (labelled[part] for part in holdout_split(features.y[labelled]))
    >>> len(train), len(test), features.y[train].min()
    (6, 2, np.int64(0))
    """
    check_seed("random_state", random_state, HeadError)
    if not 0 < test_size < 1:
        raise HeadError(explain(f"test_size={test_size}", "a share between 0 and 1", "pass for example 0.25"))
    check_consistent_length(y, groups, strata)
    check_classes(y, groups, n_splits=2)
    by = np.asarray(y if strata is None else strata)
    if has_groups(groups):
        test = _choose_groups(by, np.asarray(groups), test_size, random_state)
    else:
        test = _choose_samples(by, test_size, random_state)
    train = np.setdiff1d(np.arange(len(y)), test)
    lost = np.setdiff1d(y, np.asarray(y)[train])
    if not len(test) or len(lost):
        left = f"none of the class {lost[0]} to train on" if len(lost) else "nothing to test on"
        expected = "every class in the training part, and a test part"
        raise HeadError(explain(f"test_size={test_size}, which leaves {left}", expected, "pass another one"))
    return train, test


def _choose_samples(by: np.ndarray, test_size: float, random_state: int) -> np.ndarray:
    rows = np.arange(len(by))
    try:
        _, test = train_test_split(rows, test_size=test_size, stratify=by, random_state=random_state)
    except ValueError as error:
        raise HeadError(f"{len(by)} samples cannot be split by test_size={test_size}: {error}") from error
    return np.sort(test)


def _choose_groups(by: np.ndarray, groups: np.ndarray, test_size: float, random_state: int) -> np.ndarray:
    """The best of several draws of whole groups.

    A fold of a StratifiedGroupKFold would do where there are many groups, but the first always holds the
    largest, and there are no folds where every class has fewer groups than they are.
    """
    strata = np.unique(by, return_inverse=True)[1]
    members = np.unique(groups, return_inverse=True)[1]
    shares = np.zeros((members.max() + 1, strata.max() + 1))
    np.add.at(shares, (members, strata), 1)
    shares /= shares.sum(axis=0)
    random = np.random.default_rng(random_state)
    draws = [_draw_groups(shares, test_size, random) for _ in range(_N_DRAWS)]
    is_taken, _ = min(draws, key=lambda draw: draw[1])
    return np.flatnonzero(is_taken[members])


def _draw_groups(shares: np.ndarray, test_size: float, random: np.random.Generator) -> tuple[np.ndarray, int]:
    """Groups in random order, each taken if it brings the strata nearer to their share; and what is amiss."""
    missing, is_taken = np.full(shares.shape[1], test_size), np.zeros(len(shares), bool)
    for group in random.permutation(len(shares)):
        left = missing - shares[group]
        if left @ left <= missing @ missing + _ROUNDING:
            missing, is_taken[group] = left, True
    return is_taken, round(missing @ missing / _ROUNDING)


def has_groups(groups: Sequence[Any] | np.ndarray | None) -> bool:
    """Whether any two samples belong together.

    Examples
    --------
    >>> has_groups(["a", "b"]), has_groups(["a", "a"])
    (False, True)
    """
    return groups is not None and len(np.unique(np.asarray(groups))) < len(groups)


def fewest_members(y: np.ndarray, groups: Sequence[Any] | np.ndarray | None) -> int:
    """Samples of the smallest class, or its groups: the most folds that every class can be in.

    Examples
    --------
    >>> fewest_members(np.array([0, 0, 0, 1, 1]), ["a", "b", "c", "d", "d"])
    1
    """
    labels = np.unique(y, return_inverse=True)[1]
    members = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    return int(np.bincount(np.unique([labels, members], axis=1)[0]).min())


def check_classes(
    y: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None,
    n_splits: int,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse a single class, and classes that cannot be in every fold.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
    groups : array-like of shape (n_samples,) or None
    n_splits : int
        Number of folds.
    class_names : sequence of str, optional
        Names to show for integer classes.

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
    classes = np.unique(y)
    names = {label: label if class_names is None else class_names[label] for label in classes.tolist()}
    if len(classes) < 2:
        received = f"one class only ({', '.join(map(str, names.values()))})"
        raise HeadError(explain(received, "two or more", "add images of another class"))
    for label, name in names.items():
        is_class = np.asarray(y) == label
        n_samples = int(is_class.sum())
        n_groups = len(np.unique(np.asarray(groups)[is_class])) if has_groups(groups) else n_samples
        if n_groups < n_splits:
            unit = "samples" if n_groups == n_samples else "groups"
            in_groups = "" if unit == "samples" else f" in {n_groups} group{'s' * (n_groups > 1)}"
            received = f"the class {name} with {n_samples} sample{'s' * (n_samples > 1)}{in_groups}"
            expected = f"{n_splits} {unit} or more for {n_splits} folds"
            raise HeadError(explain(received, expected, "add images, drop the class, or pass a smaller cv"))
