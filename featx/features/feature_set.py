"""FeatureSet: features with their labels, groups and provenance, in memory or in one HDF5 file.

The file is plain HDF5 that h5py alone reads::

    /features      (n_samples, n_features) float32 or float16
    /labels        (n_samples,) int64, an index into class_names, -1 = unlabelled
    /sample_ids    (n_samples,) UTF-8         /groups  (n_samples,) UTF-8
    /view          (n_samples,) int32         /image_sha256  (n_samples,) ASCII
    /failures      a group: the samples that have no features (see `featx.features.failures`)
    attributes     class_names, extraction_spec (JSON), feature_blocks (JSON: name, start, stop),
                   format_version, featx_version, features_sha256, metadata_sha256, and where another
                   precision than float32 was measured against it, precision_difference (JSON)

The two digests cover every byte that has a meaning, and are checked on loading. The file depends on the
features, the samples and the version of featx alone, so the same work gives the same file.

To change the layout, raise `FORMAT_VERSION` in `featx.features.feature_file` and keep reading the versions
before it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from featx import __version__
from featx.checks import explain
from featx.errors import StoreError
from featx.features.failures import Failure, failure_columns, failures_of
from featx.features.feature_file import (
    DIFFERENCE,
    FORMAT_VERSION,
    FileContents,
    metadata_digest,
    read_contents,
    text,
)
from featx.features.fingerprint import ExtractionSpec, column_ranges
from featx.features.precision_difference import PrecisionDifference
from featx.features.rows import DTYPES, Rows, features_digest, narrowed, rows_of_array, taken
from featx.features.strings import (
    STRINGS,
    StringsOfSamples,
    columns_of,
    decoded_strings,
    read_strings,
    taken_strings,
)
from featx.features.tap_names import choose_blocks, narrowed_spec
from featx.files import StrPath, atomic_writer, check_target
from featx.foreign_hdf5 import open_foreign_hdf5
from featx.hdf5 import add_dataset, create_hdf5, fixed_strings
from featx.images.base import UNLABELLED

__all__ = ["DTYPES", "FORMAT_VERSION", "Dtype", "FeatureSet"]

Dtype: TypeAlias = Literal["float32", "float16"]


class FeatureSet:
    """Features of some samples, with what is known about each.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        float32 or float16.
    y : ndarray of shape (n_samples,), optional
        Integers that index ``class_names``; -1 means unlabelled.
    sample_ids : sequence of str, optional
        By default the rows' indices.
    class_names : sequence of str, default=()
        By default the labels as text.
    groups : sequence of str, optional
        Samples of one group are never parted by a split; by default every sample is its own.
    image_sha256 : sequence of str, optional
        Digest of each image.
    view : ndarray of shape (n_samples,), optional
        Which view of its image a row is; by default 0, the image itself.
    spec : ExtractionSpec, optional
        What was extracted.

    Attributes
    ----------
    X, y, sample_ids, class_names, groups, image_sha256, view, spec
        As given, the lists as lists.
    failures : list of Failure
        The samples of the source that have no features, and so no row.
    report : ExtractionReport or None
        Of the run that made it.
    difference : PrecisionDifference or None
        What computing in another precision than float32 changed, where that was measured.

    Examples
    --------
    >>> features = FeatureSet(np.eye(3, dtype=np.float32), [0, 1, 1], class_names=["cat", "dog"])
    >>> path = getfixture("tmp_path") / "f.h5"
    >>> features.save(path)
    >>> FeatureSet.load(path).y
    array([0, 1, 1])
    """

    sample_ids = StringsOfSamples()
    groups = StringsOfSamples()
    image_sha256 = StringsOfSamples()

    def __init__(
        self,
        X: np.ndarray | Rows,
        y: Sequence[int] | np.ndarray | None = None,
        *,
        sample_ids: Sequence[str] | None = None,
        class_names: Sequence[str] = (),
        groups: Sequence[str] | None = None,
        image_sha256: Sequence[str] | None = None,
        view: np.ndarray | None = None,
        spec: ExtractionSpec | None = None,
    ) -> None:
        self._rows = X if isinstance(X, Rows) else rows_of_array(X)
        self._X: np.ndarray | None = X if isinstance(X, np.ndarray) else None
        n_samples = self._rows.shape[0]
        self.y = np.full(n_samples, UNLABELLED) if y is None else np.asarray(y, np.int64)
        self.sample_ids = [str(row) for row in range(n_samples)] if sample_ids is None else sample_ids
        n_classes = int(self.y.max(initial=UNLABELLED)) + 1
        self.class_names = list(class_names) or [str(label) for label in range(n_classes)]
        self.groups = vars(self)["sample_ids"] if groups is None else groups
        self.image_sha256 = [""] * n_samples if image_sha256 is None else image_sha256
        self.view = np.zeros(n_samples, np.int32) if view is None else np.asarray(view, np.int32)
        self.spec = spec
        self.failures: list[Failure] = []
        self.report: Any = None
        self.difference: PrecisionDifference | None = None
        self._check()

    def __len__(self) -> int:
        return self._rows.shape[0]

    def __repr__(self) -> str:
        n_samples, n_features = self._rows.shape
        return f"FeatureSet({n_samples} samples, {n_features} features, {len(self.class_names)} classes)"

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._rows.shape[1]

    @property
    def X(self) -> np.ndarray:
        """The feature matrix, (n_samples, n_features); read into memory when first asked for."""
        if self._X is None:
            X = np.empty(self._rows.shape, self._rows.dtype)
            for start, block in self._rows.blocks():
                X[start : start + len(block)] = block
            self._X, self._rows = X, rows_of_array(X)
        return self._X

    @property
    def rows(self) -> Rows:
        """The feature matrix as one that is read in blocks, whatever the memory."""
        return self._rows

    def features_sha256(self) -> str:
        """The digest of the feature matrix, as a feature file states it.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        if self._rows.sha256 is not None:
            return self._rows.sha256
        digest = features_digest(self._rows.shape, self._rows.dtype)
        for _ in self._rows.blocks(digest):
            continue
        return str(digest.hexdigest())

    @property
    def feature_blocks(self) -> dict[str, tuple[int, int]]:
        """Name of each block of columns and where it starts and stops."""
        return (
            {"features": (0, self.n_features)}
            if self.spec is None
            else column_ranges(self.spec.feature_blocks)
        )

    def select(
        self, taps: Sequence[str] | None = None, *, poolings: Sequence[str] | None = None
    ) -> FeatureSet:
        """The columns of some taps and poolings, in the order given; no image is embedded for it.

        Parameters
        ----------
        taps : sequence of str, optional
            Taps that were extracted ("top" is the network's output), or blocks of one, ``"top:avg"``; by
            default every tap.
        poolings : sequence of str, optional
            Of those taps that do not name theirs; by default every pooling that a tap has.

        Returns
        -------
        FeatureSet
            Its spec is the one of an extractor that is asked for these columns alone, so that a model
            fitted on them embeds new images through no more than these.

        Raises
        ------
        StoreError
            When a block is not among those that were extracted, or is asked for twice.

        Examples
        --------
        >>> import dataclasses
        >>> from featx import FeatureExtractor
        >>> spec = FeatureExtractor("efficientnet_lite0").fit().spec_
        >>> spec = dataclasses.replace(spec, taps=("a", "b"), feature_blocks=(("a:avg", 1), ("b:avg", 2)))
        >>> features = FeatureSet(np.arange(6, dtype=np.float32).reshape(2, 3), spec=spec)
        >>> features.select(["b:avg"]).X
        array([[1., 2.],
               [4., 5.]], dtype=float32)
        >>> features.select(poolings=["avg"]).n_features
        3
        """
        names = choose_blocks([] if self.spec is None else [*self.feature_blocks], taps, poolings)
        columns = np.concatenate([np.arange(*self.feature_blocks[name]) for name in names])
        spec = self.spec and narrowed_spec(self.spec, names)
        X = narrowed(self._rows, columns) if self._X is None else self._X[:, columns]
        selected = FeatureSet(X, spec=spec, **self._samples())
        selected.failures = self.failures
        return selected

    def take(self, rows: np.ndarray | Sequence[int]) -> FeatureSet:
        """Some samples, in the order given; of a file that is larger than the memory no more is kept.

        Parameters
        ----------
        rows : array-like of int of shape (n_rows,), or of bool of shape (n_samples,)

        Returns
        -------
        FeatureSet
            In memory. What failed in the extraction is named as before.

        Raises
        ------
        IndexError
            When a row is not there.
        StoreError
            When the features cannot be read.

        Examples
        --------
        >>> features = FeatureSet(np.float32([[1], [2], [3]]), [0, 1, 1])
        >>> features.take([2, 0]).sample_ids
        ['2', '0']
        """
        chosen = np.arange(len(self))[np.asarray(rows)]
        X = taken(self._rows, chosen) if self._X is None else self._X[chosen]
        samples = self._samples()
        samples |= {name: samples[name][chosen] for name in ("y", "view")}
        samples |= {name: taken_strings(samples[name], chosen) for name in STRINGS}
        found = FeatureSet(X, spec=self.spec, **samples)
        found.failures, found.difference = self.failures, self.difference
        return found

    def save(self, path: StrPath) -> None:
        """Write one HDF5 file; it appears complete or not at all.

        Parameters
        ----------
        path : path-like
            Created or replaced.

        Raises
        ------
        StoreError
            When it cannot be written; what stood there before is untouched.
        """
        check_target(path)
        columns = self._columns()
        with atomic_writer(path) as file, create_hdf5(file) as hdf5:
            dataset = add_dataset(hdf5, "features", self._rows.shape, self._rows.dtype)
            digest = features_digest(self._rows.shape, self._rows.dtype)
            # A chunk that is written in two parts is checked and digested twice.
            rows_a_chunk = 1 if dataset.chunks is None else dataset.chunks[0]
            for start, block in self._rows.blocks(digest, multiple_of=rows_a_chunk):
                dataset[start : start + len(block)] = block
            for name, column in columns.items():
                add_dataset(hdf5, name, column.shape, column.dtype)[:] = column
            attributes = self._attributes()
            for name, value in attributes.items():
                hdf5.attrs[name] = value
            hdf5.attrs["features_sha256"] = np.bytes_(digest.hexdigest())
            hdf5.attrs["metadata_sha256"] = np.bytes_(metadata_digest(columns, attributes))

    @staticmethod
    def is_file(path: StrPath) -> bool:
        """Whether a path leads to a feature file, of this version of the format or another.

        Parameters
        ----------
        path : path-like

        Returns
        -------
        bool
            False for anything else, also for what is not there.
        """
        try:
            with open_foreign_hdf5(path) as file:
                return "format_version" in file.attrs
        except StoreError:
            return False

    @classmethod
    def load(cls, path: StrPath) -> FeatureSet:
        """Open a feature file; the features themselves are read when first asked for.

        Parameters
        ----------
        path : path-like
            As written by `save`.

        Returns
        -------
        FeatureSet

        Raises
        ------
        StoreError
            When the file is absent, damaged, or not a feature file.
        """
        with open_foreign_hdf5(path) as file:
            return cls._of(read_contents(file, Path(path)))

    @classmethod
    def _of(cls, contents: FileContents) -> FeatureSet:
        rows, columns, attributes = contents
        spec = text(attributes["extraction_spec"])
        strings: dict[str, Any] = read_strings({name: columns[name] for name in STRINGS})
        features = cls(
            rows,
            columns["labels"],
            class_names=decoded_strings(attributes["class_names"]),
            view=columns["view"],
            spec=ExtractionSpec.from_json(spec) if spec else None,
            **strings,
        )
        features.failures = failures_of(columns)
        if DIFFERENCE in attributes:
            features.difference = PrecisionDifference.from_json(text(attributes[DIFFERENCE]))
        return features

    def _columns(self) -> dict[str, np.ndarray]:
        strings = columns_of({name: vars(self)[name] for name in STRINGS})
        return {
            "labels": self.y,
            "sample_ids": strings["sample_ids"],
            "groups": strings["groups"],
            "view": self.view,
            "image_sha256": strings["image_sha256"],
            **failure_columns(self.failures),
        }

    def _attributes(self) -> dict[str, Any]:
        blocks = [[name, start, stop] for name, (start, stop) in self.feature_blocks.items()]
        return {
            "class_names": fixed_strings(self.class_names),
            "extraction_spec": np.bytes_("" if self.spec is None else self.spec.to_json()),
            "feature_blocks": np.bytes_(json.dumps(blocks)),
            "format_version": np.int64(FORMAT_VERSION),
            "featx_version": np.bytes_(__version__),
            **({} if self.difference is None else {DIFFERENCE: np.bytes_(self.difference.to_json())}),
        }

    def _samples(self) -> dict[str, Any]:
        # As they are kept: strings that nobody asked for stay bytes.
        return {name: vars(self)[name] for name in ("y", "class_names", "view", *STRINGS)}

    def _check(self) -> None:
        n_samples, n_features = self._rows.shape
        for name in ("y", "sample_ids", "groups", "image_sha256", "view"):
            if len(vars(self)[name]) != n_samples:
                received = f"{len(vars(self)[name])} {name} for {n_samples} samples"
                raise StoreError(explain(received, "one a sample", "align them"))
        if n_samples and not UNLABELLED <= self.y.min() <= self.y.max() < len(self.class_names):
            received = f"labels from {self.y.min()} to {self.y.max()}"
            expected = f"-1 or an index into {len(self.class_names)} class names"
            raise StoreError(explain(received, expected, "align labels and class_names"))
        if self.spec is not None and self.spec.n_features != n_features:
            received = f"{n_features} features"
            raise StoreError(explain(received, f"the spec's {self.spec.n_features}", "extract them anew"))
