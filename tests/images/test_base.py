"""Labels and groups: aligned, complete, and turned into indices without a slip."""

import dataclasses

import numpy as np
import pytest

from featx.errors import DecodeError, SourceError
from featx.images.base import ImageSource, RawImage, check_class_names, encode_labels, failing

IDS = ["a.png", "b.png", "c.png", "d.png"]


class Named(ImageSource):
    """The least that a source can be."""

    def read(self, start, stop):
        return [
            RawImage(sample_id, failing(sample_id, "no pixels")) for sample_id in self.sample_ids[start:stop]
        ]


# ------------------------------------------------------------------------------------------ labels


@pytest.mark.parametrize(
    ("labels", "codes", "class_names"),
    [
        (["dog", "cat", "dog", "ant"], [2, 1, 2, 0], ["ant", "cat", "dog"]),
        (np.array(["b", "a", "b", "a"]), [1, 0, 1, 0], ["a", "b"]),
        (np.array(["b", "a", "b", "a"], dtype=object), [1, 0, 1, 0], ["a", "b"]),
        (["é", "z", "猫", "é"], [1, 0, 2, 1], ["z", "é", "猫"]),
        ([3, 1, 3, 2], [2, 0, 2, 1], ["1", "2", "3"]),
        ([10, 9, 10, 9], [1, 0, 1, 0], ["9", "10"]),
        ([0, -1, 1, -1], [0, -1, 1, -1], ["0", "1"]),
        ([-1, -1, -1, -1], [-1, -1, -1, -1], []),
        ([-2, 0, -2, 0], [0, 1, 0, 1], ["-2", "0"]),
        (np.array([0, 255, 0, 255], np.uint8), [0, 1, 0, 1], ["0", "255"]),
        ([True, False, True, True], [1, 0, 1, 1], ["False", "True"]),
        ([1.0, 0.0, 1.0, -1.0], [1, 0, 1, -1], ["0", "1"]),
        (["same", "same", "same", "same"], [0, 0, 0, 0], ["same"]),
        (None, [-1, -1, -1, -1], []),
    ],
)
def test_labels_become_indices_into_sorted_names(labels, codes, class_names):
    found, names = encode_labels(labels, IDS)
    assert found.dtype == np.int64
    assert (found.tolist(), names) == (codes, class_names)
    assert all(type(name) is str for name in names)


def test_given_class_names_keep_their_order_and_those_without_samples():
    found, names = encode_labels([2, 0, -1, 2], IDS, class_names=["z", "y", "x"])
    assert (found.tolist(), names) == ([2, 0, -1, 2], ["z", "y", "x"])
    assert encode_labels(None, IDS, class_names=["z"])[1] == ["z"]


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, -2, 1, 1]])
def test_indices_beyond_the_class_names_are_refused(labels):
    with pytest.raises(SourceError, match="-1 or an index into 3 class names"):
        encode_labels(labels, IDS, class_names=["z", "y", "x"])


@pytest.mark.parametrize(
    "labels",
    [["a"] * 3, ["a"] * 5, [["a"]] * 4, np.eye(4), "abcd", 3],
    ids=["few", "many", "2d", "one-hot", "str", "int"],
)
def test_labels_that_do_not_align_are_refused(labels):
    with pytest.raises(SourceError, match=r"labels of shape .* for 4 samples; expected one label a sample"):
        encode_labels(labels, IDS)


@pytest.mark.parametrize(
    "labels",
    [
        ["x", "y", None, "y"],
        ["x", "y", float("nan"), "y"],
        ["x", "y", "", "y"],
        ["x", "y", "  ", "y"],
        ["x", "y", np.float32("nan"), "y"],
        ("x", "y", np.nan, "y"),
        np.array(["x", "y", np.nan, "y"], dtype=object),
        [1.0, 2.0, float("nan"), 1.0],
        np.array(["x", "y", None, "y"], dtype=object),
    ],
)
def test_a_missing_label_is_refused_and_its_sample_named(labels):
    with pytest.raises(SourceError, match=r"^c\.png: its label is missing"):
        encode_labels(labels, IDS)


@pytest.mark.parametrize("name", ["none", "None", "nan", "NaN", "NONE"])
@pytest.mark.parametrize("kind", [list, np.array, lambda labels: np.array(labels, dtype=object)])
def test_a_class_may_be_called_like_what_is_missing(kind, name):
    found, names = encode_labels(kind(["crack", name, name, "crack"]), IDS)
    assert [names[code] for code in found] == ["crack", name, name, "crack"]


