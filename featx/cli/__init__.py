"""The command line: one command per public verb. Each parses, makes one library call, and prints.

Results go to stdout, as a table or with ``--json`` as one object; progress, warnings and errors go to
stderr. An error that featx knows is one line and exit code 1, bad usage is 2, Ctrl-C is 130. Nothing heavy
is imported before a command runs.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import warnings
from contextlib import suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from featx.cli import auditing, comparing, features, heads, learning, models, ranking, searching
from featx.cli.options import TYPED, with_address
from featx.cli.printing import show_warning
from featx.cli.quiet import QuietTensorFlow
from featx.errors import DecodeError, FeatxError, printable


def _leave_at_once(code: int) -> NoReturn:
    """End without flushing what cannot be written: Python would try again, and say so in many lines."""
    sys.stderr.flush()
    os._exit(code)


class _Group(TyperGroup):
    """Turns featx's errors into one line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the command as it was typed: a report quotes it."""
        TYPED.set(shlex.join(["featx", *args]))
        return super().parse_args(ctx, with_address(args))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FeatxError as error:
            hint = "; --on-error skip leaves such images out" if isinstance(error, DecodeError) else ""
            typer.echo(f"error: {printable(str(error))}{hint}", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            # Not one of featx's: what takes the output takes no more, such as a log on a disk that is full.
            if error.errno not in (errno.ENOSPC, errno.EIO):
                raise
            with suppress(OSError):
                typer.echo(f"error: the output cannot be written: {error.strerror}", err=True)
            _leave_at_once(1)
        except KeyboardInterrupt:
            typer.echo(
                "interrupted; what was computed is kept: run the same command again to go on", err=True
            )
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Embed images once with a frozen Keras backbone, find the best scikit-learn head in seconds.",
)
app.command()(heads.demo)
app.command()(features.backbones)
app.command()(features.extract)
app.command()(searching.search)
app.command()(heads.evaluate)
app.command()(heads.predict)
app.command()(ranking.rank)
app.command()(comparing.compare)
app.command()(learning.curve)
app.command()(auditing.audit)
app.command()(models.finetune)
app.command()(models.export)
app.add_typer(features.store_app, name="store")


def main() -> None:
    """Run the command line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.meta_path.insert(0, QuietTensorFlow())
    warnings.showwarning = show_warning
    # Pillow's of a large image, which featx refuses by name.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    app()
