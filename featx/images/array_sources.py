"""Sources of images that are arrays already: in memory, or out of a data pipeline.

Pixels are uint8, or numbers in a range that the caller states. A range is never guessed from the
values: an image that happens to be dark would be scaled otherwise than its neighbours.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import starmap
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError, SourceError, printable
from featx.images.base import ImageSource, RawImage, failing
from featx.images.decoding import content_sha256

# A resized float image may pass its range's end by a rounding error.
_RANGE_TOLERANCE = 1e-5


class ArraySource(ImageSource):
    """Images in an array, or in a sequence of arrays of different sizes.

    Parameters
    ----------
    images : ndarray of shape (n_samples, height, width[, 1 or 3]), or a sequence of such images
        uint8, or other numbers with a ``value_range``.
    labels : array-like of shape (n_samples,), optional
        Strings or integers; an integer -1 means unlabelled.
    groups : sequence of str, optional
        Samples of one group are never parted by a split.
    value_range : tuple of float, optional
        (black, white). Values are mapped linearly to 0..255 and rounded; a value outside fails.
    sample_ids : sequence of str, optional
        Each once; by default the images' indices.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> source = ArraySource(digits.images, digits.target, value_range=(0, 16))
    >>> image = source.read(0, 1)[0].fetch()
    >>> image.shape, image.dtype, image.max()
    ((8, 8, 3), dtype('uint8'), np.uint8(239))
    """

    def __init__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        labels: Sequence[object] | np.ndarray | None = None,
        *,
        groups: Sequence[str] | None = None,
        value_range: tuple[float, float] | None = None,
        sample_ids: Sequence[str] | None = None,
    ) -> None:
        check_layout(images)
        self.images = images
        self.value_range = check_value_range(getattr(images, "dtype", None), value_range, type(self).__name__)
        super().__init__(sample_names(sample_ids, len(images)), labels, groups)

    def read(self, start: int, stop: int) -> list[RawImage]:
        """The samples from ``start`` up to ``stop``; they are converted to uint8 when fetched."""
        return [
            RawImage(sample_id, partial(to_uint8_rgb, image, self.value_range, sample_id))
            for sample_id, image in zip(self.sample_ids[start:stop], self.images[start:stop], strict=True)
        ]


class TwoPassSource(ImageSource):
    """Samples out of a data set that is run through when the source is built, and again when it is read.

    The first pass gives the labels and a digest of every sample; the second compares: a data set that
    shuffles or augments anew on each pass is refused, because its labels would shift.

    Parameters
    ----------
    dataset : tf.data.Dataset or keras.utils.PyDataset
    class_names : sequence of str, optional
        By default the data set's own ``class_names``, where it has them.
    """

    def __init__(self, dataset: Any, class_names: Sequence[str] | None = None) -> None:
        self.dataset = dataset
        self._samples: Iterator[np.ndarray | str] = iter(())
        self._position = -1
        self._digests, labels = self._index()
        names = class_names if class_names is not None else getattr(dataset, "class_names", None)
        super().__init__([str(index) for index in range(len(self._digests))], labels, class_names=names)

    @abstractmethod
    def _batch(self, samples: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """One element of the data set as a batch, refused where it is not of this kind."""

    @abstractmethod
    def _content(self, sample: np.ndarray, sample_id: str) -> np.ndarray:
        """What a sample is handed out as, or `DecodeError`."""

    def _sha256(self, content: np.ndarray) -> str:
        return content_sha256(content)

    def __getstate__(self) -> dict[str, Any]:
        # A copy makes a pass of its own: two readers of one iterator would take each other's samples.
        return self.__dict__ | {"_samples": iter(()), "_position": -1}

    def read(self, start: int, stop: int) -> list[RawImage]:
        """The samples from ``start`` up to ``stop``; from the last stop on, reading costs no new pass."""
        if not 0 <= self._position <= start:
            self._samples, self._position = (found for found, _ in self._run()), 0
        for _ in range(self._position, start):
            next(self._samples, None)
        stop = min(stop, len(self))
        self._position = stop
        raw = []
        for sample_id, digest in zip(self.sample_ids[start:stop], self._digests[start:stop], strict=True):
            found = next(self._samples, "absent on a later pass")
            if self._digest(found) != digest:
                raise SourceError(
                    f"sample {sample_id} changed between two passes over the data set; "
                    "expected the same samples in the same order; turn shuffling and augmentation off"
                )
            fetch = failing(sample_id, found) if isinstance(found, str) else partial(_identity, found)
            raw.append(RawImage(sample_id, fetch))
        return raw

    def _index(self) -> tuple[list[str], np.ndarray | None]:
        digests, labels = [], []
        for found, label in self._run():
            digests.append(self._digest(found))
            labels.append(label)
        is_labelled = bool(labels) and labels[0] is not None
        return digests, np.asarray(labels) if is_labelled else None

    def _digest(self, found: np.ndarray | str) -> str:
        return found if isinstance(found, str) else self._sha256(found)

    def _run(self) -> Iterator[tuple[np.ndarray | str, Any]]:
        """Every sample's content, or the reason why it has none, with its label."""
        index = 0
        for samples, labels in starmap(self._batch, _columns(self.dataset)):
            codes = [None] * len(samples) if labels is None else _class_indices(labels, len(samples))
            for sample, label in zip(samples, codes, strict=True):
                try:
                    yield self._content(sample, str(index)), label
                except DecodeError as error:
                    yield error.reason, label
                index += 1


