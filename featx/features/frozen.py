"""What one backbone is: how it is built, and the frozen graph from uint8 pixels to features.

`BackboneSpec` says how a network is built and what it expects. `Backbone` puts preprocessing in front
of the network and pooling behind it, so that the model that runs takes uint8 images and nothing about
them is left to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from featx.checks import explain, suggest
from featx.errors import BackboneError
from featx.features.folding import copy_model, fold_batch_norm
from featx.features.keras_models import architecture_digest, weights_digest

if TYPE_CHECKING:
    import keras

Weights: TypeAlias = Literal["imagenet"] | None

#: What happens to uint8 pixels before the network. The names "tf", "torch" and "caffe" are those of
#: ``keras.applications.imagenet_utils.preprocess_input``.
PREPROCESSING = {
    "none": "as they are, 0 to 255",
    "unit": "x / 255",
    "tf": "x / 127.5 - 1",
    "torch": "(x / 255 - ImageNet mean) / ImageNet standard deviation",
    "caffe": "BGR, minus the ImageNet mean",
    "lite": "(x - 127) / 128",
}
POOLING = ("avg", "max", "avg+max", "none")

#: What stands for the weights, and in a spec for the name, of a user's own model.
OWN = "own"

#: The tap that stands for a network's output.
TOP = "top"

_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class BackboneSpec:
    """How a backbone is built and what it expects.

    Parameters
    ----------
    name : str
        By which it is asked for.
    build : callable
        ``build(input_size, weights)`` returns a ``keras.Model`` from preprocessed pixels, float32 of shape
        (n, height, width, 3), to feature maps or vectors. ``weights`` is "imagenet" or None.
    preprocess : str
        A key of `PREPROCESSING`.
    input_size : tuple of int
        (height, width) that it was trained on, in pixels.
    n_features : int
        Channels of its output.
    weights : str
        Where its weights come from, in words.
    weights_sha256 : str, optional
        Digest of the weight tensors, where it is known beforehand.
    architecture : str, optional
        Name and version of the architecture, where no digest of the config is wanted.
    offline : bool, default=False
        Whether the weights are on this machine.

    Examples
    --------
    >>> import keras
    >>> from featx import load_backbone, register_backbone
    >>> def build(input_size, weights):
    ...     return keras.Sequential([keras.Input((*input_size, 3)), keras.layers.Conv2D(4, 3)])
    >>> register_backbone(BackboneSpec("tiny_example", build, "unit", (32, 32), 4, "random"))
    >>> load_backbone("tiny_example", weights=None).model.output_shape
    (None, 4)
    """

    name: str
    build: Callable[[tuple[int, int], Weights], keras.Model]
    preprocess: str
    input_size: tuple[int, int]
    n_features: int
    weights: str
    weights_sha256: str | None = None
    architecture: str | None = None
    offline: bool = False


class Backbone:
    """A frozen network from uint8 images to features: its identity at once, the network when needed.

    Made by `load_backbone`. What is known beforehand (a packaged backbone's weights, the width of its
    output) is answered without building the network, so that a run that finds every image in the store
    never loads Keras.

    Attributes
    ----------
    spec : BackboneSpec
    pooling : str
    taps : tuple of str
    input_size : tuple of int
        (height, width), in pixels.
    weights : {"imagenet", "random", "own"}
    weights_seed : int or None
        Seed of weights initialised at random.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        build: Callable[[], keras.Model],
        pooling: str,
        taps: tuple[str, ...],
        input_size: tuple[int, int],
        *,
        weights: str,
        weights_seed: int | None = None,
    ) -> None:
        self.spec = spec
        self.weights = weights
        self.weights_seed = weights_seed
        self.pooling = pooling
        self.taps = taps
        self.input_size = input_size
        self._build = build

    def unshared(self) -> Backbone:
        """The same network with weights of its own, which may be trained."""
        # Built anew where it was built; a user's model can only be copied.
        build = partial(copy_model, self.base) if self.weights == OWN else self._build
        return Backbone(
            self.spec,
            build,
            self.pooling,
            self.taps,
            self.input_size,
            weights=self.weights,
            weights_seed=self.weights_seed,
        )

    @cached_property
    def base(self) -> keras.Model:
        """The network itself, from preprocessed pixels to its output."""
        return self._build()

    @cached_property
    def model(self) -> keras.Model:
        """From uint8 (n, height, width, 3) to float32 (n, n_features)."""
        import keras

        images = keras.Input((*self.input_size, 3), dtype="uint8", name="images")
        pixels = preprocess(keras.ops.cast(images, "float32"), self.spec.preprocess)
        pooled = [_pool(output, self.pooling) for output in self._outputs(pixels)]
        parts = [keras.ops.cast(part, "float32") for parts in pooled for part in parts]
        features = keras.ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        return keras.Model(images, features, name="featx_backbone")

    @cached_property
    def folded(self) -> keras.Model:
        """`model` with batch normalisation folded into its convolutions: what an engine runs."""
        return fold_batch_norm(self.model)

    @cached_property
    def feature_blocks(self) -> tuple[tuple[str, int], ...]:
        """Name and width of each block of columns, in order."""
        if not self.taps and self.pooling != "none":
            return tuple((f"{TOP}:{pooling}", self.spec.n_features) for pooling in self.pooling.split("+"))
        import keras

        pixels = keras.Input((*self.input_size, 3))
        return tuple(
            (f"{tap}:{pooling}", int(part.shape[-1]))
            for tap, output in zip(self.taps or (TOP,), self._outputs(pixels), strict=True)
            for pooling, part in zip(self.pooling.split("+"), _pool(output, self.pooling), strict=True)
        )

    @cached_property
    def architecture(self) -> str:
        """Name and version of the architecture, or the digest of its config."""
        return self.spec.architecture or described_architecture(self.base)

    @cached_property
    def weights_sha256(self) -> str:
        """Digest of all weight tensors."""
        return self.spec.weights_sha256 or weights_digest(self.base)

    def _outputs(self, pixels: Any) -> list[Any]:
        if not self.taps:
            return [self.base(pixels, training=False)]
        import keras

        tapped = [self.base.output if tap == TOP else _layer_output(self.base, tap) for tap in self.taps]
        outputs = keras.Model(self.base.input, tapped)(pixels, training=False)
        return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def described_architecture(base: keras.Model) -> str:
    """What a spec says of an architecture that has no name of its own."""
    return f"config sha256 {architecture_digest(base)}"


