"""A progress bar on stderr for long work, silent where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

# rich counts a step in 30 microseconds, which 5,000 images out of the store would feel.
_TELL_EVERY_S = 0.1


def say(text: str, verbose: int) -> None:
    """A line on stderr, where somebody asked to hear of the work.

    Examples
    --------
    >>> say("training 2 of 3 parameters", verbose=0)
    """
    if verbose:
        sys.stderr.write(f"{text}\n")


@contextmanager
def progress_bar(description: str, total: int, verbose: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far some work has come.

    Parameters
    ----------
    description : str
        What is being done.
    total : int
        Number of steps.
    verbose : int
        0 shows nothing. Otherwise the bar is drawn if stderr is a terminal.
    unit : str
        What one step is, in the plural.

    Yields
    ------
    callable
        To be called with the number of steps done since the last call.

    Examples
    --------
    >>> with progress_bar("Embedding", 2, verbose=0, unit="images") as advance:
    ...     advance(2)
    """
    if not verbose or not _may_be_seen():
        yield lambda _: None
        return

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]} {task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(description, total=total, unit=unit, rate="")

        n_untold, told_at = 0, monotonic()

        def tell() -> None:
            bar.advance(task, n_untold)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"({speed:,.0f}/s)" if speed else "")

        def advance(steps: int) -> None:
            nonlocal n_untold, told_at
            n_untold += steps
            if monotonic() - told_at > _TELL_EVERY_S:
                tell()
                n_untold, told_at = 0, monotonic()

        yield advance
        tell()


def _may_be_seen() -> bool:
    """Whether to load rich, which is slow: it alone decides where a user overrules what stderr is."""
    return sys.stderr.isatty() or any(name in os.environ for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))
