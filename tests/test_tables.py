"""Names come back as they were, and no spreadsheet runs one."""

import csv

import pytest

from featx.insight.exclusions import read_exclusions
from featx.insight.findings import Audit, Finding
from featx.tables import marked, save_table, unmarked

HOSTILE = ['=HYPERLINK("http://x","y")', "+1", "-1", "@SUM(A1)", "\tx", "\r=1", "\n=1", "'=1", "''+", "'"]


@pytest.mark.parametrize("name", [*HOSTILE, "a.png", "'quoted'", "", "a=1"])
def test_every_name_comes_back(name):
    assert unmarked(marked(name)) == name
    assert not marked(name).startswith(tuple("=+-@\t\r\n"))


@pytest.mark.parametrize("name", ["a.png", "'quoted'", "", "a=1", "=as a person lists it"])
def test_a_persons_own_list_is_taken_as_it_is(name):
    assert unmarked(name) == name


def test_cells_are_marked_and_numbers_stay(tmp_path):
    save_table(tmp_path / "t.csv", ["=name", "score"], [["=cmd|' /C calc'!A0", -1.5], ["\udcff", 2]])
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["'=name", "score"],
            ["'=cmd|' /C calc'!A0", "-1.5"],
            ["\\udcff", "2"],
        ]


def test_an_audit_of_hostile_names_is_read_as_it_was(tmp_path):
    findings = [Finding("outlier", (name,), 1.0, "far", (), (name,)) for name in HOSTILE]
    labels = dict.fromkeys(HOSTILE, "=cmd")
    Audit(10, 10, {}, tuple(findings), labels, {}, {}, (), 0.1).save_csv(tmp_path / "a.csv")
    assert read_exclusions(tmp_path / "a.csv").training == frozenset(HOSTILE)
    with (tmp_path / "a.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r\n"))]
