"""What a saved model takes of feature sets: its columns in its order, its classes by their names.

And which samples judge it: those that it was not fitted on and that its search did not leave out. These
were left out because something is wrong with them, or because copies of them were trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import HeadError, StoreMismatchError
from featx.features.alignment import AlignedFeatures
from featx.features.feature_set import FeatureSet
from featx.features.fingerprint import ExtractionSpec
from featx.heads.persistence import ModelFile
from featx.images.base import UNLABELLED


def as_head_takes(model: ModelFile, features: FeatureSet | Mapping[str, FeatureSet]) -> dict[str, FeatureSet]:
    """The feature sets in the order of the head's columns.

    Parameters
    ----------
    model : ModelFile
    features : FeatureSet, or mapping of str to FeatureSet
        In any order. Sets that the head does not need are left aside.

    Raises
    ------
    StoreMismatchError
        When the features are of another extraction than those the head was fitted on.
    HeadError
        When a set is missing, or the columns are not as many as the head takes.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> model = ModelFile(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), class_names=["cat", "dog"])
    >>> list(as_head_takes(model, {"f.h5": FeatureSet(np.float32([[0.5]]), [0])}))
    ['f.h5']
    """
    left = {"features": features} if isinstance(features, FeatureSet) else dict(features)
    if not model.specs or any(given.spec is None for given in left.values()):
        # Nothing tells them apart: they are taken in the order given.
        n_given = sum(given.n_features for given in left.values())
        n_expected = getattr(model.head, "n_features_in_", n_given)
        if n_expected != n_given:
            received, expected = f"{n_given} features", f"the {n_expected} the head was fitted on"
            raise HeadError(explain(received, expected, "extract the same features"))
        return left
    specs = [ExtractionSpec.from_json(text) for text in model.specs]
    if len(left) < len(specs):
        received = f"{len(left)} feature file{'s' * (len(left) != 1)}"
        wanted = ", ".join(f"{spec.backbone} at {' x '.join(map(str, spec.input_size))}" for spec in specs)
        remedy = "pass all that the model needs"
        raise HeadError(explain(received, f"{len(specs)}, of {wanted}", remedy))
    ordered: dict[str, FeatureSet] = {}
    for spec in specs:
        # Of those that serve, rather the one of as many views as the head was fitted on.
        name = min(left, key=lambda each: (len(_differences(left[each], spec)), left[each].spec != spec))
        if differences := _differences(left[name], spec):
            message = "the features are not those the model was fitted on; extract them as it needs them"
            raise StoreMismatchError(message, differences)
        ordered[name] = left.pop(name)
    return ordered


def _differences(features: FeatureSet, spec: ExtractionSpec) -> dict[str, tuple[Any, Any]]:
    """What would make other features; views are rows, and any number of them is scored."""
    return {} if features.spec is None else features.spec.of_one_view().differences(spec.of_one_view())


def as_head_classes(model: ModelFile, features: AlignedFeatures) -> np.ndarray:
    """The feature set's labels, as the classes that the head knows; the names are what they share.

    Parameters
    ----------
    model : ModelFile
    features : AlignedFeatures

    Returns
    -------
    ndarray of shape (n_samples,)
        Of a sample without a label, the head's first class.

    Raises
    ------
    HeadError
        When there are no labels, or classes that the head does not know.

    Examples
    --------
    See `featx.jobs.evaluate_model`, which takes them.
    """
    known = {str(name): label for name, label in zip(model.known_names, model.head.classes_, strict=True)}
    used = [features.class_names[label] for label in np.unique(features.y) if label != UNLABELLED]
    unknown = [name for name in used if name not in known]
    if unknown or not used:
        received = f"the classes {', '.join(unknown)}" if unknown else "features without labels"
        raise HeadError(explain(received, f"labels among {', '.join(known)}", "leave the others out"))
    to_head = np.array([known.get(name, model.head.classes_[0]) for name in features.class_names])
    as_head: np.ndarray = to_head[np.maximum(features.y, 0)]
    return as_head


@dataclass(frozen=True)
class JudgingSamples:
    """Which samples judge models.

    Attributes
    ----------
    rows : ndarray of int
        Labelled ones that no model was fitted on and no search left out; where there are none, those that
        were fitted on.
    n_trained_on, n_excluded : int
        Samples left out because a model was fitted on them, or because a search had left them out.
    flatters : bool
        Whether the rows are of samples that a model was fitted on.
    """

    rows: np.ndarray
    n_trained_on: int
    n_excluded: int
    flatters: bool


def judging_samples(models: Sequence[ModelFile], features: AlignedFeatures) -> JudgingSamples:
    """Choose the samples that models are judged by.

    Parameters
    ----------
    models : sequence of ModelFile
    features : AlignedFeatures

    Returns
    -------
    JudgingSamples

    Raises
    ------
    HeadError
        When searches left out all that is labelled.

    Examples
    --------
    >>> from featx.features.alignment import align_features
    >>> features = FeatureSet(np.zeros((4, 1), np.float32), [0] * 4, image_sha256=list("abcd"))
    >>> model = ModelFile(None, training_images=["a"], excluded_images=["c"])
    >>> judging_samples([model], align_features({"features": features}))
    JudgingSamples(rows=array([1, 3]), n_trained_on=1, n_excluded=1, flatters=False)
    """
    ids, digests = features.sample_ids, features.image_sha256
    is_labelled = features.y != UNLABELLED
    is_seen = is_labelled & np.any([model.was_trained_on(digests) for model in models], axis=0)
    is_excluded = (
        is_labelled & ~is_seen & np.any([model.was_excluded(digests, ids) for model in models], axis=0)
    )
    is_new = is_labelled & ~is_seen & ~is_excluded
    flatters = not is_new.any()
    if flatters and not is_seen.any():
        received = f"{int(is_excluded.sum()):,} labelled samples, all of which the search had left out"
        raise HeadError(explain(received, "some that it had not", "pass others"))
    n_seen, n_excluded = (
        len({ids[row] for row in np.flatnonzero(which)}) for which in (is_seen, is_excluded)
    )
    rows = np.flatnonzero(is_seen if flatters else is_new)
    return JudgingSamples(rows, n_seen, n_excluded, flatters)
