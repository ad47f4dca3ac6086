"""The samples in a report: the map, its table, the galleries, and the data that the page's script reads.

Data are columns, not rows, with names as indices and positions as integers: 5,000 samples take a quarter of
a megabyte.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import HeadError
from featx.insight.findings import KINDS, Audit
from featx.insight.galleries import Gallery, galleries_of
from featx.insight.markup import Child, Markup, element, escape, json_data, named, visible
from featx.insight.projection import project
from featx.insight.report_data import PICTURE_TYPE, Pictures, ReportParts, ReportSamples, Section
from featx.insight.report_tables import count

#: Positions are whole numbers from 0 to this.
_GRID = 9999

_COLOURINGS = (
    ("label", "label"),
    ("predicted", "prediction"),
    ("error", "right or wrong"),
    ("finding", "audit finding"),
    ("part", "part"),
)


def check_samples(samples: ReportSamples) -> None:
    """Refuse columns of different lengths.

    Raises
    ------
    HeadError
    """
    n_samples = len(samples.sample_ids)
    columns: dict[str, Any] = {
        "X": samples.X,
        "labels": samples.labels,
        "parts": samples.parts,
        "predicted": samples.predicted,
        "confidence": samples.confidence,
        "predicted_b": samples.predicted_b,
        "tiles": None if samples.pictures is None else samples.pictures.tiles,
    }
    for name, column in columns.items():
        if column is not None and len(column) != n_samples:
            received = f"{len(column)} {name} of {n_samples} samples"
            raise HeadError(explain(received, "one a sample", "pass all columns in one order"))


# ----------------------------------------------------------------------------------- for the script


def map_data(parts: ReportParts) -> tuple[dict[str, Any], str]:
    """What the script draws, as plain values, and what is to be said of the map.

    Returns
    -------
    dict
        Empty without samples.
    str
        How the map was made.
    """
    samples = parts.samples
    if samples is None or not len(samples.sample_ids):
        return {}, ""
    projection = project(samples.X, parts.projection)
    x, y = (np.rint(projection.positions * _GRID).astype(int).T).tolist()
    classes = _class_names(parts)
    code_of = {name: code for code, name in enumerate(classes)}
    part_names = list(dict.fromkeys(map(str, samples.parts)))
    data = {
        "ids": [visible(sample_id) for sample_id in samples.sample_ids],
        "x": x,
        "y": y,
        "classes": [visible(name) for name in classes],
        "parts": [visible(name) for name in part_names],
        "label": _codes(samples.labels, code_of),
        "predicted": _codes(samples.predicted, code_of),
        "predictedB": None if samples.predicted_b is None else _codes(samples.predicted_b, code_of),
        "heads": [visible(name, 24) for name in parts.heads],
        "part": [part_names.index(str(part)) for part in samples.parts],
        # In tenths of a percent, rounded down; -1 where there is none.
        "confidence": np.where(np.isnan(samples.confidence), -1, np.nan_to_num(samples.confidence) * 1000)
        .astype(int)
        .tolist(),
        **_found(samples, parts.audit),
        "pictures": _tiles(samples.pictures),
    }
    return data, projection.note


def _class_names(parts: ReportParts) -> list[str]:
    """In the order of the evaluation, so that colours agree; further ones in that of the alphabet."""
    samples = parts.samples
    known = list(getattr(parts.evaluation, "class_names", ()))
    if samples is None:
        return known
    columns = [samples.labels, samples.predicted, samples.predicted_b or ()]
    seen = {str(name) for column in columns for name in column if name is not None}
    return known + sorted(seen - set(known))


def _codes(names: Sequence[str | None], code_of: dict[str, int]) -> list[int]:
    return [-1 if name is None else code_of[str(name)] for name in names]


def _found(samples: ReportSamples, audit: Audit | None) -> dict[str, Any]:
    """The findings of each sample that has one: pairs of kind and reason, both as indices."""
    if audit is None:
        return {"kinds": [], "reasons": [], "found": {}}
    rows = {sample_id: row for row, sample_id in enumerate(samples.sample_ids)}
    kinds = [kind for kind in KINDS if audit.of(kind) and kind != "class_balance"]
    reasons: dict[str, int] = {}
    found: dict[str, list[list[int]]] = {}
    for kind in kinds:
        for finding in audit.of(kind):
            reason = reasons.setdefault(visible(finding.reason, 300), len(reasons))
            for sample_id in finding.sample_ids:
                if sample_id in rows:
                    found.setdefault(str(rows[sample_id]), []).append([kinds.index(kind), reason])
    return {"kinds": [KINDS[kind].title for kind in kinds], "reasons": list(reasons), "found": found}


def _tiles(pictures: Pictures | None) -> dict[str, Any] | None:
    if pictures is None:
        return None
    tiles = np.asarray(pictures.tiles).astype(int).tolist()
    # Most often they are numbered as the samples are.
    return {
        "size": int(pictures.tile_size),
        "columns": int(pictures.n_columns),
        "tiles": None if tiles == list(range(len(tiles))) else tiles,
    }


def data_block(data: dict[str, Any]) -> Markup:
    """The data, and the pictures beside them, out of sight."""
    return json_data(data, id="report-data") if data else Markup()


def picture_address(data: bytes) -> str:
    """A picture as an address in the page."""
    return f"data:{PICTURE_TYPE};base64,{b64encode(data).decode()}"


# ------------------------------------------------------------------------------------------ the map


def map_section(parts: ReportParts, data: dict[str, Any], note: str) -> Section | None:
    """The scatter of all samples; a script draws it, and the table below says the same."""
    samples = parts.samples
    if samples is None or not data:
        return None
    description = (
        f"Scatter plot of {count(len(samples.sample_ids), 'sample')}. Arrow keys walk from sample to sample, "
        "Enter pins one, plus and minus zoom, 0 shows all. The table of samples below holds the same."
    )
    body = [
        element("p", note, class_="lead"),
        _script_needed(),
        element(
            "div", _controls(samples, data), _stage(description), class_="map", hidden=True, id="map-view"
        ),
        element("div", id="map-pins", class_="pins", aria_label="Pinned samples", role="group", hidden=True),
        _atlas(samples.pictures),
        _samples_table(),
    ]
    return Section("map", "Map of the samples", escape(body))


def _script_needed() -> Markup:
    note = "The map and the table of samples need JavaScript; everything else does not."
    return element("noscript", element("p", note))


def _controls(samples: ReportSamples, data: dict[str, Any]) -> Markup:
    is_there = {
        "label": True,
        "predicted": any(code >= 0 for code in data["predicted"]),
        "error": any(code >= 0 for code in data["predicted"]),
        "finding": bool(data["kinds"]),
        "part": len(data["parts"]) > 1,
    }
    titles = dict(_COLOURINGS)
    if samples.predicted_b is not None:
        first = data["heads"][0]
        titles |= {"predicted": f"prediction of {first}", "error": f"{first} right or wrong"}
    radios = [
        element(
            "label",
            element("input", type="radio", name="colour", value=value, checked=value == "label"),
            f" {title}",
        )
        for value, title in titles.items()
        if is_there[value]
    ]
    pictures = None
    if samples.pictures is not None:
        box = element("input", type="checkbox", id="map-pictures")
        pictures = element("label", box, " pictures in place of points", class_="map-pictures")
    legend = element(
        "fieldset",
        element("legend", "Show", id="map-legend-title"),
        element(
            "input",
            type="search",
            id="map-legend-filter",
            placeholder="find a class",
            aria_label="Find a class",
            hidden=True,
        ),
        element("div", id="map-legend"),
        element("div", _button("map-all", "all"), _button("map-none", "none"), class_="buttons"),
    )
    colours = element("fieldset", element("legend", "Colour by"), radios, class_="map-colours")
    return element("div", colours, legend, pictures, class_="map-controls")


def _button(key: str, title: str, **attributes: object) -> Markup:
    return element("button", title, type="button", id=key, **attributes)


def _stage(description: str) -> Markup:
    canvas = element(
        "canvas",
        id="map-canvas",
        tabindex=0,
        role="application",
        aria_label="Map of the samples",
        aria_describedby="map-help",
    )
    zoom = element(
        "div",
        _button("map-zoom-in", "+", aria_label="Zoom in"),
        _button("map-zoom-out", "\N{MINUS SIGN}", aria_label="Zoom out"),
        _button("map-zoom-all", "⤢", aria_label="Show all"),
        class_="map-zoom",
    )
    return element(
        "div",
        element("div", canvas, zoom, class_="map-frame"),
        element("div", id="map-card", class_="card floating", hidden=True),
        element("p", id="map-status", class_="quiet", role="status", aria_live="polite"),
        element("p", description, id="map-help", class_="quiet"),
        class_="map-stage",
    )


def _atlas(pictures: Pictures | None) -> Markup | None:
    if pictures is None or not pictures.atlas:
        return None
    # Out of sight: the script draws tiles of it.
    return element("img", id="atlas", src=picture_address(pictures.atlas), alt="", hidden=True)


def _samples_table() -> Markup:
    """The head of the table of samples, which the script fills a page at a time."""
    return element(
        "div",
        element("h3", "The samples as a table", id="samples"),
        element(
            "div",
            element(
                "label", "Find ", element("input", type="search", id="samples-filter", autocomplete="off")
            ),
            element("span", id="samples-status", class_="quiet", role="status", aria_live="polite"),
            _button("samples-previous", "Previous"),
            _button("samples-next", "Next"),
            class_="samples-bar",
        ),
        element(
            "div",
            element(
                "table",
                element("caption", "What the map shows, one row a sample", id="samples-caption"),
                element("thead", element("tr")),
                element("tbody"),
                id="samples-table",
            ),
            class_="scroll",
            tabindex=0,
            role="region",
            aria_labelledby="samples-caption",
        ),
        class_="samples",
        id="samples-view",
        hidden=True,
    )


# -------------------------------------------------------------------------------------- the galleries


def galleries_section(parts: ReportParts) -> Section | None:
    """Large pictures of what is worth a look."""
    samples = parts.samples
    galleries = galleries_of(samples, parts.audit, heads=parts.heads)
    if samples is None or not galleries:
        return None
    return Section("galleries", "Worth a look", escape([_gallery(gallery, samples) for gallery in galleries]))


def _gallery(gallery: Gallery, samples: ReportSamples) -> Markup:
    figures = [
        _figure(samples, row, caption) for row, caption in zip(gallery.rows, gallery.captions, strict=True)
    ]
    shown: Child = figures
    if gallery.sets:
        # Numbers rise, so that members of a set stand together.
        numbers = sorted(set(gallery.sets))
        shown = [
            element(
                "div",
                [figure for figure, of_set in zip(figures, gallery.sets, strict=True) if of_set == number],
                class_="set",
            )
            for number in numbers
        ]
    return element(
        "section",
        element("h3", gallery.title, id=f"{gallery.key}-title"),
        element("p", gallery.note, class_="quiet"),
        element(
            "div", shown, class_="gallery", tabindex=0, role="group", aria_labelledby=f"{gallery.key}-title"
        ),
        id=f"gallery-{gallery.key}",
        aria_labelledby=f"{gallery.key}-title",
    )


def _figure(samples: ReportSamples, row: int, caption: str) -> Markup:
    return element(
        "figure",
        _picture(samples, row),
        element("figcaption", element("span", caption), element("code", named(samples.sample_ids[row], 60))),
        class_="card",
        data_row=row,
    )


def _picture(samples: ReportSamples, row: int) -> Markup | None:
    pictures = samples.pictures
    if pictures is None:
        return None
    name = visible(samples.sample_ids[row])
    if row in pictures.large:
        return element("img", src=picture_address(pictures.large[row]), alt=f"Picture of {name}")
    if pictures.tiles[row] >= 0:
        # The script draws its tile.
        return element("canvas", class_="tile", data_tile=row, role="img", aria_label=f"Picture of {name}")
    return element("div", "no picture", class_="no-picture")
