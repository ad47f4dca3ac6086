"""What views draw: ranges kept over thousands of draws, and the pixels of one box and one colour."""

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from featx.images.view_pixels import (
    COLOUR,
    CROP_AREA,
    CROP_ASPECT,
    MAX_SHIFT,
    ZOOM,
    Box,
    Draws,
    draw,
    draw_box,
    recolour,
    resize_part,
)

DRAWS = [draw(0, view, hashlib.sha256(bytes([view % 251])).hexdigest()) for view in range(5000)]
#: Every corner of what can be drawn; no draw reaches 1.
EXTREMES = [Draws(*np.where(np.random.default_rng(i).random(10) < 0.5, 0.0, 1.0)) for i in range(2000)]
PHOTO = Image.fromarray(load_sample_images().images[0])
MIDDLE = Draws(*[0.5] * 10)


def boxes(*kinds, draws=DRAWS):
    return np.array([draw_box(kinds, each) for each in draws]).T


def test_draws_are_uniform_and_unrelated():
    numbers = np.array(DRAWS)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.allclose(numbers.mean(axis=0), 0.5, atol=0.02)
    assert np.allclose(numbers.var(axis=0), 1 / 12, atol=0.005)
    assert np.abs(np.corrcoef(numbers.T) - np.eye(numbers.shape[1])).max() < 0.06


def test_draws_are_those_of_numpys_generator():
    entropy = np.random.SeedSequence([5, 2, int("ab" * 32, 16)])
    assert draw(5, 2, "ab" * 32) == tuple(np.random.Generator(np.random.PCG64(entropy)).random(10))


@pytest.mark.parametrize("draws", [DRAWS, EXTREMES])
def test_crops_keep_their_ranges_and_stay_inside(draws):
    left, top, width, height = boxes("crop", draws=draws)
    tiny = 1e-9
    assert min(left.min(), top.min()) >= -tiny
    assert max((left + width).max(), (top + height).max()) <= 1 + tiny
    assert CROP_AREA[0] - tiny <= (width * height).min() < (width * height).max() <= CROP_AREA[1] + tiny
    assert CROP_ASPECT[0] - tiny <= (width / height).min() < (width / height).max() <= CROP_ASPECT[1] + tiny


def test_crops_use_their_ranges():
    left, top, width, height = boxes("crop")
    assert (width * height).min() < 0.61
    assert (width * height).max() > 0.99
    assert (width / height).min() < 0.77
    assert (width / height).max() > 1.3
    assert np.median(width / height) == pytest.approx(1, abs=0.02)
    assert max(left.max(), top.max()) > 0.25


@pytest.mark.parametrize("draws", [DRAWS, EXTREMES])
def test_zoom_and_shift_keep_their_ranges(draws):
    left, top, width, height = boxes("zoom", draws=draws)
    assert np.array_equal(width, height)
    assert np.allclose([left + width / 2, top + height / 2], 0.5)
    assert 1 / ZOOM[1] - 1e-9 <= width.min() < 0.82
    assert 1.22 < width.max() <= 1 / ZOOM[0] + 1e-9
    left, top, width, height = boxes("shift", draws=draws)
    assert set(width) == set(height) == {1.0}
    for moved in (left, top):
        assert -MAX_SHIFT <= moved.min() < -0.09
        assert 0.09 < moved.max() <= MAX_SHIFT


@pytest.mark.parametrize("draws", [DRAWS, EXTREMES])
@pytest.mark.parametrize("kinds", [("zoom", "shift"), ("crop", "zoom", "shift")])
def test_most_of_a_box_is_inside_the_image(kinds, draws):
    left, top, width, height = boxes(*kinds, draws=draws)
    for start, length in ((left, width), (top, height)):
        inside = np.minimum(start + length, 1) - np.maximum(start, 0)
        assert (inside / length).min() >= 0.7 - 1e-9


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (5, 4)])
def test_the_smallest_inputs_take_the_furthest_boxes(size):
    for draws in EXTREMES[:200]:
        for shape in ((1, 1), (7, 3)):
            part = resize_part(Image.new("RGB", shape), draw_box(("crop", "zoom", "shift"), draws), size)
            assert part.size == size


