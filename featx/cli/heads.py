"""Commands that use heads: demo, evaluate, predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.checks import explain
from featx.cli.options import (
    Actors,
    AsJson,
    BatchSize,
    Engine,
    FollowLinks,
    Images,
    Jobs,
    OnError,
    Out,
    PathColumn,
    ProjectionOption,
    Ray,
    Report,
    Seed,
    Source,
    Store,
    ValueRange,
    Workers,
    embedding_options,
    given,
    load_feature_files,
    make_cluster,
    make_unlabelled_source,
    report_options,
    said_of_report,
    tell_of_report,
)
from featx.cli.printing import (
    print_classes,
    print_evaluations,
    print_extraction,
    print_failures,
    print_json,
    print_leaderboard,
    print_rows,
    print_subgroups,
    print_thresholds,
    say,
)
from featx.errors import ConversionError

if TYPE_CHECKING:
    from featx.features.report import ExtractionReport
    from featx.jobs import PredictionReport, Predictions


def demo(
    *,
    store: Store = "cache",
    n_jobs: Jobs = None,
    random_state: Seed = 0,
    out: Out = None,
    report: Report = None,
    projection: ProjectionOption = None,
    as_json: AsJson = False,
) -> None:
    """The main job, end to end, on 2,624 images of solar cells."""
    from featx.demo import PUBLISHED, run_demo, write_demo_report
    from featx.files import check_target
    from featx.search_jobs import save_search

    check_target(out)
    reporting = report_options(report, None, projection, random_state=random_state, inputs=(out,))
    found = run_demo(
        store=store, n_jobs=-1 if n_jobs is None else n_jobs, random_state=random_state, verbose=1
    )
    if out is not None:
        save_search(found.result, out)
    samples = None if report is None else write_demo_report(report, found, reporting)
    if as_json:
        print_json({**found.to_dict(), "model": out, **said_of_report(report, samples)})
        return
    print_extraction(found.features.report)
    print_leaderboard(found.result.candidates())
    if found.result.test is not None:
        parts = {"held-out quarter": found.result.test, **found.by_type}
        print_evaluations(f"Best head: {found.result.search.best_head_}", parts, PUBLISHED)
    if out is not None:
        say(f"wrote {out}")
    if report is not None:
        tell_of_report(report, samples)


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    features: Annotated[
        list[Path], typer.Argument(help="Feature file, labelled; all of them where the head takes several.")
    ],
    *,
    by: Annotated[
        list[str] | None, typer.Option(help="Column of --manifest to score by the values of; repeatable.")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV file that lists the samples.")] = None,
    path_column: PathColumn = None,
    threshold: Annotated[
        float | None, typer.Option(help="Two classes: predict the second from this probability on.")
    ] = None,
    report: Report = None,
    images: Images = None,
    projection: ProjectionOption = None,
    random_state: Annotated[int, typer.Option(help="Seed of the intervals, and of the report.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Score a model, with 95 % intervals, on images that it was not fitted on."""
    from featx.heads.persistence import ModelFile
    from featx.jobs import evaluate_model

    reporting = report_options(
        report, images, projection, random_state=random_state, inputs=(model, manifest, *features)
    )
    loaded, sets = ModelFile.load(model), load_feature_files(features)
    options: Any = {
        "by": by or (),
        "manifest": manifest,
        "path_column": path_column,
        "random_state": random_state,
    }
    found = evaluate_model(loaded, sets, threshold=threshold, **options)
    samples = None
    if report is not None:
        from featx.report_jobs import write_evaluation_report

        samples = write_evaluation_report(report, loaded, sets, found, reporting)
    if found.flatters:
        say("warning: the model was fitted on all of these images: the figures flatter it", err=True)
    elif found.n_trained_on:
        say(f"left out {found.n_trained_on} samples that the model was fitted on", err=True)
    if found.n_excluded:
        say(f"left out {found.n_excluded} samples that the search had left out", err=True)
    if found.n_unlisted:
        say(f"{found.n_unlisted} samples are not in {manifest}: their values are missing", err=True)
    if as_json:
        print_json({**found.to_dict(), **said_of_report(report, samples)})
        return
    print_evaluations(str(model), {"samples": found.evaluation})
    print_classes(found.evaluation)
    print_subgroups(found.evaluation)
    print_thresholds(found.evaluation)
    if report is not None:
        tell_of_report(report, samples)


