"""Files built to stall or to bloat a decoder are refused early; whole images of many parts are not."""

import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from featx.errors import DecodeError
from featx.images import bounds, colours
from featx.images.decoding import decode_image, load_image
from tests.contracts import time_limit
from tests.images.builders import (
    JPEG,
    PNG,
    TILES,
    encode,
    jpeg_of_scans,
    jpeg_segment,
    png_chunk,
    staller,
    tiff_of_strips,
    tiff_of_tiles,
)

SEGMENTS = "far more segments than an image has"
NEEDS = "more than (the|an) image needs"
PASSES = r"passes over \d+ x \d+ pixels are too many; save it as a baseline JPEG"
REFUSALS = f"{SEGMENTS}|{PASSES}|{NEEDS}"


@pytest.mark.parametrize("name", staller(""))
def test_a_file_built_to_stall_its_decoder_is_refused(name, monkeypatch):
    # A hundredth of the parts and of the limit: the fault suite measures the whole.
    monkeypatch.setattr(bounds, "_MAX_READS", bounds._MAX_READS // 100)
    data = staller(name, 10_000)
    with time_limit(10), pytest.raises(DecodeError, match=REFUSALS):
        load_image(data, (8, 6), "a")


def test_what_fills_a_scan_is_copied_once():
    data = JPEG[:-2] + b"\xff" * 30_000_000 + JPEG[-2:]
    with time_limit(10):
        np.testing.assert_array_equal(decode_image(data), decode_image(JPEG))


@pytest.mark.parametrize("n_scans", [2, 60])
def test_a_jpeg_of_as_many_scans_as_are_usual_is_decoded(n_scans):
    assert load_image(jpeg_of_scans(4000, 3000, n_scans), (3, 3)).shape == (3, 3, 3)


def test_the_limit_of_scans_is_sharp(monkeypatch):
    monkeypatch.setattr(bounds, "_MAX_SCANNED_SAMPLES", 30 * 16 * 16)
    load_image(jpeg_of_scans(16, 16, 30), (3, 3))
    with pytest.raises(DecodeError, match=f"31 {PASSES}"):
        load_image(jpeg_of_scans(16, 16, 31), (3, 3))


@pytest.mark.parametrize("lone", [b"\xff\x01\xff", b"\xff\xff\xd0\xff", b"\xff\x00\xff"])
def test_a_marker_without_a_length_hides_no_scan(lone, monkeypatch):
    monkeypatch.setattr(bounds, "_MAX_SCANNED_SAMPLES", 30 * 16 * 16)
    # Read as a length, what follows it would lead past the other scans.
    head, first, scans = jpeg_of_scans(16, 16, 31).partition(b"\xff\xda")
    data = head + first + scans.replace(b"\xff\xda", lone + b"\xda")
    with pytest.raises(DecodeError, match=PASSES):
        load_image(data, (3, 3), "a")


def sequential(components_of_scans):
    """A JPEG of three components that is not progressive, in scans of so many of them and of no bits."""
    components = b"".join(bytes([index, 0x11, 0]) for index in (1, 2, 3))
    table = bytes([1]) + bytes(16)
    head = [jpeg_segment(0xDB, bytes(1) + b"\1" * 64)]
    head += [jpeg_segment(0xC0, struct.pack(">BHHB", 8, 16, 16, 3) + components)]
    head += [jpeg_segment(0xC4, bytes([kind]) + table) for kind in (0, 0x10)]
    scans = [
        jpeg_segment(0xDA, bytes([n, *(byte for index in range(n) for byte in (index + 1, 0)), 0, 63, 0]))
        for n in components_of_scans
    ]
    return b"\xff\xd8" + b"".join(head + scans) + b"\xff\xd9"


def test_a_jpeg_that_is_not_progressive_may_have_many_scans_too(monkeypatch):
    monkeypatch.setattr(bounds, "_MAX_SCANNED_SAMPLES", 30 * 16 * 16)
    assert load_image(sequential([1] * 30), (3, 3)).shape == (3, 3, 3)
    with pytest.raises(DecodeError, match=f"31 {PASSES}"):
        load_image(sequential([1] * 31), (3, 3))
    # Of all components at once it has but one, whatever follows.
    with pytest.raises(DecodeError, match="damaged"):
        load_image(sequential([3] + [1] * 31), (3, 3))


@pytest.mark.parametrize("where", ["before", "after"])
def test_scans_of_other_images_in_the_file_do_not_count(where, monkeypatch):
    # As in a thumbnail, and in the film that some telephones put behind a photo.
    monkeypatch.setattr(bounds, "_MAX_SCANNED_SAMPLES", 30 * 16 * 16)
    data = jpeg_of_scans(16, 16, 30)
    other = jpeg_of_scans(16, 16, 40)
    data = data + other if where == "after" else data[:2] + jpeg_segment(0xE5, other) + data[2:]
    assert load_image(data, (3, 3)).shape == (3, 3, 3)


def test_scans_of_several_components_count_by_them(monkeypatch):
    data = encode(TILES, "JPEG", progressive=True)
    # One scan of all three for the mean of a block, and as libjpeg has it 8 more of one and 1 of three.
    n_components = sum(data[at + 4] for at in range(len(data) - 4) if data[at : at + 2] == b"\xff\xda")
    for limit, is_refused in ((n_components, False), (n_components - 1, True)):
        monkeypatch.setattr(bounds, "_MAX_SCANNED_SAMPLES", limit * 24 * 16)
        if is_refused:
            with pytest.raises(DecodeError, match=f"{n_components} {PASSES}"):
                decode_image(data)
        else:
            decode_image(data)


def test_an_image_of_many_parts_is_decoded():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1500, 40, 3)).astype(np.uint8)
    strips = encode(pixels, "TIFF", tiffinfo={278: 1})
    np.testing.assert_array_equal(decode_image(strips), pixels)
    chunks = PNG[:33] + png_chunk(b"tEXt", b"a\0b") * 10_000 + PNG[33:]
    np.testing.assert_array_equal(decode_image(chunks), TILES)


