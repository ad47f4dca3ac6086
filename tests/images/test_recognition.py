"""What a user is told about images that are odd and accepted all the same."""

import io
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from featx.images.decoding import load_image, reference_image
from featx.images.recognition import oddities
from tests.images.builders import FORMATS, JPEG, TILES, encode, jpeg_segment, mutants, with_orientation

SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


def notes_of(data, name="a", input_size=(8, 6)):
    notes = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = load_image(data, input_size, name, notes)
        np.testing.assert_array_equal(pixels, load_image(data, input_size, name))
    return notes


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_plain_image_has_nothing_odd(image_format):
    data = encode(TILES, image_format)
    assert notes_of(data, f"a{SUFFIXES[image_format].upper()}") == []
    assert notes_of(data, "sample 3") == notes_of(data, "a.dat") == []


@pytest.mark.parametrize("name", ["rotated.jpg", "large.jpg", "cmyk.jpg", "lossy.webp", "alpha.png"])
def test_what_is_decoded_by_a_rule_is_not_odd(name):
    assert notes_of(reference_image(name), name) == []


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_name_that_promises_another_format_is_odd(image_format):
    for other, suffix in SUFFIXES.items():
        expected = [] if other == image_format else [f"{image_format} named {suffix}"]
        assert notes_of(encode(TILES, image_format), f"cat/a{suffix}") == expected


def test_tiny_and_thin_images_are_odd():
    tiny, thin = "under 8 pixels wide or high", "over 50 times as long as wide"
    sizes = {
        (1, 1): [tiny],
        (7, 8): [tiny],
        (8, 8): [],
        (8, 400): [],
        (8, 401): [thin],
        (20_000, 1): [tiny, thin],
    }
    for (width, height), expected in sizes.items():
        assert notes_of(encode(Image.new("L", (width, height)), "PNG")) == expected


def test_a_scaled_jpeg_is_not_tiny():
    assert notes_of(encode(Image.new("L", (60, 60)), "JPEG"), input_size=(2, 2)) == []


@pytest.mark.parametrize(
    ("image_format", "note"),
    [
        ("TIFF", ["several pages, of which the first is taken"]),
        *((name, ["an animation, of which the first is taken"]) for name in ("GIF", "WEBP", "PNG")),
        # What many telephones write: a photo, and another view of it.
        ("MPO", []),
    ],
)
def test_an_image_of_several_is_odd(image_format, note):
    others = [Image.fromarray(255 - TILES)]
    assert notes_of(encode(TILES, image_format, save_all=True, append_images=others), "a") == note


@pytest.mark.parametrize("options", [{}, {"comment": b"x" * 1000}, {"duration": 100}, {"transparency": 0}])
def test_frames_of_a_gif_are_told_by_its_blocks(options):
    noise = np.random.default_rng(0).integers(0, 256, (60, 50, 3)).astype(np.uint8)
    several = {"save_all": True, "append_images": [Image.fromarray(255 - noise)]}
    assert notes_of(encode(noise, "GIF", **options)) == []
    assert notes_of(encode(noise, "GIF", **options) + b",,," * 100) == []
    assert notes_of(encode(noise, "GIF", **several, **options)) == [
        "an animation, of which the first is taken"
    ]


def test_damage_behind_the_first_frame_is_not_its_own():
    others = [Image.fromarray(255 - TILES)]
    data = encode(TILES, "GIF", save_all=True, append_images=others)
    for cut in range(len(data) // 2, len(data), 7):
        try:
            load_image(data[:cut], (8, 6))
        except ValueError:
            continue
        assert set(notes_of(data[:cut])) <= {"an animation, of which the first is taken"}


def test_a_jpeg_without_an_end_may_be_grey():
    photo = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8), "JPEG")
    half = len(photo) // 2
    grey = ["no end of a JPEG: its tail may be grey"]
    assert notes_of(photo[:half] + bytes(half)) == grey
    # Nor does the end of a thumbnail count.
    exif = with_orientation(1)
    with_thumbnail = photo[:2] + jpeg_segment(0xE1, exif.tobytes() + JPEG) + photo[2:]
    assert notes_of(with_thumbnail[:-half] + bytes(half)) == grey
    assert notes_of(photo + bytes(100)) == []


@pytest.mark.parametrize(
    ("exif", "is_odd"),
    [
        (with_orientation(6), False),
        (with_orientation(99), True),
        (b"Exif\0\0garbage", True),
        (Image.Exif(), False),
    ],
    ids=["turned", "unknown", "damaged", "empty"],
)
def test_an_exif_block_of_no_use_is_odd(exif, is_odd):
    expected = ["an EXIF block that is damaged or of unknown orientation, ignored"] if is_odd else []
    assert notes_of(encode(TILES, "JPEG", exif=exif)) == expected


@pytest.mark.parametrize("image_format", FORMATS)
def test_looking_for_oddities_refuses_nothing(image_format):
    options = {} if image_format in ("GIF", "BMP") else {"exif": with_orientation(6)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mutant in mutants(encode(TILES, image_format, **options), 200):
            refused = []
            for notes in (None, []):
                try:
                    load_image(mutant, (8, 6), "a", notes)
                except ValueError:
                    refused.append(notes)
            assert len(refused) in (0, 2)


def test_pixels_have_nothing_odd():
    assert notes_of(TILES, "0.jpg") == []


def test_looking_for_oddities_costs_next_to_nothing():
    data = encode(np.random.default_rng(0).integers(0, 256, (375, 500, 3)).astype(np.uint8), "JPEG")
    load_image(data, (224, 224))

    def fastest(call):
        spent = []
        for _ in range(20):
            started = time.perf_counter()
            call()
            spent.append(time.perf_counter() - started)
        return min(spent)

    image = Image.open(io.BytesIO(data))
    looking = fastest(lambda: oddities(image, image.size, data, "cat/a.jpg"))
    assert looking < 0.05 * fastest(lambda: load_image(data, (224, 224)))
