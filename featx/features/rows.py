"""Rows: a feature matrix that is read in blocks, so that one larger than the memory passes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import StoreCorruptError, StoreError

DTYPES = ("float32", "float16")

_BLOCK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Rows:
    """A feature matrix that is read in blocks of rows.

    Parameters
    ----------
    shape : tuple of int
        (n_samples, n_features).
    dtype : str
    read : callable
        ``read(start, stop)`` returns these rows.
    sha256 : str, optional
        What `features_digest` must give for them.
    """

    shape: tuple[int, int]
    dtype: str
    read: Callable[[int, int], np.ndarray]
    sha256: str | None = None

    def blocks(self, digest: Any = None, multiple_of: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Every row in order, in blocks of bounded size, each with its first row's index.

        Parameters
        ----------
        digest : hash object, optional
            To be fed with every row, by somebody who needs it too.
        multiple_of : int, default=1
            Of which every block but the last has a multiple of rows.
        """
        n_samples, n_features = self.shape
        step = max(1, _BLOCK_BYTES // max(1, n_features * 4) // multiple_of) * multiple_of
        if digest is None and self.sha256 is not None:
            digest = features_digest(self.shape, self.dtype)
        # Digested by one processor while another does with the block what it was asked for.
        with ThreadPoolExecutor(1, thread_name_prefix="featx-digest") as pool:
            for start in range(0, n_samples, step):
                block = np.ascontiguousarray(self.read(start, min(start + step, n_samples)), dtype=self.dtype)
                update = None
                if digest is not None:
                    update = pool.submit(digest.update, block.reshape(-1).view(np.uint8).data)
                yield start, block
                if update is not None:
                    update.result()
        if self.sha256 is not None and digest.hexdigest() != self.sha256:
            raise StoreCorruptError("the features are not the ones that were saved; extract them anew")


@dataclass(frozen=True, kw_only=True)
class _Narrowed(Rows):
    """Some columns of another matrix, which is checked as a whole while they are read."""

    whole: Rows
    columns: np.ndarray

    def blocks(self, digest: Any = None, multiple_of: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        for start, block in self.whole.blocks(multiple_of=multiple_of):
            narrow = np.ascontiguousarray(block[:, self.columns])
            if digest is not None:
                digest.update(narrow.reshape(-1).view(np.uint8).data)
            yield start, narrow


def narrowed(rows: Rows, columns: np.ndarray) -> Rows:
    """Some columns of a feature matrix, in the order given, read with it and never all of it at once.

    Examples
    --------
    >>> whole = Rows((2, 3), "float32", lambda start, stop: np.ones((2, 3))[start:stop])
    >>> narrowed(whole, np.array([2, 0])).shape
    (2, 2)
    """
    return _Narrowed(
        (rows.shape[0], len(columns)),
        rows.dtype,
        lambda start, stop: rows.read(start, stop)[:, columns],
        whole=rows,
        columns=columns,
    )


def rows_of_array(X: np.ndarray) -> Rows:
    """A feature matrix that is in memory.

    Raises
    ------
    StoreError
        When it is none.

    Examples
    --------
    >>> rows_of_array(np.eye(3, dtype=np.float32)).shape
    (3, 3)
    """
    X = np.asarray(X)
    if X.ndim != 2 or X.dtype.name not in DTYPES:
        received = f"features of shape {X.shape} and type {X.dtype}"
        expected = f"(n_samples, n_features) in {' or '.join(DTYPES)}"
        raise StoreError(explain(received, expected, "convert them"))
    return Rows(X.shape, X.dtype.name, lambda start, stop: X[start:stop])


def taken(rows: Rows, wanted: np.ndarray) -> np.ndarray:
    """Some rows of a feature matrix, in the order given; all of it is read and checked, and no more kept.

    Parameters
    ----------
    rows : Rows
    wanted : ndarray of int of shape (n_wanted,)
        Not negative.

    Returns
    -------
    ndarray of shape (n_wanted, n_features)

    Examples
    --------
    >>> X = np.float32([[1], [2], [3]])
    >>> taken(Rows((3, 1), "float32", lambda start, stop: X[start:stop]), np.array([2, 0, 2]))
    array([[3.],
           [1.],
           [3.]], dtype=float32)
    """
    X = np.empty((len(wanted), rows.shape[1]), rows.dtype)
    order = np.argsort(wanted, kind="stable")
    in_order = wanted[order]
    for start, block in rows.blocks():
        here = slice(*np.searchsorted(in_order, [start, start + len(block)]))
        X[order[here]] = block[in_order[here] - start]
    return X


def features_digest(shape: tuple[int, int], dtype: str) -> Any:
    """A SHA-256 to be fed with a feature matrix's rows, in order."""
    return hashlib.sha256(f"features {shape} {dtype}\n".encode())
