"""What the views of an image draw, and the pixels that come of it: one box, one resize, one colour table.

Flips and crops are those of Krizhevsky, Sutskever and Hinton (2012), as is averaging over them; the crop's
area and aspect those of Szegedy et al. (2015), whose 8 to 100 % is for training: so small a box often shows
another thing than the label says. Colour follows Howard (2013). torchvision (RandomResizedCrop, RandomAffine,
ColorJitter) and timm draw alike.

==========  ============================================================================================
crop        60 to 100 % of the area; aspect 3/4 to 4/3 of the image's own, where the box fits; anywhere
zoom        0.8 to 1.25, the same along both axes, about the middle
shift       up to 10 % of the box, along each axis
brightness  0.8 to 1.2 times
contrast    0.8 to 1.2 times, about the mean grey
saturation  0.8 to 1.2 times, about every pixel's grey; none where the image has one channel
==========  ============================================================================================

Aspect and zoom are drawn on a log scale, so that 0.8 is as likely as 1.25; the others uniformly.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

CROP_AREA = (0.6, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
ZOOM = (0.8, 1.25)
MAX_SHIFT = 0.1
COLOUR = (0.8, 1.2)

# In pixels: what a box may stick out by rounding alone.
_HAIR = 1e-6


class Draws(NamedTuple):
    """Numbers from [0, 1), all drawn whatever is used of them: a kind added moves no other's."""

    area: float
    aspect: float
    left: float
    top: float
    zoom: float
    right: float
    down: float
    brightness: float
    contrast: float
    saturation: float


class Box(NamedTuple):
    """What is seen, in fractions of the image's width and height; it may reach outside."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0


def draw(seed: int, view: int, image_sha256: str) -> Draws:
    """The numbers that a view is made from: of its seed, image and number alone.

    NumPy promises a bit generator's raw stream for good, but not that of its distributions (NEP 19).

    Examples
    --------
    >>> draw(0, 1, "0" * 64) == draw(0, 1, "0" * 64), draw(0, 1, "0" * 64) == draw(0, 2, "0" * 64)
    (True, False)
    """
    entropy = np.random.SeedSequence([seed, view, int(image_sha256, 16)])
    raw = np.random.PCG64(entropy).random_raw(len(Draws._fields))
    return Draws(*((raw >> np.uint64(11)) * 2.0**-53).tolist())


def draw_box(kinds: Collection[str], draws: Draws) -> Box:
    """The part of an image that a view shows.

    Parameters
    ----------
    kinds : collection of str
        Of these, "crop", "zoom" and "shift" are followed, in that order.
    draws : Draws

    Returns
    -------
    Box

    Examples
    --------
    >>> draws = Draws(*[0.5] * 10)
    >>> draw_box(("shift", "colour"), draws)
    Box(left=0.0, top=0.0, width=1.0, height=1.0)
    >>> round(draw_box(("crop",), draws).width ** 2, 6)
    0.8
    """
    left, top, width, height = _crop(draws) if "crop" in kinds else Box()
    if "zoom" in kinds:
        zoom = _log_between(draws.zoom, *ZOOM)
        left, width = left + width * (1 - 1 / zoom) / 2, width / zoom
        top, height = top + height * (1 - 1 / zoom) / 2, height / zoom
    if "shift" in kinds:
        left += width * _between(draws.right, -MAX_SHIFT, MAX_SHIFT)
        top += height * _between(draws.down, -MAX_SHIFT, MAX_SHIFT)
    return Box(left, top, width, height)


def resize_part(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """A box of an image, resized by the plain rule; the border's pixels repeat where the box leaves it.

    They are filled in after the resize, by the nearest pixel of the result that lies wholly inside: no padded
    copy of a large photo is made.

    Parameters
    ----------
    image : PIL.Image.Image
    box : Box
        At least 70 % of it inside the image, along either axis.
    size : tuple of int
        (width, height), in pixels.

    Returns
    -------
    PIL.Image.Image

    Examples
    --------
    >>> dark_to_light = Image.frombytes("L", (4, 1), bytes([0, 80, 160, 240]))
    >>> list(resize_part(dark_to_light, Box(left=-0.25), (4, 1)).tobytes())
    [0, 0, 80, 160]
    """
    left, right, first_column, last_column = _inside(box.left, box.width, size[0])
    top, bottom, first_row, last_row = _inside(box.top, box.height, size[1])
    corners = (left * image.width, top * image.height, right * image.width, bottom * image.height)
    part_size = (last_column - first_column, last_row - first_row)
    part = image.resize(part_size, Image.Resampling.BILINEAR, corners)
    if part_size == size:
        return part
    margins = [(first_row, size[1] - last_row), (first_column, size[0] - last_column), (0, 0)]
    pixels = np.asarray(part)
    return Image.fromarray(np.pad(pixels, margins[: pixels.ndim], mode="edge"))


def recolour(image: Image.Image, draws: Draws) -> Image.Image:
    """Another brightness, contrast and saturation; grey stays grey.

    Parameters
    ----------
    image : PIL.Image.Image of mode RGB or L
    draws : Draws

    Returns
    -------
    PIL.Image.Image
        A new one, of the same mode.

    Examples
    --------
    >>> two_greys = Image.frombytes("L", (2, 1), bytes([100, 200]))
    >>> list(recolour(two_greys, Draws(*[0.5] * 10)).tobytes())
    [100, 200]
    """
    brightness = _between(draws.brightness, *COLOUR)
    contrast = _between(draws.contrast, *COLOUR)
    levels = np.arange(256)
    counts = np.array(image.convert("L").histogram())
    mean = float(counts @ levels) / float(counts.sum())
    # Both in one table, rounded once.
    wanted = np.floor(brightness * (mean + contrast * (levels - mean)) + 0.5)
    table = np.clip(wanted, 0, 255).astype(np.uint8).tolist()
    image = image.point(table * len(image.getbands()))
    if image.mode == "L":
        return image
    return ImageEnhance.Color(image).enhance(_between(draws.saturation, *COLOUR))


def _between(number: float, low: float, high: float) -> float:
    return low + (high - low) * number


def _log_between(number: float, low: float, high: float) -> float:
    return math.exp(_between(number, math.log(low), math.log(high)))


def _crop(draws: Draws) -> Box:
    area = _between(draws.area, *CROP_AREA)
    # Of the aspects allowed, those with which a box of this area fits: nothing is drawn in vain.
    low, high = max(CROP_ASPECT[0], area), min(CROP_ASPECT[1], 1 / area)
    aspect = _log_between(draws.aspect, low, high)
    width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
    return Box(draws.left * (1 - width), draws.top * (1 - height), width, height)


def _inside(start: float, length: float, n_pixels: int) -> tuple[float, float, int, int]:
    """What of the image a box shows along one axis, and which pixels of the result that fills."""
    pixel = length / n_pixels
    before, after = max(0.0, -start) / pixel, max(0.0, start + length - 1) / pixel
    # Whole pixels alone, so that the scale is the box's own: rounding would give many zooms the same pixels.
    first, last = math.ceil(before - _HAIR), n_pixels - math.ceil(after - _HAIR)
    if first >= last:
        # A result of one or two pixels may have none wholly inside.
        first, last = round(before), n_pixels - round(after)
    return max(0.0, start + first * pixel), min(1.0, start + last * pixel), first, last
