"""Small parts: numbers as a reader writes them, tables that say what their cells are."""

import math

import pytest

from featx.insight.report_tables import (
    Cell,
    Column,
    Entry,
    count,
    definitions,
    domain_of,
    measured,
    number,
    p_equals,
    percent,
    plot_figure,
    range_bar,
    span,
    table,
)
from tests.insight.reports import Page


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_dash(missing):
    assert percent(missing) == number(missing) == "\N{EN DASH}"
    assert measured(missing, None) == ("\N{EN DASH}", -math.inf)
    assert not range_bar(missing, None, (0, 1))


def test_numbers_and_their_units():
    assert percent(0.12345) == "12.3\u00a0%"
    assert number(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert span((0.1, 0.25), percent) == "10.0 to 25.0\u00a0%"
    assert (count(1, "class", "classes"), count(0, "class", "classes")) == ("1 class", "0 classes")
    assert (p_equals(0.04), p_equals(1e-5)) == ("p = 0.040", "p <\u00a00.001")


def test_a_value_without_a_whole_interval_stands_alone():
    assert "interval" in "".join(measured(0.5, (0.4, 0.6)).child)
    assert "interval" not in "".join(measured(0.5, (0.4, math.nan)).child)


def test_a_table_has_heads_both_ways_and_numbers_to_sort_by():
    made = table(
        "All", [Column("name"), Column("n", "number")], [["<a>", Cell("1,000", 1000)]], key="t", is_tall=True
    )
    page = Page(made)
    assert [(head["scope"], head["class"]) for head in page.all("th")] == [
        ("col", "text"), ("col", "number"), ("row", "text"),
    ]  # fmt: skip
    assert page.all("td") == [{"class": "number", "data-value": "1000"}]
    (box,) = page.all("div")
    # It scrolls, so that the keyboard has to reach it, and it says what it is.
    assert (box["tabindex"], box["role"], box["aria-labelledby"]) == ("0", "region", "t-caption")
    assert "<a>" in page.text


def test_bars_stay_within_their_scale():
    page = Page(range_bar(2.0, (-1.0, 3.0), (0.0, 1.0), 0.5))
    assert page.all("circle")[0]["cx"] == "116.0"
    low, high = (float(page.all("line")[2][end]) for end in ("x1", "x2"))
    assert (low, high) == (4, 116)
    assert page.all("svg")[0]["aria-hidden"] == "true"
    assert domain_of([], []) == (0.0, 1.0)
    # Of a scale without length, the middle is nowhere: no division by nothing.
    assert range_bar(0.5, (0.5, 0.5), (0.5, 0.5))


def test_a_figure_says_its_legend_as_text():
    pytest.importorskip("matplotlib", reason="needs the extra report")
    from featx.insight.plots import history_svg

    svg = history_svg({"loss": [1.0]}, "loss", "log loss")
    page = Page(plot_figure(svg, "f", "Title", "What it shows", legend=[Entry("accent", "<b>", "0.5", 2)]))
    assert "<b> 0.5" in page.text
    assert page.all("line")[0]["class"] == "stroke-accent dashes-2"


def test_mappings_in_mappings_are_lists_in_lists():
    page = Page(definitions({"a_b": {"c": [1, 2]}, "empty": {}, "rows": [{"x": 1}, 2]}))
    assert page.text == "a b c 1, 2 empty \N{EN DASH} rows x 1 2"
    assert len(page.all("dl")) == 3
