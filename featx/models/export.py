"""One file, or a SavedModel folder, that classifies images without featx: written, checked, committed.

A model is written to a temporary place, opened there by the runtime that its users will open it with, and
compared with the model in memory. Only then does it take its name.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx import __version__
from featx.checks import explain, require
from featx.errors import ConversionError, FeatxError, ParityError, SourceError, StoreError
from featx.files import StrPath, atomic_write, check_target, path_kind, sha256_hex
from featx.folders import atomic_folder
from featx.images.decoding import load_image
from featx.models.exported import OUTPUTS, Details, load_exported, resolve_format
from featx.models.resizing import with_resize
from featx.models.runtimes import DETAILS_FOLDER, DETAILS_NAME, onnx_payload
from featx.models.training import are_probabilities

if TYPE_CHECKING:
    import keras

# As a share of the largest score, where that is above one: decisions have no fixed range.
_TOLERANCE = 1e-4
_BATCH_SIZE = 32
_N_NOISE_IMAGES = 8

# What every ONNX Runtime since 2022 knows.
_ONNX_OPSET = 18


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how closely it answers like the model.

    Parameters
    ----------
    path : str
    format : {"keras", "onnx", "litert", "saved_model"}
    max_abs_difference : float
        Between the model's scores and the exported file's, each in its own runtime.
    n_images : int
        That they were compared on.

    Examples
    --------
    See `export_model`.
    """

    path: str
    format: str
    max_abs_difference: float
    n_images: int


def export_model(
    model: keras.Model,
    path: StrPath,
    format: str = "auto",  # noqa: A002 - the word that users write
    *,
    images: np.ndarray | None = None,
) -> ExportReport:
    """Write a model that takes images and gives class probabilities, and check what was written.

    Parameters
    ----------
    model : keras.Model
        As `attach_head` or ``ImageClassifier.to_keras`` gives it, fine-tuned or not.
    path : path-like
        Created or replaced, once the export has been checked; until then what stands there is untouched.
    format : {"auto", "keras", "onnx", "litert", "saved_model"}, default="auto"
        "auto" goes by the path's ending: ``.keras``, ``.onnx``, ``.tflite``, or none for a SavedModel folder.
    images : ndarray of shape (n, height, width, 3), uint8, optional
        Images of yours to compare on; by default a few of noise. Sizes other than the model's are resized.

    Returns
    -------
    ExportReport

    Raises
    ------
    ConversionError
        When the model was not made by `attach_head`, or cannot be written in that format.
    ParityError
        When the exported model answers otherwise: by more than 1e-4, for decisions of the largest.
    StoreError
        When the path cannot be written, or is a folder that is no SavedModel.
    MissingPackageError
        When a package that the format needs is not installed: ``pip install "featx[onnx]"`` or
        ``"featx[litert]"``.

    Notes
    -----
    The exported model takes uint8 images of any size, all of a batch alike, and resizes them as Pillow does,
    to within one grey level; images of the model's own size go through unchanged. LiteRT takes batches of any
    length of that size only. ``.keras`` works with every Keras backend, here and where it is opened; the
    other formats are made on the TensorFlow backend.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from featx import attach_head, export_model, load_backbone, to_keras
    >>> backbone = load_backbone("MobileNetV2", input_size=(32, 32), weights=None)
    >>> head = LogisticRegression().fit(np.eye(4, 1280), [0, 1, 0, 1])
    >>> model = attach_head(backbone, to_keras(head), ["cat", "dog"])
    >>> report = export_model(model, getfixture("tmp_path") / "model.keras")
    >>> report.format, report.n_images, report.max_abs_difference < 1e-4
    ('keras', 8, True)
    """
    details, compared = _details_of(model, images)
    format_ = check_export_target(path, format)
    write = _WRITERS[format_]
    with _temporary(Path(path), format_) as written:
        with _explained(format_):
            write(model, details, written)
        difference = _check_export(model, written, compared)
        if format_ != "saved_model":
            atomic_write(path, written.read_bytes())
    return ExportReport(os.fspath(path), format_, difference, len(compared))


# ---------------------------------------------------------------------------------------- before


