"""The samples that a report shows: which of them, what a head answers on each, and their pictures.

A sample is an image: where features hold several views of each, the image's own row stands for it on the
map, and its answer is the mean over its views, as everywhere.

Nothing is predicted for samples that a head was fitted on. It knows their labels, so that its mistakes among
them are too few, and say nothing about what it will do.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator

from featx.checks import check_positive, explain
from featx.embedding import averaging
from featx.errors import HeadError, as_utf8, printable
from featx.features.combination import Combination, combine_features
from featx.features.feature_set import FeatureSet
from featx.images.base import UNLABELLED, ImageSource
from featx.images.sources import as_source
from featx.images.thumbnails import make_atlas, make_thumbnails
from featx.insight.findings import Audit
from featx.insight.galleries import galleries_of
from featx.insight.report_data import Pictures, ReportSamples
from featx.progress import progress_bar
from featx.views import group_views

TRAINING, TEST, NO_LABEL, LEFT_OUT = "training", "test", "unlabelled", "left out"

#: Samples in a report; what is known of one is a kilobyte, most of it its picture.
MAX_SAMPLES = 5000

# So that 5,000 pictures, which base64 makes a third larger, and all else stay below 5 MB.
_ATLAS_BYTES, _LARGE_BYTES, _LARGEST = 1_900_000, 900_000, 12_000
_LARGE_SIZE = 224
# 64 x 64 of the larger are as wide as a phone's browser takes, 4,096 pixels; so are 73 x 73 of the smaller.
_TILE_SIZE, _SMALL_TILE_SIZE, _MANY = 64, 56, 4096

_N_NAMED = 3

#: What a head answers, by sample id: the name of a class, and its probability or NaN.
Answers: TypeAlias = Mapping[str, tuple[str, float]]


def report_samples(
    features: FeatureSet | Mapping[str, FeatureSet],
    head: BaseEstimator | None = None,
    test_rows: Sequence[int] | np.ndarray = (),
    *,
    images: Any = None,
    class_names: Sequence[str] | None = None,
    audit: Audit | None = None,
    max_samples: int = MAX_SAMPLES,
    random_state: int = 0,
    verbose: int = 0,
) -> ReportSamples:
    """The samples of a report, for `featx.write_report`: what a head answers on each, and their pictures.

    Parameters
    ----------
    features : FeatureSet, or mapping of str to FeatureSet
        Of the same samples.
    head : estimator, optional
        Fitted, on the columns of all sets side by side.
    test_rows : array-like of int, default=()
        Rows of the first set that the head was not fitted on; it is asked about these, and about samples
        without a label.
    images : ImageSource, or anything that `featx.as_source` takes, optional
        The images, known by their sample ids. Without them the report has no pictures, and says so, as it
        does of images that are not there any more or are others than they were.
    class_names : sequence of str, optional
        Names for ``head.classes_``, in that order; by default its integers are those of the features.
    audit : Audit, optional
        What it found is shown, and gets large pictures.
    max_samples : int, default=5000
        Of more than that some are drawn: mistakes and what the audit found take up to half of the places,
        the surest first, and any others the rest.
    random_state : int, default=0
        Seed of the draw.
    verbose : int, default=0
        1 shows a progress bar where stderr is a terminal.

    Returns
    -------
    ReportSamples

    Raises
    ------
    HeadError
        When a row is not one of the features, or class names and classes are not as many.
    SourceError
        When ``images`` is nothing that images can be read from.
    StoreError
        When the sets are not of the same samples.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X = np.float32([[0], [1], [8], [9], [2]])
    >>> features = FeatureSet(X, [0, 0, 1, 1, 1], class_names=["cat", "dog"])
    >>> samples = report_samples(features, GaussianNB().fit(X[:4], [0, 0, 1, 1]), [4])
    >>> samples.parts, samples.predicted
    (['training', 'training', 'training', 'training', 'test'], [None, None, None, None, 'cat'])
    """
    check_positive("max_samples", max_samples, HeadError)
    combined = combine_features(features)
    source = None if images is None else as_source(images)
    parts = parts_of(combined, test_rows)
    answers: Answers = {}
    if head is not None:
        names = named_classes(head, combined.aligned.class_names, class_names)
        answers = answers_on(head, combined, np.flatnonzero(parts != TRAINING), names)
    draw = {"max_samples": max_samples, "random_state": random_state}
    return build_samples(combined, parts, [answers], audit=audit, source=source, **draw, verbose=verbose)


def parts_of(combined: Combination, test_rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The part of every row: ``test`` as given, ``unlabelled``, and ``training`` for the others.

    Examples
    --------
    >>> features = FeatureSet(np.zeros((3, 1), np.float32), [0, -1, 0])
    >>> parts_of(combine_features(features), [2]).tolist()
    ['training', 'unlabelled', 'test']
    """
    y, rows = combined.aligned.y, np.asarray(test_rows, int)
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(y):
        received = f"test rows from {rows.min()} to {rows.max()}"
        raise HeadError(explain(received, f"0 to {len(y) - 1}, rows of the features", "pass those"))
    parts = np.where(y == UNLABELLED, NO_LABEL, TRAINING).astype("U10")
    parts[rows] = TEST
    return parts


