"""Small pictures of images, to be looked at: one atlas of square tiles, and larger ones by themselves.

Every picture is encoded anew, from decoded pixels: no byte of a file gets into it, neither its metadata
(where a photo was taken, a profile, a comment) nor what a crafted file carries for whoever opens it next.

A tile shows the whole image, in its own shape, with grey beside it: what is wrong with an image often
stands at its edge, and its shape is itself worth seeing. A crop would hide both.

An image that cannot be shown is missing, with its reason, and no error: it may have been moved since it was
embedded, or another may lie at its path, which would show beside features that are not its own.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, WebPImagePlugin  # noqa: F401 - the one format that is written

from featx.checks import explain
from featx.errors import DecodeError, FeatxError, SourceError
from featx.images.base import ImageSource, RawImage
from featx.images.decoding import content_sha256, load_within

#: Side of the largest WebP picture, by its format.
MAX_SIDE = 16_383

# Grey that tells from black and from white, on a dark page and on a light one.
_BESIDE = (119, 119, 119)

# Rising quality costs more bytes than it shows from 80 on; below 30 edges blur.
_QUALITIES = (80, 70, 60, 50, 40, 30, 20, 10, 5)

# Of the rows of tiles, every eighth tells how large the whole will get.
_SAMPLED = 8

# Samples that are read at a time.
_AT_ONCE = 256


@dataclass(frozen=True)
class Atlas:
    """One picture of many square tiles, row by row.

    Attributes
    ----------
    data : bytes
        WebP; empty where no image could be shown.
    tile_size : int
        Side of a tile, in pixels.
    n_columns : int
        Tiles side by side.
    tiles : ndarray of shape (n_rows,), int
        Which tile a row has, counted row by row; -1 where it is missing.
    missing : dict of int to str
        Why a row is missing, by its place among the rows that were asked for.
    """

    data: bytes
    tile_size: int
    n_columns: int
    tiles: np.ndarray
    missing: dict[int, str]


def make_atlas(
    source: ImageSource,
    rows: Sequence[int] | np.ndarray,
    *,
    image_sha256: Sequence[str] | None = None,
    tile_size: int = 56,
    max_bytes: int = 1_900_000,
    workers: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> Atlas:
    """Make one picture of many images, as WebP.

    Parameters
    ----------
    source : ImageSource
    rows : sequence of int
        Samples of the source, in any order.
    image_sha256 : sequence of str, length n_rows, optional
        Digests that the images must have; "" takes any.
    tile_size : int, default=56
        Side of a tile, in pixels. 71 x 71 of 56 are within 4,096 pixels a side, which phones show, and the
        16.7 million pixels that they draw on.
    max_bytes : int, default=1_900_000
        The quality is lowered, down to 5 of 100, until the picture is no larger.
    workers : int, optional
        Threads that decode; by default one a processor.
    advance : callable, optional
        Called with the number of images done since the last call.

    Returns
    -------
    Atlas

    Raises
    ------
    SourceError
        When there are more tiles than a WebP picture holds.

    Examples
    --------
    >>> from featx import as_source
    >>> atlas = make_atlas(as_source(np.zeros((3, 20, 30, 3), np.uint8)), [2, 0], tile_size=16)
    >>> atlas.tiles, atlas.n_columns, Image.open(io.BytesIO(atlas.data)).size
    (array([1, 0]), 2, (32, 16))
    """
    n_columns = max(1, math.ceil(math.sqrt(len(rows))))
    if n_columns * tile_size > MAX_SIDE:
        received = f"{len(rows)} tiles of {tile_size} pixels"
        raise SourceError(explain(received, f"at most {MAX_SIDE} pixels a side", "draw fewer images"))
    canvas = Image.new("RGB", (n_columns * tile_size, math.ceil(len(rows) / n_columns) * tile_size), _BESIDE)
    tiles = np.full(len(rows), -1)
    missing: dict[int, str] = {}
    n_tiles = 0
    for place, found in _loaded(source, rows, image_sha256, tile_size, workers):
        if isinstance(found, str):
            missing[place] = found
        else:
            row, column = divmod(n_tiles, n_columns)
            canvas.paste(_centred(found, tile_size), (column * tile_size, row * tile_size))
            tiles[place] = n_tiles
            n_tiles += 1
        if advance is not None:
            advance(1)
    height = math.ceil(n_tiles / n_columns) * tile_size
    data = _atlas_within(canvas.crop((0, 0, canvas.width, height)), tile_size, max_bytes) if n_tiles else b""
    return Atlas(data, tile_size, n_columns, tiles, dict(sorted(missing.items())))


def make_thumbnails(
    source: ImageSource,
    rows: Sequence[int] | np.ndarray,
    size: int = 224,
    *,
    image_sha256: Sequence[str] | None = None,
    max_bytes: int = 12_000,
    workers: int | None = None,
) -> dict[int, bytes]:
    """Make a picture of each of some images, as WebP in the image's own shape.

    Parameters
    ----------
    source : ImageSource
    rows : sequence of int
        Samples of the source, in any order.
    size : int, default=224
        Longer side at most, in pixels.
    image_sha256 : sequence of str, length n_rows, optional
        Digests that the images must have; "" takes any.
    max_bytes : int, default=12_000
        Of each; the quality is lowered, down to 5 of 100, until it is no larger.
    workers : int, optional
        Threads that decode; by default one a processor.

    Returns
    -------
    dict of int to bytes
        By the row of the source; without those that cannot be shown.

    Examples
    --------
    >>> from featx import as_source
    >>> pictures = make_thumbnails(as_source(np.zeros((3, 20, 30, 3), np.uint8)), [2, 0], size=15)
    >>> sorted(pictures), Image.open(io.BytesIO(pictures[2])).size
    ([0, 2], (15, 10))
    """
    return {
        int(rows[place]): _encode_within(Image.fromarray(found), max_bytes)
        for place, found in _loaded(source, rows, image_sha256, size, workers)
        if not isinstance(found, str)
    }


def _loaded(
    source: ImageSource,
    rows: Sequence[int] | np.ndarray,
    image_sha256: Sequence[str] | None,
    length: int,
    workers: int | None,
) -> Iterator[tuple[int, np.ndarray | str]]:
    """The place of each row and its pixels, or why there are none."""
    if source.layout is not None:
        yield from ((place, "its samples are arrays, not images") for place in range(len(rows)))
        return
    # A source that is read in one run wants them to rise.
    order = np.argsort(np.asarray(rows, int), kind="stable").tolist()
    digests = [""] * len(rows) if image_sha256 is None else image_sha256
    load = partial(_load, length=length)
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(order), _AT_ONCE):
            places = order[start : start + _AT_ONCE]
            try:
                images = [source.read(int(rows[place]), int(rows[place]) + 1)[0] for place in places]
            except (FeatxError, OSError) as error:
                yield from ((place, str(error)) for place in places)
                continue
            yield from zip(places, pool.map(load, images, [digests[place] for place in places]), strict=True)


def _load(image: RawImage, digest: str, length: int) -> np.ndarray | str:
    try:
        content = image.fetch()
        if digest and content_sha256(content) != digest:
            return "another image than the one whose features these are"
        return load_within(content, length, image.sample_id)
    except DecodeError as error:
        return error.reason


def _centred(pixels: np.ndarray, side: int) -> Image.Image:
    height, width = pixels.shape[:2]
    tile = Image.new("RGB", (side, side), _BESIDE)
    tile.paste(Image.fromarray(pixels), ((side - width) // 2, (side - height) // 2))
    return tile


def _atlas_within(canvas: Image.Image, tile_size: int, max_bytes: int) -> bytes:
    """The best quality that fits; to try each on the whole would take ten times as long."""
    n_rows = canvas.height // tile_size
    if n_rows < 2 * _SAMPLED:
        return _encode_within(canvas, max_bytes)
    strips = [
        canvas.crop((0, top * tile_size, canvas.width, (top + 1) * tile_size))
        for top in range(_SAMPLED // 2, n_rows, _SAMPLED)
    ]
    sample = Image.new("RGB", (canvas.width, len(strips) * tile_size))
    for index, strip in enumerate(strips):
        sample.paste(strip, (0, index * tile_size))
    n_bytes = max_bytes * len(strips) // n_rows
    fitting = (at for at, quality in enumerate(_QUALITIES) if len(_webp(sample, quality)) <= n_bytes)
    return _encode_within(canvas, max_bytes, _QUALITIES[next(fitting, -1) :])


def _encode_within(picture: Image.Image, max_bytes: int, qualities: Sequence[int] = _QUALITIES) -> bytes:
    for quality in qualities:
        data = _webp(picture, quality)
        if len(data) <= max_bytes:
            break
    return data


def _webp(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality)
    return file.getvalue()
