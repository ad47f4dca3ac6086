"""Which backbones there are: by name, by file, or a Keras model of the user's.

The registry maps names to specs; `load_backbone` makes a `Backbone` of a name, a ``.keras`` file or a
model of the user's. Listing touches no framework, and a backbone whose weights come by package is
identified without loading Keras at all.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

from featx.checks import check_choice, explain
from featx.errors import BackboneError
from featx.features.efficientnet_lite import LITE_VARIANTS, block_widths, build_lite
from featx.features.fingerprint import INPUTS
from featx.features.frozen import PREPROCESSING, Backbone, BackboneSpec, Weights, size_error
from featx.features.own_models import array_backbone, image_backbone, own_model
from featx.features.tap_names import describe_blocks, read_blocks

if TYPE_CHECKING:
    import keras

# How many networks a process keeps for reuse: large ones take half a gigabyte.
_SHARED_BACKBONES = 2

# --------------------------------------------------------------------------------------- registry


def _build_application(name: str, input_size: tuple[int, int], weights: Weights) -> keras.Model:
    import keras

    build = getattr(keras.applications, name)
    try:
        # Keras shows its downloads on stdout, which is where results go.
        with contextlib.redirect_stdout(sys.stderr):
            return build(include_top=False, weights=weights, input_shape=(*input_size, 3))
    except ValueError as error:
        raise size_error(name, input_size, str(error)) from error
    except Exception as error:
        if weights is None:
            raise
        raise BackboneError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); expected a connection or the "
            "file in ~/.keras/models; connect, choose from `featx backbones --offline`, or pass weights=None"
        ) from error


# The families of keras.applications: names, preprocessing, sides of the input, channels of the output.
_FAMILIES: tuple[tuple[str, str, tuple[int, ...], tuple[int, ...]], ...] = (
    ("ConvNeXtTiny ConvNeXtSmall ConvNeXtBase", "none", (224, 224, 224), (768, 768, 1024)),
    ("ConvNeXtLarge ConvNeXtXLarge", "none", (224, 224), (1536, 2048)),
    ("DenseNet121 DenseNet169 DenseNet201", "torch", (224, 224, 224), (1024, 1664, 1920)),
    ("EfficientNetB0 EfficientNetB1 EfficientNetB2", "none", (224, 240, 260), (1280, 1280, 1408)),
    ("EfficientNetB3 EfficientNetB4 EfficientNetB5", "none", (300, 380, 456), (1536, 1792, 2048)),
    ("EfficientNetB6 EfficientNetB7", "none", (528, 600), (2304, 2560)),
    ("EfficientNetV2B0 EfficientNetV2B1", "none", (224, 240), (1280, 1280)),
    ("EfficientNetV2B2 EfficientNetV2B3", "none", (260, 300), (1408, 1536)),
    ("EfficientNetV2S EfficientNetV2M EfficientNetV2L", "none", (384, 480, 480), (1280, 1280, 1280)),
    ("InceptionV3 InceptionResNetV2 Xception", "tf", (299, 299, 299), (2048, 1536, 2048)),
    ("MobileNet MobileNetV2", "tf", (224, 224), (1024, 1280)),
    ("MobileNetV3Small MobileNetV3Large", "none", (224, 224), (576, 960)),
    ("NASNetMobile NASNetLarge", "tf", (224, 331), (1056, 4032)),
    ("ResNet50 ResNet101 ResNet152", "caffe", (224, 224, 224), (2048, 2048, 2048)),
    ("ResNet50V2 ResNet101V2 ResNet152V2", "tf", (224, 224, 224), (2048, 2048, 2048)),
    ("VGG16 VGG19", "caffe", (224, 224), (512, 512)),
)


def _application_specs() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name=name,
            build=partial(_build_application, name),
            preprocess=preprocess,
            input_size=(side, side),
            n_features=n_features,
            weights="ImageNet, downloaded by keras.applications",
        )
        for names, preprocess, sides, widths in _FAMILIES
        for name, side, n_features in zip(names.split(), sides, widths, strict=True)
    ]


def _lite_specs() -> list[BackboneSpec]:
    return [
        BackboneSpec(
            name=variant.name,
            build=partial(build_lite, variant),
            preprocess="lite",
            input_size=(variant.input_size, variant.input_size),
            n_features=1280,
            weights=f"ImageNet, in the package {variant.package.replace('_', '-')}",
            weights_sha256=variant.weights_sha256,
            architecture=f"{variant.name} of featx, version 1",
            offline=variant.weight_file() is not None,
            tap_widths=block_widths(variant),
        )
        for variant in LITE_VARIANTS
    ]


_REGISTRY = {spec.name: spec for spec in (*_lite_specs(), *_application_specs())}


def register_backbone(spec: BackboneSpec) -> None:
    """Make a backbone known by its name; a name that is taken is replaced.

    Parameters
    ----------
    spec : BackboneSpec

    Examples
    --------
    See `BackboneSpec`.
    """
    check_choice("preprocess", spec.preprocess, PREPROCESSING, BackboneError)
    _REGISTRY[spec.name] = spec


def list_backbones(pattern: str = "*", *, offline_only: bool = False) -> list[BackboneSpec]:
    """The registered backbones, sorted by name.

    Parameters
    ----------
    pattern : str, default="*"
        Shell-style; case is ignored.
    offline_only : bool, default=False
        Only those whose ImageNet weights are on this machine.

    Returns
    -------
    list of BackboneSpec

    Examples
    --------
    >>> [spec.name for spec in list_backbones("vgg*")]
    ['VGG16', 'VGG19']
    >>> "efficientnet_lite0" in [spec.name for spec in list_backbones(offline_only=True)]
    True
    """
    return [
        spec
        for _, spec in sorted(_REGISTRY.items(), key=lambda item: item[0].lower())
        if fnmatch.fnmatchcase(spec.name.lower(), pattern.lower()) and (spec.offline or not offline_only)
    ]


def is_registered(backbone: object) -> bool:
    """Whether this is a spec, or the name of one: a backbone that knows its own preprocessing."""
    return isinstance(backbone, BackboneSpec) or (isinstance(backbone, str) and backbone in _REGISTRY)


# ---------------------------------------------------------------------------------------- loading


def load_backbone(
    backbone: str | os.PathLike[str] | BackboneSpec | keras.Model,
    pooling: str = "avg",
    taps: Sequence[str] = (),
    input_size: tuple[int, ...] | None = None,
    *,
    weights: Weights = "imagenet",
    preprocessing: str = "auto",
    inputs: str = "images",
    random_state: int | None = None,
) -> Backbone:
    """Put preprocessing in front of a network and pooling behind it.

    Parameters
    ----------
    backbone : str, path-like, BackboneSpec or keras.Model
        A registered name, a ``.keras`` file, or a model of your own.
    pooling : str, default="avg"
        How feature maps become vectors: "avg", "max", "gem" (the generalized mean with the exponent 3), or
        "none", which flattens them; several joined by "+", such as "avg+max", stand side by side.
    taps : sequence of str, default=()
        Names of inner layers to keep in place of the output (`featx.list_taps`); "top" stands for the
        output. A tap may have a pooling of its own: ``"block_10:max"``.
    input_size : tuple of int, optional
        (height, width), in pixels; by default the backbone's own. Of arrays the shape of one sample.
    weights : {"imagenet", None}, default="imagenet"
        None initialises at random, the same way for the same ``random_state``. Ignored for a model or
        file of your own.
    preprocessing : str, default="auto"
        "auto" is the registered backbone's own. A model of your own needs a choice: see `PREPROCESSING`.
    inputs : {"images", "arrays"}, default="images"
        What a model of your own takes: images, or arrays of the shape and type of its input, as they are.
    random_state : int, optional
        Seed of the random initialisation; None stands for 0.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        Unknown name, layer or preprocessing; weights absent; an input size that the network cannot take;
        arrays for a network of images.

    Examples
    --------
    >>> backbone = load_backbone("MobileNetV2", input_size=(32, 32), weights=None)
    >>> backbone.feature_blocks
    (('top:avg', 1280),)
    >>> import numpy as np
    >>> backbone.model.predict_on_batch(np.zeros((1, 32, 32, 3), np.uint8)).shape
    (1, 1280)
    """
    blocks = read_blocks(taps, pooling)
    check_choice("weights", weights, ("imagenet", None), BackboneError)
    check_choice("preprocessing", preprocessing, ("auto", *PREPROCESSING), BackboneError)
    check_choice("inputs", inputs, INPUTS, BackboneError)
    if taps:
        # Equal columns go under one key, however they were asked for.
        taps, pooling = describe_blocks(blocks)
    if isinstance(backbone, BackboneSpec):
        spec = backbone
    elif isinstance(backbone, str) and backbone in _REGISTRY:
        spec = _REGISTRY[backbone]
    else:
        model, name = own_model(backbone, [spec.name for spec in list_backbones()])
        make = array_backbone
        if inputs == "images":
            make, input_size = image_backbone, None if input_size is None else check_input_size(input_size)
        return make(model, name, pooling, tuple(taps), input_size=input_size, preprocessing=preprocessing)
    if inputs == "arrays":
        received = f"inputs='arrays' for the backbone {spec.name}, which takes images"
        remedy = "pass a keras.Model or a .keras file, or leave inputs out"
        raise BackboneError(explain(received, "a model of your own", remedy))
    if preprocessing != "auto":
        spec = replace(spec, preprocess=preprocessing)
    seed = None if weights else random_state or 0
    return _shared_backbone(spec, pooling, tuple(taps), check_input_size(input_size or spec.input_size), seed)


@lru_cache(maxsize=_SHARED_BACKBONES)
def _shared_backbone(
    spec: BackboneSpec, pooling: str, taps: tuple[str, ...], input_size: tuple[int, int], seed: int | None
) -> Backbone:
    """One network for all extractors alike, such as a pipeline's clones in every fold."""
    if seed is None:
        build = partial(_build_seeded, spec, input_size, "imagenet", 0)
        return Backbone(spec, build, pooling, taps, input_size, weights="imagenet")
    spec = replace(spec, weights_sha256=None)
    build = partial(_build_seeded, spec, input_size, None, seed)
    return Backbone(spec, build, pooling, taps, input_size, weights="random", weights_seed=seed)


