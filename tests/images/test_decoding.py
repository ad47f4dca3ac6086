"""Bytes to pixels: the corpus of odd and hostile files, and what each becomes."""

import functools
import io
import pickle
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile
from sklearn.datasets import load_sample_image

from featx.errors import DecodeError
from featx.images.decoding import (
    MAX_PIXELS,
    content_sha256,
    decode_image,
    load_image,
    load_within,
    pixels_sha256,
    reference_image,
)
from tests.contracts import run_python
from tests.images.builders import (
    FORMATS,
    INKS,
    JPEG,
    ORIENTATION,
    PLAIN_INKS,
    PNG,
    TILES,
    cmyk_profile,
    cmyk_tiff,
    encode,
    flipped,
    huge_headers,
    mutants,
    png,
    png_chunk,
    png_without_end,
    with_orientation,
    zeros,
)

# --------------------------------------------------------------------------------- what is no image


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"^cat/1\.jpg: empty file$"),
        (b"x", "not an image"),
        (b"Dear user, this is no picture.\n", "not an image of a known format; expected one of JPEG, PNG"),
        (b"\n<!DOCTYPE html>\n<title>404</title>", "HTML page.*download"),
        (b"<html><body>404</body></html>", "HTML page.*download"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "run: git lfs pull"),
        (b"%PDF-1.7\n%\xe2\xe3", "a PDF"),
        (b"PK\x03\x04" + bytes(26), "a zip archive"),
        (pickle.dumps({"an": "image"}), "not an image"),
        (b"\x93NUMPY\x01\0v\0", "a NumPy file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supported; convert it"),
        (b"<?xml version='1.0'?><svg/>", "SVG is not supported; convert it"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC is not supported.*; convert it"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF is not supported.*; convert it"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 is not supported; convert it"),
        (b"8BPS\0\1" + bytes(20), "expected one of"),
        (encode(TILES, "PPM"), "expected one of"),
        (encode(TILES, "TGA"), "expected one of"),
        (encode(TILES, "ICO"), "expected one of"),
    ],
)
def test_what_is_no_image_that_is_read_says_what_it_is(data, reason):
    with pytest.raises(DecodeError, match=reason) as caught:
        decode_image(data, "cat/1.jpg")
    assert caught.value.sample_id == "cat/1.jpg"


def test_a_reason_that_quotes_the_file_stays_on_one_line():
    with pytest.raises(DecodeError) as caught:
        decode_image(b"\0\0\0\x18ftyp\x1b[2J", "a\nb.jpg")
    assert str(caught.value).isprintable()
    assert caught.value.reason.isprintable()


# ---------------------------------------------------------------------------------- what is damaged


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_an_image_that_is_cut_off_is_refused(image_format, part):
    data = encode(TILES, image_format)
    with pytest.raises(DecodeError, match=r"damaged or truncated image|truncated PNG"):
        decode_image(data[: int(len(data) * part)], "a")


@pytest.mark.parametrize(
    "data",
    [
        JPEG[:4],
        JPEG[: JPEG.index(b"\xff\xda")],
        JPEG[:-2],
        png_without_end(),
        png_without_end() + b"\0" * 100,
        flipped(PNG, PNG.index(b"IDAT") - 4 + 20),
        flipped(PNG, PNG.index(b"IHDR") + 17),
        png(0, 10, 8, 2, [b""] * 10),
        png(10, 0, 8, 2, []),
    ],
    ids=[
        "JPEG of 4 bytes",
        "JPEG without scan",
        "JPEG without end",
        "PNG without end",
        "PNG with zeros for an end",
        "PNG with a flipped bit of pixels",
        "PNG with a wrong header checksum",
        "PNG 0 wide",
        "PNG 0 high",
    ],
)
def test_a_damaged_image_is_refused_and_called_so(data):
    with pytest.raises(DecodeError, match=r"damaged or truncated image|truncated PNG"):
        decode_image(data, "a")


