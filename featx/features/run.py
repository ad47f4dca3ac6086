"""One run of an extraction: takes samples in the source's order, computes the rows that are missing.

A run owns three queues, each drained into the next when it is full: decoded samples, a batch of pixels,
computed rows. Rows leave it as shards of a fixed size, so that two runs over the same images write the
same shards; a slow backbone's rows are committed every ten seconds all the same. Nothing of the source
is kept but one digest a sample.

Only whole batches are committed, whatever ends a run. The last bits of a row can depend on its place in
its batch, and this way a resumed run puts every image where an uninterrupted one would have put it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError, SourceError, StoreError, printable
from featx.features.engines import KerasEngine
from featx.features.pipeline import Sample
from featx.features.shards import ShardSet
from featx.images.base import UNLABELLED, ImageSource

_COMMIT_AFTER_S = 10.0


@dataclass(frozen=True)
class Failure:
    """A sample that has no features.

    Attributes
    ----------
    sample_id : str
    stage : {"read", "decode", "forward", "label"}
        Where it failed.
    reason : str
    index : int
        Its place in the source.
    """

    sample_id: str
    stage: str
    reason: str
    index: int


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did. Every sample is computed, cached or failed: the three add up.

    Attributes
    ----------
    key : str
        Of the `ExtractionSpec`.
    n_samples : int
        Samples of the source.
    n_features : int
    n_computed : int
        Samples whose image was embedded in this run.
    n_cached : int
        Samples whose row was there: from an earlier run, or from the same image earlier in this one.
    n_failed : int
    failed : tuple of Failure
    seconds : float
    images_per_second : float
        Samples by seconds.
    stages : dict of str to float
        Seconds reading and decoding, summed over the threads, and seconds of the main thread in the
        forward pass, writing, and waiting for the threads.
    """

    key: str
    n_samples: int
    n_features: int
    n_computed: int
    n_cached: int
    n_failed: int
    failed: tuple[Failure, ...]
    seconds: float
    images_per_second: float
    stages: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass
class ExtractionRun:
    """The state of a run.

    Parameters
    ----------
    source : ImageSource
    shards : ShardSet
        Rows that are there, and where new ones go.
    load_engine : callable
        Called when the first row has to be computed.
    batch_size : int
    on_error : {"raise", "skip"}

    Attributes
    ----------
    digests : list of str or None
        One a sample; None where the content could not be read.
    failures : dict of int to Failure
        By the sample's index.
    """

    source: ImageSource
    shards: ShardSet
    load_engine: Callable[[], KerasEngine]
    batch_size: int
    on_error: str
    digests: list[str | None] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    stages: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("read", "decode", "forward", "write", "wait"), 0.0)
    )

    def __post_init__(self) -> None:
        self._engine: KerasEngine | None = None
        # The first sample of each image that has a row, or will have one when this run ends.
        self._first: dict[str, int] = {}
        self._embedded: set[str] = set()
        self._unusable: dict[str, tuple[str, str]] = {}
        self._images = np.zeros((self.batch_size, *self.shards.spec.input_size, 3), np.uint8)
        self._batch: list[str] = []
        # Digests and rows together, so that an interrupt cannot come between them.
        self._computed: list[tuple[list[str], np.ndarray]] = []
        self._committed_at = perf_counter()

    def is_known(self, image_sha256: str) -> bool:
        """Whether an image needs no decoding, because it has a row or is about to."""
        return image_sha256 in self.shards or image_sha256 in self._first

    def execute(self, samples: Iterator[Sample], advance: Callable[[int], None]) -> None:
        """Take every sample; on return each has a committed row or a failure.

        Parameters
        ----------
        samples : iterator of Sample
            In the source's order.
        advance : callable
            Told of each sample.

        Raises
        ------
        SourceError
            With ``on_error="raise"``, at the first sample that fails.
        StoreError
            When rows cannot be written.
        """
        try:
            for sample in self._timed(samples):
                self._take(sample)
                advance(1)
            self._forward()
        except StoreError:
            raise
        except BaseException:
            # A bad image or Ctrl-C must not cost the rows before it.
            self._commit()
            raise
        self._commit()
        self._spread_failures()

    def report(self, seconds: float) -> ExtractionReport:
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
        if sample.error is not None or digest is None:
            self._fail(index, sample.stage, sample.error or DecodeError(sample.sample_id, "no content"))
            return
        is_new = not self.is_known(digest)
        first = self._first.setdefault(digest, index)
        self._check_label(first, index, digest)
        if is_new and sample.pixels is not None:
            self._images[len(self._batch)] = sample.pixels
            self._batch.append(digest)
            if len(self._batch) == self.batch_size:
                self._forward()

    def _fail(self, index: int, stage: str, error: DecodeError) -> None:
        if self.on_error == "raise":
            raise error
        self.failures[index] = Failure(printable(error.sample_id), stage, error.reason, index)

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
        self._unusable.setdefault(digest, ("label", reason))

    def _forward(self) -> None:
        """Embed the batch, padded to its fixed size."""
        if not self._batch:
            return
        if self._engine is None:
            self._engine = self.load_engine()
        n_images = len(self._batch)
        self._images[n_images:] = 0
        started = perf_counter()
        features = self._engine(self._images)[:n_images]
        self.stages["forward"] += perf_counter() - started
        is_finite = np.isfinite(features).all(axis=1)
        for digest in np.array(self._batch)[~is_finite]:
            self._refuse_nonfinite(str(digest))
        digests = [digest for digest, good in zip(self._batch, is_finite, strict=True) if good]
        self._computed.append((digests, features[is_finite]))
        self._batch = []
        is_late = perf_counter() - self._committed_at > _COMMIT_AFTER_S
        n_rows = sum(len(digests) for digests, _ in self._computed)
        if is_late or n_rows + self.batch_size > self.shards.rows_per_shard:
            self._commit()

    def _refuse_nonfinite(self, digest: str) -> None:
        reason = "its features are not finite: the backbone's weights or the image are at fault"
        self._unusable[digest] = ("forward", reason)
        if self.on_error == "raise":
            raise DecodeError(self.source.sample_ids[self._first[digest]], reason)

    def _commit(self) -> None:
        """Write all computed rows as one shard."""
        row_digests = [digest for digests, _ in self._computed for digest in digests]
        if not row_digests:
            return
        started = perf_counter()
        computed_with = {} if self._engine is None else self._engine.computed_with
        self.shards.commit(row_digests, np.concatenate([rows for _, rows in self._computed]), computed_with)
        self._embedded.update(row_digests)
        self._computed = []
        self._committed_at = perf_counter()
        self.stages["write"] += self._committed_at - started

    def _spread_failures(self) -> None:
        """Fail every sample of an image that turned out to be unusable, wherever it stands."""
        for index, digest in enumerate(self.digests):
            if digest in self._unusable:
                stage, reason = self._unusable[digest]
                sample_id = printable(self.source.sample_ids[index])
                self.failures[index] = Failure(sample_id, stage, reason, index)
