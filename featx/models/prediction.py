"""A model over a whole source: decoding in threads, batches of one shape, every sample accounted for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from featx.errors import DecodeError
from featx.features.engines import available_cpus
from featx.features.pipeline import decode_ahead
from featx.features.preparation import ImagePreparation
from featx.images.base import ImageSource
from featx.images.sources import as_source, true_class_names

#: From uint8 images (n, height, width, 3) to scores (n, n_classes).
PredictOnBatch: TypeAlias = Callable[[np.ndarray], np.ndarray]

_BATCHES_AHEAD = 2


class ScoresImages(ClassifierMixin):
    """A classifier of images of any kind, whose score takes the labels that a source carries."""

    def score(self, images: Any, y: Sequence[Any] | np.ndarray | None = None) -> float:
        """Accuracy.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set
        y : array-like of shape (n_samples,), optional
            True classes; by default those that the source carries.

        Returns
        -------
        float
        """
        source = self._source_of(images)
        if y is None:
            predicted = self.predict(source)
            # Fitted on 0.0 and 1.0, it answers in kind; the source calls its classes "0" and "1".
            whole = predicted.astype(np.int64) if predicted.dtype.kind == "f" else predicted
            return float(accuracy_score(true_class_names(source), whole.astype(str)))
        return float(accuracy_score(y, self.predict(source)))

    def _source_of(self, images: Any, y: Any = None) -> ImageSource:
        """A source of what is to be predicted, of the kind that the model takes."""
        return as_source(images, y)


class PredictsImages(ScoresImages):
    """What predicts images of any kind by a model of one input size.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    is_probability_ : bool
        Whether the model gives probabilities, or decisions.
    """

    classes_: np.ndarray
    is_probability_: bool
    batch_size: int

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images that the model takes, in pixels."""
        raise NotImplementedError

    def _predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """From uint8 images (n, height, width, 3) to scores (n, n_classes)."""
        raise NotImplementedError

    def predict(self, images: Any) -> np.ndarray:
        """Classify images.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        DecodeError
            At the first image that cannot be read.
        """
        scores = self._scores(images)
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    @available_if(lambda self: self.is_probability_)
    def predict_proba(self, images: Any) -> np.ndarray:
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float32
        """
        return self._scores(images)

    def _scores(self, images: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        # What a source says of its labels, rightly or wrongly, has no say in a prediction.
        source = as_source(images).without_labels()
        return scores_of(self._predict_on_batch, source, self.input_size, batch_size=self.batch_size)


def scores_of(
    predict_on_batch: PredictOnBatch,
    source: ImageSource,
    input_size: tuple[int, int],
    *,
    batch_size: int = 32,
    workers: int | None = None,
    on_failure: Callable[[int, DecodeError], None] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """What a model says of every image of a source.

    Parameters
    ----------
    predict_on_batch : callable
        Always called with ``batch_size`` images, the last time with some repeated.
    source : ImageSource
    input_size : tuple of int
        (height, width), in pixels: images are decoded and resized as for an extraction.
    batch_size : int, default=32
    workers : int, optional
        Threads that decode.
    on_failure : callable, optional
        Told the index of each image that cannot be used, and why. Without it, the first one ends the work.
    advance : callable, optional
        Told of each image.

    Returns
    -------
    ndarray of shape (n_samples, n_classes), float32
        NaN for images that cannot be used.

    Raises
    ------
    DecodeError
        Without ``on_failure``, at the first image that cannot be used.

    Examples
    --------
    >>> from featx import as_source
    >>> images = np.zeros((3, 8, 8, 3), np.uint8)
    >>> scores_of(lambda images: images[:, 0, 0, :2], as_source(images), (4, 4)).shape
    (3, 2)
    """
    pixels = np.zeros((batch_size, *input_size, 3), np.uint8)
    rows: list[int] = []
    found: list[tuple[list[int], np.ndarray]] = []

    def flush() -> None:
        pixels[len(rows) :] = pixels[0]
        scores = np.asarray(predict_on_batch(pixels), np.float32)
        found.append((rows.copy(), scores[: len(rows)]))
        rows.clear()

    n_threads = workers or available_cpus()
    preparation = ImagePreparation(input_size, None, 1)
    samples = decode_ahead(source, preparation, lambda _: False, n_threads, _BATCHES_AHEAD * batch_size)
    for index, sample in enumerate(samples):
        advance(1)
        if sample.pixels is None:
            error = sample.error or DecodeError(sample.sample_id, "no content")
            if on_failure is None:
                raise error
            on_failure(index, error)
            continue
        pixels[len(rows)] = sample.pixels
        rows.append(index)
        if len(rows) == batch_size:
            flush()
    # A source of nothing but bad images has rows of scores too.
    if rows or not found:
        flush()
    scores = np.full((len(source), found[0][1].shape[1]), np.nan, np.float32)
    for indices, values in found:
        scores[indices] = values
    return scores
