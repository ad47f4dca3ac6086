"""How each exported format is read, checked and run.

Reading gives the JSON of featx and a model that was checked; nothing of the file runs before that. What a
check lets through is listed, not what it refuses: new operations are refused until somebody looked at them.
Each runtime is imported here and nowhere else, when a file of its format is opened.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from featx.archives import check_members, open_foreign_archive, read_member
from featx.checks import explain, require
from featx.errors import StoreCorruptError, StoreError, printable
from featx.features.graph_checks import check_onnx
from featx.features.keras_files import load_keras_file
from featx.files import sha256_hex
from featx.reading import read_regular_file

#: The name of the JSON inside a file or folder, and its key in ONNX's metadata.
DETAILS_NAME = "featx.json"

#: Where a SavedModel keeps what is not the graph's: TensorFlow leaves this folder alone.
DETAILS_FOLDER = "assets.extra"

Run: TypeAlias = Callable[[np.ndarray], np.ndarray]

_MAX_BYTES = 2 * 2**30
_MAX_DETAILS_BYTES = 2**20

# What Keras's layers become: arithmetic, shapes, and reading their own variables.
_ARITHMETIC_NAMES = """
    Abs Add AddN AddV2 All Any ArgMax ArgMin Atan2 AvgPool BatchMatMul BatchMatMulV2 BiasAdd Ceil ClipByValue
    Conv2D Cos Cosh Cumprod Cumsum DepthToSpace DepthwiseConv2dNative DivNoNan Einsum Elu Equal Erf Erfc Exp
    Expm1 Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 Greater GreaterEqual
    InvertPermutation IsFinite IsInf IsNan L2Loss LRN LeakyRelu Less LessEqual Lgamma Log Log1p LogSoftmax
    LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool MaxPoolV2 Maximum Mean Min Minimum Mod Mul MulNoNan Neg
    NotEqual Pow Prod RealDiv Reciprocal Relu Relu6 ResizeBicubic ResizeBilinear ResizeNearestNeighbor Rint
    Round Rsqrt ScaleAndTranslate Selu Sigmoid Sign Sin Sinh Softmax Softplus Softsign SpaceToBatchND
    SpaceToDepth BatchToSpaceND Sqrt Square SquaredDifference Sub Sum Tan Tanh TopK TopKV2 Xdivy Xlog1py Xlogy
    BroadcastArgs BroadcastTo Cast Concat ConcatV2 Const EnsureShape ExpandDims Fill Gather GatherNd GatherV2
    Identity IdentityN LinSpace MatrixBandPart MatrixDiag MatrixDiagPart MirrorPad NoOp OneHot OnesLike Pack
    Pad PadV2 Placeholder PlaceholderWithDefault PreventGradient Range Rank Reshape Reverse ReverseV2 Roll
    ScatterNd Select SelectV2 Shape ShapeN Size Slice Snapshot Split SplitV Squeeze StopGradient StridedSlice
    Tile Transpose Unpack Where ZerosLike
    AssignVariableOp DisableCopyOnRead PartitionedCall ReadVariableOp StatefulPartitionedCall VarHandleOp
    VarIsInitializedOp
"""
_ARITHMETIC = frozenset(_ARITHMETIC_NAMES.split())
# Writing and reading the checkpoint. Only the two functions that nothing but TensorFlow's older loader calls.
_CHECKPOINT = frozenset(
    ("MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin")
)


class Opened(NamedTuple):
    """What reading a file gives: its JSON, the digest of its model where it is taken, and the model."""

    details: bytes
    model_sha256: str | None
    model: Any


@dataclass(frozen=True)
class Runtime:
    """One format: ``read`` gives a checked model, ``start`` what runs it."""

    read: Callable[[Path], Opened]
    start: Callable[[Any], Run]


# ------------------------------------------------------------------------------------------ Keras


def _read_keras(path: Path) -> Opened:
    with open_foreign_archive(path) as archive:
        details = _member(archive)
    return Opened(details, None, load_keras_file(path))


def _start_keras(model: Any) -> Run:
    return lambda images: np.asarray(model.predict_on_batch(images))


def _member(archive: zipfile.ZipFile) -> bytes:
    if DETAILS_NAME not in archive.namelist():
        raise _without_details()
    return read_member(archive, DETAILS_NAME, _MAX_DETAILS_BYTES)


def _without_details() -> StoreError:
    remedy = "open it with the format's own runtime"
    return StoreError(explain(f"a model without {DETAILS_NAME}", "what export_model wrote", remedy))


# ------------------------------------------------------------------------------------------- ONNX


def _read_onnx(path: Path) -> Opened:
    onnx = require("onnx", "onnx")
    require("onnxruntime", "onnx")
    model = onnx.load_model_from_string(read_regular_file(os.path.realpath(path), _MAX_BYTES))
    details = [entry.value for entry in model.metadata_props if entry.key == DETAILS_NAME]
    if not details:
        raise _without_details()
    check_onnx(model)
    payload = onnx_payload(model)
    return Opened(details[0].encode(), sha256_hex(payload), payload)


def onnx_payload(model: Any) -> bytes:
    """An ONNX model's bytes without its metadata; the metadata are taken off."""
    del model.metadata_props[:]
    payload: bytes = model.SerializeToString(deterministic=True)
    return payload


