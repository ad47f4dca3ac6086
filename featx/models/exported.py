"""Exported models: what travels inside the file, and how one is opened and run.

Every format carries the same JSON, ``featx.json``: class names, input size, and what the numbers mean.
How each format is read, checked and run stands in `featx.models.runtimes`. To change the JSON, raise
`FORMAT_VERSION` and keep reading the versions before it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.checks import check_choice, explain
from featx.documents import parse_json
from featx.errors import (
    ConversionError,
    FeatxError,
    MissingPackageError,
    SourceError,
    StoreCorruptError,
    StoreError,
    printable,
)
from featx.files import StrPath, path_kind
from featx.models.runtimes import RUNTIMES

FORMAT_VERSION = 1

#: The format that each ending of a name stands for. A SavedModel is a folder and has none.
FORMAT_OF_SUFFIX = {".keras": "keras", ".onnx": "onnx", ".tflite": "litert", "": "saved_model"}

OUTPUTS = ("probability", "decision")

# No network takes more; whoever writes a file could ask for terabytes.
_MAX_PIXELS = 2**24


@dataclass(frozen=True)
class Details:
    """What travels inside an exported file besides the model.

    Parameters
    ----------
    class_names : tuple of str
    input_size : tuple of int
        (height, width), in pixels.
    output : {"probability", "decision"}
    featx_version : str
        That wrote it.
    model_sha256 : str, optional
        Digest of the model's own bytes, where the format has no checksum of its own.

    Examples
    --------
    >>> details = Details(("cat", "dog"), (224, 224), "probability", "0.1.0")
    >>> Details.from_json(details.to_json()) == details
    True
    """

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    output: str
    featx_version: str
    model_sha256: str | None = None

    def to_json(self) -> bytes:
        """As it stands in the file."""
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Details:
        """Read it back, whoever wrote it.

        Raises
        ------
        StoreError
            When it is of another version, or a field is missing or of another type.
        """
        fields = parse_json(data)
        version = fields.get("format_version") if isinstance(fields, dict) else None
        if version != FORMAT_VERSION:
            received = f"featx.json of format_version {version!r:.20}"
            raise StoreError(explain(received, f"version {FORMAT_VERSION}", "export the model anew"))
        for name, is_valid in _VALID.items():
            if not is_valid(fields.get(name)):
                raise StoreCorruptError(f"its {name} cannot be used")
        names, size = tuple(fields["class_names"]), tuple(fields["input_size"])
        return cls(names, size, fields["output"], fields["featx_version"], fields["model_sha256"])


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is kind for item in value)


_VALID: dict[str, Callable[[Any], bool]] = {
    "class_names": lambda value: _is_list_of(str, value),
    "input_size": lambda value: (
        _is_list_of(int, value) and len(value) == 2 and min(value) > 0 and math.prod(value) <= _MAX_PIXELS
    ),
    "output": lambda value: value in OUTPUTS,
    "featx_version": lambda value: isinstance(value, str),
    "model_sha256": lambda value: value is None or isinstance(value, str),
}


@dataclass(frozen=True)
class ExportedModel:
    """An exported model, ready to run; made by `load_exported`.

    Attributes
    ----------
    class_names : tuple of str
        In the order of the columns that `predict_on_batch` gives.
    input_size : tuple of int
        (height, width) that images are resized to inside, in pixels; the only size that LiteRT takes.
    format : {"keras", "onnx", "litert", "saved_model"}
    output : {"probability", "decision"}
        What the columns are; the largest is the class.

    Examples
    --------
    See `load_exported`.
    """

    class_names: tuple[str, ...]
    input_size: tuple[int, int]
    format: str
    output: str
    _path: str = field(repr=False)
    _run: Callable[[np.ndarray], np.ndarray] = field(repr=False, compare=False)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Classify one batch.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3), uint8
            RGB, of any size; for LiteRT of `input_size`.

        Returns
        -------
        ndarray of shape (n, n_classes), float32
            One column a class.

        Raises
        ------
        SourceError
            When the images are not such an array.
        StoreError
            When the model inside the file does not run, or gives something else.
        """
        self._check_images(images)
        try:
            scores = self._run(images)
        except Exception as error:
            # Whoever wrote the file decides where in which runtime it fails.
            raise StoreError(f"{self._path} cannot be run: {_reason(error)}") from error
        expected = (len(images), len(self.class_names))
        if scores.shape != expected or scores.dtype != np.float32:
            received = f"{scores.dtype} of shape {scores.shape} from {self._path}"
            raise StoreError(explain(received, f"float32 of shape {expected}", "export the model anew"))
        return scores

    def _check_images(self, images: Any) -> None:
        shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
        size = self.input_size if self.format == "litert" else ("height", "width")
        is_batch = isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[3] == 3
        is_usable = is_batch and images.size > 0 and images.dtype == np.uint8
        if not is_usable or (self.format == "litert" and images.shape[1:3] != self.input_size):
            received = f"images of shape {shape} and type {dtype}" if shape else f"a {type(images).__name__}"
            expected = f"a uint8 array of shape (n, {size[0]}, {size[1]}, 3)"
            raise SourceError(explain(received, expected, "pass RGB images, 0 to 255"))


