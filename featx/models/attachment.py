"""A head behind its backbone: one model, uint8 images in, class probabilities out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from featx.checks import explain
from featx.errors import ConversionError
from featx.features.backbones import load_backbone
from featx.features.frozen import Backbone, BackboneSpec

if TYPE_CHECKING:
    import keras


def attach_head(
    backbone: Backbone | BackboneSpec | str | os.PathLike[str],
    head_model: keras.Model,
    class_names: Sequence[str] | None = None,
) -> keras.Model:
    """Put a converted head behind the backbone whose features it was fitted on.

    Parameters
    ----------
    backbone : Backbone, BackboneSpec, str or path-like
        As `featx.load_backbone` gives it, or what it takes.
    head_model : keras.Model
        As `featx.to_keras` gives it: from (n, n_features) to (n, n_classes).
    class_names : sequence of str, optional
        In the order of the head's columns; by default the columns' indices.

    Returns
    -------
    keras.Model
        A functional model ``featx_classifier`` from "images", uint8 of shape (n, height, width, 3) at the
        backbone's input size, to float32 of shape (n, n_classes), with an attribute ``class_names``, a tuple
        of str. Its weights are its own: training it changes no backbone that features are extracted with. The
        backbone is frozen, the head is not.

    Raises
    ------
    ConversionError
        When the backbone takes no images, the head takes another number of features than it gives, or has
        another number of classes than there are names.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from featx import load_backbone, to_keras
    >>> backbone = load_backbone("MobileNetV2", input_size=(32, 32), weights=None)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    >>> head = LogisticRegression().fit(backbone.model.predict_on_batch(images), [0, 1, 0, 1])
    >>> model = attach_head(backbone, to_keras(head), ["cat", "dog"])
    >>> model.predict_on_batch(images).shape, model.class_names
    ((4, 2), ('cat', 'dog'))
    """
    import keras

    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone)
    features = check_takes_images(backbone).unshared().model
    _check_fits(features, head_model)
    n_classes = head_model.output_shape[-1]
    names = tuple(str(index) for index in range(n_classes)) if class_names is None else tuple(class_names)
    if len(names) != n_classes:
        received = f"{len(names)} class names for a head of {n_classes} classes"
        raise ConversionError(explain(received, "one a class", "pass the names the head was fitted with"))
    model = keras.Model(features.input, head_model(features.output), name="featx_classifier")
    model.class_names = names
    return model


def check_takes_images(backbone: Backbone) -> Backbone:
    """Refuse a backbone of arrays, which are not resized, augmented or exported as images are.

    Raises
    ------
    ConversionError

    Examples
    --------
    >>> check_takes_images(load_backbone("efficientnet_lite0")).inputs
    'images'
    """
    if backbone.inputs != "images":
        received = f"the backbone {backbone.spec.name}, which takes arrays"
        remedy = "put backbone.model and featx.to_keras(head) into a keras.Sequential yourself"
        raise ConversionError(explain(received, "one of images", remedy))
    return backbone


def _check_fits(features: keras.Model, head_model: keras.Model) -> None:
    expected = getattr(head_model, "input_shape", None)
    if not isinstance(expected, tuple) or len(expected) != 2:
        received = f"a head model with inputs of shape {expected}"
        raise ConversionError(explain(received, "one of shape (None, n_features)", "make it with to_keras"))
    if expected[1] != features.output_shape[1]:
        received = f"a head of {expected[1]} features behind a backbone of {features.output_shape[1]}"
        remedy = "attach it to the backbone, pooling and taps that it was fitted on"
        raise ConversionError(explain(received, "the same number", remedy))
