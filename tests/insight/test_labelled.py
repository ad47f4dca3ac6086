"""Labelled features: what is refused, and views gathered into images."""

import numpy as np
import pytest

from featx import HeadError
from featx.insight.labelled import Labelled

X = np.arange(12, dtype=np.float32).reshape(6, 2)


def test_every_row_is_a_sample_without_images():
    labelled = Labelled.of(X, list("bbaaba"), ["g", "h", "g", "i", "j", "k"], None)
    assert labelled.codes.tolist() == [1, 1, 0, 0, 1, 0]
    assert labelled.members.tolist() == [0, 1, 0, 2, 3, 4]
    assert labelled.rows(np.array([4, 0])).tolist() == [0, 4]
    assert labelled.image_of(np.array([3])).tolist() == [3]


def test_an_image_is_a_sample_of_its_own_group():
    labelled = Labelled.of(X, list("abaabb"), None, ["p", "q", "p", "r", "s", "q"])
    assert labelled.codes.tolist() == [0, 1, 0, 1]
    assert labelled.members.tolist() == [0, 1, 2, 3]
    assert labelled.rows(np.array([1, 2])).tolist() == [1, 3, 5]
    assert labelled.image_of(np.array([1, 3, 5])).tolist() == [1, 2, 1]


def test_groups_of_images_are_coded_anew():
    labelled = Labelled.of(X, list("aabbab"), list("zzyyxw"), list("ppqqrs"))
    assert labelled.members.max() == 3


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (list("aaaaaa"), {}, r"one class only \(a\)"),
        ([], {}, "no labels|labels cannot be used|rows for 0 labels"),
        (list("aaaaab"), {}, "the class b with 1 sample"),
        (list("aaaabb"), {"groups": list("112233")}, "the class b with 2 samples in one group"),
        (list("aaaabb"), {"images": list("112334")}, "rows 3 and 4 of one image with the class"),
        (list("aabbab"), {"images": list("112345"), "groups": list("uvwxyz")}, "with the group u and v"),
        ([0.5, 1.5, 2.5, 0.5, 1.5, 2.5], {}, "continuous"),
    ],
)
def test_labels_that_cannot_serve_are_refused(y, options, message):
    with pytest.raises(HeadError, match=message):
        Labelled.of(X, y, **{"groups": None, "images": None} | options)


def test_features_that_are_not_finite_are_refused():
    bad = X.copy()
    bad[3, 1] = np.nan
    with pytest.raises(HeadError, match="not finite in row 3"):
        Labelled.of(bad, list("aabbab"), None, None)
