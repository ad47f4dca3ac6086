"""Plots in a page: no inline style, no colour of their own, no name twice."""

import pytest

from featx.insight.svg import COLOURS, inline_svg
from tests.insight.reports import Page

pytest.importorskip("matplotlib", reason="needs the extra report")


@pytest.fixture(scope="module")
def plot():
    from featx.insight.plots import history_svg

    return history_svg({"loss": [0.5, 0.4], "validation_loss": [0.6, 0.5]}, "loss", "log loss")


def test_a_plot_has_no_style_and_takes_its_colours_from_the_page(plot):
    page = Page(inline_svg(plot, "one", "Title", "Description"))
    assert not page.all("style")
    assert not page.all("metadata")
    for _, attributes in page.elements:
        assert "style" not in attributes
        assert not {attributes.get("fill"), attributes.get("stroke")} & set(COLOURS.values())
        # Nothing was drawn in a colour that does not stand for one of the page's.
        assert not str(attributes.get("fill")).startswith("#")
        assert not str(attributes.get("stroke")).startswith("#")
    classes = {attributes.get("class") for _, attributes in page.elements}
    assert {"stroke-class-0", "stroke-class-1", "fill-muted"} <= classes


def test_it_says_what_it_shows(plot):
    page = Page(inline_svg(plot, "one", "Log loss", "How it fell"))
    (svg,) = page.all("svg")
    assert svg["role"] == "img"
    assert svg["aria-labelledby"].split() == page.ids()[:2] == ["one-title", "one-description"]
    assert page.text.startswith("Log loss How it fell")
    # Text is text: it is read out, found, and set in the page's font.
    assert "epoch" in page.text
    assert "log loss" in page.text


def test_two_plots_share_no_name_and_refer_to_their_own(plot):
    pages = [Page(inline_svg(plot, key, "t", "d")) for key in ("one", "two")]
    assert not set(pages[0].ids()) & set(pages[1].ids())
    for page in pages:
        assert len(set(page.ids())) == len(page.ids())
        for attributes in page.all("use"):
            assert attributes["href"][1:] in page.ids()
        clips = {value for _, attributes in page.elements if (value := attributes.get("clip-path"))}
        assert clips
        assert all(clip[5:-1] in page.ids() for clip in clips)
