"""The part that is held out to test on: stratified, or hashed so that it stays put. It parts no group."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_consistent_length

from featx.checks import check_choice, check_seed, explain
from featx.errors import HeadError
from featx.heads.splits import check_classes, has_groups, missing_in_training
from featx.heads.strata import combine_strata

# Each draw is a pass over the groups; more than these bring the shares hardly nearer.
_N_DRAWS = 10
# Shares that are equal on paper must tie, or the order of the sums would decide who is set aside.
_ROUNDING = 1e-12


def holdout_split(
    y: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    *,
    test_size: float = 0.25,
    strata: Any = None,
    random_state: int = 0,
    assignment: str = "stratified",
    sample_ids: Sequence[Any] | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Set a part of the samples aside, parting no group.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Classes, or a column of 0 and 1 for each of several labels, which are not stratified by. Leave
        samples without a label out: -1, by which featx codes them, is a class here.
    groups : array-like of shape (n_samples,), optional
    test_size : float, default=0.25
        Share that is set aside. With groups it is met as nearly as whole groups allow.
    strata : array-like of shape (n_samples,) or (n_samples, n_columns), or list of columns, optional
        What to stratify by in place of the classes: with several columns by their combinations. One with
        too few samples (or groups) for either part is stratified by its leading columns, together with
        others that are rare, so that the column that matters most comes first.
    random_state : int, default=0
        Seed to shuffle or to hash by.
    assignment : {"stratified", "hashed"}, default="stratified"
        "stratified" draws a part with the classes in equal shares: add one sample, and another part is
        drawn. "hashed" decides on each group by itself, or on each sample where there are no groups: it is
        set aside when the SHA-256 of the seed and its id, as a fraction, is below ``test_size``. What was
        set aside stays there, whatever is added, taken away or put in another order, and a larger
        ``test_size`` only adds to it. The share and the classes in it are then met as chance has it.
    sample_ids : array-like of shape (n_samples,), optional
        With "hashed" and without groups: a name for each sample that stays the same, such as its path or
        the digest of its content. Text, bytes or whole numbers, like the groups that are hashed; a number
        that is counted anew each time names nothing.

    Returns
    -------
    train, test : ndarray of int
        Indices, sorted.

    Raises
    ------
    HeadError
        When the share is not between 0 and 1, a class is too small to be split by it, there is nothing to
        hash by, or the seed cannot be one.

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

    A part that stays put:

    >>> y, names = np.arange(200) % 2, np.array([f"{index}.jpg" for index in range(200)])
    >>> _, before = holdout_split(y[:100], assignment="hashed", sample_ids=names[:100])
    >>> _, after = holdout_split(y, assignment="hashed", sample_ids=names)
    >>> len(before), len(after), set(before) == set(after[after < 100])
    (22, 50, True)
    """
    check_seed("random_state", random_state, HeadError)
    check_choice("assignment", assignment, ("stratified", "hashed"), HeadError)
    if not 0 < test_size < 1:
        raise HeadError(explain(f"test_size={test_size}", "a share between 0 and 1", "pass for example 0.25"))
    y = np.asarray(y)
    check_consistent_length(y, groups, sample_ids)
    check_classes(y, groups, n_splits=2)
    if assignment == "hashed":
        test = _choose_by_hash(sample_ids if groups is None else groups, strata, test_size, random_state)
    elif has_groups(groups):
        by = _to_stratify_by(y, groups, strata, test_size)
        test = _choose_groups(by, np.asarray(groups), test_size, random_state)
    else:
        test = _choose_samples(_to_stratify_by(y, None, strata, test_size), test_size, random_state)
    train = np.setdiff1d(np.arange(len(y)), test)
    missing = missing_in_training(y, train)
    if not len(test) or missing:
        left = f"{missing} to train on" if missing else "nothing to test on"
        expected = "every class in the training part, and a test part"
        raise HeadError(explain(f"test_size={test_size}, which leaves {left}", expected, "pass another one"))
    return train, test


def _to_stratify_by(
    y: np.ndarray, groups: Sequence[Any] | np.ndarray | None, strata: Any, test_size: float
) -> np.ndarray:
    if strata is not None:
        # So many that either part has room for one of each.
        n_parts = math.ceil(1 / min(test_size, 1 - test_size))
        return combine_strata(strata, groups, len(y), n_parts)
    return y if y.ndim == 1 else np.zeros(len(y), int)


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


def _choose_by_hash(ids: Any, strata: Any, test_size: float, random_state: int) -> np.ndarray:
    if ids is None:
        expected = "groups, or sample_ids"
        raise HeadError(explain("assignment='hashed' without ids", expected, "pass what names each sample"))
    if strata is not None:
        received = "strata with assignment='hashed'"
        raise HeadError(explain(received, "one of the two", "leave strata out: ids decide alone"))
    if random_state is None:
        raise HeadError(explain("random_state=None", "a seed to hash by", "pass for example 0"))
    fractions = np.array([_fraction(name, random_state) for name in np.asarray(ids).tolist()])
    return np.flatnonzero(fractions < test_size)


def _fraction(name: Any, random_state: int) -> float:
    """The SHA-256 of a seed and an id, as a fraction; a number counts as its text, as a CSV file has it."""
    if isinstance(name, bool) or not isinstance(name, str | bytes | int):
        received = f"the id {name!r}"
        expected = "text, bytes or a whole number"
        raise HeadError(explain(received, expected, "pass ids that are written in one way only"))
    # Undecodable bytes of a path are kept in a string as lone surrogates.
    content = name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(f"{int(random_state)}:".encode() + content).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
