"""What an audit found, as one list: which samples, how sure, why; and as a file that a search takes.

The file is CSV, one row for each sample of each finding, so that people sort and edit it in whatever they
like. Its column ``exclude`` says what a search is to leave out, and where:

- ``everywhere``: a further copy of an image, of the same label. It tells nothing new, and would count twice
  in training and in the score.
- ``training``: a suspected label, an outlier, an odd image; images nearly alike that are called differently;
  and what is nearly a copy of an image of another part. A head need not learn from it, but the test part
  keeps it: a score on a test part that was cleaned of what is hard flatters.
- empty: shown, not left out. So are suspected labels outside of the training part.

A training part that was cleaned of what is hard flatters too: its cross-validation scores are of what was
left. The held-out part's are not, as long as no label of that part was asked about what to leave out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from featx.checks import check_choice
from featx.errors import HeadError
from featx.files import StrPath, atomic_write
from featx.tables import save_table

EVERYWHERE, TRAINING = "everywhere", "training"
SUSPECTED_LABEL = "suspected_label"


class Kind(NamedTuple):
    """A kind of finding: its title, what its score means, and where a search leaves its samples out."""

    title: str
    score: str
    scope: str


KINDS = {
    "exact_duplicate": Kind("exact duplicates", "1: the same bytes", EVERYWHERE),
    "near_duplicate": Kind("near duplicates", "1 less the chance that the nearest pair is one", EVERYWHERE),
    SUSPECTED_LABEL: Kind("suspected labels", "how much likelier another class is", TRAINING),
    "outlier": Kind("outliers", "how far from its neighbours, in deviations of the others", TRAINING),
    "out_of_distribution": Kind("out of distribution", "how far from the training part, likewise", ""),
    "odd_image": Kind("odd images", "1", TRAINING),
    "class_balance": Kind("class balance", "how many times larger the largest class is", ""),
}

_COLUMNS = ("finding", "kind", "sample_id", "part", "label", "score", "across", "reason", "exclude")


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    Attributes
    ----------
    kind : str
        A key of `KINDS`.
    sample_ids : tuple of str
        The samples it is about. Of duplicates, all of a set; the first is the one to keep.
    score : float
        How sure or how far, as the kind says; higher is more.
    reason : str
        In words.
    across : tuple of str
        Of duplicates: ``"parts"`` where they stand in the training part and in another that is judged by, so
        that this leaks, and ``"labels"`` where they have several labels.
    excluded : tuple of str
        The samples that a search is to leave out.
    scope : str
        Where it is to: by default as `KINDS` says.

    Examples
    --------
    See `audit_features`.
    """

    kind: str
    sample_ids: tuple[str, ...]
    score: float
    reason: str
    across: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    scope: str = ""

    def __post_init__(self) -> None:
        if not self.scope:
            object.__setattr__(self, "scope", KINDS[self.kind].scope)


@dataclass(frozen=True)
class Audit:
    """What is questionable in a data set; see `audit_features`.

    Attributes
    ----------
    n_samples : int
    n_audited : int
        Fewer than ``n_samples`` where they are so many that a share was drawn.
    class_counts : dict of str to int
    findings : tuple of Finding
        By kind in the order of `KINDS`, and the highest scores first.
    labels, parts : dict of str to str
        Class name and part of the samples that were found; "" where there is none.
    thresholds : dict of str to float
        What was calibrated on the data, by name.
    notes : tuple of str
        What could not be audited, and why.
    seconds : float

    Examples
    --------
    See `audit_features`.
    """

    n_samples: int
    n_audited: int
    class_counts: dict[str, int]
    findings: tuple[Finding, ...]
    labels: dict[str, str]
    parts: dict[str, str]
    thresholds: dict[str, float]
    notes: tuple[str, ...]
    seconds: float

    def of(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind, a key of `KINDS`, the highest scores first."""
        check_choice("kind", kind, KINDS, HeadError)
        return tuple(finding for finding in self.findings if finding.kind == kind)

    def counts(self) -> dict[str, int]:
        """Number of findings of each kind, those with none too."""
        return {kind: len(self.of(kind)) for kind in KINDS}

    def with_more(
        self,
        findings: Iterable[Finding],
        labels: Mapping[str, str],
        parts: Mapping[str, str],
        notes: Iterable[str] = (),
        seconds: float = 0.0,
    ) -> Audit:
        """With what was found besides.

        Parameters
        ----------
        findings : iterable of Finding
        labels, parts : mapping of str to str
            Of samples; those that were not found are left aside.
        notes : iterable of str
        seconds : float
            That it took.

        Returns
        -------
        Audit
        """
        more = tuple(findings)
        ids = [sample_id for finding in more for sample_id in finding.sample_ids]
        return replace(
            self,
            findings=in_order((*self.findings, *more)),
            labels=self.labels | {name: labels.get(name, "") for name in ids},
            parts=self.parts | {name: parts.get(name, "") for name in ids},
            notes=(*self.notes, *notes),
            seconds=self.seconds + seconds,
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """One row for each sample of each finding, as the CSV has them; one without a sample for a class."""
        # Sets of copies may be as large as the data.
        excluded = [frozenset(finding.excluded) for finding in self.findings]
        return [
            {
                "finding": number,
                "kind": finding.kind,
                "sample_id": sample_id,
                "part": self.parts.get(sample_id, ""),
                "label": self.labels.get(sample_id, ""),
                "score": round(finding.score, 6),
                "across": " ".join(finding.across),
                "reason": finding.reason,
                "exclude": finding.scope if sample_id in excluded[number] else "",
            }
            for number, finding in enumerate(self.findings)
            for sample_id in finding.sample_ids or ("",)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON, with the counts."""
        return {**asdict(self), "counts": self.counts()}

    def save_csv(self, path: StrPath) -> None:
        """Write one row for each sample of each finding; it appears complete or not at all.

        Parameters
        ----------
        path : path-like
            Created or replaced. A name that a spreadsheet would run has an apostrophe before it, which
            `featx.insight.exclusions.read_exclusions` takes away.
        """
        save_table(path, _COLUMNS, (row.values() for row in self.to_rows()))

    def save_json(self, path: StrPath) -> None:
        """Write everything as one JSON object; it appears complete or not at all.

        Parameters
        ----------
        path : path-like
            Created or replaced.
        """
        atomic_write(path, f"{json.dumps(self.to_dict(), indent=2)}\n".encode())


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """By kind in the order of `KINDS`, and the highest scores first."""
    places = {kind: place for place, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda finding: (places[finding.kind], -finding.score)))


def kinds_of(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """The kinds of findings that each sample is in, by its id."""
    kinds: dict[str, list[str]] = {}
    for finding in findings:
        for sample_id in finding.sample_ids:
            known = kinds.setdefault(sample_id, [])
            if finding.kind not in known:
                known.append(finding.kind)
    return kinds
