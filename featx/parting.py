"""The part that a search sets aside, drawn in one place, so that an audit parts the same data alike.

Which labels look wrong may be asked of the training part's labels alone: a sample that is left out of
training because a label of the test part spoke against it lets the head know that label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.features.alignment import AlignedFeatures
from featx.features.combination import combine_features
from featx.features.feature_set import FeatureSet
from featx.heads.holdout import holdout_split
from featx.heads.splits import check_classes

TRAINING, TEST, NO_LABEL = "training", "test", "unlabelled"

TEST_SIZE = 0.25


def set_aside(
    aligned: AlignedFeatures,
    test_size: float = TEST_SIZE,
    *,
    strata: Sequence[Any] | np.ndarray | None = None,
    assignment: str = "stratified",
    random_state: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Part samples into those to train on and those to test on.

    Parameters
    ----------
    aligned : AlignedFeatures
        All of them labelled.
    test_size : float, default=0.25
        Share set aside; 0 sets nothing aside.
    strata : array-like of shape (n_samples,), optional
        What to stratify by in place of the classes; rows as in the first feature set.
    assignment : {"stratified", "hashed"}, default="stratified"
        As for `featx.holdout_split`; hashed by the groups.
    random_state : int, default=0

    Returns
    -------
    train, test : ndarray of int
        Rows of ``aligned``, sorted.

    Raises
    ------
    HeadError
        As `featx.holdout_split`.

    Examples
    --------
    >>> features = FeatureSet(np.zeros((8, 1), np.float32), [0, 1] * 4)
    >>> [len(part) for part in set_aside(combine_features(features).aligned)]
    [6, 2]
    """
    y, groups = aligned.y, np.array(aligned.groups)
    check_classes(y, groups, 2, aligned.class_names)
    if not test_size:
        return np.arange(len(y)), np.arange(0)
    by = None if strata is None else np.asarray(strata)[next(iter(aligned.blocks.values())).rows]
    options: dict[str, Any] = {"test_size": test_size, "assignment": assignment}
    return holdout_split(y, groups, strata=by, random_state=random_state, **options)


def parts_in_search(features: FeatureSet, test_size: float = TEST_SIZE, **options: Any) -> list[str]:
    """What each row is to a search of these features: training, test or unlabelled.

    Parameters
    ----------
    features : FeatureSet
    test_size : float, default=0.25
    **options
        Of `set_aside`.

    Returns
    -------
    list of str, length n_rows

    Raises
    ------
    HeadError
        Where a search would refuse to part them.

    Examples
    --------
    >>> features = FeatureSet(np.zeros((5, 1), np.float32), [0, 1, -1, 0, 1], class_names=["cat", "dog"])
    >>> parts_in_search(features, 0.5)
    ['test', 'training', 'unlabelled', 'training', 'test']
    """
    aligned = combine_features(features, labelled=True).aligned
    aligned.check_labelled()
    rows = next(iter(aligned.blocks.values())).rows
    train, test = set_aside(aligned, test_size, **options)
    parts = np.full(len(features), NO_LABEL)
    parts[rows[train]], parts[rows[test]] = TRAINING, TEST
    named: list[str] = parts.tolist()
    return named
