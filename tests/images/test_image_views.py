"""Views of an image: which there are, what each is made of, and that each is the same for ever."""

import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from featx.errors import BackboneError, SourceError
from featx.images.decoding import content_sha256, load_image
from featx.images.views import VIEW_KINDS, ViewRecipe, views_sha256

PHOTO = np.ascontiguousarray(load_sample_images().images[0][:375, :500])
DIGEST = content_sha256(PHOTO)
DISCRETE = ("flip", "quarter_turn")
DRAWN = ("crop", "shift", "zoom", "colour")
SIZE = (96, 96)
SUBSETS = [kinds for n in range(1, 7) for kinds in itertools.combinations(VIEW_KINDS, n)]


def photo(mode="RGB"):
    return Image.fromarray(PHOTO).convert(mode)


def views_of(kinds, n_views, size=SIZE, mode="RGB", seed=0):
    views = ViewRecipe(kinds, seed).apply_all(photo(mode), range(n_views), DIGEST, size)
    return [np.asarray(view) for view in views]


def n_distinct(views):
    return len({view.tobytes() for view in views})


# View 0


@pytest.mark.parametrize("size", [(96, 96), (96, 64), (375, 500), (1, 1), (500, 400)])
@pytest.mark.parametrize("kinds", [DISCRETE, DRAWN, VIEW_KINDS])
def test_view_0_is_the_image_as_extraction_loads_it(kinds, size):
    view = ViewRecipe(kinds).apply(photo(), 0, DIGEST, size)
    assert np.array_equal(view, load_image(PHOTO, size))


# Flips and turns


def test_flips_are_the_four_in_order():
    image, sideways, upside_down, both = views_of(("flip",), 4, (96, 64))
    assert np.array_equal(sideways, image[:, ::-1])
    assert np.array_equal(upside_down, image[::-1])
    assert np.array_equal(both, image[::-1, ::-1])


def test_quarter_turns_are_the_four_in_order():
    views = views_of(("quarter_turn",), 4)
    assert all(np.array_equal(view, np.rot90(views[0], n_turns)) for n_turns, view in enumerate(views))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_flips_and_turns_are_all_symmetries_of_the_square_each_once(mode):
    views = views_of(DISCRETE, 8, mode=mode)
    turned = [np.rot90(views[0], n_turns) for n_turns in range(4)]
    symmetries = {pixels.tobytes() for pixels in turned} | {pixels[:, ::-1].tobytes() for pixels in turned}
    assert len(symmetries) == 8
    assert {view.tobytes() for view in views} == symmetries


@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_a_turn_to_an_input_that_is_not_square_stretches_the_whole_turned_image(size):
    views = views_of(("quarter_turn",), 4, size)
    for n_turns, view in enumerate(views):
        expected = load_image(np.ascontiguousarray(np.rot90(PHOTO, n_turns)), size)
        # Resizing along the height first rounds otherwise, by one level a pass.
        assert np.abs(view.astype(int) - expected).max() <= 1
    assert n_distinct(views) == 4


@pytest.mark.parametrize("size", [(96, 64), (7, 5), (224, 224)])
def test_a_flip_of_the_resized_image_is_the_flipped_image_resized(size):
    views = views_of(("flip",), 4, size)
    for turned, view in zip((PHOTO, PHOTO[:, ::-1], PHOTO[::-1], PHOTO[::-1, ::-1]), views, strict=True):
        assert np.array_equal(view, load_image(np.ascontiguousarray(turned), size))


def test_more_views_than_symmetries_run_through_them_again_with_other_draws():
    turned = views_of(("flip", "quarter_turn", "colour"), 17)
    plain = views_of(("colour",), 17)
    # Colour comes last and knows no place, so that turning it back shows what was drawn.
    assert np.array_equal(turned[8], plain[8])
    assert np.array_equal(turned[16], plain[16])
    assert np.array_equal(turned[9], plain[9][:, ::-1])
    assert n_distinct(turned) == 17


# What is drawn