def test_a_group_may_be_called_like_what_is_missing():
    assert Named(IDS, groups=["none", "None", "nan", "none"]).groups == ["none", "None", "nan", "none"]


@pytest.mark.parametrize(
    "labels",
    [
        [0.0, 1.0, 0.5, 1.0],
        [0.0, 1.0, float("inf"), 1.0],
        np.array(["x", "y", 3, "y"], dtype=object),
        np.array(["x", "y", b"z", "y"], dtype=object),
    ],
)
def test_a_label_that_is_neither_text_nor_integer_is_refused_and_its_sample_named(labels):
    with pytest.raises(SourceError, match=r"^c\.png: received the label .*; expected a string or an integer"):
        encode_labels(labels, IDS)


@pytest.mark.parametrize("label", ["y ", " y", "y\n", "y\u00a0"])
def test_a_space_around_a_label_is_refused_and_its_sample_named(label):
    with pytest.raises(SourceError, match=r"^c\.png: its label .* has a space around it"):
        encode_labels(["x", "y", label, "y"], IDS)


@pytest.mark.parametrize("labels", [["Cat", "cat", "dog", "dog"], ["STRASSE", "straße", "a", "a"]])
def test_classes_that_differ_in_case_alone_are_refused(labels):
    with pytest.raises(SourceError, match="expected names that differ in more than case"):
        encode_labels(labels, IDS)


def test_distinct_class_names_are_let_through():
    check_class_names(["cat", "cats", "Dog", ""])


def test_the_name_of_a_sample_cannot_break_the_line_of_the_error():
    with pytest.raises(SourceError, match=r"^a\\nb\.png: its label is missing"):
        encode_labels([""], ["a\nb.png"])


# ----------------------------------------------------------------------------------------- sources


def test_a_source_of_nothing_is_refused():
    with pytest.raises(SourceError, match="received no samples; expected at least one"):
        Named([])


def test_a_source_keeps_its_groups_as_text():
    assert Named(IDS, groups=[1, 1, 2, "x"]).groups == ["1", "1", "2", "x"]
    assert Named(IDS).groups is None


def test_groups_that_do_not_align_are_refused():
    with pytest.raises(SourceError, match="3 groups for 4 samples; expected one group a sample"):
        Named(IDS, groups=["g"] * 3)


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), "", " "])
def test_a_missing_group_is_refused_and_its_sample_named(missing):
    # Else all samples without a group would be one group.
    with pytest.raises(SourceError, match=r"^b\.png: its group is missing"):
        Named(IDS, groups=["g", missing, "h", "h"])


def test_a_source_that_cannot_be_read_is_none():
    with pytest.raises(TypeError, match="read"):
        ImageSource(IDS)


def test_groups_and_ids_survive_other_labels():
    source = Named(IDS, groups=["g", "g", "h", "h"])
    other = source.with_labels(["x", "y", "x", "y"])
    assert (other.groups, other.sample_ids) == (source.groups, source.sample_ids)
    assert (source.labels.tolist(), source.class_names) == ([-1] * 4, [])


@pytest.mark.parametrize(
    "other",
    [
        Named(["b.png", "a.png", "c.png", "d.png"], [0, 1, 0, 1], ["g"] * 4),
        Named(["a.png", "b.png", "c.png", "e.png"], [0, 1, 0, 1], ["g"] * 4),
        Named(IDS, [0, 1, 1, 0], ["g"] * 4),
        Named(IDS, ["0", "1x", "0", "1x"], ["g"] * 4),
        Named(IDS, [0, 1, 0, 1], ["g", "g", "g", "h"]),
        Named(IDS, [0, 1, 0, 1]),
    ],
    ids=["order", "id", "labels", "class names", "groups", "no groups"],
)
def test_the_fingerprint_tells_sources_apart(other):
    assert other.fingerprint() != Named(IDS, [0, 1, 0, 1], ["g"] * 4).fingerprint()


def test_an_undecodable_id_has_a_fingerprint():
    assert Named(["caf\udce9.png"]).fingerprint() != Named(["caf\udcea.png"]).fingerprint()


def test_a_raw_image_does_not_change():
    raw = RawImage("a", lambda: b"bytes")
    with pytest.raises(dataclasses.FrozenInstanceError):
        raw.sample_id = "b"


def test_a_sample_known_to_be_bad_fails_every_time_it_is_fetched():
    fetch = failing("a.png", "not finite")
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"^a\.png: not finite$"):
            fetch()
