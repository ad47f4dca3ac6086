"""The evaluation in a report: metrics, what is confused with what, curves, thresholds, subgroups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.insight.curves import THRESHOLD_NOTE
from featx.insight.markup import Child, Markup, element, escape, named
from featx.insight.plots import calibration_svg, highlighted, precision_recall_svg, roc_svg
from featx.insight.report_data import ReportParts, Section
from featx.insight.report_summary import confusions
from featx.insight.report_tables import (
    Cell,
    Column,
    Entry,
    Interval,
    count,
    domain_of,
    measured,
    number,
    p_value,
    percent,
    plot_figure,
    points,
    range_bar,
    series_entry,
    span,
    table,
)

#: Classes whose confusion matrix is a table; that of more is a picture, with the largest entries as a table.
MAX_MATRIX_CLASSES = 15

_N_SHADES = 9
_MAX_CONFUSIONS = 20

# Of each metric: its title, how it is written, and what it says.
_METRICS = (
    ("accuracy", "accuracy", percent, "share of samples that are right"),
    ("balanced_accuracy", "balanced accuracy", percent, "mean recall of the classes"),
    ("roc_auc", "ROC AUC", number, "chance that a sample of a class outranks one that is not"),
    ("log_loss", "log loss", number, "in nats; less is better"),
    ("brier", "Brier score", number, "squared error of the probabilities; less is better"),
    ("ece", "calibration error", percent, "how far confidence is from accuracy, on average; less is better"),
)


def evaluation_section(parts: ReportParts) -> Section | None:
    """Everything that an evaluation knows; what it lacks is left out."""
    evaluation = parts.evaluation
    if evaluation is None:
        return None
    body = [
        element(
            "p",
            f"On {count(evaluation.n_samples, 'sample')} that the head was not fitted on, "
            "with 95\u00a0% intervals.",
            class_="lead",
        ),
        _metrics(evaluation),
        element("h3", "Classes"),
        _per_class(evaluation),
        element("h3", "What is confused with what", id="confusion"),
        *_confusion(evaluation),
        *_curves(evaluation),
        *_subgroups(evaluation),
    ]
    return Section("evaluation", "Evaluation", escape(body))


def _metrics(evaluation: Any) -> Markup:
    rows = []
    for name, title, form, note in _METRICS:
        value, interval = getattr(evaluation, name, None), getattr(evaluation, f"{name}_ci", None)
        if value is None:
            continue
        # The other losses have no upper end; a bar from 0 to 1 would mislead.
        bar = range_bar(value, interval, (0.0, 1.0)) if name != "log_loss" else Markup()
        rows.append([title, measured(value, interval, form), bar, element("span", note, class_="interval")])
    columns = [
        Column("metric"),
        Column("value", "number"),
        Column("from 0 to 1", "bar"),
        Column("what it says"),
    ]
    return table("Metrics", columns, rows, key="metrics", sortable=False)


def _per_class(evaluation: Any) -> Markup:
    rows = [
        [
            named(one.name),
            Cell(f"{one.n_samples:,}", one.n_samples),
            measured(one.precision, one.precision_ci, percent),
            measured(one.recall, one.recall_ci, percent),
            measured(one.f1, one.f1_ci, percent),
            range_bar(one.f1, one.f1_ci, (0.0, 1.0)),
        ]
        for one in evaluation.per_class
    ]
    columns = [
        Column("class"),
        Column("samples", "number"),
        Column("precision", "number"),
        Column("recall", "number"),
        Column("F1", "number"),
        Column("F1 from 0 to 1", "bar"),
    ]
    caption = (
        "Precision: of what is predicted as the class, the share that is. "
        "Recall: of the class, the share found."
    )
    return table(caption, columns, rows, key="classes", is_tall=len(rows) > MAX_MATRIX_CLASSES)


# ------------------------------------------------------------------------------ what is confused


def _confusion(evaluation: Any) -> Iterator[Markup]:
    counts = np.array(evaluation.confusion_matrix)
    if len(counts) <= MAX_MATRIX_CLASSES:
        yield _matrix(counts, evaluation.class_names)
    else:
        yield _matrix_picture(counts)
    if len(counts) > 2:
        yield _top_confusions(evaluation, counts)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Of each true class, the share that is predicted as each."""
    shares: np.ndarray = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    return shares


