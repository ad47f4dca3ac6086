"""A head on a cluster: blocks of features go out, their answers come back in order.

The features come along with each block, because they may lie where no other machine reads. Ray Data's sources
hold all their blocks at once, and cut them anew, which parts the views of an image: so each block is one task
(`ray.remote`), a few for each processor are under way, and the next one is read when the oldest is back. Ray
repeats the task of a machine that is lost, on the same block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from sklearn.base import BaseEstimator

from featx.answering import Block, BlockAnswers, answer
from featx.checks import explain
from featx.distributed.cluster import LOCAL, connected
from featx.errors import ClusterError

# So many that a processor finds its next block there when it is done with one.
_BLOCKS_PER_CPU = 2


def answers_on_ray(
    head: BaseEstimator, blocks: Iterable[Block], *, address: str = LOCAL, n_cpus: int | None = None
) -> Iterator[BlockAnswers]:
    """A head's answers on blocks of features, computed on a Ray cluster.

    Parameters
    ----------
    head : estimator
        Fitted. Each machine gets it once.
    blocks : iterable of Block
        Read as they are needed.
    address : str, default="local"
    n_cpus : int, optional
        As `connected` takes them; a process that is connected stays with its cluster.

    Yields
    ------
    BlockAnswers
        One a block, in order, as `featx.answering.answer` gives it here. A head that computes by BLAS in
        several threads may differ in the last bit: there, it has one.

    Raises
    ------
    ClusterError
        When no cluster answers, or a block is lost with its machine again and again.
    Exception
        What the head raises, whatever block it is on: no block is left out.
    """
    with connected(address, n_cpus=n_cpus) as ray:
        task, held = ray.remote(num_cpus=1)(answer), ray.put(head)
        n_under_way = _BLOCKS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
        under_way: deque[Any] = deque()
        try:
            for block in blocks:
                under_way.append(task.remote(held, block))
                if len(under_way) >= n_under_way:
                    yield _result(ray, under_way.popleft())
            while under_way:
                yield _result(ray, under_way.popleft())
        finally:
            for each in under_way:
                ray.cancel(each)


def _result(ray: Any, task: Any) -> BlockAnswers:
    try:
        found: BlockAnswers = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        # The head's own, as it would be raised here.
        raise error.cause from None
    except ray.exceptions.RayError as error:
        received = f"a block whose answers were lost with the machine ({str(error).splitlines()[0][:200]})"
        raise ClusterError(
            explain(received, "a cluster that stays", "look at its logs; run it again")
        ) from error
    return found
