"""The jobs behind the commands on Keras models: finetune, export, and predict with what was exported.

Like those of `featx.jobs`, they only put public names together.
"""

from __future__ import annotations

import copy
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.checks import explain
from featx.classifier import ImageClassifier
from featx.errors import ConversionError, DecodeError, HeadError
from featx.features.extraction import extract
from featx.features.failures import Failure, failure_of
from featx.features.feature_set import FeatureSet
from featx.features.keras_files import load_keras_file
from featx.files import StrPath
from featx.heads.persistence import ModelFile
from featx.images.base import UNLABELLED, ImageSource
from featx.insight.evaluation import Evaluation, evaluate
from featx.jobs import PredictionReport, Predictions
from featx.models.export import ExportReport, export_model
from featx.models.exported import ExportedModel, load_exported
from featx.models.finetuning import FineTuner
from featx.models.prediction import scores_of
from featx.models.rows import decoded_rows
from featx.models.samples import Labelled
from featx.progress import progress_bar

if TYPE_CHECKING:
    import keras

_EXPORTED = {".keras", ".onnx", ".tflite"}
_N_COMPARED = 64


@dataclass(frozen=True)
class FineTuned:
    """What `finetune_model` found.

    Attributes
    ----------
    tuner : FineTuner
    frozen_test, test : Evaluation or None
        Of the frozen model and of the one that came back, on the images that the head was not fitted on;
        None when there are none.
    n_test : int
    """

    tuner: FineTuner
    frozen_test: Evaluation | None
    test: Evaluation | None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        result = self.tuner.result_.to_dict()
        tests = {"frozen_test": self.frozen_test, "test": self.test}
        return {
            **result,
            **{name: None if found is None else found.to_dict() for name, found in tests.items()},
            "plan": asdict(self.tuner.plan_),
            "history": self.tuner.history_,
        }


def finetune_model(
    path: StrPath,
    source: ImageSource,
    *,
    backbone: StrPath | None = None,
    store: StrPath = "cache",
    validation_data: Any = None,
    verbose: int = 0,
    **options: Any,
) -> FineTuned:
    """Fine-tune a saved model on the images its head was fitted on, and test on the others.

    Where the source holds none of the images that the head was fitted on, all of them train, and nothing
    is tested. Images that the model's search left out neither train nor test.

    Parameters
    ----------
    path : path-like
        Model file.
    source : ImageSource
        Labelled.
    backbone : path-like, optional
        Where the model needs one of the user's own.
    store : path-like, default="cache"
    validation_data : ImageSource, optional
        To decide by, in place of a share of the source.
    verbose : int, default=0
    **options
        Of `ImageClassifier.fine_tune`.

    Returns
    -------
    FineTuned

    Raises
    ------
    HeadError
        When the search left out all of the images.
    """
    classifier = ImageClassifier.load(path, backbone=backbone, store=store)
    classifier.verbose = verbose
    labelled = np.flatnonzero(source.labels != UNLABELLED)
    chosen = source.select(labelled) if len(labelled) else source
    # One row an image, as the training is going to see it.
    features = extract(chosen, classifier.extractor_.with_views(1), store=store, verbose=verbose)
    model = ModelFile.load(path)
    is_seen = model.was_trained_on(features.image_sha256)
    is_other = ~is_seen & ~model.was_excluded(features.image_sha256, features.sample_ids)
    train, test = np.flatnonzero(is_seen), np.flatnonzero(is_other)
    if not len(train):
        train, test = test, train
    if not len(train):
        received = f"{len(chosen):,} images, all of which the model's search had left out"
        raise HeadError(explain(received, "some that it had not", "pass others"))
    tuner = classifier.fine_tune(chosen.select(train), validation_data=validation_data, **options)
    if not len(test):
        return FineTuned(tuner, None, None)
    frozen = copy.copy(tuner)
    frozen.model_ = tuner.model
    frozen_test = _tested(frozen, chosen, test, features)
    kept = frozen_test if tuner.result_.kept == "frozen" else _tested(tuner, chosen, test, features)
    return FineTuned(tuner, frozen_test, kept)


