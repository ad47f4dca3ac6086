"""Where rows become features that are in the store: in this process, or wherever a subclass has it done.

A computing owns four queues, each drained into the next when it is full: rows to compute, a batch of them,
batches under way on the device, computed rows. Rows leave it as shards of a fixed size, so that two runs
over the same images write the same shards; a slow backbone's rows are committed every ten seconds all the
same.

Only whole batches are committed, whatever ends a run. The last bits of a row can depend on its place in
its batch, and this way a resumed run puts every image where an uninterrupted one would have put it. A row
whose features are not finite keeps no place: what shared its batch, and what was under way behind it, is
computed again without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple, Self

import numpy as np

from featx.features.batching import batches_of
from featx.features.engines import Engine
from featx.features.report import STAGES
from featx.features.shards import ShardSet

#: Rows that are computed wait no longer than this for a shard to be full.
COMMIT_AFTER_S = 10.0


class Row(NamedTuple):
    """A row to be computed: its address, and the sample that it was first met in."""

    address: str
    sample: int


class Computing(ABC):
    """Takes rows in the source's order, and puts their features into the store.

    Attributes
    ----------
    shards : ShardSet
        Where rows go.
    refuse : callable
        ``refuse(sample)`` is told of each row whose features are not finite; it may raise.
    embedded : set of int
        Samples with committed rows.
    n_rows : int
        Rows that were committed.
    stages : dict of str to float
        Seconds spent in each of `STAGES`.
    """

    def __init__(self, shards: ShardSet) -> None:
        self.shards = shards
        self.refuse: Callable[[int], None] = lambda sample: None  # noqa: ARG005
        self.embedded: set[int] = set()
        self.n_rows = 0
        self.stages = dict.fromkeys(STAGES, 0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    @abstractmethod
    def add(self, rows: Sequence[tuple[Row, Any]]) -> None:
        """Take more rows, each with what the network is given, and compute as far as there are enough."""

    @abstractmethod
    def finish(self) -> None:
        """Compute what is left; on return every row that was not refused is committed."""

    @abstractmethod
    def keep(self) -> None:
        """Commit what is computed: the run is ending early."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What a report says of the engine; nothing where no row was computed."""

    def note_committed(self, rows: Sequence[Row]) -> None:
        """Count rows that are in the store for good."""
        self.embedded.update(row.sample for row in rows)
        self.n_rows += len(rows)


class LocalComputing(Computing):
    """An engine in this process.

    Parameters
    ----------
    shards : ShardSet
    start_engine : callable
        ``start_engine(inputs)`` gives the engine. Called with the first rows to compute, once there are as
        many as ``n_first``.
    n_first : int
    """

    def __init__(self, shards: ShardSet, start_engine: Callable[[np.ndarray], Engine], n_first: int) -> None:
        super().__init__(shards)
        self.engine: Engine | None = None
        self._start_engine = start_engine
        self._n_first = n_first
        self._batch: list[tuple[Row, np.ndarray]] = []
        self._under_way: deque[tuple[list[Row], np.ndarray, Any]] = deque()
        # Rows and features together, so that an interrupt cannot come between them.
        self._computed: list[tuple[list[Row], np.ndarray]] = []
        self._committed_at = perf_counter()

    def add(self, rows: Sequence[tuple[Row, np.ndarray]]) -> None:
        """Take more rows, each with what the network is given, and compute whole batches."""
        self._batch += rows
        while len(self._batch) >= self._n_rows_of_batch:
            self._forward()

    def finish(self) -> None:
        """Compute what is left, in a last batch that is padded, and commit."""
        while self._batch or self._under_way:
            self._forward(is_last=True)
            while self._under_way and self.engine is not None:
                self._finish(self.engine)
        self.keep()

    def keep(self) -> None:
        """Write all computed rows as one shard."""
        rows = [row for rows, _ in self._computed for row in rows]
        if not rows or self.engine is None:
            return
        started = perf_counter()
        features = np.concatenate([features for _, features in self._computed])
        self.shards.commit([row.address for row in rows], features, self.engine.computed_with)
        self.note_committed(rows)
        self._computed = []
        self._committed_at = perf_counter()
        self.stages["write"] += self._committed_at - started

    def described(self) -> dict[str, Any]:
        """What a report says of the engine; nothing where no row was computed."""
        return {} if self.engine is None else self.engine.described()

    @property
    def _n_rows_of_batch(self) -> int:
        return self._n_first if self.engine is None else self.engine.batch_size

    def _forward(self, *, is_last: bool = False) -> None:
        """Send the batch, padded to its fixed size, on its way; take in the oldest under way."""
        if not self._batch:
            return
        n_rows = self._n_rows_of_batch
        # A buffer of its own for each batch: a backend may read it after `start` came back.
        inputs = np.stack([each for _, each in self._batch[:n_rows]])
        started = perf_counter()
        if self.engine is None:
            self.engine = self._start_engine(inputs)
            self.stages["start"] += perf_counter() - started
            if len(self._batch) < self.engine.batch_size and not is_last:
                return
            started = perf_counter()
        (batch,) = batches_of(inputs, self.engine.batch_size)
        rows = [row for row, _ in self._batch[:n_rows]]
        self._batch = self._batch[n_rows:]
        self._under_way.append((rows, inputs, self.engine.start(batch)))
        self.stages["forward"] += perf_counter() - started
        while len(self._under_way) >= self.engine.n_in_flight:
            self._finish(self.engine)

    def _finish(self, engine: Engine) -> None:
        """Take in the oldest batch under way, and commit if a shard is full or it is time."""
        started = perf_counter()
        rows, inputs, pending = self._under_way.popleft()
        features = engine.finish(pending)[: len(rows)]
        self.stages["forward"] += perf_counter() - started
        is_finite = np.isfinite(features).all(axis=1)
        if not is_finite.all():
            self._take_back(rows, inputs, is_finite)
            return
        self._computed.append((rows, features))
        is_late = perf_counter() - self._committed_at > COMMIT_AFTER_S
        n_rows = sum(len(rows) for rows, _ in self._computed)
        if is_late or n_rows + engine.batch_size > self.shards.rows_per_shard:
            self.keep()

    def _take_back(self, rows: list[Row], inputs: np.ndarray, is_finite: np.ndarray) -> None:
        """Refuse a batch's rows that are not finite; the others, and all under way, go first in the next."""
        for place in np.flatnonzero(~is_finite):
            self.refuse(rows[place].sample)
        again = [(rows[place], inputs[place]) for place in np.flatnonzero(is_finite)]
        for later_rows, later_inputs, _ in self._under_way:
            again += zip(later_rows, later_inputs, strict=True)
        self._under_way.clear()
        self._batch = again + self._batch