def test_tiles_larger_than_the_image_are_decoded():
    assert not decode_image(tiff_of_tiles(40, 30, 64, 64)).any()
    assert not decode_image(tiff_of_tiles(200, 300, 16, 16)).any()


def test_strips_may_be_the_same_bytes():
    assert not decode_image(tiff_of_strips(300, 100_000)).any()


def test_a_huge_exif_block_is_ignored():
    def exif(n_values):
        # A single value stands in the place of the offset.
        tag = struct.pack("<HHHIII", 1, 0x0112, 3, n_values, 6 if n_values == 1 else 26, 0)
        return b"II*\0\x08\0\0\0" + tag + struct.pack("<H", 6) * n_values

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        turned = decode_image(encode(TILES, "PNG", exif=exif(1)))
        np.testing.assert_array_equal(
            decode_image(encode(TILES, "PNG", exif=exif(bounds.MAX_EXIF_BYTES))), TILES
        )
    assert turned.shape == (24, 16, 3)


@pytest.mark.parametrize("length", [7, 64])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "1", "RGB", "I;16"])
def test_an_image_converted_in_tiles_is_that_converted_whole(mode, length, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 4)).astype(np.uint8)
    transparency = {}
    if mode == "P":
        image, transparency = Image.fromarray(pixels[..., :3]).quantize(16), {"transparency": 3}
    elif mode == "I;16":
        image = Image.fromarray(pixels[..., :2].copy().view("<u2")[..., 0])
    else:
        image = Image.fromarray(pixels).convert(mode)
        grey = {"L": 128, "1": 0, "RGB": tuple(pixels[0, 0, :3].tolist())}
        transparency = {"transparency": grey[mode]} if mode in grey else {}
    data = encode(image, "PNG", **transparency)
    whole = decode_image(data)
    monkeypatch.setattr(colours, "_TILE", length)
    np.testing.assert_array_equal(decode_image(data), whole)


def test_a_tiff_that_says_nothing_of_its_tags_is_left_to_pillow():
    for data in (b"II*\0", b"MM\0*\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + b"\xff" * 12):
        bounds.check_tags(data)