def _layer_output(base: keras.Model, name: str) -> Any:
    layers = {layer.name: layer for layer in base.layers}
    if name not in layers:
        raise BackboneError(explain(f"the tap {name!r}", f"a layer of {base.name}", suggest(name, layers)))
    return layers[name].output


def preprocess(pixels: Any, mode: str) -> Any:
    """Apply a mode of `PREPROCESSING` to float32 pixels of shape (n, height, width, 3).

    Examples
    --------
    >>> import numpy as np
    >>> float(preprocess(np.full((1, 1, 1, 3), 255.0, np.float32), "tf")[0, 0, 0, 0])
    1.0
    """
    from keras import ops

    if mode == "unit":
        return pixels / 255.0
    if mode == "tf":
        return pixels / 127.5 - 1.0
    if mode == "torch":
        return (pixels / 255.0 - ops.array(_TORCH_MEAN, "float32")) / ops.array(_TORCH_DEVIATION, "float32")
    if mode == "caffe":
        return ops.flip(pixels, axis=-1) - ops.array(_CAFFE_MEAN_BGR, "float32")
    if mode == "lite":
        return (pixels - 127.0) / 128.0
    return pixels


def _pool(output: Any, pooling: str) -> list[Any]:
    """Vectors out of feature maps (n, height, width, channels), tokens (n, tokens, channels) or vectors."""
    from keras import ops

    if pooling == "none":
        return [ops.reshape(output, (-1, math.prod(output.shape[1:])))]
    axes = tuple(range(1, len(output.shape) - 1))
    reduce = {"avg": ops.mean, "max": ops.max}
    return [reduce[part](output, axis=axes) if axes else output for part in pooling.split("+")]
