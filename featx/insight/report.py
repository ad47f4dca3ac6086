"""One HTML file that says what was tried, what is best, how good it is and what to be wary of.

The file is complete: it loads nothing, asks no server, and its content security policy lets it do neither.
Everything but the map and the sorting of tables is there without JavaScript.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from featx.checks import require
from featx.files import StrPath, atomic_write, check_target
from featx.insight.findings import Audit
from featx.insight.markup import Markup, element, named, raw_text
from featx.insight.projection import check_projection
from featx.insight.report_data import HEADS, ReportParts, ReportSamples, Section
from featx.insight.report_evaluation import evaluation_section
from featx.insight.report_map import check_samples, data_block, galleries_section, map_data, map_section
from featx.insight.report_sections import (
    audit_section,
    comparison_section,
    history_section,
    leaderboard_section,
    learning_section,
    notes_section,
    provenance_section,
)
from featx.insight.report_summary import summary


def check_report(path: StrPath, projection: str = "pca") -> None:
    """Refuse a report that cannot be written, before hours of work end in that error.

    Parameters
    ----------
    path : path-like
    projection : {"pca", "umap"}, default="pca"

    Raises
    ------
    StoreError
        When no file can be written there.
    HeadError
        For an unknown projection.
    MissingPackageError
        When matplotlib, or umap-learn for its projection, is not installed.

    Examples
    --------
    >>> check_report(getfixture("tmp_path") / "report.html")
    """
    check_target(path)
    check_projection(projection)
    require("matplotlib", "report")


def write_report(
    path: StrPath,
    evaluation: Any = None,
    search: Any = None,
    audit: Audit | None = None,
    *,
    samples: ReportSamples | None = None,
    comparison: Any = None,
    heads: tuple[str, str] = HEADS,
    learning: Any = None,
    few_shot: Any = None,
    history: Mapping[str, Sequence[float]] | None = None,
    provenance: Mapping[str, Any] | None = None,
    title: str = "featx report",
    projection: str = "pca",
    learning_head: str = "",
    flatters: bool | None = False,
) -> None:
    """Write a report as one HTML file; of what is not passed, it says nothing.

    Parameters
    ----------
    path : path-like
        Created or replaced; it appears complete or not at all. The same parts give the same bytes.
    evaluation : Evaluation, optional
        As `featx.evaluate` gives it.
    search : HeadSearch, optional
        A fitted one.
    audit : Audit, optional
        As `featx.audit_features` gives it.
    samples : ReportSamples, optional
        For the map, the table of samples and the galleries.
    comparison : Comparison, optional
        As `featx.compare` gives it.
    heads : (str, str), default=("a", "b")
        What the two that are compared are called.
    learning : LearningCurve, optional
    few_shot : FewShotCurve, optional
    history : mapping of str to sequence of float, optional
        As `featx.FineTuner` keeps it.
    provenance : mapping, optional
        What repeats it, as plain values. ``command`` is shown first; time and place are the caller's to pass.
    title : str, default="featx report"
    projection : {"pca", "umap"}, default="pca"
        What lays out the map; "umap" is the extra of that name.
    learning_head : str, default=""
        What the learning curve is of: the name of a head, "ridge" for the curve's own.
    flatters : bool or None, default=False
        Whether the head, or one of the two, was fitted on the samples that it is judged on; None where that
        is not known.

    Raises
    ------
    HeadError
        When columns of samples differ in length, features are not finite, or the projection is unknown.
    StoreError
        When the file cannot be written.
    MissingPackageError
        When matplotlib (extra ``report``) or umap-learn (extra ``umap``) is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from featx import evaluate
    >>> X, y = load_digits(return_X_y=True)
    >>> evaluation = evaluate(KNeighborsClassifier().fit(X[:900], y[:900]), X[900:], y[900:])
    >>> path = getfixture("tmp_path") / "report.html"
    >>> write_report(path, evaluation, title="Digits")
    >>> path.read_text().count("<h2")
    2
    """
    check_report(path, projection)
    if samples is not None:
        check_samples(samples)
    parts = ReportParts(
        title=title,
        evaluation=evaluation,
        search=search,
        audit=audit,
        samples=samples,
        comparison=comparison,
        heads=(str(heads[0]), str(heads[1])),
        learning=learning,
        few_shot=few_shot,
        history=history,
        provenance=provenance,
        projection=projection,
        learning_head=learning_head,
        flatters=flatters,
    )
    atomic_write(path, _page(parts).encode())


def _page(parts: ReportParts) -> Markup:
    data, note = map_data(parts)
    sections = [
        summary(parts),
        leaderboard_section(parts),
        evaluation_section(parts),
        comparison_section(parts),
        learning_section(parts),
        map_section(parts, data, note),
        galleries_section(parts),
        history_section(parts),
        audit_section(parts),
        provenance_section(parts),
        notes_section(parts),
    ]
    shown = [section for section in sections if section is not None]
    style, script = _asset("report.css"), _asset("report.js")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", parts.title),
        raw_text("style", style),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        element("header", element("h1", named(parts.title))),
        element("div", _contents(shown), element("main", map(_section, shown), id="report"), class_="page"),
        data_block(data),
        raw_text("script", script),
    )
    return Markup(f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n")


def _contents(sections: Sequence[Section]) -> Markup:
    links = [element("li", element("a", section.title, href=f"#{section.key}")) for section in sections]
    return element("nav", element("ol", links), aria_label="Contents", id="contents")


def _section(section: Section) -> Markup:
    head = element("h2", section.title, id=f"{section.key}-heading")
    return element("section", head, section.body, id=section.key, aria_labelledby=f"{section.key}-heading")


def _asset(name: str) -> str:
    # A browser hashes the text with plain line ends, whatever a checkout made of them.
    return resources.files("featx.insight").joinpath("assets", name).read_text("utf-8").replace("\r\n", "\n")


def _policy(style: str, script: str) -> str:
    """What the page may do: show pictures that are in it, its own style and its own script."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; "
        f"script-src 'sha256-{hashes[1]}'; base-uri 'none'; form-action 'none'"
    )
