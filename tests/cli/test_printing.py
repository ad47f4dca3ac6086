"""Tables and JSON: names of files and classes stay text, numbers stay numbers."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from featx import evaluate
from featx.cli import printing
from featx.cli.printing import (
    limit_of,
    print_evaluations,
    print_extraction,
    print_failures,
    print_json,
    print_leaderboard,
    print_rows,
    print_subgroups,
    print_thresholds,
    stage_rows,
    told_apart,
)
from featx.errors import printable
from featx.features.difference import PrecisionDifference
from featx.features.report import STAGES, ExtractionReport, Oddity


def test_json_knows_numpy_paths_and_not_a_number(capsys, tmp_path):
    print_json({"a": np.float32(1.5), "b": np.arange(2), "c": tmp_path, "d": float("nan"), "e": (1, None)})
    assert json.loads(capsys.readouterr().out) == {
        "a": 1.5,
        "b": [0, 1],
        "c": str(tmp_path),
        "d": None,
        "e": [1, None],
    }


@pytest.mark.parametrize("name", ["[red]bold[/red]", "line\nbreak", "\x1b[31mred", "[/]"])
def test_odd_names_stay_one_line_of_text(capsys, name):
    print_rows([{"image": name, "label": "a"}])
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert len(output.splitlines()) == 5
    assert name.isprintable() is (name in output)


@pytest.mark.parametrize("name", ["m[v1].featx", "run[/1].featx", "[bold]x", "\x1b[31mred"])
def test_odd_names_of_columns_and_titles_stay_text(capsys, name):
    print_rows([{f"first: {name}": "1"}], title=f"On {name}")
    output = capsys.readouterr().out
    assert "\x1b" not in output
    shown = printable(name)
    assert f"first: {shown}" in output
    assert f"On {shown}" in output


def test_odd_names_in_lines_stay_text(capsys):
    oddity = Oddity("[red]moves", 1, ["a\x1b[2J.jpg\nwarning: b"])
    print_extraction(replace(report_of(), odd=(oddity,)))
    found = capsys.readouterr().err
    assert "\x1b" not in found
    assert len(found.splitlines()) == 1
    report = SimpleNamespace(
        n_failed=1, n_samples=1, failed=[SimpleNamespace(sample_id="[/1]\x1b[0m", reason="no\rimage")]
    )
    print_failures(report)
    found = capsys.readouterr().err
    assert "  [/1]\\x1b[0m: no\\rimage" in found.splitlines()


def test_no_command_prints_past_what_makes_names_safe():
    """Every line goes through say(), but for JSON and what __init__ itself makes printable."""
    folder = Path(printing.__file__).parent
    for path in sorted(folder.glob("*.py")):
        if path.name not in ("printing.py", "__init__.py"):
            assert not re.search(r"(typer\.echo|\bprint)\(", path.read_text()), path.name


def test_wide_cells_are_not_cut_in_a_pipe(capsys):
    print_rows([{"image": "x" * 150}])
    assert "x" * 150 in capsys.readouterr().out


def report_of(n_computed=10, **stages):
    """Ten seconds of work on ten images of two views."""
    engine = {"name": "keras", "precision": "float32", "batch_size": 32, "float32_share": 0.0, "why": "so"}
    spent = {**dict.fromkeys(STAGES, 0.0), **stages}
    rest = (10.0, 1.0, spent, 2, 2 * n_computed, engine if n_computed else {})
    return ExtractionReport("key", 10, 5, n_computed, 10 - n_computed, 0, (), *rest)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (
            {"wait": 7.0, "decode": 12.0, "read": 2.0, "forward": 2.0},
            "decoding images; faster with more --workers",
        ),
        (
            {"wait": 7.0, "decode": 2.0, "read": 12.0, "forward": 2.0},
            "reading files; faster from another disk",
        ),
        ({"wait": 1.0, "decode": 12.0, "forward": 7.0}, "the network; faster with --precision auto"),
        ({"start": 7.0, "forward": 2.0}, "starting the engine, which is remembered; nothing to do"),
        ({"write": 7.0, "forward": 2.0}, "--store on another disk"),
        ({"compare": 7.0, "forward": 2.0}, "comparing the precision with float32, once"),
    ],
)
def test_what_limits_a_run_and_what_to_do(stages, expected):
    assert expected in limit_of(report_of(**stages))


def test_nothing_is_advised_that_is_done_already():
    report = report_of(forward=7.0)
    report.engine.update(why="onnx and openvino not installed")
    assert limit_of(report).endswith('--precision auto, pip install "featx[openvino]", a GPU')
    report.engine.update(name="openvino", precision="bfloat16")
    assert limit_of(report) == "the network; faster with a GPU"


def test_the_stages_of_the_main_thread_make_up_the_run():
    rows = stage_rows(report_of(read=1.0, decode=8.0, start=3.0, forward=4.0, wait=2.0))
    shares = {row["stage"]: (row["seconds"], row["of the run"], row["in"]) for row in rows}
    assert shares == {
        "read": ("1.0", "10%", "threads, summed"),
        "decode": ("8.0", "80%", "threads, summed"),
        "start": ("3.0", "30%", "main thread"),
        "forward": ("4.0", "40%", "main thread"),
        "wait": ("2.0", "20%", "main thread"),
        "other": ("1.0", "10%", "main thread"),
    }


def test_an_extraction_says_what_ran_and_what_it_cost(capsys):
    difference = PrecisionDifference("bfloat16", 256, 0.9997, 0.9991, 0.84, 0.85)
    print_extraction(report_of(forward=7.0), difference)
    output = capsys.readouterr().out
    assert "10 images of 2 views: 10 embedded (20 rows)" in output
    assert "forward" in output
    assert "engine: keras in float32, batches of 32: so" in output
    assert "cosine 0.999700 on average, 0.999100 at least; accuracy 0.8400 [0.790, 0.880], " in output
    assert "in float32 0.8500 [0.801, 0.889]" in output
    print_extraction(report_of(0), PrecisionDifference("bfloat16", 3, 0.9997, 0.9991, None, None))
    output = capsys.readouterr().out
    assert "engine" not in output
    assert "stage" not in output
    assert "0.999100 at least\n" in output


# ----------------------------------------------------------------------------- figures and their intervals


def candidate_of(rank, score, p_value, **further):
    row = {"rank": rank, "head": "knn", "features": "f", "params": {"knn__n_neighbors": 3}}
    interval = None if score is None else (score - 0.02, score + 0.02)
    found = {"mean_test_score": score, "std_test_score": 0.01, "mean_fit_time": 0.1, "score_ci": interval}
    return {**row, **found, "p_value": p_value, **further}


def test_scores_of_candidates_have_intervals_and_a_test(capsys):
    print_leaderboard([candidate_of(1, 0.84, 1.0), candidate_of(2, 0.83, 0.3), candidate_of(3, 0.7, 1e-6)])
    output = capsys.readouterr().out
    assert "0.8400 [0.820, 0.860]" in output
    assert "0.3" in output.splitlines()[5]
    assert "<0.0001" in output.splitlines()[6]
    assert "1 of 2 others cannot be told from the best" in output


def test_further_scores_have_intervals_too(capsys):
    further = {"mean_test_roc_auc": 0.84, "ci_test_roc_auc": None}
    further |= {"mean_test_f1": 0.5, "ci_test_f1": (0.4, 0.6)}
    print_leaderboard([candidate_of(1, 0.84, 1.0, **further)])
    output = capsys.readouterr().out
    assert "0.5000 [0.400, 0.600]" in output
    assert "roc_auc" not in output


def test_what_the_folds_tell_of_candidates():
    first = candidate_of(1, 0.9, 1.0)
    assert told_apart([first]) == told_apart([first, candidate_of(2, 0.8, None)]) == ""
    others = [candidate_of(2, 0.8, 0.01), candidate_of(3, 0.7, 0.001)]
    told = told_apart([first, *others])
    assert told.startswith("the folds tell the best from each of the 2 others (p: ")
    assert "corrected for 2 tests by Holm" in told


def draw_evaluation(**options):
    X, y = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) % 2
    X[:, 0] += y
    return evaluate(GaussianNB().fit(X, y), X, y, n_resamples=20, **options)


def test_thresholds_are_shown_with_the_warning_that_they_flatter(capsys):
    print_thresholds(draw_evaluation(class_names=["bad", "[red]good[/red]"]))
    output = capsys.readouterr().out
    assert "Predicting [red]good[/red] from a probability on" in output
    assert "best balanced accuracy" in output
    assert "flatters; featx search --tune-threshold" in output
    print_thresholds(draw_evaluation(curves=False))
    assert capsys.readouterr().out == ""


def test_subgroups_are_shown_with_their_test(capsys):
    print_subgroups(draw_evaluation(subgroups={"kind": ["a"] * 100 + ["[b]"] * 95 + [None] * 5}))
    output = capsys.readouterr().out
    assert "[b]" in output
    missing = next(line for line in output.splitlines() if "missing" in line)
    assert missing.rstrip("│ ").endswith("-")
    assert "by Holm" in output
    print_subgroups(draw_evaluation())
    assert capsys.readouterr().out == ""


def test_published_figures_are_said_to_have_no_intervals(capsys):
    evaluation = draw_evaluation()
    print_evaluations("Best", {"test": evaluation}, [("paper", 0.8, 0.9)])
    output = capsys.readouterr().out
    assert "published figures stand without intervals" in output
    assert f"{evaluation.brier:.4f} [" in output
