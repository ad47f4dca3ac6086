"""Markup: nothing that comes in as text gets out as anything else."""

import json

import pytest

from featx.errors import HeadError
from featx.insight.markup import Markup, element, escape, json_data, named, raw_text, visible
from tests.insight.reports import HOSTILE, Page


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_stays_text_in_an_element_and_an_attribute(text):
    page = Page(element("p", text, title=text))
    assert [tag for tag, _ in page.elements] == ["p"]
    assert page.all("p")[0].keys() == {"title"}
    assert page.words == [visible(text, 10**6)]


def test_markup_passes_and_joined_markup_is_escaped_again():
    assert element("p", Markup("<b>x</b>")) == "<p><b>x</b></p>"
    # A string that was made of markup is text again, whoever made it.
    assert escape(Markup("<b>") + "<i>") == "&lt;b&gt;&lt;i&gt;"


def test_attributes_are_named_in_html():
    made = element(
        "svg", class_="a b", aria_label="x", viewBox="0 0 1 1", hidden=True, id=None, checked=False
    )
    assert made == '<svg class="a b" aria-label="x" viewBox="0 0 1 1" hidden></svg>'
    assert (
        element("img", src="data:image/webp;base64,AA", alt="")
        == '<img src="data:image/webp;base64,AA" alt="">'
    )


@pytest.mark.parametrize(
    "attributes",
    [
        {"style": "color:red"},
        {"onclick": "x"},
        {"a b": "x"},
        {'a"': "x"},
        {"href": "javascript:alert(1)"},
        {"href": "https://example.org"},
        {"src": "data:text/html,<script>"},
        {"src": "//example.org/x.png"},
    ],
)
def test_an_attribute_that_styles_runs_or_loads_is_refused(attributes):
    with pytest.raises(HeadError, match="received"):
        element("a", **attributes)


@pytest.mark.parametrize("tag", ["a b", "script><b", "", "a\n"])
def test_a_tag_that_is_no_name_is_refused(tag):
    with pytest.raises(HeadError, match="the tag"):
        element(tag)


def test_what_cannot_be_seen_is_written_out():
    assert visible("a\u202eb\u200bc\x00d\udc80") == "a⟨U+202E⟩b⟨U+200B⟩c⟨U+0000⟩d⟨U+DC80⟩"
    # What scripts are written with stays.
    for text in ("שלום", "日本語", "família", "👩\u200d🔬", "क्\u200dष"):
        assert visible(text) == text


def test_a_long_name_loses_its_middle_and_takes_no_time():
    shown = visible("a" * 50 + "x" * 10_000_000 + "b" * 50)
    assert len(shown) == 159
    assert shown.startswith("a" * 50)
    assert shown.endswith("b" * 50)


def test_a_name_is_apart_from_the_direction_of_its_sentence():
    assert named("שם") == "<bdi>שם</bdi>"
    assert named("x" * 30) == f'<bdi class="long">{"x" * 30}</bdi>'


def test_data_survive_and_end_no_script():
    data = {"names": [*map(visible, HOSTILE), "\u2028\u2029", "<!--<script>", "]]>"]}
    block = json_data(data, id="data")
    assert not set(block[block.index(">") + 1 : block.rindex("</script>")]) & set("<>&\u2028\u2029")
    assert json.loads(Page(block).blocks["data"]) == data


def test_a_style_or_script_that_ends_itself_is_refused():
    for text in ("a</script>b", "a</SCRIPT >b", "<!-- x"):
        with pytest.raises(HeadError, match="ends itself"):
            raw_text("script", text)
