"""What the text of an option means."""

import pytest
import typer
from typer.testing import CliRunner

from featx import BackboneError
from featx.cli import _Group
from featx.cli.options import Ray, embedding_options, given, parse_batch_size, parse_size, parse_weights


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a.h5", "a.h5 None False"),
        ("a.h5 --ray", "a.h5 local False"),
        ("a.h5 --ray auto", "a.h5 auto False"),
        ("a.h5 --ray 127.0.0.1:6379", "a.h5 127.0.0.1:6379 False"),
        ("a.h5 --ray=head:6379", "a.h5 head:6379 False"),
        ("--ray --deep a.h5", "a.h5 local True"),
        ("--ray a.h5 --deep", "a.h5 local True"),
        ("--deep -- --ray", "--ray None True"),
    ],
)
def test_the_address_of_a_cluster_may_be_left_out(words, expected):
    app = typer.Typer(cls=_Group)

    @app.command()
    def search(features: str, *, ray: Ray = None, deep: bool = False) -> None:
        typer.echo(f"{features} {ray} {deep}")

    @app.callback()
    def main() -> None:
        """So that there are commands to choose from."""

    result = CliRunner().invoke(app, ["search", *words.split()])
    assert result.stdout.strip() == expected, result.output


def test_the_help_shows_that_the_address_may_be_left_out():
    app = typer.Typer(cls=_Group)

    @app.command()
    def search(ray: Ray = None) -> None: ...

    shown = CliRunner().invoke(app, ["--help"]).output
    assert "[ADDRESS]" in shown
