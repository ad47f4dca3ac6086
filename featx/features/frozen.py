"""What one backbone is: how it is built, and the frozen graph from uint8 pixels to features.

`BackboneSpec` says how a network is built and what it expects. `Backbone` puts preprocessing in front
of the network and pooling behind it, so that the model that runs takes uint8 images and nothing about
them is left to the caller. A user's model of arrays has nothing in front: it is given what it takes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from featx.checks import explain, suggest
from featx.errors import BackboneError, FeatxWarning
from featx.features.folding import copy_model, fold_batch_norm
from featx.features.keras_models import architecture_digest, weights_digest
from featx.features.pooling import pool, pooled_width
from featx.features.tap_names import POOLING, TOP, Blocks, read_blocks

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

#: What stands for the weights, and in a spec for the name, of a user's own model.
OWN = "own"

# More names than this help nobody who made a slip.
_MOST_NAMED = 20

# More columns than this of one tap are worth a word: they are kept for every image.
_WIDE = 20_000

# NumPy's: a backend's own constant would be lost when the graph is converted.
_TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_CAFFE_MEAN_BGR = np.array([103.939, 116.779, 123.68], np.float32)


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
    tap_widths : tuple of (str, int), default=()
        Channels of inner layers, where they are known without building the network.

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
    input_size: tuple[int, ...]
    n_features: int
    weights: str
    weights_sha256: str | None = None
    architecture: str | None = None
    offline: bool = False
    tap_widths: tuple[tuple[str, int], ...] = ()


class Backbone:
    """A frozen network from images or arrays to features: its identity at once, the network when needed.

    Made by `load_backbone`. What is known beforehand (a packaged backbone's weights, the width of its
    output) is answered without building the network, so that a run that finds every image in the store
    never loads Keras.

    Attributes
    ----------
    spec : BackboneSpec
    pooling : str
    taps : tuple of str
        As `describe_blocks` gives them.
    input_size : tuple of int
        (height, width), in pixels; of arrays, the shape of one sample.
    weights : {"imagenet", "random", "own"}
    weights_seed : int or None
        Seed of weights initialised at random.
    inputs : {"images", "arrays"}
        What a sample is.
    input_dtype : str
        Type of what the network is given.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        build: Callable[[], keras.Model],
        pooling: str,
        taps: tuple[str, ...],
        input_size: tuple[int, ...],
        *,
        weights: str,
        weights_seed: int | None = None,
        array_dtype: str | None = None,
    ) -> None:
        self.spec = spec
        self.inputs = "images" if array_dtype is None else "arrays"
        self.input_dtype = array_dtype or "uint8"
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
            array_dtype=self.input_dtype if self.inputs == "arrays" else None,
        )

    @cached_property
    def base(self) -> keras.Model:
        """The network itself, from preprocessed pixels to its output."""
        return self._build()

    @cached_property
    def model(self) -> keras.Model:
        """From uint8 (n, height, width, 3), or arrays as they are, to float32 (n, n_features)."""
        import keras

        samples, ready = self._inputs()
        outputs = self._outputs(ready)
        parts = [pool(outputs[tap], pooling) for tap, pooling in self.blocks]
        features = keras.ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
        return keras.Model(samples, features, name="featx_backbone")

    def _inputs(self) -> tuple[Any, Any]:
        """What `model` takes, and what of it reaches the network."""
        import keras

        if self.inputs == "arrays":
            values = keras.Input(self.input_size, dtype=self.input_dtype, name="values")
            return values, values
        images = keras.Input((*self.input_size, 3), dtype="uint8", name="images")
        return images, preprocess(keras.ops.cast(images, "float32"), self.spec.preprocess)

    @cached_property
    def folded(self) -> keras.Model:
        """`model` with batch normalisation folded into its convolutions: what an engine runs."""
        return fold_batch_norm(self.model)

    @property
    def blocks(self) -> Blocks:
        """Tap and pooling of each block of columns, in order."""
        return read_blocks(self.taps, self.pooling)

    @cached_property
    def feature_blocks(self) -> tuple[tuple[str, int], ...]:
        """Name and width of each block of columns, in order.

        Raises
        ------
        BackboneError
            When a tap is not in the network, or the input size is too small for it.
        """
        known = {TOP: self.spec.n_features, **dict(self.spec.tap_widths)}
        is_known = all(tap in known and pooling != "none" for tap, pooling in self.blocks)
        if is_known and self.spec.architecture and self.spec.weights_sha256:
            return tuple((f"{tap}:{pooling}", known[tap]) for tap, pooling in self.blocks)
        shapes = self._shapes()
        widths = [(tap, pooling, pooled_width(shapes[tap], pooling)) for tap, pooling in self.blocks]
        for tap, pooling, width in widths:
            if width > _WIDE:
                message = f"{tap}:{pooling} has {width:,} columns, {width * 4:,} bytes an image in float32"
                warnings.warn(f"{message}; avg, max or gem make few of them", FeatxWarning, stacklevel=3)
        return tuple((f"{tap}:{pooling}", width) for tap, pooling, width in widths)

    @cached_property
    def architecture(self) -> str:
        """Name and version of the architecture, or the digest of its config."""
        return self.spec.architecture or described_architecture(self.base)

    @cached_property
    def weights_sha256(self) -> str:
        """Digest of all weight tensors."""
        return self.spec.weights_sha256 or weights_digest(self.base)

    @property
    def _tapped(self) -> list[str]:
        return list(dict.fromkeys(tap for tap, _ in self.blocks))

    def _outputs(self, ready: Any) -> dict[str, Any]:
        """What the network gives at each tap."""
        if not self.taps:
            return {TOP: self.base(ready, training=False)}
        import keras

        tapped = keras.Model(
            functional(self.base).input, [tap_output(self.base, tap) for tap in self._tapped]
        )
        outputs = tapped(ready, training=False)
        outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        return dict(zip(self._tapped, outputs, strict=True))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of one sample's output at each tap, checked to hold something."""
        try:
            is_graph = bool(self.taps or getattr(self.base, "outputs", None))
            shapes = {tap: tap_output(self.base, tap).shape[1:] for tap in self._tapped} if is_graph else {}
            if not is_graph or any(None in shape for shape in shapes.values()):
                # A network of any size, or with a call of its own: only called does it tell.
                outputs = self._outputs(self._inputs()[1])
                shapes = {tap: output.shape[1:] for tap, output in outputs.items()}
        except BackboneError:
            raise
        except Exception as error:  # Keras refuses a size with whatever its layers raise
            raise size_error(self.spec.name, self.input_size, str(error)) from error
        for tap, shape in shapes.items():
            if any(side is not None and side < 1 for side in shape):
                raise size_error(self.spec.name, self.input_size, f"its maps at {tap} are {shape}")
            if not shape or None in shape[-1:]:
                received = f"the tap {tap!r} of shape {(None, *shape)}"
                raise BackboneError(explain(received, "maps, tokens or vectors", "tap another layer"))
        return shapes


