"""Samples read, digested and decoded in threads, ahead of whoever consumes them, in the source's order.

The consumer owns all decisions (what is a duplicate, what is committed); the threads own nothing, and
only save it time. How far they run ahead is bounded, and so is memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from featx.errors import DecodeError
from featx.features.preparation import Preparation
from featx.images.base import ImageSource, RawImage

# Images a task: enough that scheduling costs nothing beside them, few enough to keep every thread busy.
_IMAGES_PER_TASK = 16


@dataclass(slots=True)
class Sample:
    """What became of one sample of a source.

    Attributes
    ----------
    sample_id : str
    image_sha256 : str or None
        None when its content could not be read.
    addresses : tuple of str
        Of its rows in the store, one a view.
    inputs : dict of str to ndarray
        What the network is given, by address; without what was known already. Where an execution keeps that
        elsewhere, what finds it.
    notes : list of str
        What is odd about a sample that was decoded.
    error : DecodeError or None
    stage : {"read", "decode"}
        How far it came.
    read_s, decode_s : float
        Seconds that a thread spent on it.
    """

    sample_id: str
    image_sha256: str | None = None
    addresses: tuple[str, ...] = ()
    inputs: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: DecodeError | None = None
    stage: str = "read"
    read_s: float = 0.0
    decode_s: float = 0.0

    @property
    def pixels(self) -> np.ndarray | None:
        """Of a sample with one view, what the network is given."""
        return next(iter(self.inputs.values()), None)


def decode_ahead(
    source: ImageSource,
    preparation: Preparation,
    is_known: Callable[[str], bool],
    n_threads: int,
    n_ahead: int,
) -> Generator[Sample]:
    """Every sample of a source, in order, decoded and resized unless its rows are known.

    Parameters
    ----------
    source : ImageSource
    preparation : Preparation
        What becomes of a sample's content.
    is_known : callable
        ``is_known(address)``: whether a row is not needed. Called from threads.
    n_threads : int
    n_ahead : int
        Most samples in flight.

    Yields
    ------
    Sample

    Examples
    --------
    >>> from featx import as_source
    >>> from featx.features.preparation import ImagePreparation
    >>> source, preparation = as_source(np.zeros((3, 8, 8, 3), np.uint8)), ImagePreparation((4, 4), None, 1)
    >>> [len(sample.inputs) for sample in decode_ahead(source, preparation, lambda address: False, 2, 16)]
    [1, 1, 1]
    """
    n_tasks_ahead = max(n_threads, n_ahead // _IMAGES_PER_TASK)
    tasks: deque[Future[list[Sample]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="featx-decode")
    try:
        for start in range(0, len(source), _IMAGES_PER_TASK):
            raw_images = source.read(start, start + _IMAGES_PER_TASK)
            tasks.append(pool.submit(load_samples, raw_images, preparation, is_known))
            if len(tasks) >= n_tasks_ahead:
                yield from tasks.popleft().result()
        while tasks:
            yield from tasks.popleft().result()
    finally:
        # An error or Ctrl-C in the consumer must not wait for images nobody will see.
        pool.shutdown(cancel_futures=True)


def load_samples(
    raw_images: list[RawImage], preparation: Preparation, is_known: Callable[[str], bool]
) -> list[Sample]:
    """Some samples, read, digested and decoded one after the other.

    Examples
    --------
    >>> from featx import as_source
    >>> from featx.features.preparation import ImagePreparation
    >>> raw_images = as_source(np.zeros((2, 8, 8, 3), np.uint8)).read(0, 2)
    >>> samples = load_samples(raw_images, ImagePreparation((4, 4), None, 1), lambda address: True)
    >>> [sample.inputs for sample in samples]
    [{}, {}]
    """
    return [_load(raw_image, preparation, is_known) for raw_image in raw_images]


def _load(raw_image: RawImage, preparation: Preparation, is_known: Callable[[str], bool]) -> Sample:
    sample = Sample(raw_image.sample_id)
    started = perf_counter()
    try:
        content = raw_image.fetch()
        digest = sample.image_sha256 = preparation.digest(content)
        sample.addresses = preparation.addresses(digest)
        sample.read_s = perf_counter() - started
        views = [view for view, address in enumerate(sample.addresses) if not is_known(address)]
        if views:
            sample.stage = "decode"
            inputs = preparation.load(content, raw_image.sample_id, digest, views, sample.notes)
            sample.inputs = {sample.addresses[view]: each for view, each in zip(views, inputs, strict=True)}
            sample.decode_s = perf_counter() - started - sample.read_s
    except DecodeError as error:
        sample.error = error
    return sample
