"""JSON from anywhere: bounded in time and memory, and wrong in one way only.

A few bytes of JSON become a list of fifty, and a thousand brackets end Python's recursion, so that a small
file can ask for a lot. What is counted here is counted before anything is made of it.
"""

from __future__ import annotations

import json
from typing import Any

from featx.files import StrPath
from featx.reading import read_regular_file
from featx.remote import RemotePath

#: Large enough for all that featx writes beside the digests of training images.
MAX_BYTES = 2**20

# Lists and dictionaries take fifty bytes and more each, other values thirty.
_MAX_CONTAINERS, _MAX_VALUES = 1_000_000, 20_000_000


def parse_json(data: bytes) -> Any:
    """What some JSON says.

    Raises
    ------
    ValueError
        When it is not JSON, or holds more than anything that featx reads.

    Examples
    --------
    >>> parse_json(b'{"a": [1]}')
    {'a': [1]}
    >>> parse_json(b"[" * 100_000)
    Traceback (most recent call last):
    ValueError: its JSON is nested too deep
    """
    if data.count(b"[") + data.count(b"{") > _MAX_CONTAINERS or data.count(b",") > _MAX_VALUES:
        message = "its JSON holds more values than anything that is read here"
        raise ValueError(message)
    try:
        return json.loads(data)
    except RecursionError:
        message = "its JSON is nested too deep"
        raise ValueError(message) from None


def read_json(path: StrPath | RemotePath, max_bytes: int = MAX_BYTES) -> Any:
    """What a small file of JSON says.

    Raises
    ------
    OSError
        When it cannot be read, is no regular file, or too large.
    ValueError
        As `parse_json`.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.json"
    >>> _ = path.write_text("[1, 2]")
    >>> read_json(path)
    [1, 2]
    """
    return parse_json(read_regular_file(path, max_bytes))
