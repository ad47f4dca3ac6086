"""Tables and JSON: names of files and classes stay text, numbers stay numbers."""

import json

import numpy as np
import pytest

from featx.cli.printing import limit_of, print_extraction, print_json, print_rows, stage_rows
from featx.features.difference import PrecisionDifference
from featx.features.report import STAGES, ExtractionReport


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
    assert "cosine 0.999700 on average, 0.999100 at least; accuracy 0.8400, in float32 0.8500" in output
    print_extraction(report_of(0), PrecisionDifference("bfloat16", 3, 0.9997, 0.9991, None, None))
    output = capsys.readouterr().out
    assert "engine" not in output
    assert "stage" not in output
    assert "0.999100 at least\n" in output
