"""What the text of an option means."""

import pytest

from featx import BackboneError
from featx.cli.options import parse_size, parse_weights


@pytest.mark.parametrize("text", ["", "x", "300x", "axb", "3.5", "-4", "300x200x3"])
def test_sizes_that_are_none_are_refused(text):
    with pytest.raises(BackboneError, match="300 or 300x200"):
        parse_size(text)


def test_weights_are_imagenet_or_none():
    assert parse_weights("imagenet") == "imagenet"
    assert parse_weights("none") is None
    with pytest.raises(BackboneError, match="--weights"):
        parse_weights("None")
