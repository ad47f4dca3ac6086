"""A linear probe, then fine-tuning from it, with a validation part that neither of them is fitted on.

A head whose parameters were searched on all of the images has had a glance at it: the frozen model that
fine-tuning has to beat is, if anything, flattered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from featx.checks import explain
from featx.errors import HeadError
from featx.features.extraction import merge_groups
from featx.features.feature_set import FeatureSet
from featx.features.frozen import Backbone
from featx.heads.holdout import holdout_split
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
        groups = merge_groups(labelled.groups, features.image_sha256)
        train, rest = holdout_split(labelled.y, groups, test_size=validation_size, random_state=random_state)
        y = labelled.classes[labelled.y[rest]]
        validation = (labelled.source.select(rest), y)
    n_present = len(np.unique(labelled.y[train]))
    if n_present != len(labelled.classes):
        received = f"training images of {n_present} class{'es' * (n_present != 1)}"
        raise HeadError(explain(received, f"of all {len(labelled.classes)}", "add images of the others"))
    head = _seeded(clone(head), random_state).fit(features.X[train], head.classes_[labelled.y[train]])
    model = attach_head(backbone, to_keras(head), [str(name) for name in labelled.classes])
    tuner = FineTuner(model, random_state=random_state, **options)
    return tuner.fit(
        labelled.source.select(train),
        labelled.classes[labelled.y[train]],
        sample_weight=labelled.weight[train],
        validation_data=validation,
    )


def _seeded(head: BaseEstimator, random_state: int) -> BaseEstimator:
    """A head that is fitted alike every time: a run that is resumed must begin with the same one."""
    names = [name for name, value in head.get_params().items() if value is None]
    seeds = {name: random_state for name in names if name.rpartition("__")[2] == "random_state"}
    return head.set_params(**seeds)
