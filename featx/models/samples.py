"""Images with the columns that are their classes, and how much each counts: what a training is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from featx.checks import explain
from featx.errors import HeadError, printable
from featx.images.base import UNLABELLED, ImageSource
from featx.models.rows import Rows, SelectedRows


@dataclass(frozen=True)
class Samples:
    """What a model is trained or scored on.

    Attributes
    ----------
    inputs : tuple of ndarray or SelectedRows of shape (n_samples, ...)
        One for each input of the model.
    y : ndarray of shape (n_samples,), int
        Columns of the model's output.
    weight : ndarray of shape (n_samples,), float32
    image_sha256 : sequence of str of length n_samples, optional
        Digests of the images' content.
    """

    inputs: tuple[Rows, ...]
    y: np.ndarray
    weight: np.ndarray
    image_sha256: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: np.ndarray) -> Samples:
        """Some of them."""
        inputs = tuple(SelectedRows(array, rows) for array in self.inputs)
        digests = [self.image_sha256[row] for row in rows] if self.image_sha256 else ()
        return Samples(inputs, self.y[rows], self.weight[rows], digests)


class Labelled:
    """The samples of a source that have a label, as a model's classes.

    Parameters
    ----------
    source : ImageSource
    classes : ndarray of shape (n_classes,)
        In the order of the model's columns.
    groups : sequence of str of length n_samples, optional
        In place of those of the source.
    sample_weight : array-like of shape (n_samples,), optional

    Attributes
    ----------
    source : ImageSource
        Without the samples that have no label.
    y : ndarray of shape (n_samples,), int
        Columns of the model's output.
    groups : list of str or None
    weight : ndarray of shape (n_samples,)
    n_unlabelled : int

    Raises
    ------
    HeadError
        When labels are not among the classes, or weights are none.

    Examples
    --------
    >>> from featx import as_source
    >>> source = as_source(np.zeros((2, 8, 8, 3), np.uint8), ["dog", "cat"])
    >>> Labelled(source, np.array(["cat", "dog"])).samples(np.zeros((2, 4, 4, 3)), None).y
    array([1, 0])
    """

    def __init__(
        self,
        source: ImageSource,
        classes: np.ndarray,
        groups: Sequence[str] | None = None,
        sample_weight: Sequence[float] | np.ndarray | None = None,
    ) -> None:
        columns = _columns(source, classes)
        rows = np.flatnonzero(columns != UNLABELLED)
        groups = source.groups if groups is None else groups
        if groups is not None and len(groups) != len(source):
            received = f"{len(groups)} groups for {len(source)} images"
            raise HeadError(explain(received, "one an image", "pass all of them"))
        self.source = source.select(rows)
        self.groups = None if groups is None else [str(groups[int(row)]) for row in rows]
        self.n_unlabelled = len(source) - len(rows)
        self.classes = classes
        self.y = columns[rows]
        self.weight = _weights(sample_weight, len(source))[rows]

    def samples(
        self,
        pixels: Rows,
        class_weight: Mapping[Any, float] | str | None,
        image_sha256: Sequence[str] = (),
    ) -> Samples:
        """With their images, and their weights times those of their classes, which have a mean of one.

        Parameters
        ----------
        pixels : ndarray of shape (n_samples, height, width, 3), uint8
            The images of `source`.
        class_weight : {None, "balanced"} or mapping of class to float
            A class that is not in the mapping counts one.
        image_sha256 : sequence of str of length n_samples, optional

        Returns
        -------
        Samples

        Raises
        ------
        HeadError
            When the mapping has other classes, or one image two labels.
        """
        by_column: Any = class_weight
        if isinstance(class_weight, Mapping):
            by_name = {class_name(name): weight for name, weight in class_weight.items()}
            names = [class_name(name) for name in self.classes]
            if unknown := sorted(set(by_name) - set(names)):
                received = f"class_weight for {', '.join(unknown)}"
                raise HeadError(explain(received, f"classes among {', '.join(names)}", "mend the names"))
            by_column = {column: by_name.get(name, 1.0) for column, name in enumerate(names)}
        check_one_label(self, image_sha256)
        weight = self.weight * compute_sample_weight(by_column, self.y)
        return Samples((pixels,), self.y, (weight / weight.mean()).astype(np.float32), image_sha256)


def class_name(value: Any) -> str:
    """What a source calls a class that is known by this value: 1.0 is "1" there.

    Examples
    --------
    >>> class_name("cat"), class_name(1.0), class_name(np.True_), class_name(0.5)
    ('cat', '1', 'True', '0.5')
    """
    is_whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if is_whole else str(value)


def known_classes(y: Sequence[Any] | np.ndarray | None, class_names: Sequence[str]) -> np.ndarray:
    """The classes as the user knows them, in the order of the integers that a head sees.

    Examples
    --------
    >>> known_classes(None, ["cat", "dog"]), known_classes([7, 3, -1], ["3", "7"])
    (array(['cat', 'dog'], dtype='<U3'), array([3, 7]))
    """
    if y is None or np.asarray(y).dtype.kind not in "iubf":
        return np.array(class_names)
    labels = np.unique(np.asarray(y))
    return labels if labels.dtype.kind == "b" else labels[labels != UNLABELLED]


def check_classes_in(validation: Samples, classes: np.ndarray) -> None:
    """Refuse samples of one class, by which nothing can be decided.

    Raises
    ------
    HeadError
    """
    present = np.unique(validation.y)
    if len(present) < 2:
        received = f"a validation part of one class only ({classes[present[0]]})"
        raise HeadError(explain(received, "two or more", "pass other validation_data or validation_size"))


def check_one_label(labelled: Labelled, image_sha256: Sequence[str]) -> None:
    """Refuse one image under two labels, which nothing can learn.

    Raises
    ------
    HeadError
    """
    first: dict[str, int] = {}
    for row, digest in enumerate(image_sha256):
        other = first.setdefault(digest, row)
        if labelled.y[other] != labelled.y[row]:
            ids = [printable(labelled.source.sample_ids[each]) for each in (other, row)]
            names = [labelled.classes[labelled.y[each]] for each in (other, row)]
            received = f"the same image as {ids[0]} ({names[0]}) and {ids[1]} ({names[1]})"
            raise HeadError(explain(received, "one label an image", "remove one of them"))


def check_disjoint(source: ImageSource, image_sha256: Sequence[str], held_out: Sequence[str]) -> None:
    """Refuse a source that holds images by which it is to be judged.

    Raises
    ------
    HeadError
    """
    known = set(held_out)
    shared = [printable(source.sample_ids[row]) for row, digest in enumerate(image_sha256) if digest in known]
    if shared:
        received = f"{len(shared)} training images that are validation images too, first {shared[0]}"
        raise HeadError(explain(received, "none", "take them out of one of the two"))


def _columns(source: ImageSource, classes: np.ndarray) -> np.ndarray:
    """For each sample the column of the model's output that is its class, or -1."""
    column_of = {class_name(name): column for column, name in enumerate(classes)}
    used = [source.class_names[label] for label in np.unique(source.labels) if label != UNLABELLED]
    unknown = [name for name in used if name not in column_of]
    if unknown or not used:
        received = f"the classes {', '.join(unknown)}" if unknown else "images without labels"
        raise HeadError(explain(received, f"labels among {', '.join(column_of)}", "leave the others out"))
    columns = np.array([column_of.get(name, UNLABELLED) for name in source.class_names])
    found: np.ndarray = np.where(source.labels == UNLABELLED, UNLABELLED, columns[source.labels])
    return found


def _weights(sample_weight: Sequence[float] | np.ndarray | None, n_samples: int) -> np.ndarray:
    if sample_weight is None:
        return np.ones(n_samples)
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != (n_samples,) or not np.isfinite(weight).all() or not (weight > 0).all():
        received = f"sample_weight of shape {weight.shape}"
        raise HeadError(explain(received, f"{n_samples} finite numbers above 0", "pass one an image"))
    return weight
