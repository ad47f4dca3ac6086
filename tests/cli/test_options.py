"""What the text of an option means."""

import pytest

from featx import BackboneError
from featx.cli.options import embedding_options, given, parse_batch_size, parse_size, parse_weights


@pytest.mark.parametrize("text", ["", "x", "300x", "axb", "3.5", "-4", "300x200x3"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(BackboneError, match="300 or 300x200"):
        parse_size(text)


def test_weights_are_imagenet_or_none():
    assert parse_weights("imagenet") == "imagenet"
    assert parse_weights("none") is None
    with pytest.raises(BackboneError, match="--weights"):
        parse_weights("None")


@pytest.mark.parametrize("text", ["", "many", "-4", "3.5", "AUTO"])
def test_batch_sizes_that_are_none_are_refused(text):
    with pytest.raises(BackboneError, match="a number, or auto"):
        parse_batch_size(text)


def test_what_was_not_given_is_left_to_the_library():
    assert given(n_views=2, views=["flip", "crop"], engine=None) == {"n_views": 2, "views": ("flip", "crop")}


def test_kinds_of_views_without_a_number_are_refused():
    with pytest.raises(BackboneError, match="--view flip without --n-views"):
        embedding_options(n_views=None, views=["flip"])
