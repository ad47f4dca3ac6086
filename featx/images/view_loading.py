"""Views out of an encoded image, decoded as seldom as their rules allow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from featx.images.decoding import Content, decode_image, load_image, may_be_scaled
from featx.images.views import ViewRecipe


def load_views(
    content: Content,
    input_size: tuple[int, int],
    recipe: ViewRecipe | None,
    views: Sequence[int],
    image_sha256: str,
    *,
    sample_id: str = "",
    notes: list[str] | None = None,
) -> list[np.ndarray]:
    """Decode an image and make views of it, each resized to a backbone's input size.

    Parameters
    ----------
    content : bytes or ndarray of shape (height, width, 3), uint8
        An encoded image, or pixels.
    input_size : tuple of int
        (height, width), in pixels.
    recipe : ViewRecipe or None
        None where there is but the image itself, view 0.
    views : sequence of int
        View 0 is what `featx.images.decoding.load_image` gives, to the bit. The others are made of the
        whole image, also of a JPEG that is scaled for view 0.
    image_sha256 : str
        Digest of the content.
    sample_id : str, default=""
        Names the image in errors.
    notes : list of str, optional
        Takes what is odd about the image, as `featx.images.decoding.load_image` tells it.

    Returns
    -------
    list of ndarray of shape (input height, input width, 3), uint8
        RGB, in the order of `views`.

    Raises
    ------
    DecodeError
        When the bytes are not a whole image of a supported kind.

    Examples
    --------
    >>> from featx.images.decoding import reference_image
    >>> content = reference_image("rotated.jpg")
    >>> views = load_views(content, (24, 32), ViewRecipe(("flip",)), (0, 1), "0" * 64)
    >>> bool((views[0][:, ::-1] == views[1]).all())
    True
    """
    if recipe is None or not any(views):
        return [load_image(content, input_size, sample_id, notes) for _ in views]
    whole = decode_image(content, sample_id, notes)
    is_same = not may_be_scaled(whole.shape[:2], input_size)
    plain = load_image(whole if is_same else content, input_size, sample_id) if 0 in views else None
    made = recipe.apply_all(
        Image.fromarray(whole), [view for view in views if view], image_sha256, input_size
    )
    others = iter(np.asarray(each) for each in made)
    return [next(others) if view or plain is None else plain for view in views]