def _shade(share: float) -> int:
    """From 0 for nothing to 9; the least share has a shade, too."""
    return int(np.ceil(share * _N_SHADES))


def _matrix(counts: np.ndarray, names: Sequence[str]) -> Markup:
    shares = _shares(counts)
    head = [element("td", class_="corner"), *(element("th", named(name, 24), scope="col") for name in names)]
    rows = [
        element(
            "tr",
            element("th", named(name, 24), scope="row"),
            [_matrix_cell(counts, shares, row, column) for column in range(len(names))],
        )
        for row, name in enumerate(names)
    ]
    caption = "Rows are true classes, columns predicted ones; shades and percents are shares of the row."
    made = element(
        "table",
        element("caption", caption, id="confusion-matrix-caption"),
        element("thead", element("tr", head)),
        element("tbody", rows),
        id="confusion-matrix",
        class_="matrix",
    )
    return element(
        "div", made, class_="scroll", tabindex=0, role="region", aria_labelledby="confusion-matrix-caption"
    )


def _matrix_cell(counts: np.ndarray, shares: np.ndarray, row: int, column: int) -> Markup:
    hue = "right" if row == column else "wrong"
    shown: list[Child] = [element("span", f"{counts[row, column]:,}", class_="value")]
    if counts[row, column]:
        shown.append(element("span", percent(shares[row, column], 0), class_="interval"))
    return element("td", shown, class_=f"{hue}-{_shade(shares[row, column])}")


def _matrix_picture(counts: np.ndarray) -> Markup:
    """One path a shade, so that many classes take few bytes."""
    shares, n_classes = _shares(counts), len(counts)
    squares: dict[str, list[str]] = {}
    for row, column in np.argwhere(counts):
        hue = "right" if row == column else "wrong"
        shade = f"{hue}-{_shade(shares[row, column])}"
        squares.setdefault(shade, []).append(f"M{column} {row}h1v1h-1z")
    title = f"Confusion matrix of {n_classes} classes"
    note = "Rows are true classes, columns predicted ones, from top left in the order of the table above."
    picture = element(
        "svg",
        element("title", title),
        element("rect", width=n_classes, height=n_classes, class_="matrix-ground"),
        [element("path", d="".join(paths), class_=shade) for shade, paths in sorted(squares.items())],
        viewBox=f"0 0 {n_classes} {n_classes}",
        class_="matrix-picture",
        role="img",
        shape_rendering="crispEdges",
    )
    return element(
        "figure",
        element("figcaption", element("strong", title, class_="title"), element("p", note)),
        picture,
        id="confusion-matrix",
    )


def _top_confusions(evaluation: Any, counts: np.ndarray) -> Markup:
    found = confusions(evaluation)
    names, n_true = evaluation.class_names, counts.sum(axis=1)
    rows = [
        [
            named(names[true]),
            named(names[predicted]),
            Cell(f"{n:,}", n),
            Cell(percent(n / n_true[true]), n / n_true[true]),
        ]
        for true, predicted, n in found[:_MAX_CONFUSIONS]
    ]
    columns = [
        Column("true class"),
        Column("predicted as"),
        Column("samples", "number"),
        Column("of the true class", "number"),
    ]
    caption = f"The most frequent of {count(len(found), 'confusion')}" if found else "Nothing is confused"
    return table(caption, columns, rows, key="confusions")


# ---------------------------------------------------------------------------------------- curves


def _curves(evaluation: Any) -> Iterator[Markup]:
    curves = getattr(evaluation, "curves", None)
    if curves is None:
        return
    figures = [*_ranking_figures(curves), *_calibration_figure(evaluation, curves)]
    if figures:
        yield element("h3", "Curves", id="curves")
        yield element("div", figures, class_="figures")
    if curves.thresholds:
        yield element("h3", "Where to put the threshold", id="threshold")
        yield _thresholds(evaluation, curves.thresholds)


