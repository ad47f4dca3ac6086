"""Rows computed by actors that hold the backbone, each with a group of rows or two."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from featx.distributed.cluster import fetched
from featx.distributed.decoding import Placed
from featx.distributed.workers import Computed, Pick, Settled
from featx.errors import FeatxWarning
from featx.features.computing import COMMIT_AFTER_S, Computing, Row
from featx.features.execution import Work

# Groups of rows sent to each actor: one at work, one on its way.
_GROUPS_AN_ACTOR = 2
# Of the first groups, before anyone knows how fast they are computed.
_FIRST_BATCHES = 4
_PATIENCE_S = 30.0


class RayComputing(Computing):
    """Actors that hold the backbone, each with a group of rows or two.

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
        # By the reference of what will be told: the rows, and which actor has them.
        self._under_way: dict[Any, tuple[list[tuple[Row, Placed]], int]] = {}
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
            self._send(self._n_rows_of_group(self._settled))

    def finish(self) -> None:
        """Send what is left, and wait for everything."""
        while self._waiting or self._under_way:
            if self._settled is None:
                self._start()
            elif self._waiting:
                self._send(self._n_rows_of_group(self._settled))
            else:
                self._receive()

    def keep(self) -> None:
        """Let the actors commit what they have: they do so by the clock."""
        ended = perf_counter() + COMMIT_AFTER_S
        while self._under_way and perf_counter() < ended:
            done, _ = self._ray.wait(list(self._under_way), timeout=max(0.0, ended - perf_counter()))
            for each in done:
                rows, _ = self._under_way.pop(each)
                self._take_in(fetched(self._ray, each), rows)

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
        told = self._actors[0].start.remote(picks, *blocks)
        if not self._ray.wait([told], timeout=_PATIENCE_S)[0]:
            self._tell_of_waiting()
        self._settled = fetched(self._ray, told)
        self.stages["start"] += perf_counter() - started

    def _tell_of_waiting(self) -> None:
        free = self._ray.available_resources()
        has = ", ".join(f"{free.get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        message = f"the backbone has not started after {_PATIENCE_S:g} s; free in the cluster: {has}; waiting"
        warnings.warn(message, FeatxWarning, stacklevel=2)

    def _send(self, n_rows: int) -> None:
        """Give the next rows to the actor with the least to do."""
        started = perf_counter()
        loads = Counter(dict.fromkeys(range(len(self._actors)), 0))
        loads.update(number for _, number in self._under_way.values())
        if min(loads.values()) >= _GROUPS_AN_ACTOR:
            self._receive()
            self.stages["forward"] += perf_counter() - started
            return
        number = min(loads, key=lambda each: (loads[each], each))
        rows, self._waiting = self._waiting[:n_rows], self._waiting[n_rows:]
        picks, blocks = _picked([placed for _, placed in rows])
        addresses = [row.address for row, _ in rows]
        told = self._actors[number].compute.remote(self._settled, addresses, picks, *blocks)
        self._under_way[told] = (rows, number)

    def _receive(self) -> None:
        """Take in the next group that is done."""
        (done,), _ = self._ray.wait(list(self._under_way), num_returns=1)
        rows, _ = self._under_way.pop(done)
        self._take_in(fetched(self._ray, done), rows)

    def _take_in(self, computed: Computed, rows: list[tuple[Row, Placed]]) -> None:
        row_of = {row.address: row for row, _ in rows}
        for name, addresses in computed.shards:
            self.shards.add(name, addresses)
            self.note_committed([row_of[address] for address in addresses])
        if computed.seconds > 0:
            self._rows_a_second = len(rows) / computed.seconds
        self.stages["write"] += computed.stages["write"]
        for place in computed.refused:
            self.refuse(rows[place][0].sample)


def _picked(placed: Sequence[Placed]) -> tuple[list[Pick], list[Any]]:
    """The blocks that some rows lie in, each once, and where in those the rows are."""
    numbers: dict[Any, int] = {}
    picks = [(numbers.setdefault(each.block, len(numbers)), each.place) for each in placed]
    return picks, list(numbers)
