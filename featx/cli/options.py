"""Options that several commands share, and what their text means."""

from __future__ import annotations

import os
import re
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.checks import check_choice, explain
from featx.cli.printing import say
from featx.distributed.cluster import LOCAL, check_address
from featx.errors import BackboneError, ClusterError, HeadError, SourceError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from featx.features.feature_set import FeatureSet
    from featx.images.base import ImageSource

Source = Annotated[
    str,
    typer.Argument(
        help="Folder, CSV manifest, .npy/.npz or .h5 file of images; or s3://bucket/folder or manifest."
    ),
]
Store = Annotated[
    str,
    typer.Option(
        help="Where features are kept: a folder or s3://bucket/folder ($FEATX_CACHE in place of the default)."
    ),
]
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
NViews = Annotated[int | None, typer.Option(help="Views of each image, itself the first [default: 1].")]
Views = Annotated[
    list[str] | None,
    typer.Option(
        "--view",
        help="What the others are made by: flip, quarter_turn, crop, shift, zoom, colour; repeatable "
        "[default: flip, crop].",
    ),
]
BatchSize = Annotated[
    str | None, typer.Option(help="Images in a forward pass; auto finds what is fastest [default: 32].")
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="float32, bfloat16, float16; or auto: bfloat16 where the hardware has it [default: float32]."
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(help="keras, onnx, openvino; or auto: the fastest that is installed [default: auto]."),
]
Report = Annotated[Path | None, typer.Option(help="HTML file to write: one file that needs no other.")]
Images = Annotated[
    str | None,
    typer.Option(help="The report's pictures: the images that the features are of, as extract takes them."),
]
ProjectionOption = Annotated[
    str | None, typer.Option("--projection", help="The report's map: pca, or umap [default: pca].")
]
Out = Annotated[Path | None, typer.Option(help="Model file to write.")]
Inputs = Annotated[str, typer.Option(help="images; or arrays, for a .keras file that takes such.")]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Work on a Ray cluster: alone one that is started here; or auto, or HOST:PORT.",
    ),
]
Actors = Annotated[
    int | None,
    typer.Option(
        "--actors", help="With --ray: processes that compute [default: one a GPU, or else one a machine]."
    ),
]
FollowLinks = Annotated[bool, typer.Option(help="Folder: open links that leave it.")]

#: The command as it was typed, for a report to quote.
TYPED: ContextVar[str] = ContextVar("TYPED", default="")


def with_address(words: Sequence[str]) -> list[str]:
    """A command's words, with an address after each ``--ray`` that has none: Typer's options must have one.

    What follows is its address only where it reads like one, so that a file may follow as well.

    Examples
    --------
    >>> with_address(["search", "--ray", "features.h5"])
    ['search', '--ray', 'local', 'features.h5']
    >>> with_address(["search", "features.h5", "--ray", "auto"])
    ['search', 'features.h5', '--ray', 'auto']
    """
    options = words[: words.index("--")] if "--" in words else words
    found = list(words)
    for position in reversed(range(len(options))):
        if options[position] == "--ray" and not _is_address(*options[position + 1 : position + 2]):
            found.insert(position + 1, LOCAL)
    return found


def _is_address(word: str = "") -> bool:
    try:
        check_address(word)
    except ClusterError:
        return False
    return True


def load_feature_files(paths: Sequence[str | Path]) -> dict[str, FeatureSet]:
    """Feature files by the names they were given; a file that is named twice is refused."""
    from featx.features.feature_set import FeatureSet

    names = [str(path) for path in paths]
    if len(set(names)) < len(names):
        received = f"the files {', '.join(names)}"
        raise StoreError(explain(received, "each once", "drop the repeated ones"))
    return {name: FeatureSet.load(name) for name in names}


def refuse_embedding(embedding: Mapping[str, Any]) -> None:
    """Refuse options of embedding where there are no images to embed."""
    for name, value in embedding.items():
        option = "--view" if name == "views" else f"--{name.replace('_', '-')}"
        shown = " ".join(value) if isinstance(value, tuple) else value
        received, expected = f"{option} {shown} for a feature file", "images to embed with it"
        raise HeadError(explain(received, expected, f"pass the images, or leave {option} out"))


def make_source(source: str, inputs: str = "images", **options: Any) -> ImageSource:
    """The source that an argument means, of images or arrays, with those options that were given."""
    from featx.images.sources import as_source
    from featx.images.value_sources import as_value_source

    check_choice("--inputs", inputs, ("images", "arrays"), SourceError)
    kind = as_value_source if inputs == "arrays" else as_source
    return kind(source, **given(**options))


def make_unlabelled_source(source: str, inputs: str = "images", **options: Any) -> ImageSource:
    """The source that an argument means, without regard to what it says of labels."""
    is_manifest = inputs == "images" and source.lower().endswith(".csv")
    samples = _manifest(source, options) if is_manifest else make_source(source, inputs, **options)
    return samples.without_labels()


