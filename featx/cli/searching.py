"""The command that finds heads: search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.checks import check_choice
from featx.cli.options import (
    AsJson,
    BatchSize,
    Engine,
    Images,
    Jobs,
    NViews,
    OnError,
    Out,
    Precision,
    ProjectionOption,
    Ray,
    Report,
    Seed,
    Store,
    Views,
    embedding_options,
    given,
    load_feature_files,
    make_source,
    refuse_embedding,
    report_options,
    said_of_report,
    tell_of_report,
)
from featx.cli.printing import (
    print_evaluations,
    print_excluded,
    print_extraction,
    print_json,
    print_leaderboard,
    say,
    with_interval,
)
from featx.errors import HeadError

if TYPE_CHECKING:
    from featx.features.feature_set import FeatureSet
    from featx.report_jobs import ReportOptions
    from featx.search_jobs import SearchResult


def search(
    features: Annotated[
        list[str],
        typer.Argument(help="Feature files of the same images; or images, as extract takes them, to embed."),
    ],
    *,
    heads: Annotated[list[str] | None, typer.Option("--head", help="Head or space; repeatable.")] = None,
    combine: Annotated[
        str,
        typer.Option(help="none: each file; parts: also each tap and pooling; all: also all files together."),
    ] = "all",
    test_size: Annotated[float, typer.Option(help="Share set aside; 0 trains on everything.")] = 0.25,
    assignment: Annotated[
        str, typer.Option(help="stratified; or hashed: a test part that stays put when images are added.")
    ] = "stratified",
    cv: Annotated[int, typer.Option(help="Folds.")] = 5,
    n_repeats: Annotated[int, typer.Option(help="Times that the folds are drawn.")] = 1,
    nested: Annotated[int, typer.Option(help="Outer folds that judge the whole search; 0: none.")] = 0,
    scoring: Annotated[
        list[str] | None,
        typer.Option(
            help="What to maximise, as scikit-learn names it; of several the first ranks. [default: accuracy]"
        ),
    ] = None,
    strategy: Annotated[str, typer.Option(help="grid, refine, random or halving.")] = "grid",
    n_iter: Annotated[int, typer.Option(help="Draws a head and feature set, of the random strategy.")] = 20,
    class_weight: Annotated[str | None, typer.Option(help="balanced: rare classes count more.")] = None,
    calibration: Annotated[
        str, typer.Option(help="Probabilities of a head that has none: sigmoid, isotonic, auto or none.")
    ] = "sigmoid",
    tune_threshold: Annotated[
        bool, typer.Option("--tune-threshold", help="Two classes: choose the probability that decides.")
    ] = False,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="CSV file of samples to leave out, such as an audit's; repeatable."),
    ] = None,
    time_budget_s: Annotated[float | None, typer.Option(help="Start no candidate after this.")] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="File to go on from after a kill, kept [default: beside --out, removed]."),
    ] = None,
    n_jobs: Jobs = None,
    ray: Ray = None,
    random_state: Seed = 0,
    out: Out = None,
    report: Report = None,
    images: Images = None,
    projection: ProjectionOption = None,
    backbone: Annotated[
        str | None, typer.Option(help="Images: what embeds them [default: efficientnet_lite0].")
    ] = None,
    n_views: NViews = None,
    views: Views = None,
    batch_size: BatchSize = None,
    precision: Precision = None,
    engine: Engine = None,
    store: Store = "cache",
    on_error: OnError = "raise",
    as_json: AsJson = False,
) -> None:
    """Find the best head, and score it on a part set aside.

    How images are embedded is said as for extract; views of an image are scored as one.
    """
    from featx.distributed.searching import check_cluster, on_cluster
    from featx.files import check_target
    from featx.heads.search import HeadSearch
    from featx.insight.exclusions import as_exclusions
    from featx.search_jobs import save_search, search_features

    own_journal = None if out is None else Path(f"{out}.journal")
    read = [*features, *map(str, exclude or [])]
    check_target(out, *read)
    check_target(journal or own_journal, *read, *([] if out is None else [out]))
    reporting = report_options(report, images, projection, random_state=random_state, inputs=(out, *read))
    check_choice("--class-weight", class_weight, (None, "balanced"), HeadError)
    scores = scoring or ["accuracy"]
    searcher = HeadSearch(
        heads or "default",
        scoring=scores[0] if len(scores) == 1 else scores,
        refit=True if len(scores) == 1 else scores[0],
        cv=cv,
        n_repeats=n_repeats,
        strategy=strategy,
        n_iter=n_iter,
        class_weight=class_weight,
        calibration=None if calibration == "none" else calibration,
        tune_threshold=tune_threshold,
        journal=journal or own_journal,
        n_jobs=-1 if n_jobs is None else n_jobs,
        time_budget_s=time_budget_s,
        random_state=random_state,
        verbose=1,
    )
    embedding = given(backbone=backbone) | embedding_options(
        n_views=n_views, views=views, batch_size=batch_size, precision=precision, engine=engine
    )
    # Before hours of embedding.
    check_cluster(ray)
    excluding = {"exclude": as_exclusions(exclude)} if exclude else {}
    loaded = _load(features, embedding, store, on_error)
    options: dict[str, Any] = {"assignment": assignment, "nested": nested, "random_state": random_state}
    options |= excluding
    with on_cluster(ray):
        result = search_features(loaded, searcher, combine=combine, test_size=test_size, **options)
    print_excluded(result.excluded)
    for note in result.notes:
        say(f"note: {note}", err=True)
    if out is not None:
        save_search(result, out)
        if journal is None and own_journal is not None:
            # It has done its work; a journal that was asked for by name is kept.
            own_journal.unlink(missing_ok=True)
    samples = _write_report(report, result, reporting)
    if as_json:
        print_json({**result.to_dict(), "model": out, **said_of_report(report, samples)})
        return
    _print_result(result)
    if out is not None:
        say(f"wrote {out}")
    if report is not None:
        tell_of_report(report, samples)


def _write_report(report: Path | None, result: SearchResult, options: ReportOptions | None) -> Any:
    """Write the report that was asked for; images that were embedded for the search are its pictures."""
    if report is None or options is None:
        return None
    from featx.features.feature_set import FeatureSet
    from featx.report_jobs import write_search_report

    names = list(result.combined.feature_sets)
    if options.images is None and not FeatureSet.is_file(names[0]):
        options = replace(options, images=make_source(names[0]))
    return write_search_report(report, result, options)


def _load(features: list[str], embedding: dict[str, Any], store: str, on_error: str) -> dict[str, FeatureSet]:
    from featx.features.extraction import extract
    from featx.features.extractor import FeatureExtractor
    from featx.features.feature_set import FeatureSet

    if len(features) == 1 and not FeatureSet.is_file(features[0]):
        options: dict[str, Any] = {"store": store, "on_error": on_error, "verbose": 1}
        return {features[0]: extract(make_source(features[0]), FeatureExtractor(**embedding), **options)}
    refuse_embedding(embedding)
    return dict(load_feature_files(features))


def _print_result(result: SearchResult) -> None:
    for features in result.combined.feature_sets.values():
        if features.report is not None:
            print_extraction(features.report, features.difference)
    print_leaderboard(result.candidates())
    searcher = result.search
    if result.nested is not None:
        found = result.nested
        say(
            f"nested cross-validation: {with_interval(found.mean, result.nested_ci)} over "
            f"{len(found.scores)} folds, where the best candidate's own folds say {searcher.best_score_:.4f}"
        )
    if result.test is not None:
        print_evaluations(f"Best head: {searcher.best_head_}", {"held-out part": result.test})
    if searcher.best_calibration_ is not None:
        say(f"probabilities calibrated by {searcher.best_calibration_}")
    if searcher.best_threshold_ is not None:
        second = result.combined.aligned.class_names[searcher.classes_[1]]
        say(f"{second} is predicted from a probability of {searcher.best_threshold_:.4f} on")
    if result.n_unlabelled:
        say(f"{result.n_unlabelled} samples without a label were left out", err=True)
