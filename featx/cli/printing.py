"""Tables for people, and one JSON object for programs."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from featx.errors import printable
from featx.remote import RemotePath

if TYPE_CHECKING:
    from featx.features.precision_difference import PrecisionDifference
    from featx.features.report import ExtractionReport
    from featx.insight.evaluation import Evaluation
    from featx.jobs import PredictionReport
    from featx.search_jobs import Excluded

_MAX_FAILURES = 20
_MAX_CANDIDATES = 10
_PIPE_COLUMNS = 200

# What an extraction's time goes into.
_STAGES = {
    "read": "files from the disk",
    "decode": "pixels of the images, resized",
    "start": "load and compile the network, choose the engine",
    "forward": "the network",
    "write": "rows into the store",
    "wait": "for images: the threads are behind",
    "compare": "the precision with float32",
    "other": "listing, hashing, looking up",
}
_THREAD_STAGES = ("read", "decode")
# What to do where a stage of the main thread, or of the threads that it waits for, takes most.
_REMEDIES = {
    "wait": "",
    "forward": "the network; faster with",
    "start": "starting the engine, which is remembered; nothing to do",
    "write": "writing to the store; faster with --store on another disk",
    "compare": "comparing the precision with float32, once for these images; nothing to do",
}
_THREAD_REMEDIES = {
    "read": "reading files; faster from another disk",
    "decode": "decoding images; faster with more --workers, or smaller files, already near the input size",
}


def print_json(value: Any) -> None:
    """One JSON value on stdout; NumPy's numbers as plain ones, not-a-number as null."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=True))


