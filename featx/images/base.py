"""What every source of images is: samples in a fixed order, each with an id, a label and a group.

A source owns the order of its samples and nothing else. It hands out `RawImage` objects, which say
where an image's bytes come from without reading them, so that whoever asked can read, digest and
decode many of them in threads.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError, SourceError, printable
from featx.images.decoding import Content

UNLABELLED = -1

#: For whoever has none and needs some.
LABELS_COME_FROM = "they come from one subfolder a class, or from a column of a CSV manifest (label_column)"


@dataclass(frozen=True)
class SampleLayout:
    """What every sample of a source looks like, where samples are arrays of a user's own.

    Parameters
    ----------
    shape : tuple of int
        Of one sample.
    dtype : dtype
        Numbers or booleans, in this machine's byte order.

    Examples
    --------
    >>> str(SampleLayout((128, 64), np.dtype(np.float32)))
    'float32 (128, 64)'
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype.name} {self.shape}"


@dataclass(frozen=True, slots=True)
class RawImage:
    """One sample before decoding.

    Parameters
    ----------
    sample_id : str
        Which sample this is.
    fetch : callable
        Returns its content, encoded bytes, uint8 RGB pixels or an array of the source's `SampleLayout`, or
        raises `DecodeError`.

    Examples
    --------
    >>> RawImage("0", lambda: b"bytes of a file").fetch()
    b'bytes of a file'
    """

    sample_id: str
    fetch: Callable[[], Content]


