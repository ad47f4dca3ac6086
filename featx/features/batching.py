"""Batches of one fixed shape, which is what engines take (see `featx.features.engines`)."""

from __future__ import annotations

import numpy as np


def batches_of(inputs: np.ndarray, n_rows: int) -> list[np.ndarray]:
    """Rows in batches, the last one padded with zeros.

    Parameters
    ----------
    inputs : ndarray of shape (n, ...)
    n_rows : int
        Of every batch.

    Returns
    -------
    list of ndarray of shape (n_rows, ...)
        Views of the rows given, where nothing had to be padded.

    Examples
    --------
    >>> [batch.tolist() for batch in batches_of(np.array([1, 2, 3]), 2)]
    [[1, 2], [3, 0]]
    """
    n_missing = -len(inputs) % n_rows
    if n_missing:
        inputs = np.concatenate([inputs, np.zeros((n_missing, *inputs.shape[1:]), inputs.dtype)])
    return np.split(inputs, len(inputs) // n_rows)