def predict(
    model: Annotated[Path, typer.Argument(help="Model file, or an exported model.")],
    source: Source,
    *,
    out: Annotated[Path | None, typer.Option(help=".csv or .parquet file to write.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help=".keras file, where the model needs a backbone of your own.")
    ] = None,
    n_views: Annotated[
        int | None,
        typer.Option(help="Views to average over [default: as many as the model was fitted on]."),
    ] = None,
    batch_size: BatchSize = None,
    engine: Engine = None,
    store: Store = "cache",
    on_error: OnError = "raise",
    workers: Workers = None,
    path_column: PathColumn = None,
    value_range: ValueRange = None,
    follow_links: FollowLinks = False,
    ray: Ray = None,
    actors: Actors = None,
    as_json: AsJson = False,
) -> None:
    """Classify images: labels and probabilities.

    A model that was fitted on several views of each image averages over as many.
    """
    from featx.classifier import ImageClassifier
    from featx.files import check_target
    from featx.jobs import predict_images, predict_to_file
    from featx.model_jobs import is_exported, predict_exported
    from featx.models.exported import load_exported
    from featx.prediction_files import check_prediction_file

    check_target(out, model, source)
    check_prediction_file(out)
    columns: dict[str, Any] = {
        "path_column": path_column,
        "value_range": value_range,
        "follow_links": follow_links or None,
    }
    options: Any = {"on_error": on_error, "workers": workers, "verbose": 1}
    embedding = embedding_options(n_views=n_views, batch_size=batch_size, engine=engine)
    if is_exported(model):
        _refuse_embedding(model, {**embedding, **given(ray=ray, actors=actors)})
        images = make_unlabelled_source(source, **columns)
        found = predict_exported(load_exported(model), images, **options)
        if out is not None:
            found.save(out)
        _show_predictions(None if out else found, found.report, out, as_json=as_json)
        return
    options["cluster"] = make_cluster(ray, actors)
    classifier = ImageClassifier.load(model, backbone=backbone, store=store, **embedding)
    samples = make_unlabelled_source(source, classifier.extractors_[0].spec_.inputs, **columns)
    if out is None:
        found = predict_images(classifier, samples, **options)
        _show_predictions(found, found.report, None, as_json=as_json)
    else:
        report = predict_to_file(classifier, samples, out, **options)
        _show_predictions(None, report, out, as_json=as_json)


def _show_predictions(
    found: Predictions | None, report: ExtractionReport | PredictionReport, out: Path | None, *, as_json: bool
) -> None:
    """Predictions, or where they were written."""
    if as_json:
        from featx.jobs import counts_of

        print_json({"path": out, **(counts_of(report) if found is None else found.to_dict())})
        return
    print_failures(report)
    if found is None:
        say(f"wrote {out}")
        return
    rows = zip(found.sample_ids, found.labels, found.probabilities.max(axis=1), strict=True)
    print_rows(
        [
            {"image": sample_id, "label": label, "probability": f"{probability:.3f}"}
            for sample_id, label, probability in rows
            if label is not None
        ]
    )


def _refuse_embedding(model: Path, embedding: dict[str, Any]) -> None:
    """An exported model embeds nothing: it is one network, from an image to its classes."""
    for name, value in embedding.items():
        received = f"--{name.replace('_', '-')} {value} for the exported model {model}"
        raise ConversionError(explain(received, "a model file", "leave it out"))
