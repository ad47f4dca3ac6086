"""What runs on the machines of a cluster: tasks that read and decode, and a backbone that computes.

Neither knows of Ray. A task has a few samples and gives what became of each, and the pixels apart, so that
whoever plans the work learns the one without being sent the other. A backbone has rows by reference,
computes them in the order it is told, commits them to the store itself, and tells which shard that is.
"""

from __future__ import annotations

import functools
import os
import platform
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from featx import __version__
from featx.checks import explain
from featx.errors import ClusterError, StoreMismatchError
from featx.features.batching import batches_of
from featx.features.engine_choice import choose_engine
from featx.features.engine_decisions import EngineRequest
from featx.features.engines import Engine
from featx.features.fingerprint import ExtractionSpec
from featx.features.pipeline import Sample, load_samples
from featx.features.preparation import Preparation, isolated
from featx.features.recipe import ExtractionRecipe
from featx.features.shards import ShardSet
from featx.features.verification import read_spec
from featx.images.base import RawImage
from featx.images.decoding import pixels_sha256
from featx.storage import AnyPath


@dataclass(frozen=True)
class Job:
    """What every machine has to know.

    Parameters
    ----------
    parameters : dict
        Of the `ExtractionRecipe`.
    spec : ExtractionSpec
        What the recipe has to come to.
    preparation : Preparation
    directory : Path or RemotePath
        The extraction's folder in the store.
    n_samples : int
    environment : dict of str to str
        Variables that machines which do not set them take over.
    version : str
        Of featx.
    """

    parameters: dict[str, Any]
    spec: ExtractionSpec
    preparation: Preparation
    directory: AnyPath
    n_samples: int
    environment: dict[str, str]
    version: str = __version__

    def check_machine(self) -> None:
        """Refuse a machine with another featx, or another decoder; give it what it needs to know beforehand.

        Raises
        ------
        ClusterError
        StoreMismatchError
        """
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)
        if self.version != __version__:
            received = f"featx {__version__} on {platform.node()}"
            raise ClusterError(explain(received, f"featx {self.version}, as here", "install that there"))
        if self.spec.pixels_sha256 and self.spec.pixels_sha256 != _pixels_sha256():
            found = {"pixels_sha256": (_pixels_sha256(), self.spec.pixels_sha256)}
            told = f"{platform.node()} decodes images to other pixels; install the same Pillow there"
            raise StoreMismatchError(told, found)

    def check_store(self) -> None:
        """Refuse a machine that does not see the store.

        Raises
        ------
        ClusterError
        """
        try:
            read_spec(self.directory / "spec.json", self.spec.of_one_view())
        except FileNotFoundError:
            received = f"the store {self.directory}, which is not there on {platform.node()}"
            remedy = "pass a store on a file system that they share, or in a bucket"
            raise ClusterError(explain(received, "one that all machines reach", remedy)) from None


@functools.cache
def _pixels_sha256() -> str:
    return pixels_sha256()


def known_rows(digests: np.ndarray) -> Callable[[str], bool]:
    r"""Whether a row is among those that were there at the start.

    Parameters
    ----------
    digests : ndarray of shape (n_rows,), S32
        Sorted.

    Examples
    --------
    >>> is_known = known_rows(np.array([b"\x01" * 32, b"\x02" * 32]))
    >>> is_known("02" * 32), is_known("03" * 32)
    (True, False)
    """

    def is_known(address: str) -> bool:
        digest = np.bytes_(bytes.fromhex(address))
        place = np.searchsorted(digests, digest)
        return bool(place < len(digests) and digests[place] == digest)

    return is_known


def decode_samples(
    raw_images: list[RawImage],
    job: Job,
    known: np.ndarray,
    isolate: bool,  # noqa: FBT001 - a task takes what it is given in order
) -> tuple[list[Sample], np.ndarray]:
    """Read, digest and decode some samples.

    Parameters
    ----------
    raw_images : list of RawImage
    job : Job
    known : ndarray of shape (n_rows,), S32
        Rows that need no decoding, sorted.
    isolate : bool
        Decode in a child process, so that what kills a decoder costs its image alone.

    Returns
    -------
    samples : list of Sample
        Their ``inputs`` are places in the other.
    inputs : ndarray of shape (n_inputs, ...)
        What the network is given, of `Preparation.shape` and dtype.
    """
    job.check_machine()
    with isolated(job.preparation, isolate) as preparation:
        samples = load_samples(raw_images, preparation, known_rows(known))
    inputs = [each for sample in samples for each in sample.inputs.values()]
    n_before = 0
    for sample in samples:
        sample.inputs = {address: n_before + place for place, address in enumerate(sample.inputs)}
        n_before += len(sample.inputs)
    shape = (0, *job.preparation.shape)
    return samples, np.stack(inputs) if inputs else np.zeros(shape, job.preparation.dtype)


