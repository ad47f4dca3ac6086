"""Labels as a model's columns, weights with a mean of one, and no image on both sides."""

import numpy as np
import pytest

from featx import as_source
from featx.errors import HeadError
from featx.models.samples import Labelled, Samples, check_classes_in, check_disjoint, check_one_label
from tests.conftest import make_images

CLASSES = np.array(["cat", "cow", "dog"])


def labelled(y, **options):
    return Labelled(as_source(make_images(len(y)), y), CLASSES, **options)


def test_labels_become_columns_whatever_the_sources_order():
    # The source knows no cow, and so counts its dogs as 1.
    found = labelled(["dog", "cat", "dog", "cat"])
    assert found.y.tolist() == [2, 0, 2, 0]
    assert found.source.sample_ids == ["0", "1", "2", "3"]


def test_rows_without_a_label_go_with_all_that_is_theirs():
    source = as_source(make_images(4), np.array([0, -1, 1, -1]))
    found = Labelled(source, np.array([0, 1]), groups=["a", "b", "c", "d"], sample_weight=[1, 2, 3, 4])
    assert (found.y.tolist(), found.groups, found.n_unlabelled) == ([0, 1], ["a", "c"], 2)
    samples = found.samples(np.zeros((2, 4, 4, 3)), None)
    np.testing.assert_allclose(samples.weight, [0.5, 1.5])


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [
        (None, [1, 1, 1, 1]),
        ("balanced", [2, 2 / 3, 2 / 3, 2 / 3]),
        ({"cat": 3.0}, [2, 2 / 3, 2 / 3, 2 / 3]),
    ],
)
def test_classes_count_as_asked_with_a_mean_of_one(class_weight, expected):
    samples = labelled(["cat", "dog", "dog", "dog"]).samples(np.zeros((4, 4, 4, 3)), class_weight)
    np.testing.assert_allclose(samples.weight, expected, rtol=1e-6)


def test_some_samples_keep_what_is_theirs():
    samples = Samples((np.arange(3), np.arange(3) * 2), np.array([0, 1, 2]), np.arange(3, dtype=np.float32))
    found = samples.take(np.array([2, 0]))
    assert [array[:].tolist() for array in (*found.inputs, found.y, found.weight)] == [
        [2, 0],
        [4, 0],
        [2, 0],
        [2, 0],
    ]


def test_what_cannot_be_used_is_refused():
    with pytest.raises(HeadError, match="the classes ant; expected labels among cat, cow, dog"):
        labelled(["ant", "cat"])
    for weight in ([1.0], [1.0, 0.0], [1.0, np.inf]):
        with pytest.raises(HeadError, match="2 finite numbers above 0"):
            labelled(["dog", "cat"], sample_weight=weight)
    one = Samples((), np.array([1, 1]), np.ones(2, np.float32))
    with pytest.raises(HeadError, match=r"one class only \(cow\)"):
        check_classes_in(one, CLASSES)
    check_one_label(labelled(["dog", "cat", "dog"]), ["a", "b", "a"])
    with pytest.raises(HeadError, match=r"the same image as 0 \(dog\) and 1 \(cat\); expected one label"):
        check_one_label(labelled(["dog", "cat"]), ["a", "a"])
    source = as_source(make_images(3))
    check_disjoint(source, ["a", "b", "c"], ["d"])
    with pytest.raises(HeadError, match="1 training images that are validation images too, first 2"):
        check_disjoint(source, ["a", "b", "c"], ["c", "d"])
