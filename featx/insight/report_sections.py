"""The sections of a report besides its evaluation and its map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from featx.insight.candidates import candidates_of, parameters_of
from featx.insight.findings import KINDS, Audit, Finding
from featx.insight.markup import Child, Markup, element, escape, named
from featx.insight.plots import few_shot_svg, highlighted, history_svg, last_known, learning_svg, projections
from featx.insight.report_data import ReportParts, Section
from featx.insight.report_summary import comparison_verdict, head_name, learning_name, score_name
from featx.insight.report_tables import (
    NONE,
    Cell,
    Column,
    Entry,
    count,
    definitions,
    domain_of,
    measured,
    number,
    p_value,
    percent,
    plot_figure,
    range_bar,
    sentence,
    series_entry,
    span,
    table,
)

_MAX_CANDIDATES = 200
_MAX_FINDINGS = 300
_MAX_IDS = 4

_LOSS = "log loss (less is better)"
_DIFFERENCES = (
    ("accuracy", "accuracy"),
    ("balanced_accuracy", "balanced accuracy"),
    ("roc_auc", "ROC AUC"),
    ("log_loss", _LOSS),
)


# --------------------------------------------------------------------------------- the leaderboard


def leaderboard_section(parts: ReportParts) -> Section | None:
    """The candidates of a search, best first."""
    if parts.search is None:
        return None
    candidates = candidates_of(parts.search)
    shown = candidates[:_MAX_CANDIDATES]
    is_choice = len({candidate["features"] for candidate in candidates}) > 1
    intervals = [candidate["score_ci"] for candidate in shown]
    domain = domain_of([candidate["mean_test_score"] for candidate in shown], intervals)
    rows = [
        _candidate(candidate, domain, is_choice=is_choice, is_best=place == 0)
        for place, candidate in enumerate(shown)
    ]
    columns = [
        Column("rank", "number"),
        Column("head"),
        *([Column("features")] if is_choice else []),
        Column(f"mean {score_name(parts.search)}", "number"),
        Column(f"{number(domain[0], 2)} to {number(domain[1], 2)}", "bar"),
        Column("parameters"),
        Column("p", "number"),
        Column("fit, seconds", "number"),
    ]
    all_of_them = count(len(candidates), "candidate")
    which = f"The best {len(shown):,} of {all_of_them}" if len(shown) < len(candidates) else all_of_them
    caption = (
        f"{which}, by their mean over the folds, "
        "with 95\u00a0% intervals. The p-value asks whether a candidate differs from the best, "
        "corrected for their number."
    )
    body = table(caption, columns, rows, key="candidates", is_tall=len(rows) > 12)
    return Section("leaderboard", "Leaderboard", body)


def _candidate(
    candidate: Mapping[str, Any], domain: tuple[float, float], *, is_choice: bool, is_best: bool
) -> list[Child | Cell]:
    score, interval, p = (candidate[name] for name in ("mean_test_score", "score_ci", "p_value"))
    seconds = candidate["mean_fit_time"]
    return [
        Cell(candidate["rank"], candidate["rank"]),
        head_name(candidate["head"]),
        *([named(candidate["features"])] if is_choice else []),
        measured(score, interval, partial(number, digits=4)),
        range_bar(score, interval, domain),
        element("span", named(parameters_of(candidate)), class_="quiet"),
        Cell(NONE if is_best else p_value(p), p),
        Cell(number(seconds, 2), seconds),
    ]


# ---------------------------------------------------------------------------------- two heads


def comparison_section(parts: ReportParts) -> Section | None:
    """Two heads on the same samples, metric by metric."""
    comparison = parts.comparison
    if comparison is None:
        return None
    known = [
        (title, getattr(comparison, name))
        for name, title in _DIFFERENCES
        if getattr(comparison, name) is not None
    ]
    # Nats are no shares: they would have a scale of their own.
    domain = domain_of([0.0], [one.difference_ci for title, one in known if title != _LOSS])
    rows = [
        [
            title,
            Cell(number(one.a), one.a),
            Cell(number(one.b), one.b),
            measured(one.difference, one.difference_ci),
            range_bar(one.difference, one.difference_ci, domain, 0.0) if title != _LOSS else None,
        ]
        for title, one in known
    ]
    a, b = parts.heads
    names = (named(a, 40), named(b, 40), "difference")
    columns = [Column("metric"), *(Column(name, "number") for name in names), Column("around 0", "bar")]
    answers = [
        ("both right", comparison.n_both_right),
        (escape(["only ", named(a, 40), " right"]), comparison.n_only_a_right),
        (escape(["only ", named(b, 40), " right"]), comparison.n_only_b_right),
        ("both wrong", comparison.n_both_wrong),
    ]
    counted = [
        [title, Cell(f"{n:,}", n), Cell(percent(n / max(1, comparison.n_samples)), n)] for title, n in answers
    ]
    heads = [Column("answers"), Column("samples", "number"), Column("share", "number")]
    caption = ["The difference is ", named(a, 40), " less ", named(b, 40), ", paired sample by sample, with "]
    body = [
        element("p", comparison_verdict(comparison, parts.heads), class_="lead"),
        table(
            [*caption, "its 95\u00a0% interval."],
            columns,
            rows,
            key="differences",
            sortable=False,
        ),
        table("Who is right", heads, counted, key="answers", sortable=False),
    ]
    return Section("comparison", "Two heads compared", escape(body))


# ------------------------------------------------------------------------------------ more labels


def learning_section(parts: ReportParts) -> Section | None:
    """How the score grows with labels, over all classes and for each."""
    figures = [*_learning(parts.learning), *_few_shot(parts.few_shot)]
    if not figures:
        return None
    body = [*_of_learning(parts.learning, parts.learning_head), element("div", figures, class_="figures")]
    return Section("learning", "Would more labels help?", escape(body))


def _of_learning(curve: Any, head: str) -> Iterator[Markup]:
    """The verdict, and what the curve is of."""
    if curve is None:
        return
    yield element("p", sentence(curve.verdict), class_="lead")
    if head:
        parts = f"growing parts of {count(curve.n_total, 'sample')}"
        held_out = f"a quarter that was held out, {count(curve.n_repeats, 'time')}"
        stands_in = "; it takes seconds, and featx curve draws that of any head" if head == "ridge" else ""
        yield element(
            "p",
            ["The curve is of ", learning_name(head)],
            f", fitted on {parts} and scored on {held_out}{stands_in}.",
        )


def _learning(curve: Any) -> Iterator[Markup]:
    if curve is None or not curve.n_samples:
        return
    name = str(getattr(curve, "scoring", None) or "score").replace("_", " ")
    legend = [
        Entry(
            "accent",
            f"{name} of {curve.n_samples[-1]:,} samples",
            f"{number(curve.score[-1])} ({span(curve.score_ci[-1])})",
        )
    ]
    legend += [
        Entry("accent", f"expected of {n:,}", f"{number(score)} ({span(interval)})", 2)
        for n, score, interval in projections(curve)
    ]
    note = "Score on samples that were never trained on; the band is the 95\u00a0% interval."
    yield plot_figure(
        learning_svg(curve, name), "learning-curve", "Learning curve", note, legend=legend, note=note
    )


def _few_shot(curve: Any) -> Iterator[Markup]:
    if curve is None or not curve.shots:
        return
    last = [last_known(recall) for recall in curve.recall]
    accuracy = last_known(curve.accuracy)
    legend = [Entry("ink", "accuracy", _with_interval(accuracy, curve.accuracy_ci))]
    legend += [
        series_entry(
            place, curve.class_names[index], f"recall {_with_interval(last[index], curve.recall_ci[index])}"
        )
        for place, index in enumerate(highlighted(last))
    ]
    shots = f"From {curve.shots[0]:,} to {curve.shots[-1]:,} labels in each class"
    note = f"Ridge regression. {shots}; figures are of the most."
    yield plot_figure(few_shot_svg(curve), "few-shot", "Few labels a class", note, legend=legend, note=note)


def _with_interval(value: float, intervals: Sequence[tuple[float, float] | None]) -> str:
    """The last value with the last interval that there is."""
    interval = next((one for one in reversed(intervals) if one is not None), None)
    return f"{number(value)} ({span(interval)})" if interval is not None else number(value)


# ------------------------------------------------------------------------------------ fine-tuning


def history_section(parts: ReportParts) -> Section | None:
    """Curves of a fine-tuning."""
    history = parts.history
    if not history:
        return None
    figures = []
    for name, title in (("accuracy", "Accuracy"), ("loss", "Log loss (nats)")):
        if not history.get(name):
            continue
        shown = [("training", history[name]), ("validation", history.get(f"validation_{name}") or ())]
        legend = [
            Entry(f"class-{place}", part, f"{number(values[-1])} in the end", place)
            for place, (part, values) in enumerate(shown)
            if len(values)
        ]
        svg = history_svg(history, name, title.lower())
        figures.append(plot_figure(svg, f"history-{name}", title, f"{title} over the epochs", legend=legend))
    body = element("div", figures, class_="figures")
    return Section("history", "Fine-tuning", body) if figures else None


# -------------------------------------------------------------------------------------- the audit


def audit_section(parts: ReportParts) -> Section | None:
    """What the audit found, counted and one by one."""
    audit = parts.audit
    if audit is None:
        return None
    audited = (
        f"{audit.n_audited:,} of {audit.n_samples:,}"
        if audit.n_audited < audit.n_samples
        else f"{audit.n_samples:,}"
    )
    body = [
        element("p", f"{audited} samples were audited.", class_="lead"),
        _counts(audit),
        *_balance(audit.class_counts),
        *_findings(audit),
        *(_thresholds(audit.thresholds) if audit.thresholds else ()),
        element("ul", [element("li", note) for note in audit.notes]) if audit.notes else None,
    ]
    return Section("audit", "Data audit", escape(body))


def _counts(audit: Audit) -> Markup:
    scopes = {"everywhere": "everywhere", "training": "in training", "": "nowhere"}
    rows = []
    for kind, n in audit.counts().items():
        found = audit.of(kind)
        n_samples = len({sample_id for finding in found for sample_id in finding.sample_ids})
        rows.append(
            [
                KINDS[kind].title,
                Cell(f"{n:,}", n),
                Cell(f"{n_samples:,}", n_samples),
                scopes[KINDS[kind].scope],
                element("span", KINDS[kind].score, class_="interval"),
            ]
        )
    columns = [
        Column("kind"),
        Column("findings", "number"),
        Column("samples", "number"),
        Column("--exclude leaves it out"),
        Column("what its score is"),
    ]
    return table("What was looked for", columns, rows, key="audit-counts", sortable=False)


def _balance(counts: Mapping[str, int]) -> Iterator[Markup]:
    if not counts:
        return
    largest, total = max(counts.values()), sum(counts.values())
    rows = [
        [named(name), Cell(f"{n:,}", n), Cell(percent(n / max(1, total)), n), _count_bar(n / max(1, largest))]
        for name, n in counts.items()
    ]
    columns = [
        Column("class"),
        Column("samples", "number"),
        Column("share", "number"),
        Column("beside the largest", "bar"),
    ]
    yield table("How many samples each class has", columns, rows, key="class-counts", is_tall=len(rows) > 12)


def _count_bar(share: float) -> Markup:
    bar = element("rect", x=0, y=3, height=8, width=f"{120 * share:.1f}", rx=1, class_="bar-count")
    return element("svg", bar, viewBox="0 0 120 14", class_="bar", aria_hidden="true")


def _findings(audit: Audit) -> Iterator[Markup]:
    if not audit.findings:
        return
    shown = audit.findings
    more = ""
    if len(shown) > _MAX_FINDINGS:
        share = max(1, _MAX_FINDINGS // sum(bool(n) for n in audit.counts().values()))
        shown = tuple(finding for kind in KINDS for finding in audit.of(kind)[:share])
        more = f" The first {share} of each kind; all of them are in the audit's CSV."
    columns = [Column("kind"), Column("samples"), Column("score", "number"), Column("reason")]
    rows = [_finding(finding) for finding in shown]
    yield table(f"The findings, surest first.{more}", columns, rows, key="findings", is_tall=len(rows) > 12)


def _finding(finding: Finding) -> Sequence[Child | Cell]:
    ids: list[Child] = [
        element("li", element("code", named(sample_id, 60))) for sample_id in finding.sample_ids[:_MAX_IDS]
    ]
    if len(finding.sample_ids) > _MAX_IDS:
        ids.append(element("li", f"and {len(finding.sample_ids) - _MAX_IDS:,} more"))
    across = f"; across {' and '.join(finding.across)}" if finding.across else ""
    return [
        KINDS[finding.kind].title,
        element("ul", ids, class_="ids"),
        Cell(number(finding.score), finding.score),
        f"{finding.reason}{across}",
    ]


def _thresholds(thresholds: Mapping[str, float]) -> Iterator[Markup]:
    heading = element("summary", "What was calibrated on these data")
    yield element(
        "details", heading, definitions({name: f"{value:.4g}" for name, value in thresholds.items()})
    )


# ------------------------------------------------------------------------- where it all comes from


def provenance_section(parts: ReportParts) -> Section | None:
    """What repeats it: the command first, then everything else that was handed in."""
    if not parts.provenance:
        return None
    rest = dict(parts.provenance)
    command = rest.pop("command", None)
    body = [
        element("p", "This command makes it again:") if command else None,
        element("pre", element("code", str(command)), tabindex=0) if command else None,
        definitions(rest) if rest else None,
    ]
    return Section("provenance", "Provenance", escape(body))


def notes_section(parts: ReportParts) -> Section | None:
    """What a reader has to know of how the samples were chosen and shown."""
    notes = [] if parts.samples is None else [str(note) for note in parts.samples.notes]
    if not notes:
        return None
    return Section("notes", "Notes", element("ul", [element("li", note) for note in notes]))
