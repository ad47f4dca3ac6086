"""Folders that appear complete or not at all, for formats that are folders.

A folder cannot take the place of another by a plain rename, as a file can. On Linux the two exchange their
names in one step (renameat2). Elsewhere, and on file systems that know no such step, the old one is renamed
aside, the new one takes its name, the old one is removed: killed between the two renames, the new one is
complete and has no name, and the old one stands beside it as ``.featx-NAME.old``: never swept, and removed
when a new one has the name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from featx.directories import failure_reason, make_directory, sync, sync_directory
from featx.errors import StoreError
from featx.files import StrPath, stale_temporaries

# renameat2(2): paths relative to the working folder, and the flag RENAME_EXCHANGE.
_HERE, _EXCHANGE = -100, 2


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
        reason = failure_reason(target, error)
        raise StoreError(f"cannot write {path}: {reason}; mend that and try again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for leftover in stale_temporaries(target.parent):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def _beside(target: Path) -> Path:
    return target.parent / f".featx-{os.getpid()}-{uuid4().hex}.tmp"


def _aside(target: Path) -> Path:
    return target.with_name(f".featx-{target.name}.old")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders exchange their names in one step; False where that cannot be."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), os.fspath(other))


def _sync(folder: Path) -> None:
    for directory, _, names in os.walk(folder):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                sync(file.fileno())
        sync_directory(Path(directory))


def _replace(temporary: Path, target: Path) -> None:
    if target.exists() and _exchange(temporary, target):
        # What is left under the temporary name is the old one.
        sync_directory(target.parent)
        shutil.rmtree(_aside(target), ignore_errors=True)
        return
    aside = _aside(target)
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
