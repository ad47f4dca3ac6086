"""FineTuner: trains a classifier end to end from its fitted head, and never gives back a worse one.

A linear probe first, then fine-tuning from it, at small learning rates (LP-FT: Kumar et al., Fine-Tuning
can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022). The validation part
decides: over the epochs, and in the end between the fine-tuned model and the frozen one it began as.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.base import BaseEstimator

from featx.checks import check_choice, check_positive, check_seed, explain
from featx.digests import arrays_sha256
from featx.errors import ConversionError, FeatxWarning
from featx.features.extraction import merge_groups
from featx.features.extractor import tags_for_images
from featx.features.folding import copy_model
from featx.features.keras_models import weights_digest
from featx.files import StrPath, check_target, sha256_hex
from featx.heads.holdout import holdout_split
from featx.images.base import ImageSource
from featx.images.sources import as_source
from featx.models.augmentation import Augmentation
from featx.models.baseline import warn_of_negative_transfer
from featx.models.checkpoints import Checkpoint
from featx.models.prediction import PredictsImages
from featx.models.rows import decoded_rows
from featx.models.samples import Labelled, Samples, check_classes_in, check_disjoint
from featx.models.trainee import Trainee
from featx.models.training import (
    FineTuneResult,
    Schedule,
    Training,
    are_probabilities,
    outputs,
    score,
    score_of,
)
from featx.progress import progress_bar, say

if TYPE_CHECKING:
    import keras


class FineTuner(PredictsImages, BaseEstimator):
    """Trains the last blocks of a backbone together with the head behind it.

    Parameters
    ----------
    model : keras.Model
        As `featx.attach_head` or `ImageClassifier.to_keras` gives it. It is left as it is.
    unfreeze : str, default="last:1"
        What trains besides the head: "none", "last:N" blocks as the architecture names them, or "all".
    learning_rate : float, default=1e-5
        Of the head and the last block, at its largest.
    epochs : int, default=5
    batch_size : int, default=32
    guard : bool, default=True
        Give the frozen model back where the fine-tuned one does not beat it on the validation part.
    block_decay : float, default=0.8
        Each block nearer to the image learns at this share of the learning rate of the next one.
    warmup : float, default=0.1
        Share of the steps in which the learning rates rise from 0; then they fall as a cosine.
    patience : int or None, default=3
        Epochs without a better validation score after which training stops.
    validation_size : float, default=0.2
        Share of the images that is set aside to decide by, where `fit` is given none.
    class_weight : {None, "balanced"} or mapping of class to float, default=None
    augmentation : Augmentation, optional
        Random changes to the training images.
    batch_norm : {"inference", "train"}, default="inference"
        Whether the blocks that train run as in inference, batch normalisation with its fixed statistics
        and no dropout, or as in training. Frozen blocks always run as in inference.
    precision : {"float32", "bfloat16"}, default="float32"
        In which the network computes while it trains. Weights and results stay float32.
    cache_activations : bool, default=True
        Run frozen blocks once an image, not once an epoch, where there is no augmentation.
    memory_gb : float, default=4.0
        Images beyond this many gigabytes stand in a temporary file, and activations likewise.
    checkpoint : path-like, optional
        A file that keeps the state after each epoch. A run that was killed goes on from it when `fit` is
        called again, and ends with the same weights.
    random_state : int, default=0
        Seed of the split, the order, the augmentation and the dropout.
    verbose : int, default=0
        1 says on stderr what will train and how much memory it takes, and shows a progress bar.

    Attributes
    ----------
    model_ : keras.Model
        From uint8 images to float32 scores (n, n_classes), with ``class_names``.
    classes_ : ndarray of shape (n_classes,)
    result_ : FineTuneResult
    history_ : dict of str to list of float
        One value an epoch: loss, accuracy, validation_loss, validation_accuracy, learning_rate (the largest,
        at the end of the epoch), seconds, images_per_second.
    plan_ : Plan
        What trained, and an estimate of the memory.
    is_probability_ : bool
        Whether the model gives probabilities, or decisions.
    n_unlabelled_ : int
        Images left out because they have no label.

    Notes
    -----
    A head that was fitted on the validation images does better on them than it should, and the guard would
    prefer it unjustly. Hold them out before fitting the head, or use `ImageClassifier.fine_tune`, which
    does.

    Better means a higher accuracy, and at the same accuracy a lower log loss, both weighted like the images.
    The best of several epochs flatters itself a little: judge the result on images of its own.

    Examples
    --------
    >>> from featx import attach_head, load_backbone, to_keras
    >>> from sklearn.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 120, (24, 32, 32, 3)).astype(np.uint8)
    >>> images[::2] += 130
    >>> y = np.array(["light", "dark"] * 12)
    >>> backbone = load_backbone("VGG16", input_size=(32, 32), weights=None)
    >>> head = LogisticRegression().fit(backbone.model.predict_on_batch(images), y)
    >>> model = attach_head(backbone, to_keras(head), head.classes_)
    >>> tuner = FineTuner(model, epochs=1, batch_size=8).fit(images, y)
    >>> tuner.result_.finetuned.accuracy >= tuner.result_.frozen.accuracy or tuner.result_.kept == "frozen"
    True
    >>> tuner.predict_proba(images).shape
    (24, 2)
    """

    def __init__(
        self,
        model: keras.Model,
        unfreeze: str = "last:1",
        learning_rate: float = 1e-5,
        epochs: int = 5,
        batch_size: int = 32,
        *,
        guard: bool = True,
        block_decay: float = 0.8,
        warmup: float = 0.1,
        patience: int | None = 3,
        validation_size: float = 0.2,
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
        augmentation: Augmentation | None = None,
        batch_norm: Literal["inference", "train"] = "inference",
        precision: Literal["float32", "bfloat16"] = "float32",
        cache_activations: bool = True,
        memory_gb: float = 4.0,
        checkpoint: StrPath | None = None,
        random_state: int = 0,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.unfreeze = unfreeze
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.guard = guard
        self.block_decay = block_decay
        self.warmup = warmup
        self.patience = patience
        self.validation_size = validation_size
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.batch_norm = batch_norm
        self.precision = precision
        self.cache_activations = cache_activations
        self.memory_gb = memory_gb
        self.checkpoint = checkpoint
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        images: Any,
        y: Sequence[Any] | np.ndarray | None = None,
        *,
        groups: Sequence[str] | None = None,
        sample_weight: Sequence[float] | np.ndarray | None = None,
        validation_data: Any = None,
    ) -> FineTuner:
        """Train, and keep the better model.

        Parameters
        ----------
        images : ImageSource, path-like, sequence of path-like, ndarray, or data set
            n_samples images: anything that `featx.as_source` takes.
        y : array-like of shape (n_samples,), optional
            Classes among the model's ``class_names``; by default those that the source carries.
        groups : sequence of str of length n_samples, optional
            Images of one group stand on one side of the split; by default those of the source. Copies of
            an image are never parted.
        sample_weight : array-like of shape (n_samples,), optional
        validation_data : images, or tuple (images, y), optional
            Images to decide by, in place of a share of ``images``.

        Returns
        -------
        self

        Raises
        ------
        ConversionError
            When the model or a parameter cannot be used.
        SourceError
            When images or labels cannot be used.
        HeadError
            When labels are not the model's, or the validation part has one class only or images that
            stand among the others too.
        """
        self._check_params()
        classes = self._classes(y)
        model = copy_model(self.model)
        model.class_names = tuple(str(name) for name in classes)
        # Before the images are read, so that what cannot be trained is refused at once.
        trainee = self._trainee(model)
        labelled = Labelled(as_source(images, y), classes, groups, sample_weight)
        train, validation = self._samples(labelled, validation_data)
        scores = outputs(model, validation.inputs, self.batch_size)
        is_probability = are_probabilities(scores)
        frozen = score_of(scores, validation, is_probability=is_probability)
        warn_of_negative_transfer(train, validation, frozen.accuracy, self.random_state)
        plan = trainee.plan(self.batch_size)
        say(str(plan), self.verbose)
        training = self._train(trainee, train, validation, is_probability=is_probability)
        finetuned = score(model, validation, self.batch_size, is_probability=is_probability)
        is_better = finetuned.rank > frozen.rank
        if self.guard and not is_better:
            model.set_weights(self.model.get_weights())
        # Last and together: an interrupted training leaves no model, or the one of an earlier fit.
        self.model_, self.classes_, self.is_probability_ = model, classes, is_probability
        self.plan_, self.history_, self.n_unlabelled_ = plan, training.history, labelled.n_unlabelled
        self.result_ = FineTuneResult(
            "finetuned" if is_better or not self.guard else "frozen",
            frozen,
            finetuned,
            training.best_epoch,
            training.n_epochs,
            training.n_resumed,
            len(train),
            len(validation),
        )
        return self

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images that the model takes, in pixels."""
        height, width = self.model.input_shape[1:3]
        return height, width

    def _predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.model_.predict_on_batch(images))

    def _trainee(self, model: keras.Model) -> Trainee:
        is_cached = self.cache_activations and self.augmentation is None and self.unfreeze != "all"
        return Trainee(
            model,
            self.unfreeze,
            is_cached=is_cached,
            trains_batch_norm=self.batch_norm == "train",
            augmentation=self.augmentation,
            seed=self.random_state,
        )

    def _train(
        self, trainee: Trainee, train: Samples, validation: Samples, *, is_probability: bool
    ) -> Training:
        """Train, and end with the weights of the best epoch."""
        checkpoint = None
        if self.checkpoint is not None:
            checkpoint = Checkpoint(self.checkpoint, self._identity(train, validation))
        schedule = Schedule(
            trainee.learning_rates(self.learning_rate, self.block_decay),
            self.epochs,
            self.batch_size,
            self.warmup,
            self.patience,
            self.random_state,
        )
        training = Training(trainee.model, schedule, is_probability, checkpoint)
        initial = trainee.model.get_weights()
        with trainee.computing_in(self.precision):
            ready = [self._prepared(trainee, samples) for samples in (train, validation)]
            with progress_bar("Training", self.epochs * len(train), self.verbose, "images") as advance:
                training.run(ready[0], ready[1], advance)
        if training.diverged:
            received = f"a loss that is no number in epoch {training.n_epochs + 1}"
            if not training.best and not self.guard:
                raise ConversionError(explain(received, "a finite one", "pass a lower learning_rate"))
            message = f"training stopped at {received}; pass a lower learning_rate"
            warnings.warn(message, FeatxWarning, stacklevel=3)
        trainee.model.set_weights(training.best or initial)
        return training

    def _prepared(self, trainee: Trainee, samples: Samples) -> Samples:
        with progress_bar("Frozen blocks", len(samples), self.verbose, "images") as advance:
            inputs = trainee.prepared(samples.inputs[0], self.batch_size, self.memory_gb, advance)
        return replace(samples, inputs=inputs)

    def _samples(self, labelled: Labelled, validation_data: Any) -> tuple[Samples, Samples]:
        """The images to train on, and those to decide by."""
        pixels, digests = self._decoded(labelled.source)
        samples = labelled.samples(pixels, self.class_weight, digests)
        if validation_data is None:
            train, validation = (
                samples.take(part)
                for part in holdout_split(
                    samples.y,
                    merge_groups(labelled.groups, digests),
                    test_size=self.validation_size,
                    random_state=self.random_state,
                )
            )
        else:
            given = validation_data if isinstance(validation_data, tuple) else (validation_data,)
            held_out = Labelled(as_source(*given), labelled.classes)
            pixels, more = self._decoded(held_out.source)
            check_disjoint(labelled.source, digests, more)
            train, validation = samples, held_out.samples(pixels, self.class_weight, more)
        check_classes_in(validation, labelled.classes)
        return train, validation

    def _decoded(self, source: ImageSource) -> tuple[np.ndarray, list[str]]:
        with progress_bar("Reading", len(source), self.verbose, "images") as advance:
            return decoded_rows(source, self.input_size, self.memory_gb, advance)

    def _classes(self, y: Any) -> np.ndarray:
        """The model's classes, as numbers where that is what it is trained on."""
        names = getattr(self.model, "class_names", None) or range(self.model.output_shape[-1])
        kind = "U" if y is None else np.asarray(y).dtype.kind
        if kind == "b" and set(map(str, names)) <= {"False", "True"}:
            return np.array([str(name) == "True" for name in names])
        try:
            numbers = np.array([float(name) for name in names])
        except ValueError:
            kind = "U"
        if kind in "iuf":
            return numbers if kind == "f" else numbers.astype(np.int64)
        return np.array([str(name) for name in names])

    def _identity(self, train: Samples, validation: Samples) -> dict[str, Any]:
        """All that decides what a training computes."""
        import keras

        params = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in {"model", "guard", "checkpoint", "memory_gb", "verbose"}
        }
        params["augmentation"] = self.augmentation and asdict(self.augmentation)
        parts = {"train": train, "validation": validation}
        arrays = {
            f"{part} {name}": values
            for part, samples in parts.items()
            for name, values in (("y", samples.y), ("weight", samples.weight))
        }
        return {
            **{name: str(value) for name, value in params.items()},
            **{
                f"{part}_sha256": sha256_hex("".join(samples.image_sha256).encode())
                for part, samples in parts.items()
            },
            "labels_sha256": arrays_sha256(arrays.items()),
            "weights_sha256": weights_digest(self.model),
            "backend": keras.backend.backend(),
        }

    def _check_params(self) -> None:
        for name in ("learning_rate", "block_decay", "memory_gb"):
            _check_between(name, getattr(self, name), 0.0, np.inf)
        _check_between("warmup", self.warmup, -1e-9, 1.0)
        for name in ("epochs", "batch_size", *(("patience",) if self.patience is not None else ())):
            check_positive(name, getattr(self, name), ConversionError)
        check_choice("batch_norm", self.batch_norm, ("inference", "train"), ConversionError)
        check_choice("precision", self.precision, ("float32", "bfloat16"), ConversionError)
        check_seed("random_state", self.random_state, ConversionError)
        if self.augmentation is not None:
            self.augmentation.check()
        check_target(self.checkpoint)

    def __sklearn_clone__(self) -> FineTuner:
        # As for an extractor: the network is shared, everything else is not.
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Any:
        return tags_for_images(super().__sklearn_tags__())


def _check_between(name: str, value: Any, low: float, high: float) -> None:
    if not isinstance(value, int | float) or not low < value < high:
        expected = "a number above 0" if high == np.inf else f"a share from 0 to {high:g}"
        raise ConversionError(explain(f"{name}={value!r}", expected, "pass one"))
