"""Sources of images that lie in files: lists of paths, folders, manifests, here or behind an address.

Paths are listed when a source is built; files are opened when an image is fetched. Below a root,
nothing outside it is opened: a link that leaves it, a pipe or a folder named like an image is a
sample that fails with its reason, so that it is reported and not silently absent.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from featx.checks import explain
from featx.errors import DecodeError, SourceError, printable
from featx.files import StrPath, path_kind
from featx.images.base import UNLABELLED, ImageSource, RawImage, encode_labels
from featx.images.decoding import MAX_FILE_BYTES
from featx.images.manifests import check_column, check_not_nan, labels_of, paths_of, read_rows
from featx.images.remote_sources import Listing, fetch_remote, list_images
from featx.reading import read_regular_file
from featx.remote import RemotePath
from featx.storage import AnyPath, AnyPathLike, is_address, location

#: Names that mark a file as an image. Those of formats that are not read stand here too: such a file
#: is reported as a sample that failed, not passed over.
IMAGE_SUFFIXES = frozenset(
    {
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".apng",
            ".webp",
            ".gif",
            ".bmp",
            ".dib",
            ".tif",
            ".tiff",
        ),
        *(".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".ico", ".tga", ".ppm", ".pgm"),
        *(".exr", ".hdr", ".dng", ".cr2", ".nef", ".dcm"),
    }
)


class PathSource(ImageSource):
    """Images in files, given one by one.

    Parameters
    ----------
    paths : sequence of path-like
        Image files, relative to ``root`` or, without one, to the working folder; or addresses.
    labels : array-like of shape (n_samples,), optional
        Strings or integers.
    groups : sequence of str, optional
        Samples of one group are never parted by a split.
    root : path-like, optional
        When given, a folder or its address: sample ids are relative to it, no file outside it is opened.
    follow_links : bool, default=False
        Open links that lead outside ``root``.

    Examples
    --------
    >>> from PIL import Image
    >>> path = getfixture("tmp_path") / "a.png"
    >>> Image.new("RGB", (4, 3)).save(path)
    >>> source = PathSource([path], labels=["black"])
    >>> source.labels, source.class_names, len(source.read(0, 1)[0].fetch()) > 0
    (array([0]), ['black'], True)
    """

    def __init__(
        self,
        paths: Sequence[StrPath],
        labels: Sequence[object] | np.ndarray | None = None,
        *,
        groups: Sequence[str] | None = None,
        root: AnyPathLike | None = None,
        follow_links: bool = False,
    ) -> None:
        names = [os.fspath(path) for path in paths]
        super().__init__(names, labels, groups)
        self.root = None if root is None else location(root, SourceError)
        self.follow_links = follow_links

    def read(self, start: int, stop: int) -> list[RawImage]:
        """The samples from ``start`` up to ``stop``; their files are opened when they are fetched."""
        root = self.root
        if isinstance(root, RemotePath):
            return [
                RawImage(sample_id, partial(fetch_remote, root / sample_id, sample_id))
                for sample_id in self.sample_ids[start:stop]
            ]
        folders = _RealFolders(None if root is None or self.follow_links else os.path.realpath(root))
        return [
            RawImage(sample_id, partial(_fetch_file, folders, self._path(sample_id), sample_id))
            for sample_id in self.sample_ids[start:stop]
        ]

    def path_of(self, index: int) -> str:
        """The path of a sample's file, below the root as that was given."""
        return self._path(self.sample_ids[index])

    def _path(self, sample_id: str) -> str:
        if isinstance(self.root, RemotePath):
            return str(self.root / sample_id)
        base = "" if self.root is None else os.fspath(self.root)
        return os.path.join(base, sample_id)  # noqa: PTH118 - speed


