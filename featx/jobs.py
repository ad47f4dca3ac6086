"""The jobs behind the commands that use a saved model: evaluate, predict.

The command line parses, calls one of these and prints. They only put public names together: what they do,
a script does with `featx.extract`, `featx.evaluate` and `featx.ModelFile`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier

from featx.answering import answers_on
from featx.checks import explain
from featx.classifier import ImageClassifier
from featx.embedding import check_averages, embed
from featx.errors import HeadError, printable
from featx.features.combination import combine_features
from featx.features.failures import Failure
from featx.features.feature_set import FeatureSet
from featx.features.report import ExtractionReport
from featx.files import StrPath, check_target
from featx.heads.persistence import ModelFile
from featx.images.base import ImageSource
from featx.images.manifests import manifest_columns
from featx.insight.evaluation import Evaluation, evaluate
from featx.model_inputs import as_head_classes, as_head_takes, judging_samples
from featx.prediction_files import PredictedRows, check_prediction_file, save_predictions
from featx.progress import progress_bar

# Of predictions that are in memory already.
_ROWS_A_BLOCK = 8_192


@dataclass(frozen=True)
class ModelEvaluation:
    """What `evaluate_model` found.

    Attributes
    ----------
    evaluation : Evaluation
    head : estimator
        What was scored: the model's head, deciding at the threshold where one was passed.
    n_trained_on : int
        Images left out because the head was fitted on them. When it was fitted on all, none is left out
        and ``flatters`` is True.
    flatters : bool
        Whether the figures are of images that the head was fitted on.
    n_unlisted : int
        Images scored that the manifest of the subgroups does not list: there, their values are missing.
    n_excluded : int
        Images left out because the search had left them out of training and test.
    """

    evaluation: Evaluation
    head: BaseEstimator
    n_trained_on: int
    flatters: bool
    n_unlisted: int = 0
    n_excluded: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            **self.evaluation.to_dict(),
            "n_trained_on": self.n_trained_on,
            "flatters": self.flatters,
            "n_unlisted": self.n_unlisted,
            "n_excluded": self.n_excluded,
        }


def evaluate_model(
    model: ModelFile,
    features: FeatureSet | Mapping[str, FeatureSet],
    *,
    by: Sequence[str] = (),
    manifest: StrPath | None = None,
    path_column: str | None = None,
    threshold: float | None = None,
    random_state: int = 0,
) -> ModelEvaluation:
    """Score a saved model on a feature set, without the images that it was fitted on or its search left out.

    Views of one image are scored as one, by their mean. A model that was fitted on several views is
    evaluated on features of any number of them, and the other way round.

    Parameters
    ----------
    model : ModelFile
    features : FeatureSet, or mapping of str to FeatureSet
        Labelled, of the same extraction; of a head on several, all of them by name, in any order. Sets that
        the head does not need are left aside.
    by : sequence of str, default=()
        Columns of ``manifest``, by whose values the head is scored as well.
    manifest : path-like, optional
        CSV file that lists the samples, as `featx.images.manifests.manifest_columns` reads it.
    path_column : str, optional
        Its column of the samples' paths.
    threshold : float, optional
        Of two classes, predict the second from this probability on, in place of what the head does.
    random_state : int, default=0
        Seed of the intervals.

    Returns
    -------
    ModelEvaluation

    Raises
    ------
    StoreMismatchError
        When the features are of another extraction than those the head was fitted on.
    StoreError
        When several sets are not of the same samples.
    HeadError
        When a set is missing, there are no labels, classes that the head does not know, columns without a
        manifest or the other way round, a manifest of other samples, a threshold that the head cannot
        have, or no samples but those that the search left out.
    SourceError
        When the manifest cannot be read, or lacks a column.
    """
    if bool(by) != (manifest is not None):
        received = f"by={', '.join(by)} without a manifest" if by else f"{manifest} and no columns of it"
        raise HeadError(explain(received, "both, or none", "pass both"))
    listed = {} if manifest is None else manifest_columns(manifest, by, path_column)
    combined = combine_features(as_head_takes(model, features))
    aligned = combined.aligned
    y = as_head_classes(model, aligned)
    judging = judging_samples([model], aligned)
    rows = judging.rows
    ids, X = [aligned.sample_ids[row] for row in rows], combined.read(rows)
    _check_listed(ids, listed, manifest)
    head = model.head if threshold is None else _deciding_at(model.head, threshold, X, y[rows])
    evaluation = evaluate(
        head,
        X,
        y[rows],
        class_names=[str(name) for name in model.class_names] or None,
        groups=np.array(aligned.groups)[rows],
        images=None if combined.images is None else combined.images[rows],
        subgroups={column: [listed.get(name, {}).get(column) for name in ids] for column in by},
        random_state=random_state,
    )
    n_unlisted = len(set(ids) - listed.keys()) if by else 0
    return ModelEvaluation(
        evaluation, head, judging.n_trained_on, judging.flatters, n_unlisted, judging.n_excluded
    )


def _check_listed(ids: Sequence[str], listed: Mapping[str, Any], manifest: StrPath | None) -> None:
    """Refuse a manifest of other samples, by which all would be missing."""
    if manifest is not None and listed.keys().isdisjoint(ids):
        received = f"{manifest}, which lists {next(iter(listed))} and none of the samples"
        remedy = "give it a column sample_id, or name the column of paths"
        raise HeadError(explain(printable(received), f"samples such as {printable(ids[0])}", remedy))


def _deciding_at(head: BaseEstimator, threshold: float, X: np.ndarray, y: np.ndarray) -> BaseEstimator:
    """A fitted head of two classes that predicts the second from some probability on."""
    if len(head.classes_) != 2 or not hasattr(head, "predict_proba"):
        received = f"a threshold, and a head of {len(head.classes_)} classes"
        received += "" if hasattr(head, "predict_proba") else " without probabilities"
        raise HeadError(explain(received, "two classes and probabilities", "leave the threshold out"))
    if not 0 <= threshold <= 1:
        raise HeadError(explain(f"the threshold {threshold}", "a probability, from 0 to 1", "pass one"))
    deciding = FixedThresholdClassifier(
        FrozenEstimator(head),
        threshold=threshold,
        pos_label=head.classes_[1],
        response_method="predict_proba",
    )
    # Frozen: this fits nothing, and says that all is fitted.
    return deciding.fit(X, y)


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
        return {"predictions": predictions, **counts_of(self.report)}

    def save(self, path: StrPath) -> None:
        """Write a row for every sample; see `featx.prediction_files`.

        Parameters
        ----------
        path : path-like
            ``.csv`` or ``.parquet``. Created or replaced; it appears complete or not at all.

        Raises
        ------
        StoreError
            When the name has another ending, or the file cannot be written.
        MissingPackageError
            Of a parquet file, without pyarrow.
        """
        blocks = (
            PredictedRows(
                self.sample_ids[rows], self.labels[rows], self.probabilities[rows], self.errors[rows]
            )
            for rows in map(_rows_from, range(0, len(self.sample_ids), _ROWS_A_BLOCK))
        )
        save_predictions(path, self.class_names, blocks)


def predict_images(
    classifier: ImageClassifier, source: ImageSource, *, cluster: Any = None, **options: Any
) -> Predictions:
    """Classify images; those that cannot be read are listed, not dropped.

    An image of several views is answered once, by the mean over them.

    Parameters
    ----------
    classifier : ImageClassifier
        Fitted or loaded.
    source : ImageSource
    cluster : RayCluster, optional
        Where to embed, and to apply a head for which that pays.
    **options
        Of `featx.extract`: ``on_error``, ``workers``, ``verbose``.

    Returns
    -------
    Predictions

    Raises
    ------
    DecodeError
        At the first image that cannot be read, unless ``on_error="skip"``.
    """
    with cluster or nullcontext():
        features = _embedded(classifier, source, cluster, options)
        blocks = list(_predicted(classifier, source, features, cluster, options))
    return Predictions(
        source.sample_ids,
        [label for block in blocks for label in block.labels],
        np.concatenate([block.probabilities for block in blocks]),
        [error for block in blocks for error in block.errors],
        classifier.classes_.tolist(),
        features.report,
    )


def predict_to_file(
    classifier: ImageClassifier, source: ImageSource, path: StrPath, *, cluster: Any = None, **options: Any
) -> ExtractionReport:
    """Classify images into a file: neither their features nor their probabilities are ever all in memory.

    Parameters
    ----------
    classifier : ImageClassifier
        Fitted or loaded, with a store. The features of a model on several extractions are put side by side
        in memory.
    source : ImageSource
    path : path-like
        ``.csv`` or ``.parquet``, as `Predictions.save` writes it.
    cluster, **options
        As `predict_images` takes them.

    Returns
    -------
    ExtractionReport
        Lists the images that could not be read; they have a row in the file, with the reason.

    Raises
    ------
    DecodeError
        As `predict_images`; nothing is written then.
    StoreError
        When the file cannot be written; what stood there before is untouched.
    MissingPackageError
        Of a parquet file, without pyarrow.
    """
    check_prediction_file(path)
    check_target(path)
    with cluster or nullcontext():
        features = _embedded(classifier, source, cluster, options)
        blocks = _predicted(classifier, source, features, cluster, options)
        save_predictions(path, classifier.classes_.tolist(), blocks)
    report: ExtractionReport = features.report
    return report


def _embedded(classifier: ImageClassifier, source: ImageSource, cluster: Any, options: Any) -> FeatureSet:
    where = {"store": classifier.store, "cluster": cluster}
    return embed(source.without_labels(), classifier.extractors_, **where, **options)


def _predicted(
    classifier: ImageClassifier, source: ImageSource, features: FeatureSet, cluster: Any, options: Any
) -> Iterator[PredictedRows]:
    """Predictions of every sample in order; those that failed stand among the others."""
    head, n_classes = classifier.head_, len(classifier.classes_)
    address = None if cluster is None else cluster.address
    if features.view.any():
        check_averages(head)
    errors = {failure.index: failure.reason for failure in features.report.failed}
    # The head answers for the samples in order, without those that failed.
    kept = np.array([index for index in range(len(source)) if index not in errors])
    start = n_answered = 0
    with progress_bar("Classifying", len(source), options.get("verbose", 0), "images") as advance:
        for answers in answers_on(features, head, cluster=address):
            rows = kept[n_answered : n_answered + len(answers.labels)]
            n_answered += len(rows)
            # Of those that failed at the end, nothing follows.
            stop = len(source) if n_answered == len(kept) else rows[-1] + 1
            labels: list[Any] = [None] * (stop - start)
            probabilities = np.full((stop - start, n_classes), np.nan)
            for row, label in zip(rows - start, classifier.named(answers.labels).tolist(), strict=True):
                labels[row] = label
            if answers.probabilities is not None:
                probabilities[rows - start] = answers.probabilities
            reasons = [errors.get(index, "") for index in range(start, stop)]
            yield PredictedRows(source.sample_ids[start:stop], labels, probabilities, reasons)
            advance(stop - start)
            start = stop


def _rows_from(start: int) -> slice:
    return slice(start, start + _ROWS_A_BLOCK)


def counts_of(report: ExtractionReport | PredictionReport) -> dict[str, Any]:
    """What a command says of its images beside their classes, as plain values for JSON."""
    found = report.to_dict()
    return {name: found[name] for name in ("n_samples", "n_failed", "failed", "seconds")}
