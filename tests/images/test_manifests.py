"""Columns of a manifest by sample: the ids that sources give, and every fault at its line."""

import pytest

from featx.errors import SourceError
from featx.images.manifests import manifest_columns


@pytest.fixture
def manifest(tmp_path):
    def write(text):
        path = tmp_path / "cells.csv"
        path.write_text(text)
        return path

    return write


def test_paths_are_the_ids_that_a_source_gives(manifest, tmp_path):
    path = manifest(f"path,kind,size\n./a.png,x,1\nb/../c.png,y,\n{tmp_path}/d.png,x,3\n")
    assert manifest_columns(path, ["size", "kind"]) == {
        "a.png": {"size": "1", "kind": "x"},
        "c.png": {"size": "", "kind": "y"},
        "d.png": {"size": "3", "kind": "x"},
    }


def test_sample_ids_stand_before_paths_and_are_taken_as_they_are(manifest):
    path = manifest("path,sample_id,kind\na.png,./1,x\nb.png,../2,y\n")
    assert list(manifest_columns(path, ["kind"])) == ["./1", "../2"]
    assert list(manifest_columns(path, ["kind"], "path")) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,kind\na.png,x\n", "without a column 'path'"),
        ("path,type\na.png,x\n", "without a column 'kind'"),
        ("path,kind,kind\na.png,x,y\n", "2 columns 'kind'"),
        ("path,kind\na.png,x\n./a.png,y\n", "line 3: './a.png' stands on line 2 already"),
        ("sample_id,kind\n1,x\n1,y\n", "line 3: '1' stands on line 2 already"),
        ("path,kind\n../a.png,x\n", "line 2: '../a.png' leaves"),
        ("path,kind\na.png\n", "line 2: received 1 fields"),
        ("path,kind\n", "without rows"),
    ],
)
def test_faults_are_refused_at_their_line(manifest, text, message):
    with pytest.raises(SourceError, match=message):
        manifest_columns(manifest(text), ["kind"])
