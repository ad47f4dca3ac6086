"""What a decoding child process runs: an image's bytes to the pixels of its views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.errors import DecodeError
from featx.images.view_loading import load_views
from featx.images.views import ViewRecipe

if TYPE_CHECKING:
    from featx.child_process import Handler


def serve(settings: dict[str, Any]) -> Handler:
    """A `featx.child.Child`'s target: requests are images, replies their views.

    Parameters
    ----------
    settings : dict
        ``input_size`` (height, width); ``views``, what views are made of, or None, and ``view_seed``, both
        of a `ViewRecipe`.

    Returns
    -------
    callable
        ``handle(header, content)``. The header has ``views``, the numbers of those wanted, ``digest``, the
        content's, and ``sample_id``. The reply's says in ``error`` why the content is no image, or in
        ``notes`` what is odd about it; its content are the pixels, uint8 of shape (height, width, 3), one
        array a view.

    Examples
    --------
    >>> handle = serve({"input_size": [8, 6], "views": None, "view_seed": 0})
    >>> handle({"views": [0], "digest": "", "sample_id": ""}, b"")
    ({'error': 'empty file'}, [])
    """
    height, width = settings["input_size"]
    recipe = ViewRecipe(tuple(settings["views"]), settings["view_seed"]) if settings["views"] else None

    def handle(header: dict[str, Any], content: bytes) -> tuple[dict[str, Any], Sequence[memoryview]]:
        notes: list[str] = []
        try:
            views = load_views(
                content,
                (height, width),
                recipe,
                header["views"],
                header["digest"],
                sample_id=header["sample_id"],
                notes=notes,
            )
        except DecodeError as error:
            if isinstance(error.__context__, MemoryError):
                # The process's limit is what was met: the parent states it.
                raise error.__context__ from None
            return {"error": error.reason}, []
        return {"notes": notes}, [np.ascontiguousarray(view).data for view in views]

    return handle
