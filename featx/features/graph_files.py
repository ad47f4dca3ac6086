"""Converted models in a store: one file each, named by its digest, checked before anything parses it.

A file is the graph and the weights, each after its length: ``<engine>-<sha256 of the file>.graph``.
"""

from __future__ import annotations

import re

from featx.checks import require
from featx.documents import MAX_BYTES
from featx.errors import StoreCorruptError, naming, printable
from featx.features.engines import Graph
from featx.features.graph_checks import check_onnx, check_openvino
from featx.files import atomic_write, sha256_hex
from featx.reading import read_regular_file, read_verified
from featx.storage import AnyPath, listed

_NAME = re.compile(r"(onnx|openvino)-([0-9a-f]{64})\.graph")
_LENGTH_BYTES = 8
_MAX_BYTES = 16 * 2**30


def write_graph(directory: AnyPath, graph: Graph) -> str:
    """Keep a converted model; the name of its file.

    Examples
    --------
    >>> directory = getfixture("tmp_path")
    >>> name = write_graph(directory, Graph("openvino", b"<net/>", b"weights"))
    >>> read_graph(directory / name)
    Graph(engine='openvino', graph=b'<net/>', weights=b'weights')
    """
    data = len(graph.graph).to_bytes(_LENGTH_BYTES, "little") + graph.graph + graph.weights
    name = f"{graph.engine}-{sha256_hex(data)}.graph"
    if not (directory / name).exists():
        atomic_write(directory / name, data)
    return name


def read_graph(path: AnyPath) -> Graph:
    """Read a converted model.

    Parameters
    ----------
    path : Path or RemotePath
        As `write_graph` named it.

    Raises
    ------
    StoreCorruptError
        When the file is absent, or not the one that was written.
    StoreError
        When the graph asks for more than to compute: a store may be shared, and a name can be computed.
    """
    engine, data = verified_graph(path)
    stop = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    graph = Graph(engine, data[_LENGTH_BYTES:stop], data[stop:])
    with naming(path):
        check_graph(graph)
    return graph


def verified_graph(path: AnyPath) -> tuple[str, bytes]:
    """The engine that a file's name tells, and its bytes, which are those that were written.

    Raises
    ------
    StoreCorruptError
        When the file is absent, or not the one that was written.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise StoreCorruptError(f"{path.name} is not the name of a converted model")
    return match[1], read_verified(path, match[2], _MAX_BYTES)


def check_graph(graph: Graph) -> None:
    """Refuse a graph that asks for more than to compute, as `featx.features.graph_checks` does."""
    if graph.engine == "openvino":
        check_openvino(graph.graph)
        return
    onnx = require("onnx", "onnx")
    try:
        model = onnx.load_model_from_string(graph.graph)
    except Exception as error:  # protobuf's own, which is no ValueError
        raise StoreCorruptError(f"no ONNX model: {printable(str(error)[:200])}") from error
    check_onnx(model)


def unused_graphs(directory: AnyPath) -> list[AnyPath]:
    """Converted models that no decision names any more: of other versions, or of a process that came second.

    Examples
    --------
    >>> directory = getfixture("tmp_path")
    >>> name = write_graph(directory, Graph("onnx", b"graph"))
    >>> [path.name == name for path in unused_graphs(directory)]
    [True]
    """
    decisions = b"".join(_content(path) for path in directory.glob("engine-*.json"))
    return [path for path in listed(directory, "*.graph") if path.name.encode() not in decisions]


def _content(path: AnyPath) -> bytes:
    try:
        return read_regular_file(path, MAX_BYTES)
    except OSError:
        # What cannot be read decides nothing.
        return b""
