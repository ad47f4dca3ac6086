"""Samples read, digested and decoded in threads, ahead of whoever consumes them, in the source's order.

The consumer owns all decisions (what is a duplicate, what is committed); the threads own nothing, and
only save it time. How far they run ahead is bounded, and so is memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from featx.errors import DecodeError
from featx.images.base import ImageSource, RawImage
from featx.images.decoding import content_sha256, load_image

# Images a task: enough that scheduling costs nothing beside them, few enough to keep every thread busy.
_IMAGES_PER_TASK = 8


@dataclass(slots=True)
class Sample:
    """What became of one sample of a source.

    Attributes
    ----------
    sample_id : str
    image_sha256 : str or None
        None when its content could not be read.
    pixels : ndarray of shape (height, width, 3), uint8, or None
        None when it failed, or when its digest was known already.
    error : DecodeError or None
    stage : {"read", "decode"}
        How far it came.
    read_s, decode_s : float
        Seconds that a thread spent on it.
    """

    sample_id: str
    image_sha256: str | None = None
    pixels: np.ndarray | None = None
    error: DecodeError | None = None
    stage: str = "read"
    read_s: float = 0.0
    decode_s: float = 0.0


def decode_ahead(
    source: ImageSource,
    input_size: tuple[int, int],
    is_known: Callable[[str], bool],
    n_threads: int,
    n_ahead: int,
) -> Iterator[Sample]:
    """Every sample of a source, in order, decoded and resized unless its digest is known.

    Parameters
    ----------
    source : ImageSource
    input_size : tuple of int
        (height, width), in pixels.
    is_known : callable
        ``is_known(image_sha256)``: whether the pixels are not needed. Called from threads.
    n_threads : int
    n_ahead : int
        Most samples in flight.

    Yields
    ------
    Sample

    Examples
    --------
    >>> from featx import as_source
    >>> source = as_source(np.zeros((3, 8, 8, 3), np.uint8))
    >>> [sample.pixels.shape for sample in decode_ahead(source, (4, 4), lambda digest: False, 2, 16)]
    [(4, 4, 3), (4, 4, 3), (4, 4, 3)]
    """
    n_tasks_ahead = max(n_threads, n_ahead // _IMAGES_PER_TASK)
    tasks: deque[Future[list[Sample]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="featx-decode")
    try:
        for start in range(0, len(source), _IMAGES_PER_TASK):
            raw_images = source.read(start, start + _IMAGES_PER_TASK)
            tasks.append(pool.submit(_load_all, raw_images, input_size, is_known))
            if len(tasks) >= n_tasks_ahead:
                yield from tasks.popleft().result()
        while tasks:
            yield from tasks.popleft().result()
    finally:
        # An error or Ctrl-C in the consumer must not wait for images nobody will see.
        pool.shutdown(cancel_futures=True)


def _load_all(
    raw_images: list[RawImage], input_size: tuple[int, int], is_known: Callable[[str], bool]
) -> list[Sample]:
    return [_load(raw_image, input_size, is_known) for raw_image in raw_images]


def _load(raw_image: RawImage, input_size: tuple[int, int], is_known: Callable[[str], bool]) -> Sample:
    sample = Sample(raw_image.sample_id)
    started = perf_counter()
    try:
        content = raw_image.fetch()
        sample.image_sha256 = content_sha256(content)
        sample.read_s = perf_counter() - started
        if not is_known(sample.image_sha256):
            sample.stage = "decode"
            sample.pixels = load_image(content, input_size, raw_image.sample_id)
            sample.decode_s = perf_counter() - started - sample.read_s
    except DecodeError as error:
        sample.error = error
    return sample
