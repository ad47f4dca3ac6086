"""The jobs behind the commands that need several parts of featx: search, evaluate, predict.

The command line parses, calls one of these and prints. They only put public names together: what they do,
a script does with `featx.extract`, `featx.HeadSearch`, `featx.evaluate` and `featx.ModelFile`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np

from featx.checks import explain
from featx.classifier import ImageClassifier
from featx.errors import HeadError, StoreMismatchError
from featx.features.extraction import extract
from featx.features.feature_set import FeatureSet
from featx.features.fingerprint import ExtractionSpec
from featx.features.run import ExtractionReport, Failure
from featx.files import StrPath, atomic_write
from featx.heads.holdout import holdout_split
from featx.heads.persistence import ModelFile
from featx.heads.search import HeadSearch
from featx.heads.splits import check_classes
from featx.images.base import LABELS_COME_FROM, UNLABELLED, ImageSource
from featx.insight.evaluation import Evaluation, evaluate


@dataclass(frozen=True)
class SearchResult:
    """What `search_features` found.

    Attributes
    ----------
    search : HeadSearch
        Fitted on the training part.
    test : Evaluation or None
        Of the best head on the part set aside; None when there is none.
    train_rows, test_rows : ndarray of int
        Rows of the feature set.
    n_unlabelled : int
        Rows left out because they have no label.
    seconds : float
    """

    search: HeadSearch
    test: Evaluation | None
    train_rows: np.ndarray
    test_rows: np.ndarray
    n_unlabelled: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "best_head": self.search.best_head_,
            "best_params": self.search.best_params_,
            "cv_score": self.search.best_score_,
            "test": None if self.test is None else self.test.to_dict(),
            "n_unlabelled": self.n_unlabelled,
            "candidates": self.search.leaderboard(),
            "seconds": self.seconds,
        }


def search_features(
    features: FeatureSet,
    search: HeadSearch,
    *,
    test_size: float = 0.25,
    strata: Sequence[Any] | np.ndarray | None = None,
    random_state: int = 0,
) -> SearchResult:
    """Set a test part aside, search on the rest, and score the best head on the test part once.

    Parameters
    ----------
    features : FeatureSet
    search : HeadSearch
        Not fitted.
    test_size : float, default=0.25
        Share set aside; 0 trains on everything and scores nothing.
    strata : array-like of shape (n_samples,), optional
        What to stratify the test part by in place of the classes.
    random_state : int, default=0
        Seed of the split.

    Returns
    -------
    SearchResult

    Raises
    ------
    HeadError
        When the labels cannot serve a search.
    """
    started = perf_counter()
    rows = np.flatnonzero(features.y != UNLABELLED)
    if not len(rows):
        remedy = f"extract a labelled source: {LABELS_COME_FROM}"
        raise HeadError(explain("features without labels", "a label for each", remedy))
    y, groups = features.y[rows], np.array(features.groups)[rows]
    check_classes(y, groups, 2, features.class_names)
    train, test = np.arange(len(rows)), np.arange(0)
    if test_size:
        by = None if strata is None else np.asarray(strata)[rows]
        train, test = holdout_split(y, groups, test_size=test_size, strata=by, random_state=random_state)
    if isinstance(search.cv, int):
        try:
            check_classes(y[train], groups[train], search.cv, features.class_names)
        except HeadError as error:
            aside = f" (test_size={test_size} sets {len(test)} of {len(rows)} aside)" if len(test) else ""
            raise HeadError(f"{error}{aside}") from None
    X = features.X[rows]
    search.fit(X[train], y[train], groups[train])
    evaluation = None
    if len(test):
        names = [features.class_names[label] for label in search.classes_]
        evaluation = evaluate(search, X[test], y[test], class_names=names, groups=groups[test])
    n_unlabelled = len(features) - len(rows)
    seconds = perf_counter() - started
    return SearchResult(search, evaluation, rows[train], rows[test], n_unlabelled, seconds)


def save_search(result: SearchResult, features: FeatureSet, path: StrPath) -> None:
    """Write the best head to a model file, as it was scored: fitted on the training part.

    Parameters
    ----------
    result : SearchResult
    features : FeatureSet
        That was searched.
    path : path-like
        Created or replaced.
    """
    metrics = result.to_dict()
    del metrics["candidates"]
    # The head knows the classes by the numbers that they have in the feature file.
    names = [features.class_names[label] for label in result.search.classes_]
    ModelFile(
        result.search.best_estimator_,
        class_names=names,
        extraction_spec=None if features.spec is None else features.spec.to_json(),
        metrics=metrics,
        training_images=[features.image_sha256[row] for row in result.train_rows],
    ).save(path)


@dataclass(frozen=True)
class ModelEvaluation:
    """What `evaluate_model` found.

    Attributes
    ----------
    evaluation : Evaluation
    n_trained_on : int
        Samples left out because the head was fitted on their images. When it was fitted on all of
        them, none is left out and ``flatters`` is True.
    flatters : bool
        Whether the figures are of images that the head was fitted on.
    """

    evaluation: Evaluation
    n_trained_on: int
    flatters: bool

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            **self.evaluation.to_dict(),
            "n_trained_on": self.n_trained_on,
            "flatters": self.flatters,
        }


def evaluate_model(model: ModelFile, features: FeatureSet) -> ModelEvaluation:
    """Score a saved model on a feature set, without the images that it was fitted on.

    Parameters
    ----------
    model : ModelFile
    features : FeatureSet
        Labelled, of the same extraction.

    Returns
    -------
    ModelEvaluation

    Raises
    ------
    StoreMismatchError
        When the features are of another extraction than those the head was fitted on.
    HeadError
        When there are no labels, or classes that the head does not know.
    """
    _check_same_extraction(model, features)
    y = _as_head_classes(model, features)
    is_labelled = features.y != UNLABELLED
    is_seen = model.was_trained_on(features.image_sha256) & is_labelled
    flatters = bool((is_seen == is_labelled).all())
    rows = np.flatnonzero(is_labelled if flatters else is_labelled & ~is_seen)
    groups = np.array(features.groups)[rows]
    names = [str(name) for name in model.class_names] or None
    evaluation = evaluate(model.head, features.X[rows], y[rows], class_names=names, groups=groups)
    return ModelEvaluation(evaluation, int(is_seen.sum()), flatters)


@dataclass(frozen=True)
class PredictionReport:
    """Which images an exported model could not be asked about.

    Attributes
    ----------
    n_samples, n_failed : int
    failed : tuple of Failure
    seconds : float
    """

    n_samples: int
    n_failed: int
    failed: tuple[Failure, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Predictions:
    """Classes of images, in the source's order.

    Attributes
    ----------
    sample_ids : list of str
        Of every sample, those that failed too.
    labels : list
        The most probable class, or None for a sample that failed.
    probabilities : ndarray of shape (n_samples, n_classes)
        NaN for a sample that failed, and for a head without probabilities.
    errors : list of str
        Why a sample failed, or "".
    class_names : list
    report : ExtractionReport or PredictionReport
    """

    sample_ids: list[str]
    labels: list[Any]
    probabilities: np.ndarray
    errors: list[str]
    class_names: list[Any]
    report: ExtractionReport | PredictionReport

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        rows = zip(self.sample_ids, self.labels, self.probabilities.tolist(), self.errors, strict=True)
        names = [str(name) for name in self.class_names]
        predictions = [
            {"sample_id": sample_id, "label": label, "probabilities": dict(zip(names, row, strict=True))}
            for sample_id, label, row, error in rows
            if not error
        ]
        return {"predictions": predictions, **_counts(self.report)}

    def save_csv(self, path: StrPath) -> None:
        """Write one row a sample: id, label, its probability, every class's probability, error.

        Parameters
        ----------
        path : path-like
            Created or replaced; it appears complete or not at all.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        names = [f"probability_{name}" for name in self.class_names]
        writer.writerow(["sample_id", "label", "probability", *names, "error"])
        rows = zip(self.sample_ids, self.labels, self.probabilities, self.errors, strict=True)
        for sample_id, label, row, error in rows:
            cells = ["" if np.isnan(value) else f"{value:.6f}" for value in [row.max(), *row]]
            writer.writerow([sample_id, "" if label is None else label, *cells, error])
        # An undecodable byte of a file name becomes an escape, as in the feature file.
        atomic_write(path, text.getvalue().encode("utf-8", "backslashreplace"))


