"""Strings of samples: names, groups and digests, as the bytes that a file holds until somebody asks for them.

Ten million digests are 0.6 GB of bytes in an array and twice as much as Python strings. What opens a feature
file, selects columns of it and saves them needs no string at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeAlias, overload

import h5py
import numpy as np

from featx.hdf5 import fixed_strings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What a feature set knows of its samples in words.
STRINGS = ("sample_ids", "groups", "image_sha256")

#: Strings, or their UTF-8 in an array of bytes.
Strings: TypeAlias = "list[str] | np.ndarray"

_BLOCK_ROWS = 2**16
_FIRST_BEYOND_ASCII = 0x80


class StringsOfSamples:
    """An attribute that is a list of strings, whatever it was set to.

    Arrays are decoded when they are first asked for; attributes that hold one array share its strings.

    Examples
    --------
    >>> class Samples:
    ...     names = StringsOfSamples()
    >>> samples = Samples()
    >>> samples.names = np.array([b"a", b"b"])
    >>> samples.names
    ['a', 'b']
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, samples: None, owner: type) -> Self: ...

    @overload
    def __get__(self, samples: object, owner: type) -> list[str]: ...

    def __get__(self, samples: object | None, owner: type) -> Self | list[str]:
        if samples is None:
            return self
        values = vars(samples)
        strings = values[self._name]
        if isinstance(strings, np.ndarray):
            decoded = decoded_strings(strings)
            values |= {name: list(decoded) for name, value in values.items() if value is strings}
        found: list[str] = values[self._name]
        return found

    def __set__(self, samples: object, strings: Sequence[str] | np.ndarray) -> None:
        vars(samples)[self._name] = kept(strings)


def kept(strings: Sequence[str] | np.ndarray) -> Strings:
    """Strings as they are kept: bytes as they are, anything else as a list of its own.

    Examples
    --------
    >>> kept(("a", "b"))
    ['a', 'b']
    """
    is_bytes = isinstance(strings, np.ndarray) and strings.dtype.kind == "S"
    return strings if is_bytes else list(strings)  # type: ignore[return-value]


def read_strings(columns: Mapping[str, np.ndarray]) -> dict[str, Strings]:
    """Strings of a file, decoded unless that can wait; raises UnicodeDecodeError where they are not UTF-8.

    Examples
    --------
    >>> read_strings({"groups": np.array([b"a"]), "sample_ids": np.array(["ä".encode()])})
    {'groups': array([b'a'], dtype='|S1'), 'sample_ids': ['ä']}
    """
    strings: dict[str, Strings] = {}
    for name, column in columns.items():
        like = next((other for other in strings if _is_same_array(columns[other], column)), None)
        if like is not None:
            strings[name] = strings[like]
        else:
            strings[name] = column if _is_ascii(column) else decoded_strings(column)
    return strings


def _is_same_array(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _is_ascii(column: np.ndarray) -> bool:
    is_plain = column.dtype.kind == "S" and column.ndim == 1 and column.flags.c_contiguous
    return bool(is_plain and column.view(np.uint8).max(initial=0) < _FIRST_BEYOND_ASCII)


def taken_strings(strings: Strings, rows: np.ndarray) -> Strings:
    """Some of them, in the order given.

    Examples
    --------
    >>> taken_strings(["a", "b"], np.array([1, 1]))
    ['b', 'b']
    """
    if isinstance(strings, np.ndarray):
        found: np.ndarray = strings[rows]
        return found
    return [strings[row] for row in rows.tolist()]


def decoded_strings(strings: np.ndarray) -> list[str]:
    """UTF-8 in an array of bytes as strings, without a second copy of all of it.

    Examples
    --------
    >>> decoded_strings(np.array(["ä".encode(), b"b"]))
    ['ä', 'b']
    """
    decoded: list[str] = []
    for start in range(0, len(strings), _BLOCK_ROWS):
        decoded += [string.decode("utf-8") for string in strings[start : start + _BLOCK_ROWS].tolist()]
    return decoded


def column_of(strings: Strings) -> np.ndarray:
    """Strings as a file holds them: UTF-8, as wide as the longest.

    Examples
    --------
    >>> column_of(["a", "bc"]).dtype.itemsize, column_of(np.array([b"a"], "S4")).dtype.itemsize
    (2, 1)
    """
    if not isinstance(strings, np.ndarray):
        return fixed_strings(strings)
    width = strings.dtype.itemsize
    if not strings.view(np.uint8).reshape(-1, width)[:, -1].any():
        # The longest is not among them any more.
        return fixed_strings(decoded_strings(strings))
    # A view, because a conversion takes the types for one and leaves out that it is UTF-8.
    return strings.view(h5py.string_dtype("utf-8", width))


def columns_of(strings: Mapping[str, Strings]) -> dict[str, np.ndarray]:
    """Several lists of strings as a file holds them; equal ones are one array.

    Examples
    --------
    >>> columns = columns_of({"groups": ["a", "b"], "image_sha256": ["a", "b"]})
    >>> columns["groups"] is columns["image_sha256"]
    True
    """
    columns: dict[str, np.ndarray] = {}
    for name, values in strings.items():
        like = next((other for other in columns if _are_one(strings[other], values)), None)
        columns[name] = column_of(values) if like is None else columns[like]
    return columns


def _are_one(one: Strings, other: Strings) -> bool:
    # Lists that hold the same objects, as groups and digests do, are compared at once.
    return one is other or (isinstance(one, list) and isinstance(other, list) and one == other)
