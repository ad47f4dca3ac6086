"""A classifier made ready for training: what is frozen in front, what trains behind it, how fast.

What is frozen gives the same activations for an image in every epoch, unless the image is augmented, so
it can run once. Both parts share their weights with the classifier: training the one changes the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from featx.models.blocks import activation_size, blocks_of, cut, last_blocks, parts_of
from featx.models.rows import Rows, batch_outputs, empty_rows

if TYPE_CHECKING:
    import keras

    from featx.models.augmentation import Augmentation

#: A layer or model, and whether it runs as in training when the whole does.
Stage: TypeAlias = tuple[Any, bool]

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """What a training will change, and what it takes.

    Attributes
    ----------
    blocks : tuple of str
        Those that train, from the image upwards; besides them the head does.
    n_params : int
    n_trainable : int
        Parameters that train.
    memory_bytes : int
        An estimate, of weights, gradients, Adam's two moments, and one batch's activations with their
        gradients; without the images and activations that are kept for all epochs.
    """

    blocks: tuple[str, ...]
    n_params: int
    n_trainable: int
    memory_bytes: int

    def __str__(self) -> str:
        names = [*self.blocks, "head"]
        if len(names) > 4:
            names = [f"{len(self.blocks)} blocks from {names[0]} to {names[-2]}", "head"]
        return (
            f"training {self.n_trainable:,} of {self.n_params:,} parameters ({', '.join(names)}); "
            f"about {self.memory_bytes / 1e6:,.0f} MB"
        )


class Trainee:
    """The two parts of a classifier.

    Parameters
    ----------
    model : keras.Model
        As `featx.attach_head` makes it. Which of its layers are trainable is set.
    unfreeze : str
        "none", "last:N" or "all".
    is_cached : bool
        Whether the frozen part runs once, in front.
    trains_batch_norm : bool
        Whether what trains of the network runs as in training: batch normalisation by its batch, dropout at
        random.
    augmentation : Augmentation, optional
        Only where nothing is cached.
    seed : int
        Of the augmentation.

    Attributes
    ----------
    model : keras.Model
        What is trained: from `prepared` inputs to scores.
    blocks : list of Block
        Those that train.
    """

    def __init__(
        self,
        model: keras.Model,
        unfreeze: str,
        *,
        is_cached: bool,
        trains_batch_norm: bool = False,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self._parts = parts_of(model)
        self.blocks = last_blocks(blocks_of(self._parts.network), unfreeze)
        self._whole = model
        self._set_trainable()
        before, behind = self._stages(follows_training=trains_batch_norm)
        self._behind = [model for model, _ in behind]
        self._activations = before[-1][0].outputs
        self._frozen = _chain(before) if is_cached else None
        self.model = _chain(behind if is_cached else [*_augmenting(augmentation, seed), *before, *behind])

    def plan(self, batch_size: int) -> Plan:
        """What training will change, and what it takes."""
        n_params, n_trainable = (
            sum(int(np.prod(weight.shape)) for weight in weights)
            for weights in (self._whole.weights, self._whole.trainable_weights)
        )
        n_activations = sum(map(activation_size, self._behind)) * batch_size
        # A gradient and two moments stand beside each weight, a gradient beside each activation.
        memory = n_params + 3 * n_trainable + 2 * n_activations
        return Plan(tuple(block.name for block in self.blocks), n_params, n_trainable, memory * _FLOAT_BYTES)

    def learning_rates(self, rate: float, block_decay: float) -> Callable[[Any], float]:
        """The learning rate of each variable: ``rate`` for head and last block, less towards the image."""
        rates = {
            id(variable): rate * block_decay**depth
            for depth, block in enumerate(reversed(self.blocks))
            for layer in block.layers
            for variable in layer.trainable_variables
        }
        return lambda variable: rates.get(id(variable), rate)

    def prepared(
        self, images: Rows, batch_size: int, memory_gb: float, advance: Callable[[int], None]
    ) -> tuple[Rows, ...]:
        """What `model` takes, of images (n_samples, height, width, 3), uint8."""
        if self._frozen is None:
            return (images,)
        shapes = [tuple(output.shape[1:]) for output in self._activations]
        found = tuple(empty_rows(len(images), shape, np.float32, memory_gb / len(shapes)) for shape in shapes)
        for batch, outputs in batch_outputs(self._frozen, [images], batch_size):
            for rows, values in zip(found, outputs, strict=True):
                rows[batch] = values
            advance(batch.stop - batch.start)
        return found

    @contextmanager
    def computing_in(self, precision: str) -> Iterator[None]:
        """The network computes in this precision for a while; its weights stay float32."""
        import keras

        layers = list(_leaves(self._parts.network))
        before = [layer.dtype_policy for layer in layers]
        if precision == "bfloat16":
            for layer in layers:
                layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
        try:
            yield
        finally:
            for layer, policy in zip(layers, before, strict=True):
                layer.dtype_policy = policy

    def _set_trainable(self) -> None:
        trained = {id(layer) for block in self.blocks for layer in block.layers}
        # The head's layers stay as they are: some of what a converted head holds is no weight to train.
        self._parts.network.trainable = True
        for layer in self._parts.network.layers:
            layer.trainable = id(layer) in trained

    def _stages(self, *, follows_training: bool) -> tuple[list[Stage], list[Stage]]:
        if not self.blocks:
            # All that has to be kept of an image is what the head takes.
            return [(self._parts.features, False)], [(self._parts.head, True)]
        layers = [layer for block in self.blocks for layer in block.layers]
        frozen, rest = cut(self._parts.network, layers)
        before: list[Stage] = [(self._parts.before, False), (frozen, False)]
        return before, [(rest, follows_training), (self._parts.after, True)]


def _augmenting(augmentation: Augmentation | None, seed: int) -> list[Stage]:
    from keras.layers import Rescaling

    if augmentation is None:
        return []
    # To float32 and back to whole levels, which the classifier's input cuts them to.
    layers = [Rescaling(1.0), *augmentation.layers(seed), Rescaling(1.0, offset=0.5)]
    return [(layer, True) for layer in layers]


def _chain(stages: list[Stage]) -> keras.Model:
    """A model of several one after the other, of which some never run as in training.

    A functional model cannot say that: Keras hands "in training" down to every layer in it.
    """
    import keras

    class Chain(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.stages = [stage for stage, _ in stages]

        def call(self, values: Any, training: bool | None = None) -> Any:  # noqa: FBT001
            for stage, follows_training in stages:
                values = stage(values, training=bool(training) and follows_training)
            return values

    return Chain()


def _leaves(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer
