"""Options that several commands share, and what their text means."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.checks import check_choice, explain
from featx.errors import BackboneError, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featx.features.feature_set import FeatureSet
    from featx.images.base import ImageSource

Source = Annotated[str, typer.Argument(help="Folder, CSV manifest, .npy/.npz or .h5 file of images.")]
Store = Annotated[Path, typer.Option(help="Where features are kept ($FEATX_CACHE in place of the default).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
OnError = Annotated[str, typer.Option(help="raise or skip: what to do about an image that cannot be used.")]
Workers = Annotated[int | None, typer.Option(help="Threads that decode [default: one a processor].")]
Jobs = Annotated[int | None, typer.Option(help="Candidates at once [default: one a processor].")]
Seed = Annotated[int, typer.Option(help="Seed of the split, the folds and the heads.")]
LabelColumn = Annotated[str | None, typer.Option(help="Manifest: column of the labels [default: label].")]
PathColumn = Annotated[str | None, typer.Option(help="Manifest: column of the paths [default: path].")]
GroupColumn = Annotated[str | None, typer.Option(help="Manifest: column of the groups.")]
ValueRange = Annotated[
    tuple[float, float] | None, typer.Option(help="Arrays: black and white, unless the images are uint8.")
]
Out = Annotated[Path | None, typer.Option(help="Model file to write.")]
FollowLinks = Annotated[bool, typer.Option(help="Folder: open links that leave it.")]


def load_feature_files(paths: Sequence[str | Path]) -> dict[str, FeatureSet]:
    """Feature files by the names they were given; a file that is named twice is refused."""
    from featx.features.feature_set import FeatureSet

    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        received = f"the files {', '.join(names)}"
        raise StoreError(explain(received, "each once", "drop the repeated ones"))
    return {name: FeatureSet.load(name) for name in names}


def make_source(source: str, **options: Any) -> ImageSource:
    """The source that an argument means, with those options that were given."""
    from featx.images.sources import as_source

    return as_source(source, **{name: value for name, value in options.items() if value is not None})


def make_unlabelled_source(source: str, **options: Any) -> ImageSource:
    """The source that an argument means, without regard to what it says of labels."""
    images = (
        make_source(source, **options) if not source.lower().endswith(".csv") else _manifest(source, options)
    )
    return images.without_labels()


def _manifest(source: str, options: dict[str, Any]) -> ImageSource:
    from featx.images.sources import as_source

    # A column of labels half filled in is no obstacle to a prediction.
    given = {name: value for name, value in options.items() if value is not None}
    return as_source(source, label_column=None, **given)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """``300`` or ``300x200`` as (height, width).

    Examples
    --------
    >>> parse_size("300x200"), parse_size("96"), parse_size(None)
    ((300, 200), (96, 96), None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise BackboneError(explain(f"--input-size {text}", "300 or 300x200 (height x width)", "mend it"))
    return int(match[1]), int(match[2] or match[1])


def parse_weights(text: str) -> Any:
    """``none`` as None.

    Examples
    --------
    >>> parse_weights("none") is None
    True
    """
    check_choice("--weights", text, ("imagenet", "none"), BackboneError)
    return None if text == "none" else text
