"""Prediction files: a row for every image, as CSV or parquet, written while the answers come in.

Both have the same columns: the id of the sample, the class it was given, that class's probability and every
other's, and why a sample has none of these. In a CSV file, names that a spreadsheet would run are marked
(`featx.tables`) and probabilities have six digits; a parquet file has types, the probabilities as they are,
and nulls where there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featx.checks import explain
from featx.errors import StoreError
from featx.files import StrPath
from featx.parquet import check_parquet, save_parquet
from featx.tables import save_table

_PARQUET = ".parquet"
# A name without a suffix is as good as any for text.
_TEXT = {".csv", ".txt", ""}


class PredictedRows(NamedTuple):
    """What is predicted of some samples, in the source's order.

    Attributes
    ----------
    sample_ids : sequence of str
    labels : sequence
        The class, or None for a sample that failed.
    probabilities : ndarray of shape (n_samples, n_classes)
        NaN for a sample that failed, and for a head without probabilities.
    errors : sequence of str
        Why a sample failed, or "".
    """

    sample_ids: Sequence[str]
    labels: Sequence[Any]
    probabilities: np.ndarray
    errors: Sequence[str]


def check_prediction_file(path: StrPath | None) -> None:
    """Refuse a file that predictions cannot be written to, before the work that they come of.

    Parameters
    ----------
    path : path-like or None
        None is nothing to check.

    Raises
    ------
    StoreError
        When the name ends in what is neither text nor parquet.
    MissingPackageError
        When parquet files cannot be written here.

    Examples
    --------
    >>> check_prediction_file("p.json")
    Traceback (most recent call last):
    featx.errors.StoreError: received p.json; expected a name that ends in .csv or .parquet; ...
    """
    if path is None:
        return
    if _is_parquet(path):
        check_parquet()
    elif Path(path).suffix.lower() not in _TEXT:
        expected = "a name that ends in .csv or .parquet"
        raise StoreError(explain(str(path), expected, "choose another name"))


def save_predictions(path: StrPath, class_names: Sequence[Any], blocks: Iterable[PredictedRows]) -> None:
    """Write a CSV or parquet file, by its name; it appears complete or not at all.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    class_names : sequence
        In the order of the columns of the probabilities.
    blocks : iterable of PredictedRows
        Asked for as they are written: no more than a few of them are in memory.

    Raises
    ------
    StoreError
        When it cannot be written; what stood there before is untouched.
    MissingPackageError
        Of a parquet file, without pyarrow.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "p.csv"
    >>> probabilities = np.array([[1.0], [np.nan]])
    >>> rows = PredictedRows(["a.png", "b.png"], ["cat", None], probabilities, ["", "empty file"])
    >>> save_predictions(path, ["cat"], [rows])
    >>> print(path.read_text())
    sample_id,label,probability,probability_cat,error
    a.png,cat,1.000000,1.000000,
    b.png,,,,empty file
    """
    check_prediction_file(path)
    if _is_parquet(path):
        save_parquet(path, class_names, blocks)
        return
    names = [f"probability_{name}" for name in class_names]
    save_table(path, ["sample_id", "label", "probability", *names, "error"], _text_rows(blocks))


def _is_parquet(path: StrPath) -> bool:
    return Path(path).suffix.lower() == _PARQUET


def _text_rows(blocks: Iterable[PredictedRows]) -> Iterator[list[Any]]:
    for block in blocks:
        for sample_id, label, row, error in zip(*block, strict=True):
            cells = ["" if np.isnan(value) else f"{value:.6f}" for value in [row.max(), *row]]
            yield [sample_id, "" if label is None else label, *cells, error]
