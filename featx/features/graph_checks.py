"""What a graph in ONNX's or OpenVINO's format may ask of whatever runs it: to compute, and nothing else.

Either format can point to files beside it and to operations that come from elsewhere. A graph is looked
through before a runtime sees it, wherever it comes from: a digest tells that it
is whole, and not who wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

from featx.checks import explain
from featx.errors import StoreError, printable

_ONNX_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_OPENVINO_OPSET = re.compile(r"opset\d{1,2}")


def check_onnx(model: Any) -> None:
    """Refuse a model that reads other files or needs operations that are not the standard's.

    Parameters
    ----------
    model : onnx.ModelProto

    Raises
    ------
    StoreError
    """
    for message in _messages(model):
        kind = message.DESCRIPTOR.name
        if kind == "TensorProto" and (message.data_location or message.external_data):
            expected = "all of it in one file"
            raise StoreError(explain("an ONNX model with weights in other files", expected, "refused"))
        domain = getattr(message, "domain", "") if kind != "ModelProto" else ""
        if domain not in _ONNX_DOMAINS or kind == "FunctionProto":
            received = f"an ONNX model with operations of {printable(domain)!r}"
            raise StoreError(explain(received, "operations of the ONNX standard only", "refused"))


def _messages(message: Any) -> Iterator[Any]:
    """A protobuf message and all below it; its parser has bounded the depth."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(item)


def check_openvino(graph: bytes) -> None:
    """Refuse an OpenVINO graph with operations that are not its own, or with XML that expands.

    Parameters
    ----------
    graph : bytes
        The ``.xml`` of a model.

    Raises
    ------
    StoreError

    Examples
    --------
    >>> check_openvino(b'<net><layers><layer type="Evil" version="extension"/></layers></net>')
    Traceback (most recent call last):
    featx.errors.StoreError: received an OpenVINO model with operations of 'extension'; expected ...
    """
    if b"<!" in graph:
        expected = "plain XML"
        raise StoreError(explain("an OpenVINO model with declarations of its own", expected, "refused"))
    try:
        # Without declarations XML can neither expand nor name another file.
        root = ET.fromstring(graph)  # noqa: S314
    except ET.ParseError as error:
        raise StoreError(explain(f"an OpenVINO model ({error})", "XML", "convert the model anew")) from error
    for layer in root.iter("layer"):
        opset = layer.get("version", "")
        if not _OPENVINO_OPSET.fullmatch(opset):
            received = f"an OpenVINO model with operations of {printable(opset[:50])!r}"
            raise StoreError(explain(received, "OpenVINO's own operations", "refused"))