def named_classes(head: Any, known: Sequence[str], given: Sequence[str] | None = None) -> list[str]:
    """The name of each of a head's classes.

    Parameters
    ----------
    head : estimator
        Fitted.
    known : sequence of str
        Names of the features' classes, which the head's are if they are integers.
    given : sequence of str, optional
        Names to take instead, in the order of ``head.classes_``.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> named_classes(GaussianNB().fit([[0.0], [1.0]], [0, 2]), ["cat", "cow", "dog"])
    ['cat', 'dog']
    """
    classes = np.asarray(head.classes_)
    if given is None:
        is_index = classes.dtype.kind == "i" and 0 <= classes.min() <= classes.max() < len(known)
        return [known[label] for label in classes] if is_index else [str(label) for label in classes]
    if len(given) != len(classes):
        received = f"{len(given)} class names for a head of {len(classes)} classes"
        raise HeadError(explain(received, "one name a class", "pass all of them"))
    return [str(name) for name in given]


def answers_on(head: Any, combined: Combination, rows: np.ndarray, names: Sequence[str]) -> Answers:
    """What a head answers on some samples, each by the mean over its views.

    Parameters
    ----------
    head : estimator
        Fitted.
    combined : Combination
        With the columns that the head takes.
    rows : ndarray of int
        All views of a sample, or none.
    names : sequence of str
        Of ``head.classes_``.

    Returns
    -------
    dict of str to (str, float)
    """
    if not len(rows):
        return {}
    sample_ids = [combined.aligned.sample_ids[row] for row in rows]
    if combined.images is not None:
        head = averaging(head, group_views(sample_ids).members)
        sample_ids = list(dict.fromkeys(sample_ids))
    X = combined.read(rows)
    places = np.searchsorted(head.classes_, head.predict(X))
    confidence = np.full(len(places), np.nan)
    if hasattr(head, "predict_proba"):
        confidence = np.asarray(head.predict_proba(X))[np.arange(len(places)), places]
    found = zip((names[place] for place in places), confidence.tolist(), strict=True)
    return dict(zip(sample_ids, found, strict=True))


def build_samples(
    combined: Combination,
    parts: np.ndarray,
    answers: Sequence[Answers],
    *,
    audit: Audit | None = None,
    source: ImageSource | None = None,
    max_samples: int = MAX_SAMPLES,
    random_state: int = 0,
    verbose: int = 0,
) -> ReportSamples:
    """The samples of a report, by what one head or two answer.

    Parameters
    ----------
    combined : Combination
    parts : ndarray of str, shape (n_rows,)
        Part of every row.
    answers : sequence of dict
        Of one head, or of two that are compared.
    audit, max_samples, random_state, verbose
        As of `report_samples`.
    source : ImageSource, optional

    Returns
    -------
    ReportSamples
    """
    aligned = combined.aligned
    rows = _own_rows(combined)
    n_total, notes = len(rows), []
    if n_total > max_samples:
        matter = _what_matters(combined, rows, answers, audit)
        rows, n_first = _drawn(rows, matter, max_samples, random_state)
        notes.append(
            f"{max_samples:,} of {n_total:,} samples are shown, drawn with seed {random_state}: first "
            f"{n_first:,} mistakes and findings of the audit, then any others. The map has more of the "
            "former than their share; the figures are of all samples."
        )
    sample_ids = [aligned.sample_ids[row] for row in rows]
    predicted = [[of_head.get(sample_id, (None, 0.0))[0] for sample_id in sample_ids] for of_head in answers]
    samples = ReportSamples(
        sample_ids=sample_ids,
        X=np.asarray(combined.read(rows), np.float32),
        labels=_labels_of(combined, rows),
        parts=[str(parts[row]) for row in rows],
        predicted=predicted[0],
        confidence=np.array([answers[0].get(sample_id, ("", np.nan))[1] for sample_id in sample_ids]),
        predicted_b=predicted[1] if len(predicted) > 1 else None,
        n_total=n_total,
        notes=tuple(notes),
    )
    digests = [aligned.image_sha256[row] for row in rows]
    return _with_pictures(samples, source, digests, audit, verbose)


def _own_rows(combined: Combination) -> np.ndarray:
    """Row of each image's lowest view, which is the image itself where that is there."""
    members = group_views(combined.aligned.sample_ids).members
    order = np.lexsort((combined.aligned.view, members))
    own: np.ndarray = order[np.unique(members[order], return_index=True)[1]]
    return own