class ImageSource(ABC):
    """Samples in a fixed order.

    Parameters
    ----------
    sample_ids : sequence of str, length n_samples
        Name of each sample.
    labels : array-like of shape (n_samples,), optional
        Class of each sample, as strings or integers; None where there are none.
    groups : sequence of str, length n_samples, optional
        Samples of one group are never parted by a split.
    class_names : sequence of str, optional
        When given, ``labels`` are integers that index it.

    Attributes
    ----------
    sample_ids : list of str
    labels : ndarray of shape (n_samples,), int64
        Index into `class_names`, or -1 for a sample without a label.
    class_names : list of str
    groups : list of str or None
    layout : SampleLayout or None
        None where samples are images, of any size.

    Raises
    ------
    SourceError
        When labels or groups do not align with the samples, are missing, or are near twins.
    """

    layout: SampleLayout | None = None

    def __init__(
        self,
        sample_ids: Sequence[str],
        labels: Sequence[object] | np.ndarray | None = None,
        groups: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.sample_ids = list(sample_ids)
        if not self.sample_ids:
            raise SourceError(explain("no samples", "at least one", "check what was passed"))
        self.labels, self.class_names = encode_labels(labels, self.sample_ids, class_names)
        self.groups = None if groups is None else _check_groups(groups, self.sample_ids)

    def __len__(self) -> int:
        return len(self.sample_ids)

    @abstractmethod
    def read(self, start: int, stop: int) -> list[RawImage]:
        """The samples from ``start`` up to ``stop``, in order; a bad image fails when it is fetched."""

    def path_of(self, index: int) -> str:  # noqa: ARG002 - for those whose samples lie in files
        """Where a sample lies: the path of its file, or "" where that is no file of its own."""
        return ""

    def with_labels(self, labels: Sequence[object] | np.ndarray) -> ImageSource:
        """The same samples with other labels.

        Parameters
        ----------
        labels : array-like of shape (n_samples,)
            Strings or integers; an integer -1 means unlabelled.

        Returns
        -------
        ImageSource
        """
        other = copy.copy(self)
        other.labels, other.class_names = encode_labels(labels, self.sample_ids)
        return other

    def without_labels(self) -> ImageSource:
        """The same samples, unlabelled: what a prediction goes by.

        Returns
        -------
        ImageSource
        """
        return self.with_labels(np.full(len(self), UNLABELLED))

    def select(self, rows: Sequence[int] | np.ndarray) -> ImageSource:
        """Some of the samples.

        Parameters
        ----------
        rows : sequence of int
            Their indices, in the order wanted; a source that is read in one run wants them to rise.

        Returns
        -------
        ImageSource
        """
        return _Selection(self, [int(row) for row in rows])

    def fingerprint(self) -> str:
        """SHA-256 of the samples' ids, labels and groups, in order: which samples, not their pixels."""
        names = [self.sample_ids, self.labels.tolist(), self.class_names, self.groups]
        return hashlib.sha256(json.dumps([type(self).__name__, *names]).encode()).hexdigest()


class _Selection(ImageSource):
    """Some samples of another source."""

    def __init__(self, source: ImageSource, rows: list[int]) -> None:
        super().__init__(
            [source.sample_ids[row] for row in rows],
            source.labels[rows],
            source.groups and [source.groups[row] for row in rows],
            source.class_names,
        )
        self.layout = source.layout
        self._source = source
        self._rows = rows

    def read(self, start: int, stop: int) -> list[RawImage]:
        return [self._source.read(row, row + 1)[0] for row in self._rows[start:stop]]

    def path_of(self, index: int) -> str:
        return self._source.path_of(self._rows[index])


def encode_labels(
    labels: Sequence[object] | np.ndarray | None,
    sample_ids: Sequence[str],
    class_names: Sequence[str] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Labels of any kind as integers, and the names that those integers stand for.

    Parameters
    ----------
    labels : array-like of shape (n_samples,) or None
        Strings, integers or booleans; an integer -1 means unlabelled. Missing, and refused, are None, a
        NaN and blank text; a class may well be called "none".
    sample_ids : sequence of str, length n_samples
        Names the samples in errors.
    class_names : sequence of str, optional
        When given, ``labels`` are integers that index it.

    Returns
    -------
    codes : ndarray of shape (n_samples,), int64
        Index into the class names, or -1.
    class_names : list of str
        Sorted; integers in numeric order.

    Examples
    --------
    >>> encode_labels(["dog", "cat", "dog"], ["a", "b", "c"])
    (array([1, 0, 1]), ['cat', 'dog'])
    >>> encode_labels([7, -1, 5], ["a", "b", "c"])
    (array([ 1, -1,  0]), ['5', '7'])
    """
    if labels is None:
        return np.full(len(sample_ids), UNLABELLED, np.int64), list(class_names or [])
    values = np.asarray(labels)
    if values.shape != (len(sample_ids),):
        raise SourceError(
            explain(
                f"labels of shape {values.shape} for {len(sample_ids)} samples",
                "one label a sample",
                "align them; for one-hot labels pass labels.argmax(axis=1)",
            )
        )
    if values.dtype.kind == "U" and not isinstance(labels, np.ndarray):
        # Among strings NumPy writes a NaN as 'nan', which may be a name too.
        _check_present(labels, sample_ids)
    if values.dtype.kind == "f":
        values = _integers_of_floats(values, sample_ids)
    if values.dtype.kind in "iub":
        return _encode_integers(values, class_names)
    return _encode_strings(values, sample_ids)


def _check_groups(groups: Sequence[str], sample_ids: Sequence[str]) -> list[str]:
    values = list(groups)
    if len(values) != len(sample_ids):
        received = f"{len(values)} groups for {len(sample_ids)} samples"
        raise SourceError(explain(received, "one group a sample", "align them"))
    for group, sample_id in zip(values, sample_ids, strict=True):
        if _is_missing(group):
            raise SourceError(f"{printable(sample_id)}: its group is missing ({group!r}); give it one")
    return [str(group) for group in values]


def _is_missing(value: object) -> bool:
    """Whether a cell is empty. Text is only when it is blank: a folder 'none' is a class like any other."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value.strip())


def _check_present(labels: Iterable[object], sample_ids: Sequence[str]) -> None:
    for value, sample_id in zip(labels, sample_ids, strict=True):
        if _is_missing(value):
            raise _bad_label(value, sample_id)


def _bad_label(value: object, sample_id: str) -> SourceError:
    where = printable(sample_id)
    if _is_missing(value):
        return SourceError(f"{where}: its label is missing ({value!r}); give it one")
    remedy = "map the labels to those"
    return SourceError(f"{where}: {explain(f'the label {value!r}', 'a string or an integer', remedy)}")


def _integers_of_floats(values: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
    """Integer labels that became floats on their way through a table, as a pandas column's do."""
    for value, sample_id in zip(values.tolist(), sample_ids, strict=True):
        if not value.is_integer():
            raise _bad_label(value, sample_id)
    return values.astype(np.int64)


def _encode_integers(values: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    if class_names is not None:
        if values.min() < UNLABELLED or values.max() >= len(class_names):
            raise SourceError(
                explain(
                    f"labels from {values.min()} to {values.max()}",
                    f"-1 or an index into {len(class_names)} class names",
                    "check the labels",
                )
            )
        return values.astype(np.int64), list(class_names)
    is_labelled = values != UNLABELLED if values.dtype.kind != "b" else np.ones(len(values), bool)
    classes, codes = np.unique(values[is_labelled], return_inverse=True)
    encoded = np.full(len(values), UNLABELLED, np.int64)
    encoded[is_labelled] = codes
    return encoded, [str(name) for name in classes]


def _encode_strings(values: np.ndarray, sample_ids: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    for value, sample_id in zip(values.tolist(), sample_ids, strict=True):
        if not isinstance(value, str) or _is_missing(value):
            raise _bad_label(value, sample_id)
        if value != value.strip():
            raise SourceError(f"{printable(sample_id)}: its label {value!r} has a space around it; remove it")
    names = [str(name) for name in values.tolist()]
    class_names = sorted(set(names))
    check_class_names(class_names)
    code_of = {name: code for code, name in enumerate(class_names)}
    return np.array([code_of[name] for name in names], np.int64), class_names


def check_class_names(class_names: Sequence[str]) -> None:
    """Refuse classes whose names differ in nothing but case: one of them is a slip.

    Examples
    --------
    >>> check_class_names(["Cat", "cat"])
    Traceback (most recent call last):
    featx.errors.SourceError: received the classes 'Cat' and 'cat'; expected names that differ in more ...
    """
    seen: dict[str, str] = {}
    for name in class_names:
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            raise SourceError(
                explain(
                    f"the classes {twin!r} and {name!r}", "names that differ in more than case", "merge them"
                )
            )


def failing(sample_id: str, reason: str) -> Callable[[], Content]:
    """A ``fetch`` for a sample that is known to be unusable.

    Examples
    --------
    >>> failing("3", "not finite")()
    Traceback (most recent call last):
    featx.errors.DecodeError: 3: not finite
    """

    def fetch() -> Content:
        raise DecodeError(sample_id, reason)

    return fetch
