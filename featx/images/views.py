"""Augmented views of an image, each fixed by the recipe, the image's digest and the view's number alone.

View 0 is the image itself as `featx.images.decoding` resizes it. Every other view is the same on any day,
in any batch, order or thread, and whatever the number of views: eight after four begin with the same four.

============  =========================================================================================
flip          left to right, top to bottom, both: enumerated, so that no view repeats another
quarter_turn  by 90, 180, 270 degrees, counter-clockwise: enumerated; with flip, all eight symmetries of a
              square
crop          most of the image, stretched
shift         up, down and sideways
zoom          in or out, about the middle
colour        brightness, contrast and saturation; grey stays grey
============  =========================================================================================

Crop, zoom and shift are one box, so that pixels are resampled once, by the plain rule, antialiased; where
the box leaves the image, the border's pixels repeat. Flips and turns come after, exact: the pixels of the
plain image in other places. Turned to an input that is not square, the image is first resized to the input
lying on its side: it fills the input in every view, stretched as a turned photograph would be. Colour is
last. Where something is drawn, views beyond the symmetries run through them again, with other draws. Ranges
and where they come from: `featx.images.view_pixels`.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from featx.checks import check_choice, check_positive, check_seed, explain
from featx.errors import BackboneError, SourceError
from featx.images.decoding import decode_image, reference_image
from featx.images.view_pixels import Box, draw, draw_box, recolour, resize_part

#: What views may be made of. The first two are enumerated, the others drawn.
VIEW_KINDS = ("flip", "quarter_turn", "crop", "shift", "zoom", "colour")

#: What views are made of unless something else is asked for.
DEFAULT_VIEWS = ("flip", "crop")

#: Raise it when the same recipe would make other views: rows of the old ones are then never reused.
VIEWS_VERSION = 1

_DRAWN_KINDS = VIEW_KINDS[2:]

_Turn = Image.Transpose
_FLIPS = (None, _Turn.FLIP_LEFT_RIGHT, _Turn.FLIP_TOP_BOTTOM, _Turn.ROTATE_180)
_QUARTER_TURNS = (None, _Turn.ROTATE_90, _Turn.ROTATE_180, _Turn.ROTATE_270)
_ON_ITS_SIDE = (_Turn.ROTATE_90, _Turn.ROTATE_270, _Turn.TRANSPOSE, _Turn.TRANSVERSE)

_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class ViewRecipe:
    """How the views of every image are made.

    Parameters
    ----------
    kinds : tuple of str
        Any of `VIEW_KINDS`, in any order; kept in the order of `VIEW_KINDS`.
    seed : int, default=0
        Of what is drawn; flips and quarter turns do not depend on it.

    Raises
    ------
    BackboneError
        When a kind is unknown or stands twice, when there is none, or when the seed is no seed.

    Examples
    --------
    >>> recipe = ViewRecipe(("flip", "crop"), seed=7)
    >>> photo = Image.fromarray(decode_image(reference_image("rotated.jpg")))
    >>> photo.size, recipe.apply(photo, 1, "0" * 64, (24, 32)).size
    ((30, 40), (32, 24))
    >>> ViewRecipe(("flip", "spin"))
    Traceback (most recent call last):
    featx.errors.BackboneError: received kind='spin'; expected one of 'flip', 'quarter_turn', 'crop', ...
    """

    kinds: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        check_kinds(self.kinds)
        check_seed("seed", self.seed, BackboneError)
        if self.seed is None:
            raise BackboneError(
                explain("seed=None", "an integer", "pass a seed, so that views can be repeated")
            )
        # Equal recipes are equal objects and have equal descriptions, however they were written.
        object.__setattr__(self, "kinds", tuple(kind for kind in VIEW_KINDS if kind in self.kinds))
        object.__setattr__(self, "seed", operator.index(self.seed))

    @property
    def max_views(self) -> int | None:
        """Most views of an image that differ, the image itself among them; None where there is no limit.

        Examples
        --------
        >>> ViewRecipe(("flip",)).max_views, ViewRecipe(("flip", "quarter_turn")).max_views
        (4, 8)
        >>> ViewRecipe(("flip", "crop")).max_views is None
        True
        """
        return None if self._draws_something else len(self._turns)

    def check_n_views(self, n_views: object) -> None:
        """Refuse a number of views that this recipe cannot make without repeating one.

        Parameters
        ----------
        n_views : int
            The image itself counts.

        Raises
        ------
        BackboneError
            When it is no positive integer, or above `max_views`.

        Examples
        --------
        >>> ViewRecipe(("flip",)).check_n_views(9)
        Traceback (most recent call last):
        featx.errors.BackboneError: received n_views=9 of flip; expected at most 4; add crop, ...
        """
        check_positive("n_views", n_views, BackboneError)
        if self.max_views is not None and operator.index(n_views) > self.max_views:  # type: ignore[arg-type]
            received = f"n_views={n_views} of {', '.join(self.kinds)}"
            remedy = "add crop, shift, zoom or colour"
            raise BackboneError(explain(received, f"at most {self.max_views}", remedy))

    def describe(self) -> str:
        """All that a view depends on besides the image and its number, as canonical text.

        Without drawn kinds, no seed is named. ``pixels`` is of `views_sha256`.

        Returns
        -------
        str

        Examples
        --------
        >>> ViewRecipe(("crop", "flip"), seed=7).describe()
        'views 1: flip, crop; seed 7; pixels ...'
        >>> ViewRecipe(("flip",), seed=7).describe()
        'views 1: flip; pixels ...'
        """
        seed = f"; seed {self.seed}" if self._draws_something else ""
        pixels = views_sha256(self.kinds)[:_DIGEST_DIGITS]
        return f"views {VIEWS_VERSION}: {', '.join(self.kinds)}{seed}; pixels {pixels}"

    def address(self, image_sha256: str, view: int) -> str:
        """The digest that a view's features are kept under.

        Parameters
        ----------
        image_sha256 : str
            Digest of the image's content, 64 hexadecimal digits.
        view : int

        Returns
        -------
        str
            64 hexadecimal digits: `image_sha256` itself for view 0, which is the image whatever the recipe.

        Raises
        ------
        BackboneError
            When there is no such view.
        SourceError
            When the digest is none.

        Examples
        --------
        >>> recipe = ViewRecipe(("flip",))
        >>> recipe.address("0" * 64, 0) == "0" * 64
        True
        >>> len({recipe.address("0" * 64, view) for view in range(4)})
        4
        """
        self._check(view, image_sha256)
        if view == 0:
            return image_sha256
        return hashlib.sha256(f"{image_sha256} {self.describe()} {view}".encode()).hexdigest()

    def apply(
        self, image: Image.Image, view: int, image_sha256: str, input_size: tuple[int, int]
    ) -> Image.Image:
        """Make one view of a decoded image.

        Parameters
        ----------
        image : PIL.Image.Image of mode RGB or L
            At its own size; left as it is.
        view : int
            From 0, which is the image itself.
        image_sha256 : str
            Digest of the image's content, 64 hexadecimal digits.
        input_size : tuple of int
            (height, width), in pixels.

        Returns
        -------
        PIL.Image.Image
            Of the input size, in the image's mode.

        Raises
        ------
        BackboneError
            When there is no such view.
        SourceError
            When the image is of another mode, or the digest is none.

        Examples
        --------
        >>> black_white = Image.frombytes("L", (2, 1), bytes([0, 255]))
        >>> list(ViewRecipe(("flip",)).apply(black_white, 1, "0" * 64, (1, 2)).tobytes())
        [255, 0]
        """
        return self.apply_all(image, (view,), image_sha256, input_size)[0]

    def apply_all(
        self, image: Image.Image, views: Sequence[int], image_sha256: str, input_size: tuple[int, int]
    ) -> list[Image.Image]:
        """Make several views of a decoded image, resizing it once for all that show the same part of it.

        Parameters
        ----------
        image : PIL.Image.Image of mode RGB or L
        views : sequence of int
        image_sha256 : str
        input_size : tuple of int
            As for `apply`.

        Returns
        -------
        list of PIL.Image.Image
            In the order of `views`; each as `apply` makes it.

        Raises
        ------
        BackboneError, SourceError
            As for `apply`.

        Examples
        --------
        >>> black_white = Image.frombytes("L", (2, 1), bytes([0, 255]))
        >>> views = ViewRecipe(("flip",)).apply_all(black_white, (0, 1), "0" * 64, (1, 2))
        >>> [list(view.tobytes()) for view in views]
        [[0, 255], [255, 0]]
        """
        check_choice("image.mode", image.mode, ("RGB", "L"), SourceError)
        height, width = input_size
        resized: dict[tuple[Box, tuple[int, int]], Image.Image] = {}
        made = []
        for view in views:
            self._check(view, image_sha256)
            turn = self._turns[view % len(self._turns)]
            draws = draw(self.seed, view, image_sha256) if view and self._draws_something else None
            box = draw_box(self.kinds, draws) if draws else Box()
            size = (height, width) if turn in _ON_ITS_SIDE else (width, height)
            if (box, size) not in resized:
                resized[box, size] = resize_part(image, box, size)
            seen = resized[box, size]
            seen = seen.copy() if turn is None else seen.transpose(turn)
            made.append(recolour(seen, draws) if draws and "colour" in self.kinds else seen)
        return made

    @property
    def _draws_something(self) -> bool:
        return any(kind in _DRAWN_KINDS for kind in self.kinds)

    @property
    def _turns(self) -> tuple[Image.Transpose | None, ...]:
        """The symmetries that views run through, from none at all."""
        if "flip" in self.kinds and "quarter_turn" in self.kinds:
            return (*_FLIPS, *_ON_ITS_SIDE)
        if "flip" in self.kinds:
            return _FLIPS
        return _QUARTER_TURNS if "quarter_turn" in self.kinds else (None,)

    def _check(self, view: int, image_sha256: str) -> None:
        if isinstance(view, bool) or not hasattr(view, "__index__") or view < 0:
            raise BackboneError(explain(f"view={view!r}", "an integer from 0", "view 0 is the image itself"))
        self.check_n_views(operator.index(view) + 1)
        if not isinstance(image_sha256, str) or not re.fullmatch("[0-9a-f]{64}", image_sha256):
            received = f"image_sha256={image_sha256!r}"
            raise SourceError(explain(received, "64 hexadecimal digits", "pass content_sha256(content)"))


def check_kinds(kinds: object) -> None:
    """Refuse kinds of views that cannot be combined.

    Parameters
    ----------
    kinds : tuple of str
        Any of `VIEW_KINDS`, each once.

    Raises
    ------
    BackboneError
        When a kind is unknown or stands twice, or when there is none.

    Examples
    --------
    >>> check_kinds("flip")
    Traceback (most recent call last):
    featx.errors.BackboneError: received kinds='flip'; expected a tuple of kinds; pass ('flip',)
    """
    if not isinstance(kinds, tuple | list):
        remedy = f"pass ({kinds!r},)" if isinstance(kinds, str) else f"choose from {', '.join(VIEW_KINDS)}"
        raise BackboneError(explain(f"kinds={kinds!r}", "a tuple of kinds", remedy))
    if not kinds:
        raise BackboneError(explain("no kinds", "at least one", f"choose from {', '.join(VIEW_KINDS)}"))
    for kind in kinds:
        check_choice("kind", kind, VIEW_KINDS, BackboneError)
    if len(set(kinds)) < len(kinds):
        raise BackboneError(explain(f"kinds={kinds!r}", "each kind once", "drop the repeats"))


@functools.cache
def views_sha256(kinds: tuple[str, ...] = VIEW_KINDS) -> str:
    """Digest of what this installation makes of a built-in image's views.

    It stands in every view's address, as `featx.images.decoding.pixels_sha256` does in every extraction's
    key: an upgrade of Pillow that changes these views gives them new rows, and one that does not keeps
    the old.

    Parameters
    ----------
    kinds : tuple of str
        Those of `ViewRecipe`.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> len(views_sha256()), views_sha256(("flip",)) == views_sha256()
    (64, False)
    """
    recipe = ViewRecipe(kinds)
    photo = Image.fromarray(decode_image(reference_image("rotated.jpg")))
    digest = hashlib.sha256()
    for image in (photo, photo.convert("L")):
        for view in recipe.apply_all(image, range(recipe.max_views or 9), "0" * 64, (24, 32)):
            digest.update(view.tobytes())
    return digest.hexdigest()
