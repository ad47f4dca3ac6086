"""Random changes to training images, by Keras's own layers, on any backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from featx.checks import check_choice, explain
from featx.errors import ConversionError

_FLIPS = (None, "horizontal", "vertical", "horizontal_and_vertical")


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image, each time that it is seen. Edges are filled by repeating them.

    Parameters
    ----------
    flip : {None, "horizontal", "vertical", "horizontal_and_vertical"}
    rotation_degrees : float, default=0
        Up to this far in both directions.
    shift : float, default=0
        Up to this share of width and of height.
    zoom : float, default=0
        In or out by up to this share.
    shear : float, default=0
        Along both axes by up to this share.

    Examples
    --------
    >>> augmentation = Augmentation(flip="horizontal", rotation_degrees=20)
    >>> [type(layer).__name__ for layer in augmentation.layers(seed=0)]
    ['RandomFlip', 'RandomRotation']
    """

    flip: Literal["horizontal", "vertical", "horizontal_and_vertical"] | None = None
    rotation_degrees: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0

    def check(self) -> None:
        """Refuse what no image can undergo.

        Raises
        ------
        ConversionError
        """
        check_choice("flip", self.flip, _FLIPS, ConversionError)
        limits = {"rotation_degrees": 180.0, "shift": 1.0, "zoom": 0.9, "shear": 1.0}
        for name, largest in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= largest:
                received, expected = f"{name}={value!r}", f"a number from 0 to {largest:g}"
                raise ConversionError(explain(received, expected, "pass one"))

    def layers(self, seed: int) -> Iterator[Any]:
        """The layers, in order, from float32 images (n, height, width, 3), 0 to 255, to the same.

        Parameters
        ----------
        seed : int

        Yields
        ------
        keras.layers.Layer
        """
        from keras import layers

        made: dict[str, Any] = {"seed": seed, "data_format": "channels_last", "dtype": "float32"}
        moved = {**made, "fill_mode": "nearest"}
        if self.flip:
            yield layers.RandomFlip(self.flip, **made)
        if self.rotation_degrees:
            yield layers.RandomRotation(self.rotation_degrees / 360, **moved)
        if self.shift:
            yield layers.RandomTranslation(self.shift, self.shift, **moved)
        if self.zoom:
            yield layers.RandomZoom(self.zoom, **moved)
        if self.shear:
            yield layers.RandomShear(self.shear, self.shear, **moved)
