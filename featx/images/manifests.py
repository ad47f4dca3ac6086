"""CSV manifests: what is listed of images, line by line, with every fault at its line."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence

from featx.checks import explain, suggest
from featx.errors import SourceError
from featx.images.decoding import MAX_FILE_BYTES
from featx.reading import read_regular_file
from featx.remote import RemotePath
from featx.storage import AnyPath, AnyPathLike, is_address, location

# How sample ids may be listed, the surest first.
_KEY_COLUMNS = ("sample_id", "path")


def manifest_columns(
    csv_path: AnyPathLike, columns: Sequence[str], path_column: str | None = None
) -> dict[str, dict[str, str]]:
    r"""What a manifest says of samples, by their ids.

    Parameters
    ----------
    csv_path : path-like
        A file, or the address of one. UTF-8 text, comma separated, with a header line.
    columns : sequence of str
        Which columns.
    path_column : str, optional
        Column of the images' paths, relative to the manifest's folder. By default the column sample_id
        tells the samples apart, and without one the column path.

    Returns
    -------
    dict of str to dict of str to str
        By sample id, the cells by column.

    Raises
    ------
    SourceError
        When the manifest cannot be read, lacks a column, or names a sample twice.

    Examples
    --------
    >>> manifest = getfixture("tmp_path") / "cells.csv"
    >>> _ = manifest.write_text("path,label,wafer\na.png,good,mono\n./b.png,bad,poly\n")
    >>> manifest_columns(manifest, ["wafer"])
    {'a.png': {'wafer': 'mono'}, 'b.png': {'wafer': 'poly'}}
    """
    manifest = location(csv_path, SourceError)
    header, rows = read_rows(manifest)
    key = path_column or next((name for name in _KEY_COLUMNS if name in header), _KEY_COLUMNS[-1])
    for column in (key, *columns):
        check_column(manifest, column, header)
    lines = [(line, row[key]) for line, row in rows]
    is_path = path_column is not None or key != "sample_id"
    ids = paths_of(manifest, manifest.parent, lines) if is_path else _ids_of(manifest, lines)
    cells = ({column: row[column] for column in columns} for _, row in rows)
    return dict(zip(ids, cells, strict=True))


def _ids_of(manifest: AnyPath, lines: list[tuple[int, str]]) -> list[str]:
    seen: dict[str, int] = {}
    for line, text in lines:
        if text in seen:
            where = f"{manifest}, line {line}: {text[:200]!r}"
            raise SourceError(f"{where} stands on line {seen[text]} already; remove one of them")
        seen[text] = line
    return list(seen)


def read_rows(manifest: AnyPath) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and every row with the line it ends on."""
    try:
        real = manifest if isinstance(manifest, RemotePath) else os.path.realpath(manifest)
        data = read_regular_file(real, MAX_FILE_BYTES)
    except OSError as error:
        raise SourceError(explain(f"{manifest}: {error.strerror}", "a CSV file", "check the path")) from error
    try:
        # Spreadsheets put a byte order mark at the start.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{manifest}, line {line}: not UTF-8 text; save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        header = next(reader, [])
        for row in reader:
            if row and len(row) != len(header):
                received, expected = f"{len(row)} fields", f"the header's {len(header)}"
                message = explain(received, expected, "mend the line")
                raise SourceError(f"{manifest}, line {reader.line_num}: {message}")
            if row:
                rows.append((reader.line_num, dict(zip(header, row, strict=True))))
    except csv.Error as error:
        raise SourceError(f"{manifest}, line {reader.line_num}: {error}; mend the line") from error
    if not rows:
        raise SourceError(
            explain(f"{manifest} without rows", "a header and one row an image", "check the file")
        )
    return header, rows


def check_column(manifest: AnyPath, column: str, header: list[str]) -> None:
    """Refuse a column that is not there, or there twice."""
    if column not in header:
        received = f"{manifest} without a column {column!r}"
        raise SourceError(explain(received, "that column", suggest(column, header)))
    if header.count(column) > 1:
        received = f"{manifest} with {header.count(column)} columns {column!r}"
        raise SourceError(explain(received, "that column once", "rename the others"))


def paths_of(manifest: AnyPath, root: AnyPath, lines: list[tuple[int, str]]) -> list[str]:
    """Paths relative to a root that they do not leave, each once."""
    seen: dict[str, int] = {}
    for line, text in lines:
        name = _relative(text, root)
        where = f"{manifest}, line {line}: {text[:200]!r}"
        if not text.strip() or "\0" in text:
            raise SourceError(f"{where} is not a path; give one relative to {root}")
        if re.match(r"[A-Za-z]:[\\/]|\\\\", text) or is_address(name) or ".." in name.split("/"):
            absolute = root if isinstance(root, RemotePath) else root.absolute()
            raise SourceError(f"{where} leaves {absolute}; give a path inside, or pass another root")
        if name in seen:
            raise SourceError(f"{where} stands on line {seen[name]} already; remove one of them")
        seen[name] = line
    return list(seen)


def _relative(text: str, root: AnyPath) -> str:
    """A path relative to a root, with ".." where it leaves that; another address stays one."""
    if isinstance(root, RemotePath):
        inside = text.removeprefix(f"{root}/")
        if is_address(inside):
            return inside
        # An absolute path is one of this machine.
        return f"..{text}" if text.startswith("/") else os.path.normpath(inside)
    return os.path.relpath(text, root) if text.startswith("/") else os.path.normpath(text)


def labels_of(manifest: AnyPath, column: str, rows: list[tuple[int, dict[str, str]]]) -> list[str] | None:
    """The labels, or None where every cell is blank, as it is in a list of images to predict."""
    cells = [(line, row[column]) for line, row in rows]
    if not any(label.strip() for _, label in cells):
        return None
    check_not_nan(manifest, "label", cells)
    for line, label in cells:
        if not label.strip():
            received, expected = f"the label {label!r} beside labels that are filled", "all of them, or none"
            remedy = "fill it, or pass label_column=None to ignore them"
            raise SourceError(f"{manifest}, line {line}: {explain(received, expected, remedy)}")
        if label != label.strip():
            message = explain(f"the label {label!r}", "a name without spaces around it", "mend the line")
            raise SourceError(f"{manifest}, line {line}: {message}")
    return [label for _, label in cells]


def check_not_nan(manifest: AnyPath, kind: str, cells: list[tuple[int, str]]) -> None:
    """Refuse what is left of a missing cell once it was written as text."""
    for line, text in cells:
        if text.strip().lower() == "nan":
            message = explain(
                f"the {kind} {text!r}", "a name: that is how a missing one is written", "fill it"
            )
            raise SourceError(f"{manifest}, line {line}: {message}")
