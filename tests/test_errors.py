"""Errors: a tree that can be caught at any height, and messages that stay on one line."""

import copy
import inspect
import pickle

import pytest

from featx import errors
from featx.errors import (
    BackboneError,
    ConversionError,
    DecodeError,
    FeatxError,
    FeatxWarning,
    HeadError,
    MissingPackageError,
    ParityError,
    SourceError,
    StoreCorruptError,
    StoreError,
    StoreMismatchError,
    printable,
)

DIFFERENCES = {"pooling": ("max", "avg"), "input_size": ([8, 8], [16, 16])}

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (SourceError, ValueError),
        (DecodeError, SourceError),
        (BackboneError, ValueError),
        (HeadError, ValueError),
        (StoreError, OSError),
        (StoreCorruptError, StoreError),
        (StoreMismatchError, StoreError),
        (MissingPackageError, ImportError),
        (ConversionError, TypeError),
        (ParityError, ConversionError),
    ],
)
def test_an_error_can_be_caught_as_featxs_and_as_the_builtin_it_is(kind, builtin):
    assert issubclass(kind, FeatxError)
    assert issubclass(kind, builtin)


def test_a_warning_can_be_silenced_as_a_user_warning():
    assert issubclass(FeatxWarning, UserWarning)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_tree_in_the_docstring_names_every_class(kind):
    assert f"{kind.__name__}(" in errors.__doc__ or f" {kind.__name__} " in errors.__doc__


@pytest.mark.parametrize(
    "error",
    [
        DecodeError("cat/1.jpg", "empty file"),
        StoreMismatchError("f.h5 does not fit", DIFFERENCES),
        StoreCorruptError("f.h5 is damaged"),
        MissingPackageError("no ray"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_survives_the_way_back_from_a_worker_process(error, duplicate):
    other = duplicate(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert vars(other) == vars(error)


def test_a_decode_error_says_which_image_and_why():
    error = DecodeError("cat/1.jpg", "empty file")
    assert (error.sample_id, error.reason) == ("cat/1.jpg", "empty file")
    assert str(error) == "cat/1.jpg: empty file"


def test_a_decode_error_keeps_the_id_and_shows_it_on_one_line():
    error = DecodeError("a\nfeatx: all images are fine.jpg", "bad\x1b[2J")
    assert error.sample_id == "a\nfeatx: all images are fine.jpg"
    assert str(error) == r"a\nfeatx: all images are fine.jpg: bad\x1b[2J"
    # Reports show the reason without the id.
    assert error.reason == r"bad\x1b[2J"


def test_a_mismatch_shows_every_field_that_differs():
    error = StoreMismatchError("f.h5 does not fit", DIFFERENCES)
    assert str(error) == (
        "f.h5 does not fit; pooling: found max, expected avg; input_size: found [8, 8], expected [16, 16]"
    )
    assert error.differences == DIFFERENCES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x7f\x85", r"\x7f\x85"),
        ("line\u2028separator", r"line\u2028separator"),
        # Right-to-left override: gpj.exe shown as exe.jpg.
        ("\u202egpj.exe", r"\u202egpj.exe"),
        # A byte of a file name that is not UTF-8.
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_what_could_fake_or_break_a_line_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "cat 1.jpg", "café/猫.png", "C:\\cat.jpg", r"a\nb"])
def test_what_can_be_shown_is_shown_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize("text", ["a\nb", "caf\udce9", "\U000e0001"])
def test_printable_text_can_be_written_anywhere_and_is_left_alone(text):
    shown = printable(text)
    assert shown.encode("utf-8").decode("utf-8").isprintable()
    assert printable(shown) == shown