def say(text: str, *, err: bool = False) -> None:
    """One line for people, with names of files and classes as they can be shown in a terminal."""
    typer.echo(printable(text), err=err)


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False, title: str | None = None) -> None:
    """Rows of one shape as a table, or as a JSON list."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("nothing")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Text, because a file, class or column may be named like rich's own markup.
    table = Table(title=None if title is None else Text(printable(title)), title_justify="left")
    for name, value in rows[0].items():
        # Folded, not cut: half a value is none.
        justify: Literal["right", "left"] = "right" if isinstance(value, int | float) else "left"
        table.add_column(Text(printable(name)), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_cell(value))) for value in row.values()))
    # A pipe has no width of its own, and cells cut at 80 columns help nobody downstream.
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)


def print_extraction(report: ExtractionReport, difference: PrecisionDifference | None = None) -> None:
    """What an extraction did, where the time went, and what the precision cost."""
    views = f" of {report.n_views} views" if report.n_views > 1 else ""
    rows = f" ({report.n_rows_computed:,} rows)" if report.n_views > 1 else ""
    say(
        f"{report.n_samples:,} images{views}: {report.n_computed:,} embedded{rows}, "
        f"{report.n_cached:,} from the store, {report.n_failed:,} failed; "
        f"{report.n_features:,} features in {report.seconds:.1f} s ({report.images_per_second:,.0f} images/s)"
    )
    if report.n_rows_computed:
        print_rows(stage_rows(report))
        say(f"what limits: {limit_of(report)}")
        if report.engine:
            say(_engine_line(report.engine))
    if difference is not None:
        say(_difference_line(difference))
    for oddity in report.odd:
        more = ", ..." if oddity.n_samples > len(oddity.sample_ids) else ""
        names = ", ".join(oddity.sample_ids)
        say(f"odd, and embedded: {oddity.n_samples:,} images, {oddity.what} ({names}{more})", err=True)
    print_failures(report)


def stage_rows(report: ExtractionReport) -> list[dict[str, str]]:
    """The stages of an extraction that took time, and what none of them accounts for."""
    spent = {**report.stages, "other": _other_s(report)}
    return [
        {
            "stage": stage,
            "seconds": f"{seconds:.1f}",
            "of the run": f"{seconds / report.seconds:.0%}",
            "in": "threads, summed" if stage in _THREAD_STAGES else "main thread",
            "": _STAGES[stage],
        }
        for stage, seconds in spent.items()
        if seconds >= 0.05
    ]


def _other_s(report: ExtractionReport) -> float:
    """Seconds of a run that none of its stages accounts for."""
    return report.seconds - sum(
        seconds for stage, seconds in report.stages.items() if stage not in _THREAD_STAGES
    )


def limit_of(report: ExtractionReport) -> str:
    """What an extraction spent most of its main thread on, and what can be done about it."""
    spent = report.stages
    stage = max(_REMEDIES, key=lambda name: spent.get(name, 0.0))
    if _other_s(report) > spent.get(stage, 0.0):
        return "loading, listing and looking up; of many images it is a small part"
    if stage == "wait":
        stage = max(_THREAD_STAGES, key=lambda name: spent.get(name, 0.0))
    if stage != "forward":
        return {**_REMEDIES, **_THREAD_REMEDIES}[stage]
    remedies = ["--precision auto"] if report.engine.get("precision") == "float32" else []
    is_slower = report.engine.get("name") == "keras" and "not installed" in report.engine.get("why", "")
    remedies += ['pip install "featx[openvino]"'] if is_slower else []
    return f"{_REMEDIES[stage]} {', '.join([*remedies, 'a GPU'])}"


def _engine_line(engine: Mapping[str, Any]) -> str:
    share = engine["float32_share"]
    kept = f" (the first {share:.0%} of the network in float32)" if share else ""
    batches = f"batches of {engine['batch_size']}"
    return f"engine: {engine['name']} in {engine['precision']}{kept}, {batches}: {engine['why']}"


def _difference_line(difference: PrecisionDifference) -> str:
    line = (
        f"{difference.precision} beside float32 on {difference.n_samples:,} images: cosine "
        f"{difference.cosine_mean:.6f} on average, {difference.cosine_min:.6f} at least"
    )
    if difference.accuracy is None or difference.accuracy_float32 is None:
        return line
    from featx.insight.proportions import wilson_interval

    # Of folds that test every image once, so a share of them all.
    accuracy, in_float32 = (
        with_interval(share, wilson_interval(share, difference.n_samples))
        for share in (difference.accuracy, difference.accuracy_float32)
    )
    return f"{line}; accuracy {accuracy}, in float32 {in_float32}"


def print_failures(report: ExtractionReport | PredictionReport) -> None:
    """The images that failed, on stderr."""
    if report.n_failed:
        say(f"{report.n_failed:,} of {report.n_samples:,} images failed:", err=True)
    for failure in report.failed[:_MAX_FAILURES]:
        say(f"  {failure.sample_id}: {failure.reason}", err=True)
    if report.n_failed > _MAX_FAILURES:
        say(f"  and {report.n_failed - _MAX_FAILURES:,} more (all of them with --json)", err=True)


def print_excluded(excluded: Excluded | None) -> None:
    """What a search left out because it was told to, on stderr."""
    if excluded is None:
        return
    trained = f"{excluded.n_training:,} more of the training part"
    say(f"excluded: {excluded.n_everywhere:,} samples everywhere, {trained}", err=True)
    if excluded.n_unknown:
        say(f"{excluded.n_unknown:,} ids to exclude are of no sample with a label here", err=True)


def print_leaderboard(candidates: Sequence[Mapping[str, Any]]) -> None:
    """The best candidates, by their mean score over the folds; what they take where there is a choice."""
    is_choice = len({candidate["features"] for candidate in candidates}) > 1
    further = [name.removeprefix("ci_test_") for name in candidates[0] if name.startswith("ci_test_")]
    rows = [
        {
            "rank": candidate["rank"],
            **({"features": candidate["features"]} if is_choice else {}),
            "head": candidate["head"],
            "parameters": ", ".join(
                f"{name.rpartition('__')[2]}={_cell(value)}" for name, value in candidate["params"].items()
            ),
            "cv score": with_interval(candidate["mean_test_score"], candidate["score_ci"]),
            "p": "-" if index == 0 else p_value_text(candidate["p_value"]),
            # The first of several scores is the one that ranks, and stands there already.
            **{
                name: with_interval(candidate[f"mean_test_{name}"], candidate[f"ci_test_{name}"])
                for name in further[1:]
            },
            "fit s": f"{candidate['mean_fit_time']:.2f}",
        }
        for index, candidate in enumerate(candidates[:_MAX_CANDIDATES])
    ]
    title = f"Best {len(rows)} of {len(candidates)} candidates, mean over the folds with 95 % interval"
    print_rows(rows, title=title)
    if told := told_apart(candidates):
        say(told)


def told_apart(candidates: Sequence[Mapping[str, Any]]) -> str:
    """How many candidates the folds can tell from the best, in words; "" where none could be compared.

    Parameters
    ----------
    candidates : sequence of mapping
        From best to worst, each with ``p_value``, corrected for their number.
    """
    from featx.insight.candidates import SIGNIFICANT

    p_values = [other["p_value"] for other in candidates[1:] if other["p_value"] is not None]
    if not p_values:
        return ""
    n_alike = sum(p_value >= SIGNIFICANT for p_value in p_values)
    found = (
        f"{n_alike} of {len(p_values)} others cannot be told from the best"
        if n_alike
        else f"the folds tell the best from each of the {len(p_values)} others"
    )
    test = "t-test over the folds, whose training parts overlap"
    return f"{found} (p: {test}, corrected for {len(p_values)} tests by Holm; at {SIGNIFICANT:.0%})"


def print_evaluations(
    title: str, evaluations: Mapping[str, Evaluation], published: Sequence[tuple[str, float, float]] = ()
) -> None:
    """Metrics side by side, each with its 95 % interval; below them figures to compare with."""
    rows = [
        {
            "": name,
            "n": str(evaluation.n_samples),
            "accuracy": with_interval(evaluation.accuracy, evaluation.accuracy_ci),
            "balanced": with_interval(evaluation.balanced_accuracy, evaluation.balanced_accuracy_ci),
            "ROC AUC": with_interval(evaluation.roc_auc, evaluation.roc_auc_ci),
            "log loss": with_interval(evaluation.log_loss, evaluation.log_loss_ci),
            "Brier": with_interval(evaluation.brier, evaluation.brier_ci),
            "ECE": with_interval(evaluation.ece, evaluation.ece_ci),
        }
        for name, evaluation in evaluations.items()
    ]
    rows += [
        {"": name, "n": "", "accuracy": f"{accuracy:.4f}", "balanced": "", "ROC AUC": f"{roc_auc:.4f}",
         "log loss": "", "Brier": "", "ECE": ""}
        for name, accuracy, roc_auc in published
    ]  # fmt: skip
    print_rows(rows, title=f"{title} (95 % intervals: Wilson's of shares, the bootstrap's of the others)")
    if published:
        say("published figures stand without intervals, as they were published")


def print_classes(evaluation: Evaluation) -> None:
    """Metrics class by class."""
    rows = [
        {
            "class": part.name,
            "n": part.n_samples,
            "precision": with_interval(part.precision, part.precision_ci),
            "recall": with_interval(part.recall, part.recall_ci),
            "F1": with_interval(part.f1, part.f1_ci),
        }
        for part in evaluation.per_class
    ]
    print_rows(rows)


def print_thresholds(evaluation: Evaluation) -> None:
    """What other thresholds would give, of two classes, and that such a choice flatters."""
    if evaluation.curves is None or not evaluation.curves.thresholds:
        return
    from featx.insight.curves import THRESHOLD_NOTE

    rows = [
        {
            "threshold": choice.name,
            "from": f"{choice.threshold:.4f}",
            "predicted": choice.n_positive_predicted,
            "precision": with_interval(choice.precision, choice.precision_ci),
            "recall": with_interval(choice.recall, choice.recall_ci),
            "specificity": with_interval(choice.specificity, choice.specificity_ci),
            "F1": with_interval(choice.f1, choice.f1_ci),
            "accuracy": with_interval(choice.accuracy, choice.accuracy_ci),
        }
        for choice in evaluation.curves.thresholds
    ]
    second = evaluation.class_names[1]
    print_rows(rows, title=f"Predicting {second} from a probability on (95 % Wilson intervals)")
    say(f"note: {THRESHOLD_NOTE}")


def print_subgroups(evaluation: Evaluation) -> None:
    """A head on each value of the columns that it was scored by, against all other samples."""
    if not evaluation.subgroups:
        return
    rows = [
        {
            "column": part.column,
            "value": part.value,
            "n": part.n_samples,
            "accuracy": with_interval(part.accuracy, part.accuracy_ci),
            "ROC AUC": with_interval(part.roc_auc, part.roc_auc_ci),
            "minus others": with_interval(part.difference, part.difference_ci),
            "p": p_value_text(part.p_value),
        }
        for part in evaluation.subgroups
    ]
    print_rows(rows, title="By subgroup (95 % intervals; p corrected for the number of values, by Holm)")


def p_value_text(p_value: float | None) -> str:
    """A p-value in two digits.

    Examples
    --------
    >>> p_value_text(0.0321), p_value_text(1e-9), p_value_text(None)
    ('0.032', '<0.0001', '-')
    """
    if p_value is None:
        return "-"
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.2g}"


def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning as one line on stderr; its place in the code is of no use to who runs a command."""
    del category
    say(f"warning: {message!s}", err=True)


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """A figure and its interval; "-" where there is none.

    Examples
    --------
    >>> with_interval(0.91, (0.87, 0.94)), with_interval(0.91, None), with_interval(None, None)
    ('0.9100 [0.870, 0.940]', '0.9100', '-')
    """
    if value is None or interval is None:
        return "-" if value is None else f"{value:.4f}"
    return f"{value:.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return " x ".join(map(str, value))
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path | RemotePath):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else repr(value)