@pytest.mark.parametrize("kinds", [*((kind,) for kind in DRAWN), DRAWN, VIEW_KINDS])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_no_drawn_view_repeats_another(kinds, mode):
    assert n_distinct(views_of(kinds, 40, mode=mode)) == 40


@pytest.mark.parametrize("kind", DRAWN)
def test_a_drawn_view_still_shows_the_image(kind):
    image, *views = (view.astype(float) for view in views_of((kind,), 20, (24, 24)))
    alike = [np.corrcoef(image.ravel(), view.ravel())[0, 1] for view in views]
    others = np.corrcoef(image.ravel(), load_image(load_sample_images().images[1], (24, 24)).ravel())[0, 1]
    assert min(alike) > max(0.3, others + 0.2)


def test_crops_are_parts_of_the_image_stretched():
    gradient = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None], 256, axis=0)
    for view in range(1, 50):
        row = np.asarray(ViewRecipe(("crop",)).apply(Image.fromarray(gradient), view, DIGEST, SIZE))[0]
        seen = (int(row[-1]) - int(row[0])) / 255
        # A box's width is that of its area and aspect; the outermost pixels lie half a pixel inside.
        assert np.sqrt(0.6 * 0.75) - 0.02 < seen <= 1.0
        assert np.diff(row.astype(int)).min() >= 0


def test_a_shift_moves_the_picture_and_repeats_its_border():
    image, *views = views_of(("shift",), 30)
    for view in views:
        shifted = np.abs(_displacement(image, view))
        assert shifted.max() <= 0.1 * SIZE[0] + 1
        down, right = _displacement(image, view)
        if down > 1:
            assert np.array_equal(view[0], view[down - 2])
        if right < -1:
            assert np.array_equal(view[:, -1], view[:, right + 1])
    assert {tuple(np.sign(_displacement(image, view))) for view in views} >= {
        (1, 1),
        (-1, 1),
        (1, -1),
        (-1, -1),
    }


