"""Bytes to pixels: every rule about odd files, and the one resize.

An image is uint8 RGB of shape (height, width, 3). What becomes of files that are not:

==========================  ===========================================================================
EXIF orientation            applied; a damaged or unknown one is ignored
alpha, transparent colour   composited on white
16-bit grey                 the upper eight bits (v >> 8); 16-bit colour likewise, by Pillow
grey, 1-bit, palette        replicated, expanded
CMYK                        to RGB through its embedded profile, else by Pillow's formula
animation, several pages    the first frame
32-bit integer or float     refused: their range is not stated in the file
over 50 megapixels          refused before any pixel is decoded
built to stall a decoder    refused: `featx.images.bounds`
other formats               refused: JPEG, PNG, WebP, GIF, BMP and TIFF are read, whatever the file's name
==========================  ===========================================================================

Resizing stretches to the input size with Pillow's ``BILINEAR``: a triangle filter as wide as the
reduction, so that it antialiases; first along the width, then along the height, each pass rounded to
uint8. An exported model repeats it to within one grey level (`featx.models.resizing`), given the pixels of
`decode_image`.

`load_image` does not decode a large JPEG whole only to make it small: libjpeg reduces it by the largest
of 8, 4 and 2 that leaves at least 5/3 of the input size, rounded up, in both directions. What remains is
resized as above. The file's header and the input size alone decide:

=================  =================================================================================
at 224 x 224       by 2 from 748 x 748 pixels on, by 4 from 1,496 x 1,496, by 8 from 2,992 x 2,992
EXIF orientation   the input size is turned to the stored axes first; the image is resized as it is
                   stored, then turned
other formats      decoded whole
=================  =================================================================================

Measured at 224 pixels on enlarged sample photos with detail and noise added, against decoding them whole:
photos of 4,000 x 3,000 differ by 0.7 grey levels in the mean and 9 at most, their efficientnet_lite0 features
by a cosine of 0.9989 in the mean and 0.997 at least; photos of just the size that is reduced, by 0.8 and 14
levels, and the same cosines. Moving a photo by a quarter of an input pixel does more (1.6 levels, 0.998),
compressing it again at quality 85 less (0.3 levels, 0.9998). Decoding and resizing 12 megapixels then takes
a third (4.3 MB) to a seventh (1.1 MB) of Pillow's time; what is left is reading the compressed bits.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from importlib.resources import files as package_files
from typing import TypeAlias

import numpy as np

# The formats' plugins by name: Pillow would load all that it has to find the one.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from featx.errors import DecodeError
from featx.images import bounds
from featx.images.bounds import MAX_PIXELS, TooMuchWorkError
from featx.images.colours import to_grey_or_rgb
from featx.images.recognition import FORMATS, oddities, png_has_end, what_it_is

#: An encoded file's bytes, or pixels: uint8 of shape (height, width, 3).
Content: TypeAlias = bytes | np.ndarray

# What (width, height) is wanted of an image that has this one, upright.
_Sizing: TypeAlias = Callable[[tuple[int, int]], tuple[int, int]]

MAX_FILE_BYTES = 256 * 2**20
RESIZE_RULE = "stretch, antialiased bilinear (Pillow); JPEG scaled by libjpeg to 5/3 of that size or more"

# Least size of a scaled JPEG by the input size. At 3/2 the features are up to three times as far from those
# of the whole image; at 2 hardly nearer, and 12 megapixels at 224 pixels would be reduced by 4, not by 8.
_LEAST_NUMERATOR, _LEAST_DENOMINATOR = 5, 3

# What undoes each EXIF orientation, and those of them that swap width and height.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING_TURNS = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))

_REFERENCE_IMAGES = (
    "rotated.jpg",
    "large.jpg",
    "cmyk.jpg",
    "lossy.webp",
    "grey16.png",
    "alpha.png",
    "palette.gif",
)


def content_sha256(content: Content) -> str:
    """The digest by which the store addresses an image: SHA-256 of its bytes.

    Pixels that were never encoded are digested together with their shape.

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> content_sha256(b"")[:8]
    'e3b0c442'
    >>> content_sha256(np.zeros((2, 2, 3), np.uint8)) == content_sha256(np.zeros((1, 4, 3), np.uint8))
    False
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(f"pixels {content.shape}".encode())
    digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def decode_image(content: Content, sample_id: str = "", notes: list[str] | None = None) -> np.ndarray:
    """Decode an image at its own size.

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8
        An encoded image, or pixels, which are returned as they are.
    sample_id : str, default=""
        Names the image in errors.
    notes : list of str, optional
        Takes what is odd about the image (`featx.images.recognition.oddities`); its name is ``sample_id``.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    DecodeError
        When the bytes are not a whole image of a supported kind.

    Examples
    --------
    >>> decode_image(reference_image("rotated.jpg")).shape
    (40, 30, 3)
    """
    return _to_rgb(_decode(content, sample_id, notes=notes))