def test_a_text_chunk_that_expands_without_end_is_refused():
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**25), 9))
    with pytest.raises(DecodeError, match="damaged or truncated image"):
        decode_image(png(1, 1, 8, 0, [b"\0"], bomb), "a")


def test_damage_that_a_decoder_cannot_see_costs_nothing_but_pixels():
    # A JPEG's scan has no checksum.
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    data = encode(pixels, "JPEG")
    half = len(data) // 2
    for damaged in (data[:half] + bytes(len(data) - half), flipped(data, half)):
        assert decode_image(damaged).shape == pixels.shape


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        *((image_format, {}) for image_format in FORMATS),
        ("JPEG", {"progressive": True, "exif": with_orientation(6)}),
        ("PNG", {"mode": "P"}),
        ("WEBP", {"lossless": True, "exif": with_orientation(6)}),
        *(("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
    ],
)
def test_no_mutant_escapes_as_anything_but_a_decode_error(image_format, options, capfd):
    errors = []
    with warnings.catch_warnings():
        # As for a user, who has not turned Pillow's warnings into errors.
        warnings.simplefilter("ignore")
        for mutant in mutants(encode(TILES, image_format, **options), 300):
            try:
                image = load_image(mutant, (8, 6), "mutant")
            except DecodeError as error:
                errors.append(error)
            else:
                assert (image.shape, image.dtype) == ((8, 6, 3), np.uint8)
    # Were there few, the mutants would be too tame to tell anything.
    assert len(errors) > 100
    assert {error.sample_id for error in errors} == {"mutant"}
    assert all(str(error).isprintable() for error in errors)
    # libtiff writes to stderr of its own accord.
    capfd.readouterr()


# -------------------------------------------------------------------------------- what is too large


@pytest.mark.parametrize("name", huge_headers())
@pytest.mark.parametrize("action", ["error", "ignore"])
def test_a_header_that_claims_too_many_pixels_is_refused(name, action):
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(DecodeError, match="more than 50,000,000"):
            decode_image(huge_headers()[name], "a")


@pytest.mark.parametrize("action", ["error", "ignore"])
@pytest.mark.parametrize(("width", "height"), [(8_000, 6_251), (12_000, 8_000), (50_000_001, 1)])
def test_the_limit_is_featxs_and_not_pillows(width, height, action):
    # Pillow warns from 89 megapixels on and refuses from 179 on.
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(DecodeError, match="more than 50,000,000"):
            decode_image(png(width, height, 1, 0, [b""]), "a")


def test_an_image_of_just_the_limit_is_decoded():
    width, height = 12_500, 4_000
    assert width * height == MAX_PIXELS
    rows = [bytes(-(-width // 8))] * height
    assert load_image(png(width, height, 1, 0, rows), (2, 2)).tolist() == [[[0, 0, 0]] * 2] * 2


DECODE_AND_MEASURE = """
import re, sys, warnings
from pathlib import Path
from featx.errors import DecodeError
from featx.images.decoding import decode_image
warnings.simplefilter("ignore")
def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    before = peak_kib()
    try:
        decode_image(data)
        sys.exit(f"{path.name} was decoded")
    except DecodeError:
        print(path.name, peak_kib() - before)
"""


# The peak that getrusage tells is the parent's, where that was higher.
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_refusing_an_image_takes_little_memory(tmp_path):
    bombs = huge_headers() | {"text": png(1, 1, 8, 0, [b"\0"], png_chunk(b"zTXt", b"x\0\0" + zeros(200)))}
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    done = run_python(DECODE_AND_MEASURE, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    peaks = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert peaks.keys() == bombs.keys()
    assert max(map(int, peaks.values())) < 50 * 1024


# ---------------------------------------------------------------------- what is accepted, and its pixels


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_format_is_known_by_its_content(image_format):
    # Nothing here has a file name.
    options = {"quality": 95} if image_format in ("JPEG", "WEBP") else {}
    found = decode_image(encode(TILES, image_format, **options))
    assert (found.shape, found.dtype) == (TILES.shape, np.uint8)
    error = np.abs(found.astype(int) - TILES).mean()
    # Chroma is stored at half the width; a palette has fewer colours.
    assert error < (12 if image_format in ("JPEG", "WEBP") else 0.01)


@pytest.mark.parametrize("image_format", FORMATS)
def test_what_follows_an_image_is_ignored(image_format):
    data = encode(TILES, image_format)
    expected = decode_image(data)
    for tail in (b"garbage" * 100, encode(255 - TILES, image_format)):
        np.testing.assert_array_equal(decode_image(data + tail), expected)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 20_000), (20_000, 1)])
def test_tiny_and_thin_images_are_images(height, width):
    pixels = np.full((height, width, 3), 77, np.uint8)
    np.testing.assert_array_equal(decode_image(encode(pixels, "PNG")), pixels)
    assert load_image(encode(pixels, "PNG"), (4, 4)).tolist() == [[[77] * 3] * 4] * 4


UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: np.rot90,
    # Of no meaning: as it is.
    0: lambda stored: stored,
    99: lambda stored: stored,
}