def _displacement(image, view):
    """By how many pixels (down, right) the view must be moved back: the peak of their phase correlation."""
    spectra = [np.fft.fft2(pixels.mean(axis=2) - pixels.mean()) for pixels in (view, image)]
    cross = spectra[0] * np.conj(spectra[1])
    peak = np.unravel_index(np.argmax(np.fft.ifft2(cross / np.abs(cross)).real), image.shape[:2])
    return np.array([(place + n // 2) % n - n // 2 for place, n in zip(peak, image.shape, strict=False)])


def test_zooming_keeps_the_middle_in_the_middle():
    target = np.zeros((101, 101), np.uint8)
    target[40:61, 40:61] = 255
    areas = []
    for view in range(1, 40):
        zoomed = np.asarray(ViewRecipe(("zoom",)).apply(Image.fromarray(target), view, DIGEST, (101, 101)))
        weights = zoomed / zoomed.sum()
        assert np.allclose([weights.sum(1) @ np.arange(101), weights.sum(0) @ np.arange(101)], 50, atol=0.6)
        areas.append(zoomed.sum() / target.sum())
    assert 0.8**2 - 0.05 < min(areas) < 0.8
    assert 1.3 < max(areas) < 1.25**2 + 0.05


def test_colour_changes_no_place():
    image, *views = views_of(("colour",), 10, mode="L")
    for view in views:
        # One table for every pixel: equal greys stay equal, and their order stays.
        assert all(np.ptp(view[image == level].astype(int)) == 0 for level in np.unique(image))
        assert (
            np.diff([view[image == level][0] for level in np.unique(image)].copy()).astype(np.int8).min() >= 0
        )


@pytest.mark.parametrize("kinds", [*((kind,) for kind in VIEW_KINDS), VIEW_KINDS])
def test_a_grey_image_has_the_views_of_its_copy_in_colour(kinds):
    recipe = ViewRecipe(kinds)
    for view in range(4):
        grey = recipe.apply(photo("L"), view, DIGEST, SIZE)
        coloured = recipe.apply(photo("L").convert("RGB"), view, DIGEST, SIZE)
        assert np.array_equal(grey.convert("RGB"), coloured)


# The same for ever


def test_more_views_begin_with_the_same_ones():
    eight, four = views_of(VIEW_KINDS, 8), views_of(VIEW_KINDS, 4)
    assert all(np.array_equal(*pair) for pair in zip(eight, four, strict=False))


@pytest.mark.parametrize("kinds", SUBSETS, ids="+".join)
def test_views_made_together_are_those_made_alone(kinds):
    recipe = ViewRecipe(kinds)
    numbers = [3, 0, 2, 1, 0]
    together = recipe.apply_all(photo(), numbers, DIGEST, (40, 56))
    for view, pixels in zip(numbers, together, strict=True):
        assert np.array_equal(pixels, recipe.apply(photo(), view, DIGEST, (40, 56)))


def test_threads_make_the_same_views():
    def make(view):
        return ViewRecipe(VIEW_KINDS).apply(image, view, DIGEST, SIZE).tobytes()

    image = photo()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(make, range(64))) == [make(view) for view in range(64)]


def test_another_process_makes_the_same_views_and_addresses():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "12345"}
    command = [sys.executable, "-c", "from tests.images.test_image_views import report; report()"]
    answer = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == fingerprints()


def fingerprints():
    recipe = ViewRecipe(VIEW_KINDS, seed=3)
    pixels = [content_sha256(view) for view in views_of(VIEW_KINDS, 9, seed=3)]
    return [*pixels, recipe.describe(), *(recipe.address(DIGEST, view) for view in range(9))]


def report():
    print(json.dumps(fingerprints()))


def test_seed_image_and_number_each_make_another_view():
    def make(seed, view, digest):
        return ViewRecipe(("crop",), seed).apply(photo(), view, digest, SIZE).tobytes()

    variants = [make(0, 1, DIGEST), make(1, 1, DIGEST), make(0, 2, DIGEST), make(0, 1, "0" * 64)]
    assert len(set(variants)) == 4


def test_the_image_passed_in_is_left_alone():
    image = photo()
    views = ViewRecipe(VIEW_KINDS).apply_all(image, (0, 0, *range(9)), DIGEST, PHOTO.shape[:2])
    views[0].putpixel((0, 0), (1, 2, 3))
    assert np.array_equal(image, PHOTO)
    assert np.array_equal(views[1], PHOTO)


@pytest.mark.parametrize(
    ("kinds", "size", "n_resizes"),
    [(DISCRETE, SIZE, 1), (DISCRETE, (96, 64), 2), (("flip", "colour"), SIZE, 1), (("crop",), SIZE, 8)],
)
def test_views_of_the_same_part_share_one_resize(kinds, size, n_resizes, monkeypatch):
    resize, sizes = Image.Image.resize, []

    def counted(image, new_size, *arguments):
        sizes.append(new_size)
        return resize(image, new_size, *arguments)

    monkeypatch.setattr(Image.Image, "resize", counted)
    views_of(kinds, 8, size)
    assert len(sizes) == n_resizes


# Odd images


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (3, 5), (1, 3000), (2000, 2)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 2), (33, 47)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_odd_images_and_inputs(shape, size, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    for kinds in (("zoom", "shift"), VIEW_KINDS):
        for view in ViewRecipe(kinds).apply_all(image, range(60), DIGEST, size):
            assert view.mode == mode
            assert view.size == size[::-1]


@pytest.mark.parametrize("level", [0, 100, 255])
def test_a_flat_image_stays_flat(level):
    image = Image.fromarray(np.full((30, 20, 3), level, np.uint8))
    for view in ViewRecipe(("flip", "quarter_turn", "crop", "shift", "zoom")).apply_all(
        image, range(40), DIGEST, SIZE
    ):
        assert view.getextrema() == ((level, level),) * 3


# Descriptions, addresses, limits


def test_the_description_is_canonical():
    recipe = ViewRecipe(("crop", "flip"), seed=np.int64(7))
    assert recipe == ViewRecipe(["flip", "crop"], 7)
    assert recipe.describe().startswith("views 1: flip, crop; seed 7; pixels ")
    assert recipe.describe().endswith(views_sha256(("flip", "crop"))[:16])


def test_a_seed_matters_only_where_something_is_drawn():
    assert ViewRecipe(DISCRETE, 1).address(DIGEST, 1) == ViewRecipe(DISCRETE, 2).address(DIGEST, 1)
    assert ViewRecipe(("crop",), 1).address(DIGEST, 1) != ViewRecipe(("crop",), 2).address(DIGEST, 1)


def test_every_view_has_an_address_of_its_own():
    recipes = [ViewRecipe(kinds, seed) for kinds in SUBSETS for seed in (0, 1)]
    recipes = {recipe.describe(): recipe for recipe in recipes}.values()
    addresses = [recipe.address(DIGEST, view) for recipe in recipes for view in range(1, 4)]
    assert len(set(addresses)) == len(addresses)
    assert {recipe.address(DIGEST, 0) for recipe in recipes} == {DIGEST}
    assert all(len(address) == 64 for address in addresses)


def test_other_pixels_have_other_addresses(monkeypatch):
    before = ViewRecipe(("colour",)).address(DIGEST, 1), ViewRecipe(("flip",)).address(DIGEST, 1)
    views_sha256.cache_clear()
    monkeypatch.setattr("featx.images.views.recolour", lambda image, _: image.point(lambda level: level // 2))
    try:
        after = ViewRecipe(("colour",)).address(DIGEST, 1), ViewRecipe(("flip",)).address(DIGEST, 1)
    finally:
        views_sha256.cache_clear()
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("kinds", "most"),
    [(("flip",), 4), (("quarter_turn",), 4), (DISCRETE, 8), (("flip", "zoom"), None), (("colour",), None)],
)
def test_how_many_views_there_are(kinds, most):
    recipe = ViewRecipe(kinds)
    assert recipe.max_views == most
    recipe.check_n_views(most or 1000)
    if most:
        expected = f"n_views={most + 1} of .*; expected at most {most}; add crop, shift, zoom or colour"
        for refused in (
            lambda: recipe.check_n_views(most + 1),
            lambda: recipe.address(DIGEST, most),
            lambda: recipe.apply(photo(), most, DIGEST, SIZE),
        ):
            with pytest.raises(BackboneError, match=expected):
                refused()


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ((), "received no kinds; expected at least one; choose from flip"),
        (("spin",), "received kind='spin'; expected one of 'flip'"),
        (("flip", "crop", "flip"), "expected each kind once"),
        ("flip", r"received kinds='flip'; expected a tuple of kinds; pass \('flip',\)"),
        (None, "expected a tuple of kinds; choose from"),
        ((["flip"],), "received kind=\\['flip'\\]"),
    ],
)
def test_kinds_that_cannot_be_combined(kinds, message):
    with pytest.raises(BackboneError, match=message):
        ViewRecipe(kinds)


@pytest.mark.parametrize("seed", [None, -1, 1.5, "0", True, 2**32])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(BackboneError, match="seed="):
        ViewRecipe(("crop",), seed)


@pytest.mark.parametrize("n_views", [0, -1, 1.0, True, None])
def test_a_number_of_views_is_a_positive_integer(n_views):
    with pytest.raises(BackboneError, match="positive integer"):
        ViewRecipe(("crop",)).check_n_views(n_views)


@pytest.mark.parametrize("view", [-1, 0.0, True, None])
def test_a_view_is_an_integer_from_0(view):
    with pytest.raises(BackboneError, match="expected an integer from 0"):
        ViewRecipe(("crop",)).address(DIGEST, view)


@pytest.mark.parametrize("digest", ["", "photo.jpg", DIGEST[:-1], DIGEST + "\n", None])
def test_an_image_is_named_by_its_digest(digest):
    with pytest.raises(SourceError, match="64 hexadecimal digits"):
        ViewRecipe(("crop",)).address(digest, 1)


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "I;16"])
def test_other_modes_are_refused(mode):
    with pytest.raises(SourceError, match=r"received image\.mode="):
        ViewRecipe(("flip",)).apply(Image.new(mode, (4, 4)), 1, DIGEST, SIZE)
