"""Which samples a search leaves out, as a CSV file says it: what an audit wrote, or a person's own list.

Of the columns, ``sample_id`` is needed and ``exclude`` may be there, with a scope in each row
(`featx.insight.findings`); without it, every sample of the list is left out everywhere. ``kind`` and
``part``, which an audit writes, tell of suspected labels by which part's labels they were judged: a search
must not leave out what labels of its test part spoke against. A person's own list has neither, and is taken
as it is. All other columns are for the reader.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from featx.checks import explain, suggest
from featx.errors import HeadError
from featx.files import StrPath
from featx.insight.findings import EVERYWHERE, SUSPECTED_LABEL, TRAINING, Audit
from featx.reading import read_regular_file
from featx.tables import unmarked

_MAX_BYTES = 256 * 2**20
_SAMPLE, _SCOPE = "sample_id", "exclude"
_SCOPES = (EVERYWHERE, TRAINING, "")
_COLUMNS = (_SAMPLE, _SCOPE, "kind", "part")


class _Row(NamedTuple):
    """What a row says, as far as a search asks."""

    sample_id: str
    scope: str
    kind: str = ""
    part: str = ""


@dataclass(frozen=True)
class Exclusions:
    """Samples that are left out.

    Attributes
    ----------
    everywhere : frozenset of str
        Ids of those that are neither trained on nor scored.
    training : frozenset of str
        Ids of those that are not trained on; none of them is in ``everywhere``.
    judging, not_judging : frozenset of str
        Where suspected labels are to be left out: ids of the part whose labels spoke against them, and ids of
        other parts, as far as the list names them.
    by_all_labels : bool
        Whether suspected labels are to be left out that any sample's label may have spoken against.

    Examples
    --------
    >>> one, two = Exclusions(frozenset("ab"), frozenset()), Exclusions(frozenset(), frozenset("bc"))
    >>> both = one | two
    >>> sorted(both.everywhere), sorted(both.training)
    (['a', 'b'], ['c'])
    """

    everywhere: frozenset[str] = frozenset()
    training: frozenset[str] = frozenset()
    judging: frozenset[str] = frozenset()
    not_judging: frozenset[str] = frozenset()
    by_all_labels: bool = False

    def __or__(self, other: Exclusions) -> Exclusions:
        everywhere = self.everywhere | other.everywhere
        return Exclusions(
            everywhere,
            (self.training | other.training) - everywhere,
            self.judging | other.judging,
            self.not_judging | other.not_judging,
            self.by_all_labels or other.by_all_labels,
        )

    def __len__(self) -> int:
        return len(self.everywhere) + len(self.training)


def exclusions_of(audit: Audit) -> Exclusions:
    """What an audit's findings say is to be left out.

    Parameters
    ----------
    audit : Audit

    Returns
    -------
    Exclusions
    """
    return _of_rows(_Row(*(row[name] for name in _COLUMNS)) for row in audit.to_rows())


def read_exclusions(path: StrPath) -> Exclusions:
    r"""Read which samples to leave out.

    Parameters
    ----------
    path : path-like
        CSV with a header: UTF-8, 256 MiB at most.

    Returns
    -------
    Exclusions

    Raises
    ------
    HeadError
        When it cannot be read, has no column ``sample_id``, a row with too few or too many fields, or a
        scope that is none.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "audit.csv"
    >>> _ = path.write_text("sample_id,exclude\na.png,everywhere\nb.png,training\nc.png,\n")
    >>> found = read_exclusions(path)
    >>> found.everywhere, found.training
    (frozenset({'a.png'}), frozenset({'b.png'}))
    """
    return _of_rows(_rows_of(path, _text_of(path)))


def as_exclusions(exclude: Any) -> Exclusions:
    """Exclusions of any kind as one: of a file, an audit, or several of such.

    Parameters
    ----------
    exclude : Exclusions, Audit, path-like, sequence of these, or None

    Returns
    -------
    Exclusions

    Raises
    ------
    HeadError
        As `read_exclusions`, and for anything else.

    Examples
    --------
    >>> len(as_exclusions(None))
    0
    """
    if exclude is None:
        return Exclusions()
    if isinstance(exclude, Exclusions):
        return exclude
    if isinstance(exclude, Audit):
        return exclusions_of(exclude)
    if isinstance(exclude, str | os.PathLike):
        return read_exclusions(exclude)
    if isinstance(exclude, list | tuple):
        found = Exclusions()
        for each in exclude:
            found |= as_exclusions(each)
        return found
    expected = "a CSV file, an audit, or a list of these"
    raise HeadError(explain(f"exclude of type {type(exclude).__name__}", expected, "pass one of them"))


def _text_of(path: StrPath) -> str:
    try:
        data = read_regular_file(os.path.realpath(path), _MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HeadError(explain(f"{path}: {reason}", "a CSV file", "check the path")) from error
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise HeadError(f"{path}, line {line}: a NUL byte, which no text has; write the file anew")
    try:
        # Spreadsheets put a byte order mark at the start.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise HeadError(f"{path}, line {line}: not UTF-8 text; save it as UTF-8") from error


def _rows_of(path: StrPath, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        sample, scope = _columns(path, header)
        for row in reader:
            if not row:
                continue
            where = f"{path}, line {reader.line_num}"
            if len(row) != len(header):
                expected = f"the header's {len(header)}"
                raise HeadError(f"{where}: {explain(f'{len(row)} fields', expected, 'mend the line')}")
            if row[scope] not in _SCOPES and scope != sample:
                expected = f"{EVERYWHERE}, {TRAINING} or nothing"
                message = explain(f"{_SCOPE} {row[scope][:50]!r}", expected, "mend the line")
                raise HeadError(f"{where}: {message}")
            further = (unmarked(row[header.index(name)]) if name in header else "" for name in _COLUMNS[2:])
            yield _Row(unmarked(row[sample]), row[scope] if scope != sample else EVERYWHERE, *further)
    except csv.Error as error:
        raise HeadError(f"{path}, line {reader.line_num}: {error}; mend the line") from error


def _columns(path: StrPath, header: list[str]) -> tuple[int, int]:
    """Where the ids and the scopes stand; the same where there are no scopes."""
    for name in (_SAMPLE, _SCOPE):
        if header.count(name) > 1:
            received = f"{path} with {header.count(name)} columns {name!r}"
            raise HeadError(explain(received, "that column once", "rename the others"))
    if _SAMPLE not in header:
        remedy = suggest(_SAMPLE, header) if header else "write a header line"
        raise HeadError(explain(f"{path} without a column {_SAMPLE!r}", "that column", remedy))
    sample = header.index(_SAMPLE)
    return sample, header.index(_SCOPE) if _SCOPE in header else sample


def _of_rows(rows: Iterable[_Row]) -> Exclusions:
    # A finding about a class has a row, and no sample in it.
    found = [row for row in rows if row.sample_id]
    everywhere = frozenset(row.sample_id for row in found if row.scope == EVERYWHERE)
    training = frozenset(row.sample_id for row in found if row.scope == TRAINING) - everywhere
    judging = {row.part for row in found if row.kind == SUSPECTED_LABEL and row.scope}
    if not judging:
        return Exclusions(everywhere, training)
    return Exclusions(
        everywhere,
        training,
        frozenset(row.sample_id for row in found if row.part and row.part in judging),
        frozenset(row.sample_id for row in found if row.part and row.part not in judging),
        "" in judging,
    )
