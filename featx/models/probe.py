"""A linear probe, then fine-tuning from it, with a validation part that neither of them has seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from featx.checks import explain
from featx.errors import HeadError
from featx.features.feature_set import FeatureSet
from featx.features.frozen import Backbone
from featx.heads.splits import holdout_split
from featx.models.attachment import attach_head
from featx.models.conversion import to_keras
from featx.models.finetuning import FineTuner
from featx.models.samples import Labelled


def fine_tune_probe(
    head: BaseEstimator,
    backbone: Backbone,
    labelled: Labelled,
    features: FeatureSet,
    *,
    validation_data: Any = None,
    validation_size: float = 0.2,
    random_state: int = 0,
    **options: Any,
) -> FineTuner:
    """Fit a head on a training part, put it behind its backbone, and train both on that part.

    Parameters
    ----------
    head : estimator
        Fitted; only its parameters and its classes are used.
    backbone : Backbone
    labelled : Labelled
        The images.
    features : FeatureSet
        Theirs, by that backbone.
    validation_data : images, or tuple (images, y), optional
        Images to decide by, in place of a share.
    validation_size : float, default=0.2
        That share. Copies of an image and groups are never parted.
    random_state : int, default=0
        Seed of the split and of the training.
    **options
        Of `FineTuner`.

    Returns
    -------
    FineTuner
        Fitted.

    Raises
    ------
    ConversionError
        When the head has no equal in Keras, or an option cannot be used.
    HeadError
        When the images cannot be split, or the training part lacks a class.
    """
    train, validation = np.arange(len(labelled.y)), validation_data
    if validation_data is None:
        train, rest = holdout_split(
            labelled.y, features.groups, test_size=validation_size, random_state=random_state
        )
        validation = labelled.source.select(rest)
    head = clone(head).fit(features.X[train], head.classes_[labelled.y[train]])
    if len(head.classes_) != len(labelled.classes):
        received = f"training images of {len(head.classes_)} classes"
        raise HeadError(explain(received, f"of all {len(labelled.classes)}", "add images of the others"))
    model = attach_head(backbone, to_keras(head), [str(name) for name in labelled.classes])
    tuner = FineTuner(model, random_state=random_state, **options)
    y = labelled.classes[labelled.y[train]]
    return tuner.fit(labelled.source.select(train), y, validation_data=validation)
