"""What the ``head`` of an `ImageClassifier` means: a search, or an estimator that is fitted as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from featx.checks import check_finite
from featx.embedding import check_averages, images_of
from featx.features.feature_set import FeatureSet
from featx.heads.problem import check_varied
from featx.heads.search import HeadSearch
from featx.heads.spaces import HeadSpec
from featx.heads.splits import check_classes


def fit_head(
    head: str | HeadSpec | BaseEstimator | HeadSearch,
    features: FeatureSet,
    rows: np.ndarray,
    y: np.ndarray,
    class_names: list[str],
    **options: Any,
) -> tuple[BaseEstimator, HeadSearch | None]:
    """Fit a head on some rows of a feature set; views of one image are never parted, and scored as one.

    Parameters
    ----------
    head : str, HeadSpec, estimator or HeadSearch
        "search" is a `HeadSearch` over every head; a head's name or spec searches that one alone; an
        estimator is fitted as it is, every view a sample; a `HeadSearch` is used with its own settings.
    features : FeatureSet
        As `featx.extract` gives it.
    rows : ndarray of int of shape (n_rows,)
        Those with a label.
    y : ndarray of shape (n_rows,)
        Their classes, as integers from 0.
    class_names : list of str
        To show.
    **options
        Of a `HeadSearch`, where there is to be one and none is given.

    Returns
    -------
    head : estimator
        Fitted.
    search : HeadSearch or None
        With its leaderboard, when there was a search.

    Raises
    ------
    HeadError
        When the labels cannot serve a head, the features are not finite or all constant, or a head gives no
        scores that views could be averaged by.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> features = FeatureSet(np.float32([[0], [1], [5], [6]]), [0, 0, 1, 1])
    >>> head, _ = fit_head(LogisticRegression(), features, np.arange(4), features.y, ["cat", "dog"])
    >>> head.predict([[6.0]])
    array([1])
    """
    X, groups, images = features.X[rows], np.array(features.groups)[rows], images_of(features)
    check_classes(y, groups, 2, class_names)
    if isinstance(head, str | HeadSpec):
        head = HeadSearch("default" if head == "search" else head, **options)
    if isinstance(head, HeadSearch):
        search = clone(head).fit(X, y, groups, images=None if images is None else images[rows])
        return search.best_estimator_, search
    if images is not None:
        check_averages(head)
    # A search refuses both by itself.
    check_finite(X)
    check_varied(X)
    return clone(head).fit(X, y), None