@pytest.mark.parametrize("value", UPRIGHT)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_an_image_is_turned_as_its_exif_says(image_format, value):
    options = {"lossless": True} if image_format == "WEBP" else {}
    stored = decode_image(encode(TILES, image_format, **options))
    turned = decode_image(encode(TILES, image_format, exif=with_orientation(value), **options))
    np.testing.assert_array_equal(turned, UPRIGHT[value](stored))


@pytest.mark.parametrize("mode", ["L", "P", "LA", "RGBA", "1"])
def test_an_image_of_any_mode_is_turned(mode):
    stored = decode_image(encode(TILES, "PNG", mode))
    turned = decode_image(encode(TILES, "PNG", mode, exif=with_orientation(6)))
    np.testing.assert_array_equal(turned, np.rot90(stored, -1))


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", with_orientation(1).tobytes()[:-8], b"Exif\0\0"],
    ids=["garbage", "no directory", "cut off", "empty"],
)
def test_a_damaged_exif_block_is_ignored(exif):
    with warnings.catch_warnings():
        # Pillow warns, or does not, by the kind of damage.
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(decode_image(encode(TILES, "JPEG", exif=exif)), decode_image(JPEG))


def test_cmyk_without_a_profile_follows_the_plain_formula():
    assert decode_image(cmyk_tiff())[0].tolist() == PLAIN_INKS


def test_cmyk_follows_its_profile():
    found = decode_image(cmyk_tiff(cmyk_profile()))[0].astype(int)
    # By this profile the three colours are as white as paper.
    np.testing.assert_allclose(found, [[255] * 3] * 3 + [[0] * 3, [255] * 3], atol=3)


