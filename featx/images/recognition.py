"""What a file turned out to be, in words: why it is no image, or what is odd about one that is accepted."""

from __future__ import annotations

import os

from PIL import ExifTags, Image

from featx.images.bounds import SCAN, jpeg_segments

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_SIGNATURES = (_PNG_SIGNATURE, b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")

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

_SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    ".webp": "WEBP",
    ".gif": "GIF",
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
}

_TINY_LENGTH = 8
_THIN_RATIO = 50
_MAX_GIF_BLOCKS = 1_000_000


def what_it_is(data: bytes) -> str:
    """Why bytes that no decoder knows are not an image.

    Examples
    --------
    >>> what_it_is(b"%PDF-1.7")
    'a PDF, not an image'
    """
    start = data[:64].lstrip().lower()
    for signature, description in _KNOWN_CONTENT:
        if start.startswith(signature):
            return description
    brand = data[4:12]
    if brand.startswith(b"ftyp"):
        return (
            f"{brand[4:].decode('latin-1').upper()} is not supported (HEIC, AVIF, video); convert it to JPEG"
        )
    if data.startswith(_SIGNATURES):
        return "damaged or truncated image"
    return f"not an image of a known format; expected one of {', '.join(FORMATS)}"


def png_has_end(data: bytes) -> bool:
    """Whether a PNG reaches its last chunk: Pillow accepts files cut off before it.

    Examples
    --------
    >>> png_has_end(_PNG_SIGNATURE + bytes(4) + b"IEND")
    True
    """
    offset = len(_PNG_SIGNATURE)
    while offset + 8 <= len(data):
        length, kind = int.from_bytes(data[offset : offset + 4]), data[offset + 4 : offset + 8]
        if kind == b"IEND":
            return True
        offset += length + 12
    return False


def oddities(image: Image.Image, size: tuple[int, int], data: bytes, name: str) -> list[str]:
    """What a user may want to know about an image that was accepted.

    Parameters
    ----------
    image : Image
        As its file was opened and loaded.
    size : tuple of int
        (width, height) that it is stored at, in pixels.
    data : bytes
        The file.
    name : str
        The file's name; its suffix says what it ought to be.

    Returns
    -------
    list of str
        In words that are the same for every image with the same oddity, so that they can be counted.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> Image.new("L", (300, 2)).save(file, "PNG")
    >>> oddities(Image.open(file), (300, 2), file.getvalue(), "strip.jpg")
    ['PNG named .jpg', 'under 8 pixels wide or high', 'over 50 times as long as wide']
    """
    found = []
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - speed
    file_format = "JPEG" if image.format == "MPO" else image.format
    if _SUFFIXES.get(suffix, file_format) != file_format:
        found.append(f"{file_format} named {suffix}")
    shorter, longer = sorted(size)
    if shorter < _TINY_LENGTH:
        found.append(f"under {_TINY_LENGTH} pixels wide or high")
    if longer > _THIN_RATIO * shorter:
        found.append(f"over {_THIN_RATIO} times as long as wide")
    if file_format != "JPEG" and _has_more(image, data):
        pages = "several pages" if file_format == "TIFF" else "an animation"
        found.append(f"{pages}, of which the first is taken")
    if file_format == "JPEG" and not _jpeg_has_end(data):
        found.append("no end of a JPEG: its tail may be grey")
    if not _is_orientation_known(image):
        found.append("an EXIF block that is damaged or of unknown orientation, ignored")
    return found


def _jpeg_has_end(data: bytes) -> bool:
    """Whether a JPEG reaches its end: libjpeg makes do with zeros. A thumbnail's end is not its own."""
    scan = next((offset for kind, offset in jpeg_segments(data) if kind == SCAN), len(data))
    return data.rfind(b"\xff\xd9", scan) >= 0


def _has_more(image: Image.Image, data: bytes) -> bool:
    if image.format == "GIF":
        return _has_second_frame(data)
    return bool(getattr(image, "is_animated", False))


def _has_second_frame(gif: bytes) -> bool:
    """Whether another image follows the first. Pillow takes an eighth of the time of decoding to tell."""
    offset, n_frames = 13 + _colour_table_bytes(gif[10]), 0
    while n_frames < 2 and offset + 10 < len(gif):
        if gif[offset : offset + 1] == b",":
            n_frames += 1
            offset += 11 + _colour_table_bytes(gif[offset + 9])
        elif gif[offset : offset + 1] == b"!":
            offset += 2
        else:
            break
        n_blocks = 0
        while offset < len(gif) and gif[offset] and n_blocks < _MAX_GIF_BLOCKS:
            offset += 1 + gif[offset]
            n_blocks += 1
        offset += 1
    return n_frames == 2


def _colour_table_bytes(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _is_orientation_known(image: Image.Image) -> bool:
    block = image.info.get("exif") or b""
    if not block:
        return True
    if not block.removeprefix(b"Exif\0\0").startswith((b"II*\0", b"MM\0*")):
        return False
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(1, 9)
    except Exception:  # noqa: BLE001 - by whatever it is damaged
        return False
