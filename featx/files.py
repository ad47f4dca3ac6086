"""The one place that commits and trusts bytes.

Writing: everything featx keeps goes through `atomic_writer`: a temporary file beside the target,
fsync, rename, fsync of the folder. A reader sees the old file or the new one, never half of one,
whatever was killed or unplugged.

What is read is checked by `featx.reading`; `featx.hdf5` builds on both for the format inside. Of a store
behind an address `featx.storage` says what stands for the rename.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import uuid4

from featx.checks import explain
from featx.directories import ensure_directory, failure_reason, sync, sync_directory
from featx.errors import FeatxWarning, StoreError
from featx.remote import RemotePath
from featx.storage import AnyPath, AnyPathLike, is_address, is_flattened, store_location

if TYPE_CHECKING:
    from typing_extensions import Buffer

StrPath: TypeAlias = str | os.PathLike[str]

# No process id has more digits, and os.kill refuses numbers that have.
TEMPORARY_PATTERN = re.compile(r"\.featx-(\d{1,9})-[0-9a-f]{32}\.tmp")
TEMPORARY_MAX_AGE_S = 3600


def cache_root(store: AnyPathLike = "cache") -> AnyPath:
    """The folder that holds features, on this machine or behind an address (see `featx.storage`).

    The default name, ``"cache"``, gives way to the environment variable ``FEATX_CACHE``.

    Examples
    --------
    >>> cache_root("elsewhere").name
    'elsewhere'
    """
    if str(store) == "cache":
        return store_location(os.environ.get("FEATX_CACHE", "cache"))
    return store_location(store)


def local_cache_root() -> Path:
    """The folder of this machine that holds converted weights: ``cache`` where the features lie elsewhere.

    Examples
    --------
    >>> isinstance(local_cache_root(), Path)
    True
    """
    root = cache_root()
    return root if isinstance(root, Path) else Path("cache")


def path_kind(path: StrPath) -> Literal["file", "folder", "other", "absent", "unreachable"]:
    """What a path leads to, without an error where a folder on the way may not be entered.

    Examples
    --------
    >>> path_kind(getfixture("tmp_path")), path_kind("no/such/file")
    ('folder', 'absent')
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return "absent"
    except OSError:
        return "unreachable"
    if stat.S_ISREG(mode):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "other"


