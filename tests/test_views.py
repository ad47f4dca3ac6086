"""Views of one image: gathered in order of first appearance, averaged exactly, and of one mind."""

import numpy as np
import pytest

from featx import HeadError
from featx.views import average_views, group_views, one_per_image


def draw_views(seed=0, n_images=30, n_rows=100):
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_images, n_rows), rng.random((n_rows, 3))


def test_images_are_in_order_of_first_appearance():
    views = group_views(["c", "a", "c", "b", "a"])
    assert views.first_rows.tolist() == [0, 1, 3]
    assert views.members.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(
    "as_type", [list, np.array, lambda x: np.array(x, object), lambda x: [f"{i}" for i in x]]
)
def test_the_kind_of_name_changes_nothing(as_type):
    images, _ = draw_views()
    expected = list(dict.fromkeys(images.tolist()))
    views = group_views(as_type(images.tolist()))
    assert images[views.first_rows].tolist() == expected
    assert [expected[member] for member in views.members] == images.tolist()


def test_no_rows_are_no_images():
    views = group_views([])
    assert (len(views.first_rows), len(views.members)) == (0, 0)


@pytest.mark.parametrize("images", [["a", None], [1.0, float("nan")]], ids=["none", "not a number"])
def test_a_row_without_an_image_is_refused(images):
    with pytest.raises(HeadError, match="no image for row 1"):
        group_views(images)


def test_images_of_two_dimensions_are_refused():
    with pytest.raises(HeadError, match=r"images of shape \(2, 1\)"):
        group_views([["a"], ["b"]])


def test_scores_are_averaged_as_a_loop_averages_them():
    images, scores = draw_views()
    views = group_views(images)
    found = average_views(scores, views.members)
    expected = [scores[images == images[row]].mean(axis=0) for row in views.first_rows]
    assert found == pytest.approx(np.array(expected))
    assert average_views(scores[:, 0], views.members) == pytest.approx(found[:, 0], abs=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_of_one_view_keeps_its_scores_to_the_bit(dtype):
    scores = np.random.default_rng(0).random((50, 4)).astype(dtype)
    found = average_views(scores, group_views(range(50)).members)
    assert found.dtype == dtype
    assert np.array_equal(found, scores)


def test_views_of_single_precision_are_summed_in_double():
    scores = np.full(100_000, 0.1, np.float32)
    assert average_views(scores, np.zeros(100_000, int))[0] == np.float32(0.1)


def test_the_images_of_the_rows_may_stand_in_any_order():
    images, scores = draw_views()
    order = np.random.default_rng(1).permutation(len(images))
    by_image = []
    for rows in (np.arange(len(images)), order):
        views = group_views(images[rows])
        means = average_views(scores[rows], views.members)
        by_image.append(dict(zip(images[rows][views.first_rows].tolist(), means.tolist(), strict=True)))
    assert by_image[0].keys() == by_image[1].keys()
    assert all(by_image[0][image] == pytest.approx(by_image[1][image]) for image in by_image[0])


def test_an_image_has_the_value_of_its_views():
    images, _ = draw_views()
    views = group_views(images)
    assert one_per_image(images * 2, views, "class").tolist() == (images[views.first_rows] * 2).tolist()
    with pytest.raises(HeadError, match="rows 1 and 2 of one image with the group a and b"):
        one_per_image(np.array(["c", "a", "b"]), group_views([0, 1, 1]), "group")
