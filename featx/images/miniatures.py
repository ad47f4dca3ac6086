"""What images look like from afar, so that copies are known whatever was done to their bytes.

A network's features tell an image that was compressed or resized from the original, where what it learned
to see is fine texture. Sixteen pixels a side, in grey, hardly change. They say nothing of what is in an
image, so they serve to find copies and nothing else.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from featx.errors import DecodeError
from featx.images.base import ImageSource, RawImage
from featx.images.decoding import load_image

SIDE = 16
# Decoded to so many times the side, of which blocks are averaged: a JPEG that is scaled while it is decoded
# must come out like the PNG it was made from.
_OVERSAMPLING = 4
#: (height, width) that an image is loaded at for it.
LOADED_SIZE = (SIDE * _OVERSAMPLING, SIDE * _OVERSAMPLING)
#: Of an image that cannot be decoded.
NO_MINIATURE = np.full(SIDE * SIDE, np.nan, np.float32)
# Of red, green and blue in grey (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_AT_ONCE = 256


def make_miniatures(source: ImageSource, *, workers: int | None = None) -> np.ndarray:
    """Every image in 16 x 16 grey pixels.

    Parameters
    ----------
    source : ImageSource
    workers : int, optional
        Threads that decode; by default one a processor.

    Returns
    -------
    ndarray of shape (n_samples, 256), float32
        From 0 to 255; a row of NaN for an image that cannot be decoded.

    Examples
    --------
    >>> from featx import as_source
    >>> make_miniatures(as_source(np.full((2, 20, 30, 3), 7, np.uint8)))[:, :2].round(3)
    array([[7., 7.],
           [7., 7.]], dtype=float32)
    """
    rows: list[np.ndarray] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(source), _AT_ONCE):
            rows += pool.map(_miniature, source.read(start, min(start + _AT_ONCE, len(source))))
    return np.stack(rows)


def _miniature(image: RawImage) -> np.ndarray:
    try:
        pixels = load_image(image.fetch(), LOADED_SIZE, image.sample_id)
    except DecodeError:
        return NO_MINIATURE
    return miniature_of(pixels)


def miniature_of(pixels: np.ndarray) -> np.ndarray:
    """An image in 16 x 16 grey pixels, from 0 to 255.

    Parameters
    ----------
    pixels : ndarray of shape (64, 64, 3), uint8
        As `featx.images.decoding.load_image` gives it for `LOADED_SIZE`.

    Returns
    -------
    ndarray of shape (256,), float32
    """
    grey: np.ndarray = pixels @ _LUMA
    blocks = grey.reshape(SIDE, _OVERSAMPLING, SIDE, _OVERSAMPLING)
    return np.asarray(blocks.mean(axis=(1, 3)).reshape(-1), np.float32)