class DatasetSource(TwoPassSource):
    """Images out of a ``tf.data.Dataset`` or a ``keras.utils.PyDataset``, batched or not.

    The data set is run through once when the source is built, for the labels and a digest of every
    image. Reading runs through it again and compares: a data set that shuffles or augments anew on
    each pass is refused, because its labels would shift.

    Parameters
    ----------
    dataset : tf.data.Dataset or keras.utils.PyDataset
        Elements are images, or (images, labels). Labels may be integers or one-hot.
    value_range : tuple of float, optional
        (black, white), needed unless the images are uint8. Keras's
        ``image_dataset_from_directory`` gives floats in (0, 255).
    class_names : sequence of str, optional
        By default the data set's own ``class_names``, where it has them.

    Examples
    --------
    >>> import tensorflow as tf
    >>> images = np.zeros((5, 8, 8, 3), np.uint8)
    >>> dataset = tf.data.Dataset.from_tensor_slices((images, [0, 1, 0, 1, 1])).batch(2)
    >>> source = DatasetSource(dataset)
    >>> len(source), source.labels
    (5, array([0, 1, 0, 1, 1]))
    """

    def __init__(
        self,
        dataset: Any,
        *,
        value_range: tuple[float, float] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.value_range = value_range
        super().__init__(dataset, class_names)

    def _batch(self, samples: np.ndarray, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        if samples.ndim not in (3, 4) or samples.shape[-1] not in (1, 3):
            received = f"a data set of images of shape {samples.shape}"
            expected = "(height, width, 1 or 3), or batches of those"
            raise SourceError(explain(received, expected, "map it: image[..., None] adds the channel"))
        check_value_range(samples.dtype, self.value_range, "DatasetSource")
        # A batch has one axis more than an image with channels.
        if samples.ndim == 3:
            return samples[None], None if labels is None else labels[None]
        return samples, labels

    def _content(self, sample: np.ndarray, sample_id: str) -> np.ndarray:
        return to_uint8_rgb(sample, self.value_range, sample_id)


def is_dataset(value: object) -> bool:
    """Whether something is a tf.data or Keras data set, found out without importing either.

    Examples
    --------
    >>> is_dataset([1, 2])
    False
    """
    return any(base.__name__ in ("DatasetV2", "PyDataset") for base in type(value).__mro__)


def to_uint8_rgb(image: np.ndarray, value_range: tuple[float, float] | None, sample_id: str) -> np.ndarray:
    """One image as uint8 RGB.

    Parameters
    ----------
    image : ndarray of shape (height, width[, 1 or 3])
        uint8, or any numbers with a ``value_range``.
    value_range : tuple of float or None
        (black, white).
    sample_id : str
        Names the image in errors.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    DecodeError
        When a value is not finite or lies outside the range, or the shape is not an image's.

    Examples
    --------
    >>> to_uint8_rgb(np.array([[0.0, 0.5, 1.0]]), (0, 1), "a")[0, :, 0]
    array([  0, 128, 255], dtype=uint8)
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or not pixels.size:
        raise DecodeError(sample_id, f"shape {np.shape(image)} is not (height, width[, 1 or 3])")
    if pixels.dtype.kind not in "fiub":
        raise DecodeError(sample_id, f"{pixels.dtype} pixels are not real numbers")
    if value_range is not None:
        low, high = value_range
        slack = (high - low) * _RANGE_TOLERANCE
        # Written so that NaN fails too.
        if not (pixels.min() >= low - slack and pixels.max() <= high + slack):
            found = f"{pixels.min()} to {pixels.max()}"
            raise DecodeError(sample_id, f"values from {found} lie outside the value_range {value_range}")
        scaled = np.rint((pixels.astype(np.float64) - low) * (255.0 / (high - low)))
        pixels = np.clip(scaled, 0, 255).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        raise DecodeError(sample_id, f"{pixels.dtype} pixels without a value_range")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def sample_names(sample_ids: Sequence[str] | None, n_samples: int) -> list[str]:
    """Names of samples that have none by nature: those given, each once, or the samples' indices.

    Examples
    --------
    >>> sample_names(None, 3)
    ['0', '1', '2']
    """
    names = [str(name) for name in (range(n_samples) if sample_ids is None else sample_ids)]
    if len(names) != n_samples:
        received = f"{len(names)} sample_ids for {n_samples} samples"
        raise SourceError(explain(received, "one a sample", "align them"))
    seen = set()
    for name in names:
        if name in seen:
            received = f"the sample_id {printable(name)!r} more than once"
            raise SourceError(explain(received, "a name of its own for each sample", "rename them"))
        seen.add(name)
    return names


def check_layout(images: Any) -> None:
    """Refuse an array that is one image, has its channels first, or holds no images at all.

    Examples
    --------
    >>> check_layout(np.zeros((8, 8, 3)))
    Traceback (most recent call last):
    featx.errors.SourceError: received one image of shape (8, 8, 3); expected a batch of images; ...
    """
    shape = getattr(images, "shape", None)
    if shape is None:
        return
    if len(shape) == 3 and shape[-1] in (3, 4):
        raise SourceError(explain(f"one image of shape {shape}", "a batch of images", "pass images[None]"))
    if len(shape) == 4 and shape[1] in (1, 3) and shape[-1] not in (1, 3):
        raise SourceError(
            explain(f"images of shape {shape}", "channels last", "pass np.moveaxis(images, 1, -1)")
        )
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[-1] not in (1, 3)):
        expected = "(n_samples, height, width[, 1 or 3])"
        raise SourceError(explain(f"images of shape {shape}", expected, "reshape them"))


def check_value_range(
    dtype: np.dtype | None, value_range: tuple[float, float] | None, source: str
) -> tuple[float, float] | None:
    """A stated range as floats, or a refusal where one is missing.

    Parameters
    ----------
    dtype : dtype or None
        Of the images; None where each has its own.
    value_range : tuple of float or None
        (black, white).
    source : str
        Name of the source's class, for the message.

    Examples
    --------
    >>> check_value_range(np.dtype(np.float32), (0, 1), "ArraySource")
    (0.0, 1.0)
    """
    if value_range is None:
        if dtype is not None and dtype != np.uint8:
            remedy = f"pass {source}(..., value_range=(0, 1)) or whatever black and white are"
            raise SourceError(
                explain(f"{dtype} images without a stated range", "uint8, or a value_range", remedy)
            )
        return None
    low, high = value_range
    if not -math.inf < low < high < math.inf:
        expected = "(black, white), finite, with black < white"
        raise SourceError(explain(f"value_range={value_range}", expected, "mend it"))
    return float(low), float(high)


def _columns(dataset: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    for element in _elements(dataset):
        samples, labels = (*element, None)[:2] if isinstance(element, tuple | list) else (element, None)
        if isinstance(samples, dict | tuple | list):
            received = f"a data set with a {type(samples).__name__} of inputs"
            raise SourceError(explain(received, "samples, or (samples, labels)", "map it to those"))
        yield np.asarray(samples), None if labels is None else np.asarray(labels)


def _elements(dataset: Any) -> Iterator[Any]:
    if hasattr(dataset, "as_numpy_iterator"):
        # tf.data writes -1 for "without end".
        n_elements = int(dataset.cardinality())
        elements: Iterator[Any] = dataset.as_numpy_iterator()
    else:
        # A PyDataset is a sequence of batches without an end of its own.
        n_elements = -1 if dataset.num_batches is None else dataset.num_batches
        elements = (dataset[index] for index in range(n_elements))
    if n_elements == -1:
        raise SourceError(explain("a data set without end", "one pass over the samples", "drop repeat()"))
    return elements


def _class_indices(labels: np.ndarray, n_samples: int) -> np.ndarray:
    if labels.size == n_samples:
        labels = labels.reshape(n_samples)
        return np.array([_text(label) for label in labels.tolist()]) if labels.dtype.kind in "SO" else labels
    is_one_hot = labels.ndim == 2 and set(np.unique(labels)) <= {0, 1} and (labels.sum(axis=1) == 1).all()
    if not is_one_hot:
        raise SourceError(
            explain(
                f"labels of shape {labels.shape}", "one class a sample, as integers or one-hot", "map them"
            )
        )
    return np.asarray(labels.argmax(axis=1))


def _text(label: Any) -> Any:
    # TensorFlow's strings are bytes.
    return label.decode("utf-8", "backslashreplace") if isinstance(label, bytes) else label


def _identity(pixels: np.ndarray) -> np.ndarray:
    return pixels
