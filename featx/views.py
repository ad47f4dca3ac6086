"""Several views of one image answered as one: their scores averaged (test-time augmentation).

Here below every stage because the search of `featx.heads` and the evaluation of `featx.insight`, which do
not see each other, must average alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from featx.checks import explain
from featx.errors import HeadError


class ViewGroups(NamedTuple):
    """Which rows are views of which image; images are in order of first appearance.

    Attributes
    ----------
    first_rows : ndarray of int, shape (n_images,)
        Row of the first view of every image.
    members : ndarray of int, shape (n_rows,)
        Index of the image of every row.
    """

    first_rows: np.ndarray
    members: np.ndarray


def group_views(images: Sequence[Any] | np.ndarray) -> ViewGroups:
    """Gather the rows of each image.

    Parameters
    ----------
    images : array-like of shape (n_rows,)
        Which image every row is a view of: a name, a digest or a number. The rows of one image need not
        stand together.

    Returns
    -------
    ViewGroups

    Raises
    ------
    HeadError
        When the images are not in one dimension, or one is None or not a number: the rows without an image
        would become views of each other.

    Examples
    --------
    >>> group_views(["dog.jpg", "cat.jpg", "dog.jpg"])
    ViewGroups(first_rows=array([0, 1]), members=array([0, 1, 0]))
    """
    names = np.asarray(images)
    if names.ndim != 1:
        received = f"images of shape {names.shape}"
        raise HeadError(explain(received, "one image a row", "pass shape (n_rows,)"))
    index_of: dict[Any, int] = {}
    members = np.empty(len(names), int)
    first_rows: list[int] = []
    for row, name in enumerate(names.tolist()):
        # Not a number is the one value that differs from itself.
        if name is None or name != name:  # noqa: PLR0124
            raise HeadError(explain(f"no image for row {row}", "one for every row", "name it"))
        index = index_of.setdefault(name, len(index_of))
        if index == len(first_rows):
            first_rows.append(row)
        members[row] = index
    return ViewGroups(np.array(first_rows, int), members)


def average_views(scores: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The mean of each image's scores: test-time averaging (Krizhevsky et al., NIPS 2012, section 4.1).

    Parameters
    ----------
    scores : ndarray of float, shape (n_rows,) or (n_rows, n_columns)
        Probabilities or decisions, one row a view.
    members : ndarray of int, shape (n_rows,)
        Index of the image of every row, as `group_views` gives it.

    Returns
    -------
    ndarray of shape (n_images,) or (n_images, n_columns)
        Of the same type. Summed in float64 in the order of the rows, so that equal input gives equal bits;
        an image of one view keeps its scores to the bit.

    Examples
    --------
    >>> average_views(np.array([[0.2, 0.8], [1.0, 0.0], [0.6, 0.4]]), np.array([0, 1, 0]))
    array([[0.4, 0.6],
           [1. , 0. ]])
    """
    n_views = np.bincount(members)
    columns = scores.reshape(len(scores), -1)
    sums = [np.bincount(members, weights=column) for column in columns.T]
    means = np.stack(sums, axis=1) / n_views[:, None]
    return means.reshape(-1, *scores.shape[1:]).astype(scores.dtype)


def has_class_decisions(head: Any) -> bool:
    """Whether a head's decisions are one for each class, or one for two: those have a mean over views.

    Examples
    --------
    >>> from sklearn.svm import SVC
    >>> has_class_decisions(SVC()), has_class_decisions(SVC(decision_function_shape="ovo"))
    (True, False)
    """
    shapes = {value for name, value in head.get_params().items() if name.endswith("decision_function_shape")}
    # "ovo" is one column a pair of classes.
    return hasattr(head, "decision_function") and "ovo" not in shapes


def threshold_of(head: Any) -> float | None:
    """The probability from which on a fitted head predicts the second of two classes, if it has its own.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> threshold_of(GaussianNB()) is None
    True
    """
    inner = getattr(head, "best_estimator_", head)
    inner = inner.steps[-1][1] if hasattr(inner, "steps") else inner
    is_fixed = type(inner).__name__ == "FixedThresholdClassifier"
    return float(inner.threshold) if is_fixed and not isinstance(inner.threshold, str) else None


def decide(scores: np.ndarray, threshold: float | None) -> np.ndarray:
    """Classes, as integers, by scores of each class, or by one decision for two.

    Parameters
    ----------
    scores : ndarray of shape (n_samples,) or (n_samples, n_classes)
    threshold : float or None
        Probability from which on the second of two classes is predicted.

    Returns
    -------
    ndarray of int, shape (n_samples,)

    Examples
    --------
    >>> shares = np.array([[0.6, 0.4]])
    >>> decide(shares, None), decide(shares, 0.3), decide(np.array([2.0]), None)
    (array([0]), array([1]), array([1]))
    """
    if threshold is not None:
        return (scores[:, 1] >= threshold).astype(int)
    return (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)


def one_per_image(values: np.ndarray, views: ViewGroups, what: str) -> np.ndarray:
    """A value of each image, where its views must agree.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Labels or groups.
    views : ViewGroups
    what : str
        What the values are, for the message.

    Returns
    -------
    ndarray of shape (n_images,)

    Raises
    ------
    HeadError
        When two views of one image have different values.

    Examples
    --------
    >>> one_per_image(np.array(["dog", "cat", "cat"]), group_views([7, 8, 7]), "class")
    Traceback (most recent call last):
    featx.errors.HeadError: received rows 0 and 2 of one image with the class dog and cat; ...
    """
    of_image: np.ndarray = values[views.first_rows]
    differs = np.flatnonzero(of_image[views.members] != values)
    if len(differs):
        row = int(differs[0])
        first = int(views.first_rows[views.members[row]])
        received = f"rows {first} and {row} of one image with the {what} {values[first]} and {values[row]}"
        raise HeadError(explain(received, f"one {what} for all views of an image", "check what was passed"))
    return of_image
