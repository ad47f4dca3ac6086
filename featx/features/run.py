"""One run of an extraction: takes samples in the source's order, and has the rows computed that are missing.

A run decides: what is a duplicate, what fails and whether that may be, what is computed and in which order.
Where samples are prepared and rows computed is not its business (`featx.features.execution`). Nothing of the
source is kept but one digest a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter

from featx.checks import explain
from featx.errors import DecodeError, SourceError, StoreError, printable
from featx.features.computing import Computing, Row
from featx.features.failures import Failure, failure_of
from featx.features.pipeline import Sample
from featx.features.report import STAGES, ExtractionReport, Oddity
from featx.features.shards import ShardSet
from featx.images.base import UNLABELLED, ImageSource


@dataclass
class ExtractionRun:
    """The state of a run.

    Parameters
    ----------
    source : ImageSource
    shards : ShardSet
        Rows that are there.
    computing : Computing
        Where the others are computed.
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
    computing: Computing
    on_error: str
    max_failed: int | None = None
    digests: list[str | None] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def __post_init__(self) -> None:
        self.computing.refuse = self._refuse_nonfinite
        # The first sample of each row that is there, or will be when this run ends.
        self._first: dict[str, int] = {}
        self._odd: dict[str, Oddity] = {}
        self._unusable: dict[str, tuple[str, str]] = {}

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
            self.computing.finish()
        except StoreError:
            raise
        except BaseException:
            # A bad image or Ctrl-C must not cost the rows before it.
            self.computing.keep()
            raise
        self._spread_failures()

    def report(self, seconds: float, n_views: int = 1) -> ExtractionReport:
        """What the run did, once `execute` is through."""
        n_samples, n_failed = len(self.digests), len(self.failures)
        embedded = {str(self.digests[sample]) for sample in self.computing.embedded}
        n_computed = len(embedded - set(self._unusable))
        stages = {stage: spent + self.computing.stages[stage] for stage, spent in self.stages.items()}
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
            stages={stage: round(spent, 3) for stage, spent in stages.items()},
            n_views=n_views,
            n_rows_computed=self.computing.n_rows,
            engine=self.computing.described(),
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
        self.computing.add([(Row(address, index), sample.inputs[address]) for address in new])

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
