"""The journal of a search: finished cells, one line each, so that a killed search goes on where it was.

A text file of JSON lines. A line holds one candidate on one fold and the digest of the problem it belongs to
(features, labels, groups, weights, folds, scoring, versions), and ends in a checksum of itself. Lines are
appended and synced one by one: what a kill or a power cut can damage is the last line, and a line whose
checksum is wrong counts as never written. A line of another problem is left alone and not used, so that one
file may serve searches that change.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

from featx import __version__
from featx.checks import explain
from featx.directories import failure_reason, sync, sync_directory
from featx.documents import parse_json
from featx.errors import HeadError, StoreError
from featx.files import StrPath
from featx.heads.cells import Cell
from featx.heads.problem import Problem, digest_of
from featx.reading import read_regular_file

_BLOCK_ROWS = 8192
# A million cells of a few hundred bytes.
_MAX_BYTES = 2**30
# Every line is preceded by an empty one, so that the first is no exception.
_FIRST_BYTES = b"\n{"


class Journal:
    """Finished cells of one problem in a file.

    Parameters
    ----------
    path : path-like or None
        Created if absent; None remembers in memory alone.
    problem : Problem
    """

    def __init__(self, path: StrPath | None, problem: Problem) -> None:
        self._path = None if path is None else Path(path)
        # What cannot be written is said before hours of fitting, and not after the first of them.
        self._append(b"")
        self._digest = "" if path is None else problem_digest(problem)
        self._known: dict[tuple[str, int], Cell] = {}
        if self._path is not None:
            self._read(self._path)

    def get(self, key: str, fold: int, candidate: int) -> Cell | None:
        """A finished cell of the candidate that has this key, or None."""
        cell = self._known.get((key, fold))
        return None if cell is None else Cell(candidate, *_values(cell))

    def add(self, keyed: Iterable[tuple[str, Cell]]) -> None:
        """Write finished cells, and wait until they are on the disk."""
        keyed = list(keyed)
        self._known |= {(key, cell.fold): cell for key, cell in keyed}
        self._append(b"".join(_line(self._digest, key, cell) for key, cell in keyed))

    def _append(self, lines: bytes) -> None:
        if self._path is None:
            return
        try:
            # O_APPEND: two searches may write to one journal, and neither tears the other's lines.
            # O_NONBLOCK: a pipe that nobody reads is an error, and not something to wait for.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
            descriptor = os.open(self._path, flags, 0o666)
            try:
                # Cut short, by a disk that is nearly full, it is a torn line: it is written again, whole.
                while os.write(descriptor, lines) < len(lines):
                    pass
                sync(descriptor)
            finally:
                os.close(descriptor)
            if not lines:
                # The journal's own name: it may be new.
                sync_directory(self._path.parent)
        except OSError as error:
            reason = failure_reason(self._path, error)
            received, expected = f"{self._path} ({reason})", "a file that can be written"
            raise StoreError(explain(received, expected, "pass another path")) from error

    def _read(self, path: Path) -> None:
        try:
            data = read_regular_file(os.path.realpath(path), _MAX_BYTES)
        except OSError as error:
            remedy = "pass another path"
            raise StoreError(
                explain(f"{path} ({error.strerror})", "a journal of a search", remedy)
            ) from error
        if data and not data.startswith(_FIRST_BYTES):
            received = f"{path}, which is another file"
            raise StoreError(explain(received, "a journal of a search, or none yet", "pass another path"))
        for line in data.split(b"\n"):
            entry = _parsed(line)
            if entry is not None and entry["problem"] == self._digest:
                cell = Cell(
                    0, *(entry[name] for name in ("fold", "fit_time", "score_time", "scores", "error"))
                )
                self._known[entry["candidate"], cell.fold] = cell
        if data and not data.endswith(b"\n"):
            # The next line must not go on where a torn one ends.
            self._append(b"\n")


def _values(cell: Cell) -> tuple[Any, ...]:
    return cell.fold, cell.fit_time, cell.score_time, cell.scores, cell.error


def _line(digest: str, key: str, cell: Cell) -> bytes:
    names = ("fold", "fit_time", "score_time", "scores", "error")
    entry = {"problem": digest, "candidate": key, **dict(zip(names, _values(cell), strict=True))}
    # Not-a-number is how json writes it, and reads it again.
    text = json.dumps(entry, sort_keys=True).encode()
    return b"\n%s %08x\n" % (text, zlib.crc32(text))


def _parsed(line: bytes) -> dict[str, Any] | None:
    text, _, checksum = line.rpartition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    try:
        entry = parse_json(text)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and _is_cell(entry) else None


def _is_cell(entry: dict[str, Any]) -> bool:
    """Whether a line says all of a cell: a checksum tells that it is whole, and not who wrote it."""
    scores = entry.get("scores")
    return (
        all(isinstance(entry.get(name), str) for name in ("problem", "candidate", "error"))
        and type(entry.get("fold")) is int
        and all(_is_number(entry.get(name)) for name in ("fit_time", "score_time"))
        and isinstance(scores, dict)
        and all(map(_is_number, scores.values()))
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def problem_digest(problem: Problem) -> str:
    """SHA-256 of everything that a cell's scores depend on, but for the candidate.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    str
    """
    digest = hashlib.sha256(f"{__version__} {sklearn.__version__} {np.__version__}\n".encode())
    digest.update(f"{problem.X.shape} {problem.X.dtype}\n".encode())
    for start in range(0, len(problem.X), _BLOCK_ROWS):
        digest.update(np.ascontiguousarray(problem.X[start : start + _BLOCK_ROWS]).tobytes())
    rest = (
        problem.y,
        problem.images,
        problem.sample_weight,
        problem.class_weight,
        problem.folds,
        dict(problem.blocks),
        problem.scoring,
    )
    rest_digest = digest_of(rest)
    if rest_digest is None:
        received, remedy = f"scoring={problem.scoring!r} and a journal", "define it at the top of a module"
        raise HeadError(explain(received, "a scorer that is known by its name", remedy))
    digest.update(rest_digest.encode())
    return digest.hexdigest()


def is_complete(cell: Cell) -> bool:
    """Whether a cell has a score to go by."""
    return not cell.error and not any(map(math.isnan, cell.scores.values()))