def _details_of(model: Any, images: np.ndarray | None) -> tuple[Details, np.ndarray]:
    """What travels with the model, and the images to compare it on."""
    shape: Any = getattr(model, "input_shape", None)
    is_image = isinstance(shape, tuple) and len(shape) == 4 and shape[3] == 3 and None not in shape[1:]
    if not is_image or model.inputs[0].dtype != "uint8" or len(model.outputs) != 1:
        received = f"the model {getattr(model, 'name', model)!r} from inputs of shape {shape}"
        expected = "one from uint8 images of one size to one score a class"
        raise ConversionError(explain(received, expected, "make it with attach_head"))
    names = tuple(getattr(model, "class_names", ()))
    if len(names) != model.output_shape[-1] or not all(isinstance(name, str) for name in names):
        received = f"class_names {names!r:.80} for {model.output_shape[-1]} classes"
        raise ConversionError(explain(received, "one str a class", "set model.class_names"))
    compared = _compared_images(images, tuple(shape[1:3]))
    return Details(names, tuple(shape[1:3]), _output_of(model, compared), __version__), compared


def _output_of(model: Any, images: np.ndarray) -> str:
    """What the scores are: converters name a head's output by it, of other heads the scores tell."""
    innermost = model
    while layers := getattr(innermost, "layers", None):
        innermost = layers[-1]
    if innermost.name in OUTPUTS:
        return str(innermost.name)
    return "probability" if are_probabilities(np.asarray(model.predict_on_batch(images))) else "decision"


def check_export_target(path: StrPath, format: str, *inputs: StrPath) -> str:  # noqa: A002 - the word that users write
    """Find what is missing before hours of work end in that error.

    Parameters
    ----------
    path : path-like
    format : str
    *inputs : path-like
        What the work reads, none of which may be replaced.

    Returns
    -------
    str
        The format; where "auto" was asked for, the one that the path's ending means.
    """
    import keras

    format_ = resolve_format(path, format)
    if format_ != "keras" and keras.backend.backend() != "tensorflow":
        received = f"format={format_!r} on the Keras backend {keras.backend.backend()!r}"
        remedy = "export to .keras, or run with KERAS_BACKEND=tensorflow"
        raise ConversionError(explain(received, "the TensorFlow backend", remedy))
    for package in {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "litert": ("ai_edge_litert",)}.get(
        format_, ()
    ):
        require(package, format_)
    if format_ != "saved_model":
        check_target(path, *inputs)
        return format_
    is_saved_model = (Path(path) / "saved_model.pb").is_file()
    if path_kind(path) != "absent" and not is_saved_model:
        expected = "a new path or a SavedModel to replace"
        raise StoreError(explain(f"{path}, which is something else", expected, "choose another path"))
    return format_


def _compared_images(images: Any, input_size: tuple[int, int]) -> np.ndarray:
    if images is None:
        noise = np.random.default_rng(0).integers(0, 256, (_N_NOISE_IMAGES, *input_size, 3))
        return noise.astype(np.uint8)
    is_batch = isinstance(images, np.ndarray) and images.ndim == 4 and images.shape[3] == 3
    if not is_batch or images.dtype != np.uint8 or not images.size:
        received = f"images of type {getattr(images, 'dtype', type(images).__name__)}"
        if hasattr(images, "shape"):
            received += f" and shape {images.shape}"
        expected = "a uint8 array of shape (n, height, width, 3)"
        raise SourceError(explain(received, expected, "pass RGB images, 0 to 255"))
    return np.stack([load_image(np.ascontiguousarray(image), input_size) for image in images])


# --------------------------------------------------------------------------------------- writing


@contextmanager
def _temporary(path: Path, format_: str) -> Iterator[Path]:
    if format_ == "saved_model":
        with atomic_folder(path) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="featx-") as directory:
            # The runtimes go by the ending.
            yield Path(directory) / f"model{path.suffix.lower()}"


@contextmanager
def _explained(format_: str) -> Iterator[None]:
    """Exporters fail in whatever way the operation that they do not know leads to."""
    try:
        yield
    except (FeatxError, OSError):
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        received = f"a model that cannot be written as {format_} ({reason})"
        remedy = "choose another format or head"
        raise ConversionError(explain(received, "operations that it knows", remedy)) from error


def _write_keras(model: keras.Model, details: Details, path: Path) -> None:
    with_resize(model).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(DETAILS_NAME, details.to_json())


def _write_onnx(model: keras.Model, details: Details, path: Path) -> None:
    onnx, tf2onnx = require("onnx", "onnx"), require("tf2onnx", "onnx")
    graph, inputs, outputs = _frozen_graph(with_resize(model))
    exported, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=inputs, output_names=outputs, opset=_ONNX_OPSET
    )
    _check_operations(exported.graph)
    _name_ends(exported.graph, details.output)
    described = replace(details, model_sha256=sha256_hex(onnx_payload(exported)))
    onnx.helper.set_model_props(exported, {DETAILS_NAME: described.to_json().decode()})
    onnx.save(exported, path)