def load_exported(path: StrPath) -> ExportedModel:
    """Open what `export_model` wrote, in whichever format.

    Parameters
    ----------
    path : path-like
        A ``.keras``, ``.onnx`` or ``.tflite`` file, or a SavedModel folder.

    Returns
    -------
    ExportedModel

    Raises
    ------
    StoreError
        When it is absent, damaged, not exported by featx, or asks for something that is not opened: code of
        its author, other files, operations of unknown origin.
    MissingPackageError
        When the format's runtime is not installed.

    Notes
    -----
    What each format is checked for before its runtime sees it: ``.keras``, that it holds Keras's own layers
    only; ONNX, that it points to no other file and uses the standard's operations only; SavedModel, that it
    holds arithmetic only, and reaches files in no way but its own checkpoint's. A digest finds damage in the
    formats that have none. That keeps known tricks out, and is no sandbox: a SavedModel is a program of its
    author, and every runtime is a large program that a crafted file may break. Open models of people you do
    not trust in a process that has nothing to lose.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from featx import attach_head, export_model, load_backbone, to_keras
    >>> backbone = load_backbone("MobileNetV2", input_size=(32, 32), weights=None)
    >>> images = np.random.default_rng(0).integers(0, 256, (4, 50, 40, 3)).astype(np.uint8)
    >>> head = LogisticRegression().fit(np.eye(4, 1280), [0, 1, 0, 1])
    >>> path = getfixture("tmp_path") / "model.keras"
    >>> _ = export_model(attach_head(backbone, to_keras(head), ["cat", "dog"]), path)
    >>> model = load_exported(path)
    >>> model.class_names, model.predict_on_batch(images).shape
    (('cat', 'dog'), (4, 2))
    """
    file = Path(path)
    format_ = _format_of_file(file)
    runtime = RUNTIMES[format_]
    try:
        opened = runtime.read(file)
        details = Details.from_json(opened.details)
        if details.model_sha256 != opened.model_sha256:
            raise StoreCorruptError("the model in it is not the one that was exported")
        run = runtime.start(opened.model)
    except MissingPackageError:
        raise
    except FileNotFoundError:
        expected = "what export_model wrote"
        raise StoreError(explain(f"{path}: no such file", expected, "check the path")) from None
    except FeatxError as error:
        kind = type(error) if isinstance(error, StoreError) else StoreError
        # What opens a .keras file names it already.
        reason = str(error).removeprefix(f"{path} ").removeprefix("cannot be loaded as a Keras model: ")
        raise kind(f"{path} cannot be opened: {reason}") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # zipfile, protobuf and each runtime have errors of their own for damaged bytes.
        raise StoreCorruptError(f"{path} is damaged or no {format_} model: {_reason(error)}") from error
    return ExportedModel(
        details.class_names, details.input_size, format_, details.output, os.fspath(path), run
    )


def resolve_format(path: StrPath, format: str) -> str:  # noqa: A002 - the word that users write
    """Which format a file is to have, by its name unless that is said.

    Examples
    --------
    >>> resolve_format("model.onnx", "auto")
    'onnx'
    """
    formats = tuple(FORMAT_OF_SUFFIX.values())
    check_choice("format", format, ("auto", *formats), ConversionError)
    suffix = Path(path).suffix.lower()
    by_name = FORMAT_OF_SUFFIX.get(suffix)
    if format == "auto" and by_name is None:
        expected = "one that ends in .keras, .onnx or .tflite, or in nothing for a SavedModel folder"
        raise ConversionError(explain(f"the path {path}", expected, "rename it or pass format"))
    # A folder may be called v1.2, but not model.onnx.
    is_fitting = by_name == format or (format == "saved_model" and by_name is None)
    if format != "auto" and not is_fitting:
        wanted = next(ending for ending, name in FORMAT_OF_SUFFIX.items() if name == format)
        expected = f"a path that ends in {wanted}" if wanted else "a path without a file's ending"
        raise ConversionError(
            explain(f"format={format!r} and the path {path}", expected, "change one of them")
        )
    return by_name if format == "auto" and by_name else format


def _format_of_file(path: Path) -> str:
    kind = path_kind(path)
    format_ = "saved_model" if kind == "folder" else FORMAT_OF_SUFFIX.get(path.suffix.lower(), "")
    if kind == "absent":
        raise StoreError(explain(f"{path}: no such file", "what export_model wrote", "check the path"))
    if (kind == "folder") != (format_ == "saved_model") or not format_:
        expected = "a .keras, .onnx or .tflite file, or a SavedModel folder"
        raise StoreError(explain(f"{path}", expected, "pass what export_model wrote"))
    return format_


def _reason(error: Exception) -> str:
    return printable(str(error).strip().partition("\n")[0] or type(error).__name__)
