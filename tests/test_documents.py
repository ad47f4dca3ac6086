"""JSON from anywhere: read as it is, or one ValueError."""

import os

import pytest

from featx.documents import parse_json, read_json


def test_what_json_says_comes_back(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, "é"]}')
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None, "é"]}


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000, b"\xff\xfe", b"[]," * 1_000_001],
    ids=["empty", "open", "lists", "dictionaries", "digits", "bytes", "many"],
)
def test_anything_else_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        parse_json(data)


def test_as_many_values_as_featx_writes_are_read():
    assert len(parse_json(b"[" + b'"0123456789abcdef",' * 100_000 + b"0]")) == 100_001


def test_a_large_file_and_a_pipe_are_os_errors(tmp_path):
    (tmp_path / "a.json").write_text("1" * 20)
    with pytest.raises(OSError, match="more than the limit of 10"):
        read_json(tmp_path / "a.json", max_bytes=10)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        read_json(tmp_path / "pipe")
