"""Plots for people; the only module that imports matplotlib (extra ``report``)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from featx.checks import check_choice, explain, require
from featx.errors import StoreError
from featx.files import StrPath, atomic_write

# What each format writes of the time or the version, which the same curves would not share.
_FORMATS = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}


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
    # Otherwise an SVG names its parts by random numbers.
    with settings.rc_context({"svg.hashsalt": "featx"}):
        figure.savefig(data, format=suffix[1:], dpi=150, metadata={_FORMATS[suffix]: None})
    atomic_write(path, data.getvalue())
