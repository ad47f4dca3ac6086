"""Graphs of a store: what computes passes, what points elsewhere does not."""

import pytest

from featx.errors import StoreError
from featx.features.graph_checks import check_openvino
from featx.features.graph_files import read_graph
from tests.faults.malicious_corpus import GRAPHS, graph_of, openvino_xml


def test_plain_graphs_pass(tmp_path):
    check_openvino(openvino_xml())
    graph_of("openvino", openvino_xml, b"weights")(tmp_path / "g")
    (path,) = (tmp_path / "g").iterdir()
    assert read_graph(path).weights == b"weights"


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_that_ask_for_more_are_refused(name, tmp_path, monkeypatch):
    if "ONNX" in name:
        pytest.importorskip("onnx")
    monkeypatch.setenv("SECRET", str(tmp_path))
    GRAPHS[name](tmp_path / "g")
    (path,) = (tmp_path / "g").iterdir()
    with pytest.raises(StoreError, match=path.name):
        read_graph(path)
