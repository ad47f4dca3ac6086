"""What an extraction tells of itself: every sample accounted for, where the time went, what was odd."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from featx.errors import printable
from featx.features.failures import Failure

# As many names as fit a line.
_SHOWN_SAMPLES = 5

#: What a run's time is divided into.
STAGES = ("read", "decode", "start", "forward", "write", "wait", "compare")


@dataclass
class Oddity:
    """What is odd about some samples that were embedded all the same.

    Attributes
    ----------
    what : str
    n_samples : int
    sample_ids : list of str
        Of the first few.

    Examples
    --------
    >>> oddity = Oddity("PNG named .jpg")
    >>> oddity.add("cat/1.jpg")
    >>> oddity
    Oddity(what='PNG named .jpg', n_samples=1, sample_ids=['cat/1.jpg'])
    """

    what: str
    n_samples: int = 0
    sample_ids: list[str] = field(default_factory=list)

    def add(self, sample_id: str) -> None:
        """Count one more sample."""
        self.n_samples += 1
        if len(self.sample_ids) < _SHOWN_SAMPLES:
            self.sample_ids.append(printable(sample_id))


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
        Samples that were embedded in this run, or some views of them.
    n_cached : int
        Samples whose rows were there: from an earlier run, or from the same image earlier in this one.
    n_failed : int
    failed : tuple of Failure
    seconds : float
    images_per_second : float
        Samples by seconds.
    stages : dict of str to float
        Seconds reading and decoding, summed over the threads, and seconds of the main thread in starting
        the engine, in the forward pass, writing, waiting for the threads, and comparing precisions.
    n_views, n_rows_computed : int
        Rows of a sample, and rows embedded in this run.
    odd : tuple of Oddity
        Of the samples that were decoded in this run: images that are accepted, and that their owner may not
        have meant.
    engine : dict
        What ran the forward pass, its precision and batch size, and why it was chosen; empty where
        everything was there.
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
    n_views: int = 1
    n_rows_computed: int = 0
    engine: dict[str, Any] = field(default_factory=dict)
    odd: tuple[Oddity, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)
