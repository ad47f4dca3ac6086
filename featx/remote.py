"""Files behind an address such as ``s3://bucket/folder``: the one module that knows fsspec.

A `RemotePath` has the few methods of `pathlib.Path` that a store uses, so that the same code serves both.
It holds nothing but its address: it can be pickled, and each process connects for itself, with the options
and credentials that the environment gives to fsspec and to the client behind it. Retrying is theirs, too.
Nothing is cached: what is listed or read is what stands there now.
"""

from __future__ import annotations

import errno
import fnmatch
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

from featx.checks import missing_package, require
from featx.errors import FeatxError, MissingPackageError, StoreError, printable

#: Object stores, where one put is one whole object: what can be committed to.
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az")

# In the words of S3, Google and Azure.
_NO_CONTAINER = re.compile(r"\b(bucket|container) does not exist", re.IGNORECASE)

_TRIES = 3
_DELETERS = 8


class RemoteStat(NamedTuple):
    """What is known of a file without reading it."""

    st_size: int


class RemotePath:
    """A file or folder behind an address.

    Parameters
    ----------
    protocol : str
        As fsspec names it, such as ``s3``.
    key : str
        The rest of the address.
    size : int, optional
        Bytes, where a listing told.
    is_folder : bool, optional
        Where a listing told.

    Examples
    --------
    >>> path = RemotePath("s3", "bucket/photos") / "a.png"
    >>> str(path), path.name, path.suffix, str(path.parent)
    ('s3://bucket/photos/a.png', 'a.png', '.png', 's3://bucket/photos')
    """

    def __init__(
        self, protocol: str, key: str, size: int | None = None, *, is_folder: bool | None = None
    ) -> None:
        self.protocol = protocol
        self.key = key
        self.size = size
        self.is_folder = is_folder

    def __str__(self) -> str:
        return f"{self.protocol}://{self.key}"

    def __repr__(self) -> str:
        return f"RemotePath({self.protocol!r}, {self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.protocol, f"{self.key.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.key.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The last part's ending, with its dot."""
        return os.path.splitext(self.name)[1]  # noqa: PTH122 - no local path

    @property
    def parent(self) -> RemotePath:
        """The folder around it."""
        return RemotePath(self.protocol, self.key.rpartition("/")[0])

    def with_name(self, name: str) -> RemotePath:
        """Another name in the same folder."""
        return self.parent / name

    # ---------------------------------------------------------------------------------- looking

    def iterdir(self) -> Iterator[RemotePath]:
        """What stands in the folder, by name; of one that is not there, nothing."""
        entries = self._listed(lambda filesystem, path: filesystem.ls(path, detail=True))
        for name, entry in sorted(entries, key=itemgetter(0)):
            if "/" not in name:
                yield self._child(name, entry)

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """What stands in the folder under names of a pattern."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def files_below(self) -> list[str]:
        """The names of all files at any depth, relative to this folder."""
        # Object stores list all at once; others go from folder to folder, and pass over what they may not.
        options = {} if self.protocol in OBJECT_STORES else {"on_error": "raise"}
        entries = self._listed(
            lambda filesystem, path: filesystem.find(path, detail=True, **options).values()
        )
        return [name for name, _ in entries if not name.endswith("/")]

    def exists(self) -> bool:
        """Whether anything stands there."""
        with _reaching(self) as (filesystem, path):
            return bool(filesystem.exists(path))

    def is_dir(self) -> bool:
        """Whether it is a folder: on an object store, whether anything stands below it."""
        if self.is_folder is not None:
            return self.is_folder
        with _reaching(self) as (filesystem, path):
            return bool(filesystem.isdir(path))

    def stat(self) -> RemoteStat:
        """Its size."""
        if self.size is not None:
            return RemoteStat(self.size)
        with _reaching(self) as (filesystem, path):
            return RemoteStat(int(filesystem.info(path).get("size") or 0))

    def version(self) -> str:
        """What changes with its content; "" where nothing stands there."""
        try:
            with _reaching(self) as (filesystem, path):
                return str(filesystem.ukey(path))
        except FileNotFoundError:
            return ""

    def read_bytes(self, max_bytes: int) -> bytes:
        """Its content, in one request where the file system can.

        Raises
        ------
        OSError
            With a reason in plain words as its ``strerror``: not there, too large, out of reach.
        """
        with _speaking_plainly():
            filesystem, path = self._connected()
            if self.protocol in OBJECT_STORES:
                data = _read_object(filesystem, path, max_bytes + 1)
            else:
                with filesystem.open(path, "rb") as file:
                    data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise OSError(errno.EFBIG, f"more than the limit of {max_bytes:,} bytes")
        return bytes(data)

    # --------------------------------------------------------------------------------- changing

    def write_bytes(self, data: bytes | memoryview, *, keep_first: bool = False) -> None:
        """Put a whole object there; with ``keep_first``, on the condition that there is none.

        Raises
        ------
        StoreError
        """
        try:
            with _speaking_plainly():
                filesystem, path = self._connected()
                if keep_first:
                    _put_first(filesystem, path, bytes(data))
                else:
                    filesystem.pipe_file(path, bytes(data))
        except OSError as error:
            raise StoreError(
                f"cannot write {self}: {error.strerror}; "
                "nothing committed so far is lost: mend the cause and run the same command again"
            ) from error

    def copy_to(self, target: RemotePath) -> None:
        """Copy it, in place of what stands there."""
        with _reaching(self) as (filesystem, path):
            filesystem.cp_file(path, target._connected()[1])

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the file."""
        try:
            with _reaching(self) as (filesystem, path):
                filesystem.rm_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def delete_folder(self) -> None:
        """Delete everything below it."""
        # Not fsspec's own, which takes a bracket in a name for a pattern.
        with ThreadPoolExecutor(_DELETERS) as pool:
            for done in [pool.submit((self / name).unlink, missing_ok=True) for name in self.files_below()]:
                done.result()

    def _connected(self) -> tuple[Any, str]:
        """The file system, and the path as that knows it."""
        filesystem = _filesystem(f"{self.protocol}://{self.key.partition('/')[0]}", os.getpid())
        return filesystem, filesystem._strip_protocol(str(self))  # noqa: SLF001 - how fsspec's own code asks

    def _listed(
        self, list_entries: Callable[[Any, str], Iterable[dict[str, Any]]]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Names relative to this folder, and what is told of each."""
        try:
            with _reaching(self) as (filesystem, path):
                entries = list_entries(filesystem, path)
        except FileNotFoundError as error:
            if isinstance(error, _NoContainerError):
                raise StoreError(f"{self} cannot be listed: {error.strerror}; check the address") from error
            return []
        prefix = f"{path.rstrip('/')}/"
        return [
            (str(entry["name"])[len(prefix) :], entry)
            for entry in entries
            # Some list the folder itself, as an object without content.
            if str(entry["name"]).startswith(prefix) and len(str(entry["name"])) > len(prefix)
        ]

    def _child(self, name: str, entry: dict[str, Any]) -> RemotePath:
        is_folder = entry["type"] == "directory"
        size = None if entry.get("size") is None else int(entry["size"])
        return RemotePath(self.protocol, f"{self.key.rstrip('/')}/{name}", size, is_folder=is_folder)


class _NoContainerError(FileNotFoundError):
    """Not the file is missing, but the bucket that it would be in."""


def _read_object(filesystem: Any, path: str, stop: int) -> bytes:
    try:
        return bytes(filesystem.cat_file(path, start=0, end=stop))
    except FileNotFoundError:
        raise
    except Exception:
        # Of an empty object there is no such range.
        if filesystem.info(path)["size"]:
            raise
        return b""


def _put_first(filesystem: Any, path: str, data: bytes) -> None:
    """Put an object where there is none; what stands there already stays."""
    for _ in range(_TRIES):
        try:
            filesystem.pipe_file(path, data, mode="create")
        except FileNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001 - each client has its own, and it is raised in the end
            if getattr(error, "errno", None) == errno.ENOSYS:
                # A server without conditional puts: the last one decides, and is as good.
                filesystem.pipe_file(path, data)
                return
            # Each client has its own error for a condition that does not hold.
            if filesystem.exists(path):
                return
            failure = error
        else:
            return
    raise failure


@functools.lru_cache(maxsize=32)
def _filesystem(root: str, pid: int) -> Any:  # noqa: ARG001 - a forked process has no connection
    """One for all threads: fsspec itself would connect anew for each."""
    core = require("fsspec", "remote").core
    try:
        return core.url_to_fs(root, use_listings_cache=False, skip_instance_cache=True)[0]
    except ImportError as error:
        protocol = root.partition(":")[0]
        if protocol in ("s3", "s3a"):
            raise missing_package("s3fs", "remote") from error
        reason = printable(str(error))
        raise MissingPackageError(f"{protocol}:// needs a package that is not installed: {reason}") from error


@contextmanager
def _reaching(path: RemotePath) -> Iterator[tuple[Any, str]]:
    """The file system and the path as that knows it; what it refuses is one kind of error."""
    try:
        with _speaking_plainly():
            yield path._connected()  # noqa: SLF001 - the other half of the class
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"{path} cannot be reached: {error.strerror}; mend that and try again"
        raise StoreError(message) from error


@contextmanager
def _speaking_plainly() -> Iterator[None]:
    """Clients have errors of their own; here there are four, each with a reason in words."""
    try:
        yield
    except FeatxError:
        raise
    except FileNotFoundError as error:
        if _NO_CONTAINER.search(str(error)):
            raise _NoContainerError(errno.ENOENT, _reason(error)) from error
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
    except IsADirectoryError as error:
        raise IsADirectoryError(errno.EISDIR, "a folder, not a file") from error
    except PermissionError as error:
        raise PermissionError(errno.EACCES, _reason(error)) from error
    except Exception as error:
        raise OSError(errno.EIO, _reason(error)) from error


def _reason(error: Exception) -> str:
    text = (getattr(error, "strerror", None) or str(error)).strip()
    return printable(text.splitlines()[0][:300] if text else type(error).__name__)