@pytest.mark.parametrize(
    "profile",
    [b"garbage", cmyk_profile()[:200], ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
    ids=["garbage", "cut off", "of RGB"],
)
def test_a_profile_that_does_not_serve_is_ignored(profile):
    assert decode_image(cmyk_tiff(profile))[0].tolist() == PLAIN_INKS
    np.testing.assert_array_equal(decode_image(encode(TILES, "PNG", icc_profile=profile)), TILES)


def test_a_cmyk_jpeg_is_not_a_negative():
    pixels = Image.fromarray(np.kron(INKS, np.ones((8, 8, 1), np.uint8)), "CMYK")
    found = decode_image(encode(pixels, "JPEG", quality=95))[4, 4::8]
    np.testing.assert_allclose(found.astype(int), PLAIN_INKS, atol=8)


@pytest.mark.parametrize(
    ("data", "levels"),
    [
        (png(4, 1, 8, 0, [bytes([0, 1, 128, 255])]), [0, 1, 128, 255]),
        (png(4, 1, 4, 0, [bytes([0x01, 0x8F])]), [0, 17, 136, 255]),
        (png(4, 1, 2, 0, [bytes([0b00011011])]), [0, 85, 170, 255]),
        (png(4, 1, 1, 0, [bytes([0b01010000])]), [0, 255, 0, 255]),
        (png(2, 1, 8, 4, [bytes([7, 255, 200, 255])]), [7, 200]),
    ],
    ids=["8 bit", "4 bit", "2 bit", "1 bit", "opaque alpha"],
)
def test_grey_is_replicated(data, levels):
    assert decode_image(data)[0].tolist() == [[level] * 3 for level in levels]


def test_a_palette_is_expanded():
    palette = png_chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255]))
    assert decode_image(png(2, 1, 8, 3, [bytes([1, 0])], palette))[0].tolist() == [[0, 0, 255], [255, 0, 0]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(2, 1, 8, 6, [bytes([9, 8, 7, 0, 9, 8, 7, 255])]), [[255, 255, 255], [9, 8, 7]]),
        (png(2, 1, 8, 4, [bytes([9, 0, 9, 255])]), [[255] * 3, [9] * 3]),
        (
            png(2, 1, 8, 3, [bytes([0, 1])], png_chunk(b"PLTE", bytes(6)), png_chunk(b"tRNS", b"\0")),
            [[255] * 3, [0] * 3],
        ),
        (png(2, 1, 8, 0, [bytes([9, 8])], png_chunk(b"tRNS", b"\0\x09")), [[255] * 3, [8] * 3]),
        (png(2, 1, 1, 0, [b"\x40"], png_chunk(b"tRNS", b"\0\0")), [[255] * 3, [255] * 3]),
        (
            png(2, 1, 16, 0, [struct.pack(">HH", 300, 512)], png_chunk(b"tRNS", struct.pack(">H", 300))),
            [[255] * 3, [2] * 3],
        ),
        (
            png(2, 1, 8, 2, [bytes([1, 2, 3, 1, 2, 4])], png_chunk(b"tRNS", b"\0\1\0\2\0\3")),
            [[255] * 3, [1, 2, 4]],
        ),
        (png(1, 1, 16, 6, [struct.pack(">4H", 0, 0, 0, 0)]), [[255] * 3]),
    ],
    ids=["RGBA", "LA", "palette", "grey", "1 bit", "16-bit grey", "RGB", "16-bit RGBA"],
)
def test_what_is_transparent_is_white(data, expected):
    assert decode_image(data)[0].tolist() == expected


def test_what_is_half_transparent_is_half_white():
    found = decode_image(png(1, 1, 8, 6, [bytes([0, 100, 200, 128])]))[0, 0].astype(int)
    np.testing.assert_allclose(found, [127, 177, 227], atol=1)


def test_the_colour_under_what_is_transparent_does_not_show_when_resized():
    # Black and transparent beside white: a resize before compositing would make a dark fringe.
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = 255
    assert load_image(encode(pixels, "PNG"), (5, 5)).min() == 255


@pytest.mark.parametrize(
    "data",
    [
        png(4, 1, 16, 0, [struct.pack(">4H", 0, 255, 0x7FFF, 0xFFFF)]),
        encode(np.array([[0, 255, 0x7FFF, 0xFFFF]], "<u2"), "TIFF"),
        encode(np.array([[0, 255, 0x7FFF, 0xFFFF]], ">u2"), "TIFF"),
        png(4, 1, 16, 2, [struct.pack(">12H", *np.repeat([0, 255, 0x7FFF, 0xFFFF], 3))]),
        png(4, 1, 16, 4, [struct.pack(">8H", 0, 65535, 255, 65535, 0x7FFF, 65535, 65535, 65535)]),
    ],
    ids=["grey PNG", "grey TIFF", "big-endian grey TIFF", "RGB PNG", "grey and alpha PNG"],
)
def test_of_16_bits_the_upper_eight_are_kept(data):
    # Pillow's own conversion of grey would clip nearly everything to white.
    assert decode_image(data)[0].tolist() == [[0] * 3, [0] * 3, [127] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("pixels", "kind"), [(np.ones((4, 4), np.float32), "floats"), (np.ones((4, 4), np.int32), "integers")]
)
def test_32_bit_pixels_without_a_range_are_refused(pixels, kind):
    with pytest.raises(DecodeError, match=f"32-bit {kind} without a stated range; save as 8 or 16 bit"):
        decode_image(encode(pixels, "TIFF"), "a")


