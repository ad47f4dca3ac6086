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
other formats               refused: JPEG, PNG, WebP, GIF, BMP and TIFF are read, whatever the file's name
==========================  ===========================================================================

Resizing stretches to the input size with Pillow's ``BILINEAR``: a triangle filter as wide as the
reduction, so that it antialiases; first along the width, then along the height, each pass rounded to
uint8. An exported model repeats it to within one grey level (`featx.models.resizing`).
"""

from __future__ import annotations

import functools
import hashlib
import io
from importlib.resources import files as package_files
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from featx.errors import DecodeError

#: An encoded file's bytes, or pixels: uint8 of shape (height, width, 3).
Content: TypeAlias = bytes | np.ndarray

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
MAX_FILE_BYTES = 256 * 2**20
RESIZE_RULE = "stretch, antialiased bilinear (Pillow)"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# What lies under the name of an image more often than images do, and what to tell about it.
_KNOWN_CONTENT = (
    (b"version https://git-lfs", "a git-LFS pointer, not the image; run: git lfs pull"),
    (b"<!doctype html", "an HTML page, not an image; the download may have failed"),
    (b"<html", "an HTML page, not an image; the download may have failed"),
    (b"<svg", "SVG is not supported; convert it to PNG"),
    (b"<?xml", "XML or SVG is not supported; convert it to PNG"),
    (b"%pdf", "a PDF, not an image"),
    (b"pk\x03\x04", "a zip archive, not an image"),
    (b"\x93numpy", "a NumPy file; pass it as a source of its own"),
    (b"\x00\x00\x00\x0cjp", "JPEG 2000 is not supported; convert it to PNG or JPEG"),
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


def decode_image(content: Content, sample_id: str = "") -> np.ndarray:
    """Decode an image at its own size.

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8
        An encoded image, or pixels, which are returned as they are.
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
    >>> decode_image(reference_image("rotated.jpg")).shape
    (40, 30, 3)
    """
    return _to_rgb(_decode(content, sample_id))


def load_image(content: Content, input_size: tuple[int, int], sample_id: str = "") -> np.ndarray:
    """Decode an image and resize it to a backbone's input size.

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8
        An encoded image, or pixels.
    input_size : tuple of int
        (height, width), in pixels.
    sample_id : str, default=""
        Names the image in errors.

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
    image = _decode(content, sample_id)
    height, width = input_size
    if image.size != (width, height):
        # Grey stays one channel until here: a third of the work, and the same pixels.
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return _to_rgb(image)


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
    for name in ("rotated.jpg", "cmyk.jpg", "lossy.webp", "grey16.png", "alpha.png", "palette.gif"):
        content = reference_image(name)
        digest.update(decode_image(content, name).data)
        for size in ((7, 5), (64, 48)):
            digest.update(load_image(content, size, name).data)
    return digest.hexdigest()


def _decode(content: Content, sample_id: str) -> Image.Image:
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    if not content:
        raise DecodeError(sample_id, "empty file")
    try:
        return _decode_bytes(content, sample_id)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(sample_id, _what_it_is(content)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DecodeError(sample_id, f"more than {MAX_PIXELS:,} pixels") from None
    except MemoryError:
        raise DecodeError(sample_id, "not enough memory to decode it") from None
    except Exception as error:
        raise DecodeError(sample_id, f"damaged or truncated image ({error})") from error


def _decode_bytes(data: bytes, sample_id: str) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DecodeError(sample_id, f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    if image.format == "PNG" and not _png_has_end(data):
        raise DecodeError(sample_id, "truncated PNG (no IEND chunk)")
    image.load()
    image = _upright(image)
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floats"
        raise DecodeError(sample_id, f"pixels are 32-bit {kind} without a stated range; save as 8 or 16 bit")
    return _to_grey_or_rgb(image)


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a damaged EXIF block says nothing about the pixels: keep them as they are
        return image
    return image


def _to_grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        if (transparent := image.info.get("transparency")) is not None:
            grey[values == transparent] = 255
        return Image.fromarray(grey)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "CMYK" and (profile := image.info.get("icc_profile")):
        return _cmyk_by_profile(image, profile)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _cmyk_by_profile(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        # A broken profile leaves the plain formula, as for a file that has none.
        return image.convert("RGB")
    return converted or image.convert("RGB")


def _to_rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _png_has_end(data: bytes) -> bool:
    """Whether a PNG reaches its last chunk: Pillow accepts files cut off before it."""
    offset = len(_PNG_SIGNATURE)
    while offset + 8 <= len(data):
        length, kind = int.from_bytes(data[offset : offset + 4]), data[offset + 4 : offset + 8]
        if kind == b"IEND":
            return True
        offset += length + 12
    return False


def _what_it_is(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    for signature, description in _KNOWN_CONTENT:
        if start.startswith(signature):
            return description
    brand = data[4:12]
    if brand.startswith(b"ftyp"):
        return (
            f"{brand[4:].decode('latin-1').upper()} is not supported (HEIC, AVIF, video); convert it to JPEG"
        )
    if data.startswith((_PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")):
        return "damaged or truncated image"
    return f"not an image of a known format; expected one of {', '.join(FORMATS)}"
