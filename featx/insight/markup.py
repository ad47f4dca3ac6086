"""HTML that cannot carry what it was not meant to: text is escaped unless it is `Markup` already.

`element` is the only way to make markup here, and all that it is given, names of files and classes among it,
is text to it. It makes no attribute that runs code or loads anything, so that a page built by it holds what
its content security policy says.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, TypeAlias

from featx.checks import explain
from featx.errors import HeadError

#: Longest name that is shown; the middle of a longer one is left out.
MAX_NAME = 160

_ANY_LENGTH = 1 << 62
_LONG_WORD = 24

_VOID = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9:-]*")
# Format, control, surrogate and private characters, and the separators of lines and paragraphs.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Scripts and emoji are written with the two joiners.
_JOINERS = "\u200c\u200d"


class Markup(str):
    """Text that is HTML already; everything else is escaped."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def visible(text: object, limit: int = MAX_NAME) -> str:
    r"""A name as it is shown: what cannot be seen, or would turn the text around it, is written out.

    Parameters
    ----------
    text : object
        A name; anything else is turned into its text.
    limit : int, default=160
        Longest text, the middle left out of a longer one.

    Returns
    -------
    str
        Without control, bidirectional and undecodable characters.

    Examples
    --------
    >>> visible("a\u202egnp.exe")
    'a⟨U+202E⟩gnp.exe'
    >>> visible("x" * 1000, limit=11)
    'xxxxx…xxxxx'
    """
    shown = str(text)
    # Before it is looked at letter by letter: names may be of any length.
    if len(shown) > limit:
        half = (limit - 1) // 2
        shown = f"{shown[:half]}…{shown[len(shown) - half :]}"
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(map(_seen, shown))


def _seen(letter: str) -> str:
    is_unseen = letter not in _JOINERS and unicodedata.category(letter) in _UNSEEN
    return f"⟨U+{ord(letter):04X}⟩" if is_unseen else letter


def escape(child: Child) -> Markup:
    """Children of an element as markup: text escaped, `Markup` as it is, None as nothing.

    Examples
    --------
    >>> escape(["<b>", Markup("<b>"), None, 1])
    '&lt;b&gt;<b>1'
    """
    if child is None:
        return Markup()
    if isinstance(child, Markup):
        return child
    if isinstance(child, str | int | float):
        return _escaped(child)
    return Markup("".join(map(escape, child)))


def _escaped(text: object) -> Markup:
    return Markup(html.escape(visible(text, _ANY_LENGTH)))


def element(tag: str, *children: Child, **attributes: object) -> Markup:
    """One HTML element.

    Parameters
    ----------
    tag : str
    *children : str, Markup, number, None or iterable of those
        Text is escaped.
    **attributes : object
        A trailing underscore is dropped and others become hyphens; True has no value, and None and False
        leave the attribute out.

    Returns
    -------
    Markup

    Raises
    ------
    HeadError
        For a name that is none, an attribute that would style or run something, or a link out of the page.

    Examples
    --------
    >>> element("td", "<script>", class_="name", colspan=2)
    '<td class="name" colspan="2">&lt;script&gt;</td>'
    >>> element("img", src="https://example.org/x.png")
    Traceback (most recent call last):
    featx.errors.HeadError: received src='https://example.org/x.png'; expected a place in the page ...
    """
    opened = "".join([tag, *(_attribute(name, value) for name, value in attributes.items())])
    if not _NAME.fullmatch(tag):
        raise HeadError(explain(f"the tag {tag!r}", "a name", "pass the name of an element"))
    if tag in _VOID:
        return Markup(f"<{opened}>")
    return Markup(f"<{opened}>{escape(children)}</{tag}>")


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    # `viewBox` and its like keep their capitals; only underscores stand for hyphens.
    name = name.rstrip("_").replace("_", "-")
    if not _NAME.fullmatch(name) or name == "style" or name.startswith("on"):
        raise HeadError(explain(f"the attribute {name!r}", "one without style or script", "use a class"))
    if name in ("href", "src") and not str(value).startswith(("#", "data:image/")):
        remedy = "a report loads nothing"
        raise HeadError(explain(f"{name}={value!r}", "a place in the page or a picture in it", remedy))
    return f" {name}" if value is True else f' {name}="{_escaped(value)}"'


def named(text: object, limit: int = MAX_NAME) -> Markup:
    """A name from outside, visible and apart from the direction of the text around it.

    Examples
    --------
    >>> named("<b>")
    '<bdi>&lt;b&gt;</bdi>'
    """
    shown = visible(text, limit)
    # Only what is too long for a column may be broken within a word.
    is_long = max(map(len, shown.split()), default=0) > _LONG_WORD
    return element("bdi", shown, class_="long" if is_long else None)


def raw_text(tag: str, text: str, **attributes: object) -> Markup:
    """A ``style`` or ``script`` element, whose text a browser takes as it is.

    Raises
    ------
    HeadError
        When the text would end the element.
    """
    if f"</{tag}" in text.lower() or "<!--" in text:
        raise HeadError(explain(f"a {tag} that ends itself", "text without its end tag", "change the text"))
    opened = "".join([tag, *(_attribute(name, value) for name, value in attributes.items())])
    return Markup(f"<{opened}>{text}</{tag}>")


def json_data(value: Any, **attributes: object) -> Markup:
    r"""Plain values as a block of JSON that scripts read and browsers do not run.

    Examples
    --------
    >>> json_data(["</script>"], id="data")
    '<script id="data" type="application/json">["\\u003c/script\\u003e"]</script>'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return raw_text("script", text, **attributes, type="application/json")
