"""How a benchmark's rows look: a line of figures against a goal, a table of them, a chart.

Part of scripts/benchmark.py. A row is a dict of plain values; what is itself a list or a dict, such as the
rounds, goes to the JSON file and not into the table.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Goal(NamedTuple):
    """A ratio that must be reached, and one that is aimed at; shares of a time are to stay below theirs."""

    must: float
    aim: float
    is_most: bool = False

    def written(self, ratio: float) -> str:
        """A ratio or a goal as the table has it."""
        if self.is_most:
            return f"{100 * ratio:.3g} %" if ratio < 1 else f"{ratio:.3g}x"
        return f"{ratio:.3g}x"

    def verdict(self, ratio: float) -> str:
        """Whether a ratio reaches the goal."""
        sign = -1 if self.is_most else 1
        if sign * ratio >= sign * self.aim:
            return "as aimed"
        return "reached" if sign * ratio >= sign * self.must else "MISSED"


def compared(
    what: str,
    seconds: Sequence[float],
    n_images: int,
    *,
    against: str = "",
    against_seconds: Sequence[float] = (),
    goal: Goal | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A row: medians of the rounds and their ratio, how much faster or, for a share, how much of the time."""
    median = statistics.median(seconds)
    row: dict[str, Any] = {
        "what": what,
        "seconds": round(median, 2),
        "images_per_second": round(n_images / median, 1),
    }
    if against:
        ratio = statistics.median(against_seconds) / median
        goal_like = goal or Goal(1.0, 1.0)
        ratio = 1 / ratio if goal_like.is_most else ratio
        row |= {"against": against, "ratio": goal_like.written(ratio)}
    if goal is not None:
        row |= {"must_reach": goal.written(goal.must), "aims_at": goal.written(goal.aim)}
        row["verdict"] = goal.verdict(ratio)
    rounds = [round(value, 3) for value in seconds]
    return {**row, **more, "rounds": rounds, "against_rounds": [round(value, 3) for value in against_seconds]}


def table_lines(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as aligned columns; a row whose columns are others begins a table of its own."""
    lines: list[str] = []
    table: list[dict[str, Any]] = []
    for row in [*rows, {}]:
        if table and (not row or not (set(_flat(row)) & set(_flat(table[0]))) - {"note"}):
            lines += ["", *_aligned(table)] if lines else _aligned(table)
            table = []
        table.append(row)
    return lines


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not isinstance(value, list | dict)}


def _aligned(table: list[dict[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in table for name in _flat(row)))
    cells = [names, *([str(row.get(name, "")) for name in names] for row in table)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(names))]
    is_number = [
        all(isinstance(row.get(name, 0), int | float) for row in table if row.get(name, "") != "")
        for name in names
    ]
    return [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, is_number, strict=True)
        ).rstrip()
        for row in cells
    ]


def draw_bars(path: Path, title: str, panels: dict[str, list[tuple[str, float, str]]]) -> bool:
    """Horizontal bars of images a second, a panel for each kind; whether there was anything to draw with.

    Parameters
    ----------
    path : Path
        Of the PNG file.
    title : str
    panels : dict
        By each panel's heading, its bars: name, length and what stands behind the length.
    """
    panels = {heading: bars for heading, bars in panels.items() if bars}
    if importlib.util.find_spec("matplotlib") is None or not panels:
        return False
    from matplotlib.figure import Figure

    heights = [len(bars) + 1 for bars in panels.values()]
    figure = Figure(figsize=(10, 0.42 * sum(heights) + 0.8), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for each, (heading, bars) in zip(axes, panels.items(), strict=True):
        lengths = [0.0 if math.isnan(length) else length for _, length, _ in bars]
        drawn = each.barh(range(len(bars)), lengths, color="#4477aa", height=0.7)
        each.bar_label(
            drawn,
            [f"{length:,.{0 if length >= 100 else 1}f}{behind}" for _, length, behind in bars],
            padding=4,
            fontsize=9,
        )
        each.set_yticks(range(len(bars)), [name for name, _, _ in bars], fontsize=9)
        each.invert_yaxis()
        each.set_title(heading, loc="left", fontsize=10)
        # Room for what stands behind the longest bar.
        each.set_xlim(0, max(lengths) * (1.15 + 0.016 * max(len(behind) for _, _, behind in bars)))
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    return True
