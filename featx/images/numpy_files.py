"""Arrays out of ``.npy`` and ``.npz`` files, without pickles and without more than the file holds."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from featx.archives import open_foreign_archive
from featx.checks import explain
from featx.errors import SourceError, printable

# A compressed file of black images expands a thousandfold; one of real ones hardly does.
_MAX_EXPANSION, _FREE_BYTES = 100, 2**29
_KINDS = "biufcSUM"


def numpy_arrays(path: Path, *names: str, optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file, or the one of a ``.npy`` file under the first of ``names``.

    Parameters
    ----------
    path : Path
    *names : str
        One of which has to be there.
    optional : tuple of str
        Read as well where they are there; nothing else is.

    Raises
    ------
    SourceError
        When it is no such file, holds pickles, claims more than it stores, or lacks the array.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "x.npz"
    >>> np.savez(path, labels=[0, 1])
    >>> numpy_arrays(path, "images")
    Traceback (most recent call last):
    featx.errors.SourceError: received ...x.npz holding labels; expected an array 'images'; ...
    """
    try:
        if path.suffix.lower() == ".npy":
            # Mapped, not read at once.
            return {names[0]: _checked_kind(np.lib.format.open_memmap(path, mode="r"))}
        with open_foreign_archive(path) as archive:
            found = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if not found.keys().isdisjoint(names):
                _check_expansion(archive, path)
                wanted = found.keys() & {*names, *optional}
                return {name: _member(archive, found[name]) for name in sorted(wanted)}
    except Exception as error:
        # NumPy passes on what zipfile, zlib and Python's tokenizer make of damage.
        received = f"{path}: {printable(str(error)[:300])}"
        raise SourceError(explain(received, "a NumPy file without pickles", "save it anew")) from error
    holding = printable(", ".join(sorted(found))[:300]) or "nothing"
    expected = f"an array {' or '.join(map(repr, names))}"
    raise SourceError(explain(f"{path} holding {holding}", expected, "save it under that name"))


def _check_expansion(archive: zipfile.ZipFile, path: Path) -> None:
    claimed, stored = sum(item.file_size for item in archive.infolist()), path.stat().st_size
    if claimed > max(_FREE_BYTES, _MAX_EXPANSION * stored):
        message = f"it claims {claimed:,} bytes and stores {stored:,}; refused"
        raise SourceError(message)


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    info = archive.getinfo(name)
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read: Any = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    # NumPy makes room for what the header claims before it reads.
    if math.prod(shape) * dtype.itemsize > info.file_size:
        message = f"{name} claims an array of shape {shape} in {info.file_size:,} bytes; refused"
        raise SourceError(message)
    with archive.open(info) as file:
        return _checked_kind(np.lib.format.read_array(file, allow_pickle=False))


def _checked_kind(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in _KINDS:
        message = f"an array of {array.dtype}, not of numbers or strings"
        raise SourceError(message)
    return array
