"""The progress bar: seen on a terminal, absent everywhere else."""

import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stderr, suppress

import pytest
from rich.progress import Progress

from featx.progress import progress_bar

# Variables by which a user, or the job that runs these tests, overrules what rich finds out.
_OVERRIDES = ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES")


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch):
    for name in _OVERRIDES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@contextmanager
def terminal():
    """Makes stderr a real terminal; what was shown there is in the list that it gives."""
    screen, line = os.openpty()
    shown = []
    with os.fdopen(screen, "rb", buffering=0) as reader:
        with os.fdopen(line, "w") as stderr, redirect_stderr(stderr):
            yield shown
        # Once the line is closed, reading ends in an error after the last byte.
        with suppress(OSError):
            while data := reader.read(65536):
                shown.append(data.decode())


def test_a_terminal_shows_what_is_done_how_far_and_of_what():
    with terminal() as shown, progress_bar("Embedding", 20, verbose=1, unit="images") as advance:
        advance(5)
        advance(7)
    text = "".join(shown)
    assert "Embedding" in text
    assert "12/20" in text
    assert "images" in text


def test_the_bar_is_wiped_when_the_work_is_done():
    with terminal() as shown, progress_bar("Embedding", 2, verbose=1, unit="images") as advance:
        advance(2)
    # The last thing sent erases the line.
    assert "".join(shown).endswith("\x1b[2K")


def test_verbose_0_shows_nothing_on_a_terminal():
    with terminal() as shown, progress_bar("Embedding", 2, verbose=0, unit="images") as advance:
        advance(2)
    assert shown == []


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_file_or_a_pipe_is_left_clean(verbose, capfd):
    with progress_bar("Embedding", 2, verbose=verbose, unit="images") as advance:
        advance(1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [0, 1])
def test_an_error_in_the_work_comes_through(verbose):
    with (
        pytest.raises(ZeroDivisionError),
        progress_bar("Embedding", 2, verbose=verbose, unit="images") as advance,
    ):
        advance(1 // 0)


@pytest.mark.parametrize(("verbose", "forced", "is_loaded"), [(0, "1", 0), (1, None, 0), (1, "1", 1)])
def test_rich_is_loaded_where_its_bar_may_be_seen(monkeypatch, verbose, forced, is_loaded):
    if forced:
        monkeypatch.setenv("FORCE_COLOR", forced)
    code = (
        "import sys; from featx.progress import progress_bar\n"
        f"with progress_bar('x', 1, verbose={verbose}, unit='y') as advance: advance(1)\n"
        "sys.exit('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.PIPE)
    assert done.returncode == is_loaded


def test_many_steps_cost_next_to_nothing_and_none_is_lost(monkeypatch):
    told = []
    with terminal() as shown, progress_bar("Embedding", 5000, verbose=1, unit="images") as advance:
        original = Progress.advance
        monkeypatch.setattr(Progress, "advance", lambda *given: told.append(given[2]) or original(*given))
        for _ in range(5000):
            advance(1)
    assert sum(told) == 5000
    assert len(told) < 500
    assert "5000/5000" in "".join(shown)
