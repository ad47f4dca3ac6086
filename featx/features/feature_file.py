"""What a feature file holds, checked against its digests (`featx.features.feature_set` tells its layout)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featx.checks import check_choice, explain
from featx.digests import arrays_sha256
from featx.errors import StoreCorruptError, StoreError
from featx.features.failures import COLUMNS as FAILURE_COLUMNS
from featx.features.failures import GROUP as FAILURES
from featx.features.rows import DTYPES, Rows
from featx.foreign_hdf5 import ForeignFile, open_foreign_hdf5

FORMAT_VERSION = 1
DIFFERENCE = "precision_difference"

_ATTRIBUTES = ("class_names", "extraction_spec", "feature_blocks", "format_version", "featx_version")


class FileContents(NamedTuple):
    """A feature file: its features, to be read in blocks, and everything else."""

    rows: Rows
    columns: dict[str, np.ndarray]
    attributes: dict[str, Any]


def read_contents(file: ForeignFile, path: Path) -> FileContents:
    """What a feature file holds; the features are read later, each time in a process of their own.

    Raises
    ------
    StoreError
        When it is not a feature file of this version.
    StoreCorruptError
        When it is damaged.

    Examples
    --------
    >>> from featx import FeatureSet
    >>> path = getfixture("tmp_path") / "f.h5"
    >>> FeatureSet(np.eye(3, dtype=np.float32)).save(path)
    >>> with open_foreign_hdf5(path) as file:
    ...     read_contents(file, path).rows.shape
    (3, 3)
    """
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        found = "no format_version" if version is None else f"format_version {version}"
        expected = f"a feature file of version {FORMAT_VERSION}"
        raise StoreError(explain(f"{path} with {found}", expected, "extract it anew"))
    columns = {name: file[name][()] for name in ("labels", "sample_ids", "groups", "view", "image_sha256")}
    if FAILURES in file:
        columns |= {name: file[name][()] for name in FAILURE_COLUMNS}
    attributes = {name: file.attrs[name] for name in _ATTRIBUTES}
    if DIFFERENCE in file.attrs:
        attributes[DIFFERENCE] = file.attrs[DIFFERENCE]
    if metadata_digest(columns, attributes) != text(file.attrs["metadata_sha256"]):
        raise StoreCorruptError(f"{path} is damaged: its labels or names are not those that were saved")
    dataset: Any = file["features"]
    sha256 = text(file.attrs["features_sha256"])
    check_choice("dtype", dataset.dtype.name, DTYPES, StoreCorruptError)
    rows = Rows(dataset.shape, dataset.dtype.name, partial(_read_rows, path), sha256)
    return FileContents(rows, columns, attributes)


def metadata_digest(columns: dict[str, np.ndarray], attributes: dict[str, Any]) -> str:
    """The digest of all that is not features.

    Examples
    --------
    >>> metadata_digest({"labels": np.zeros(2)}, {}) == metadata_digest({"labels": np.ones(2)}, {})
    False
    """
    values = {**columns, **{name: np.atleast_1d(np.asarray(value)) for name, value in attributes.items()}}
    return arrays_sha256((name, np.ascontiguousarray(value)) for name, value in values.items())


def text(value: Any) -> str:
    """An attribute of bytes.

    Examples
    --------
    >>> text(np.bytes_(b"a"))
    'a'
    """
    return bytes(value).decode("utf-8")


def _read_rows(path: Path, start: int, stop: int) -> np.ndarray:
    with open_foreign_hdf5(path) as file:
        return np.asarray(file["features"][start:stop])
