"""Samples that are arrays of a user's own: spectrograms, token ids, rows of a table.

Where an image may have any size and is turned into uint8 RGB, such a sample is handed out as it is: all
samples of a source share one shape and one type, its `SampleLayout`, and nothing is resized, scaled or
cast. What the numbers mean is between the user and the model that takes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError, SourceError
from featx.images.array_sources import TwoPassSource, is_dataset, sample_names
from featx.images.base import ImageSource, RawImage, SampleLayout, failing
from featx.images.hdf5_source import HDF5Rows, open_rows
from featx.images.numpy_files import numpy_arrays
from featx.images.sources import as_it_is, build_source, check_is_file, described

__all__ = ["DatasetValueSource", "ValueSource", "as_value_source", "cast_value", "value_sha256"]

_EXPECTED = "an array, a data frame, a .npy, .npz or .h5 file of numbers, or a data set"
# Wider floats differ from machine to machine, also in the bytes that pad them.
_TYPES = {np.dtype(kind) for kind in ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")}


def value_sha256(value: np.ndarray) -> str:
    """The digest by which the store addresses a sample: SHA-256 of its type, its shape and its values.

    Parameters
    ----------
    value : ndarray
        In any byte or memory order; neither changes the digest.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> value_sha256(np.zeros((2, 3), np.float32)) == value_sha256(np.zeros((3, 2), np.float32))
    False
    """
    values = _native(value)
    digest = hashlib.sha256(f"values {SampleLayout(values.shape, values.dtype)}".encode())
    digest.update(values.data)
    return digest.hexdigest()


class ValueSource(ImageSource):
    """Samples of one shape and one type of number, handed out as they are.

    Parameters
    ----------
    values : array-like of shape (n_samples, ...)
        Booleans, integers, or floats of 16, 32 or 64 bits: an array, memory-mapped or not, a data frame,
        or a sequence of arrays or numbers. A sample with a NaN or an infinity fails when it is fetched.
    labels : array-like of shape (n_samples,), optional
        Strings or integers; an integer -1 means unlabelled.
    groups : sequence of str, optional
        Samples of one group are never parted by a split.
    sample_ids : sequence of str, optional
        Each once; by default the samples' indices.

    Attributes
    ----------
    layout : SampleLayout
        Shape and type of each sample.

    Raises
    ------
    SourceError
        When the samples are not numbers, or not of one shape and type.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> flowers = load_iris()
    >>> source = ValueSource(flowers.data, flowers.target_names[flowers.target])
    >>> str(source.layout), source.class_names
    ('float64 (4,)', ['setosa', 'versicolor', 'virginica'])
    >>> source.read(0, 1)[0].fetch()
    array([5.1, 3.5, 1.4, 0.2])
    """

    def __init__(
        self,
        values: np.ndarray | Sequence[Any] | HDF5Rows | Any,
        labels: Sequence[object] | np.ndarray | None = None,
        *,
        groups: Sequence[str] | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> None:
        self.values = _as_rows(values)
        self.layout = _layout_of(self.values.shape, self.values.dtype)
        super().__init__(sample_names(sample_ids, len(self.values)), labels, groups)

    def read(self, start: int, stop: int) -> list[RawImage]:
        """The samples from ``start`` up to ``stop``; they are checked and copied when fetched."""
        return [
            RawImage(sample_id, failing(sample_id, found))
            if isinstance(found, str)
            else RawImage(sample_id, partial(_finite, found, sample_id))
            for sample_id, found in zip(self.sample_ids[start:stop], self.values[start:stop], strict=True)
        ]


class DatasetValueSource(TwoPassSource):
    """Samples out of a ``tf.data.Dataset`` or ``keras.utils.PyDataset``, batched as for ``Model.fit``.

    The data set is run through once when the source is built, for the labels and a digest of every
    sample. Reading runs through it again and compares: a data set that shuffles or augments anew on
    each pass is refused, because its labels would shift.

    Parameters
    ----------
    dataset : tf.data.Dataset or keras.utils.PyDataset
        Elements are batches of samples, or (samples, labels). Labels may be integers or one-hot.
    class_names : sequence of str, optional
        By default the data set's own ``class_names``, where it has them.

    Attributes
    ----------
    layout : SampleLayout
        Shape and type of each sample.

    Examples
    --------
    >>> import tensorflow as tf
    >>> tokens = np.arange(20, dtype=np.int32).reshape(5, 4)
    >>> source = DatasetValueSource(tf.data.Dataset.from_tensor_slices((tokens, [0, 1, 0, 1, 1])).batch(2))
    >>> str(source.layout), source.labels
    ('int32 (4,)', array([0, 1, 0, 1, 1]))
    """

    def __init__(self, dataset: Any, *, class_names: Sequence[str] | None = None) -> None:
        super().__init__(dataset, class_names)

    def _batch(self, samples: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        if samples.ndim < 2 or (labels is not None and not labels.ndim):
            received = f"a data set of elements of shape {samples.shape}"
            raise SourceError(explain(received, "batches, as Model.fit takes them", "append .batch(32)"))
        if samples.dtype.kind == "O":
            raise _ragged("a batch of text, or of samples of several lengths")
        layout = _layout_of(samples.shape, samples.dtype)
        if self.layout not in (None, layout):
            raise _ragged(f"batches of {self.layout} and of {layout}")
        self.layout = layout
        return samples, labels

    def _content(self, sample: np.ndarray, sample_id: str) -> np.ndarray:
        return _finite(sample, sample_id)

    def _sha256(self, content: np.ndarray) -> str:
        return value_sha256(content)


def as_value_source(
    values: Any, labels: Sequence[object] | np.ndarray | None = None, **options: Any
) -> ImageSource:
    """Make a source of arrays that a model of your own takes: the counterpart of `as_source` for images.

    Parameters
    ----------
    values : ImageSource, ndarray, data frame, sequence of arrays or of numbers, path-like, or data set
        Samples along the first axis, all of one shape; a ``.npy`` file, a ``.npz`` file of arrays
        ``values`` (or ``X``) and perhaps ``labels`` (or ``y``) and ``groups``, a ``.h5`` file; a
        ``tf.data.Dataset`` or a ``keras.utils.PyDataset`` of batches.
    labels : array-like of shape (n_samples,), optional
        For kinds that carry no labels of their own, or in place of those they carry.
    **options
        Keyword arguments of the source's class, such as ``groups`` or ``sample_ids``; for a ``.h5`` file
        ``dataset="values"`` and ``label_dataset="labels"`` as well.

    Returns
    -------
    ImageSource
        With a `SampleLayout` as its ``layout``.

    Raises
    ------
    SourceError
        When it is none of these, or not usable as it is.

    Examples
    --------
    >>> str(as_value_source([[1, 2, 3], [4, 5, 6]], ["a", "b"]).layout)
    'int64 (3,)'
    >>> as_value_source([[1, 2, 3], [4, 5]])
    Traceback (most recent call last):
    featx.errors.SourceError: received samples of shapes (3,) and (2,); expected one shape and type; ...
    """
    return build_source(*_kind_of(values), labels, options)


def _kind_of(values: Any) -> tuple[Callable[..., ImageSource], Any]:
    """The class or function that serves, and what to pass to it."""
    if isinstance(values, ImageSource):
        if values.layout is None:
            remedy = "pass ValueSource(...) or the arrays themselves"
            raise SourceError(explain(f"a {type(values).__name__} of images", _EXPECTED, remedy))
        return as_it_is, values
    if isinstance(values, str | os.PathLike):
        return _kind_of_path(Path(values))
    if is_dataset(values):
        return DatasetValueSource, values
    if isinstance(values, np.ndarray | Sequence) or _is_frame(values):
        return ValueSource, values
    raise SourceError(explain(described(values), _EXPECTED, "pass one of these"))


def _kind_of_path(path: Path) -> tuple[Callable[..., ImageSource], Path]:
    kinds = {".npy": _numpy_values, ".npz": _numpy_values, ".h5": _hdf5_values, ".hdf5": _hdf5_values}
    check_is_file(path, _EXPECTED)
    if path.suffix.lower() not in kinds:
        raise SourceError(explain(f"the file {path}", _EXPECTED, "pass one of these"))
    return kinds[path.suffix.lower()], path


def _numpy_values(
    path: Path, *, groups: Sequence[str] | None = None, sample_ids: Sequence[str] | None = None
) -> ImageSource:
    """A ``.npy`` file of samples, or a ``.npz`` file of arrays by their names."""
    arrays = numpy_arrays(path, "values", "X", optional=("labels", "y", "groups"))
    labels = arrays.get("labels", arrays.get("y"))
    if groups is None and "groups" in arrays:
        groups = arrays["groups"].tolist()
    values = arrays["values"] if "values" in arrays else arrays["X"]
    return ValueSource(values, labels, groups=groups, sample_ids=sample_ids)


def _hdf5_values(
    path: Path,
    *,
    dataset: str = "values",
    label_dataset: str = "labels",
    groups: Sequence[str] | None = None,
    sample_ids: Sequence[str] | None = None,
) -> ImageSource:
    """A dataset of samples in an HDF5 file, read in blocks as it is needed."""
    rows, labels = open_rows(path, dataset, label_dataset)
    return ValueSource(rows, labels, groups=groups, sample_ids=sample_ids)


def _is_frame(values: Any) -> bool:
    """Whether it is a table of pandas or polars, found out without importing either."""
    return type(values).__name__ == "DataFrame" and hasattr(values, "to_numpy")


def _as_rows(values: Any) -> np.ndarray | HDF5Rows:
    """Samples along the first axis of something that has a shape and can be sliced."""
    if _is_frame(values):
        values = values.to_numpy()
    if isinstance(values, np.ma.MaskedArray):
        # What is masked is missing, and what stands beneath it is anything.
        raise SourceError(explain("a masked array", "a value in every place", "fill what is masked"))
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return values
    if isinstance(values, HDF5Rows):
        return values
    if not isinstance(values, np.ndarray | Sequence) or isinstance(values, str | bytes) or not len(values):
        raise SourceError(explain(described(values), _EXPECTED, "pass one of these"))
    return _stacked(values)


def _stacked(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    try:
        samples = [np.asarray(value) for value in values]
    except ValueError as error:
        # What NumPy says of lists of different lengths within one sample.
        raise _ragged(f"a sample that is no array ({error})") from error
    for sample, value in zip(samples, values, strict=True):
        if sample.shape != samples[0].shape:
            raise _ragged(f"samples of shapes {samples[0].shape} and {sample.shape}")
        # Numbers of Python's have no type of their own to be kept.
        if isinstance(value, np.ndarray) and sample.dtype != samples[0].dtype:
            raise _ragged(f"samples of types {samples[0].dtype} and {sample.dtype}")
    return np.stack(samples)


def _ragged(received: str) -> SourceError:
    remedy = "pad them to one length, or cast them to one type"
    return SourceError(explain(received, "one shape and type", remedy))


def _layout_of(shape: tuple[int, ...], dtype: np.dtype) -> SampleLayout:
    native = dtype.newbyteorder("=")
    if native not in _TYPES:
        expected = "booleans, integers, or floats of 16, 32 or 64 bits"
        raise SourceError(explain(f"values of the type {dtype}", expected, "convert them with astype"))
    if len(shape) < 2:
        remedy = "pass values[:, None] for one number a sample, values[None] for a single sample"
        raise SourceError(explain(f"values of shape {shape}", "(n_samples, ...)", remedy))
    if 0 in shape[1:]:
        raise SourceError(explain(f"values of shape {shape}", "samples that hold a value", "check them"))
    return SampleLayout(tuple(int(side) for side in shape[1:]), native)


def _finite(value: np.ndarray, sample_id: str) -> np.ndarray:
    """A copy of one sample, so that its digest stays true whatever becomes of the original."""
    found = np.array(value, value.dtype.newbyteorder("="), order="C")
    if found.dtype.kind == "f" and (n_bad := found.size - np.count_nonzero(np.isfinite(found))):
        raise DecodeError(sample_id, f"not finite: {n_bad} of {found.size:,} values are NaN or infinite")
    return found


def _native(value: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(value, value.dtype.newbyteorder("="))


def cast_value(value: np.ndarray, dtype: np.dtype, sample_id: str = "") -> np.ndarray:
    """A sample in the type that a model takes, refused where its values would become others.

    Parameters
    ----------
    value : ndarray
    dtype : dtype
        Floats may take any number, rounded to their precision; integers take integers that fit.
    sample_id : str, default=""
        Names the sample in errors.

    Returns
    -------
    ndarray of the same shape

    Raises
    ------
    DecodeError
        When a value lies outside what the type can hold, or fractions would be cut off.

    Examples
    --------
    >>> cast_value(np.array([1.5, 2.0]), np.dtype(np.float32)).dtype
    dtype('float32')
    >>> cast_value(np.array([1, 300]), np.dtype(np.uint8), "7")
    Traceback (most recent call last):
    featx.errors.DecodeError: 7: values from 1 to 300 do not fit into uint8
    """
    if value.dtype == dtype:
        return value
    if dtype.kind in "iub" and value.dtype.kind == "f":
        raise DecodeError(sample_id, f"{value.dtype} values where the model takes {dtype}")
    # An overflow is found below, in one place for floats and integers.
    with np.errstate(over="ignore"):
        cast = value.astype(dtype)
    is_kept = np.isfinite(cast).all() if dtype.kind == "f" else np.array_equal(cast, value)
    if not is_kept:
        raise DecodeError(sample_id, f"values from {value.min()} to {value.max()} do not fit into {dtype}")
    return cast