def _start_onnx(payload: bytes) -> Run:
    onnxruntime = require("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    # Errors come as exceptions; its remarks on the graph are nothing to a user.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


# ----------------------------------------------------------------------------------------- LiteRT


def _read_litert(path: Path) -> Opened:
    require("ai_edge_litert.interpreter", "litert")
    data = read_regular_file(os.path.realpath(path), _MAX_BYTES)
    if data[4:8] != b"TFL3":
        raise StoreCorruptError("it is no LiteRT model")
    if not zipfile.is_zipfile(BytesIO(data)):
        raise _without_details()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        check_members(archive)
        details = _member(archive)
        # The interpreter reads the model from the front, the archive is found from the end.
        model = data[: min(item.header_offset for item in archive.infolist())]
    return Opened(details, sha256_hex(model), model)


def _start_litert(model: bytes) -> Run:
    module = require("ai_edge_litert.interpreter", "litert")
    interpreter = module.Interpreter(model_content=model, num_threads=os.cpu_count())
    image_input = interpreter.get_input_details()[0]["index"]
    scores_output = interpreter.get_output_details()[0]["index"]

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(image_input, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image_input, images)
        interpreter.invoke()
        scores: np.ndarray = interpreter.get_tensor(scores_output)
        return scores

    return run


# ------------------------------------------------------------------------------------- SavedModel


def _read_saved_model(path: Path) -> Opened:
    folder = Path(os.path.realpath(path))
    try:
        details = read_regular_file(folder / DETAILS_FOLDER / DETAILS_NAME, _MAX_DETAILS_BYTES)
    except FileNotFoundError:
        raise _without_details() from None
    # TensorFlow prefers a text file of the same meaning, which nobody checked.
    if sorted(folder.glob("saved_model.*")) != [folder / "saved_model.pb"]:
        raise StoreError(explain("several graphs, or none", "one, saved_model.pb", "export the model anew"))
    _check_own_files(folder)
    graph = read_regular_file(folder / "saved_model.pb", _MAX_BYTES)
    check_saved_model(graph)
    return Opened(details, sha256_hex(graph), folder)


def _check_own_files(folder: Path) -> None:
    """Refuse links and pipes: TensorFlow opens whatever stands under the names it knows."""
    for inner, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inner, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                shown = printable(str(path.relative_to(folder)))
                raise StoreError(explain(f"{shown}, a link or a pipe", "files of its own", "refused"))


def check_saved_model(graph: bytes) -> None:
    """Refuse a SavedModel's graph that does anything but compute, such as Python calls or files."""
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel.FromString(graph)
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
        expected = "one graph with its objects, as TensorFlow 2 writes it"
        raise StoreError(explain("a SavedModel of another kind", expected, "export the model anew"))
    meta_graph = saved.meta_graphs[0]
    functions = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    # A function that is named as an object, or that another one calls, can be reached by what is run.
    reachable = set(meta_graph.object_graph_def.concrete_functions) | {
        name for function in functions for node in function.node_def for name in _called(node)
    }
    found = {node.op for node in nodes} - _ARITHMETIC - _CHECKPOINT
    for nodes_run in (
        meta_graph.graph_def.node,
        *(function.node_def for function in functions if function.signature.name in reachable),
    ):
        found |= {node.op for node in nodes_run} - _ARITHMETIC
    if found:
        received = f"a SavedModel with {printable(', '.join(sorted(found)))}"
        raise StoreError(explain(received, "arithmetic only", "refused"))


def _called(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        yield from (function.name for function in (value.func, *value.list.func))


def _start_saved_model(folder: Path) -> Run:
    import tensorflow as tf

    model = tf.saved_model.load(folder)
    serve = model.signatures["serving_default"]
    name = next(iter(serve.structured_input_signature[1]))

    def run(images: np.ndarray) -> np.ndarray:
        (scores,) = serve(**{name: tf.constant(images)}).values()
        return np.asarray(scores.numpy())

    # The signature holds its model weakly.
    run.model = model  # type: ignore[attr-defined]
    return run


RUNTIMES = {
    "keras": Runtime(_read_keras, _start_keras),
    "onnx": Runtime(_read_onnx, _start_onnx),
    "litert": Runtime(_read_litert, _start_litert),
    "saved_model": Runtime(_read_saved_model, _start_saved_model),
}