class FolderSource(PathSource):
    """Images in a folder: one subfolder a class, or all in one folder without labels.

    Parameters
    ----------
    root : path-like
        The folder, or the address of one, such as ``s3://bucket/photos``. Its immediate subfolders are the
        classes; images may lie at any depth below them. A folder that holds images itself and no class
        folders is unlabelled.
    follow_links : bool, default=False
        Follow links that lead outside the folder. Otherwise each is reported as a failed sample.

    Attributes
    ----------
    ignored : list of str
        Files whose name does not mark them as an image, relative to ``root``.

    Examples
    --------
    >>> from PIL import Image
    >>> root = getfixture("tmp_path")
    >>> for name in ("cat", "dog"):
    ...     (root / name).mkdir()
    ...     Image.new("RGB", (4, 3)).save(root / name / "0.png")
    >>> source = FolderSource(root)
    >>> source.sample_ids, source.class_names
    (['cat/0.png', 'dog/0.png'], ['cat', 'dog'])
    """

    def __init__(self, root: AnyPathLike, *, follow_links: bool = False) -> None:
        root = location(root, SourceError)
        listing = _listing(root, follow_links=follow_links)
        names = sorted(listing.images, key=os.fsencode)
        self.ignored = sorted(listing.ignored)
        if not names:
            raise SourceError(
                explain(f"0 images in {root}", "files named .jpg, .png and the like", "check the path")
            )
        super().__init__(names, root=root, follow_links=follow_links)
        self.labels, self.class_names = _classes_of_folders(root, names, listing.is_folder)


class ManifestSource(PathSource):
    r"""Images listed in a CSV file with a header line.

    Parameters
    ----------
    csv_path : path-like
        A file, or the address of one. UTF-8 text, comma separated.
    path_column : str, default="path"
        Column of the images' paths, relative to ``root``.
    label_column : str or None, default="label"
        Column of the labels. The images are unlabelled where the default column is absent or every cell
        of the column is blank, and with None, which ignores labels.
    group_column : str, optional
        Column of the groups.
    root : path-like, optional
        Folder, or its address, that the paths are relative to and may not leave; by default the manifest's
        own.
    follow_links : bool, default=False
        Open links that lead outside ``root``.

    Examples
    --------
    >>> manifest = getfixture("tmp_path") / "cells.csv"
    >>> _ = manifest.write_text("path,label\na.png,good\nb.png,bad\n")
    >>> source = ManifestSource(manifest)
    >>> source.sample_ids, source.labels, source.class_names
    (['a.png', 'b.png'], array([1, 0]), ['bad', 'good'])
    """

    def __init__(
        self,
        csv_path: AnyPathLike,
        path_column: str = "path",
        label_column: str | None = "label",
        group_column: str | None = None,
        root: AnyPathLike | None = None,
        *,
        follow_links: bool = False,
    ) -> None:
        manifest = location(csv_path, SourceError)
        root = manifest.parent if root is None else location(root, SourceError)
        header, rows = read_rows(manifest)
        if label_column == "label" and label_column not in header:
            label_column = None
        for column in (path_column, label_column, group_column):
            if column is not None:
                check_column(manifest, column, header)
        paths = paths_of(manifest, root, [(line, row[path_column]) for line, row in rows])
        labels = None if label_column is None else labels_of(manifest, label_column, rows)
        groups = None
        if group_column is not None:
            cells = [(line, row[group_column]) for line, row in rows]
            check_not_nan(manifest, "group", cells)
            groups = [group for _, group in cells]
        super().__init__(paths, labels, groups=groups, root=root, follow_links=follow_links)


class _RealFolders:
    """Where paths really lead: each folder is looked up once for all the files read together.

    Parameters
    ----------
    fence : str or None
        A real folder that nothing may lead out of.
    """

    def __init__(self, fence: str | None) -> None:
        self._fence = fence
        # It may be read by a process that works elsewhere.
        self._here = os.fspath(Path.cwd())
        self._real: dict[str, str] = {}

    def read(self, path: str) -> bytes:
        """The bytes of a file; a link is followed as far as the fence."""
        path = os.path.join(self._here, path)  # noqa: PTH118 - speed
        folder, name = os.path.split(path)
        if name in ("", ".", ".."):
            return read_regular_file(self._inside(path), MAX_FILE_BYTES)
        real = self._real.get(folder)
        if real is None:
            real = self._real[folder] = self._inside(folder)
        try:
            return read_regular_file(f"{real}/{name}", MAX_FILE_BYTES)
        except OSError as error:
            # A link, by its last part: `read_regular_file` follows none.
            if error.errno != errno.ELOOP:
                raise
        return read_regular_file(self._inside(path), MAX_FILE_BYTES)

    def _inside(self, path: str) -> str:
        real = os.path.realpath(path, strict=True)
        if self._fence is not None and os.path.commonpath([self._fence, real]) != self._fence:
            raise PermissionError(
                errno.EPERM, "leads outside the root, not opened (follow_links=True opens it)"
            )
        return real


