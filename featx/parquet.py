"""Predictions as a parquet file: the one module that knows of pyarrow.

Columns: ``sample_id`` string; ``label`` a dictionary of the class names; ``probability`` and
``probability_<class>`` double; ``error`` string. Nothing is null, but for what a failed sample has not, the
probabilities of a head without them, and ``error`` where there was none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.checks import require
from featx.errors import as_utf8
from featx.files import StrPath, atomic_writer

if TYPE_CHECKING:
    from featx.prediction_files import PredictedRows

_EXTRA = "parquet"
# Readers like a row group large; it has to be in memory, here and there.
_GROUP_ROWS = 2**16
_GROUP_BYTES = 64 * 2**20


def check_parquet() -> None:
    """Refuse to go on without the package that writes parquet files.

    Raises
    ------
    MissingPackageError
    """
    require("pyarrow", _EXTRA)


def save_parquet(path: StrPath, class_names: Sequence[Any], blocks: Iterable[PredictedRows]) -> None:
    """Write predictions as a parquet file; it appears complete or not at all.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    class_names : sequence
        Strings, or integers.
    blocks : iterable of PredictedRows
        Asked for as they are written.

    Raises
    ------
    MissingPackageError
        Without pyarrow.
    """
    pyarrow, parquet = require("pyarrow", _EXTRA), require("pyarrow.parquet", _EXTRA)
    schema = _schema(pyarrow, class_names)
    batches = (_batch(pyarrow, schema, class_names, block) for block in blocks)
    with atomic_writer(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(batches, min(_GROUP_ROWS, max(1, _GROUP_BYTES // (8 * len(schema))))):
            writer.write_table(pyarrow.Table.from_batches(group, schema))


def _schema(pyarrow: Any, class_names: Sequence[Any]) -> Any:
    label = pyarrow.dictionary(pyarrow.int32(), pyarrow.array(_names(class_names)).type)
    numbers = ["probability", *(f"probability_{name}" for name in _names(class_names))]
    return pyarrow.schema(
        [
            ("sample_id", pyarrow.string()),
            ("label", label),
            *((name, pyarrow.float64()) for name in numbers),
            ("error", pyarrow.string()),
        ]
    )


def _batch(pyarrow: Any, schema: Any, class_names: Sequence[Any], block: PredictedRows) -> Any:
    code_of = {name: code for code, name in enumerate(class_names)}
    codes = [None if label is None else code_of[label] for label in block.labels]
    probabilities = np.asarray(block.probabilities, np.float64)
    # A failed sample's are not numbers, all of them.
    numbers = [probabilities.max(axis=1), *probabilities.T]
    columns = [
        pyarrow.array(_names(block.sample_ids), pyarrow.string()),
        pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(codes, pyarrow.int32()), pyarrow.array(_names(class_names))
        ),
        *(pyarrow.array(np.ascontiguousarray(column), from_pandas=True) for column in numbers),
        pyarrow.array([error or None for error in _names(block.errors)], pyarrow.string()),
    ]
    return pyarrow.record_batch(columns, schema=schema)


def _groups(batches: Iterator[Any], n_rows: int) -> Iterator[list[Any]]:
    """Batches, as many together as make a row group."""
    group: list[Any] = []
    for batch in batches:
        group.append(batch)
        if sum(each.num_rows for each in group) >= n_rows:
            yield group
            group = []
    if group:
        yield group


def _names(values: Iterable[Any]) -> list[Any]:
    """Names as text that has an encoding."""
    return [as_utf8(value).decode() if isinstance(value, str) else value for value in values]
