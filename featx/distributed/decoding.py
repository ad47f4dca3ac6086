"""Samples decoded by tasks of a cluster, in order, with no more under way than it has use for."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from featx.distributed.cluster import deaths, died, fetched
from featx.distributed.workers import Job, decode_samples
from featx.features.execution import Work
from featx.features.pipeline import Sample
from featx.images.base import RawImage

# Samples a task: so many that what a task costs beside them is little, and one that dies loses few.
_SAMPLES_A_TASK = 32
# Tasks under way for each processor: one at work, one waiting.
_TASKS_A_CPU = 2
# Share of the object store that decoded samples may take before they are computed.
_SHARE_OF_OBJECTS = 0.3
_MAX_TRIES = 3


@dataclass(frozen=True)
class Placed:
    """What the network is given for a row, where it lies in the cluster.

    Parameters
    ----------
    block : ObjectRef
    place : int
    """

    block: Any
    place: int


@dataclass
class _Task:
    """Samples that are being decoded."""

    raw_images: list[RawImage]
    told: Any
    block: Any
    n_tries: int


class Decoding:
    """Tasks that decode, as many under way as the cluster has use for."""

    def __init__(self, ray: Any, work: Work, job: Job) -> None:
        self._ray = ray
        self._source = work.source
        self._isolate = work.isolate
        self._job = ray.put(job)
        self._known = ray.put(work.shards.known())
        self._block_bytes = math.prod(job.preparation.shape) * job.preparation.dtype.itemsize
        self._block_bytes *= _SAMPLES_A_TASK * work.recipe.spec_.n_views
        # A lost block is made again, from the same samples.
        self._remote = ray.remote(num_cpus=1, num_returns=2, max_retries=1)(decode_samples)

    def samples(self) -> Generator[Sample]:
        """Every sample in order."""
        tasks: deque[_Task] = deque()
        try:
            for start in range(0, len(self._source), _SAMPLES_A_TASK):
                tasks.append(self._begun(self._source.read(start, start + _SAMPLES_A_TASK)))
                if len(tasks) >= self._n_ahead():
                    yield from self._finished(tasks.popleft())
            while tasks:
                yield from self._finished(tasks.popleft())
        finally:
            # An error or Ctrl-C must not leave a shared cluster at work on what nobody will see.
            for task in tasks:
                self._ray.cancel(task.told)

    def _n_ahead(self) -> int:
        """Asked each time: a cluster may grow."""
        resources = self._ray.cluster_resources()
        n_fit = int(_SHARE_OF_OBJECTS * resources.get("object_store_memory", 0) // self._block_bytes)
        return max(2, min(_TASKS_A_CPU * int(resources.get("CPU", 1)), n_fit))

    def _begun(self, raw_images: list[RawImage], n_tries: int = 1) -> _Task:
        isolate = self._isolate or n_tries > 1
        told, block = self._remote.remote(raw_images, self._job, self._known, isolate)
        return _Task(raw_images, told, block, n_tries)

    def _finished(self, task: _Task) -> list[Sample]:
        """What became of a task's samples; one that killed its process is given to child processes."""
        gone = (*deaths(self._ray), self._ray.exceptions.ObjectLostError)
        while True:
            try:
                samples: list[Sample] = fetched(self._ray, task.told)
            except gone as error:
                if task.n_tries == _MAX_TRIES:
                    raise died("a process that decodes", error) from error
                task = self._begun(task.raw_images, task.n_tries + 1)
                continue
            for sample in samples:
                sample.inputs = {
                    address: Placed(task.block, place) for address, place in sample.inputs.items()
                }
            return samples