@pytest.mark.parametrize("image_format", ["TIFF", "GIF", "WEBP", "PNG", "MPO"])
def test_of_several_images_the_first_is_taken(image_format):
    # MPO is what many telephones write and call .jpg.
    options = {"lossless": True} if image_format == "WEBP" else {}
    others = [Image.fromarray(255 - TILES), Image.fromarray(TILES[::-1].copy())]
    found = decode_image(encode(TILES, image_format, save_all=True, append_images=others, **options))
    np.testing.assert_array_equal(found, decode_image(JPEG) if image_format == "MPO" else TILES)


# ----------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize(
    ("size", "input_size"),
    [
        ((100, 80), (24, 24)),
        ((300, 200), (24, 24)),
        ((37, 53), (24, 24)),
        ((500, 3), (8, 8)),
        ((10, 12), (40, 32)),
        ((1, 1), (5, 4)),
        ((64, 64), (64, 32)),
    ],
)
def test_the_resize_is_that_of_keras(size, input_size):
    import keras

    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    expected = keras.ops.image.resize(
        pixels.astype(np.float32), input_size, interpolation="bilinear", antialias=True
    )
    found = load_image(pixels, input_size)
    assert (found.shape, found.dtype) == ((*input_size, 3), np.uint8)
    # One grey level, and the rounding of each of the two passes.
    assert np.abs(found - np.asarray(expected)).max() <= 2


def test_an_image_of_the_right_size_is_not_touched():
    np.testing.assert_array_equal(load_image(PNG, TILES.shape[:2]), TILES)


def test_the_input_size_is_height_then_width():
    assert load_image(PNG, (5, 7)).shape == (5, 7, 3)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_a_grey_image_is_resized_like_its_replica_in_colour(mode):
    grey = encode(TILES, "PNG", mode)
    np.testing.assert_array_equal(load_image(grey, (9, 7)), load_image(decode_image(grey), (9, 7)))


def test_a_turned_image_is_resized_upright():
    turned = encode(TILES, "PNG", exif=with_orientation(6))
    np.testing.assert_array_equal(load_image(turned, (24, 16)), np.rot90(TILES, -1))


def test_pixels_are_taken_as_they_are():
    np.testing.assert_array_equal(decode_image(TILES), TILES)
    np.testing.assert_array_equal(load_image(TILES, (9, 7)), load_image(PNG, (9, 7)))
    # Also a view of a larger array.
    np.testing.assert_array_equal(decode_image(TILES[::2, ::-3]), TILES[::2, ::-3])


def test_threads_decode_what_one_thread_decodes():
    images = [encode(np.roll(TILES, shift), image_format) for image_format in FORMATS for shift in range(8)]
    expected = [decode_image(data).tobytes() for data in images]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda data: decode_image(data).tobytes(), images * 4))
    assert found == expected * 4


# ------------------------------------------------------------------------------- scaled JPEG decoding


@functools.cache
def sample_photo():
    return Image.fromarray(load_sample_image("china.jpg"))


@functools.cache
def photo(width, height, orientation=1, **options):
    """A JPEG of a real photo, which in whole is 640 x 427."""
    return encode(
        sample_photo().resize((width, height)), "JPEG", exif=with_orientation(orientation), **options
    )


def in_whole(data, input_size):
    """Decoded at full size, then resized."""
    return load_image(decode_image(data), input_size).astype(int)


