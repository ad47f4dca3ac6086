"""Extraction on a Ray cluster: tasks decode, actors hold the backbone and commit; this process plans.

The run is the same as on one machine (`featx.features.run`): it sees what became of every sample, in the
source's order, and makes the same batches of the same rows, which is why the features are the same to the
bit. Pixels never come here: a task gives what became of its samples and the pixels as two objects, and an
actor is sent references to the second. Actors commit their shards to the store themselves and tell which.

Rejected: Ray Data, whose batches are made of what arrives. The last bits of a row can depend on its place in
its batch (1e-7 where a network averages over an image), so that no two runs would give the same file; and
blocks can be handed on by reference only through its internals.

How much is under way is bounded at both ends (tasks by the processors of the cluster, groups of rows by its
actors), so that neither side runs away from the other. A process that dies is Ray's to restart; decoding
that kills its process is done again in child processes, in which it costs the one image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from featx.checks import check_positive, explain
from featx.distributed.cluster import LOCAL, check_address, connected
from featx.distributed.computing import RayComputing
from featx.distributed.decoding import Decoding
from featx.distributed.workers import Backbone, Job
from featx.errors import ClusterError
from featx.features.backbones import is_registered
from featx.features.engines import available_cpus
from featx.features.execution import Execution, Work
from featx.features.pipeline import Sample
from featx.files import local_cache_root

# A process that dies is started again, and what it had is given to it again; but not for ever, where it is
# these rows that it dies of.
_MAX_RETRIES = 3


class RayCluster(Execution):
    """Where an extraction is done: a Ray cluster.

    Parameters
    ----------
    address : str, default="local"
        As for `featx.distributed.cluster.connected`: "local", "auto" or ``HOST:PORT``.
    n_actors : int, optional
        Processes that hold the backbone. By default one for each GPU of the cluster, or where there is none,
        one for each machine. More than fit wait until Ray has started more machines.
    cpus_an_actor : int, optional
        Processors that each of those is counted for; by default 1 beside a GPU, half of a machine's
        otherwise, and in any case so few that one is left. What is left decodes.
    gpus_an_actor : int, optional
        By default 1 where the cluster has any, and 0 otherwise; say it where GPUs come as they are asked for.

    Examples
    --------
    >>> RayCluster("10.0.0.1:6379", n_actors=8).n_actors
    8
    """

    def __init__(
        self,
        address: str = LOCAL,
        *,
        n_actors: int | None = None,
        cpus_an_actor: int | None = None,
        gpus_an_actor: int | None = None,
    ) -> None:
        check_address(address)
        for name, value in (("n_actors", n_actors), ("cpus_an_actor", cpus_an_actor)):
            if value is not None:
                check_positive(name, value, ClusterError)
        if gpus_an_actor:
            check_positive("gpus_an_actor", gpus_an_actor, ClusterError)
        self.address = address
        self.n_actors = n_actors
        self.cpus_an_actor = cpus_an_actor
        self.gpus_an_actor = gpus_an_actor
        self._open: list[ExitStack] = []
        self._ray: Any = None

    def __enter__(self) -> Self:
        stack = ExitStack()
        # One started here counts the actors' processors beside those that decode: all share the same.
        n_cpus = available_cpus() + (self.n_actors or 1) * (self.cpus_an_actor or 1)
        self._ray = stack.enter_context(connected(self.address, n_cpus=n_cpus))
        self._open.append(stack)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.pop().close()

    def samples(self, work: Work, is_known: Callable[[str], bool]) -> Generator[Sample]:  # noqa: ARG002 - a machine knows what was there at the start
        """Every sample, in the source's order, decoded in tasks."""
        return Decoding(self._ray, work, self._job(work)).samples()

    def computing(self, work: Work) -> RayComputing:
        """Actors that hold the backbone."""
        return RayComputing(self._ray, work, self._actors(self._job(work)))

    def _job(self, work: Work) -> Job:
        recipe = work.recipe
        parameters: dict[str, Any] = {**recipe.parameters(), "store": None}
        if is_registered(recipe.backbone):
            # Registered here, it may not be there.
            parameters["backbone"] = recipe.backbone_.spec
        elif isinstance(recipe.backbone, str | os.PathLike):
            parameters["backbone"] = os.path.abspath(recipe.backbone)  # noqa: PTH100 - it may be no path at all
        directory = work.shards.directory
        if isinstance(directory, Path):
            # Whoever works elsewhere finds nothing from where this process stands.
            directory = directory.absolute()
        # Another backend gives other bits, and weights are converted once for all who share the folder.
        environment = {"FEATX_CACHE": os.fspath(local_cache_root().absolute())}
        if "KERAS_BACKEND" in os.environ:
            environment["KERAS_BACKEND"] = os.environ["KERAS_BACKEND"]
        n_samples = len(work.source)
        return Job(parameters, recipe.spec_, recipe.preparation, directory, n_samples, environment)

    def _actors(self, job: Job) -> list[Any]:
        ray = self._ray
        resources = ray.cluster_resources()
        n_gpus, n_cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
        n_machines = max(1, sum(node["Alive"] for node in ray.nodes()))
        n_actors = self.n_actors or n_gpus or n_machines
        a_machine = 1 if n_gpus or self.address == LOCAL else max(1, n_cpus // n_machines // 2)
        gpus = (1 if n_gpus else 0) if self.gpus_an_actor is None else self.gpus_an_actor
        remote = ray.remote(
            num_cpus=cpus_of_actor(self.cpus_an_actor, a_machine, n_actors, n_cpus),
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=_MAX_RETRIES,
            # A shard is committed while the next is computed.
            concurrency_groups={"compute": 1, "commit": 1},
        )(Backbone)
        return [remote.remote(job) for _ in range(n_actors)]


def cpus_of_actor(wanted: int | None, at_best: int, n_actors: int, n_cpus: int) -> float:
    """Processors that each actor is counted for, so that one is left to decode and none waits for ever.

    Parameters
    ----------
    wanted : int or None
        As the user has it.
    at_best : int
        Without the user's word, where there is room.
    n_actors, n_cpus : int

    Raises
    ------
    ClusterError
        When what is wanted leaves none.

    Examples
    --------
    >>> cpus_of_actor(None, 8, n_actors=2, n_cpus=32), cpus_of_actor(None, 8, n_actors=4, n_cpus=16)
    (8, 3)
    >>> cpus_of_actor(None, 1, n_actors=8, n_cpus=5)
    0.5
    """
    if wanted is None:
        share = (n_cpus - 1) / n_actors
        # Ray counts whole processors, or parts of one.
        return min(at_best, int(share)) if share >= 1 else max(0.0, share)
    if n_actors * wanted >= n_cpus:
        received = f"{n_actors} actors of {wanted} processors on a cluster of {n_cpus}"
        remedy = "pass fewer actors, or a smaller cpus_an_actor"
        raise ClusterError(explain(received, "a processor left to decode", remedy))
    return wanted
