"""Tables, figures and numbers of a report: small parts that every section is set from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from featx.insight.markup import Child, Markup, element, named, visible
from featx.insight.plots import series_look
from featx.insight.svg import inline_svg

Interval = tuple[float, float]

#: Stands for a number that there is not.
NONE = "\N{EN DASH}"

_PERCENT = "\u00a0%"
_BAR_WIDTH, _BAR_HEIGHT = 120, 14


class Column(NamedTuple):
    """Of a table: its head, and whether it holds numbers, or pictures of them that are not sorted by."""

    title: Child
    kind: str = "text"


class Cell(NamedTuple):
    """What stands in a cell, and the number that it is sorted by."""

    child: Child
    value: float | None = None


# --------------------------------------------------------------------------------------- numbers


def percent(share: float | None, digits: int = 1) -> str:
    r"""A share in percent.

    Examples
    --------
    >>> percent(0.8902)
    '89.0\xa0%'
    """
    return NONE if _is_unknown(share) else f"{share:.{digits}%}".replace("%", _PERCENT)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals; the minus sign is one.

    Examples
    --------
    >>> number(0.12345)
    '0.123'
    """
    return NONE if _is_unknown(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def points(share: float | None) -> str:
    """A difference of shares, in percentage points.

    Examples
    --------
    >>> points(0.0123)
    '1.2'
    """
    return number(None if share is None else 100 * share, 1)


def count(n: int, singular: str, plural: str | None = None) -> str:
    """How many of something.

    Examples
    --------
    >>> count(1, "class", "classes"), count(2624, "sample")
    ('1 class', '2,624 samples')
    """
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def span(interval: Interval | None, form: Any = number) -> str:
    """An interval as its two ends.

    Examples
    --------
    >>> span((0.25, 0.5))
    '0.250 to 0.500'
    """
    # A unit is said once.
    return "" if interval is None else f"{form(interval[0]).removesuffix(_PERCENT)} to {form(interval[1])}"


def sentence(text: str) -> str:
    r"""Words as a sentence, in which a percent sign stays with its number.

    Examples
    --------
    >>> sentence("more help, 95 % sure")
    'More help, 95\xa0% sure.'
    """
    return f"{text[:1].upper()}{text[1:]}.".replace(" %", _PERCENT)


def measured(value: float | None, interval: Interval | None, form: Any = number) -> Cell:
    """A number with its interval below it."""
    if _is_unknown(value):
        return Cell(NONE, -math.inf)
    shown = [element("span", form(value), class_="value")]
    if interval is not None and not any(map(_is_unknown, interval)):
        shown.append(element("span", span(interval, form), class_="interval"))
    return Cell(shown, value)


def p_equals(value: float) -> str:
    r"""A p-value within a sentence.

    Examples
    --------
    >>> p_equals(0.0312), p_equals(1e-9)
    ('p = 0.031', 'p <\xa00.001')
    """
    return f"p = {p_value(value)}".replace("= <", "<")


def p_value(value: float | None) -> str:
    r"""A p-value; very small ones as a bound.

    Examples
    --------
    >>> p_value(0.0312), p_value(1e-9)
    ('0.031', '<\xa00.001')
    """
    if _is_unknown(value):
        return NONE
    return "<\u00a00.001" if value is not None and value < 0.001 else number(value)


def _is_unknown(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


# ---------------------------------------------------------------------------------------- tables


def table(
    caption: Child,
    columns: Sequence[Column],
    rows: Iterable[Sequence[Child | Cell]],
    *,
    key: str,
    sortable: bool = True,
    is_tall: bool = False,
) -> Markup:
    """A table in a box that scrolls by itself where the page is narrow.

    Parameters
    ----------
    caption : str or Markup
    columns : sequence of Column
        The first is the head of each row.
    rows : iterable of sequence
        A cell for each column.
    key : str
        Its address in the page.
    sortable : bool, default=True
        Whether a script may make the heads buttons that sort.
    is_tall : bool, default=False
        Whether a screen shows the first of it and lets the reader scroll.
    """
    head = element("tr", [_head(column) for column in columns])
    body = [
        element(
            "tr",
            [
                _cell(cell, column, place)
                for place, (cell, column) in enumerate(zip(row, columns, strict=True))
            ],
        )
        for row in rows
    ]
    made = element(
        "table",
        element("caption", caption, id=f"{key}-caption"),
        element("thead", head),
        element("tbody", body),
        id=key,
        data_sortable=sortable,
    )
    class_ = "scroll tall" if is_tall else "scroll"
    # A box that scrolls has to be reached by the keyboard.
    return element("div", made, class_=class_, tabindex=0, role="region", aria_labelledby=f"{key}-caption")


def _head(column: Column) -> Markup:
    return element("th", column.title, scope="col", class_=column.kind)


def _cell(cell: Child | Cell, column: Column, place: int) -> Markup:
    child, value = cell if isinstance(cell, Cell) else (cell, None)
    key = None if value is None else f"{value:.6g}"
    if place == 0:
        return element("th", child, scope="row", class_=column.kind, data_value=key)
    return element("td", child, class_=column.kind, data_value=key)


def range_bar(
    value: float | None, interval: Interval | None, domain: Interval, reference: float | None = None
) -> Markup:
    """A dot with its interval on a common scale: the plot beside the numbers, which say the same."""
    if _is_unknown(value):
        return Markup()
    low, high = domain

    def place(x: float) -> str:
        share = (min(max(x, low), high) - low) / ((high - low) or 1.0)
        return f"{4 + share * (_BAR_WIDTH - 8):.1f}"

    middle = _BAR_HEIGHT / 2
    parts = [element("line", x1=4, x2=_BAR_WIDTH - 4, y1=middle, y2=middle, class_="bar-track")]
    if reference is not None:
        parts.append(
            element("line", x1=place(reference), x2=place(reference), y1=0, y2=_BAR_HEIGHT, class_="bar-zero")
        )
    if interval is not None and not any(map(_is_unknown, interval)):
        ends = [place(end) for end in interval]
        parts.append(element("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, class_="bar-range"))
    parts.append(element("circle", cx=place(value or 0.0), cy=middle, r=3.5, class_="bar-dot"))
    view = f"0 0 {_BAR_WIDTH} {_BAR_HEIGHT}"
    return element("svg", parts, viewBox=view, class_="bar", aria_hidden="true")


def domain_of(values: Iterable[float | None], intervals: Iterable[Interval | None]) -> Interval:
    """A common scale for bars.

    Examples
    --------
    >>> domain_of([0.5, None], [(0.25, 0.75), None])
    (0.25, 0.75)
    """
    known = [value for value in values if value is not None and not _is_unknown(value)]
    known += [
        end for interval in intervals if interval is not None for end in interval if not _is_unknown(end)
    ]
    return (min(known), max(known)) if known else (0.0, 1.0)


# --------------------------------------------------------------------------------------- figures


class Entry(NamedTuple):
    """A line of a plot's legend: how it looks, its name and what is said of it."""

    role: str
    name: Child
    text: Child = ""
    dashes: int = 0


def series_entry(place: int, name: object, text: Child) -> Entry:
    """The legend's line of a plot's series."""
    role, dashes = series_look(place)
    return Entry(role, named(name), text, dashes)


def plot_figure(
    svg: bytes, key: str, title: str, description: str, *, legend: Iterable[Entry] = (), note: Child = None
) -> Markup:
    """A plot with its title, its legend as text, and what to know of it."""
    entries = [
        element(
            "li",
            element(
                "svg",
                element("line", x1=1, x2=23, y1=5, y2=5, class_=f"stroke-{entry.role} dashes-{entry.dashes}"),
                viewBox="0 0 24 10",
                class_="key",
                aria_hidden="true",
            ),
            element("span", entry.name, " ", element("span", entry.text, class_="interval")),
        )
        for entry in legend
    ]
    return element(
        "figure",
        element("figcaption", element("strong", title, class_="title"), element("p", note) if note else None),
        inline_svg(svg, key, title, description),
        element("ul", entries, class_="legend") if entries else None,
        id=key,
    )


def definitions(values: Mapping[str, Any]) -> Markup:
    """A mapping as a list of terms; mappings in it as lists of their own."""
    return element(
        "dl",
        [
            [element("dt", visible(name).replace("_", " ")), _definition(value)]
            for name, value in values.items()
        ],
    )


def _definition(value: Any) -> Markup:
    if isinstance(value, Mapping):
        return element("dd", definitions(value) if value else NONE)
    if isinstance(value, list | tuple):
        if any(isinstance(item, Mapping) for item in value):
            return element("dd", [definitions(item) if isinstance(item, Mapping) else item for item in value])
        value = ", ".join(map(str, value))
    return element("dd", element("code", element("bdi", visible(value, 2000))))