def _tested(classifier: Any, source: ImageSource, rows: np.ndarray, features: FeatureSet) -> Evaluation:
    labelled = Labelled(source.select(rows), classifier.classes_)
    images, _ = decoded_rows(labelled.source, classifier.input_size, memory_gb=4.0)
    groups = [features.groups[row] for row in rows]
    return evaluate(classifier, images, classifier.classes_[labelled.y], groups=groups)


def is_exported(path: StrPath) -> bool:
    """Whether a path is named as an exported model is, not as a model file.

    Examples
    --------
    >>> is_exported("m.onnx"), is_exported("m.featx")
    (True, False)
    """
    return Path(path).suffix.lower() in _EXPORTED or Path(path).is_dir()


def export_model_file(
    path: StrPath,
    target: StrPath,
    *,
    format: str = "auto",  # noqa: A002 - the word that users write
    images: ImageSource | None = None,
    backbone: StrPath | None = None,
) -> ExportReport:
    """Export a model file, or a fine-tuned ``.keras`` file in another format.

    Parameters
    ----------
    path : path-like
    target : path-like
        Created or replaced.
    format : str, default="auto"
        See `featx.export_model`.
    images : ImageSource, optional
        The first 64 are what the export is compared on.
    backbone : path-like, optional
        Where the model needs one of the user's own.

    Returns
    -------
    ExportReport
    """
    model = _attached(path, backbone)
    compared = None
    if images is not None:
        rows = np.arange(min(len(images), _N_COMPARED))
        compared, _ = decoded_rows(images.select(rows), model.input_shape[1:3], memory_gb=4.0)
    return export_model(model, target, format=format, images=compared)


def _attached(path: StrPath, backbone: StrPath | None) -> keras.Model:
    if not is_exported(path):
        return ImageClassifier.load(path, backbone=backbone).to_keras()
    if Path(path).suffix.lower() != ".keras":
        received = f"the exported model {os.fspath(path)}"
        raise ConversionError(explain(received, "a model file or a .keras file", "export from that"))
    # Opened once for its checks, and once for what stands in it behind the resizing.
    exported = load_exported(path)
    model = load_keras_file(Path(path)).layers[-1]
    model.class_names = exported.class_names
    return model


def predict_exported(
    model: ExportedModel,
    source: ImageSource,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    workers: int | None = None,
    verbose: int = 0,
) -> Predictions:
    """Classify images with an exported model; those that cannot be read are listed, not dropped.

    Parameters
    ----------
    model : ExportedModel
    source : ImageSource
    on_error : {"raise", "skip"}, default="raise"
    workers : int, optional
        Threads that decode.
    verbose : int, default=0

    Returns
    -------
    Predictions
        Without probabilities where the model gives decisions.
    """
    started = perf_counter()
    failures: dict[int, Failure] = {}

    def fail(row: int, error: DecodeError) -> None:
        failures[row] = failure_of(source, row, "decode", error.reason)

    with progress_bar("Classifying", len(source), verbose, "images") as advance:
        scores = scores_of(
            model.predict_on_batch,
            source.without_labels(),
            model.input_size,
            workers=workers,
            on_failure=fail if on_error == "skip" else None,
            advance=advance,
        )
    names = list(model.class_names)
    labels = [None if row in failures else names[column] for row, column in enumerate(scores.argmax(axis=1))]
    errors = [failures[row].reason if row in failures else "" for row in range(len(source))]
    found = tuple(failures[row] for row in sorted(failures))
    report = PredictionReport(len(source), len(found), found, perf_counter() - started)
    if model.output != "probability":
        scores = np.full_like(scores, np.nan)
    return Predictions(source.sample_ids, labels, scores.astype(np.float64), errors, names, report)
