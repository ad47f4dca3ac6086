"""The job behind `featx audit`: feature files as parts of one data set, with the images where they are given.

Like those of `featx.jobs`, it only puts public names together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from featx.checks import check_choice, explain
from featx.errors import HeadError, StoreMismatchError, as_utf8
from featx.features.feature_set import FeatureSet
from featx.heads.persistence import ModelFile
from featx.images.base import UNLABELLED, ImageSource
from featx.images.inspection import Inspection, inspect_images
from featx.images.miniatures import NO_MINIATURE
from featx.insight.audit import audit_features
from featx.insight.findings import Audit, Finding
from featx.parting import TEST, TEST_SIZE, TRAINING, parts_in_search

_N_SHOWN = 3


def audit_feature_sets(
    features: FeatureSet | Mapping[str, FeatureSet],
    *,
    parts: Sequence[str] | None = None,
    model: ModelFile | None = None,
    test_size: float | None = None,
    assignment: str = "stratified",
    images: ImageSource | Mapping[str, ImageSource] | None = None,
    verbose: int = 0,
    **options: Any,
) -> Audit:
    """Audit one feature set, or several that are the parts of one data set.

    One set alone is parted as `featx.search_jobs.search_features` with the same settings parts it, so that
    labels of its test part are not asked which labels of the training part look wrong.

    Parameters
    ----------
    features : FeatureSet, or mapping of str to FeatureSet
        Parts by the names of their files, of one extraction, the training part first. Parts are called by
        the stems of these names where those differ. A sample id that several parts have gets its part's name
        before it, ``test:1.png``.
    parts : sequence of str, length n_rows, optional
        Of one feature set: what its rows are parted into, as for `featx.audit_features`.
    model : ModelFile, optional
        Parts one feature set into the images that it was fitted on and others; what its search left out is
        in neither part.
    test_size : float, optional
        Of one set, without parts or a model: the share that a search sets aside, 0.25 by default; 0 parts
        nothing, and judges all labels by all. Where the labels do not allow the draw, a note says so.
    assignment : {"stratified", "hashed"}, default="stratified"
        How a search draws it.
    images : ImageSource, or mapping of str to ImageSource, optional
        Where the images are, by sample id; or for each part. They are looked at one by one for what features
        cannot tell: odd ones (`featx.images.inspection`), and copies that were compressed or resized
        (`featx.images.miniatures`).
    verbose : int, default=0
        1 shows progress bars where stderr is a terminal.
    **options
        Of `featx.audit_features`; its ``random_state`` is the search's split's too.

    Returns
    -------
    Audit

    Raises
    ------
    StoreMismatchError
        When the sets are not of one extraction.
    HeadError
        When more than one of a model, parts, a test size and several sets is given, the test size is no
        share, or as of `featx.audit_features`.
    """
    named = {"features": features} if isinstance(features, FeatureSet) else dict(features)
    if not named:
        raise HeadError(explain("no feature sets", "one or more", "pass a mapping of names to them"))
    check_choice("assignment", assignment, ("stratified", "hashed"), HeadError)
    _check_one_parting({"a model": model, "parts": parts, "a test size": test_size}, len(named))
    data = _joined(named)
    started = perf_counter()
    notes: list[str] = []
    if parts is not None:
        data.parts = list(parts)
    elif model is not None:
        notes = data.part_by(model)
    elif len(named) == 1:
        drawing = {"assignment": assignment, "random_state": options.get("random_state", 0)}
        notes = data.part_as_search(TEST_SIZE if test_size is None else test_size, **drawing)
    findings = list(_without_features(data))
    content = None
    if images is not None:
        looked = _Looked(data)
        looked.at(images, verbose)
        findings, notes, content = findings + looked.findings, notes + looked.notes, looked.content
    looked_s = perf_counter() - started
    audit = audit_features(data.features, parts=data.parts, content=content, verbose=verbose, **options)
    # Of an image's rows, its own comes first.
    rows = {name: row for row, name in reversed(list(enumerate(data.features.sample_ids)))}
    return audit.with_more(
        findings,
        {name: data.label(row) for name, row in rows.items()},
        {name: data.parts[row] for name, row in rows.items()} if data.parts else {},
        notes,
        looked_s,
    )


def _check_one_parting(given: Mapping[str, Any], n_files: int) -> None:
    """Refuse two ways at once to say what the parts are."""
    ways = [what for what, value in given.items() if value is not None]
    if n_files > 1 and ways:
        received = f"{ways[0]} and {n_files} feature files"
        raise HeadError(explain(received, f"one file, which {ways[0]} can part", "leave one of them out"))
    if len(ways) > 1:
        raise HeadError(explain(" and ".join(ways), "one of them", "leave the others out"))
    test_size = given["a test size"]
    if test_size is not None and not 0 <= test_size < 1:
        received = f"test_size={test_size}"
        raise HeadError(explain(received, "0, or a share between 0 and 1", "pass for example 0.25"))


@dataclass
class _Data:
    """Feature sets, joined.

    Attributes
    ----------
    features : FeatureSet
    parts : list of str or None
        Of each row.
    named : dict of str to FeatureSet
        As given.
    shown : dict of (str, str) to str
        The id of a sample here, by its set and its id there.
    """

    features: FeatureSet
    parts: list[str] | None
    named: dict[str, FeatureSet]
    shown: dict[tuple[str, str], str]

    def part_by(self, model: ModelFile) -> list[str]:
        """Part the samples by what a model was fitted on, and say where that is not possible."""
        is_known = model.was_trained_on(self.features.image_sha256)
        if is_known.all() or not is_known.any():
            which = "all" if is_known.any() else "none"
            return [f"the model was fitted on {which} of these images: there is nothing to compare"]
        is_excluded = model.was_excluded(self.features.image_sha256, self.features.sample_ids)
        others = np.where(is_excluded, "", TEST)
        self.parts = np.where(is_known, TRAINING, others).tolist()
        return []

    def part_as_search(self, test_size: float, **drawing: Any) -> list[str]:
        """Part the samples as a search does, and say where that is not possible."""
        if not test_size:
            return []
        try:
            self.parts = parts_in_search(self.features, test_size, **drawing)
        except HeadError as error:
            if (np.asarray(self.features.y) == UNLABELLED).all():
                return []
            return [f"no test part could be set aside, and all labels are judged by all: {error}"]
        return []

    def label(self, row: int) -> str:
        """The class name of a row; "" without a label."""
        code = self.features.y[row]
        return "" if code == UNLABELLED else self.features.class_names[code]


def _joined(named: dict[str, FeatureSet]) -> _Data:
    (first_name, first), *others = named.items()
    if not others:
        return _Data(first, None, named, {(first_name, each): each for each in first.sample_ids})
    for name, other in others:
        _check_same_extraction(first_name, first, name, other)
    part_of = _part_names(named)
    held = Counter(each for features in named.values() for each in set(features.sample_ids))
    shown = {
        (name, each): f"{part_of[name]}:{each}" if held[each] > 1 else each
        for name, features in named.items()
        for each in features.sample_ids
    }
    class_names = list(dict.fromkeys(each for features in named.values() for each in features.class_names))
    joined = FeatureSet(
        np.concatenate([features.X for features in named.values()]),
        np.concatenate([_recoded(features, class_names) for features in named.values()]),
        sample_ids=[shown[name, each] for name, features in named.items() for each in features.sample_ids],
        class_names=class_names,
        # A patient may be in both; a sample that is its own group is in one.
        groups=[
            shown[name, group] if group == each else group
            for name, features in named.items()
            for each, group in zip(features.sample_ids, features.groups, strict=True)
        ],
        image_sha256=[each for features in named.values() for each in features.image_sha256],
        view=np.concatenate([features.view for features in named.values()]),
    )
    parts = [part_of[name] for name, features in named.items() for _ in range(len(features))]
    return _Data(joined, parts, named, shown)


def _part_names(named: Iterable[str]) -> dict[str, str]:
    stems = {name: Path(name).stem for name in named}
    return stems if len(set(stems.values())) == len(stems) else {name: name for name in named}


def _recoded(features: FeatureSet, class_names: list[str]) -> np.ndarray:
    codes = np.array([class_names.index(each) for each in features.class_names] + [UNLABELLED])
    recoded: np.ndarray = codes[features.y]
    return recoded


def _check_same_extraction(first_name: str, first: FeatureSet, name: str, other: FeatureSet) -> None:
    if first.spec is not None and other.spec is not None:
        if differences := first.spec.of_one_view().differences(other.spec.of_one_view()):
            message = f"{first_name} and {name} are not parts of one data set by one extraction"
            raise StoreMismatchError(f"{message}; audit them one at a time", differences)
    elif first.n_features != other.n_features:
        received = f"{first.n_features} features in {first_name} and {other.n_features} in {name}"
        raise HeadError(explain(received, "parts of one data set by one extraction", "audit one at a time"))


# ------------------------------------------------------------------------------------------ odd images


def _without_features(data: _Data) -> Iterable[Finding]:
    """Images that could not be embedded, as the feature files have kept them."""
    for features in data.named.values():
        ids_of: dict[str, list[str]] = {}
        for failure in features.failures:
            if failure.stage == "label":
                # All of one image have one reason, which names the labels.
                ids_of.setdefault(failure.reason, []).append(failure.sample_id)
            else:
                yield Finding("odd_image", (failure.sample_id,), 1.0, f"has no features: {failure.reason}")
        for reason, ids in ids_of.items():
            yield Finding("exact_duplicate", tuple(ids), 1.0, f"have no features: {reason}", ("labels",))


class _Looked:
    """What is found by looking at images.

    Attributes
    ----------
    findings : list of Finding
    notes : list of str
    content : ndarray of shape (n_rows, 256)
        Miniatures; NaN where there is no image.
    """

    def __init__(self, data: _Data) -> None:
        self._data = data
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.content = np.tile(NO_MINIATURE, (len(data.features), 1))

    def at(self, images: ImageSource | Mapping[str, ImageSource], verbose: int) -> None:
        """Look at the images of all sets."""
        start = 0
        for name, features in self._data.named.items():
            source = images if isinstance(images, ImageSource) else images.get(name)
            if source is None:
                self.notes.append(f"no images of {name}: odd ones were not looked for")
            elif source.layout is not None:
                self.notes.append(f"{name} is of arrays, not images: odd ones were not looked for")
            else:
                self._at_images_of(name, features, source, start, verbose)
            start += len(features)

    def _at_images_of(
        self, name: str, features: FeatureSet, source: ImageSource, start: int, verbose: int
    ) -> None:
        # As a feature file has them: an undecodable byte of a file name is an escape there.
        index_of = {as_utf8(each).decode(): index for index, each in enumerate(source.sample_ids)}
        row_of = {}
        absent = []
        for row in np.flatnonzero(features.view == 0).tolist():
            index = index_of.get(as_utf8(features.sample_ids[row]).decode())
            if index is None:
                absent.append(features.sample_ids[row])
            else:
                row_of[index] = row
        # A source may be read in one run.
        indices = sorted(row_of)
        digests = [features.image_sha256[row_of[index]] for index in indices]
        inspected, miniatures = inspect_images(source, indices, digests, verbose=verbose)
        self.content[[start + row_of[index] for index in indices]] = miniatures
        id_of = {index: features.sample_ids[row] for index, row in row_of.items()}
        self.findings += [
            _finding(self._data.shown[name, id_of[each.index]], each) for each in inspected if each.oddities
        ]
        unread = {
            "are not among the images": absent,
            "are no longer the images that were embedded": [
                id_of[each.index] for each in inspected if each.is_other
            ],
            "could not be read": [f"{id_of[each.index]}: {each.error}" for each in inspected if each.error],
        }
        for what, ids in unread.items():
            if ids:
                self.notes.append(f"{len(ids):,} samples of {name} {what} ({_some(ids)})")


def _finding(sample_id: str, found: Inspection) -> Finding:
    excluded = (sample_id,) if found.harms else ()
    return Finding("odd_image", (sample_id,), 1.0, "; ".join(found.oddities), (), excluded)


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:_N_SHOWN]) + (", ..." if len(ids) > _N_SHOWN else "")
