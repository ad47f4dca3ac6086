"""Images looked at one by one: which cannot be read, show nothing, or are shaped unlike the others.

Every image is decoded at a small size, large JPEGs by libjpeg's own reduction, so that looking costs little
more than reading the files.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from featx.errors import DecodeError, FeatxError
from featx.images.base import ImageSource, RawImage
from featx.images.decoding import content_sha256, load_image
from featx.images.miniatures import LOADED_SIZE, NO_MINIATURE, miniature_of
from featx.images.recognition import FORMATS
from featx.progress import progress_bar

_AT_ONCE = 256
# Levels of grey between the darkest and the lightest pixel, but for a hundredth at either end.
_BLANK_LEVELS = 4
# What libjpeg fills in for what is not there, how exactly, and what share of the rows is too many.
_FILLING, _FILLING_ROUNDING, _FILLED_ROWS = 128, 2, 0.06
_SMALL, _LONG = 4.0, 4.0
# Said of images that are as good as others for training.
_HARMLESS = (" named .", "of which the first is taken", "EXIF block")


@dataclass(frozen=True)
class Inspection:
    """What is to be said of one image.

    Attributes
    ----------
    index : int
        The source's.
    oddities : tuple of str
        In words; empty where there is nothing to say.
    harms : bool
        Whether a head should rather not learn from it.
    is_other : bool
        Whether it is not the image whose digest was given.
    error : str
        Why it could not be read, or "".
    size : tuple of int
        (width, height) as stored; (0, 0) where it could not be read.
    """

    index: int
    oddities: tuple[str, ...] = ()
    harms: bool = False
    is_other: bool = False
    error: str = ""
    size: tuple[int, int] = (0, 0)


def inspect_images(
    source: ImageSource,
    indices: Sequence[int],
    digests: Sequence[str] | None = None,
    *,
    workers: int | None = None,
    verbose: int = 0,
) -> tuple[list[Inspection], np.ndarray]:
    """Look at images, and tell of those that there is something to tell of.

    Parameters
    ----------
    source : ImageSource
    indices : sequence of int
        Which of its images.
    digests : sequence of str, optional
        What each should have (`featx.images.decoding.content_sha256`); "" is unknown.
    workers : int, optional
        Threads; by default one a processor.
    verbose : int, default=0

    Returns
    -------
    found : list of Inspection
        Of the images that are odd, another than expected, or could not be read; in the order given.
    miniatures : ndarray of shape (n_images, 256), float32
        Of all images given, as `featx.images.miniatures.make_miniatures` has them; a row of NaN for one that
        is another than expected, or could not be read.

    Examples
    --------
    >>> from featx import as_source
    >>> random = np.random.default_rng(0)
    >>> images = random.integers(0, 255, (3, 40, 40, 3), np.uint8)
    >>> images[1] = 7
    >>> found, miniatures = inspect_images(as_source(images), range(3))
    >>> [(each.index, each.oddities) for each in found]
    [(1, ('blank: nearly all pixels are of one colour',))]
    """
    expected = [""] * len(indices) if digests is None else digests
    found: list[Inspection] = []
    miniatures = np.tile(NO_MINIATURE, (len(indices), 1))
    with (
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
        progress_bar("Looking", len(indices), verbose, "images") as advance,
    ):
        for start in range(0, len(indices), _AT_ONCE):
            some = list(indices[start : start + _AT_ONCE])
            looked = pool.map(_inspect, _read(source, some), some, expected[start : start + _AT_ONCE])
            for inspection, miniature in looked:
                miniatures[len(found)] = miniature
                found.append(inspection)
                advance(1)
    usual = _Usual.of(found)
    compared = [_compared(usual, each) for each in found]
    return [each for each in compared if _is_telling(each)], miniatures


def _read(source: ImageSource, indices: Sequence[int]) -> list[RawImage | str]:
    """The images, or why a source that is gone, or was cut off meanwhile, does not give them."""
    found: list[RawImage | str] = []
    for index in indices:
        try:
            found.append(source.read(index, index + 1)[0])
        except (FeatxError, OSError) as error:
            found.append(str(error))
    return found


def _inspect(raw: RawImage | str, index: int, digest: str) -> tuple[Inspection, np.ndarray]:
    if isinstance(raw, str):
        return Inspection(index, error=raw), NO_MINIATURE
    notes: list[str] = []
    try:
        content = raw.fetch()
        if digest and content_sha256(content) != digest:
            return Inspection(index, is_other=True), NO_MINIATURE
        pixels = load_image(content, LOADED_SIZE, raw.sample_id, notes)
    except DecodeError as error:
        return Inspection(index, error=error.reason), NO_MINIATURE
    if isinstance(content, np.ndarray):
        height, width = content.shape[:2]
        size = (width, height)
    else:
        # Its header was found sound a moment ago.
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            size = image.size
    notes += _emptiness(pixels)
    return Inspection(index, tuple(notes), size=size), miniature_of(pixels)


def _emptiness(pixels: np.ndarray) -> list[str]:
    low, high = np.quantile(pixels.reshape(-1, 3), (0.01, 0.99), axis=0)
    if (high - low).max() < _BLANK_LEVELS:
        return ["blank: nearly all pixels are of one colour"]
    is_filled = (np.abs(pixels.astype(int) - _FILLING) <= _FILLING_ROUNDING).all(axis=(1, 2))
    n_filled = len(pixels) if is_filled.all() else int(np.argmin(is_filled[::-1]))
    if n_filled > _FILLED_ROWS * len(pixels):
        return ["a grey tail, as of a file that was cut off"]
    return []


@dataclass(frozen=True)
class _Usual:
    """The shorter side and the ratio of the sides that half of the images exceed."""

    shorter: float
    ratio: float

    @classmethod
    def of(cls, found: Sequence[Inspection]) -> _Usual:
        sizes = np.array([sorted(each.size) for each in found if all(each.size)], float).reshape(-1, 2)
        if not len(sizes):
            return cls(0.0, 1.0)
        return cls(float(np.median(sizes[:, 0])), float(np.median(sizes[:, 1] / sizes[:, 0])))


def _compared(usual: _Usual, found: Inspection) -> Inspection:
    """With what the others tell of one."""
    oddities = list(found.oddities)
    if all(found.size):
        shorter, longer = sorted(found.size)
        if _SMALL * shorter < usual.shorter:
            oddities.append(f"under a quarter of the usual size: {found.size[0]} x {found.size[1]} pixels")
        if longer > _LONG * usual.ratio * shorter:
            oddities.append(f"over four times as long as usual: {found.size[0]} x {found.size[1]} pixels")
    harms = bool(found.error) or any(not any(each in what for each in _HARMLESS) for what in oddities)
    return replace(found, oddities=tuple(oddities), harms=harms)


def _is_telling(found: Inspection) -> bool:
    return bool(found.oddities or found.error or found.is_other)
