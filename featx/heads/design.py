"""A design matrix that is read in blocks: standardised on the way, never copied as a whole.

Linear heads need three things of a feature matrix: its products with a few columns of weights, the products
of its transpose with a few columns of residuals, and its Gram matrix. `Design` gives them block by block, so
that a float16 matrix of a million rows is searched in the memory that it takes as it is, and a part of the
rows (a fold) is a vector of weights, zero for the rows that are left out, instead of a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

#: Maps rows (a slice) and their decision values (n_rows, n_outputs) to losses (n_rows,) and their gradient
#: (n_rows, n_outputs).
Judge: TypeAlias = Callable[[slice, np.ndarray], tuple[np.ndarray, np.ndarray]]

# Of a block as float32: large enough for BLAS, small enough for a few to be at work at once.
_BLOCK_BYTES = 32 * 2**20
_ROWS_IN_CACHE = 128


class Design:
    """Rows of a feature matrix with a weight each, and a last column of ones for the intercept.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        float16, float32 or float64. float16 is computed with as float32.
    weights : ndarray of shape (n_rows,), optional
        Zero leaves a row out. None means ones.
    mean, scale : ndarray of shape (n_features,), optional
        What is taken off each column, and what the rest is divided by.

    Examples
    --------
    >>> design = Design(np.array([[1.0, 2.0], [3.0, 4.0]]), mean=np.array([2.0, 3.0]))
    >>> design.dot(np.array([[1.0], [1.0], [10.0]]))
    array([[ 8.],
           [12.]])
    >>> design.gram()
    array([[2., 2., 0.],
           [2., 2., 0.],
           [0., 0., 2.]])
    """

    def __init__(
        self,
        X: np.ndarray,
        weights: np.ndarray | None = None,
        mean: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ) -> None:
        self._X = X
        self._dtype = np.dtype(np.float64 if X.dtype == np.float64 else np.float32)
        self._mean = None if mean is None else np.asarray(mean, self._dtype)
        self._scale = np.ones(X.shape[1]) if scale is None else np.asarray(scale, np.float64)
        self.weights = np.ones(len(X)) if weights is None else np.asarray(weights, np.float64)

    @property
    def n_columns(self) -> int:
        """Features, and one for the intercept."""
        return int(self._X.shape[1]) + 1

    @property
    def total_weight(self) -> float:
        """Sum of the weights: the number of rows where none has any."""
        return float(self.weights.sum())

    def dot(self, columns: np.ndarray) -> np.ndarray:
        """Products with columns of weights, the intercept's last.

        Parameters
        ----------
        columns : ndarray of shape (n_features + 1, n_outputs)

        Returns
        -------
        ndarray of shape (n_rows, n_outputs), float64
        """
        # Dividing the few weights is dividing the many rows.
        scaled = (columns[:-1] / self._scale[:, np.newaxis]).astype(self._dtype)
        # Blocks of rows that are left out are not read, and what is theirs has to be a number.
        products = np.zeros((len(self._X), columns.shape[1]))
        for rows, block in self._blocks():
            products[rows] = block @ scaled
        products += columns[-1]
        return products

    def sweep(self, columns: np.ndarray, judge: Judge) -> tuple[float, np.ndarray]:
        """The weighted mean loss of some columns of weights and its gradient, in one pass over the rows.

        Parameters
        ----------
        columns : ndarray of shape (n_features + 1, n_outputs)
        judge : callable
            The loss.

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_features + 1, n_outputs), float64
        """
        scaled = (columns[:-1] / self._scale[:, np.newaxis]).astype(self._dtype)
        loss, gradient = 0.0, np.zeros_like(columns)
        for rows, block in self._blocks():
            losses, residuals = judge(rows, (block @ scaled).astype(np.float64) + columns[-1])
            share = self.weights[rows] / self.total_weight
            residuals *= share[:, np.newaxis]
            loss += float(share @ losses)
            gradient[:-1] += block.T @ residuals.astype(self._dtype)
            gradient[-1] += residuals.sum(axis=0)
        gradient[:-1] /= self._scale[:, np.newaxis]
        return loss, gradient

    def transposed_dot(self, residuals: np.ndarray) -> np.ndarray:
        """Products of the transpose with columns of residuals; weighing them is the caller's.

        Parameters
        ----------
        residuals : ndarray of shape (n_rows, n_outputs)

        Returns
        -------
        ndarray of shape (n_features + 1, n_outputs), float64
        """
        sums = np.zeros((self.n_columns, residuals.shape[1]))
        for rows, block in self._blocks():
            sums[:-1] += block.T @ residuals[rows].astype(self._dtype)
        sums[:-1] /= self._scale[:, np.newaxis]
        sums[-1] = residuals.sum(axis=0)
        return sums

    def gram(self) -> np.ndarray:
        """The weighted Gram matrix, column of ones included.

        Returns
        -------
        ndarray of shape (n_features + 1, n_features + 1), float64
        """
        gram, scale = np.zeros((self.n_columns, self.n_columns)), self._scale
        roots = np.sqrt(self.weights).astype(self._dtype)[:, np.newaxis]
        is_weighted = bool((self.weights != 1).any())
        for rows, block in self._blocks():
            weighted = block * roots[rows] if is_weighted else block
            gram[:-1, :-1] += weighted.T @ weighted
            gram[:-1, -1] += self.weights[rows].astype(self._dtype) @ block
        gram[:-1, :-1] /= scale[:, np.newaxis] * scale
        gram[:-1, -1] /= scale
        gram[-1, :-1], gram[-1, -1] = gram[:-1, -1], self.total_weight
        return gram

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of rows, centred; they are scaled by who uses them."""
        n_rows, n_features = self._X.shape
        step = max(1, _BLOCK_BYTES // (n_features * self._dtype.itemsize))
        for start in range(0, n_rows, step):
            rows = slice(start, start + step)
            if not self.weights[rows].any():
                continue
            block = as_floats(self._X[rows])
            yield rows, block if self._mean is None else block - self._mean


def as_floats(X: np.ndarray) -> np.ndarray:
    """float16 as float32, three to fifteen times as fast as NumPy's cast; anything else as it is.

    The bits of a finite half, moved to the place of a single's, are that number times 2 to the -112. NumPy
    branches for each number instead, and slows down where many are zero or tiny.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Finite.

    Returns
    -------
    ndarray of shape (n_rows, n_features)

    Examples
    --------
    >>> as_floats(np.array([[0.5, -1e-7, 65504.0]], np.float16)).dtype
    dtype('float32')
    """
    if X.dtype != np.float16:
        return X
    floats = np.empty(X.shape, np.float32)
    bits = floats.view(np.int32)
    for start in range(0, len(X), _ROWS_IN_CACHE):
        rows = slice(start, start + _ROWS_IN_CACHE)
        part = bits[rows]
        part[...] = X[rows].view(np.int16)
        part <<= 13
        # The sign came along into every place above; it belongs into the first alone.
        part &= np.int32(-0x70002000)
        floats[rows] *= np.float32(2.0**112)
    return floats
