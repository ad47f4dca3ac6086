"""Encoded images decoded in child processes, where a decoder's crash or stall costs that one image.

Each thread that decodes has a child at work (`featx.child`), which runs `featx.images.decoder_process`. The
pixels are those of `featx.images.view_loading.load_views`, to the bit: the same code makes them. What a child
cannot do is the image's failure, with a reason: its decoder "died (SIGSEGV)", "took longer than 10 s" or
"needed more than 2,048 MB"; a new child takes its place.

The limits leave room for the largest image that featx takes: 50 megapixels and four views needed 508 MB as
JPEG, 953 MB as PNG with transparency, 1,334 MB as lossless WebP, and 1.2 to 3.4 s of a processor. A child
holds 39 MB and has its first image after 0.1 s. Each image costs 0.4 ms of a processor more: 2,000 JPEGs of
300 x 300 pixels took 1.9 s in threads and 2.7 s in children, 0.5 s of it here; embedded with
efficientnet_lite0, 15.7 s and 16.6 s in the mean of three, with the same rows to the bit. Against a decoder
that is taken over, rather than one that fails, a child of the same user is no protection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import numpy as np

from featx.child import Child, ChildError
from featx.errors import DecodeError
from featx.images.views import ViewRecipe

#: Longest that one image and its views may take; waiting for a processor is not counted.
DECODE_TIMEOUT_S = 10.0
#: Most memory that one image and its views may take.
DECODE_MAX_BYTES = 2 * 2**30

_TARGET = "featx.images.decoder_process:serve"


class DecoderPool:
    """Child processes that decode images, as many as threads ask at once; close it, or use it in a ``with``.

    Parameters
    ----------
    input_size : tuple of int
        (height, width), in pixels.
    recipe : ViewRecipe or None
        How views are made; None where there is but the image itself.

    Examples
    --------
    >>> from featx.images.decoding import reference_image
    >>> with DecoderPool((8, 6), None) as decoders:
    ...     decoders.load(reference_image("rotated.jpg"), [0], "0" * 64)[0].shape
    (8, 6, 3)
    """

    def __init__(self, input_size: tuple[int, int], recipe: ViewRecipe | None) -> None:
        self._shape = (*input_size, 3)
        self._settings = {
            "input_size": list(input_size),
            "views": None if recipe is None else list(recipe.kinds),
            "view_seed": 0 if recipe is None else recipe.seed,
        }
        self._idle: list[Child] = []

    def load(
        self,
        content: bytes,
        views: Sequence[int],
        image_sha256: str,
        *,
        sample_id: str = "",
        notes: list[str] | None = None,
    ) -> list[np.ndarray]:
        """Decode an image and make views of it, as `featx.images.view_loading.load_views` does.

        Parameters
        ----------
        content : bytes
            An encoded image.
        views : sequence of int
        image_sha256 : str
            Digest of the content.
        sample_id : str, default=""
            Names the image in errors.
        notes : list of str, optional
            Takes what is odd about the image.

        Returns
        -------
        list of ndarray of shape (input height, input width, 3), uint8
            RGB, in the order of `views`.

        Raises
        ------
        DecodeError
            When the bytes are not a whole image of a supported kind, or their decoder came to no end.
        FeatxError
            When no process can be started.
        """
        request = {"views": list(views), "digest": image_sha256, "sample_id": sample_id}
        try:
            with self._child() as child:
                reply, pixels = child.request(request, content)
        except ChildError as error:
            raise DecodeError(sample_id, f"its decoder {error.reason}") from None
        if "error" in reply:
            raise DecodeError(sample_id, str(reply["error"]))
        if len(pixels) != len(views) * int(np.prod(self._shape)):
            raise DecodeError(sample_id, "its decoder sent other pixels than were asked for")
        if notes is not None:
            notes += map(str, reply["notes"])
        return list(np.frombuffer(pixels, np.uint8).reshape(-1, *self._shape))

    @contextmanager
    def _child(self) -> Iterator[Child]:
        """A child that nobody else asks meanwhile."""
        try:
            child = self._idle.pop()
        except IndexError:
            child = Child(_TARGET, self._settings, timeout_s=DECODE_TIMEOUT_S, max_bytes=DECODE_MAX_BYTES)
        try:
            yield child
        finally:
            self._idle.append(child)

    def close(self) -> None:
        """End the processes, when no thread decodes any more."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