def load_image(
    content: Content, input_size: tuple[int, int], sample_id: str = "", notes: list[str] | None = None
) -> np.ndarray:
    """Decode an image and resize it to a backbone's input size.

    A JPEG of at least 10/3 of the input size is scaled while it is decoded: its pixels differ by about one
    grey level from those of ``decode_image`` resized (the module's docstring has the rule and the figures).

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8
        An encoded image, or pixels.
    input_size : tuple of int
        (height, width), in pixels.
    sample_id : str, default=""
        Names the image in errors.
    notes : list of str, optional
        Takes what is odd about the image (`featx.images.recognition.oddities`); its name is ``sample_id``.

    Returns
    -------
    ndarray of shape (input height, input width, 3), uint8
        RGB.

    Raises
    ------
    DecodeError
        When the bytes are not a whole image of a supported kind.

    Examples
    --------
    >>> load_image(reference_image("grey16.png"), (8, 6)).shape
    (8, 6, 3)
    """
    height, width = input_size
    if isinstance(content, np.ndarray) and content.shape[:2] == (height, width):
        return content
    return _loaded(content, sample_id, lambda _: (width, height), notes)


def load_within(content: Content, length: int, sample_id: str = "") -> np.ndarray:
    """Decode an image and make it small enough, as it is to be looked at: its shape stays.

    A large JPEG is scaled while it is decoded, as by `load_image`.

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8
        An encoded image, or pixels.
    length : int
        Of the longer side, in pixels, at most; a smaller image is not enlarged.
    sample_id : str, default=""
        Names the image in errors.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8
        RGB.

    Raises
    ------
    DecodeError
        When the bytes are not a whole image of a supported kind.

    Examples
    --------
    >>> load_within(reference_image("rotated.jpg"), 20).shape
    (20, 15, 3)
    """

    def within(size: tuple[int, int]) -> tuple[int, int]:
        scale = min(1.0, length / max(size))
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))

    return _loaded(content, sample_id, within)


def may_be_scaled(shape: tuple[int, ...], input_size: tuple[int, int]) -> bool:
    """Whether `load_image` scales JPEGs of this (height, width), stored upright or on their side.

    Examples
    --------
    >>> may_be_scaled((3000, 4000), (224, 224)), may_be_scaled((375, 500), (224, 224))
    (True, False)
    """
    least = [2 * length for length in _least_size(input_size)]
    return any(shape[0] >= height and shape[1] >= width for height, width in (least, least[::-1]))


def reference_image(name: str) -> bytes:
    """One of the built-in encoded images that `pixels_sha256` is taken over."""
    return (package_files("featx.images") / "reference" / name).read_bytes()


@functools.cache
def pixels_sha256() -> str:
    """Digest of what this installation makes of a few built-in images.

    Decoders differ by a grey level here and there. This digest is part of every extraction's key: an
    upgrade of Pillow that changes no pixel keeps the cache, one that does starts a new one.

    Examples
    --------
    >>> len(pixels_sha256())
    64
    """
    digest = hashlib.sha256()
    for name in _REFERENCE_IMAGES:
        content = reference_image(name)
        digest.update(decode_image(content, name).data)
        for size in ((7, 5), (16, 12), (64, 48)):
            digest.update(load_image(content, size, name).data)
    return digest.hexdigest()


