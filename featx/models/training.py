"""Epochs of gradient descent that can be killed at any moment and go on as if nothing had happened.

Whatever is random is a function of the seed and the number of the epoch: the order of the samples, the
augmentation, the dropout. So a run's state after an epoch is the weights, the optimizer's variables and
the history, and no random state has to be kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from featx.checks import explain
from featx.errors import ConversionError, StoreCorruptError, printable
from featx.models.blocks import one_or_list
from featx.models.rows import Rows, batch_outputs, batches

if TYPE_CHECKING:
    import keras

    from featx.models.checkpoints import Checkpoint
    from featx.models.samples import Samples

#: What is noted of each epoch.
HISTORY = (
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
    "images_per_second",
)

# Probabilities are kept away from 0 by as much as Keras's own loss keeps them.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class Score:
    """How well a model does on some samples; weighted as they are.

    Attributes
    ----------
    accuracy : float
    log_loss : float
        In nats; of the softmax where the model gives decisions.
    """

    accuracy: float
    log_loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """Larger is better: accuracy first, then log loss."""
        # A loss that is not a number ranks last.
        return self.accuracy, -self.log_loss if np.isfinite(self.log_loss) else -np.inf


@dataclass(frozen=True)
class FineTuneResult:
    """What came of a fine-tuning.

    Attributes
    ----------
    kept : {"finetuned", "frozen"}
        Which model came back: the fine-tuned one where it is the better on the validation part, or where
        there is no guard.
    frozen, finetuned : Score
        Of the model before, and of that after the best epoch, on the validation part; the very models, in
        float32.
    best_epoch : int
    n_epochs : int
        That were run.
    n_resumed : int
        Of these, by an earlier process.
    n_train, n_validation : int
        Images.

    Examples
    --------
    See `FineTuner`.
    """

    kept: Literal["finetuned", "frozen"]
    frozen: Score
    finetuned: Score
    best_epoch: int
    n_epochs: int
    n_resumed: int
    n_train: int
    n_validation: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Schedule:
    """How a model is trained.

    Attributes
    ----------
    learning_rates : callable
        Of a variable: its largest learning rate.
    epochs : int
    batch_size : int
    warmup : float
        Share of the steps in which the learning rates rise, before they fall as a cosine.
    patience : int or None
        Epochs without a better score after which training stops.
    seed : int
    """

    learning_rates: Callable[[Any], float]
    epochs: int
    batch_size: int
    warmup: float
    patience: int | None
    seed: int


@dataclass
class Training:
    """A run of epochs.

    Parameters
    ----------
    model : keras.Model
        From `Samples.inputs` to scores, some of its weights trainable.
    schedule : Schedule
    is_probability : bool
        Whether the scores are probabilities, or else decisions.
    checkpoint : Checkpoint, optional
        Where the state is kept after each epoch, and taken up from.

    Attributes
    ----------
    history : dict of str to list of float
        By the names in `HISTORY`, one value an epoch.
    best : list of ndarray
        The model's weights after the epoch with the best score on the validation samples.
    best_epoch : int
        Counted from 1; 0 when no epoch has ended.
    n_resumed : int
        Epochs that an earlier process ran.
    diverged : bool
        Whether training ended at a loss that is no number.
    """

    model: keras.Model
    schedule: Schedule
    is_probability: bool
    checkpoint: Checkpoint | None = None
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in HISTORY})
    best: list[np.ndarray] = field(default_factory=list)
    best_epoch: int = 0
    n_resumed: int = 0
    diverged: bool = False

    @property
    def n_epochs(self) -> int:
        """Epochs that have ended."""
        return len(self.history["loss"])

    @property
    def is_over(self) -> bool:
        """Whether all epochs have ended, or the last ones brought nothing."""
        patience = self.schedule.patience
        is_stalled = patience is not None and self.n_epochs - self.best_epoch >= patience
        is_through = self.n_epochs >= self.schedule.epochs or self.diverged
        return is_through or (is_stalled and self.n_epochs > 0)

    def run(self, train: Samples, validation: Samples, advance: Callable[[int], None]) -> None:
        """Train until `is_over`, from wherever the checkpoint has got to.

        Parameters
        ----------
        train, validation : Samples
        advance : callable
            Told of each sample.
        """
        import keras

        optimizer = self._optimizer(-(-len(train) // self.schedule.batch_size) * self.schedule.epochs)
        optimizer.build(self.model.trainable_variables)
        self.model.compile(
            optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=not self.is_probability),
            weighted_metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            # XLA is slow for depthwise convolutions on a CPU, and torch compiles for minutes.
            jit_compile="auto" if keras.backend.backend() == "jax" else False,
        )
        self._resume(optimizer)
        advance(self.n_resumed * len(train))
        while not self.is_over:
            self._epoch(train, validation, advance)
            if not self.diverged:
                self._save(optimizer)

    def _epoch(self, train: Samples, validation: Samples, advance: Callable[[int], None]) -> None:
        started, epoch = perf_counter(), self.n_epochs
        self._seed(epoch)
        order = np.random.default_rng([self.schedule.seed, epoch]).permutation(len(train))
        totals = np.zeros(2)
        for batch in batches(len(train), self.schedule.batch_size):
            rows = order[batch]
            inputs = one_or_list([array[rows] for array in train.inputs])
            logs = self._step(inputs, train.y[rows], train.weight[rows])
            totals += np.array([logs["loss"], logs["accuracy"]], np.float64) * len(rows)
            advance(len(rows))
        seconds = perf_counter() - started
        loss, accuracy = (totals / len(train)).tolist()
        if not np.isfinite(loss):
            self.diverged = True
            return
        found = score(self.model, validation, self.schedule.batch_size, is_probability=self.is_probability)
        values = (
            *(loss, accuracy, found.log_loss, found.accuracy),
            *(self._learning_rate(), seconds, len(train) / seconds),
        )
        best = self._best_score()
        for name, value in zip(HISTORY, values, strict=True):
            self.history[name].append(value)
        if best is None or found.rank > best.rank:
            self.best, self.best_epoch = self.model.get_weights(), self.n_epochs

    def _step(self, inputs: Any, y: np.ndarray, weight: np.ndarray) -> dict[str, float]:
        with warnings.catch_warnings():
            # Keras would go on, and train what is left.
            warnings.filterwarnings("error", "Gradients do not exist")
            try:
                logs: dict[str, float] = self.model.train_on_batch(inputs, y, weight, return_dict=True)
            except UserWarning as error:
                expected = "one that has a gradient towards its features"
                remedy = "choose another head, or weights='distance' for nearest neighbours"
                raise ConversionError(explain("a head of steps", expected, remedy)) from error
        return logs

    def _best_score(self) -> Score | None:
        if not self.best_epoch:
            return None
        index = self.best_epoch - 1
        return Score(self.history["validation_accuracy"][index], self.history["validation_loss"][index])

    def _optimizer(self, n_steps: int) -> Any:
        """Adam, with a learning rate for each kind of variable that falls as a cosine after a warm-up."""
        import keras

        n_warmup = int(self.schedule.warmup * n_steps)
        optimizers: dict[float, Any] = {}

        def optimizer_of(variable: Any) -> Any:
            rate = self.schedule.learning_rates(variable)
            if rate not in optimizers:
                decay = keras.optimizers.schedules.CosineDecay(
                    0.0 if n_warmup else rate,
                    max(n_steps - n_warmup, 1),
                    warmup_target=rate if n_warmup else None,
                    warmup_steps=n_warmup,
                )
                optimizers[rate] = keras.optimizers.Adam(decay)
            return optimizers[rate]

        return keras.optimizers.MultiOptimizer(optimizer_of)

    def _learning_rate(self) -> float:
        """The largest at this moment."""
        return max(float(optimizer.learning_rate) for optimizer in self.model.optimizer.optimizers)

    def _seed(self, epoch: int) -> None:
        """Put whatever draws random numbers in the model where this epoch begins."""
        states = [variable for variable in self.model.variables if variable.name == "seed_generator_state"]
        for index, state in enumerate(states):
            seeds = np.random.default_rng([self.schedule.seed, epoch, index]).integers(2**31, size=2)
            state.assign(seeds.astype(np.uint32))

    def _resume(self, optimizer: Any) -> None:
        found = None if self.checkpoint is None else self.checkpoint.load()
        if found is None:
            return
        try:
            self._take_up(*found, optimizer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # It is of this run, or says so: whoever wrote it decides what else it says.
            reason = printable(str(error).partition("\n")[0][:200])
            message = f"the checkpoint does not fit the model it is said to be of ({reason}); remove it"
            raise StoreCorruptError(message) from error

    def _take_up(self, state: dict[str, Any], arrays: dict[str, np.ndarray], optimizer: Any) -> None:
        self.history, self.best_epoch = state["history"], state["best_epoch"]
        self.n_resumed = self.n_epochs
        self.model.set_weights(_numbered(arrays, "weights"))
        self.best = _numbered(arrays, "best")
        for variable, value in zip(optimizer.variables, _numbered(arrays, "optimizer"), strict=True):
            variable.assign(value)

    def _save(self, optimizer: Any) -> None:
        if self.checkpoint is None:
            return
        values = {
            "weights": self.model.get_weights(),
            "best": self.best,
            "optimizer": [_as_array(variable) for variable in optimizer.variables],
        }
        arrays = {
            f"{name}/{index}": array for name, found in values.items() for index, array in enumerate(found)
        }
        self.checkpoint.save({"history": self.history, "best_epoch": self.best_epoch}, arrays)


def score(model: keras.Model, samples: Samples, batch_size: int, *, is_probability: bool) -> Score:
    """Score a model as it is.

    Parameters
    ----------
    model : keras.Model
    samples : Samples
    batch_size : int
    is_probability : bool

    Returns
    -------
    Score
    """
    return score_of(outputs(model, samples.inputs, batch_size), samples, is_probability=is_probability)


def score_of(scores: np.ndarray, samples: Samples, *, is_probability: bool) -> Score:
    """The score that a model's outputs (n_samples, n_classes) have.

    Examples
    --------
    >>> from featx.models.samples import Samples
    >>> samples = Samples((), np.array([0, 1]), np.ones(2, np.float32))
    >>> score_of(np.array([[0.5, 0.5], [0.0, 1.0]]), samples, is_probability=True).accuracy
    1.0
    """
    scores = np.asarray(scores, np.float64)
    rows = np.arange(len(samples))
    if is_probability:
        likelihood = np.log(np.clip(scores[rows, samples.y], _SMALLEST, None))
    else:
        largest = scores.max(axis=1)
        likelihood = scores[rows, samples.y] - largest
        likelihood -= np.log(np.exp(scores - largest[:, np.newaxis]).sum(axis=1))
    is_right = scores.argmax(axis=1) == samples.y
    weight = samples.weight.astype(np.float64)
    return Score(float(np.average(is_right, weights=weight)), float(-np.average(likelihood, weights=weight)))


def outputs(model: keras.Model, inputs: Sequence[Rows], batch_size: int) -> np.ndarray:
    """What a model with one output gives: ndarray (n_samples, ...), float32."""
    return np.concatenate([values for _, (values,) in batch_outputs(model, inputs, batch_size)])


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether every row of scores is none below 0 with a sum of 1.

    Examples
    --------
    >>> are_probabilities(np.array([[0.25, 0.75]])), are_probabilities(np.array([[-1.0, 2.0]]))
    (True, False)
    """
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3))


def _numbered(arrays: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    n_arrays = sum(key.startswith(f"{name}/") for key in arrays)
    return [arrays[f"{name}/{index}"] for index in range(n_arrays)]


def _as_array(variable: Any) -> np.ndarray:
    import keras

    array: np.ndarray = keras.ops.convert_to_numpy(variable.value)
    return array
