"""Rows computed by actors that hold the backbone, each with a group of rows or two."""

from __future__ import annotations

import warnings
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from featx.distributed.cluster import fetched
from featx.distributed.decoding import Placed
from featx.distributed.workers import Pick, Settled, Told
from featx.errors import FeatxWarning
from featx.features.computing import COMMIT_AFTER_S, Computing, Row
from featx.features.execution import Work

# Groups of rows sent to each actor: one at work, one on its way.
_GROUPS_AN_ACTOR = 2
# With those that are computed and have to wait for one before them.
_MOST_GROUPS_AN_ACTOR = 4
# Of the first groups, before anyone knows how fast they are computed.
_FIRST_BATCHES = 4
_PATIENCE_S = 30.0


@dataclass
class _Group:
    """Rows that an actor computes: whole batches, to become one shard."""

    rows: list[tuple[Row, Placed]]
    actor: int
    told: Any
    features: Any
    is_done: bool = False


class RayComputing(Computing):
    """Actors that hold the backbone, each with a group of rows or two.

    Groups are committed in order: where a row turns out not to be finite, what came behind it is computed
    again in other batches, as on one machine, and none of it must be in the store by then.

    Parameters
    ----------
    ray : module
    work : Work
    actors : list of actor handles
        Of `featx.distributed.workers.Backbone`.
    """

    def __init__(self, ray: Any, work: Work, actors: list[Any]) -> None:
        super().__init__(work.shards)
        self._ray = ray
        self._actors = actors
        self._n_first = work.request.n_first
        self._settled: Settled | None = None
        self._waiting: list[tuple[Row, Placed]] = []
        self._under_way: deque[_Group] = deque()
        # What is being committed, by the reference of its shard's name.
        self._committing: dict[Any, list[Row]] = {}
        self._rows_a_second = 0.0

    def __exit__(self, *error: object) -> None:
        for actor in self._actors:
            self._ray.kill(actor)

    def add(self, rows: Sequence[tuple[Row, Placed]]) -> None:
        """Take more rows, and send groups of whole batches."""
        self._waiting += rows
        if self._settled is None and len(self._waiting) >= self._n_first:
            self._start()
        while self._settled is not None and len(self._waiting) >= self._n_rows_of_group(self._settled):
            self._send(self._settled)

    def finish(self) -> None:
        """Send what is left, and wait for everything."""
        while self._waiting or self._under_way or self._committing:
            if self._waiting and self._settled is None:
                self._start()
            elif self._waiting and self._settled is not None:
                self._send(self._settled)
            else:
                self._wait()

    def keep(self) -> None:
        """Commit what is computed, and what is in time to be."""
        ended = perf_counter() + COMMIT_AFTER_S
        while (self._under_way or self._committing) and (left_s := ended - perf_counter()) > 0:
            self._wait(left_s)

    def described(self) -> dict[str, Any]:
        """What a report says of the engine; nothing where no row was computed."""
        return {} if self._settled is None else {**self._settled.described, "n_actors": len(self._actors)}

    def _n_rows_of_group(self, settled: Settled) -> int:
        """Whole batches: a shard's worth, or what is computed by the time that it has to be committed."""
        n_batches = self.shards.rows_per_shard // settled.batch_size
        n_in_time = int(self._rows_a_second * COMMIT_AFTER_S) // settled.batch_size
        return settled.batch_size * max(1, min(n_batches, n_in_time or _FIRST_BATCHES))

    def _start(self) -> None:
        """Have the first actor choose the engine, by the first rows."""
        started = perf_counter()
        picks, blocks = _picked([placed for _, placed in self._waiting[: self._n_first]])
        start = self._actors[0].start.options(concurrency_group="compute")
        told = start.remote(picks, *blocks)
        if not self._ray.wait([told], timeout=_PATIENCE_S)[0]:
            self._tell_of_waiting()
        self._settled = fetched(self._ray, told)
        self.stages["start"] += perf_counter() - started

    def _tell_of_waiting(self) -> None:
        free = self._ray.available_resources()
        has = ", ".join(f"{free.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        message = f"the backbone has not started after {_PATIENCE_S:g} s; free in the cluster: {has}; waiting"
        warnings.warn(message, FeatxWarning, stacklevel=2)

    def _send(self, settled: Settled) -> None:
        """Give the next rows to the actor with the least to do, or wait until one has."""
        loads = Counter(dict.fromkeys(range(len(self._actors)), 0))
        loads.update(group.actor for group in self._under_way if not group.is_done)
        actor, n_groups = min(loads.items(), key=lambda item: (item[1], item[0]))
        if n_groups >= _GROUPS_AN_ACTOR or len(self._under_way) >= _MOST_GROUPS_AN_ACTOR * len(self._actors):
            self._wait()
            return
        n_rows = self._n_rows_of_group(settled)
        rows, self._waiting = self._waiting[:n_rows], self._waiting[n_rows:]
        picks, blocks = _picked([placed for _, placed in rows])
        compute = self._actors[actor].compute.options(num_returns=2, concurrency_group="compute")
        self._under_way.append(_Group(rows, actor, *compute.remote(settled, picks, *blocks)))

    def _wait(self, timeout_s: float | None = None) -> None:
        """Wait until something is done; take in what can be, in order."""
        started = perf_counter()
        working = {group.told: group for group in self._under_way if not group.is_done}
        done, _ = self._ray.wait([*working, *self._committing], timeout=timeout_s)
        for each in done:
            if each in working:
                working[each].is_done = True
            else:
                self._note(each)
        while self._under_way and self._under_way[0].is_done:
            self._take_in(self._under_way.popleft())
        self.stages["forward"] += perf_counter() - started

    def _take_in(self, group: _Group) -> None:
        """Have a group committed, as far as no row in front of it was refused."""
        told: Told = fetched(self._ray, group.told)
        self._rows_a_second = len(group.rows) / told.seconds
        n_good = len(group.rows)
        if not told.is_finite.all():
            n_good = self._take_back(group, told.is_finite)
        if n_good:
            rows = [row for row, _ in group.rows[:n_good]]
            commit = self._actors[group.actor].commit.options(concurrency_group="commit")
            addresses = [row.address for row in rows]
            self._committing[commit.remote(addresses, group.features, told.computed_with)] = rows

    def _take_back(self, group: _Group, is_finite: np.ndarray) -> int:
        """Refuse a batch's rows that are not finite; the others, and all behind it, go first in the next."""
        size = self._n_rows_of_batch
        n_good = int(np.argmin(is_finite)) // size * size
        batch = range(n_good, min(n_good + size, len(group.rows)))
        refused = [place for place in batch if not is_finite[place]]
        again = [group.rows[place] for place in batch if is_finite[place]] + group.rows[batch.stop :]
        for later in self._under_way:
            again += later.rows
        self._under_way.clear()
        self._waiting = again + self._waiting
        for place in refused:
            self.refuse(group.rows[place][0].sample)
        return n_good

    @property
    def _n_rows_of_batch(self) -> int:
        return self._n_first if self._settled is None else self._settled.batch_size

    def _note(self, committed: Any) -> None:
        """Take in a shard that an actor committed."""
        rows = self._committing.pop(committed)
        name, seconds = fetched(self._ray, committed)
        self.shards.add(name, [row.address for row in rows])
        self.note_committed(rows)
        self.stages["write"] += seconds


def _picked(placed: Sequence[Placed]) -> tuple[list[Pick], list[Any]]:
    """The blocks that some rows lie in, each once, and where in those the rows are."""
    numbers: dict[Any, int] = {}
    picks = [(numbers.setdefault(each.block, len(numbers)), each.place) for each in placed]
    return picks, list(numbers)