def _labels_of(combined: Combination, rows: np.ndarray) -> list[str | None]:
    names: list[str | None] = [*combined.aligned.class_names, None]
    # -1, no label, is the last.
    return [names[label] for label in combined.aligned.y[rows]]


def _what_matters(
    combined: Combination, rows: np.ndarray, answers: Sequence[Answers], audit: Audit | None
) -> list[int]:
    """Rows of mistakes and findings in turn, each the surest first."""
    labels = _labels_of(combined, rows)
    row_of = {combined.aligned.sample_ids[row]: int(row) for row in rows}
    wrong = []
    for (sample_id, row), label in zip(row_of.items(), labels, strict=True):
        said = [of_head[sample_id] for of_head in answers if sample_id in of_head]
        if label is not None and any(name != label for name, _ in said):
            wrong.append((-np.nan_to_num(said[0][1]), row))
    findings = () if audit is None else audit.findings
    found = [row_of[name] for finding in findings for name in finding.sample_ids if name in row_of]
    both = zip_longest((row for _, row in sorted(wrong)), found)
    return list(dict.fromkeys(row for row in chain.from_iterable(both) if row is not None))


def _drawn(
    rows: np.ndarray, matter: Sequence[int], max_samples: int, random_state: int
) -> tuple[np.ndarray, int]:
    """Rows in their order, and how many of those that matter come first."""
    first = np.array(matter[: max_samples // 2], int)
    others = np.setdiff1d(rows, first)
    drawn = np.random.default_rng(random_state).choice(others, max_samples - len(first), replace=False)
    return np.sort(np.concatenate([first, drawn])), len(first)


# ---------------------------------------------------------------------------------------- pictures


def _with_pictures(
    samples: ReportSamples,
    source: ImageSource | None,
    digests: Sequence[str],
    audit: Audit | None,
    verbose: int,
) -> ReportSamples:
    if source is None:
        note = "There are no pictures: the report was made of features alone, without the images."
        return dataclasses.replace(samples, notes=(*samples.notes, note))
    row_of = {as_utf8(sample_id).decode(): row for row, sample_id in enumerate(source.sample_ids)}
    rows = np.array([row_of.get(as_utf8(sample_id).decode(), -1) for sample_id in samples.sample_ids])
    present = np.flatnonzero(rows >= 0)
    with progress_bar("Pictures", len(present), verbose, "images") as advance:
        atlas = make_atlas(
            source,
            rows[present],
            image_sha256=[digests[place] for place in present.tolist()],
            tile_size=_TILE_SIZE if len(present) <= _MANY else _SMALL_TILE_SIZE,
            max_bytes=_ATLAS_BYTES,
            advance=advance,
        )
    tiles = np.full(len(rows), -1)
    tiles[present] = atlas.tiles
    reasons = dict.fromkeys(np.flatnonzero(rows < 0).tolist(), "not among the images given")
    reasons |= {int(present[place]): reason for place, reason in atlas.missing.items()}
    notes = (*samples.notes, *_of_missing(samples.sample_ids, reasons))
    if not atlas.data:
        return dataclasses.replace(samples, notes=notes)
    large = _large(samples, source, rows, tiles, audit)
    pictures = Pictures(atlas.data, atlas.tile_size, atlas.n_columns, tiles, large)
    return dataclasses.replace(samples, pictures=pictures, notes=notes)


def _large(
    samples: ReportSamples, source: ImageSource, rows: np.ndarray, tiles: np.ndarray, audit: Audit | None
) -> dict[int, bytes]:
    """Larger pictures of what the galleries show, by the report's rows."""
    wanted = {row for gallery in galleries_of(samples, audit) for row in gallery.rows if tiles[row] >= 0}
    # Those with a tile are there, and are the images that they were.
    place_of = {int(rows[row]): row for row in sorted(wanted)}
    max_bytes = min(_LARGEST, _LARGE_BYTES // max(1, len(place_of)))
    made = make_thumbnails(source, list(place_of), _LARGE_SIZE, max_bytes=max_bytes)
    return {place_of[row]: data for row, data in made.items()}


def _of_missing(sample_ids: Sequence[str], reasons: Mapping[int, str]) -> list[str]:
    """How many samples have no picture, for each reason, and a few of them by name."""
    by_reason = defaultdict(list)
    for place in sorted(reasons):
        by_reason[reasons[place]].append(printable(sample_ids[place]))
    return [
        f"{len(names):,} of {len(sample_ids):,} samples have no picture: {reason} "
        f"({', '.join(names[:_N_NAMED])}{', ...' if len(names) > _N_NAMED else ''})."
        for reason, names in by_reason.items()
    ]
