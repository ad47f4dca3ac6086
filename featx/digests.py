"""Digests of numbers: what a network's weights or a file's columns are named by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def arrays_sha256(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """One SHA-256 over named arrays: names, shapes, types and bytes, in the order given.

    Parameters
    ----------
    arrays : iterable of (str, ndarray)
        C-contiguous.

    Examples
    --------
    >>> import numpy as np
    >>> arrays_sha256([("a", np.zeros(2, np.float32))]) == arrays_sha256([("a", np.zeros(1, np.float64))])
    False
    """
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode())
        digest.update(array.reshape(-1).view("u1").data)
    return digest.hexdigest()
