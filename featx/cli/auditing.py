"""The command that looks for what is wrong with the data: audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.options import (
    AsJson,
    BatchSize,
    Engine,
    NViews,
    OnError,
    Precision,
    Store,
    Views,
    embedding_options,
    given,
    load_feature_files,
    make_source,
    refuse_embedding,
)
from featx.cli.printing import print_extraction, print_json, print_rows, say

if TYPE_CHECKING:
    from featx.features.feature_set import FeatureSet
    from featx.images.base import ImageSource
    from featx.insight.findings import Audit, Finding

_MAX_OF_A_KIND, _MAX_IDS = 5, 3

# What the counts are of, in plain words, for one and for several.
_WORDS = {
    "exact_duplicate": ("image stands more than once", "images stand more than once"),
    "near_duplicate": ("set of images is nearly alike", "sets of images are nearly alike"),
    "suspected_label": ("label looks wrong", "labels look wrong"),
    "outlier": ("image is unlike all others", "images are unlike all others"),
    "out_of_distribution": ("image is unlike the training part", "images are unlike the training part"),
    "odd_image": ("image is odd in itself", "images are odd in themselves"),
    "class_balance": ("class is short of samples", "classes are short of samples"),
}
_NEEDS = {"odd_image": "the images (--images)", "suspected_label": "labels of two classes"}


def audit(
    features: Annotated[
        list[str],
        typer.Argument(
            help="Feature files of one extraction, the training part first; or images, as extract takes "
            "them, to embed."
        ),
    ],
    *,
    model: Annotated[
        Path | None, typer.Option(help="Model file: parts one feature file by what it was fitted on.")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Where the images of feature files are, to look for odd ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .json, or else CSV, which search takes by --exclude.")
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option(
            help="One file: the share that a search sets aside, parted here as there; 0 judges all labels by "
            "all. [default: 0.25]"
        ),
    ] = None,
    assignment: Annotated[
        str, typer.Option(help="How the search draws it: stratified or hashed.")
    ] = "stratified",
    label_method: Annotated[
        str, typer.Option(help="What suspects labels: confident, or cleanlab.")
    ] = "confident",
    n_neighbors: Annotated[int, typer.Option(help="Neighbours that an image is compared with.")] = 20,
    max_samples: Annotated[int, typer.Option(help="Of more images, as many are drawn.")] = 100_000,
    random_state: Annotated[int, typer.Option(help="Seed of the parts, of the draw and of the folds.")] = 0,
    backbone: Annotated[
        str | None, typer.Option(help="Images: what embeds them [default: efficientnet_lite0].")
    ] = None,
    n_views: NViews = None,
    views: Views = None,
    batch_size: BatchSize = None,
    precision: Precision = None,
    engine: Engine = None,
    store: Store = "cache",
    on_error: OnError = "skip",
    as_json: AsJson = False,
) -> None:
    """What is wrong with the data: duplicates, leaks, suspected labels, outliers, odd images.

    Several files are parts of one data set, such as train.h5 and test.h5: copies across them are leaks. One
    file is parted as search parts it with the same --test-size, --assignment and --random-state.
    """
    from featx.audit_jobs import audit_feature_sets
    from featx.files import check_target
    from featx.heads.persistence import ModelFile

    check_target(out, *features, *(str(path) for path in (model, images) if path is not None))
    fitted = None if model is None else ModelFile.load(model)
    source = None if images is None else make_source(images)
    embedding = given(backbone=backbone) | embedding_options(
        n_views=n_views, views=views, batch_size=batch_size, precision=precision, engine=engine
    )
    loaded, sources = _load(features, embedding, store, on_error)
    found = audit_feature_sets(
        loaded,
        model=fitted,
        test_size=test_size,
        assignment=assignment,
        images=source or sources or None,
        label_method=label_method,
        n_neighbors=n_neighbors,
        max_samples=max_samples,
        random_state=random_state,
        verbose=1,
    )
    if out is not None:
        (found.save_json if out.suffix.lower() == ".json" else found.save_csv)(out)
    if as_json:
        print_json({"path": out, **found.to_dict()})
        return
    for each in loaded.values():
        if each.report is not None:
            print_extraction(each.report, each.difference)
    _print_audit(found, has_images=bool(source or sources))
    if out is not None:
        say(f"wrote {out}")


def _load(
    features: list[str], embedding: dict[str, Any], store: str, on_error: str
) -> tuple[dict[str, FeatureSet], dict[str, ImageSource]]:
    """Features by name, and the images of those that were embedded for it."""
    from featx.features.extraction import extract
    from featx.features.extractor import FeatureExtractor
    from featx.features.feature_set import FeatureSet

    is_file = [FeatureSet.is_file(name) for name in features]
    if all(is_file) or len(set(features)) < len(features):
        refuse_embedding(embedding)
        return load_feature_files(features), {}
    options: dict[str, Any] = {"store": store, "on_error": on_error, "verbose": 1}
    loaded: dict[str, FeatureSet] = {}
    sources: dict[str, ImageSource] = {}
    for name, is_loaded in zip(features, is_file, strict=True):
        if is_loaded:
            loaded |= load_feature_files([name])
            continue
        sources[name] = make_source(name)
        loaded[name] = extract(sources[name], FeatureExtractor(**embedding), **options)
    return loaded, sources


def _print_audit(found: Audit, *, has_images: bool) -> None:
    from featx.insight.exclusions import exclusions_of
    from featx.insight.findings import EVERYWHERE, TRAINING

    share = "" if found.n_audited == found.n_samples else f", {found.n_audited:,} of them drawn"
    say(f"{found.n_samples:,} images audited in {found.seconds:.1f} s{share}")
    counts = found.counts()
    unseen = {"odd_image"} if not has_images else set()
    unseen |= {"suspected_label"} if len(found.class_counts) < 2 else set()
    for kind, (one, several) in _WORDS.items():
        if kind in unseen and not counts[kind]:
            # 0 would say that they were looked for.
            say(f"{'-':>7} {several}: not looked for, without {_NEEDS[kind]}")
            continue
        leaks = sum("parts" in each.across for each in found.of(kind))
        conflicts = sum("labels" in each.across for each in found.of(kind))
        more = [f"{leaks:,} across parts"] * bool(leaks) + [f"{conflicts:,} across labels"] * bool(conflicts)
        of_these = f", {' and '.join(more)}" if more else ""
        say(f"{counts[kind]:>7,} {one if counts[kind] == 1 else several}{of_these}")
    rows = [_row(each) for kind in _WORDS for each in found.of(kind)[:_MAX_OF_A_KIND]]
    if rows:
        print_rows(rows, title=f"The first {_MAX_OF_A_KIND} of each kind")
    for note in found.notes:
        say(f"note: {note}", err=True)
    excluded = exclusions_of(found)
    if len(excluded):
        untrained = f"{len(excluded.training):,} more of the {TRAINING} part"
        shares = f"{len(excluded.everywhere):,} {EVERYWHERE}, {untrained}"
        say(f"left out by search --exclude with the CSV of --out: {shares}")


def _row(finding: Finding) -> dict[str, str]:
    from featx.insight.findings import KINDS

    more = len(finding.sample_ids) - _MAX_IDS
    names = ", ".join(finding.sample_ids[:_MAX_IDS]) + (f" and {more:,} more" if more > 0 else "")
    return {
        "kind": KINDS[finding.kind].title,
        "score": f"{finding.score:.3g}",
        "samples": names,
        "why": finding.reason,
    }
