"""Sources of images, and `as_source`: the one dispatch that every entry point uses."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import SourceError
from featx.files import path_kind
from featx.images.array_sources import ArraySource, DatasetSource, is_dataset
from featx.images.base import UNLABELLED, ImageSource, RawImage
from featx.images.file_sources import IMAGE_SUFFIXES, FolderSource, ManifestSource, PathSource
from featx.images.hdf5_source import HDF5Source
from featx.images.numpy_files import numpy_arrays
from featx.remote import RemotePath
from featx.storage import AnyPath, location

__all__ = [
    "ArraySource",
    "DatasetSource",
    "FolderSource",
    "HDF5Source",
    "ImageSource",
    "ManifestSource",
    "PathSource",
    "RawImage",
    "as_source",
]

_ARRAY_SUFFIXES = (".npy", ".npz", ".h5", ".hdf5")
_EXPECTED = "a folder, a .csv, .npy, .npz or .h5 file, paths, arrays or a data set"


def as_source(
    images: Any, labels: Sequence[object] | np.ndarray | None = None, **options: Any
) -> ImageSource:
    """Make a source of whatever a user has.

    Parameters
    ----------
    images : ImageSource, path-like, sequence of path-like, ndarray, sequence of ndarray, or data set
        A folder, a CSV manifest, a ``.npy``, ``.npz`` or ``.h5`` file of images, one image file, a
        list of image files, images as arrays, a ``tf.data.Dataset`` or a ``keras.utils.PyDataset``.
        Folders, manifests and image files may also be addresses, such as ``s3://bucket/photos``.
    labels : array-like of shape (n_samples,), optional
        For kinds that carry no labels of their own, or in place of those they carry.
    **options
        Keyword arguments of the source's class, such as ``label_column`` or ``value_range``.

    Returns
    -------
    ImageSource

    Raises
    ------
    SourceError
        When it is none of these, or not usable as it is.

    Examples
    --------
    >>> as_source(np.zeros((2, 8, 8, 3), np.uint8), ["cat", "dog"]).class_names
    ['cat', 'dog']
    >>> as_source("no/such/folder")
    Traceback (most recent call last):
    featx.errors.SourceError: received no/such/folder: no such file or folder; expected a folder, ...
    """
    return build_source(*_kind_of(images), labels, options)


def build_source(
    kind: Callable[..., ImageSource], argument: Any, labels: Any, options: dict[str, Any]
) -> ImageSource:
    """A source of a kind, with options that are checked against that kind's own.

    Examples
    --------
    >>> build_source(ArraySource, np.zeros((2, 8, 8), np.uint8), None, {"follow_links": True})
    Traceback (most recent call last):
    featx.errors.SourceError: received the option follow_links; expected one of labels, groups, ...
    """
    known = list(inspect.signature(kind).parameters)[1:]
    if unknown := sorted(set(options) - set(known)):
        expected = f"one of {', '.join(known)}" if known else "none"
        raise SourceError(explain(f"the option {unknown[0]}", f"{expected} for such samples", "leave it out"))
    source = kind(argument, **options)
    return source if labels is None else source.with_labels(labels)


def true_class_names(source: ImageSource) -> np.ndarray:
    """The name of each sample's class, which every sample must have: array of shape (n_samples,), object.

    Examples
    --------
    >>> true_class_names(as_source(np.zeros((2, 8, 8, 3), np.uint8), ["cat", "dog"]))
    array(['cat', 'dog'], dtype=object)
    """
    if (source.labels == UNLABELLED).any():
        raise SourceError(explain("images without labels", "a label for each", "pass y"))
    names: np.ndarray = np.array(source.class_names, dtype=object)[source.labels]
    return names


def _kind_of(images: Any) -> tuple[Callable[..., ImageSource], Any]:
    """The class that serves, and what to pass to it."""
    if isinstance(images, ImageSource):
        return as_it_is, images
    if isinstance(images, str | os.PathLike | RemotePath):
        return _kind_of_path(location(images, SourceError))
    if is_dataset(images):
        return DatasetSource, images
    if isinstance(images, np.ndarray) and images.dtype.kind not in "UO":
        return ArraySource, images
    if isinstance(images, Sequence | np.ndarray) and len(images):
        if all(isinstance(image, str | os.PathLike) for image in images):
            return PathSource, list(images)
        if all(isinstance(image, np.ndarray) for image in images):
            return ArraySource, list(images)
    raise SourceError(explain(described(images), _EXPECTED, "pass one of these"))


def described(samples: Any) -> str:
    """What something is that no source can be made of.

    Examples
    --------
    >>> described([])
    'an empty list'
    """
    kind = type(samples).__name__
    return f"an empty {kind}" if isinstance(samples, Sized) and not len(samples) else f"a {kind}"


def _kind_of_path(path: AnyPath) -> tuple[Callable[..., ImageSource], Any]:
    suffix = path.suffix.lower()
    if isinstance(path, RemotePath):
        return _kind_of_address(path, suffix)
    if path_kind(path) == "folder":
        return FolderSource, path
    check_is_file(path, _EXPECTED)
    if suffix == ".csv":
        return ManifestSource, path
    if suffix in (".npy", ".npz"):
        return _numpy_file_source, path
    if suffix in (".h5", ".hdf5"):
        return HDF5Source, path
    if suffix in IMAGE_SUFFIXES:
        return PathSource, [path]
    raise SourceError(explain(f"the file {path}", _EXPECTED, "pass one of these"))


def _kind_of_address(path: RemotePath, suffix: str) -> tuple[Callable[..., ImageSource], Any]:
    """By its name alone: what it leads to is looked at when it is listed or fetched."""
    if suffix in _ARRAY_SUFFIXES:
        expected = "a folder, a .csv file or image files behind an address"
        raise SourceError(explain(f"the address {path}", expected, "copy the file here, and pass its path"))
    if suffix == ".csv":
        return ManifestSource, path
    return (PathSource, [str(path)]) if suffix in IMAGE_SUFFIXES else (FolderSource, path)


def check_is_file(path: Path, expected: str) -> None:
    """Refuse what is not there, and what is no regular file.

    Examples
    --------
    >>> check_is_file(Path("no/such/file.npy"), "a .npy file")
    Traceback (most recent call last):
    featx.errors.SourceError: received no/such/file.npy: no such file or folder; expected a .npy file; ...
    """
    if (kind := path_kind(path)) != "file":
        # Among them pipes, from which to read would be to wait for ever.
        words = {"absent": "no such file or folder", "unreachable": "cannot be reached", "folder": "a folder"}
        what = words.get(kind, "neither a file nor a folder")
        raise SourceError(explain(f"{path}: {what}", expected, "check the path"))


def as_it_is(source: ImageSource) -> ImageSource:
    """A source that is one already; it has no options."""
    return source


def _numpy_file_source(path: Path, *, value_range: tuple[float, float] | None = None) -> ImageSource:
    """A ``.npy`` file of images, or a ``.npz`` file of arrays named images, labels and groups."""
    arrays = numpy_arrays(path, "images", optional=("labels", "groups"))
    groups = arrays["groups"].tolist() if "groups" in arrays else None
    return ArraySource(arrays["images"], arrays.get("labels"), groups=groups, value_range=value_range)
