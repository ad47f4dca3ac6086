"""Images through one or several extractors, their features side by side, and a head's answers on them.

A head that was searched over several feature files needs all of them of every image. An image that one
extractor cannot use is a failure of all: a row has every column or is not there. Where an image has several
views, each is a row, and the head's answers on them are averaged into one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from featx.checks import explain
from featx.errors import BackboneError, HeadError
from featx.features.extraction import extract
from featx.features.extractor import FeatureExtractor
from featx.features.failures import Failure
from featx.features.feature_set import FeatureSet
from featx.features.fingerprint import ExtractionSpec
from featx.features.frozen import OWN
from featx.features.report import ExtractionReport
from featx.heads.averaging import ViewAverage
from featx.images.base import ImageSource
from featx.views import has_class_decisions


def extractors_of(
    specs: Sequence[str], backbone: Any = None, *, n_views: int | None = None, **params: Any
) -> list[FeatureExtractor]:
    """Extractors that give features of these specs.

    Parameters
    ----------
    specs : sequence of str
        As ``ExtractionSpec.to_json`` writes them.
    backbone : path-like, BackboneSpec or keras.Model, optional
        The user's own; of several specs, for those of an own model.
    n_views : int, optional
        Views of each image, in place of as many as the specs say.
    **params
        Of `FeatureExtractor`, which the specs leave open: ``batch_size``, ``engine``.

    Returns
    -------
    list of FeatureExtractor
        Fitted.

    Raises
    ------
    StoreMismatchError
        When this installation gives other features.
    BackboneError
        When there are not so many views.
    """
    found = []
    for spec in map(ExtractionSpec.from_json, specs):
        is_meant = len(specs) == 1 or spec.weights == OWN
        extractor = FeatureExtractor.from_spec(spec, backbone if is_meant else None, **params)
        found.append(extractor if n_views is None else extractor.with_views(n_views))
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
        One row a view of each image, with the columns of all, in their order, and a report of all. Of
        several, without a spec.

    Raises
    ------
    BackboneError
        When the extractors make different numbers of views.
    """
    n_views = _common_n_views(extractors)
    sets = [extract(source, extractor, measure_precision=False, **options) for extractor in extractors]
    if len(sets) == 1:
        return sets[0]
    failures = {failure.index: failure for part in reversed(sets) for failure in part.report.failed}
    parts = []
    for part in sets:
        failed = {failure.index for failure in part.report.failed}
        # Its rows are the samples in order, all views of each, without those that failed here.
        present = [index for index in range(len(source)) if index not in failed]
        kept = np.array([place for place, index in enumerate(present) if index not in failures], int)
        parts.append((kept[:, None] * n_views + np.arange(n_views)).ravel())
    first, rows = sets[0], parts[0]
    features = FeatureSet(
        np.concatenate([part.X[chosen] for part, chosen in zip(sets, parts, strict=True)], axis=1),
        first.y[rows],
        sample_ids=[first.sample_ids[row] for row in rows],
        class_names=first.class_names,
        groups=[first.groups[row] for row in rows],
        image_sha256=[first.image_sha256[row] for row in rows],
        view=first.view[rows],
    )
    features.failures = [failures[index] for index in sorted(failures)]
    features.report = _report_of_all([part.report for part in sets], len(source), failures)
    return features


def images_of(features: FeatureSet) -> np.ndarray | None:
    """The image of each row, where rows are views of images.

    Parameters
    ----------
    features : FeatureSet
        As `featx.extract` gives it: the views of an image stand together, the image itself first.

    Returns
    -------
    ndarray of shape (n_rows,), int, or None
        Images are numbered in order. None where every row is an image itself.

    Examples
    --------
    >>> images_of(FeatureSet(np.zeros((4, 1), np.float32), view=np.array([0, 1, 0, 1])))
    array([0, 0, 1, 1])
    """
    return np.cumsum(features.view == 0) - 1 if features.view.any() else None


def averaging(head: BaseEstimator, images: np.ndarray | None) -> BaseEstimator:
    """A fitted head as it answers on views: once an image, by the mean over its views.

    Parameters
    ----------
    head : estimator
        Fitted.
    images : ndarray of shape (n_rows,) or None
        As `images_of` gives them for the rows that it is going to be asked about.

    Returns
    -------
    estimator
        The head itself where every row is an image.

    Raises
    ------
    HeadError
        When the head gives nothing to average.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> head = GaussianNB().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
    >>> averaging(head, np.array([0, 0, 1])).predict([[1.0], [3.0], [6.0]])
    array([0, 1])
    """
    if images is None:
        return head
    check_averages(head)
    return ViewAverage(head, images)


def check_averages(head: BaseEstimator) -> None:
    """Refuse a head that gives no score of each class, which is what views are averaged by.

    Raises
    ------
    HeadError
    """
    if not hasattr(head, "predict_proba") and not has_class_decisions(head):
        received = f"several views of each image and {type(head).__name__}, without a score for each class"
        expected = "probabilities, or a decision for each class, to average"
        raise HeadError(explain(received, expected, "wrap it in CalibratedClassifierCV, or pass n_views=1"))


def _common_n_views(extractors: Sequence[FeatureExtractor]) -> int:
    counts = [extractor.spec_.n_views for extractor in extractors]
    if len(set(counts)) > 1:
        received = f"extractors of {' and '.join(map(str, counts))} views"
        raise BackboneError(explain(received, "as many views of each", "pass the same n_views to all"))
    return counts[0]


def _report_of_all(
    reports: Sequence[ExtractionReport], n_samples: int, failures: dict[int, Failure]
) -> ExtractionReport:
    """One report of several extractions of the same images."""
    n_embedded = n_samples - len(failures)
    n_computed = min(max(report.n_computed for report in reports), n_embedded)
    seconds = sum(report.seconds for report in reports)
    stages = {stage: round(sum(each.stages[stage] for each in reports), 3) for stage in reports[0].stages}
    return dataclasses.replace(
        reports[0],
        n_features=sum(report.n_features for report in reports),
        n_computed=n_computed,
        n_cached=n_embedded - n_computed,
        n_failed=len(failures),
        failed=tuple(failures[index] for index in sorted(failures)),
        seconds=seconds,
        images_per_second=n_samples / seconds,
        stages=stages,
        n_rows_computed=sum(report.n_rows_computed for report in reports),
        engine=next((report.engine for report in reports if report.engine), {}),
        odd=next((report.odd for report in reports if report.odd), ()),
    )
