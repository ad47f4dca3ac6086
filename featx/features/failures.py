"""Samples that have no features: which, where they lie, and why, kept beside the features.

In a feature file they are the group ``/failures``, a table of equally long columns::

    /failures/index      int64, its place in the source     /failures/sample_id  UTF-8
    /failures/path       UTF-8, "" where it lay in memory   /failures/stage      UTF-8
    /failures/reason     UTF-8

so that rows and failures together are everything that the source held. The group is absent where there are
none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from featx.errors import printable
from featx.hdf5 import fixed_strings
from featx.images.base import ImageSource

GROUP = "failures"


@dataclass(frozen=True)
class Failure:
    """A sample that has no features.

    Attributes
    ----------
    sample_id : str
    stage : {"read", "decode", "forward", "label"}
        Where it failed.
    reason : str
    index : int
        Its place in the source.
    path : str
        Its file, or "" where it lay in memory.

    Examples
    --------
    >>> Failure("cat/1.jpg", "decode", "empty file", 7, "images/cat/1.jpg").reason
    'empty file'
    """

    sample_id: str
    stage: str
    reason: str
    index: int
    path: str = ""


#: The table's columns, by their names in a feature file.
COLUMNS = tuple(f"{GROUP}/{field.name}" for field in fields(Failure))


def failure_of(source: ImageSource, index: int, stage: str, reason: str) -> Failure:
    """The failure of one sample of a source, with nothing in it that a terminal could trip over.

    Examples
    --------
    >>> from featx import as_source
    >>> failure_of(as_source(np.zeros((2, 8, 8, 3), np.uint8)), 1, "read", "gone").sample_id
    '1'
    """
    path = printable(source.path_of(index))
    return Failure(printable(source.sample_ids[index]), stage, reason, index, path)


def failure_columns(failures: Sequence[Failure]) -> dict[str, np.ndarray]:
    """The table's columns by their names in a feature file; none where nothing failed.

    Examples
    --------
    >>> columns = failure_columns([Failure("1", "read", "gone", 1)])
    >>> columns["failures/index"], columns["failures/reason"]
    (array([1]), array([b'gone'], dtype=...))
    """
    if not failures:
        return {}
    values = {name: [getattr(failure, name.split("/")[1]) for failure in failures] for name in COLUMNS}
    return {
        name: np.array(column, np.int64) if isinstance(column[0], int) else fixed_strings(column)
        for name, column in values.items()
    }


def failures_of(columns: Mapping[str, np.ndarray]) -> list[Failure]:
    """The failures that a table's columns tell.

    Examples
    --------
    >>> failures_of(failure_columns([Failure("1", "read", "gone", 1)]))
    [Failure(sample_id='1', stage='read', reason='gone', index=1, path='')]
    """
    if not set(COLUMNS) <= set(columns):
        return []
    values = {name.split("/")[1]: columns[name].tolist() for name in COLUMNS}
    rows: list[dict[str, Any]] = [
        {field: value.decode("utf-8") if isinstance(value, bytes) else value for field, value in row}
        for row in (zip(values, each, strict=True) for each in zip(*values.values(), strict=True))
    ]
    return [Failure(**row) for row in rows]
