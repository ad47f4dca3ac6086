"""Rows of a fixed shape that every epoch needs: decoded images, and activations of frozen layers.

They are made once. What exceeds a limit of memory goes to a temporary file without a name, which the
operating system keeps in memory as far as it can, and which is gone when the process is, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.checks import explain
from featx.errors import SourceError, StoreError
from featx.features.engines import available_cpus
from featx.features.pipeline import decode_ahead
from featx.features.preparation import ImagePreparation
from featx.models.blocks import one_or_list

if TYPE_CHECKING:
    import keras

    from featx.images.base import ImageSource

_N_AHEAD = 64


def empty_rows(
    n_rows: int, shape: tuple[int, ...], dtype: np.typing.DTypeLike, memory_gb: float
) -> np.ndarray:
    """An array of rows to be filled.

    Parameters
    ----------
    n_rows : int
    shape : tuple of int
        Of one row.
    dtype : dtype
    memory_gb : float
        Larger ones stand in a temporary file (10^9 bytes).

    Returns
    -------
    ndarray of shape (n_rows, *shape)

    Raises
    ------
    StoreError
        When the disk has no room for it.

    Examples
    --------
    >>> empty_rows(2, (3,), np.float32, memory_gb=1.0).shape
    (2, 3)
    """
    n_bytes = n_rows * int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if n_bytes <= memory_gb * 1e9:
        return np.empty((n_rows, *shape), dtype)
    with tempfile.TemporaryFile(prefix="featx-") as file:
        try:
            # Without this, a full disk would end the process at some later write, without a word.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        except OSError as error:
            folder = tempfile.gettempdir()
            received = f"{n_bytes / 1e9:.1f} GB of images and activations for {folder} ({error.strerror})"
            remedy = "set TMPDIR to a larger disk, or memory_gb higher"
            raise StoreError(explain(received, "room for them", remedy)) from error
        return np.memmap(file, dtype, "r+", shape=(n_rows, *shape))


class SelectedRows:
    """Some rows of an array, read when they are asked for: a copy would not fit where the array did not.

    Parameters
    ----------
    array : ndarray of shape (n_rows, ...)
    rows : ndarray of int
        Which, in order.

    Examples
    --------
    >>> rows = SelectedRows(np.arange(10) * 2, np.array([7, 3, 5]))
    >>> len(rows), rows[1:], rows[np.array([2, 0])]
    (3, array([ 6, 10]), array([10, 14]))
    """

    def __init__(self, array: Rows, rows: np.ndarray) -> None:
        self._array = array
        self._rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        """As an array's."""
        return (len(self._rows), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        found: np.ndarray = self._array[self._rows[index]]
        return found


#: What holds rows.
Rows: TypeAlias = np.ndarray | SelectedRows


def decoded_rows(
    source: ImageSource,
    input_size: tuple[int, int],
    memory_gb: float,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[np.ndarray, list[str]]:
    """Every image of a source, decoded and resized as for an extraction, and the digests of their content.

    Parameters
    ----------
    source : ImageSource
    input_size : tuple of int
        (height, width), in pixels.
    memory_gb : float
    advance : callable, optional
        Told of each image.

    Returns
    -------
    images : ndarray of shape (n_samples, height, width, 3), uint8
    image_sha256 : list of str

    Raises
    ------
    DecodeError
        At the first image that cannot be used.
    SourceError
        When there are none.

    Examples
    --------
    >>> from featx import as_source
    >>> images, digests = decoded_rows(as_source(np.zeros((2, 8, 8, 3), np.uint8)), (4, 4), 1.0)
    >>> images.shape, digests[0] == digests[1]
    ((2, 4, 4, 3), True)
    """
    if not len(source):
        raise SourceError(explain("no images", "one or more", "check the source"))
    images = empty_rows(len(source), (*input_size, 3), np.uint8, memory_gb)
    digests = []
    preparation = ImagePreparation(input_size, None, 1)
    samples = decode_ahead(source, preparation, lambda _: False, available_cpus(), _N_AHEAD)
    for index, sample in enumerate(samples):
        if sample.error is not None:
            raise sample.error
        images[index] = sample.pixels
        digests.append(sample.image_sha256 or "")
        advance(1)
    return images, digests


def batches(n_rows: int, batch_size: int) -> Iterator[slice]:
    """Slices of rows in order.

    Examples
    --------
    >>> list(batches(3, 2))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    for start in range(0, n_rows, batch_size):
        yield slice(start, min(start + batch_size, n_rows))


def batch_outputs(
    model: keras.Model, inputs: Sequence[Rows], batch_size: int
) -> Iterator[tuple[slice, list[np.ndarray]]]:
    """What a model gives, batch by batch, all of one shape: the last is filled up with its first row.

    Parameters
    ----------
    model : keras.Model
    inputs : sequence of ndarray of shape (n_samples, ...)
        One for each of the model's inputs.
    batch_size : int

    Yields
    ------
    rows : slice
    outputs : list of ndarray of shape (n_rows, ...), float32
        One for each of the model's outputs.
    """
    for rows in batches(len(inputs[0]), batch_size):
        fed = [array[rows] for array in inputs]
        n_missing = batch_size - len(fed[0])
        full = [np.concatenate([array, np.repeat(array[:1], n_missing, axis=0)]) for array in fed]
        found = model.predict_on_batch(one_or_list(full))
        outputs = found if isinstance(found, list) else [found]
        yield rows, [np.asarray(values[: len(fed[0])], np.float32) for values in outputs]
