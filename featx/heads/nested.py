"""Nested cross-validation: what the whole procedure of a search is worth, not the best of its candidates.

``best_score_`` is the highest of many noisy means, and so a little too good: more so the more candidates
there are and the fewer samples. Here every outer fold searches anew on its training part, and the head it
finds is scored on a part that had no say in anything.

References
----------
Cawley and Talbot, On Over-fitting in Model Selection and Subsequent Selection Bias in Performance Evaluation,
JMLR 11, 2010. Varma and Simon, Bias in error estimation when using cross-validation for model selection, BMC
Bioinformatics 7, 2006.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.utils.validation import check_consistent_length

from featx.checks import explain
from featx.errors import HeadError
from featx.heads.averaging import ViewAverage
from featx.heads.search import HeadSearch
from featx.heads.splits import make_folds
from featx.views import group_views, one_per_image


@dataclass(frozen=True)
class NestedScores:
    """What a search found on each outer fold.

    Attributes
    ----------
    scores : tuple of float
        Of the best head of each fold's search, on that fold's test part.
    heads : tuple of str
    params : tuple of dict
    features : tuple of str
        Names, parameters and feature sets that were chosen, fold by fold.
    """

    scores: tuple[float, ...]
    heads: tuple[str, ...]
    params: tuple[dict[str, Any], ...]
    features: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean of the scores."""
        return float(np.mean(self.scores))

    @property
    def std(self) -> float:
        """Standard deviation of the scores over the folds."""
        return float(np.std(self.scores))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"mean": self.mean, "std": self.std, **asdict(self)}


def nested_scores(
    search: HeadSearch,
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    *,
    images: Sequence[Any] | np.ndarray | None = None,
    strata: Sequence[Any] | np.ndarray | None = None,
    cv: Any = 5,
    random_state: int | None = None,
) -> NestedScores:
    """An honest estimate of what a search finds: each outer fold searches anew, and tests the best once.

    Parameters
    ----------
    search : HeadSearch
        Its settings; it is not fitted itself. Its time budget is each fold's.
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
    groups : array-like of shape (n_samples,), optional
        Never parted, neither by the outer folds nor by the inner ones.
    sample_weight : array-like of shape (n_samples,), optional
        Used in fitting, not in scoring.
    images : array-like of shape (n_samples,), optional
        The image of each row: its views are never parted, and their scores are averaged.
    strata : array-like of shape (n_samples,) or (n_samples, n_columns), optional
        What the outer and the inner folds are stratified by in place of the classes, both of an integer
        ``cv``.
    cv : int, splitter or iterable, default=5
        The outer folds, as `HeadSearch` takes its own.
    random_state : int, optional
        Seed of the outer folds.

    Returns
    -------
    NestedScores
        By the score that ranks the candidates.

    Raises
    ------
    HeadError
        When the samples cannot serve the folds, or ``search.refit`` is False, so that no head comes of it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> found = nested_scores(HeadSearch("logistic_regression", cv=3), X, y, cv=3, random_state=0)
    >>> found.heads, 0.9 < found.mean < 1
    (('logistic_regression', 'logistic_regression', 'logistic_regression'), True)
    """
    if not search.refit:
        raise HeadError(
            explain("a search with refit=False", "one that refits its best head", "pass refit=True")
        )
    X, y = np.asarray(X), np.asarray(y)
    check_consistent_length(X, y, groups, images, sample_weight, strata)
    of_rows = {"groups": groups, "sample_weight": sample_weight, "images": images, "strata": strata}
    known = {name: np.asarray(values) for name, values in of_rows.items() if values is not None}
    if images is not None:
        views = group_views(images)
        known["images"] = views.members
        known.setdefault("groups", views.members)
        one_per_image(known["groups"], views, "group")
    scores, heads, params, features = [], [], [], []
    for train, test in make_folds(y, known.get("groups"), cv, random_state, strata=known.get("strata")):
        fitted = clone(search)
        fitted.fit(X[train], y[train], **{name: values[train] for name, values in known.items()})
        images_tested = known["images"][test] if "images" in known else None
        scores.append(_score(fitted, X[test], y[test], images_tested))
        heads.append(fitted.best_head_)
        params.append(dict(fitted.best_params_))
        features.append(fitted.best_features_)
    return NestedScores(tuple(scores), tuple(heads), tuple(params), tuple(features))


def _score(search: HeadSearch, X: np.ndarray, y: np.ndarray, images: np.ndarray | None) -> float:
    head: Any = search
    if images is not None:
        head, y = ViewAverage.of(search, images, y)
    scores = check_scoring(head, search.scoring)(head, X, y)
    return float(scores[search.refit] if isinstance(scores, Mapping) else scores)
