"""Folders that appear complete or not at all, for formats that are folders.

A folder cannot be replaced in one step, as a file can: the old one is renamed aside, the new one takes
its name, the old one is removed. Killed between the two renames, the new one is complete and has no name, and
the old one stands beside it as ``.featx-NAME.old``: never swept, and removed when a new one has the name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from featx.errors import StoreError
from featx.files import StrPath, make_directory, stale_temporaries, sync_directory


@contextmanager
def atomic_folder(path: StrPath) -> Iterator[Path]:
    """Fill a folder that takes its name when it is complete and durable, or never.

    Parameters
    ----------
    path : path-like
        The folder to create or replace, with all that it holds. Missing parents are made.

    Yields
    ------
    Path
        A new empty folder beside it. It is committed when the block ends without an exception.

    Raises
    ------
    StoreError
        When the file system refuses. What stood at ``path`` before is untouched.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "model"
    >>> with atomic_folder(folder) as temporary:
    ...     _ = (temporary / "a.txt").write_text("all or nothing")
    >>> (folder / "a.txt").read_text()
    'all or nothing'
    """
    # A link leads to the folder that is meant; renaming would replace the link.
    target = Path(os.path.realpath(path))
    make_directory(target.parent)
    temporary = _beside(target)
    try:
        temporary.mkdir()
        yield temporary
        _sync(temporary)
        _replace(temporary, target)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}; mend that and try again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for leftover in stale_temporaries(target.parent):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.parent / f".featx-{os.getpid()}-{uuid4().hex}.tmp"


def _sync(folder: Path) -> None:
    for directory, _, names in os.walk(folder):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(directory))


def _replace(temporary: Path, target: Path) -> None:
    aside = target.with_name(f".featx-{target.name}.old")
    if target.exists():
        # From a process killed after its last rename: what took the name since is newer.
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    try:
        temporary.rename(target)
    except OSError:
        if aside.exists():
            aside.rename(target)
        raise
    sync_directory(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
