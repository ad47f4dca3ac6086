"""Tables and JSON: names of files and classes stay text, numbers stay numbers."""

import json

import numpy as np
import pytest

from featx.cli.printing import print_json, print_rows


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