@pytest.fixture
def scales(monkeypatch):
    """By how much each JPEG was reduced while it was decoded, by what libjpeg was told."""
    found = []
    load = JpegImageFile.load
    # Itself a JPEG that is loaded, but only once.
    sample_photo()

    def note(image):
        if image.tile:
            found.append((image.decoderconfig or (1,))[0])
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", note)
    return found


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [
        # 24 high and 36 wide is asked for: at least 40 and 60 are to be left.
        (119, 427, 1),
        (120, 79, 1),
        (120, 80, 2),
        (239, 427, 2),
        (240, 159, 2),
        (240, 160, 4),
        (479, 427, 4),
        (480, 319, 4),
        (480, 320, 8),
        (1000, 700, 8),
    ],
)
def test_a_jpeg_is_reduced_as_far_as_five_thirds_of_the_input_size_remain(width, height, scale, scales):
    assert load_image(photo(width, height), (24, 36)).shape == (24, 36, 3)
    assert scales == [scale]


def test_five_thirds_are_rounded_up(scales):
    # Of 25 they are 41.7.
    for length in (83, 84):
        load_image(photo(length, length), (25, 25))
    assert scales == [1, 2]


@pytest.mark.parametrize("value", [value for value in UPRIGHT if value])
def test_the_input_size_is_turned_as_the_image_is_stored(value, scales):
    # 640 x 427 reduced by 4 is 160 x 107: enough for 90 x 60 as stored, and by 2 at most when turned.
    data = photo(640, 427, orientation=value)
    lying = value not in (5, 6, 7, 8)
    input_size = (60, 90) if lying else (90, 60)
    upright = UPRIGHT[value](load_image(photo(640, 427), (60, 90)))
    np.testing.assert_array_equal(load_image(data, input_size), upright)
    load_image(data, input_size[::-1])
    assert scales == [4, 4, 2]


@pytest.mark.parametrize(("height", "width"), [(24, 36), (47, 70), (120, 120)])
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("RGB", {}),
        ("RGB", {"subsampling": "4:4:4"}),
        ("RGB", {"progressive": True, "orientation": 8}),
        ("L", {"orientation": 3}),
        ("CMYK", {"orientation": 5}),
    ],
    ids=["4:2:0", "4:4:4", "progressive", "grey", "CMYK"],
)
def test_scaled_pixels_are_nearly_those_of_the_whole_image(mode, options, height, width, scales):
    # 637 x 421 leaves a part of a pixel at two edges, whatever it is divided by.
    data = photo(637, 421, mode=mode, quality=90, **options)
    difference = np.abs(load_image(data, (height, width)) - in_whole(data, (height, width)))
    assert scales[0] > 1
    assert scales[1] == 1
    assert difference.mean() < 1.5
    # At no edge more than elsewhere.
    assert (
        max(edge.mean() for edge in (difference[0], difference[-1], difference[:, 0], difference[:, -1])) < 3
    )


def test_a_scaled_image_ends_where_the_whole_one_does(scales):
    # Of 121 columns, reduced by 8, the 16th has but one: were it as wide as the others, a ramp would be
    # off by 6 %.
    ramp = np.tile(np.linspace(0, 255, 121).astype(np.uint8), (128, 1))
    data = encode(ramp, "JPEG", quality=95)
    found = load_image(data, (6, 9))[..., 0].astype(int)
    assert scales == [8]
    assert np.abs(found - in_whole(data, (6, 9))[..., 0]).max() <= 3


@pytest.mark.parametrize("image_format", sorted(set(FORMATS) - {"JPEG"}))
def test_other_formats_are_decoded_whole(image_format):
    data = encode(Image.open(io.BytesIO(photo(400, 300))), image_format)
    np.testing.assert_array_equal(load_image(data, (20, 30)), in_whole(data, (20, 30)))


