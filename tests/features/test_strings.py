"""Strings of samples: bytes until they are asked for, and the same strings and bytes then."""

import h5py
import numpy as np
import pytest

from featx.features import strings
from featx.features.strings import (
    STRINGS,
    StringsOfSamples,
    column_of,
    columns_of,
    decoded_strings,
    read_strings,
)
from featx.hdf5 import fixed_strings


class Samples:
    names = StringsOfSamples()
    groups = StringsOfSamples()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(strings, "_BLOCK_ROWS", 3)


def test_an_attribute_is_a_list_of_its_own_whatever_it_was_set_to():
    samples, given = Samples(), ["a", "b"]
    samples.names = given
    samples.names.append("c")
    assert given == ["a", "b"]
    assert samples.names == ["a", "b", "c"]
    assert isinstance(Samples.names, StringsOfSamples)


def test_one_array_makes_one_set_of_strings_in_lists_apart():
    samples, column = Samples(), np.array([b"first", b"second"] * 4)
    samples.names = samples.groups = column
    assert vars(samples)["names"] is column
    assert samples.names == ["first", "second"] * 4
    assert all(one is other for one, other in zip(samples.names, samples.groups, strict=True))
    samples.names[0] = "changed"
    assert samples.groups[0] == "first"
    samples.groups = ["x"]
    assert samples.names[0] == "changed"


@pytest.mark.parametrize(
    "texts", [[], [""], ["", "a"], ["a", "longer", "b", "c"], ["é", "猫", "a", "b", "c", "\U0001f408"]]
)
def test_what_is_read_is_written_as_it_was(texts):
    column = fixed_strings(texts)
    read = read_strings({"groups": column})["groups"]
    assert isinstance(read, np.ndarray) == all(text.isascii() for text in texts)
    for kept in (read, texts):
        written = column_of(kept)
        assert written.tobytes() == column.tobytes()
        assert written.dtype.str == column.dtype.str
        assert h5py.check_string_dtype(written.dtype) == h5py.check_string_dtype(column.dtype)
    assert decoded_strings(column) == texts


def test_equal_columns_are_read_and_written_once():
    column = fixed_strings(["a", "bc"])
    read = read_strings(
        {"sample_ids": fixed_strings(["x", "y"]), "groups": column, "image_sha256": column.copy()}
    )
    assert read["groups"] is read["image_sha256"]
    for kept in (read, {name: decoded_strings(each) for name, each in read.items()}):
        written = columns_of({name: kept[name] for name in STRINGS})
        assert written["groups"] is written["image_sha256"]
        assert written["sample_ids"].tolist() == [b"x", b"y"]


def test_what_is_not_utf8_is_told_when_it_is_read():
    with pytest.raises(UnicodeDecodeError):
        read_strings({"groups": np.array([b"a", b"\xff"])})


def test_columns_are_as_wide_as_the_longest_that_is_left():
    column = fixed_strings(["a", "longer"])
    assert column_of(column[:1]).dtype.itemsize == 1
