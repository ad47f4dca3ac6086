"""The job behind `featx search`: a part set aside, one leaderboard over all features, one model file.

Like those of `featx.jobs`, it only puts public names together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from featx.checks import explain
from featx.errors import HeadError, as_utf8, printable
from featx.features.combination import Combination, combine_features
from featx.features.feature_set import FeatureSet
from featx.files import StrPath
from featx.heads.columns import on_columns
from featx.heads.image_marks import exclusion_marks
from featx.heads.nested import NestedScores, nested_scores
from featx.heads.persistence import ModelFile
from featx.heads.search import HeadSearch
from featx.heads.splits import check_classes
from featx.insight.candidates import candidates_of, ranked_by
from featx.insight.evaluation import Evaluation, evaluate
from featx.insight.exclusions import Exclusions, as_exclusions
from featx.insight.folds import fold_interval, score_range
from featx.insight.metrics import Interval
from featx.parting import TEST_SIZE, set_aside


@dataclass(frozen=True)
class Excluded:
    """How many samples were left out because somebody said so.

    Attributes
    ----------
    n_everywhere : int
        Neither trained on nor scored.
    n_training : int
        Not trained on; those that fell into the test part stayed there, and are not among these.
    n_unknown : int
        Ids that no sample with a label has.
    """

    n_everywhere: int
    n_training: int
    n_unknown: int


@dataclass(frozen=True)
class SearchResult:
    """What `search_features` found.

    Attributes
    ----------
    search : HeadSearch
        Fitted on the training part.
    test : Evaluation or None
        Of the best head on the part set aside; None when there is none.
    nested : NestedScores or None
        Of the training part, where they were asked for.
    train_rows, test_rows : ndarray of int
        Rows of the first feature set.
    combined : Combination
        The features that were searched, of all samples with a label.
    seconds : float
    excluded : Excluded or None
        Where samples were to be left out.
    """

    search: HeadSearch
    test: Evaluation | None
    nested: NestedScores | None
    train_rows: np.ndarray
    test_rows: np.ndarray
    combined: Combination
    seconds: float
    excluded: Excluded | None = None

    @property
    def n_unlabelled(self) -> int:
        """Samples left out because they have no label."""
        return self.combined.n_unlabelled

    @property
    def features(self) -> str:
        """Name of the features that the best head takes."""
        names = self.combined.aligned.names
        is_named = self.search.feature_blocks is not None
        return self.search.best_features_ if is_named else " + ".join(names)

    def candidates(self) -> list[dict[str, Any]]:
        """The leaderboard, with what the folds can tell of it: see `featx.insight.candidates`."""
        return candidates_of(self.search)

    @property
    def nested_ci(self) -> Interval | None:
        """The 95 % interval of the nested cross-validation's mean."""
        if self.nested is None:
            return None
        scores = np.array(self.nested.scores)
        return fold_interval(scores, 1 / (len(scores) - 1), score_range(ranked_by(self.search)))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures are not, in sentences, where samples were left out of the training part."""
        if self.excluded is None or not self.excluded.n_training:
            return ()
        n_excluded = self.excluded.n_training
        quoted = "quote the figures of the held-out part" if self.test else "no figure here is free of that"
        what = f"Cross-validation scores are of the training part without {n_excluded:,} excluded samples"
        return (f"{what}, and flatter: {quoted}.",)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        candidates = self.candidates()
        nested = None if self.nested is None else {**self.nested.to_dict(), "mean_ci": self.nested_ci}
        return {
            "best_head": self.search.best_head_,
            "best_params": self.search.best_params_,
            "features": self.features,
            "cv_score": self.search.best_score_,
            "cv_score_ci": candidates[0]["score_ci"],
            "calibration": self.search.best_calibration_,
            "threshold": self.search.best_threshold_,
            "nested": nested,
            "test": None if self.test is None else self.test.to_dict(),
            "n_unlabelled": self.n_unlabelled,
            "excluded": None if self.excluded is None else asdict(self.excluded),
            "notes": list(self.notes),
            "candidates": candidates,
            "seconds": self.seconds,
        }


def search_features(
    features: FeatureSet | Mapping[str, FeatureSet],
    search: HeadSearch,
    *,
    combine: str = "all",
    test_size: float = TEST_SIZE,
    strata: Sequence[Any] | np.ndarray | None = None,
    assignment: str = "stratified",
    nested: int = 0,
    exclude: Any = None,
    random_state: int = 0,
) -> SearchResult:
    """Set a test part aside, search on the rest, and score the best head on the test part once.

    Rows that are views of one image are scored as one, by their mean.

    Parameters
    ----------
    features : FeatureSet, or mapping of str to FeatureSet
        Of the same samples, in any row order.
    search : HeadSearch
        Its settings; it is not fitted itself, but a copy, the result's ``search``. Where it has no
        ``feature_blocks``, the copy's are what ``combine`` says.
    combine : {"none", "parts", "all"}, default="all"
        What is searched in one leaderboard: every set alone; also every tap and pooling of a set that holds
        several; also all sets together.
    test_size : float, default=0.25
        Share set aside; 0 trains on everything and scores nothing.
    strata : array-like of shape (n_samples,), optional
        What to stratify the test part by in place of the classes; rows as in the first set.
    assignment : {"stratified", "hashed"}, default="stratified"
        How the test part is chosen, as for `featx.holdout_split`; hashed by the groups.
    nested : int, default=0
        Outer folds of a nested cross-validation on the training part; 0 does without.
    exclude : path-like, Audit, Exclusions, or list of these, optional
        Samples to leave out once the test part is drawn: of both parts, or of the training part alone
        (`featx.insight.exclusions`). Of several audited files, an id that was not unique is known with
        the stem of its file before it, ``train:1.png``.
    random_state : int, default=0
        Seed of the splits.

    Returns
    -------
    SearchResult

    Raises
    ------
    StoreError
        When the sets are not of the same samples.
    HeadError
        When the labels cannot serve a search, it cannot be read what to exclude, or labels are to be left
        out that were judged by labels of the test part.
    """
    started = perf_counter()
    exclusions = as_exclusions(exclude)
    combined = combine_features(features, labelled=True)
    combined.aligned.check_labelled()
    aligned = combined.aligned
    rows = next(iter(aligned.blocks.values())).rows
    y, groups, images = aligned.y, np.array(aligned.groups), combined.images
    # Before anything is left out: whatever that is, the parts are those that an audit was of.
    options: dict[str, Any] = {"strata": strata, "assignment": assignment, "random_state": random_state}
    drawn = set_aside(aligned, test_size, **options)
    train, test, excluded = _without(exclusions, combined, *drawn)
    n_all = len(train) + len(test)
    aside = f" (test_size={test_size} sets {len(test)} of {n_all} aside)" if len(test) else ""
    _check_folds_of(search, nested, combined, train, aside)
    searched = combined.searched(combine)
    # A copy: the caller's may search other features next, and must not keep the blocks of these.
    search = clone(search)
    if search.feature_blocks is None and len(searched) > 1:
        search.set_params(feature_blocks=searched)
    X = combined.read(train)
    of_rows = {"images": None if images is None else images[train]}
    search.fit(X, y[train], groups[train], **of_rows)
    found = None
    if nested:
        found = nested_scores(
            search, X, y[train], groups[train], cv=nested, random_state=random_state, **of_rows
        )
    # Both parts at once would be the whole matrix a second time.
    del X
    evaluation = _tested(search, combined, test) if len(test) else None
    seconds = perf_counter() - started
    said = excluded if exclude is not None else None
    return SearchResult(search, evaluation, found, rows[train], rows[test], combined, seconds, said)


def save_search(result: SearchResult, path: StrPath) -> None:
    """Write the best head to a model file, as it was scored: fitted on the training part.

    The head is made to take all columns of the feature sets that it uses, and the file lists those sets'
    specs and no others. It predicts with as many views of an image as those features have.

    Parameters
    ----------
    result : SearchResult
    path : path-like
        Created or replaced.
    """
    metrics = result.to_dict()
    del metrics["candidates"]
    if metrics["test"] is not None:
        # They are drawn again from the features; the file keeps figures.
        del metrics["test"]["curves"]
    combined, aligned = result.combined, result.combined.aligned
    head, names = _whole_head(result)
    specs = [combined.feature_sets[name].spec for name in names]
    # What was not extracted by featx has no spec, and then the head is known by its width alone.
    known = [spec.to_json() for spec in specs if spec is not None] if all(specs) else []
    ModelFile(
        head,
        # The head knows the classes by the numbers that they have in the first feature file.
        class_names=[aligned.class_names[label] for label in result.search.classes_],
        extraction_spec=known[0] if len(known) == 1 else None,
        extraction_specs=known if len(known) > 1 else (),
        metrics=metrics,
        **_images_of(result),
    ).save(path)


def _images_of(result: SearchResult) -> dict[str, Any]:
    """What the head was fitted on, and what it was neither fitted nor tested on, as a model file has it."""
    aligned = result.combined.aligned
    rows = next(iter(aligned.blocks.values())).rows
    is_trained, is_tested = np.isin(rows, result.train_rows), np.isin(rows, result.test_rows)
    digests = np.array(aligned.image_sha256)
    names = [aligned.sample_ids[row] for row in np.flatnonzero(~is_trained & ~is_tested)]
    excluded = exclusion_marks(digests[~is_trained & ~is_tested].tolist(), names, set(digests[is_tested]))
    return {
        "training_images": list(dict.fromkeys(digests[is_trained].tolist())),
        "excluded_images": excluded,
    }


def _whole_head(result: SearchResult) -> tuple[BaseEstimator, list[str]]:
    """The best head as one that takes all columns of the sets it uses, and the names of these."""
    head = result.search.best_estimator_
    names, indices = result.combined.used(result.search.best_columns_)
    n_features = sum(result.combined.feature_sets[name].n_features for name in names)
    if np.array_equal(indices, np.arange(n_features)):
        return head, names
    start, stop = int(indices[0]), int(indices[-1]) + 1
    is_range = np.array_equal(indices, np.arange(start, stop))
    return on_columns(head, (start, stop) if is_range else indices.tolist(), n_features), names


def _without(
    exclusions: Exclusions, combined: Combination, train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Excluded]:
    """The rows of both parts without what is left out, and counts."""
    if not len(exclusions):
        return train, test, Excluded(0, 0, 0)
    aligned, names = combined.aligned, combined.aligned.sample_ids
    id_of = _ids_by_any_name(combined)
    everywhere, training = (
        {id_of[name] for name in ids if name in id_of} for ids in (exclusions.everywhere, exclusions.training)
    )
    listed = exclusions.everywhere | exclusions.training
    unknown = sorted(name for name in listed if name not in id_of)
    if len(unknown) == len(listed):
        received = f"{len(listed):,} ids to exclude, of which no sample has any ({printable(unknown[0])} ...)"
        raise HeadError(explain(received, "sample ids of these features", "check the list"))
    if everywhere.issuperset(names):
        received = f"all {len(everywhere):,} samples with a label excluded everywhere"
        raise HeadError(explain(received, "some to search on", "shorten the list"))
    if len(test):
        _check_judged(exclusions, id_of, {names[row] for row in test})
    n_tested = len(test)
    dropped = {names[row] for row in train} & training - everywhere
    train, test = (
        np.array([row for row in part if names[row] not in out], np.intp)
        for part, out in ((train, everywhere | training), (test, everywhere))
    )
    lost = np.setdiff1d(
        [label for label, name in zip(aligned.y, names, strict=True) if name not in everywhere],
        aligned.y[train],
    )
    if len(lost):
        received = f"none of the class {aligned.class_names[lost[0]]} left to train on"
        raise HeadError(explain(received, "some of every class", "exclude fewer, or drop the class"))
    if n_tested and not len(test):
        received = f"all {n_tested:,} samples of the test part excluded everywhere"
        raise HeadError(explain(received, "some to test on", "shorten the list, or pass a test size of 0"))
    return train, test, Excluded(len(everywhere), len(dropped), len(unknown))


def _ids_by_any_name(combined: Combination) -> dict[str, str]:
    """The samples' ids by what an audit may call them."""
    names = combined.aligned.sample_ids
    stems = [Path(name).stem for name in combined.feature_sets]
    # As a CSV file has them.
    known = {name: as_utf8(name).decode() for name in names}
    found = {
        other: name for name, text in known.items() for other in (text, *(f"{stem}:{text}" for stem in stems))
    }
    return found | {name: name for name in known}