def predict_images(
    classifier: ImageClassifier,
    source: ImageSource,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
    verbose: int = 0,
) -> Predictions:
    """Classify images; those that cannot be read are listed, not dropped.

    Parameters
    ----------
    classifier : ImageClassifier
        Fitted or loaded.
    source : ImageSource
    on_error : {"raise", "skip"}, default="raise"
    workers : int, optional
        Threads that decode.
    verbose : int, default=0

    Returns
    -------
    Predictions
    """
    features = extract(
        source.without_labels(),
        classifier.extractor_,
        store=classifier.store,
        on_error=on_error,
        workers=workers,
        verbose=verbose,
    )
    n_samples, names = len(source), classifier.classes_.tolist()
    labels: list[Any] = [None] * n_samples
    errors = [""] * n_samples
    for failure in features.report.failed:
        errors[failure.index] = failure.reason
    # The rows are the samples in order, without those that failed.
    kept = [index for index, error in enumerate(errors) if not error]
    probabilities = np.full((n_samples, len(names)), np.nan)
    head = classifier.head_
    for index, label in zip(kept, classifier.named(head.predict(features.X)).tolist(), strict=True):
        labels[index] = label
    if hasattr(head, "predict_proba"):
        probabilities[kept] = head.predict_proba(features.X)
    return Predictions(source.sample_ids, labels, probabilities, errors, names, features.report)


def _check_same_extraction(model: ModelFile, features: FeatureSet) -> None:
    if model.extraction_spec is None or features.spec is None:
        n_expected = getattr(model.head, "n_features_in_", features.n_features)
        if n_expected != features.n_features:
            received, expected = f"{features.n_features} features", f"the {n_expected} the head was fitted on"
            raise HeadError(explain(received, expected, "extract the same features"))
        return
    if differences := features.spec.differences(ExtractionSpec.from_json(model.extraction_spec)):
        message = "the features are not those the model was fitted on; extract them as it needs them"
        raise StoreMismatchError(message, differences)


def _as_head_classes(model: ModelFile, features: FeatureSet) -> np.ndarray:
    """The feature set's labels, as the classes that the head knows; the names are what they share."""
    # A head that was saved alone knows its classes and no names for them.
    names = model.class_names or model.head.classes_.tolist()
    known = {str(name): label for name, label in zip(names, model.head.classes_, strict=True)}
    used = [features.class_names[label] for label in np.unique(features.y) if label != UNLABELLED]
    unknown = [name for name in used if name not in known]
    if unknown or not used:
        received = f"the classes {', '.join(unknown)}" if unknown else "features without labels"
        raise HeadError(explain(received, f"labels among {', '.join(known)}", "leave the others out"))
    to_head = np.array([known.get(name, model.head.classes_[0]) for name in features.class_names])
    as_head: np.ndarray = to_head[np.maximum(features.y, 0)]
    return as_head


def _counts(report: ExtractionReport | PredictionReport) -> dict[str, Any]:
    found = report.to_dict()
    return {name: found[name] for name in ("n_samples", "n_failed", "failed", "seconds")}
