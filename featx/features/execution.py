"""Where an extraction is done: samples are prepared somewhere and rows computed somewhere, not by the run.

`LocalExecution` is this process: threads that decode, and an engine. Another one spreads both over machines;
what is extracted, in which order and batches, and what becomes of a sample that fails, stays the run's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Self

from featx.features.computing import Computing, LocalComputing
from featx.features.engine_choice import choose_engine
from featx.features.engine_decisions import EngineRequest
from featx.features.pipeline import Sample, decode_ahead
from featx.features.preparation import Preparation
from featx.features.recipe import ExtractionRecipe
from featx.features.shards import ShardSet
from featx.images.base import ImageSource

# What is decoded ahead of the forward pass. So much that the threads go on while the engine starts.
_BYTES_AHEAD = 192 * 2**20
_MAX_AHEAD = 1_024


@dataclass(frozen=True)
class Work:
    """What is to be extracted.

    Parameters
    ----------
    source : ImageSource
    recipe : ExtractionRecipe
        Settled.
    preparation : Preparation
        What becomes of a sample's content here, in child processes where ``isolate`` asks for them.
    shards : ShardSet
        Rows that are there, and where new ones go.
    request : EngineRequest
    n_threads : int
        That decode.
    isolate : bool
    """

    source: ImageSource
    recipe: ExtractionRecipe
    preparation: Preparation
    shards: ShardSet
    request: EngineRequest
    n_threads: int
    isolate: bool


def n_samples_ahead(preparation: Preparation, n_first: int, n_views: int) -> int:
    """Samples to prepare ahead: a batch at least, and as many as memory is meant for.

    Examples
    --------
    >>> from featx.features.preparation import ArrayPreparation
    >>> n_samples_ahead(ArrayPreparation((10_000_000,), "uint8"), n_first=32, n_views=1)
    32
    """
    sample_bytes = math.prod(preparation.shape) * preparation.dtype.itemsize * n_views
    return max(1, n_first // n_views, min(_MAX_AHEAD, _BYTES_AHEAD // sample_bytes))


class Execution(ABC):
    """Prepares samples and computes rows; open as a context while it works."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @abstractmethod
    def samples(self, work: Work, is_known: Callable[[str], bool]) -> Generator[Sample]:
        """Every sample, in the source's order, as `featx.features.pipeline.decode_ahead` gives them."""

    @abstractmethod
    def computing(self, work: Work) -> Computing:
        """What takes the samples' inputs."""


class LocalExecution(Execution):
    """The process itself.

    Examples
    --------
    >>> with LocalExecution() as execution:
    ...     isinstance(execution, Execution)
    True
    """

    def samples(self, work: Work, is_known: Callable[[str], bool]) -> Generator[Sample]:
        """Every sample, decoded in threads."""
        n_ahead = n_samples_ahead(work.preparation, work.request.n_first, work.recipe.spec_.n_views)
        return decode_ahead(work.source, work.preparation, is_known, work.n_threads, n_ahead)

    def computing(self, work: Work) -> LocalComputing:
        """An engine in this process."""
        return LocalComputing(work.shards, partial(choose_engine, work.request), work.request.n_first)
