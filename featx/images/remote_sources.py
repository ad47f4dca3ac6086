"""Images behind an address, such as ``s3://bucket/photos``: listed once, each fetched when it is wanted.

What is listed follows the rules of a local folder (`featx.images.file_sources`), so that the same files
give the same samples, labels and features wherever they lie. Whatever fsspec can list and read may hold
images: nothing is written there.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

from featx.checks import explain
from featx.errors import DecodeError, SourceError, StoreError
from featx.images.decoding import MAX_FILE_BYTES
from featx.remote import RemotePath


class Listing(NamedTuple):
    """What a folder holds, by names relative to it.

    Parameters
    ----------
    images : set of str
        What is named like an image.
    ignored : list of str
        Files that are not.
    folders : set of str
        Those of the images that are folders.
    """

    images: set[str]
    ignored: list[str]
    folders: set[str]

    def is_folder(self, name: str) -> bool:
        """Whether what is named like an image is a folder."""
        return name in self.folders


def list_images(root: RemotePath, suffixes: Collection[str]) -> Listing:
    """What lies in a folder behind an address.

    Parameters
    ----------
    root : RemotePath
    suffixes : collection of str
        Endings that mark a name as that of an image, in lower case.

    Returns
    -------
    Listing

    Raises
    ------
    SourceError
        When it cannot be listed, or nothing is there.

    Examples
    --------
    >>> import fsspec
    >>> fsspec.filesystem("memory").pipe_file("/list-images/cat/0.png", b"")
    >>> list_images(RemotePath("memory", "list-images"), {".png"}).images
    {'cat/0.png'}
    """
    try:
        names = root.files_below()
    except StoreError as error:
        raise SourceError(str(error)) from error
    if not names:
        raise SourceError(explain(f"{root}: no such folder", "a folder of images", "check the address"))
    listing = Listing(set(), [], set())
    for name in names:
        _sort_in(name, suffixes, listing)
    return listing


def _sort_in(name: str, suffixes: Collection[str], listing: Listing) -> None:
    """As a walk from folder to folder would come upon a file."""
    parts = name.split("/")
    if "" in parts:
        # No folder has such a file: two slashes in a row.
        listing.ignored.append(name)
        return
    for n_parts, part in enumerate(parts, start=1):
        if part.startswith("."):
            return
        if os.path.splitext(part)[1].lower() in suffixes:  # noqa: PTH122 - no local path
            image = "/".join(parts[:n_parts])
            listing.images.add(image)
            if n_parts < len(parts):
                listing.folders.add(image)
            return
    listing.ignored.append(name)


def fetch_remote(path: RemotePath, sample_id: str) -> bytes:
    """The bytes of an image.

    Raises
    ------
    DecodeError
        With the reason in plain words.
    """
    try:
        return path.read_bytes(MAX_FILE_BYTES)
    except FileNotFoundError as error:
        reason = "a folder, not a file" if _is_folder(path) else str(error.strerror)
        raise DecodeError(sample_id, reason) from error
    except OSError as error:
        raise DecodeError(sample_id, error.strerror or str(error)) from error


def _is_folder(path: RemotePath) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Only the words of an error depend on it.
        return False
