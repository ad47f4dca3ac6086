"""The command that compares two models: compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import (
    AsJson,
    Images,
    Report,
    load_feature_files,
    report_options,
    said_of_report,
    tell_of_report,
)
from featx.cli.printing import print_json, print_rows, say

if TYPE_CHECKING:
    from featx.comparison_jobs import ModelComparison
    from featx.insight.comparison import Comparison

_MAX_DIFFERING = 20
_METRICS = {
    "accuracy": "accuracy",
    "balanced accuracy": "balanced_accuracy",
    "ROC AUC": "roc_auc",
    "log loss (less is better)": "log_loss",
}
_RIGHT = {"a": "the first", "b": "the second", "neither": "neither"}


def compare(
    a: Annotated[Path, typer.Argument(help="Model file.")],
    b: Annotated[Path, typer.Argument(help="Model file of the same classes.")],
    features: Annotated[
        list[Path],
        typer.Argument(help="Feature files of the same images, labelled: all that the two models need."),
    ],
    *,
    out: Annotated[Path | None, typer.Option(help="CSV file to write: where the models differ.")] = None,
    report: Report = None,
    images: Images = None,
    random_state: Annotated[int, typer.Option(help="Seed of the intervals.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Which of two models is better, by a paired test on images that neither was fitted on."""
    from featx.comparison_jobs import compare_models
    from featx.files import check_target
    from featx.heads.persistence import ModelFile

    check_target(out, a, b, *features)
    reporting = report_options(report, images, random_state, (out, a, b, *features))
    models, sets = (ModelFile.load(a), ModelFile.load(b)), load_feature_files(features)
    found = compare_models((str(a), models[0]), (str(b), models[1]), sets, random_state=random_state)
    _warn(found)
    if out is not None:
        found.save_csv(out)
    samples = None
    if report is not None:
        from featx.report_jobs import write_comparison_report

        samples = write_comparison_report(report, models, sets, found, reporting)
    if as_json:
        print_json({**found.to_dict(), "path": out, **said_of_report(report, samples)})
        return
    say(found.verdict)
    print_rows(_metric_rows(found), title=f"{found.comparison.n_samples:,} images, 95 % paired intervals")
    print_rows(_count_rows(found))
    _print_differing(found, out)
    if report is not None:
        tell_of_report(report, samples)


def _warn(found: ModelComparison) -> None:
    for name in found.unknown:
        say(
            f"warning: {name} does not say what it was fitted on: the figures may flatter it",
            err=True,
        )
    if found.flatters:
        say("warning: one of the models was fitted on each of these images: the figures flatter it", err=True)
    elif found.n_trained_on:
        say(f"left out {found.n_trained_on} images that a model was fitted on", err=True)
    if found.n_excluded:
        say(f"left out {found.n_excluded} images that a search had left out", err=True)


def _metric_rows(found: ModelComparison) -> list[dict[str, str]]:
    rows = []
    for title, name in _METRICS.items():
        metric = getattr(found.comparison, name)
        if metric is not None:
            difference = f"{metric.difference:+.4f}"
            if metric.difference_ci is not None:
                low, high = metric.difference_ci
                difference += f" [{low:+.4f}, {high:+.4f}]"
            values = {f"first: {found.a}": f"{metric.a:.4f}", f"second: {found.b}": f"{metric.b:.4f}"}
            rows.append({"": title, **values, "first less second": difference})
    return rows


def _count_rows(found: ModelComparison) -> list[dict[str, str | int]]:
    comparison: Comparison = found.comparison
    return [
        {"": "first right", "second right": comparison.n_both_right,
         "second wrong": comparison.n_only_a_right},
        {"": "first wrong", "second right": comparison.n_only_b_right,
         "second wrong": comparison.n_both_wrong},
    ]  # fmt: skip


def _print_differing(found: ModelComparison, out: Path | None) -> None:
    n_differing = len(found.differing)
    if not n_differing:
        say("the models answer all images alike")
        return
    if out is not None:
        say(f"wrote {out}: {n_differing} images that they take for different classes")
        return
    rows = [
        {
            "image": sample.sample_id,
            "label": sample.label,
            "right": _RIGHT[sample.right],
            "first": _answered(sample.answer_a, sample.probability_a),
            "second": _answered(sample.answer_b, sample.probability_b),
        }
        for sample in found.differing[:_MAX_DIFFERING]
    ]
    more = f", the first {len(rows)} of {n_differing}; --out writes all" * (n_differing > len(rows))
    print_rows(rows, title=f"Images that they take for different classes{more}")


def _answered(label: str, probability: float | None) -> str:
    return label if probability is None else f"{label} {probability:.2f}"
