"""One run of an extraction: takes samples in the source's order, computes the rows that are missing.

A run owns four queues, each drained into the next when it is full: prepared rows, a batch of them,
batches under way on the device, computed rows. Rows leave it as shards of a fixed size, so that two runs
over the same images write the same shards; a slow backbone's rows are committed every ten seconds all the
same. Nothing of the source is kept but one digest a sample.

Only whole batches are committed, whatever ends a run. The last bits of a row can depend on its place in
its batch, and this way a resumed run puts every image where an uninterrupted one would have put it. A row
whose features are not finite keeps no place: what shared its batch, and what was under way behind it, is
computed again without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError, SourceError, StoreError, printable
from featx.features.batching import batches_of
from featx.features.engines import Engine
from featx.features.failures import Failure, failure_of
from featx.features.pipeline import Sample
from featx.features.report import STAGES, ExtractionReport, Oddity
from featx.features.shards import ShardSet
from featx.images.base import UNLABELLED, ImageSource

_COMMIT_AFTER_S = 10.0


class _Row(NamedTuple):
    """A row to be computed: its address, and the sample that it was first met in."""

    address: str
    sample: int


@dataclass
class ExtractionRun:
    """The state of a run.

    Parameters
    ----------
    source : ImageSource
    shards : ShardSet
        Rows that are there, and where new ones go.
    start_engine : callable
        ``start_engine(inputs)`` gives the engine. Called with the first rows to compute, once there are as
        many as ``n_first``.
    n_first : int
    on_error : {"raise", "skip"}
    max_failed : int, optional
        Failures that the run bears with ``on_error="skip"``.

    Attributes
    ----------
    digests : list of str or None
        One a sample; None where the content could not be read.
    failures : dict of int to Failure
        By the sample's index.
    """

    source: ImageSource
    shards: ShardSet
    start_engine: Callable[[np.ndarray], Engine]
    n_first: int
    on_error: str
    max_failed: int | None = None
    digests: list[str | None] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def __post_init__(self) -> None:
        self.engine: Engine | None = None
        # The first sample of each row that is there, or will be when this run ends.
        self._first: dict[str, int] = {}
        self._embedded: set[str] = set()
        self._n_rows = 0
        self._odd: dict[str, Oddity] = {}
        self._unusable: dict[str, tuple[str, str]] = {}
        self._batch: list[tuple[_Row, np.ndarray]] = []
        self._under_way: deque[tuple[list[_Row], np.ndarray, Any]] = deque()
        # Rows and features together, so that an interrupt cannot come between them.
        self._computed: list[tuple[list[_Row], np.ndarray]] = []
        self._committed_at = perf_counter()

    def is_known(self, address: str) -> bool:
        """Whether a row needs no preparing, because it is there or is about to be."""
        return address in self.shards or address in self._first

    def execute(self, samples: Iterator[Sample], advance: Callable[[int], None]) -> None:
        """Take every sample; on return each has committed rows or a failure.

        Parameters
        ----------
        samples : iterator of Sample
            In the source's order.
        advance : callable
            Told of each sample.

        Raises
        ------
        SourceError
            With ``on_error="raise"`` at the first sample that fails, and with "skip" at the first beyond
            ``max_failed``.
        StoreError
            When rows cannot be written.
        """
        try:
            for sample in self._timed(samples):
                self._take(sample)
                advance(1)
            while self._batch or self._under_way:
                self._forward(is_last=True)
                while self._under_way and self.engine is not None:
                    self._finish(self.engine)
        except StoreError:
            raise
        except BaseException:
            # A bad image or Ctrl-C must not cost the rows before it.
            self._commit()
            raise
        self._commit()
        self._spread_failures()

    def report(self, seconds: float, n_views: int = 1) -> ExtractionReport:
        """What the run did, once `execute` is through."""
        n_samples, n_failed = len(self.digests), len(self.failures)
        n_computed = len(self._embedded - set(self._unusable))
        return ExtractionReport(
            key=self.shards.spec.key,
            n_samples=n_samples,
            n_features=self.shards.spec.n_features,
            n_computed=n_computed,
            n_cached=n_samples - n_failed - n_computed,
            n_failed=n_failed,
            failed=tuple(failure for _, failure in sorted(self.failures.items())),
            seconds=seconds,
            images_per_second=n_samples / seconds,
            stages={stage: round(spent, 3) for stage, spent in self.stages.items()},
            n_views=n_views,
            n_rows_computed=self._n_rows,
            engine={} if self.engine is None else self.engine.described(),
            odd=tuple(sorted(self._odd.values(), key=lambda oddity: (-oddity.n_samples, oddity.what))),
        )

    def _timed(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        while True:
            started = perf_counter()
            sample = next(samples, None)
            self.stages["wait"] += perf_counter() - started
            if sample is None:
                return
            self.stages["read"] += sample.read_s
            self.stages["decode"] += sample.decode_s
            yield sample

    def _take(self, sample: Sample) -> None:
        index, digest = len(self.digests), sample.image_sha256
        self.digests.append(digest)
        for what in sample.notes:
            self._odd.setdefault(what, Oddity(what)).add(sample.sample_id)
        if sample.error is not None or digest is None:
            self._fail(index, sample.stage, sample.error or DecodeError(sample.sample_id, "no content"))
            return
        new = [address for address in sample.addresses if not self.is_known(address)]
        firsts = [self._first.setdefault(address, index) for address in sample.addresses]
        self._check_label(firsts[0], index, digest)
        for address in new:
            self._batch.append((_Row(address, index), sample.inputs[address]))
        while len(self._batch) >= self._n_rows_of_batch:
            self._forward()

    def _fail(self, index: int, stage: str, error: DecodeError) -> None:
        if self.on_error == "raise":
            raise error
        self._note(index, stage, error.reason)

    def _check_label(self, first: int, index: int, digest: str) -> None:
        """One image under two labels is a contradiction that no head can learn."""
        labels = self.source.labels[[first, index]]
        if labels[0] == labels[1] or UNLABELLED in labels:
            return
        ids = [printable(self.source.sample_ids[sample]) for sample in (first, index)]
        classes = [self.source.class_names[label] for label in labels]
        if self.on_error == "raise":
            received = f"the same image as {ids[0]} ({classes[0]}) and {ids[1]} ({classes[1]})"
            raise SourceError(explain(received, "one label an image", "remove one of them"))
        reason = (
            f"the same image stands under two labels: {ids[0]} ({classes[0]}) and {ids[1]} ({classes[1]})"
        )
        self._give_up_on(digest, "label", reason)

    @property
    def _n_rows_of_batch(self) -> int:
        return self.n_first if self.engine is None else self.engine.batch_size

    def _forward(self, *, is_last: bool = False) -> None:
        """Send the batch, padded to its fixed size, on its way; take in the oldest under way."""
        if not self._batch:
            return
        n_rows = self._n_rows_of_batch
        # A buffer of its own for each batch: a backend may read it after `start` came back.
        inputs = np.stack([each for _, each in self._batch[:n_rows]])
        started = perf_counter()
        if self.engine is None:
            self.engine = self.start_engine(inputs)
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
        is_late = perf_counter() - self._committed_at > _COMMIT_AFTER_S
        n_rows = sum(len(rows) for rows, _ in self._computed)
        if is_late or n_rows + engine.batch_size > self.shards.rows_per_shard:
            self._commit()

    def _take_back(self, rows: list[_Row], inputs: np.ndarray, is_finite: np.ndarray) -> None:
        """Refuse a batch's rows that are not finite; the others, and all under way, go first in the next."""
        for place in np.flatnonzero(~is_finite):
            self._refuse_nonfinite(rows[place].sample)
        again = [(rows[place], inputs[place]) for place in np.flatnonzero(is_finite)]
        for later_rows, later_inputs, _ in self._under_way:
            again += zip(later_rows, later_inputs, strict=True)
        self._under_way.clear()
        self._batch = again + self._batch

    def _refuse_nonfinite(self, index: int) -> None:
        reason = "its features are not finite: the backbone's weights or the sample are at fault"
        if self.shards.spec.precision == "float16":
            reason += ", or float16 is too narrow for them (bfloat16 is not)"
        if self.on_error == "raise":
            raise DecodeError(self.source.sample_ids[index], reason)
        self._give_up_on(str(self.digests[index]), "forward", reason)

    def _give_up_on(self, digest: str, stage: str, reason: str) -> None:
        """Note an image of which no sample can be used; how many those are is known at the end."""
        self._unusable.setdefault(digest, (stage, reason))
        self._check_bearable(len(self.failures) + len(self._unusable), reason)

    def _commit(self) -> None:
        """Write all computed rows as one shard."""
        rows = [row for rows, _ in self._computed for row in rows]
        if not rows or self.engine is None:
            return
        started = perf_counter()
        features = np.concatenate([features for _, features in self._computed])
        self.shards.commit([row.address for row in rows], features, self.engine.computed_with)
        self._embedded.update(str(self.digests[row.sample]) for row in rows)
        self._n_rows += len(rows)
        self._computed = []
        self._committed_at = perf_counter()
        self.stages["write"] += self._committed_at - started

    def _spread_failures(self) -> None:
        """Fail every sample of an image that turned out to be unusable, wherever it stands."""
        for index, digest in enumerate(self.digests):
            if digest in self._unusable:
                self._note(index, *self._unusable[digest])

    def _note(self, index: int, stage: str, reason: str) -> None:
        self.failures[index] = failure_of(self.source, index, stage, reason)
        self._check_bearable(len(self.failures), f"{self.failures[index].sample_id}: {reason}")

    def _check_bearable(self, n_failed: int, last: str) -> None:
        if self.max_failed is not None and n_failed > self.max_failed:
            received = f"{n_failed:,} images of {len(self.source):,} that failed, the last for: {last}"
            remedy = "mend or remove them, or raise max_failed; what is computed is kept"
            raise SourceError(explain(received, f"at most {self.max_failed:,} (max_failed)", remedy))
