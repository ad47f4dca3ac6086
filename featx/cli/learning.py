"""The command that asks whether more labels would help: curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import AsJson, Jobs, load_feature_files
from featx.cli.printing import print_json, print_rows, say

if TYPE_CHECKING:
    from featx.insight.few_shot import FewShotCurve
    from featx.insight.learning import LearningCurve
    from featx.insight.metrics import Interval


def curve(
    features: Annotated[list[Path], typer.Argument(help="Feature files of the same images, labelled.")],
    *,
    model: Annotated[
        Path | None, typer.Option(help="Model file: its head is fitted anew, with its parameters.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="A head by its name, its parameters searched once [default: a fast ridge]."),
    ] = None,
    scoring: Annotated[str, typer.Option(help="accuracy, balanced_accuracy or roc_auc.")] = "accuracy",
    n_repeats: Annotated[int, typer.Option(help="Times that a quarter of the images is held out.")] = 10,
    shots: Annotated[
        list[int] | None, typer.Option(help="Labels of every class; repeatable [default: 1 2 5 10 20 50].")
    ] = None,
    n_jobs: Jobs = None,
    random_state: Annotated[int, typer.Option(help="Seed of the parts.")] = 0,
    out: Annotated[Path | None, typer.Option(help="SVG file to write: the learning curve as a plot.")] = None,
    as_json: AsJson = False,
) -> None:
    """Would more labels help? The score by the number of labels, carried on to two and four times as many."""
    from featx.checks import explain
    from featx.errors import HeadError
    from featx.heads.persistence import ModelFile
    from featx.learning_jobs import check_curve_plot, draw_label_curves

    if out is not None:
        check_curve_plot(out, *features, *([] if model is None else [model]))
    if model is not None and head is not None:
        raise HeadError(explain("--model and --head", "one of them", "leave the other out"))
    found = draw_label_curves(
        load_feature_files(features),
        model=None if model is None else ModelFile.load(model),
        head=head,
        scoring=scoring,
        n_repeats=n_repeats,
        n_jobs=-1 if n_jobs is None else n_jobs,
        random_state=random_state,
        **({"shots": shots} if shots else {}),
    )
    if found.n_unlabelled:
        say(f"{found.n_unlabelled} images without a label were left out", err=True)
    if out is not None:
        found.save_plot(out)
    if as_json:
        print_json({**found.to_dict(), "path": out})
        return
    say(found.verdict)
    _print_learning(found.learning, found.head)
    _print_few_shots(found.few_shot)
    if out is not None:
        say(f"wrote {out}")


def _print_learning(learning: LearningCurve, head: str) -> None:
    title = f"{learning.scoring.replace('_', ' ')}, 95 % interval"
    measured = [
        {"labels": f"{n_samples:,}", title: _with_interval(score, ends), "more than now, in points": ""}
        for n_samples, score, ends in zip(learning.n_samples, learning.score, learning.score_ci, strict=True)
    ]
    projected = [
        {
            "labels": f"{each.n_samples:,} (expected)",
            title: _with_interval(each.score, each.score_ci),
            "more than now, in points": f"{100 * each.gain:+.1f} [{100 * each.gain_ci[0]:+.1f}, "
            f"{100 * each.gain_ci[1]:+.1f}]",
        }
        for each in learning.projected
    ]
    print_rows([*measured, *projected], title=f"{head}; now {learning.n_total:,} labels")


def _print_few_shots(few_shot: FewShotCurve) -> None:
    rows = [
        {"class": name, "to train on": str(n_available), **_cells(few_shot, recall, intervals)}
        for name, n_available, recall, intervals in zip(
            few_shot.class_names, few_shot.n_available, few_shot.recall, few_shot.recall_ci, strict=True
        )
    ]
    overall = _cells(few_shot, few_shot.accuracy, few_shot.accuracy_ci)
    rows.append({"class": "all (accuracy)", "to train on": "", **overall})
    print_rows(rows, title="Recall by labels of each class, 95 % interval (ridge; - where a class has fewer)")


def _cells(
    few_shot: FewShotCurve, values: tuple[float | None, ...], intervals: tuple[Interval | None, ...]
) -> dict[str, str]:
    return {
        f"{n_shots:,}": _with_interval(value, ends)
        for n_shots, value, ends in zip(few_shot.shots, values, intervals, strict=True)
    }


def _with_interval(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"