def _check_judged(exclusions: Exclusions, id_of: Mapping[str, str], tested: set[str]) -> None:
    """Refuse suspected labels that labels of the test part spoke against: their absence tells of these."""
    judging, others = (
        {id_of[name] for name in ids if name in id_of} for ids in (exclusions.judging, exclusions.not_judging)
    )
    if exclusions.by_all_labels:
        received = "suspected labels that all labels were asked about"
    elif astray := len(judging & tested) + len(others - tested):
        received = f"suspected labels of an audit of other parts: {astray:,} samples are in another one here"
    else:
        return
    expected = f"an audit of this search's training part, since {len(tested):,} samples are set aside"
    remedy = (
        "run featx audit on this file with the same --test-size, --assignment and --random-state, "
        "or search with --test-size 0"
    )
    raise HeadError(explain(received, expected, remedy))


def _check_folds_of(
    search: HeadSearch, nested: int, combined: Combination, train: np.ndarray, aside: str
) -> None:
    """Refuse folds that a class is too small for, before hours of work."""
    aligned = combined.aligned
    for n_folds in (search.cv, nested or None):
        if not isinstance(n_folds, int):
            continue
        try:
            check_classes(aligned.y[train], np.array(aligned.groups)[train], n_folds, aligned.class_names)
        except HeadError as error:
            raise HeadError(f"{error}{aside}") from None


def _tested(search: HeadSearch, combined: Combination, test: np.ndarray) -> Evaluation:
    aligned = combined.aligned
    return evaluate(
        search,
        combined.read(test),
        aligned.y[test],
        class_names=[aligned.class_names[label] for label in search.classes_],
        groups=np.array(aligned.groups)[test],
        images=None if combined.images is None else combined.images[test],
    )
