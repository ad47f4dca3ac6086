"""matplotlib's SVG as part of a page: no style attributes, the page's colours, names of its own.

A page whose content security policy forbids inline styles takes none in its pictures either, so they become
presentation attributes. Colours become classes, which the page's style sheet fills in for light, dark and
paper; plots are drawn in the `COLOURS` that stand for them.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from featx.insight.markup import Child, Markup, element

#: Series that are told apart by colour.
N_COLOURS = 7

_ROLES = ("ink", "muted", "line", "panel", "accent", *(f"class-{index}" for index in range(N_COLOURS)))
#: What stands for each of the page's colours in a plot.
COLOURS = {role: f"#0a0b{index:02x}" for index, role in enumerate(_ROLES)}

_ROLE_OF = {colour: role for role, colour in COLOURS.items()}
# Text takes the page's font, whatever matplotlib measured by.
_DROPPED = {"font-family", "font"}
_DROPPED_TAGS = {"metadata", "style"}


def inline_svg(data: bytes, key: str, title: str, description: str) -> Markup:
    """A plot as an element of the page.

    Parameters
    ----------
    data : bytes
        What matplotlib saved.
    key : str
        Unlike that of any other plot on the page: its parts are named after it.
    title, description : str
        What a screen reader says of it.

    Returns
    -------
    Markup
    """
    # matplotlib wrote it in this process: nothing in it is from elsewhere.
    root = ET.fromstring(data)  # noqa: S314
    children = [_converted(child, key) for child in root if _tag(child) not in _DROPPED_TAGS]
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", description, id=f"{key}-description"),
        *children,
        class_="plot",
        viewBox=root.get("viewBox"),
        role="img",
        aria_labelledby=f"{key}-title {key}-description",
    )


def _tag(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def _converted(node: ET.Element, key: str) -> Markup:
    attributes: dict[str, object] = {}
    for name, value in node.attrib.items():
        attributes |= _attribute(name.rpartition("}")[2], value, key, _tag(node))
    children: list[Child] = [(node.text or "").strip()]
    children += [_converted(child, key) for child in node if _tag(child) not in _DROPPED_TAGS]
    return element(_tag(node), *children, **attributes)


def _attribute(name: str, value: str, key: str, tag: str) -> dict[str, object]:
    if name == "style":
        return _presentation(value)
    if name == "id":
        # Groups are numbered alike in every plot; only what is referred to needs its name.
        return {} if tag == "g" else {"id": f"{key}-{value}"}
    if name == "href":
        return {"href": f"#{key}-{value[1:]}"}
    if name == "clip-path":
        return {name: value.replace("url(#", f"url(#{key}-")}
    return {name: " ".join(value.split()) if name == "d" else value}


def _presentation(style: str) -> dict[str, object]:
    """A style attribute as presentation attributes, and its colours as classes."""
    attributes: dict[str, object] = {}
    classes = []
    for declaration in filter(str.strip, style.split(";")):
        name, value = (part.strip() for part in declaration.split(":", 1))
        if value in _ROLE_OF:
            classes.append(f"{name}-{_ROLE_OF[value]}")
        elif name not in _DROPPED:
            attributes[name] = value
    return attributes | ({"class": " ".join(classes)} if classes else {})
