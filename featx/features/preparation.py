"""What becomes of a sample's content before the network: its rows' addresses, and what the network is given.

A sample has one row a view, and every row an address in the store: the digest of the content for the
sample itself, and for a view the digest of that and of how the view is made. So a row is found again
whatever sample, run or number of views it belongs to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError
from featx.features.fingerprint import ExtractionSpec
from featx.images.decoding import content_sha256
from featx.images.isolation import DecoderPool
from featx.images.value_sources import cast_value, value_sha256
from featx.images.view_loading import load_views
from featx.images.views import ViewRecipe


class Preparation(ABC):
    """From contents to what the network is given.

    Attributes
    ----------
    shape : tuple of int
        Of what the network is given for one row.
    dtype : dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    @abstractmethod
    def digest(self, content: Any) -> str:
        """The digest that names a content, as 64 hexadecimal digits."""

    @abstractmethod
    def addresses(self, digest: str) -> tuple[str, ...]:
        """Where each view of a content is in the store."""

    @abstractmethod
    def load(
        self,
        content: Any,
        sample_id: str,
        digest: str,
        views: Sequence[int],
        notes: list[str] | None = None,
    ) -> list[np.ndarray]:
        """Some views of a content, each of `shape` and `dtype`; raises `DecodeError`.

        ``notes`` takes what is odd about the content, though it was accepted.
        """


class ImagePreparation(Preparation):
    """Images, decoded and resized, and their views.

    Parameters
    ----------
    input_size : tuple of int
        (height, width), in pixels.
    recipe : ViewRecipe or None
        How views are made; None where there is but the image itself.
    n_views : int
    """

    def __init__(self, input_size: tuple[int, int], recipe: ViewRecipe | None, n_views: int) -> None:
        super().__init__((*input_size, 3), "uint8")
        self.input_size = input_size
        self.recipe = recipe
        self.n_views = n_views

    def digest(self, content: Any) -> str:
        """The digest that names a content, as 64 hexadecimal digits."""
        return content_sha256(content)

    def addresses(self, digest: str) -> tuple[str, ...]:
        """Where each view of an image is in the store."""
        if self.recipe is None:
            return (digest,)
        return tuple(self.recipe.address(digest, view) for view in range(self.n_views))

    def load(
        self,
        content: Any,
        sample_id: str,
        digest: str,
        views: Sequence[int],
        notes: list[str] | None = None,
    ) -> list[np.ndarray]:
        """Some views of an image, uint8 of shape (height, width, 3)."""
        return load_views(
            content, self.input_size, self.recipe, views, digest, sample_id=sample_id, notes=notes
        )


class IsolatedPreparation(ImagePreparation):
    """Images, those that are encoded being decoded in child processes.

    Parameters
    ----------
    images : ImagePreparation
        What to do with them; the pixels are the same.
    decoders : DecoderPool
    """

    def __init__(self, images: ImagePreparation, decoders: DecoderPool) -> None:
        super().__init__(images.input_size, images.recipe, images.n_views)
        self.decoders = decoders

    def load(
        self,
        content: Any,
        sample_id: str,
        digest: str,
        views: Sequence[int],
        notes: list[str] | None = None,
    ) -> list[np.ndarray]:
        """Some views of an image, uint8 of shape (height, width, 3)."""
        if isinstance(content, bytes):
            return self.decoders.load(content, views, digest, sample_id=sample_id, notes=notes)
        # Pixels have no decoder.
        return super().load(content, sample_id, digest, views, notes)


class ArrayPreparation(Preparation):
    """Arrays of one shape, as they are.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
    vocabulary_size : int, optional
        Where the arrays are token ids, how many the network knows.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str, vocabulary_size: int | None = None) -> None:
        super().__init__(shape, dtype)
        self.vocabulary_size = vocabulary_size

    def digest(self, content: Any) -> str:
        """The digest that names an array, as 64 hexadecimal digits."""
        return value_sha256(content)

    def addresses(self, digest: str) -> tuple[str, ...]:
        """Where an array's row is in the store."""
        return (digest,)

    def load(
        self,
        content: Any,
        sample_id: str,
        digest: str,  # noqa: ARG002 - of images
        views: Sequence[int],  # noqa: ARG002
        notes: list[str] | None = None,  # noqa: ARG002
    ) -> list[np.ndarray]:
        """The array, in the type that the network takes."""
        if content.shape != self.shape:
            received = f"a sample of shape {content.shape}"
            raise DecodeError(sample_id, explain(received, f"{self.shape}, the model's", "reshape it"))
        values = cast_value(content, self.dtype, sample_id)
        if self.vocabulary_size is not None and (values.min() < 0 or values.max() >= self.vocabulary_size):
            received = f"token ids from {values.min()} to {values.max()}"
            expected = f"0 to {self.vocabulary_size - 1}, the model's vocabulary"
            raise DecodeError(sample_id, explain(received, expected, "encode the text by that vocabulary"))
        return [values]


def preparation_of(spec: ExtractionSpec, vocabulary_size: int | None = None) -> Preparation:
    """How the samples of an extraction are prepared.

    Parameters
    ----------
    spec : ExtractionSpec
    vocabulary_size : int, optional
        Of a network of token ids. It is not in the spec: the architecture there implies it.

    Returns
    -------
    Preparation

    Examples
    --------
    >>> from featx import FeatureExtractor
    >>> preparation_of(FeatureExtractor("efficientnet_lite0").fit().spec_).shape
    (224, 224, 3)
    """
    if spec.inputs == "arrays":
        return ArrayPreparation(spec.input_size, spec.input_dtype, vocabulary_size)
    recipe = ViewRecipe(spec.views, spec.view_seed or 0) if spec.views else None
    height, width = spec.input_size
    return ImagePreparation((height, width), recipe, spec.n_views)


@contextmanager
def isolated(preparation: Preparation, isolate: bool) -> Iterator[Preparation]:  # noqa: FBT001 - what it is about
    """A preparation that decodes in child processes while the block lasts, where that is asked for.

    Arrays are as they are: nothing of them is decoded.

    Examples
    --------
    >>> from featx.images.decoding import reference_image
    >>> with isolated(ImagePreparation((8, 6), None, 1), True) as preparation:
    ...     preparation.load(reference_image("rotated.jpg"), "rotated.jpg", "0" * 64, [0])[0].shape
    (8, 6, 3)
    """
    if not isolate or not isinstance(preparation, ImagePreparation):
        yield preparation
        return
    with DecoderPool(preparation.input_size, preparation.recipe) as decoders:
        yield IsolatedPreparation(preparation, decoders)
