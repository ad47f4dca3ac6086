"""Commands that make and keep features: backbones, extract, store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from featx.cli.options import (
    Actors,
    AsJson,
    BatchSize,
    Engine,
    FollowLinks,
    GroupColumn,
    Inputs,
    LabelColumn,
    NViews,
    OnError,
    PathColumn,
    Precision,
    Ray,
    Source,
    Store,
    ValueRange,
    Views,
    Workers,
    embedding_options,
    make_cluster,
    make_source,
    parse_shape,
    parse_size,
    parse_weights,
)
from featx.cli.printing import print_extraction, print_json, print_rows, say

store_app = typer.Typer(no_args_is_help=True, help="Look at the cache and tidy it up.")


def backbones(
    pattern: Annotated[str, typer.Argument(help="Shell-style, case ignored.")] = "*",
    *,
    offline: Annotated[bool, typer.Option(help="Only those whose weights are here.")] = False,
    taps: Annotated[bool, typer.Option("--taps", help="The layers of one backbone worth a --tap.")] = False,
    every_layer: Annotated[bool, typer.Option("--all", help="With --taps: every layer.")] = False,
    input_size: Annotated[str | None, typer.Option(help="With --taps: 300 or 300x200.")] = None,
    as_json: AsJson = False,
) -> None:
    """What can be loaded: input size, width, and where the weights come from; or what may be tapped in it."""
    if taps:
        print_rows(_tap_rows(pattern, parse_size(input_size), every_layer=every_layer), as_json=as_json)
        return
    if every_layer or input_size is not None:
        raise typer.BadParameter("--all and --input-size go with --taps")
    from featx.features.backbones import list_backbones

    rows = [
        {
            "name": spec.name,
            "input_size": list(spec.input_size),
            "n_features": spec.n_features,
            "offline": spec.offline,
            "weights": spec.weights,
        }
        for spec in list_backbones(pattern, offline_only=offline)
    ]
    print_rows(rows, as_json=as_json)


def _tap_rows(
    backbone: str, input_size: tuple[int, int] | None, *, every_layer: bool
) -> list[dict[str, Any]]:
    from featx.features.taps import list_taps

    return [
        {"name": tap.name, "shape": list(tap.shape), "depth": tap.depth, "n_features": tap.n_features}
        for tap in list_taps(backbone, input_size, every_layer=every_layer)
    ]


def extract(
    source: Source,
    *,
    out: Annotated[Path | None, typer.Option(help="Feature file to write.")] = None,
    backbone: Annotated[str, typer.Option(help="A name of `featx backbones`, or a .keras file.")] = (
        "efficientnet_lite0"
    ),
    pooling: Annotated[
        str, typer.Option(help="avg, max, gem or none (flattened); several joined by +.")
    ] = "avg",
    taps: Annotated[
        list[str] | None,
        typer.Option(
            "--tap",
            help="Inner layer to keep (`featx backbones NAME --taps`), or LAYER:POOLING; repeatable.",
        ),
    ] = None,
    input_size: Annotated[
        str | None, typer.Option(help="300 or 300x200 (height x width) [default: the backbone's].")
    ] = None,
    weights: Annotated[str, typer.Option(help="imagenet or none.")] = "imagenet",
    preprocessing: Annotated[
        str, typer.Option(help="auto, or for a model of your own: none, unit, tf, torch, caffe, lite.")
    ] = "auto",
    inputs: Inputs = "images",
    n_views: NViews = None,
    views: Views = None,
    batch_size: BatchSize = None,
    precision: Precision = None,
    engine: Engine = None,
    random_state: Annotated[
        int | None, typer.Option(help="Seed of random weights, and of the views.")
    ] = None,
    store: Store = "cache",
    dtype: Annotated[str, typer.Option(help="float32 or float16, of the feature file.")] = "float32",
    resume: Annotated[bool, typer.Option(help="Take rows that are in the store.")] = True,
    on_error: OnError = "raise",
    max_failed: Annotated[
        float | None, typer.Option(help="With --on-error skip: most images that may fail, or their share.")
    ] = None,
    workers: Workers = None,
    isolate: Annotated[
        bool,
        typer.Option("--isolate", help="Decode in child processes: one that dies or stalls fails one image."),
    ] = False,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    value_range: ValueRange = None,
    follow_links: FollowLinks = False,
    ray: Ray = None,
    actors: Actors = None,
    as_json: AsJson = False,
) -> None:
    """Embed images, and write a feature file."""
    import dataclasses

    from featx.features.extraction import extract as extract_features
    from featx.features.recipe import ExtractionRecipe
    from featx.files import check_target
    from featx.images.base import LABELS_COME_FROM, UNLABELLED

    check_target(out, source)
    cluster = make_cluster(ray, actors)
    images = make_source(
        source,
        inputs,
        path_column=path_column,
        label_column=label_column,
        group_column=group_column,
        value_range=value_range,
        follow_links=follow_links or None,
    )
    extractor = ExtractionRecipe(
        backbone,
        pooling=pooling,
        taps=tuple(taps or ()),
        input_size=parse_shape(input_size) if inputs == "arrays" else parse_size(input_size),
        weights=parse_weights(weights),
        preprocessing=preprocessing,
        inputs=inputs,
        random_state=random_state,
        **embedding_options(
            n_views=n_views, views=views, batch_size=batch_size, precision=precision, engine=engine
        ),
    )
    features = extract_features(
        images,
        extractor,
        store=store,
        dtype=dtype,  # type: ignore[arg-type]
        resume=resume,
        on_error=on_error,  # type: ignore[arg-type]
        max_failed=max_failed,
        workers=workers,
        isolate=isolate,
        cluster=cluster,
        verbose=1,
    )
    if out is not None:
        features.save(out)
    # Measured for other precisions than float32 alone.
    difference = features.difference
    if as_json:
        found = features.report.to_dict()
        found["difference"] = None if difference is None else dataclasses.asdict(difference)
        print_json({"path": out, **found, "n_ignored": len(ignored_files(images))})
        return
    print_extraction(features.report, difference)
    if (features.y == UNLABELLED).all():
        where = LABELS_COME_FROM if inputs == "images" else "they come from an array 'labels' beside 'values'"
        say(f"no labels in {source}: {where}", err=True)
    if ignored := ignored_files(images):
        say(f"{len(ignored)} files are not named as images and were left alone", err=True)
    if out is not None:
        say(f"wrote {out}")


def ignored_files(source: Any) -> list[str]:
    """Files of a folder that are not named as images."""
    return list(getattr(source, "ignored", ()))


@store_app.command("list")
def store_list(*, store: Store = "cache", as_json: AsJson = False) -> None:
    """What is in the store."""
    from featx.features.store import FeatureStore

    rows = [
        {
            "key": entry.spec.key[:12],
            "backbone": entry.spec.backbone,
            "input_size": list(entry.spec.input_size),
            "n_samples": entry.n_samples,
            "n_features": entry.spec.n_features,
            "n_shards": entry.n_shards,
            "n_bytes": entry.n_bytes,
        }
        for entry in FeatureStore(store).entries()
    ]
    print_rows(rows, as_json=as_json)


@store_app.command("info")
def store_info(
    key: Annotated[str, typer.Argument(help="Key, or its first digits.")],
    *,
    store: Store = "cache",
    as_json: AsJson = False,
) -> None:
    """Everything that the features of a key depend on."""
    import dataclasses

    from featx.features.store import FeatureStore

    entry = FeatureStore(store).find(key)
    details = {"key": entry.spec.key, "directory": entry.directory, **dataclasses.asdict(entry.spec)}
    if as_json:
        print_json(details)
    else:
        print_rows([{"field": name, "value": str(value)} for name, value in details.items()])


@store_app.command("verify")
def store_verify(*, store: Store = "cache", as_json: AsJson = False) -> None:
    """Check every byte. What is damaged is set aside, and made anew by the next extract: exit 1."""
    import dataclasses

    from featx.features.store import FeatureStore

    checks = FeatureStore(store).verify(verbose=1)
    print_rows([dataclasses.asdict(check) for check in checks], as_json=as_json)
    if n_aside := sum(check.n_aside for check in checks):
        say(f"{n_aside:,} files were set aside earlier: featx store prune deletes them", err=True)
    if not any(check.damaged for check in checks):
        return
    n_lost = sum(check.n_lost for check in checks)
    what = f"{n_lost:,} rows are to be computed anew: run the same featx extract again"
    say(what if n_lost else "no row is lost: what is missing is made anew as it is needed", err=True)
    raise typer.Exit(1)


@store_app.command("prune")
def store_prune(
    keys: Annotated[list[str] | None, typer.Argument(help="Keys to delete, or their first digits.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option(help="Say what would go, and delete nothing.")] = False,
    store: Store = "cache",
    as_json: AsJson = False,
) -> None:
    """Delete extractions, and what damage and killed runs left behind."""
    from featx.features.store import FeatureStore

    deleted = FeatureStore(store).prune(keys or (), dry_run=dry_run)
    print_rows([{"deleted": path} for path in deleted], as_json=as_json)