def _fetch_file(folders: _RealFolders, path: str, sample_id: str) -> bytes:
    if is_address(path):
        place = location(path, SourceError)
        if isinstance(place, RemotePath):
            return fetch_remote(place, sample_id)
        path = os.fspath(place)
    try:
        return folders.read(path)
    except (OSError, ValueError) as error:
        raise DecodeError(sample_id, getattr(error, "strerror", None) or str(error)) from error


class _Scan:
    """One walk through a folder: collects what is named like an image, notes what is not."""

    def __init__(self, root: Path, *, follow_links: bool) -> None:
        self.root = root
        self.real_root = os.path.realpath(root)
        self.follow_links = follow_links
        self.visited = {self.real_root}
        self.images: list[str] = []
        self.ignored: list[str] = []
        self._walk("")

    def is_folder(self, name: str) -> bool:
        """Whether what is named like an image is a folder."""
        return path_kind(self.root / name) == "folder"

    def _walk(self, folder: str) -> None:
        try:
            entries = list(os.scandir(self.root / folder))
        except OSError as error:
            where = printable(str(self.root / folder))
            raise SourceError(f"{where} cannot be listed: {error.strerror}; check its permissions") from error
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - speed
                # Also when it is a folder, a pipe or a link: then reading it says so.
                self.images.append(name)
            elif entry.is_dir(follow_symlinks=False):
                self._walk(name)
            elif path_kind(entry.path) == "folder":
                self._walk_link(name)
            else:
                self.ignored.append(name)

    def _walk_link(self, name: str) -> None:
        target = os.path.realpath(self.root / name)
        if os.path.commonpath([self.real_root, target]) == self.real_root or target in self.visited:
            # Its images are listed where they really lie.
            self.ignored.append(name)
        elif self.follow_links:
            self.visited.add(target)
            self._walk(name)
        else:
            self.images.append(name)


def _listing(root: AnyPath, *, follow_links: bool) -> _Scan | Listing:
    if isinstance(root, RemotePath):
        return list_images(root, IMAGE_SUFFIXES)
    if (kind := path_kind(root)) != "folder":
        what = {"absent": "no such folder", "unreachable": "cannot be reached"}.get(kind, "a file")
        raise SourceError(explain(f"{root}: {what}", "a folder of images", "check the path"))
    return _Scan(root, follow_links=follow_links)


def _classes_of_folders(
    root: AnyPath, names: list[str], is_folder: Callable[[str], bool]
) -> tuple[np.ndarray, list[str]]:
    # Without a slash, no class.
    folders = [name.partition("/")[0] if "/" in name else None for name in names]
    found = sorted({folder for folder in folders if folder is not None})
    if not found:
        return np.full(len(names), UNLABELLED, np.int64), []
    # Beside the classes may stand what fails when it is read: a link not followed, a folder named x.jpg.
    loose = [name for name in names if "/" not in name and not is_folder(name)]
    if loose:
        raise SourceError(
            explain(
                f"{root} with {len(loose)} images beside {len(found)} class folders",
                "class folders, or images alone",
                f"move {printable(loose[0])} into a class folder",
            )
        )
    codes, class_names = encode_labels(found, found)
    code_of: dict[str | None, int] = dict(zip(found, codes.tolist(), strict=True))
    return np.array([code_of.get(folder, UNLABELLED) for folder in folders], np.int64), class_names