def _loaded(content: Content, sample_id: str, sizing: _Sizing, notes: list[str] | None = None) -> np.ndarray:
    image = _decode(content, sample_id, sizing, notes)
    size = sizing(image.size)
    if image.size != size:
        # Grey stays one channel until here: a third of the work, and the same pixels.
        image = image.resize(size, Image.Resampling.BILINEAR)
    return _to_rgb(image)


def _decode(
    content: Content, sample_id: str, sizing: _Sizing | None = None, notes: list[str] | None = None
) -> Image.Image:
    """The upright image, grey or RGB: whole, or already of the size wanted where it was scaled."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    if not content:
        raise DecodeError(sample_id, "empty file")
    try:
        return _decode_bytes(content, sample_id, sizing, notes)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(sample_id, what_it_is(content)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(sample_id, f"more than {MAX_PIXELS:,} pixels") from None
    except TooMuchWorkError as error:
        raise DecodeError(sample_id, str(error)) from None
    except MemoryError:
        raise DecodeError(sample_id, "not enough memory to decode it") from None
    except Exception as error:
        raise DecodeError(sample_id, f"damaged or truncated image ({error})") from error


def _decode_bytes(
    data: bytes, sample_id: str, sizing: _Sizing | None, notes: list[str] | None
) -> Image.Image:
    bounds.check_tags(data)
    image: Image.Image = Image.open(bounds.BoundedFile(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DecodeError(sample_id, f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        bounds.check_scans(image, data)
        decoded = _decode_jpeg(image, sizing, len(data))
    else:
        decoded = _decode_whole(image, data, sample_id)
    if notes is not None:
        notes += oddities(image, (width, height), data, sample_id)
    return decoded


def _decode_whole(image: Image.Image, data: bytes, sample_id: str) -> Image.Image:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bounds.check_parts(image, len(data))
    image.load()
    if image.format == "PNG" and not png_has_end(data):
        raise DecodeError(sample_id, "truncated PNG (no IEND chunk)")
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floats"
        raise DecodeError(sample_id, f"pixels are 32-bit {kind} without a stated range; save as 8 or 16 bit")
    # A PNG may tell its orientation after its pixels.
    return _turned(to_grey_or_rgb(image), _turn(image))


def _decode_jpeg(image: JpegImagePlugin.JpegImageFile, sizing: _Sizing | None, n_bytes: int) -> Image.Image:
    turn, whole = _turn(image), image.size
    # In one piece: what libjpeg does not get past, Pillow would copy again with every piece that it reads.
    image.decodermaxblock = n_bytes
    size = drafted = None
    if sizing is not None:
        is_swapped = turn in _SWAPPING_TURNS
        size = sizing(whole[::-1] if is_swapped else whole)
        size = size[::-1] if is_swapped else size
        drafted = image.draft(None, _least_size(size))
    image.load()
    pixels = to_grey_or_rgb(image)
    if size is not None and drafted is not None and image.size != whole:
        # The last column and row of a scaled image may stand for fewer pixels than the others do: the
        # box ends where the whole image does.
        pixels = pixels.resize(size, Image.Resampling.BILINEAR, box=drafted[1])
    return _turned(pixels, turn)


def _least_size(size: tuple[int, int]) -> tuple[int, int]:
    width, height = (-(-_LEAST_NUMERATOR * length // _LEAST_DENOMINATOR) for length in size)
    return width, height


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets an image upright by its EXIF block or, where that is silent, by its XMP."""
    if len(image.info.get("exif") or b"") > bounds.MAX_EXIF_BYTES:
        return None
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (MemoryError, TooMuchWorkError):
        raise
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing about the pixels: keep them as they are
        return None


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