def test_of_a_large_jpeg_of_several_images_the_first_is_scaled(scales):
    first = Image.open(io.BytesIO(photo(400, 300)))
    data = encode(first, "MPO", save_all=True, append_images=[first.rotate(180)])
    assert np.abs(load_image(data, (20, 30)) - in_whole(data, (20, 30))).mean() < 1.5
    assert scales[-2:] == [8, 1]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}, {"mode": "CMYK"}])
def test_a_cut_off_jpeg_is_refused_when_scaled_too(options):
    data = photo(640, 427, **options)
    cuts = [*range(4, len(data), len(data) // 12), *(len(data) - n for n in range(1, 5))]
    for cut in cuts:
        for input_size in ((40, 40), (90, 90), (120, 120)):
            with pytest.raises(DecodeError, match="damaged or truncated image"):
                load_image(data[:cut], input_size, "a")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"orientation": 6}])
def test_a_mutant_is_refused_scaled_just_when_it_is_refused_whole(options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = [
            (is_refused(decode_image, mutant), is_refused(load_image, mutant, (12, 12)))
            for mutant in mutants(photo(160, 120, **options), 100)
        ]
    assert set(refused) == {(True, True), (False, False)}


def is_refused(decode, *arguments):
    try:
        decode(*arguments)
    except DecodeError:
        return True
    return False


# ----------------------------------------------------------------------------------------- digests


def test_an_encoded_image_is_addressed_by_its_bytes():
    assert content_sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_pixels_are_addressed_by_values_and_shape():
    view = np.dstack([TILES, TILES])[..., :3]
    assert content_sha256(view) == content_sha256(TILES)
    others = [TILES.reshape(24, 16, 3), TILES[::-1], flip_lowest_bit(TILES), TILES.tobytes()]
    digests = {content_sha256(other) for other in others} | {content_sha256(TILES)}
    assert len(digests) == 5


def flip_lowest_bit(pixels):
    other = pixels.copy()
    other[-1, -1, -1] ^= 1
    return other


def test_the_digest_of_the_decoder_is_that_of_another_process():
    code = "from featx.images.decoding import pixels_sha256; print(pixels_sha256())"
    assert run_python(code).stdout.strip() == pixels_sha256()


def test_the_digest_of_the_decoder_covers_every_scale(scales):
    pixels_sha256.__wrapped__()
    assert set(scales) == {1, 2, 4, 8}


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("rotated.jpg", lambda image: image.getexif()[ORIENTATION] == 6),
        ("large.jpg", lambda image: image.getexif()[ORIENTATION] == 8 and image.size == (131, 99)),
        ("cmyk.jpg", lambda image: image.mode == "CMYK"),
        ("lossy.webp", lambda image: image.format == "WEBP"),
        ("grey16.png", lambda image: image.mode.startswith("I;16")),
        ("alpha.png", lambda image: np.ptp(np.asarray(image)[..., 3]) > 0),
        ("palette.gif", lambda image: image.mode == "P" and image.has_transparency_data),
    ],
)
def test_each_reference_image_is_of_the_kind_it_stands_for(name, rule):
    assert rule(Image.open(io.BytesIO(reference_image(name))))


@pytest.mark.parametrize("size", [(1000, 20), (20, 1000), (40, 30), (640, 480), (1, 900)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_an_image_within_a_length_keeps_its_shape_and_is_never_enlarged(size, orientation):
    data = encode(np.zeros((size[1], size[0], 3), np.uint8), "JPEG", exif=with_orientation(orientation))
    whole = decode_image(data).shape[:2]
    within = load_within(data, 60).shape[:2]
    scale = min(1, 60 / max(whole))
    assert within == tuple(max(1, round(length * scale)) for length in whole)


def test_a_large_jpeg_within_a_length_is_what_it_is_whole_made_small():
    photo = load_sample_image("china.jpg")
    data = encode(photo, "JPEG", quality=95)
    whole = np.asarray(Image.fromarray(decode_image(data)).resize((64, 43), Image.Resampling.BILINEAR))
    difference = np.abs(load_within(data, 64).astype(int) - whole)
    assert difference.mean() < 1.5
