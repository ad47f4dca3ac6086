"""Which samples a search leaves out, read from what people and audits write."""

import os

import pytest

from featx.errors import HeadError
from featx.insight.exclusions import Exclusions, as_exclusions, exclusions_of, read_exclusions
from tests.insight.test_findings import COPIES, SMALL, SUSPECT, audit_of


def written(tmp_path, content):
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestRead:
    def test_an_audit_and_its_file_say_the_same(self, tmp_path):
        audit = audit_of(COPIES, SUSPECT, SMALL)
        audit.save_csv(tmp_path / "x.csv")
        found = exclusions_of(audit)
        assert read_exclusions(tmp_path / "x.csv") == found
        assert (found.everywhere, found.training) == (frozenset({"b"}), frozenset({"c"}))

    def test_by_which_parts_labels_others_were_judged(self, tmp_path):
        header = "sample_id,exclude,kind,part\n"
        suspect = "a,training,suspected_label,train\n"
        others = "b,,suspected_label,test\nc,training,outlier,train\nd,training,outlier,test\n"
        others += ",,class_balance,\n"
        found = read_exclusions(written(tmp_path, header + suspect + others))
        assert (found.judging, found.not_judging) == (frozenset("ac"), frozenset("bd"))
        assert not found.by_all_labels
        assert not read_exclusions(written(tmp_path, header + others)).judging
        unparted = read_exclusions(written(tmp_path, header + "a,training,suspected_label,\n"))
        assert unparted.by_all_labels
        assert (unparted | found).judging == found.judging
        assert (found | unparted).by_all_labels

    def test_a_list_of_ids_is_left_out_everywhere(self, tmp_path):
        found = read_exclusions(written(tmp_path, "sample_id\na\nb\n\n"))
        assert found == Exclusions(frozenset("ab"), frozenset())

    def test_everywhere_counts_more_than_training(self, tmp_path):
        found = read_exclusions(written(tmp_path, "exclude,sample_id\ntraining,a\neverywhere,a\n,b\n"))
        assert found == Exclusions(frozenset("a"), frozenset())

    def test_a_spreadsheets_byte_order_mark_and_line_ends(self, tmp_path):
        assert len(read_exclusions(written(tmp_path, b"\xef\xbb\xbfsample_id\r\na\r\n"))) == 1

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "without a column 'sample_id'"),
            ("sample\na\n", "did you mean sample?"),
            ("sample_id,sample_id\na,b\n", "2 columns 'sample_id'"),
            (
                "sample_id,exclude\na,never\n",
                "line 2: received exclude 'never'; expected everywhere, training",
            ),
            ("sample_id,exclude\na,training\nb\n", "line 3: received 1 fields; expected the header's 2"),
            ("sample_id\n\na,b\n", "line 3: received 2 fields"),
            (b"sample_id\na\0b\n", "line 2: a NUL byte"),
            (b"sample_id\nok\n\xff\n", "line 3: not UTF-8"),
            ('sample_id\n"a\n', "line 2: unexpected end of data"),
            ("sample_id\n" + "a" * 200_000 + "\n", "line 2: field larger than field limit"),
        ],
    )
    def test_a_bad_file_is_one_line(self, tmp_path, content, message):
        with pytest.raises(HeadError, match=r"x\.csv") as caught:
            read_exclusions(written(tmp_path, content))
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for name in ("absent.csv", "", "pipe"):
            with pytest.raises(HeadError, match="expected a CSV file"):
                read_exclusions(tmp_path / name)

    def test_a_file_larger_than_any_list(self, tmp_path):
        with (tmp_path / "x.csv").open("wb") as file:
            file.truncate(2**30)
        with pytest.raises(HeadError, match="more than the limit"):
            read_exclusions(tmp_path / "x.csv")


def test_several_are_one(tmp_path):
    path = written(tmp_path, "sample_id\na\n")
    found = as_exclusions([path, audit_of(SUSPECT), Exclusions(training=frozenset("a"))])
    assert (found.everywhere, found.training) == (frozenset("a"), frozenset("c"))
    with pytest.raises(HeadError, match="exclude of type int"):
        as_exclusions(3)
