"""Converted models in a store: one file each, named by its digest, checked before anything parses it.

A file is the graph and the weights, each after its length: ``<engine>-<sha256 of the file>.graph``.
"""

from __future__ import annotations

import re
from pathlib import Path

from featx.errors import StoreCorruptError
from featx.features.engines import Graph
from featx.files import atomic_write, read_verified, sha256_hex

_NAME = re.compile(r"(onnx|openvino)-([0-9a-f]{64})\.graph")
_LENGTH_BYTES = 8


def write_graph(directory: Path, graph: Graph) -> str:
    """Keep a converted model; the name of its file.

    Examples
    --------
    >>> directory = getfixture("tmp_path")
    >>> name = write_graph(directory, Graph("onnx", b"graph", b"weights"))
    >>> read_graph(directory / name)
    Graph(engine='onnx', graph=b'graph', weights=b'weights')
    """
    data = len(graph.graph).to_bytes(_LENGTH_BYTES, "little") + graph.graph + graph.weights
    name = f"{graph.engine}-{sha256_hex(data)}.graph"
    if not (directory / name).exists():
        atomic_write(directory / name, data)
    return name


def read_graph(path: Path) -> Graph:
    """Read a converted model.

    Parameters
    ----------
    path : Path
        As `write_graph` named it.

    Raises
    ------
    StoreCorruptError
        When the file is absent, or not the one that was written.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise StoreCorruptError(f"{path.name} is not the name of a converted model")
    data = read_verified(path, match[2])
    stop = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    return Graph(match[1], data[_LENGTH_BYTES:stop], data[stop:])


def unused_graphs(directory: Path) -> list[Path]:
    """Converted models that no decision names any more: of other versions, or of a process that came second.

    Examples
    --------
    >>> directory = getfixture("tmp_path")
    >>> name = write_graph(directory, Graph("onnx", b"graph"))
    >>> [path.name == name for path in unused_graphs(directory)]
    [True]
    """
    decisions = "".join(path.read_text() for path in directory.glob("engine-*.json"))
    return [path for path in sorted(directory.glob("*.graph")) if path.name not in decisions]
