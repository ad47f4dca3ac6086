"""Commands that find and use heads: demo, search, evaluate, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from featx.checks import explain
from featx.cli.options import (
    AsJson,
    FollowLinks,
    Jobs,
    OnError,
    PathColumn,
    Seed,
    Source,
    Store,
    ValueRange,
    Workers,
    make_source,
    make_unlabelled_source,
)
from featx.cli.printing import (
    print_classes,
    print_evaluations,
    print_extraction,
    print_failures,
    print_json,
    print_leaderboard,
    print_rows,
)
from featx.errors import HeadError

Out = Annotated[Path | None, typer.Option(help="Model file to write.")]


def demo(
    *,
    store: Store = Path("cache"),
    n_jobs: Jobs = None,
    random_state: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """The main job, end to end, on 2,624 images of solar cells."""
    from featx.demo import PUBLISHED, run_demo
    from featx.files import check_target
    from featx.jobs import save_search

    check_target(out)
    found = run_demo(
        store=store, n_jobs=-1 if n_jobs is None else n_jobs, random_state=random_state, verbose=1
    )
    if out is not None:
        save_search(found.result, found.features, out)
    if as_json:
        print_json({**found.to_dict(), "model": out})
        return
    print_extraction(found.features.report)
    print_leaderboard(found.result.search.leaderboard())
    if found.result.test is not None:
        parts = {"held-out quarter": found.result.test, **found.by_type}
        print_evaluations(f"Best head: {found.result.search.best_head_}", parts, PUBLISHED)
    if out is not None:
        typer.echo(f"wrote {out}")


def search(
    features: Annotated[
        str, typer.Argument(help="Feature file; or images, as extract takes them, to embed first.")
    ],
    *,
    heads: Annotated[list[str] | None, typer.Option("--head", help="Head or space; repeatable.")] = None,
    test_size: Annotated[float, typer.Option(help="Share set aside; 0 trains on everything.")] = 0.25,
    cv: Annotated[int, typer.Option(help="Folds.")] = 5,
    scoring: Annotated[str, typer.Option(help="What to maximise, as scikit-learn names it.")] = "accuracy",
    time_budget_s: Annotated[float | None, typer.Option(help="Start no candidate after this.")] = None,
    n_jobs: Jobs = None,
    random_state: Seed = 0,
    out: Out = None,
    backbone: Annotated[
        str | None, typer.Option(help="Images: what embeds them [default: efficientnet_lite0].")
    ] = None,
    store: Store = Path("cache"),
    on_error: OnError = "raise",
    as_json: AsJson = False,
) -> None:
    """Find the best head, and score it on a part set aside."""
    from featx.features.extraction import extract
    from featx.features.feature_set import FeatureSet
    from featx.files import check_target
    from featx.heads.search import HeadSearch
    from featx.jobs import save_search, search_features

    check_target(out, features)
    if FeatureSet.is_file(features):
        if backbone is not None:
            received, expected = f"--backbone {backbone} for a feature file", "images to embed with it"
            raise HeadError(explain(received, expected, "pass the images, or leave --backbone out"))
        loaded = FeatureSet.load(features)
    else:
        backbone = backbone or "efficientnet_lite0"
        loaded = extract(make_source(features), backbone, store=store, on_error=on_error, verbose=1)  # type: ignore[arg-type]
    searcher = HeadSearch(
        heads or "default",
        scoring=scoring,
        cv=cv,
        n_jobs=-1 if n_jobs is None else n_jobs,
        time_budget_s=time_budget_s,
        random_state=random_state,
        verbose=1,
    )
    result = search_features(loaded, searcher, test_size=test_size, random_state=random_state)
    if out is not None:
        save_search(result, loaded, out)
    if as_json:
        print_json({**result.to_dict(), "model": out})
        return
    if loaded.report is not None:
        print_extraction(loaded.report)
    print_leaderboard(searcher.leaderboard())
    if result.test is not None:
        print_evaluations(f"Best head: {searcher.best_head_}", {"held-out part": result.test})
    if result.n_unlabelled:
        typer.echo(f"{result.n_unlabelled} samples without a label were left out", err=True)
    if out is not None:
        typer.echo(f"wrote {out}")


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    features: Annotated[Path, typer.Argument(help="Feature file, labelled.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Score a model, with 95 % intervals, on images that it was not fitted on."""
    from featx.features.feature_set import FeatureSet
    from featx.heads.persistence import ModelFile
    from featx.jobs import evaluate_model

    found = evaluate_model(ModelFile.load(model), FeatureSet.load(features))
    if found.flatters:
        typer.echo("warning: the model was fitted on all of these images: the figures flatter it", err=True)
    elif found.n_trained_on:
        typer.echo(f"left out {found.n_trained_on} samples that the model was fitted on", err=True)
    if as_json:
        print_json(found.to_dict())
        return
    print_evaluations(str(model), {"samples": found.evaluation})
    print_classes(found.evaluation)


def predict(
    model: Annotated[Path, typer.Argument(help="Model file, or an exported model.")],
    source: Source,
    *,
    out: Annotated[Path | None, typer.Option(help="CSV file to write.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help=".keras file, where the model needs a backbone of your own.")
    ] = None,
    store: Store = Path("cache"),
    on_error: OnError = "raise",
    workers: Workers = None,
    path_column: PathColumn = None,
    value_range: ValueRange = None,
    follow_links: FollowLinks = False,
    as_json: AsJson = False,
) -> None:
    """Classify images: labels and probabilities."""
    from featx.classifier import ImageClassifier
    from featx.files import check_target
    from featx.jobs import predict_images
    from featx.model_jobs import is_exported, predict_exported
    from featx.models.exported import load_exported

    check_target(out, model, source)
    images = make_unlabelled_source(
        source, path_column=path_column, value_range=value_range, follow_links=follow_links or None
    )
    options: Any = {"on_error": on_error, "workers": workers, "verbose": 1}
    if is_exported(model):
        found = predict_exported(load_exported(model), images, **options)
    else:
        classifier = ImageClassifier.load(model, backbone=backbone, store=store)
        found = predict_images(classifier, images, **options)
    if out is not None:
        found.save_csv(out)
    if as_json:
        details = found.to_dict()
        if out is not None:
            del details["predictions"]
        print_json({"path": out, **details})
        return
    print_failures(found.report)
    if out is not None:
        typer.echo(f"wrote {out}")
        return
    rows = zip(found.sample_ids, found.labels, found.probabilities.max(axis=1), strict=True)
    print_rows(
        [
            {"image": sample_id, "label": label, "probability": f"{probability:.3f}"}
            for sample_id, label, probability in rows
            if label is not None
        ]
    )
