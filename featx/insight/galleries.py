"""Which samples a report shows as large pictures, and what is said under each.

It is known before any picture is read, so that only these are encoded large.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from featx.insight.findings import Audit, Finding
from featx.insight.markup import visible
from featx.insight.report_data import HEADS, ReportSamples

#: Pictures in one gallery.
MAX_PICTURES = 24

# Most of one set of duplicates: the rest look the same.
_MAX_OF_A_SET = 4

# Of what stands in a caption.
_MAX_NAME, _MAX_REASON = 40, 200

# Kinds of findings that are shown as they are: title and note.
_SHOWN_KINDS = {
    "suspected_label": (
        "Suspected labels",
        "A head that was not fitted on them finds another class likelier. Look before you trust either.",
    ),
    "outlier": ("Outliers", "Far from their neighbours in the features."),
    "out_of_distribution": ("Out of distribution", "Unlike anything in the training part."),
    "odd_image": ("Odd images", "Blank, tiny or of an extreme shape."),
}


@dataclass(frozen=True)
class Gallery:
    """Samples that are looked at together.

    Attributes
    ----------
    key : str
        Unlike that of the other galleries: a word for the page's addresses.
    title : str
    note : str
        What they have in common, and how many were left out.
    rows : tuple of int
        Of the samples, in the order in which they are shown.
    captions : tuple of str
        One a row.
    sets : tuple of int
        Number of the set that each row belongs to; empty where they do not come in sets.
    """

    key: str
    title: str
    note: str
    rows: tuple[int, ...]
    captions: tuple[str, ...]
    sets: tuple[int, ...] = ()


def galleries_of(
    samples: ReportSamples | None,
    audit: Audit | None = None,
    *,
    heads: tuple[str, str] = HEADS,
    n_pictures: int = MAX_PICTURES,
) -> list[Gallery]:
    r"""The galleries of a report; those without a sample are left out.

    Parameters
    ----------
    samples : ReportSamples or None
        Where ``predicted_b`` says what a second head answers, one gallery shows where the two differ.
    audit : Audit, optional
    heads : (str, str), default=("a", "b")
        What the two are called.
    n_pictures : int, default=24
        Most in each.

    Returns
    -------
    list of Gallery
        Mistakes, then what the audit suspects, then where two heads differ.

    Examples
    --------
    >>> import numpy as np
    >>> samples = ReportSamples(
    ...     ["a", "b"], np.eye(2), ["cat", "dog"], ["test"] * 2, ["dog", "dog"], np.array([0.9, 0.8])
    ... )
    >>> [(gallery.key, gallery.rows, gallery.captions) for gallery in galleries_of(samples)]
    [('mistakes', (0,), ('labelled cat, predicted dog (90.0\xa0%)',))]
    """
    if samples is None:
        return []
    rows = {sample_id: row for row, sample_id in enumerate(samples.sample_ids)}
    found = [_mistakes(samples, heads, n_pictures)]
    if audit is not None:
        found += _audited(samples, audit, rows, n_pictures)
    if samples.predicted_b is not None:
        found += _differing(samples, heads, n_pictures)
    return [gallery for gallery in found if gallery.rows]


def _gallery(key: str, title: str, note: str, shown: Sequence[tuple[int, str]], n_pictures: int) -> Gallery:
    if len(shown) > n_pictures:
        note = f"{note} The first {n_pictures} of {len(shown):,}."
    shown = shown[:n_pictures]
    return Gallery(key, title, note, tuple(row for row, _ in shown), tuple(caption for _, caption in shown))


def _short(name: str | None) -> str:
    return visible(name, _MAX_NAME)


# ---------------------------------------------------------------------------------------- mistakes


def _mistakes(samples: ReportSamples, heads: tuple[str, str], n_pictures: int) -> Gallery:
    wrong = [
        row
        for row, (label, answer) in enumerate(zip(samples.labels, samples.predicted, strict=True))
        if label is not None and answer is not None and label != answer
    ]
    # Surest first; a head without probabilities has an order of its own.
    wrong.sort(key=lambda row: -np.nan_to_num(float(samples.confidence[row]), nan=-1.0))
    shown = [
        (row, f"labelled {_short(samples.labels[row])}, predicted {_answer(samples, row)}") for row in wrong
    ]
    of = "" if samples.predicted_b is None else f" of {_short(heads[0])}"
    note = "Where the head is wrong and most sure of itself."
    return _gallery("mistakes", f"Most confident mistakes{of}", note, shown, n_pictures)


def _answer(samples: ReportSamples, row: int) -> str:
    answer, confidence = _short(samples.predicted[row]), float(samples.confidence[row])
    if np.isnan(confidence):
        return answer
    # Rounded down: a head is never shown surer than it is.
    return f"{answer} ({int(confidence * 1000) / 10:.1f}\u00a0%)"


# -------------------------------------------------------------------------------------- the audit


def _audited(
    samples: ReportSamples, audit: Audit, rows: dict[str, int], n_pictures: int
) -> Iterable[Gallery]:
    for kind, (title, note) in _SHOWN_KINDS.items():
        shown = [
            (rows[sample_id], _reason(samples, rows[sample_id], finding))
            for finding in audit.of(kind)
            for sample_id in finding.sample_ids
            if sample_id in rows
        ]
        yield _gallery(kind.replace("_", "-"), title, note, shown, n_pictures)
        # Wrong labels first, then what leaks, then all else.
        if kind == "suspected_label":
            yield from _duplicates(samples, audit, rows, n_pictures)


def _reason(samples: ReportSamples, row: int, finding: Finding) -> str:
    label = samples.labels[row]
    reason = visible(finding.reason, _MAX_REASON)
    # Why a label is suspected names it.
    return (
        reason
        if label is None or finding.kind == "suspected_label"
        else f"labelled {_short(label)}; {reason}"
    )


def _duplicates(
    samples: ReportSamples, audit: Audit, rows: dict[str, int], n_pictures: int
) -> Iterable[Gallery]:
    findings = [*audit.of("exact_duplicate"), *audit.of("near_duplicate")]
    chosen = {
        "duplicates-parts": (
            "Duplicates across parts",
            "The same picture, or nearly, to learn from and to be tested on: the score may be too good.",
            [finding for finding in findings if "parts" in finding.across],
        ),
        "duplicates-labels": (
            "Duplicates across labels",
            "The same picture, or nearly, under several labels: one of them may be wrong.",
            [finding for finding in findings if "labels" in finding.across],
        ),
        "duplicates": (
            "Other duplicates",
            "The same picture, or nearly, more than once, in one part and under one label.",
            [finding for finding in findings if not finding.across],
        ),
    }
    for key, (title, note, of_key) in chosen.items():
        yield _sets(samples, of_key, rows, n_pictures, (key, title, note))


def _sets(
    samples: ReportSamples,
    findings: list[Finding],
    rows: dict[str, int],
    n_pictures: int,
    words: tuple[str, str, str],
) -> Gallery:
    """Duplicates side by side, a set at a time; a set of which one is left shows nothing."""
    key, title, note = words
    members = [
        [rows[sample_id] for sample_id in finding.sample_ids if sample_id in rows] for finding in findings
    ]
    known = [of_set for of_set in members if len(of_set) > 1]
    shown: list[tuple[int, int]] = []
    for number, of_set in enumerate(known):
        if len(shown) + min(len(of_set), _MAX_OF_A_SET) > n_pictures:
            note = f"{note} The first {number} of {len(known):,} sets."
            break
        shown += [(row, number) for row in of_set[:_MAX_OF_A_SET]]
    captions = tuple(
        ", ".join([_short(samples.parts[row]), _short(samples.labels[row] or "no label")]) for row, _ in shown
    )
    return Gallery(key, title, note, tuple(row for row, _ in shown), captions, tuple(n for _, n in shown))


# --------------------------------------------------------------------------------------- two heads


def _differing(samples: ReportSamples, heads: tuple[str, str], n_pictures: int) -> Iterable[Gallery]:
    only: dict[str, list[tuple[int, str]]] = {"a": [], "b": []}
    name_a, name_b = map(_short, heads)
    answers = zip(samples.labels, samples.predicted, samples.predicted_b or (), strict=True)
    for row, (label, a, b) in enumerate(answers):
        if label is None or a is None or b is None or a == b or label not in (a, b):
            continue
        only["a" if a == label else "b"].append(
            (row, f"labelled {_short(label)}; {name_a} says {_short(a)}, {name_b} says {_short(b)}")
        )
    for key, right, wrong in (("a", name_a, name_b), ("b", name_b, name_a)):
        note = f"What {right} gets right and {wrong} does not."
        yield _gallery(f"only-{key}", f"Only {right} is right", note, only[key], n_pictures)
