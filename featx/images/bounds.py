"""What a file may ask of its decoder, beyond the pixels that its header owns up to.

A file of a few kilobytes can keep a decoder busy for hours although its image is small: by millions of
empty segments, by thousands of passes over the same pixels, by tiles larger than the image. What is bounded:

==================  ====================================================================================
segments            1,000,000 reads: four or so are one marker of a JPEG, chunk of a PNG, block of a GIF
scans of a JPEG     60 of one component at 50 megapixels, more of fewer, 10,000 at most; usual are 1 to 18
tiles of a TIFF     four times 50 megapixels in all
its parts' bytes    64 MiB more than the file has, where several parts are the same bytes
values of a tag     250,000 numbers in a TIFF: offsets of strips, mostly
EXIF block          4 MiB; a larger one is ignored
==================  ====================================================================================

Measured with Pillow 13: a scan of 50 megapixels, which takes 10 to 80 bytes, costs 3 to 125 ms; a segment
of 4 bytes costs 1.5 microseconds and 140 bytes of memory.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator

from PIL import JpegImagePlugin, TiffImagePlugin

MAX_PIXELS = 50_000_000
MAX_EXIF_BYTES = 4 * 2**20

_MAX_READS = 1_000_000
_MAX_SCANNED_SAMPLES = 60 * MAX_PIXELS
_MAX_SCANS = 10_000
_MAX_TILED_PIXELS = 4 * MAX_PIXELS
_MAX_SHARED_BYTES = 64 * 2**20
_MAX_TAG_VALUES = 250_000

# Of what follows 0xff, zero and the restart markers belong to the pixels, another 0xff only fills, and 1
# stands alone.
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]")
SCAN, _END = 0xDA, 0xD9

_TOO_MANY_SEGMENTS = "far more segments than an image has; save it anew"

_TIFF_HEADERS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_STRIP_BYTES, _TILE_BYTES = 279, 325
# ASCII, and what Pillow keeps as bytes.
_TEXT_TYPES = (1, 2, 7)


class TooMuchWorkError(Exception):
    """A file that asks for more than an image of its size needs; says of what."""


class BoundedFile(io.BytesIO):
    """Bytes as a file that may be read a limited number of times: each loop of a parser reads.

    Examples
    --------
    >>> BoundedFile(b"abc").read(2)
    b'ab'
    """

    _n_reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any file; raises `TooMuchWorkError` when it was called too often."""
        self._n_reads += 1
        if self._n_reads > _MAX_READS:
            raise TooMuchWorkError(_TOO_MANY_SEGMENTS)
        return super().read(size)


def check_scans(image: JpegImagePlugin.JpegImageFile, data: bytes) -> None:
    """Refuse a JPEG that passes over its pixels too often.

    Raises
    ------
    TooMuchWorkError
    """
    if not image.info.get("progressive") and _n_components_of_first_scan(data) == image.layers:
        # With all components in its first scan, libjpeg takes no other.
        return
    width, height = image.size
    most = min(_MAX_SCANS, _MAX_SCANNED_SAMPLES // (width * height))
    # A scan names at most four components. Only where the pair of bytes is that frequent, look what it means.
    if 4 * data.count(b"\xff\xda") > most and (n_scans := _n_scanned_components(data)) > most:
        raise TooMuchWorkError(
            f"{n_scans:,} passes over {width} x {height} pixels are too many; save it as a baseline JPEG"
        )


def _n_scanned_components(data: bytes) -> int:
    """The components of all scans of the first image in a JPEG file."""
    return sum(max(1, *data[offset + 2 : offset + 3]) for kind, offset in jpeg_segments(data) if kind == SCAN)


def _n_components_of_first_scan(data: bytes) -> int:
    scan = next((offset for kind, offset in jpeg_segments(data) if kind == SCAN), len(data))
    return sum(data[scan + 2 : scan + 3])


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The segments of the first image in a JPEG file.

    Yields
    ------
    kind : int
        What the marker is.
    offset : int
        Where the segment's length stands.

    Raises
    ------
    TooMuchWorkError
    """
    offset = 2
    for _ in range(_MAX_READS):
        found = _MARKER.search(data, offset)
        if found is None or (kind := data[found.end() - 1]) == _END:
            return
        yield kind, found.end()
        offset = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    raise TooMuchWorkError(_TOO_MANY_SEGMENTS)


def check_parts(image: TiffImagePlugin.TiffImageFile, n_bytes: int) -> None:
    """Refuse a TIFF whose tiles or strips hold far more than its image, or than its file of that many bytes.

    Raises
    ------
    TooMuchWorkError
    """
    tags = image.tag_v2
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if width and height:
        n_tiles = -(-image.width // width) * -(-image.height // height)
        if n_tiles * width * height > _MAX_TILED_PIXELS:
            raise TooMuchWorkError(
                f"{n_tiles:,} tiles of {width} x {height} pixels are more than the image needs"
            )
    # Parts may be the same bytes, as blank ones are, and are decoded as often as they are named.
    n_encoded = max(sum(tags.get(tag) or ()) for tag in (_STRIP_BYTES, _TILE_BYTES))
    if n_encoded > n_bytes + _MAX_SHARED_BYTES:
        raise TooMuchWorkError(f"{n_encoded:,} bytes of strips or tiles are more than the image needs")


def check_tags(data: bytes) -> None:
    r"""Refuse a TIFF with a tag of more numbers than an image has strips.

    Raises
    ------
    TooMuchWorkError

    Examples
    --------
    >>> check_tags(b"II*\0" + struct.pack("<IHHHII", 8, 1, 273, 4, 10**6, 0))
    Traceback (most recent call last):
    featx.images.bounds.TooMuchWorkError: 1,000,000 values in the TIFF tag 273 are more than an image needs
    """
    order = _TIFF_HEADERS.get(data[:4])
    if order is None:
        return
    is_big = data[2:4] in (b"+\0", b"\0+")
    start, n_tags, entry = (8, "Q", "HHQ8x") if is_big else (4, "H", "HHI4x")
    try:
        (offset,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, start)
        (n_entries,) = struct.unpack_from(order + n_tags, data, offset)
        first = offset + struct.calcsize(order + n_tags)
        size = struct.calcsize(order + entry)
        entries = data[first : first + min(n_entries, _MAX_TAG_VALUES) * size]
        tags = list(struct.iter_unpack(order + entry, entries[: len(entries) // size * size]))
    except (struct.error, OverflowError):
        # Pillow will tell what is wrong with it.
        return
    for tag, kind, n_values in tags:
        if n_values > _MAX_TAG_VALUES and kind not in _TEXT_TYPES:
            raise TooMuchWorkError(f"{n_values:,} values in the TIFF tag {tag} are more than an image needs")
