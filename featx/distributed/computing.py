"""Rows computed by actors that hold the backbone, each with a group of rows or two."""

from __future__ import annotations

import math
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
# With those that are computed and wait for one before them, or are being committed.
_MOST_GROUPS_AN_ACTOR = 4
# Of the first groups, before anyone knows how fast they are computed.
_FIRST_BATCHES = 4
_PATIENCE_S = 30.0


@dataclass
class _Group:
    """Rows that an actor computes: whole batches, to become one shard."""

    rows: list[tuple[Row, Placed]]
    batch_size: int
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
        # Actors that have found room, and by the reference of their answer those that have not yet.
        self._at_work: list[int] = []
        self._coming = {actor.ready.remote(): number for number, actor in enumerate(actors)}
        self._told_at = perf_counter()

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
        # The run has its reason to end already.
        self.refuse = lambda sample: None  # noqa: ARG005
        ended = perf_counter() + COMMIT_AFTER_S
        while (self._under_way or self._committing) and (left_s := ended - perf_counter()) > 0:
            self._wait(left_s)

    def described(self) -> dict[str, Any]:
        """What a report says of the engine; nothing where no row was computed."""
        return {} if self._settled is None else {**self._settled.described, "n_actors": len(self._actors)}

    def _n_rows_of_group(self, settled: Settled) -> int:
        """Whole batches: a shard's worth, or what is computed by the time that it has to be committed."""
        n_batches = self.shards.rows_per_shard // settled.batch_size
        n_in_time = _FIRST_BATCHES
        if self._rows_a_second:
            n_in_time = int(self._rows_a_second * COMMIT_AFTER_S) // settled.batch_size
        return settled.batch_size * max(1, min(n_batches, n_in_time))

    def _start(self) -> None:
        """Have the first actor that found room choose the engine, by the first rows."""
        started = perf_counter()
        while not self._at_work:
            self._look_for_actors(timeout_s=1.0)
        picks, blocks = _picked([placed for _, placed in self._waiting[: self._n_first]])
        start = self._actors[self._at_work[0]].start.options(concurrency_group="compute")
        self._settled = fetched(self._ray, start.remote(picks, *blocks))
        self.stages["start"] += perf_counter() - started

    def _look_for_actors(self, timeout_s: float = 0.0) -> None:
        """Take in the actors that have found room; say so if some find none."""
        if not self._coming:
            return
        for each in self._ray.wait([*self._coming], num_returns=len(self._coming), timeout=timeout_s)[0]:
            fetched(self._ray, each)
            self._at_work.append(self._coming.pop(each))
        if self._coming and perf_counter() - self._told_at > _PATIENCE_S:
            self._told_at = math.inf
            free = self._ray.available_resources()
            has = " and ".join(f"{free.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
            told = f"{len(self._coming)} of {len(self._actors)} actors have found no room yet"
            message = f"{told}: {has} are free; Ray may be starting machines, or pass fewer actors"
            warnings.warn(message, FeatxWarning, stacklevel=2)

    def _send(self, settled: Settled) -> None:
        """Give the next rows to the actor with the least to do, or wait until one has."""
        self._look_for_actors()
        loads = Counter(dict.fromkeys(self._at_work, 0))
        loads.update(group.actor for group in self._under_way if not group.is_done)
        actor, n_groups = min(loads.items(), key=lambda item: (item[1], item[0]))
        n_held = len(self._under_way) + len(self._committing)
        if n_groups >= _GROUPS_AN_ACTOR or n_held >= _MOST_GROUPS_AN_ACTOR * len(self._at_work):
            self._wait()
            return
        n_rows = self._n_rows_of_group(settled)
        rows, self._waiting = self._waiting[:n_rows], self._waiting[n_rows:]
        picks, blocks = _picked([placed for _, placed in rows])
        compute = self._actors[actor].compute.options(num_returns=2, concurrency_group="compute")
        told, features = compute.remote(settled, picks, *blocks)
        self._under_way.append(_Group(rows, settled.batch_size, actor, told, features))

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
        try:
            told: Told = fetched(self._ray, group.told)
        except BaseException:
            # What came behind it must not be in the store before it is.
            self._under_way.clear()
            raise
        self._rows_a_second = len(group.rows) / told.seconds
        n_good = len(group.rows)
        refused: list[Row] = []
        if not told.is_finite.all():
            n_good, refused = self._take_back(group, told.is_finite)
        if n_good:
            rows = [row for row, _ in group.rows[:n_good]]
            commit = self._actors[group.actor].commit.options(concurrency_group="commit")
            addresses = [row.address for row in rows]
            self._committing[commit.remote(addresses, group.features, told.computed_with)] = rows
        for row in refused:
            self.refuse(row.sample)

    def _take_back(self, group: _Group, is_finite: np.ndarray) -> tuple[int, list[Row]]:
        """Find a batch's rows that are not finite; the others, and all behind it, go first in the next.

        Returns
        -------
        n_good : int
            Rows of the batches before it.
        refused : list of Row
        """
        size = group.batch_size
        n_good = int(np.argmin(is_finite)) // size * size
        batch = range(n_good, min(n_good + size, len(group.rows)))
        refused = [group.rows[place][0] for place in batch if not is_finite[place]]
        again = [group.rows[place] for place in batch if is_finite[place]] + group.rows[batch.stop :]
        for later in self._under_way:
            again += later.rows
        self._under_way.clear()
        self._waiting = again + self._waiting
        return n_good, refused

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