def test_a_kind_added_moves_no_other():
    assert all(draw_box(("crop", "colour"), draws) == draw_box(("crop",), draws) for draws in DRAWS[:50])


def test_a_whole_box_is_the_plain_resize():
    plain = PHOTO.resize((64, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(resize_part(PHOTO, Box(), (64, 48)), plain)
    assert np.array_equal(resize_part(PHOTO, Box(), PHOTO.size), PHOTO)


@pytest.mark.parametrize("box", [Box(-1e-13, -1e-13), Box(1e-13, 1e-13), Box(0, 0, 1 + 1e-13, 1 + 1e-13)])
def test_a_box_that_leaves_the_image_by_rounding_alone_shows_all_of_it(box):
    assert np.array_equal(resize_part(PHOTO, box, PHOTO.size), PHOTO)


def test_a_box_is_the_crop_resized():
    box = Box(0.25, 0.5, 0.5, 0.5)
    image = PHOTO.resize((400, 200))
    cropped = image.crop((100, 100, 300, 200)).resize((50, 30), Image.Resampling.BILINEAR)
    # Pixels next to the box show a little in its border, as they would in a photograph.
    difference = np.abs(np.asarray(resize_part(image, box, (50, 30))).astype(int) - np.asarray(cropped))
    assert difference[1:-1, 1:-1].max() <= 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_outside_the_image_its_border_repeats(mode):
    image = PHOTO.resize((100, 80)).convert(mode)
    padded = np.asarray(resize_part(image, Box(-0.1, -0.05, 1.25, 1.25), (125, 100)))
    margins = [(4, 16), (10, 15), (0, 0)][: padded.ndim]
    assert np.array_equal(padded, np.pad(np.asarray(image), margins, mode="edge"))


def test_pixels_inside_are_where_the_box_puts_them():
    ramp = Image.fromarray(np.repeat(np.arange(0, 250, dtype=np.uint8)[None], 4, axis=0))
    row = np.asarray(resize_part(ramp, Box(left=-0.0934, width=1.2), (100, 4)))[0].astype(float)
    expected = (-0.0934 + 1.2 * (np.arange(100) + 0.5) / 100) * 250 - 0.5
    inside = (expected > 3) & (expected < 246)
    assert np.abs(row - expected)[inside].max() <= 0.51
    assert set(row[:8]) == {row[8]}
    assert set(row[-9:]) == {row[-10]}


def test_the_middle_of_every_range_changes_no_colour():
    assert np.array_equal(recolour(PHOTO, MIDDLE), PHOTO)


@pytest.mark.parametrize(
    ("number", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("end", [0, 1])
def test_colours_change_as_pillow_changes_them(number, enhance, end):
    changed = np.asarray(recolour(PHOTO, MIDDLE._replace(**{number: float(end)}))).astype(int)
    expected = np.asarray(enhance(PHOTO).enhance(COLOUR[end]))
    # Pillow rounds the mean grey, and cuts where this rounds.
    assert np.abs(changed - expected).max() <= 1
    assert np.abs(changed - np.asarray(PHOTO)).max() > 15


def test_brightness_and_contrast_are_rounded_once_to_the_nearest():
    grey = np.asarray(PHOTO.convert("L")).astype(float)
    for draws in DRAWS[:20]:
        brightness, contrast = (0.8 + 0.4 * number for number in (draws.brightness, draws.contrast))
        exact = np.clip(brightness * (grey.mean() + contrast * (grey - grey.mean())), 0, 255)
        assert np.abs(np.asarray(recolour(PHOTO.convert("L"), draws)) - exact).max() <= 0.5 + 1e-9


def test_grey_stays_grey():
    grey = PHOTO.convert("L")
    for draws in DRAWS[:50]:
        changed = recolour(grey, draws)
        assert changed.mode == "L"
        assert np.array_equal(changed.convert("RGB"), recolour(grey.convert("RGB"), draws))
