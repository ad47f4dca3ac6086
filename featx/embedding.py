"""Images through one or several extractors, their features side by side, each image once a row.

A head that was searched over several feature files needs all of them of every image. An image that one
extractor cannot use is a failure of all: a row has every column or is not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.features.extraction import extract
from featx.features.extractor import FeatureExtractor
from featx.features.feature_set import FeatureSet
from featx.features.fingerprint import ExtractionSpec
from featx.images.base import ImageSource

_OWN = "own"


def extractors_of(specs: Sequence[str], backbone: Any = None) -> list[FeatureExtractor]:
    """Extractors that give features of these specs.

    Parameters
    ----------
    specs : sequence of str
        As ``ExtractionSpec.to_json`` writes them.
    backbone : path-like, BackboneSpec or keras.Model, optional
        The user's own; of several specs, for those of an own model.

    Returns
    -------
    list of FeatureExtractor
        Fitted.

    Raises
    ------
    StoreMismatchError
        When this installation gives other features.
    """
    found = []
    for spec in map(ExtractionSpec.from_json, specs):
        is_meant = len(specs) == 1 or spec.weights == _OWN
        found.append(FeatureExtractor.from_spec(spec, backbone if is_meant else None))
    return found


def embed(source: ImageSource, extractors: Sequence[FeatureExtractor], **options: Any) -> FeatureSet:
    """Embed every image by every extractor.

    Parameters
    ----------
    source : ImageSource
    extractors : sequence of FeatureExtractor
    **options
        Of `featx.extract`.

    Returns
    -------
    FeatureSet
        With the columns of all, in their order, and a report of all. Of several, without a spec.
    """
    sets = [extract(source, extractor, **options) for extractor in extractors]
    if len(sets) == 1:
        return sets[0]
    failures = {failure.index: failure for part in reversed(sets) for failure in part.report.failed}
    parts = []
    for part in sets:
        failed = {failure.index for failure in part.report.failed}
        # Its rows are the samples in order, without those that failed here.
        present = [index for index in range(len(source)) if index not in failed]
        parts.append(np.array([row for row, index in enumerate(present) if index not in failures], int))
    first, rows = sets[0], parts[0]
    features = FeatureSet(
        np.concatenate([part.X[kept] for part, kept in zip(sets, parts, strict=True)], axis=1),
        first.y[rows],
        sample_ids=[first.sample_ids[row] for row in rows],
        class_names=first.class_names,
        groups=[first.groups[row] for row in rows],
        image_sha256=[first.image_sha256[row] for row in rows],
    )
    n_embedded = len(source) - len(failures)
    n_computed = min(max(part.report.n_computed for part in sets), n_embedded)
    seconds = sum(part.report.seconds for part in sets)
    features.report = dataclasses.replace(
        first.report,
        n_features=features.n_features,
        n_computed=n_computed,
        n_cached=n_embedded - n_computed,
        n_failed=len(failures),
        failed=tuple(failures[index] for index in sorted(failures)),
        seconds=seconds,
        images_per_second=len(source) / seconds,
    )
    return features