def _frozen_graph(model: keras.Model) -> tuple[Any, list[str], list[str]]:
    """A TensorFlow graph with its weights as constants, and the names of what goes in and comes out.

    Not through ``model.export(format="onnx")``: that takes constants which the model holds as tensors, such
    as the means of a normalisation, for further inputs, and leaves what Keras compiles as a function, such
    as a grouped convolution, as a call of it.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    images = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
    serve = tf.function(lambda pixels: model(pixels, training=False), input_signature=[images])
    was_eager = tf.config.functions_run_eagerly()
    # While one function is traced, those that it calls are then traced into it.
    tf.config.run_functions_eagerly(run_eagerly=True)
    try:
        function = serve.get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(was_eager)
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def(add_shapes=True)
    for node in [node for node in graph.node if node.op == "Erfc"]:
        _spell_out_erfc(graph, node)
    return graph, [frozen.inputs[0].name], [output.name for output in frozen.outputs]


def _spell_out_erfc(graph: Any, node: Any) -> None:
    """1 - erf(x) for erfc(x), part of every GELU, which tf2onnx does not know."""
    import tensorflow as tf

    erf, one = graph.node.add(), graph.node.add()
    erf.CopyFrom(node)
    erf.op, erf.name = "Erf", f"{node.name}/erf"
    one.op, one.name = "Const", f"{node.name}/one"
    one.attr["dtype"].type = node.attr["T"].type
    one.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(1.0, node.attr["T"].type))
    node.op = "Sub"
    node.input[:] = [one.name, erf.name]


def _check_operations(graph: Any) -> None:
    # What it does not know, tf2onnx leaves as it is and writes a log.
    onnx = require("onnx", "onnx")
    unknown = {node.op_type for node in graph.node if not onnx.defs.has(node.op_type, node.domain)}
    if unknown:
        received = f"a model with {', '.join(sorted(unknown))}"
        raise ConversionError(explain(received, "operations that ONNX has", "choose another format"))


def _name_ends(graph: Any, output: str) -> None:
    """Call what goes into an ONNX graph images, and what comes out of it by its meaning."""
    names = {graph.input[0].name: "images", graph.output[0].name: output}
    for node in graph.node:
        node.input[:] = [names.get(edge, edge) for edge in node.input]
        node.output[:] = [names.get(edge, edge) for edge in node.output]
    for value, dimensions in ((graph.input[0], ("n", "height", "width")), (graph.output[0], ("n",))):
        value.name = names[value.name]
        for axis, dimension in enumerate(dimensions):
            value.type.tensor_type.shape.dim[axis].dim_param = dimension


def _write_litert(model: keras.Model, details: Details, path: Path) -> None:
    import tensorflow as tf

    # Without TensorFlow's own operations: those need a runtime that is as large as TensorFlow.
    operations = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    model.export(path, format="litert", verbose=False, target_spec=operations)
    described = replace(details, model_sha256=sha256_hex(path.read_bytes()))
    # A zip archive behind the model is LiteRT's own way to carry further files.
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(DETAILS_NAME, described.to_json())


def _write_saved_model(model: keras.Model, details: Details, path: Path) -> None:
    with_resize(model).export(path, format="tf_saved_model", verbose=False)
    described = replace(details, model_sha256=sha256_hex((path / "saved_model.pb").read_bytes()))
    (path / DETAILS_FOLDER).mkdir()
    (path / DETAILS_FOLDER / DETAILS_NAME).write_bytes(described.to_json())


_WRITERS: dict[str, Callable[[Any, Details, Path], None]] = {
    "keras": _write_keras,
    "onnx": _write_onnx,
    "litert": _write_litert,
    "saved_model": _write_saved_model,
}


# --------------------------------------------------------------------------------------- checking


def _check_export(model: keras.Model, path: Path, images: np.ndarray) -> float:
    exported = load_exported(path)
    starts = range(0, len(images), _BATCH_SIZE)
    batches = [images[start : start + _BATCH_SIZE] for start in starts]
    expected = np.concatenate([np.asarray(model.predict_on_batch(batch)) for batch in batches])
    found = np.concatenate([exported.predict_on_batch(batch) for batch in batches])
    differences = np.abs(found - expected).max(axis=1)
    tolerance = _TOLERANCE * max(1.0, float(np.abs(expected).max()))
    # Not a number is no agreement either.
    if not (differences <= tolerance).all():
        worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
        message = f"the model exported as {exported.format} answers otherwise than the model"
        raise ParityError(message, float(differences[worst]), tolerance, worst)
    return float(differences.max())