def _manifest(source: str, options: dict[str, Any]) -> ImageSource:
    from featx.images.sources import as_source

    # A column of labels half filled in is no obstacle to a prediction.
    return as_source(source, label_column=None, **given(**options))


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


def parse_batch_size(text: str | None) -> int | str | None:
    """A number, or ``auto``.

    Examples
    --------
    >>> parse_batch_size("64"), parse_batch_size("auto"), parse_batch_size(None)
    (64, 'auto', None)
    """
    if text is None or text == "auto":
        return text
    if not text.isdecimal():
        raise BackboneError(explain(f"--batch-size {text}", "a number, or auto", "mend it"))
    return int(text)


def given(**options: Any) -> dict[str, Any]:
    """Those options that were given; the others are left to their defaults in the library.

    Examples
    --------
    >>> given(n_views=4, views=None)
    {'n_views': 4}
    """
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if value is not None
    }


def embedding_options(
    *, n_views: int | None, views: Sequence[str] | None = None, batch_size: str | None = None, **options: Any
) -> dict[str, Any]:
    """How images are to be embedded, as far as that was given: arguments of `featx.FeatureExtractor`.

    Examples
    --------
    >>> embedding_options(n_views=4, views=["flip"], batch_size="64", engine=None)
    {'n_views': 4, 'views': ('flip',), 'batch_size': 64}
    >>> embedding_options(n_views=None, views=["flip"])
    Traceback (most recent call last):
    featx.errors.BackboneError: received --view flip without --n-views; expected a number of views; ...
    """
    if views and n_views is None:
        received = f"--view {' '.join(views)} without --n-views"
        raise BackboneError(explain(received, "a number of views", "pass --n-views 4, or leave --view out"))
    return given(n_views=n_views, views=views, batch_size=parse_batch_size(batch_size), **options)


def make_cluster(ray: str | None, actors: int | None) -> Any:
    """Where the work is to be done, as `featx.extract` takes it: None is this process."""
    if ray is None:
        if actors is not None:
            received = f"--actors {actors} without --ray"
            raise ClusterError(explain(received, "a cluster for them", "pass --ray too, or leave it out"))
        return None
    from featx.distributed.extraction import RayCluster

    return RayCluster(ray, n_actors=actors)


def parse_shape(text: str | None) -> tuple[int, ...] | None:
    """``128x64x1`` as the shape of one sample.

    Examples
    --------
    >>> parse_shape("128x64x1"), parse_shape("50"), parse_shape(None)
    ((128, 64, 1), (50,), None)
    """
    if text is None:
        return None
    if re.fullmatch(r"\d+(x\d+)*", text) is None:
        raise BackboneError(explain(f"--input-size {text}", "the shape of a sample, as 128x64x1", "mend it"))
    return tuple(int(side) for side in text.split("x"))


def parse_weights(text: str) -> Any:
    """``none`` as None.

    Examples
    --------
    >>> parse_weights("none") is None
    True
    """
    check_choice("--weights", text, ("imagenet", "none"), BackboneError)
    return None if text == "none" else text


def report_options(
    report: Path | None,
    images: str | None = None,
    projection: str | None = None,
    *,
    random_state: int = 0,
    inputs: tuple[str | Path | None, ...] = (),
) -> Any:
    """What a report is made of, checked before the work that it is to report; None where none is wanted."""
    if report is None:
        for option, value in (("--images", images), ("--projection", projection)):
            if value is not None:
                received, expected = f"{option} {value} without --report", "a report to show it in"
                raise SourceError(explain(received, expected, "pass --report R.html, or leave it out"))
        return None
    from featx.files import check_target
    from featx.insight.report import check_report
    from featx.report_jobs import ReportOptions

    others = [path for path in (images, *inputs) if path is not None]
    check_target(report, *others)
    if os.path.realpath(report) in map(os.path.realpath, others):
        received, expected = f"--report {report}", "another file than the others that are written"
        raise StoreError(explain(received, expected, "choose another name"))
    check_report(report, projection or "pca")
    source = None if images is None else make_source(images)
    return ReportOptions(source, TYPED.get(), random_state, verbose=1, projection=projection or "pca")


def said_of_report(report: Path | None, samples: Any) -> dict[str, Any]:
    """Of a command's JSON: where the report lies, and what it cannot show."""
    return {"report": report, "report_notes": [] if samples is None else list(samples.notes)}


def tell_of_report(report: Path, samples: Any) -> None:
    """Where the report lies, on stdout, and on stderr what it cannot show."""
    for note in samples.notes:
        say(f"report: {note}", err=True)
    say(f"wrote {report}")
