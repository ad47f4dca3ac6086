"""align_features: one row order whatever the files' own, and nothing that does not belong together."""

import numpy as np
import pytest

from featx import FeatureExtractor, FeatureSet, HeadError, StoreError, extract
from featx.features.alignment import align_features
from featx.images.array_sources import ArraySource
from tests.conftest import TINY, make_images


def make_set(order, *, offset=0.0, **options):
    """Samples a to f in an order; each row's features tell whose they are."""
    rows = ["abcdef".index(letter) for letter in order]
    X = np.array([[row + offset, -row] for row in rows], np.float32)
    options = {
        "y": [(row % 3) - 1 for row in rows],
        "class_names": ["cat", "dog"],
        "groups": [f"g{row // 2}" for row in rows],
        "image_sha256": [f"{row:064x}" for row in rows],
        "sample_ids": list(order),
    } | options
    return FeatureSet(X, **options)


def test_the_first_set_gives_the_order():
    aligned = align_features({"one": make_set("abcdef"), "two": make_set("fbdace", offset=10)})
    assert aligned.names == ("one", "two")
    assert len(aligned) == 6
    assert aligned.sample_ids == list("abcdef")
    np.testing.assert_array_equal(aligned.X("one")[:, 0], range(6))
    np.testing.assert_array_equal(aligned.X("two")[:, 0], range(10, 16))
    np.testing.assert_array_equal(aligned.y, [-1, 0, 1, -1, 0, 1])
    assert aligned.groups == ["g0", "g0", "g1", "g1", "g2", "g2"]
    assert aligned.image_sha256[3] == f"{3:064x}"


def test_rows_in_order_are_not_copied():
    features = make_set("abcdef")
    assert np.shares_memory(align_features({"one": features}).X("one"), features.X)


def test_labels_agree_by_the_names_of_their_classes():
    two = make_set("fedcba", y=[0, 2, -1, 0, 2, -1], class_names=["dog", "cow", "cat"])
    aligned = align_features({"one": make_set("abcdef"), "two": two})
    assert aligned.class_names == ["cat", "dog"]
    np.testing.assert_array_equal(aligned.y, [-1, 0, 1, -1, 0, 1])


def test_views_of_one_image_are_told_apart():
    view = np.array([0, 1, 0, 1, 0, 1])
    one = make_set("aabbcc", view=view)
    two = make_set("aabbcc", view=1 - view, offset=np.float32(0.5))
    two.X[:, 1] = two.view
    np.testing.assert_array_equal(align_features({"one": one, "two": two}).X("two")[:, 1], view)


def test_what_any_set_holds_together_stays_together():
    apart = make_set("fedcba", groups=list("zyxwvu"))
    assert align_features({"one": make_set("abcdef"), "two": apart}).groups == make_set("abcdef").groups
    joined = make_set("fedcba", groups=list("zyxwwv"))  # c is with b
    groups = align_features({"one": make_set("abcdef"), "two": joined}).groups
    assert len({groups[row] for row in (0, 1, 2, 3)}) == 1
    assert len(set(groups)) == 2


def test_some_rows_can_be_taken():
    aligned = align_features({"one": make_set("abcdef"), "two": make_set("fbdace")})
    labelled = aligned.labelled()
    assert labelled.sample_ids == list("bcef")
    np.testing.assert_array_equal(labelled.y, [0, 1, 0, 1])
    some = labelled.take(np.array([3, 0]))
    assert (some.sample_ids, some.groups) == (["f", "b"], ["g2", "g0"])
    for name in some.names:
        np.testing.assert_array_equal(some.X(name)[:, 0], [5, 1])


def test_samples_of_which_none_has_a_label_are_refused():
    given = make_set("abcdef")
    given.y[:5] = -1
    align_features({"one": given}).check_labelled()
    given.y[:] = -1
    with pytest.raises(HeadError, match="features without labels; expected a label for each; extract a lab"):
        align_features({"one": given}).check_labelled()


def test_parts_are_the_columns_of_taps_and_poolings():
    source = ArraySource(make_images(6), [0, 1] * 3)
    extractor = FeatureExtractor(TINY, taps=("first", "top"), pooling="avg+max")
    both, alone = extract(source, extractor, store=None), extract(source, FeatureExtractor(TINY), store=None)
    aligned = align_features({"both": both, "alone": alone}).with_parts()
    parts = ["first:avg", "first:max", "top:avg", "top:max"]
    assert aligned.names == ("both", *(f"both[{part}]" for part in parts), "alone")
    assert aligned.X("both").shape == (6, 40)
    np.testing.assert_allclose(aligned.X("both[top:avg]"), alone.X, atol=1e-6)
    rows = np.array([5, 1])
    np.testing.assert_array_equal(aligned.take(rows).X("both[first:max]"), both.X[rows, 8:16])


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ({"order": "abca"}, {"order": "abc"}, r"one with 1 sample that stand twice \(a\)"),
        ({"order": "abc"}, {"order": "cabc"}, r"two with 1 sample that stand twice \(c\)"),
        ({"order": "abc"}, {"order": "ab"}, r"received two without 1 sample of one \(c\); expected the same"),
        ({"order": "ab"}, {"order": "bca"}, r"received two with 1 sample that one lacks \(c\); expected"),
        ({"order": "ad"}, {"order": "ab"}, r"without 1 sample of one \(d\) and with 1 sample that one lacks"),
        (
            {"order": "abcdef"},
            {"order": "a", "sample_ids": ["z"]},
            r"without 6 samples of one \(a, b, c, d, e, ...\)",
        ),
        (
            {"order": "ab"},
            {"order": "ab", "view": np.array([0, 2])},
            r"without 1 sample of one \(b\) and with 1 sample that one lacks \(b view 2\)",
        ),
        (
            {"order": "bc"},
            {"order": "cb", "class_names": ["dog", "cat"]},
            r"2 samples whose labels differ \(b: cat in one, dog in two; c: dog in one, cat in two\)",
        ),
        ({"order": "ab"}, {"order": "ab", "y": [0, 0]}, "1 sample whose labels differ .a: no label in one"),
        (
            {"order": "abc"},
            {"order": "abc", "image_sha256": [f"{row:064x}" for row in (0, 2, 1)]},
            r"2 samples whose images differ between one and two \(b; c\)",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused(one, two, message):
    with pytest.raises(StoreError, match=message):
        align_features({"one": make_set(**one), "two": make_set(**two)})


def test_unknown_digests_and_no_sets():
    unknown = make_set("abc", image_sha256=[""] * 3)
    assert align_features({"one": make_set("abc"), "two": unknown}).image_sha256[1] == f"{1:064x}"
    with pytest.raises(StoreError, match="no feature sets"):
        align_features({})


def test_the_sets_themselves_stay_as_they_were():
    two = make_set("fbdace")
    before = two.X.copy()
    align_features({"one": make_set("abcdef"), "two": two}).labelled()
    np.testing.assert_array_equal(two.X, before)
    assert two.sample_ids == list("fbdace")