def check_input_size(input_size: Any) -> tuple[int, int]:
    """Refuse anything but two positive integers.

    Examples
    --------
    >>> check_input_size([300, 200])
    (300, 200)
    """
    if (
        isinstance(input_size, Sequence)
        and len(input_size) == 2
        and all(isinstance(side, Integral) and int(side) > 0 for side in input_size)
    ):
        return int(input_size[0]), int(input_size[1])
    raise BackboneError(
        explain(f"input_size={input_size!r}", "(height, width) in pixels", "pass two integers")
    )


def _build_seeded(
    spec: BackboneSpec, input_size: tuple[int, int], weights: Weights, seed: int
) -> keras.Model:
    # Importing Keras draws random numbers too, so it must not happen between seeding and building.
    import keras

    # Keras draws the seeds of its initialisers from Python's own generator.
    state, policy = random.getstate(), keras.config.dtype_policy()
    random.seed(seed)
    # A notebook that trains in half precision must not get other features under the same key.
    keras.config.set_dtype_policy("float32")
    try:
        with fresh_names():
            base = spec.build(input_size, weights)
    except ValueError as error:
        if isinstance(error, BackboneError) or input_size == spec.input_size:
            raise
        raise size_error(spec.name, input_size, str(error)) from error
    finally:
        random.setstate(state)
        keras.config.set_dtype_policy(policy)
    base.trainable = False
    return base


@contextlib.contextmanager
def fresh_names() -> Iterator[None]:
    """Names that Keras makes up, such as ``add_3``, start anew within.

    A tap by such a name must be the same layer in every process, whatever was built there before.
    """
    # Keras has no public way to put its counters back.
    from keras.src.backend.common import global_state

    name = "object_name_uids"
    before = global_state.get_global_attribute(name) or {}
    global_state.set_global_attribute(name, defaultdict(int))
    try:
        yield
    finally:
        within = global_state.get_global_attribute(name)
        # Neither what was built before nor what was built within is named again.
        counts = {key: max(before.get(key, 0), within.get(key, 0)) for key in {*before, *within}}
        global_state.set_global_attribute(name, defaultdict(int, counts))
