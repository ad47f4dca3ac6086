"""Images to features: puts a source, a store and an `ExtractionRun` together into a `FeatureSet`."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from time import perf_counter
from typing import Any, Literal

import numpy as np

from featx.checks import check_choice, check_positive, explain
from featx.errors import SourceError, StoreError
from featx.features.difference import Embedded, precision_difference
from featx.features.engine_decisions import EngineRequest, reference_engine
from featx.features.engines import available_cpus
from featx.features.execution import Execution, LocalExecution, Work
from featx.features.feature_set import DTYPES, Dtype, FeatureSet
from featx.features.precision_difference import PrecisionDifference
from featx.features.preparation import Preparation, isolated
from featx.features.recipe import ExtractionRecipe
from featx.features.rows import Rows
from featx.features.run import ExtractionRun
from featx.features.store import FeatureStore
from featx.files import StrPath
from featx.images.base import ImageSource
from featx.progress import progress_bar

OnError = Literal["raise", "skip"]


def extract(
    source: Any,
    extractor: ExtractionRecipe | str = "efficientnet_lite0",
    *,
    store: StrPath | FeatureStore | None = "cache",
    dtype: Dtype = "float32",
    resume: bool = True,
    on_error: OnError = "raise",
    workers: int | None = None,
    verbose: int = 0,
    measure_precision: bool = True,
    max_failed: float | None = None,
    isolate: bool = False,
    cluster: Execution | None = None,
) -> FeatureSet:
    """Embed every image of a source, taking from the store what is there.

    Parameters
    ----------
    source : ImageSource, path-like, sequence of path-like, ndarray, or data set
        Anything that `featx.as_source` takes; for an extractor with ``inputs="arrays"``, that
        `featx.as_value_source` takes.
    extractor : FeatureExtractor or str, default="efficientnet_lite0"
        What to extract; a string is a backbone's name.
    store : path-like, FeatureStore or None, default="cache"
        Where rows are kept. None keeps them nowhere.
    dtype : {"float32", "float16"}, default="float32"
        Of the result; the store keeps float32.
    resume : bool, default=True
        False embeds every image anew.
    on_error : {"raise", "skip"}, default="raise"
        What to do about an image that cannot be used: stop, keeping what is computed, or leave it out
        and list it in the result's ``failures``, which are saved beside the features.
    workers : int, optional
        Threads that decode; by default one for each processor.
    verbose : int, default=0
        1 shows a progress bar where stderr is a terminal.
    measure_precision : bool, default=True
        In another precision than float32, measure once for a data set what that changes, and keep it in the
        result's ``difference``.
    max_failed : int or float, optional
        Failures to bear with ``on_error="skip"``: a number of samples, or a float below 1 as their share
        of the source. One more stops the run, which keeps what is computed. By default all may fail but
        one.
    isolate : bool, default=False
        Decode image files in child processes, one a thread: an image that crashes its decoder, keeps it
        busy for more than 10 s or takes more than 2,048 MB fails like any other that cannot be used, and
        the run goes on. Features are the same to the bit; the cost is in `featx.images.isolation`.
    cluster : RayCluster, optional
        Where the work is done, if not in this process: machines that all reach the images and the store.
        Features are the same to the bit where the machines are the same.

    Returns
    -------
    FeatureSet
        With its ``report``, an `ExtractionReport`. Rows are in the source's order; images that are equal
        byte for byte are in one group.

    Raises
    ------
    SourceError
        When the source is not usable; when an image is not and ``on_error="raise"``, or more are not than
        ``max_failed``.
    StoreError
        When rows cannot be written; those committed are kept.

    Examples
    --------
    >>> images = np.zeros((3, 32, 32, 3), np.uint8)
    >>> from featx import FeatureExtractor
    >>> extractor = FeatureExtractor("MobileNetV2", input_size=(32, 32), weights=None)
    >>> features = extract(images, extractor, store=getfixture("tmp_path"))
    >>> features.X.shape, features.report.n_computed, features.report.n_cached
    ((3, 1280), 1, 2)
    """
    started = perf_counter()
    check_choice("on_error", on_error, ("raise", "skip"), SourceError)
    check_choice("dtype", dtype, DTYPES, SourceError)
    n_threads = available_cpus() if workers is None else workers
    check_positive("workers", n_threads, SourceError)
    chosen = ExtractionRecipe(extractor) if isinstance(extractor, str) else extractor
    if not hasattr(chosen, "spec_"):
        chosen = type(chosen)(**chosen.parameters()).fit()
    source = chosen.source_of(source)
    spec = chosen.spec_
    execution = LocalExecution() if cluster is None else cluster
    if cluster is not None and store is None:
        raise StoreError(explain("store=None on a cluster", "a store that all machines reach", "pass one"))
    with (
        _opened(store) as opened,
        isolated(chosen.preparation, isolate) as preparation,
        execution,
    ):
        shards = opened.open(spec.of_one_view(), resume=resume)
        request = EngineRequest(
            chosen.engine,
            spec.precision,
            chosen.fixed_batch_size,
            lambda: chosen.backbone_.folded,
            None if store is None else shards.directory,
            len(source) * spec.n_views,
        )
        n_may_fail = _n_may_fail(max_failed, on_error, len(source))
        work = Work(source, chosen, preparation, shards, request, n_threads, isolate)
        with execution.computing(work) as computing:
            run = ExtractionRun(source, shards, computing, on_error, n_may_fail)
            samples = execution.samples(work, run.is_known)
            with closing(samples), progress_bar("Embedding", len(source), verbose, "images") as advance:
                run.execute(samples, advance)
        features = _feature_set(source, run, chosen, dtype)
        if measure_precision and spec.precision != "float32":
            features.difference = _difference(source, run, preparation, request)
        features.report = run.report(perf_counter() - started, spec.n_views)
        if store is None:
            # The store vanishes with this block.
            _ = features.X
    return features


def _n_may_fail(max_failed: float | None, on_error: OnError, n_samples: int) -> int | None:
    if max_failed is None:
        return None
    if on_error != "skip":
        received = f"max_failed={max_failed} with on_error={on_error!r}"
        raise SourceError(explain(received, "on_error='skip'", "pass that too, or leave max_failed out"))
    is_share = isinstance(max_failed, float) and 0 <= max_failed < 1
    is_number = math.isfinite(max_failed) and not isinstance(max_failed, bool)
    if not is_share and not (is_number and max_failed >= 0 and max_failed == int(max_failed)):
        received, expected = f"max_failed={max_failed!r}", "a number of samples, or a share below 1"
        raise SourceError(explain(received, expected, "pass one of them"))
    return int(max_failed * n_samples if is_share else max_failed)


def _feature_set(
    source: ImageSource, run: ExtractionRun, chosen: ExtractionRecipe, dtype: Dtype
) -> FeatureSet:
    kept = [index for index in range(len(source)) if index not in run.failures]
    if not kept:
        first = run.failures[0]
        received = f"{len(source)} images of which none is usable ({first.sample_id}: {first.reason})"
        raise SourceError(explain(received, "at least one", "check the images"))
    digests = [str(run.digests[index]) for index in kept]
    groups = merge_groups(
        None if source.groups is None else [source.groups[index] for index in kept], digests
    )
    spec, preparation, n_views = chosen.spec_, chosen.preparation, chosen.spec_.n_views
    read_rows = run.shards.reader([row for digest in digests for row in preparation.addresses(digest)])

    def read(start: int, stop: int) -> np.ndarray:
        return to_dtype(read_rows(start, stop), dtype)

    def each_view(values: list[str]) -> list[str]:
        return values if n_views == 1 else [value for value in values for _ in range(n_views)]

    features = FeatureSet(
        Rows((len(kept) * n_views, spec.n_features), dtype, read),
        np.repeat(source.labels[kept], n_views),
        sample_ids=each_view([source.sample_ids[index] for index in kept]),
        class_names=source.class_names,
        groups=each_view(groups),
        image_sha256=each_view(digests),
        view=np.tile(np.arange(n_views, dtype=np.int32), len(kept)),
        spec=spec,
    )
    features.failures = [run.failures[index] for index in sorted(run.failures)]
    return features


def _difference(
    source: ImageSource, run: ExtractionRun, preparation: Preparation, request: EngineRequest
) -> PrecisionDifference:
    started = perf_counter()
    digests = {index: str(digest) for index, digest in enumerate(run.digests) if index not in run.failures}

    def read_features(images: Sequence[str]) -> np.ndarray:
        return run.shards.reader(images)(0, len(images))

    difference = precision_difference(
        Embedded(source, digests, preparation, read_features),
        run.shards.directory,
        request.precision,
        partial(reference_engine, request),
    )
    run.stages["compare"] += perf_counter() - started
    return difference


def to_dtype(features: np.ndarray, dtype: str) -> np.ndarray:
    """Features in the type they are kept in, refused where they do not fit.

    Examples
    --------
    >>> to_dtype(np.array([1e6], np.float32), "float16")
    Traceback (most recent call last):
    featx.errors.StoreError: received features up to 1e+06; expected at most 65504 in float16; ...
    """
    if dtype == "float16" and features.size:
        largest = float(np.abs(features).max())
        limit = float(np.finfo(np.float16).max)
        if largest > limit:
            received, expected = f"features up to {largest:g}", f"at most {limit:g} in float16"
            raise StoreError(explain(received, expected, "pass dtype='float32'"))
    return features.astype(dtype, copy=False)


def merge_groups(groups: Sequence[str] | None, image_sha256: Sequence[str]) -> list[str]:
    """Groups that no split may part: the user's own, joined wherever they share an image byte for byte.

    Parameters
    ----------
    groups : sequence of str or None
        None where the user gave none.
    image_sha256 : sequence of str

    Returns
    -------
    list of str
        Without groups, each image's digest. Otherwise each user's group, or the first in sorted order of
        those it is joined with, whatever the order of the rows.

    Examples
    --------
    >>> merge_groups(["b", "a", "c", "c"], ["1", "1", "2", "3"])
    ['a', 'a', 'c', 'c']
    """
    if groups is None:
        return list(image_sha256)
    parents: dict[str, str] = {}

    def root(group: str) -> str:
        while parents.setdefault(group, group) != group:
            # Halving the path keeps long chains of joined groups short.
            parents[group] = group = parents[parents[group]]
        return group

    first_group: dict[str, str] = {}
    for group, digest in zip(groups, image_sha256, strict=True):
        smaller, larger = sorted((root(group), root(first_group.setdefault(digest, group))))
        # The name decides on which side a hashed split puts the group.
        parents[larger] = smaller
    return [root(group) for group in groups]


@contextmanager
def _opened(store: StrPath | FeatureStore | None) -> Iterator[FeatureStore]:
    if store is None:
        with tempfile.TemporaryDirectory(prefix="featx-") as root:
            yield FeatureStore(root)
    else:
        yield store if isinstance(store, FeatureStore) else FeatureStore(store)