def sha256_hex(data: Buffer) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits.

    Examples
    --------
    >>> sha256_hex(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------- writing


class CommitFile(io.FileIO):
    """A file on its way to being committed, which turns write errors into one error at the end.

    HDF5 crashes or carries on when a write fails under it, so it is told that every write succeeded;
    `error` holds the first failure and `atomic_writer` raises it instead of committing.
    """

    error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """Write all of ``data``; on failure remember the error."""
        view = memoryview(data).cast("B")
        n_bytes = len(view)
        while self.error is None and view:
            try:
                view = view[super().write(view) :]
            except OSError as error:
                self.error = error
        return n_bytes

    def truncate(self, size: int | None = None, /) -> int:
        """Set the length; on failure remember the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return size or 0


@contextmanager
def atomic_writer(path: StrPath, *, keep_first: bool = False) -> Iterator[CommitFile]:
    """Write a file that appears complete and durable, or not at all.

    Parameters
    ----------
    path : path-like
        The file to create or replace. Missing folders are made.
    keep_first : bool, default=False
        Leave what stands there by the time that this is written: of several processes the first decides.

    Yields
    ------
    CommitFile
        Open for reading and writing. It is committed when the block ends without an exception.

    Raises
    ------
    StoreError
        When the file system refuses; the message names the path and the space left. What stood at
        ``path`` before is untouched.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> with atomic_writer(folder / "a.txt") as file:
    ...     _ = file.write(b"all or nothing")
    >>> (folder / "a.txt").read_text()
    'all or nothing'
    """
    _check_is_here(path)
    target = Path(path)
    temporary = target.parent / f".featx-{os.getpid()}-{uuid4().hex}.tmp"
    file: CommitFile | None = None
    try:
        ensure_directory(target.parent)
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
        with CommitFile(os.open(temporary, flags, 0o666), "r+b") as file:
            yield file
            if file.error is not None:
                raise file.error
            sync(file.fileno())
        _commit(temporary, target, keep_first=keep_first)
        sync_directory(target.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        # Whatever HDF5 made of a failed write, the failed write is the cause to report.
        cause = file.error if file is not None and file.error is not None else error
        if isinstance(cause, OSError) and not isinstance(cause, StoreError):
            raise StoreError(_write_failure(target, cause)) from cause
        raise
    # What a killed process left beside it is as large as the file itself.
    sweep(target.parent)


def _commit(temporary: Path, target: Path, *, keep_first: bool) -> None:
    if not keep_first:
        temporary.replace(target)
        return
    try:
        # Unlike a rename, a link fails where something stands.
        target.hardlink_to(temporary)
    except FileExistsError:
        return
    except OSError:
        # A file system without links: the last one decides, and is as good.
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: StrPath | RemotePath, data: Buffer, *, keep_first: bool = False) -> None:
    """Write bytes to a file that appears complete and durable, or not at all (see `atomic_writer`).

    In an object store that is one put.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.bin"
    >>> atomic_write(path, b"123")
    >>> path.read_bytes()
    b'123'
    """
    if isinstance(path, RemotePath):
        path.write_bytes(memoryview(data), keep_first=keep_first)
        return
    with atomic_writer(path, keep_first=keep_first) as file:
        file.write(data)


def check_target(path: StrPath | None, *inputs: StrPath) -> None:
    """Refuse a path that no file can be written to, before hours of work end in that error.

    Parameters
    ----------
    path : path-like or None
        None is nothing to check.
    *inputs : path-like
        What the work reads: none of these, and no file inside them, may be replaced.

    Raises
    ------
    StoreError

    Examples
    --------
    >>> check_target(getfixture("tmp_path"))
    Traceback (most recent call last):
    featx.errors.StoreError: received the folder ...; expected a file to write to; add a file name
    """
    if path is None:
        return
    _check_is_here(path)
    if path_kind(path) == "folder":
        raise StoreError(explain(f"the folder {path}", "a file to write to", "add a file name"))
    if path_kind(path) == "other":
        received = f"{path}, a device, pipe or socket, which would be replaced by a file"
        raise StoreError(explain(received, "the name of a file", "choose another name"))
    above = next((folder for folder in Path(path).parents if path_kind(folder) != "absent"), Path())
    # By the effective user, who is the one that writes.
    if path_kind(above) != "folder" or not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        received = f"{path}, below {above}, which is no folder or cannot be written to"
        raise StoreError(explain(received, "a file in a folder", "choose another place"))
    real = Path(os.path.realpath(path))
    if real.exists() and any(real.is_relative_to(os.path.realpath(given)) for given in inputs):
        received = f"{path} to write to, which is read from"
        raise StoreError(explain(received, "another file", "choose another name"))


def _check_is_here(path: StrPath) -> None:
    """Refuse an address, of which a path would make folders named like one."""
    if is_address(path) or is_flattened(path):
        remedy = "write it here, and copy it there with the tools of that storage"
        raise StoreError(explain(f"the address {path}", "a file of this machine to write to", remedy))


def stale_temporaries(directory: AnyPath) -> list[Path]:
    """What killed processes left half written; a living process's files are not among it."""
    stale: list[Path] = []
    if isinstance(directory, RemotePath):
        # A put that is broken off leaves no object.
        return stale
    for path in sorted(directory.glob(".featx-*.tmp")):
        match = TEMPORARY_PATTERN.fullmatch(path.name)
        # Another process may finish or sweep the same file at any moment: gone is not stale.
        with suppress(FileNotFoundError):
            age_s = time.time() - path.stat().st_mtime
            if match and age_s > TEMPORARY_MAX_AGE_S and not _is_running(int(match[1])):
                stale.append(path)
    return stale


def sweep(directory: AnyPath) -> None:
    """Remove what killed processes left half written, as far as this user may."""
    with suppress(OSError):
        for leftover in stale_temporaries(directory):
            with suppress(OSError):
                leftover.unlink()


def set_aside(path: AnyPath, reason: str, is_whole: Callable[[Any], bool] = lambda _: False) -> None:
    """Rename a damaged file so that nothing uses it and nothing of it is lost, and warn.

    Parameters
    ----------
    path : Path or RemotePath
    reason : str
        What is wrong with it.
    is_whole : callable
        Asked of the renamed file: another process may have put a sound one in its place meanwhile, which is
        put back. Of an object the copy is asked before the object is deleted.

    Raises
    ------
    StoreError
        When it cannot be renamed.
    """
    damaged = path.with_name(f"{path.name}.corrupt")
    if damaged.exists():
        damaged = path.with_name(f"{path.name}-{uuid4().hex[:8]}.corrupt")
    try:
        if not _put_aside(path, damaged, is_whole):
            return
    except FileNotFoundError:
        # Another process met the same damage and has done it already.
        return
    except OSError as error:
        remedy = "mend that and try again"
        told = error.strerror or str(error)
        raise StoreError(f"{reason}; it cannot be set aside ({told}): {remedy}") from error
    message = f"{reason}; set aside as {damaged.name}, and what it held is made anew"
    warnings.warn(message, FeatxWarning, stacklevel=3)


def _put_aside(path: AnyPath, damaged: AnyPath, is_whole: Callable[[Any], bool]) -> bool:
    """Whether it was set aside: False where it is sound by now."""
    if isinstance(path, RemotePath) and isinstance(damaged, RemotePath):
        return _copy_aside(path, damaged, is_whole)
    if isinstance(path, Path) and isinstance(damaged, Path):
        path.replace(damaged)
        if not is_whole(damaged):
            return True
        damaged.replace(path)
    return False


def _copy_aside(path: RemotePath, damaged: RemotePath, is_whole: Callable[[Any], bool]) -> bool:
    """As `_put_aside`: no object can be renamed, so that one which was put anew meanwhile is left alone."""
    version = path.version()
    path.copy_to(damaged)
    if is_whole(damaged) or path.version() != version:
        damaged.unlink(missing_ok=True)
        return False
    path.unlink()
    return True


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_failure(path: Path, error: OSError) -> str:
    return (
        f"cannot write {path}: {failure_reason(path, error)}; "
        "nothing committed so far is lost: mend the cause and run the same command again"
    )