def _ranking_figures(curves: Any) -> Iterator[Markup]:
    if curves.roc:
        areas = [curve.area for curve in curves.roc]
        legend = _legend("area", curves.roc, areas, [curve.area_ci for curve in curves.roc])
        note = f"How many of a class are found for how many false alarms; dotted is chance.{_bundle(areas)}"
        title = "ROC curve" if len(areas) == 1 else "ROC curves, each class against the rest"
        yield plot_figure(roc_svg(curves.roc), "roc", title, note, legend=legend, note=note)
    if curves.precision_recall:
        scores = [curve.average_precision for curve in curves.precision_recall]
        intervals = [curve.average_precision_ci for curve in curves.precision_recall]
        legend = _legend("average precision", curves.precision_recall, scores, intervals)
        note = f"How pure what is found stays as more is found; dotted are base rates.{_bundle(scores)}"
        svg = precision_recall_svg(curves.precision_recall)
        yield plot_figure(svg, "precision-recall", "Precision and recall", note, legend=legend, note=note)


def _legend(
    what: str, curves: Sequence[Any], scores: Sequence[float], intervals: Sequence[Interval | None]
) -> list[Entry]:
    """Of the curves in colour, each with its class and its score."""
    return [
        series_entry(
            place,
            curves[index].class_name,
            f"{what} {number(scores[index])}{_in_brackets(intervals[index])}",
        )
        for place, index in enumerate(highlighted(scores))
    ]


def _bundle(scores: Sequence[float]) -> str:
    n_grey = len(scores) - len(highlighted(scores))
    return f" In colour the {len(scores) - n_grey} lowest of {len(scores)} classes." if n_grey else ""


def _in_brackets(interval: tuple[float, float] | None, form: Any = number) -> str:
    return "" if interval is None else f" ({span(interval, form)})"


def _calibration_figure(evaluation: Any, curves: Any) -> Iterator[Markup]:
    if not curves.calibration:
        return
    note = (
        "On the dotted line the head is as often right as it says. Larger dots are more samples, "
        "lines are 95\u00a0% intervals."
    )
    title = "Calibration"
    if evaluation.ece is not None:
        within = _in_brackets(evaluation.ece_ci, percent)
        note = f"{note} Calibration error {percent(evaluation.ece)}{within}."
    yield plot_figure(calibration_svg(curves.calibration), "calibration", title, note, note=note)


def _thresholds(evaluation: Any, choices: Sequence[Any]) -> Markup:
    rows = [
        [
            named(choice.name),
            Cell(number(choice.threshold), choice.threshold),
            *(
                measured(getattr(choice, name), getattr(choice, f"{name}_ci", None), percent)
                for name in ("precision", "recall", "specificity", "f1", "accuracy")
            ),
            Cell(f"{choice.n_positive_predicted:,}", choice.n_positive_predicted),
        ]
        for choice in choices
    ]
    heads = ("threshold", "precision", "recall", "specificity", "F1", "accuracy", "predicted so")
    caption = [
        "A sample is called ",
        named(evaluation.class_names[-1]),
        " from this probability on; ",
        THRESHOLD_NOTE,
        ". Intervals are Wilson's.",
    ]
    columns = [Column("chosen for"), *(Column(head, "number") for head in heads)]
    return table(caption, columns, rows, key="thresholds", sortable=False)


# ------------------------------------------------------------------------------------- subgroups


def _subgroups(evaluation: Any) -> Iterator[Markup]:
    groups = getattr(evaluation, "subgroups", None)
    if not groups:
        return
    accuracies = [group.accuracy for group in groups]
    domain = domain_of([*accuracies, evaluation.accuracy], [group.accuracy_ci for group in groups])
    rows = [
        [
            [named(group.column), ": ", named(group.value)],
            Cell(f"{group.n_samples:,}", group.n_samples),
            measured(group.accuracy, group.accuracy_ci, percent),
            range_bar(group.accuracy, group.accuracy_ci, domain, evaluation.accuracy),
            measured(group.roc_auc, group.roc_auc_ci),
            measured(group.difference, group.difference_ci, points),
            Cell(p_value(group.p_value), group.p_value),
        ]
        for group in groups
    ]
    columns = [
        Column("subgroup"),
        Column("samples", "number"),
        Column("accuracy", "number"),
        Column(f"{percent(domain[0], 0)} to {percent(domain[1], 0)}", "bar"),
        Column("ROC AUC", "number"),
        Column("points against the others", "number"),
        Column("p", "number"),
    ]
    caption = (
        "Accuracy within each subgroup; the line is that of all samples, and the p-value asks whether the "
        "subgroup differs from the others."
    )
    yield element("h3", "Subgroups", id="subgroup")
    yield table(caption, columns, rows, key="subgroups", is_tall=len(rows) > MAX_MATRIX_CLASSES)