def size_error(name: str, input_size: tuple[int, ...], reason: str) -> BackboneError:
    """What is said of an input size that a network cannot take."""
    # Keras puts its reason, in bold, between the layer's name and its arguments.
    lines = [line for line in re.sub(r"\x1b\[\d*m", "", reason).splitlines() if line.strip()]
    reason = next((line for line in lines if not line.startswith("Exception encountered")), reason)
    least = re.search(r"at least (\d+)\s?x\s?(\d+)", reason)
    expected = f"at least {least[1]} x {least[2]} pixels" if least else f"one that it can take ({reason})"
    remedy = f"pass {'a larger' if least else 'another'} input_size"
    return BackboneError(explain(f"input_size={input_size} for {name}", expected, remedy))


def described_architecture(base: keras.Model) -> str:
    """What a spec says of an architecture that has no name of its own."""
    return f"config sha256 {architecture_digest(base)}"


def functional(base: keras.Model) -> keras.Model:
    """A network as the graph of its layers, a sequential one too.

    Raises
    ------
    BackboneError
        When it has none: it is a subclass with a call of its own.
    """
    import keras

    if hasattr(base, "operations"):
        return base
    if isinstance(base, keras.Sequential):
        return keras.Model(base.inputs, base.outputs)
    received = f"taps of {base.name}, a model with a call of its own"
    raise BackboneError(explain(received, "a functional or sequential one", "leave taps out, or rebuild it"))


def tap_output(base: keras.Model, name: str) -> Any:
    """The tensor that a layer of a network, or "top", gives.

    Raises
    ------
    BackboneError
        When there is no such layer, with the nearest names, or it does not give one tensor of numbers.
    """
    graph = functional(base)
    if name == TOP:
        return graph.outputs[0]
    outputs = layer_outputs(graph)
    if name not in outputs:
        for layer in graph.layers:
            if name in {inner.name for inner in getattr(layer, "layers", ())}:
                received = f"the tap {name!r}, a layer inside of {layer.name}, which is a model of its own"
                raise BackboneError(explain(received, f"a layer of {base.name} itself", "flatten the model"))
        remedy = suggest(name, outputs)
        if len(outputs) > _MOST_NAMED and remedy.startswith("choose"):
            remedy = "see featx.list_taps or: featx backbones NAME --taps"
        expected = f"a layer of {base.name}, or top, and behind a colon poolings ({', '.join(POOLING)})"
        raise BackboneError(explain(f"the tap {name!r}", expected, remedy))
    if outputs[name] is None:
        received = f"the tap {name!r}, which has several outputs or is called several times"
        raise BackboneError(explain(received, "a layer with one output", "tap a layer before or behind it"))
    return outputs[name]


def layer_outputs(graph: Any) -> dict[str, Any]:
    """What each layer gives, in order; None for one with several outputs or calls."""
    outputs: dict[str, Any] = dict.fromkeys(operation.name for operation in graph.operations)
    called = set()
    # A layer's own output would be that of its first call, in whatever model.
    for node in (node for nodes in graph._nodes_by_depth.values() for node in nodes):  # noqa: SLF001
        name = node.operation.name
        outputs[name] = node.outputs[0] if len(node.outputs) == 1 and name not in called else None
        called.add(name)
    return outputs


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
        return (pixels / 255.0 - _TORCH_MEAN) / _TORCH_DEVIATION
    if mode == "caffe":
        return ops.flip(pixels, axis=-1) - _CAFFE_MEAN_BGR
    if mode == "lite":
        return (pixels - 127.0) / 128.0
    return pixels
