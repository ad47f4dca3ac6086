"""Plots; the only module that uses matplotlib (extra ``report``).

`plot_history` writes a file. The others return an SVG for a report: no names stand in it, only axes and
numbers, because a report sets names beside it, as text that wraps and that a reader can search.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.checks import check_choice, explain, require
from featx.errors import StoreError
from featx.files import StrPath, atomic_write
from featx.insight.svg import COLOURS, N_COLOURS

# What each format writes of the time or the version, which the same curves would not share.
_FORMATS = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}

#: More classes than this are drawn as one grey bundle, but for those that do worst.
MAX_SERIES = 8

_MAX_MARKS = 8
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 2.2)))
_SETTINGS = {
    # Otherwise an SVG names its parts by random numbers.
    "svg.hashsalt": "featx",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.edgecolor": COLOURS["line"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.labelpad": 5.0,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.9,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


def check_plot(path: StrPath) -> None:
    """Refuse a plot that cannot be drawn, before hours of work end in that error.

    Raises
    ------
    StoreError
        When the file is of another kind than ``.png``, ``.svg`` or ``.pdf``.
    MissingPackageError
        When matplotlib is not installed.

    Examples
    --------
    >>> check_plot("history.jpg")
    Traceback (most recent call last):
    featx.errors.StoreError: received the suffix of the plot='.jpg'; expected one of '.png', ...
    """
    check_choice("the suffix of the plot", Path(path).suffix, _FORMATS, StoreError)
    require("matplotlib", "report")


def plot_history(
    history: Mapping[str, Sequence[float]], path: StrPath, frozen: Mapping[str, float] | None = None
) -> None:
    """Draw the learning curves of a fine-tuning.

    Parameters
    ----------
    history : mapping of str to sequence of float
        As `featx.FineTuner` keeps it: loss and accuracy of the training and the validation part, one value
        an epoch.
    path : path-like
        A ``.png``, ``.svg`` or ``.pdf`` file, created or replaced.
    frozen : mapping of str to float, optional
        ``accuracy`` and ``log_loss`` of the frozen model on the validation part, drawn as a line to beat.

    Raises
    ------
    StoreError
        When the file is of another kind, or cannot be written.
    MissingPackageError
        When matplotlib is not installed.

    Examples
    --------
    >>> history = {"loss": [0.7, 0.5], "validation_loss": [0.8, 0.7]}
    >>> history |= {"accuracy": [0.5, 0.8], "validation_accuracy": [0.5, 0.7]}
    >>> path = getfixture("tmp_path") / "history.svg"
    >>> plot_history(history, path, frozen={"accuracy": 0.6, "log_loss": 0.75})
    >>> path.read_bytes()[:5]
    b'<?xml'
    """
    check_plot(path)
    if not history.get("loss"):
        raise StoreError(explain("a history without an epoch", "one or more", "fit the model first"))
    settings, figure_module = require("matplotlib", "report"), require("matplotlib.figure", "report")
    figure = figure_module.Figure(figsize=(9, 3.6), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    panels = (("accuracy", "accuracy", "accuracy"), ("loss", "log_loss", "log loss (nats)"))
    for axes, (name, frozen_name, label) in zip(figure.subplots(1, 2), panels, strict=True):
        axes.plot(epochs, history[name], marker="o", label="training")
        axes.plot(epochs, history[f"validation_{name}"], marker="o", label="validation")
        if frozen is not None:
            axes.axhline(frozen[frozen_name], color="0.4", linestyle="--", label="validation, frozen")
        axes.set(xlabel="epoch", ylabel=label, xticks=list(epochs))
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    suffix = Path(path).suffix
    with settings.rc_context({"svg.hashsalt": "featx"}):
        figure.savefig(data, format=suffix[1:], dpi=150, metadata={_FORMATS[suffix]: None})
    atomic_write(path, data.getvalue())


# ------------------------------------------------------------------------------------- in a report


def series_look(index: int) -> tuple[str, int]:
    """Colour, by its role on the page, and dashes of a series.

    Examples
    --------
    >>> series_look(0), series_look(8)
    (('class-0', 0), ('class-1', 1))
    """
    return f"class-{index % N_COLOURS}", index // N_COLOURS % len(_DASHES)


def highlighted(values: Sequence[float]) -> list[int]:
    """Which series are drawn in colour: all, or the three lowest where they are many.

    Examples
    --------
    >>> highlighted([0.9, 0.8]), highlighted([0.9] * 9 + [0.1])
    ([0, 1], [9, 0, 1])
    """
    if len(values) <= MAX_SERIES:
        return list(range(len(values)))
    return sorted(range(len(values)), key=lambda index: values[index])[:3]


def _svg(draw: Callable[[Any], None], *, width: float = 4.6, height: float = 3.5) -> bytes:
    """What ``draw`` puts on the axes of a figure of so many inches."""
    settings, figure_module = require("matplotlib", "report"), require("matplotlib.figure", "report")
    with settings.rc_context(_SETTINGS):
        figure = figure_module.Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        data = io.BytesIO()
        figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def _lines(axes: Any, x: Sequence[Any], y: Sequence[Any], values: Sequence[float], **how: Any) -> None:
    """One line a series; where they are many, most are grey."""
    chosen = highlighted(values)
    # A hundred lines of dots would be dots alone.
    grey = how | {"marker": None}
    for index in range(len(values)):
        if index not in chosen:
            axes.plot(x[index], y[index], color=COLOURS["muted"], alpha=0.35, linewidth=0.7, **grey)
    for place, index in enumerate(chosen):
        role, dashes = series_look(place)
        axes.plot(x[index], y[index], color=COLOURS[role], linestyle=_DASHES[dashes], **how)


def _unit(axes: Any, xlabel: str, ylabel: str) -> None:
    ticks = (0, 0.25, 0.5, 0.75, 1)
    axes.set(
        xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.015), xticks=ticks, yticks=ticks
    )
    labels = ("0", "0.25", "0.5", "0.75", "1")
    axes.set_xticklabels(labels)
    axes.set_yticklabels(labels)


def roc_svg(curves: Sequence[Any]) -> bytes:
    """ROC curves, one a class; each with the attributes of `featx.insight.curves.RocCurve`."""

    def draw(axes: Any) -> None:
        axes.plot((0, 1), (0, 1), color=COLOURS["muted"], linewidth=0.9, linestyle=_DASHES[2])
        x, y = [c.false_positive_rate for c in curves], [c.true_positive_rate for c in curves]
        _lines(axes, x, y, [curve.area for curve in curves])
        _unit(axes, "false positive rate", "true positive rate")

    return _svg(draw)


def precision_recall_svg(curves: Sequence[Any]) -> bytes:
    """Precision over recall, one line a class, with the base rates as dots at the right."""

    def draw(axes: Any) -> None:
        x, y = [c.recall for c in curves], [c.precision for c in curves]
        scores = [curve.average_precision for curve in curves]
        _lines(axes, x, y, scores, drawstyle="steps-post")
        for place, index in enumerate(highlighted(scores)):
            role, _ = series_look(place)
            rate = curves[index].base_rate
            axes.axhline(rate, color=COLOURS[role], linewidth=0.8, linestyle=_DASHES[2], alpha=0.8)
        _unit(axes, "recall", "precision")

    return _svg(draw)


def calibration_svg(bins: Sequence[Any]) -> bytes:
    """How often the head is right at each confidence, with intervals; dots are as large as the bins."""

    def draw(axes: Any) -> None:
        axes.plot((0, 1), (0, 1), color=COLOURS["muted"], linewidth=0.9, linestyle=_DASHES[2])
        known = [one for one in bins if one.n_samples]
        x, y = [one.confidence for one in known], [one.accuracy for one in known]
        for one in known:
            if one.accuracy_ci is not None:
                axes.plot([one.confidence] * 2, one.accuracy_ci, color=COLOURS["accent"], linewidth=1.1)
        largest = max((one.n_samples for one in known), default=1)
        sizes = [14 + 90 * one.n_samples / largest for one in known]
        axes.plot(x, y, color=COLOURS["accent"], linewidth=0.9, alpha=0.6)
        axes.scatter(
            x, y, sizes, color=COLOURS["accent"], edgecolors=COLOURS["panel"], zorder=3, clip_on=False
        )
        _unit(axes, "confidence", "accuracy")

    return _svg(draw)


def _log_axis(axes: Any, counts: Sequence[float]) -> None:
    """A logarithmic axis marked at the counts themselves, those left out that would touch."""
    axes.set_xscale("log")
    apart = (max(counts) / min(counts)) ** (1 / _MAX_MARKS)
    marked: list[float] = []
    for count in sorted(counts):
        if not marked or count / marked[-1] >= apart:
            marked.append(count)
    axes.set_xticks(marked, [f"{count:,.0f}" for count in marked])
    axes.set_xticks([], minor=True)
    axes.grid(visible=False, axis="x")


def learning_svg(curve: Any, ylabel: str) -> bytes:
    """Score over the number of training samples with its band; what is projected is hollow."""

    def draw(axes: Any) -> None:
        n, score = curve.n_samples, curve.score
        low, high = zip(*curve.score_ci, strict=True)
        axes.fill_between(n, low, high, color=COLOURS["accent"], alpha=0.16, linewidth=0)
        axes.plot(n, score, color=COLOURS["accent"], marker="o", markersize=4.5)
        further = projections(curve)
        if further:
            x, y = [n[-1], *(one[0] for one in further)], [score[-1], *(one[1] for one in further)]
            axes.plot(x, y, color=COLOURS["accent"], linestyle=_DASHES[2])
            for count, projected, ends in further:
                axes.plot((count, count), ends, color=COLOURS["accent"], linewidth=1.1)
                axes.plot(
                    (count,),
                    (projected,),
                    color=COLOURS["accent"],
                    marker="o",
                    markersize=5.5,
                    mfc=COLOURS["panel"],
                )
        _log_axis(axes, [*n, *(one[0] for one in further)])
        axes.set(xlabel="training samples", ylabel=ylabel)

    return _svg(draw)


def projections(curve: Any) -> list[tuple[int, float, tuple[float, float]]]:
    """Number of samples, score and interval of each point that a learning curve was carried on to."""
    return [(one.n_samples, one.score, one.score_ci) for one in curve.projected or ()]


def few_shot_svg(curve: Any) -> bytes:
    """Accuracy over labels a class with its band, and each class's recall."""

    def draw(axes: Any) -> None:
        shots, known = curve.shots, [index for index, value in enumerate(curve.accuracy) if value is not None]
        counts = [shots[index] for index in known]
        if known:
            low, high = zip(*(curve.accuracy_ci[index] for index in known), strict=True)
            axes.fill_between(counts, low, high, color=COLOURS["ink"], alpha=0.12, linewidth=0)
        lines = [[math.nan if value is None else value for value in recall] for recall in curve.recall]
        last = [last_known(recall) for recall in curve.recall]
        _lines(axes, [shots] * len(last), lines, last, marker="o", markersize=3)
        axes.plot(counts, [curve.accuracy[index] for index in known], color=COLOURS["ink"], linewidth=2.4)
        _log_axis(axes, shots)
        axes.set(xlabel="labels in each class", ylabel="recall")

    return _svg(draw)


def last_known(values: Sequence[float | None]) -> float:
    """The last value that there is; NaN of none.

    Examples
    --------
    >>> last_known([0.5, 0.75, None])
    0.75
    """
    return next((value for value in reversed(values) if value is not None), math.nan)


def history_svg(history: Mapping[str, Sequence[float]], name: str, ylabel: str) -> bytes:
    """One measure of a fine-tuning over its epochs, of the training and the validation part."""

    def draw(axes: Any) -> None:
        for place, part in enumerate(("", "validation_")):
            values = history.get(f"{part}{name}") or ()
            role, _ = series_look(place)
            epochs = range(1, len(values) + 1)
            axes.plot(epochs, values, color=COLOURS[role], linestyle=_DASHES[place], marker="o", markersize=4)
        n_epochs = len(history[name])
        step = max(1, n_epochs // 8)
        axes.set(xlabel="epoch", ylabel=ylabel, xticks=range(1, n_epochs + 1, step))

    return _svg(draw)
