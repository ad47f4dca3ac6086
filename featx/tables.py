"""CSV files: what is written, and how a spreadsheet is kept from running it.

Spreadsheets take a cell that begins with one of ``= + - @`` for a formula, and file names and class names
come from whoever made the images (OWASP, *CSV Injection*). Such a cell gets an apostrophe before it, which
tells a spreadsheet that it is text; `unmarked` takes it away again, so that every name comes back as it was.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

from featx.errors import as_utf8
from featx.files import StrPath, atomic_writer

_MARK = "'"
_ROWS_A_WRITE = 1_000
# With what spreadsheets pass over before they look.
_FORMULA_STARTS = tuple("=+-@\t\r\n")


def marked(cell: Any) -> Any:
    """A cell as it is written: text that a spreadsheet would run has an apostrophe before it.

    Parameters
    ----------
    cell : object
        Numbers stay as they are.

    Examples
    --------
    >>> marked("=1+1"), marked("'=1+1"), marked("a=1"), marked("'a"), marked(-1.0)
    ("'=1+1", "''=1+1", 'a=1', "'a", -1.0)
    """
    return f"{_MARK}{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def unmarked(cell: str) -> str:
    """What `marked` was given.

    Parameters
    ----------
    cell : str

    Examples
    --------
    >>> unmarked("'=1+1"), unmarked("''=1+1"), unmarked("=1+1"), unmarked("'a")
    ('=1+1', "'=1+1", '=1+1', "'a")
    """
    return cell[1:] if cell.startswith(_MARK) and _is_formula(cell) else cell


def save_table(path: StrPath, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file; it appears complete or not at all.

    Parameters
    ----------
    path : path-like
        Created or replaced.
    header : sequence of str
    rows : iterable of iterable
        Cells of each row, in the order of the header; asked for as they are written, a thousand at a time.
    """
    remaining = chain([header], rows)
    with atomic_writer(path) as file:
        while some := list(islice(remaining, _ROWS_A_WRITE)):
            text = io.StringIO(newline="")
            csv.writer(text).writerows([marked(cell) for cell in row] for row in some)
            # An undecodable byte of a file name becomes an escape, as in the feature file.
            file.write(as_utf8(text.getvalue()))


def _is_formula(cell: str) -> bool:
    return cell.lstrip(_MARK).startswith(_FORMULA_STARTS)