@dataclass(frozen=True)
class Settled:
    """What the first of several backbones decided for all.

    Attributes
    ----------
    engine : str
    batch_size : int
    described : dict
        For the report.
    """

    engine: str
    batch_size: int
    described: dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What is to be known of rows that were computed, beside their features.

    Attributes
    ----------
    is_finite : ndarray of shape (n_rows,), bool
    computed_with : dict
        What is kept with their shard.
    seconds : float
    """

    is_finite: np.ndarray
    computed_with: dict[str, Any]
    seconds: float


#: Where the input of a row is: which of the blocks that come along, and its place there.
Pick = tuple[int, int]


class Backbone:
    """A frozen backbone on one machine, or on one of its accelerators.

    Parameters
    ----------
    job : Job
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.engine: Engine | None = None

    @functools.cached_property
    def recipe(self) -> ExtractionRecipe:
        """What is extracted, as this machine has it: settled when it is asked to work and can say why not."""
        self.job.check_machine()
        self.job.check_store()
        recipe = ExtractionRecipe(**self.job.parameters).fit()
        if differences := recipe.spec_.differences(self.job.spec):
            message = f"{platform.node()} gives other features than the machine that asks for them"
            raise StoreMismatchError(message, differences)
        return recipe

    def ready(self) -> None:
        """Answer: a machine has been found for it."""

    def start(self, picks: Sequence[Pick], *blocks: np.ndarray) -> Settled:
        """Choose the engine by the first rows.

        Parameters
        ----------
        picks : sequence of (int, int)
        *blocks : ndarray of shape (n_inputs, ...)
        """
        engine = self._engine(None, picks, blocks)
        return Settled(engine.name, engine.batch_size, engine.described())

    def compute(
        self, settled: Settled, picks: Sequence[Pick], *blocks: np.ndarray
    ) -> tuple[Told, np.ndarray]:
        """Compute rows, in batches of the size that was settled, in the order given.

        Parameters
        ----------
        settled : Settled
        picks : sequence of (int, int), length n_rows
        *blocks : ndarray of shape (n_inputs, ...)

        Returns
        -------
        told : Told
        features : ndarray of shape (n_rows, n_features), float32
        """
        engine = self._engine(settled, picks, blocks)
        started = perf_counter()
        features = np.empty((len(picks), self.job.spec.n_features), np.float32)
        under_way: deque[tuple[slice, Any]] = deque()
        for start in range(0, len(picks), engine.batch_size):
            rows = slice(start, min(start + engine.batch_size, len(picks)))
            (batch,) = batches_of(_gathered(picks[rows], blocks), engine.batch_size)
            under_way.append((rows, engine.start(batch)))
            if len(under_way) >= engine.n_in_flight:
                _take_in(engine, features, *under_way.popleft())
        while under_way:
            _take_in(engine, features, *under_way.popleft())
        is_finite = np.asarray(np.isfinite(features).all(axis=1))
        return Told(is_finite, engine.computed_with, perf_counter() - started), features

    def commit(
        self, addresses: Sequence[str], features: np.ndarray, computed_with: dict[str, Any]
    ) -> tuple[str, float]:
        """Commit the first rows of some that were computed.

        Parameters
        ----------
        addresses : sequence of str
            Of as many rows as are to be committed.
        features : ndarray of shape (n_rows, n_features), float32
        computed_with : dict

        Returns
        -------
        name : str
            Of the shard.
        seconds : float
        """
        started = perf_counter()
        shards = ShardSet(self.job.directory, self.job.spec.of_one_view())
        shards.commit(addresses, features[: len(addresses)], computed_with)
        return shards.names[-1], perf_counter() - started

    def _engine(self, settled: Settled | None, picks: Sequence[Pick], blocks: Sequence[np.ndarray]) -> Engine:
        """The engine, started once: as the first backbone decided, or by deciding."""
        if self.engine is not None:
            return self.engine
        inputs = _gathered(picks if settled is None else picks[: settled.batch_size], blocks)
        engine = choose_engine(self._request(None), inputs)
        if settled is not None and (engine.name, engine.batch_size) != (settled.engine, settled.batch_size):
            engine = choose_engine(self._request(settled), inputs)
        self.engine = engine
        return engine

    def _request(self, settled: Settled | None) -> EngineRequest:
        request = EngineRequest(
            self.recipe.engine,
            self.job.spec.precision,
            self.recipe.fixed_batch_size,
            lambda: self.recipe.backbone_.folded,
            self.job.directory,
            self.job.n_samples,
        )
        if settled is None:
            return request
        return replace(request, engine=settled.engine, batch_size=settled.batch_size)


def _gathered(picks: Sequence[Pick], blocks: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([blocks[block][place] for block, place in picks])


def _take_in(engine: Engine, features: np.ndarray, rows: slice, pending: Any) -> None:
    features[rows] = engine.finish(pending)[: rows.stop - rows.start]
