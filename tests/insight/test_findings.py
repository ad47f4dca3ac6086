"""What an audit found, as rows and as a file."""

import csv
import json

import pytest

from featx.insight.findings import KINDS, Audit, Finding, kinds_of


def audit_of(*findings, **known):
    options = {"labels": {}, "parts": {}, **known}
    return Audit(9, 9, {"cat": 9}, findings, **options, thresholds={}, notes=(), seconds=0.0)


COPIES = Finding("exact_duplicate", ("a", "b"), 1.0, "the same bytes", ("parts",), ("b",))
SUSPECT = Finding("suspected_label", ("c",), 0.75, "labelled 'cat'", (), ("c",))
SMALL = Finding("class_balance", (), 12.0, "the class 'cat' has 3 of 39 samples")


class TestAudit:
    def test_a_set_as_large_as_the_data_is_written_at_once(self):
        class Searched(tuple):
            """Names that may not be looked through for each of them: of 60,000 that takes a minute."""

            __slots__ = ()

            def __contains__(self, name):
                pytest.fail(f"all names are looked through for {name}")

        names = Searched(map(str, range(60_000)))
        rows = audit_of(Finding("exact_duplicate", names, 1.0, "", (), Searched(names[1:]))).to_rows()
        assert [row["exclude"] for row in rows[:2]] == ["", "everywhere"]

    def test_counts_name_every_kind(self):
        counts = audit_of(COPIES, SUSPECT).counts()
        assert list(counts) == list(KINDS)
        assert (counts["exact_duplicate"], counts["suspected_label"], counts["outlier"]) == (1, 1, 0)

    def test_rows_say_what_is_left_out_and_where(self):
        rows = audit_of(COPIES, SUSPECT, parts={"a": "train", "b": "test"}).to_rows()
        assert [(row["sample_id"], row["exclude"]) for row in rows] == [
            ("a", ""),
            ("b", "everywhere"),
            ("c", "training"),
        ]
        assert [row["finding"] for row in rows] == [0, 0, 1]
        assert (rows[0]["part"], rows[1]["across"]) == ("train", "parts")

    def test_a_finding_about_a_class_has_a_row_without_a_sample(self):
        (row,) = audit_of(SMALL).to_rows()
        assert (row["sample_id"], row["exclude"]) == ("", "")
        assert "cat" in row["reason"]

    def test_the_file_is_read_again_whatever_the_names(self, tmp_path):
        names = ('a,"b"', "line\nbreak", "é ü", "=1+1", "bad \udce9")
        found = audit_of(Finding("outlier", names, 3.0, "far", (), names))
        found.save_csv(tmp_path / "a.csv")
        with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["sample_id"] for row in rows] == [*names[:3], "'=1+1", "bad \\udce9"]
        assert {row["exclude"] for row in rows} == {"training"}

    def test_everything_is_plain(self):
        assert json.loads(json.dumps(audit_of(COPIES, SMALL).to_dict()))["counts"]["class_balance"] == 1


def test_the_kinds_of_a_sample():
    assert kinds_of([COPIES, SUSPECT, Finding("outlier", ("c", "c"), 1.0, "")]) == {
        "a": ["exact_duplicate"],
        "b": ["exact_duplicate"],
        "c": ["suspected_label", "outlier"],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_what_it_is(kind):
    title, score, scope = KINDS[kind]
    assert title
    assert score
    assert scope in ("everywhere", "training", "")
