"""Rows: a feature matrix that is read in blocks, so that one larger than the memory passes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import StoreCorruptError

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


def features_digest(shape: tuple[int, int], dtype: str) -> Any:
    """A SHA-256 to be fed with a feature matrix's rows, in order."""
    return hashlib.sha256(f"features {shape} {dtype}\n".encode())
