"""The nearest neighbours of every sample, exactly, without ever holding all distances.

Rows are compared by direction (see `directions`): each has length 1, and the distance is Euclidean, so that
``distance ** 2 == 2 - 2 * cosine``. Similarities are made in square blocks, and each block serves its
rows and its columns: half the products of a plain search. The largest of a row of a block are found among
the groups of the largest maxima, which hold them for certain: partitioning whole rows would take longer than
the products. Last, the distances of the neighbours that were found are taken anew, as lengths of
differences: a cosine in float32 cannot tell a copy from an image that is nearly one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from featx.checks import check_finite, check_positive, explain
from featx.errors import HeadError

#: What float32 tells from 0, between rows of length 1.
LEAST_DISTANCE = 1e-6
#: Fewer samples have no bulk to speak of.
LEAST_SAMPLES = 10
# Of a block of similarities; its working copies take about as much again.
_SHARE_OF_MEMORY = 0.25
_MOST_ROWS = 8192
_ROWS_OF_DIFFERENCES = 1024


@dataclass(frozen=True)
class Neighbors:
    """The nearest neighbours of some samples.

    Attributes
    ----------
    distances : ndarray of shape (n_samples, n_neighbors), float32
        Rising along each row; from 0 to 2.
    indices : ndarray of shape (n_samples, n_neighbors), int
        Rows of the neighbours; a sample is none of its own.
    """

    distances: np.ndarray
    indices: np.ndarray

    @property
    def n_neighbors(self) -> int:
        """Neighbours of each sample."""
        return int(self.indices.shape[1])

    def __len__(self) -> int:
        return len(self.indices)


def check_rate(rate: float) -> None:
    """Refuse a false discovery rate that is none."""
    if not 0 < rate < 1:
        received = f"false_discovery_rate={rate!r}"
        raise HeadError(explain(received, "a share between 0 and 1", "pass 0.05"))


def directions(X: np.ndarray) -> np.ndarray:
    """Roots of the features, with their signs, as rows of length 1 in float32; rows of zeros stay.

    Roots keep a few strong channels from deciding alone who is near. They were chosen over plain, centred
    and standardised features by planting re-encoded images and noise into two sets, solar cells and digits:
    more of both were found in each (R. Arandjelović and A. Zisserman, *Three things everyone should know to
    improve object retrieval*, CVPR 2012, say the same of descriptors).

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Of any numeric dtype.

    Returns
    -------
    ndarray of shape (n_samples, n_features), float32

    Raises
    ------
    HeadError
        When features are not finite.

    Examples
    --------
    >>> directions(np.array([[9, -16], [0, 0]], np.float16))
    array([[ 0.6, -0.8],
           [ 0. ,  0. ]], dtype=float32)
    """
    check_finite(X)
    units = np.array(X, np.float32)
    signs = np.signbit(units)
    np.sqrt(np.abs(units, out=units), out=units)
    np.negative(units, where=signs, out=units)
    lengths = np.sqrt(np.einsum("ij,ij->i", units, units))
    units /= np.where(lengths > 0, lengths, 1)[:, None]
    return units


def nearest_neighbors(X: np.ndarray, n_neighbors: int = 20, *, memory_gb: float = 1.0) -> Neighbors:
    """The nearest neighbours of every row among the others.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    n_neighbors : int, default=20
        Fewer where there are fewer other rows.
    memory_gb : float, default=1.0
        To use beside the features and a float32 copy of them; more makes larger blocks.

    Returns
    -------
    Neighbors

    Raises
    ------
    HeadError
        When features are not finite, or a parameter makes no sense.

    Examples
    --------
    >>> X = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 2.0]])
    >>> neighbors = nearest_neighbors(X, 1)
    >>> neighbors.indices.ravel()
    array([1, 0, 3, 2])
    >>> neighbors.distances.ravel().round(3)
    array([0.   , 0.   , 0.606, 0.606], dtype=float32)
    """
    check_positive("n_neighbors", n_neighbors, HeadError)
    units = directions(X)
    best = _Best(len(units), min(n_neighbors, max(0, len(units) - 1)))
    if best.n_neighbors == 0:
        return Neighbors(best.similarities, best.indices)
    blocks = _blocks(len(units), best.n_neighbors, memory_gb)
    table = _table(blocks, blocks)
    for number, rows in enumerate(blocks):
        for columns in blocks[number:]:
            _multiply(units[rows], units[columns], table)
            if rows == columns:
                np.fill_diagonal(table, -np.inf)
            else:
                best.update(columns, table.T, rows.start)
            best.update(rows, table, columns.start)
    return _measured(units, units, best.indices)


def neighbors_among(
    X: np.ndarray, X_reference: np.ndarray, n_neighbors: int = 20, *, memory_gb: float = 1.0
) -> Neighbors:
    """The nearest neighbours of every row among the rows of another matrix.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    X_reference : ndarray of shape (n_references, n_features)
    n_neighbors : int, default=20
        Fewer where there are fewer references.
    memory_gb : float, default=1.0

    Returns
    -------
    Neighbors
        With rows of ``X_reference`` as indices.

    Raises
    ------
    HeadError
        When features are not finite, or not as many in both.

    Examples
    --------
    >>> neighbors_among(np.array([[1.0, 0.1]]), np.eye(2), 1).indices
    array([[0]])
    """
    check_positive("n_neighbors", n_neighbors, HeadError)
    if X.shape[1] != X_reference.shape[1]:
        received = f"{X.shape[1]} features and references of {X_reference.shape[1]}"
        raise HeadError(explain(received, "features of one extraction", "extract both alike"))
    units, references = directions(X), directions(X_reference)
    best = _Best(len(units), min(n_neighbors, len(references)))
    if 0 in best.indices.shape:
        return Neighbors(best.similarities, best.indices)
    row_blocks = _blocks(len(units), best.n_neighbors, memory_gb)
    column_blocks = _blocks(len(references), best.n_neighbors, memory_gb)
    table = _table(row_blocks, column_blocks)
    for rows in row_blocks:
        for columns in column_blocks:
            _multiply(units[rows], references[columns], table)
            best.update(rows, table, columns.start)
    return _measured(units, references, best.indices)


def _blocks(n_rows: int, n_neighbors: int, memory_gb: float) -> list[slice]:
    if not memory_gb > 0:
        raise HeadError(explain(f"memory_gb={memory_gb!r}", "a positive number", "pass 1.0"))
    fitting = int(np.sqrt(_SHARE_OF_MEMORY * memory_gb * 1e9 / np.dtype(np.float32).itemsize))
    step = max(n_neighbors, min(fitting, _MOST_ROWS))
    # Blocks of about one size: a small last one would cost as many passes as a full one.
    step = -(-n_rows // -(-n_rows // step))
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def _group_width(n_columns: int, n_neighbors: int) -> int:
    """Of groups, so that their number and what the best of them hold are about as many."""
    return max(1, int(np.sqrt(n_columns / n_neighbors)))


def _table(rows: list[slice], columns: list[slice]) -> np.ndarray:
    """Room for the similarities of any two blocks."""
    return np.empty((rows[0].stop, columns[0].stop), np.float32)


def _multiply(A: np.ndarray, B: np.ndarray, table: np.ndarray) -> None:
    """Similarities into the corner of the table; the rest of it is never the nearest."""
    np.matmul(A, B.T, out=table[: len(A), : len(B)])
    table[len(A) :] = -np.inf
    table[:, len(B) :] = -np.inf


class _Best:
    """The largest similarities of each row so far, in no order, and whose they are."""

    def __init__(self, n_rows: int, n_neighbors: int) -> None:
        self.n_neighbors = n_neighbors
        self.similarities = np.full((n_rows, n_neighbors), -np.inf, np.float32)
        self.indices = np.zeros((n_rows, n_neighbors), np.intp)

    def update(self, rows: slice, table: np.ndarray, first_column: int) -> None:
        """Take the similarities of some rows, ``(at least the rows, n_columns)``, into account."""
        table = table[: rows.stop - rows.start]
        columns = _promising_columns(table, self.n_neighbors)
        found = np.take_along_axis(table, columns, axis=1)
        similarities = np.hstack([self.similarities[rows], found])
        indices = np.hstack([self.indices[rows], columns + first_column])
        kept = _largest(similarities, self.n_neighbors)
        self.similarities[rows] = np.take_along_axis(similarities, kept, axis=1)
        self.indices[rows] = np.take_along_axis(indices, kept, axis=1)


def _promising_columns(table: np.ndarray, n_largest: int) -> np.ndarray:
    """For each row, columns that hold its largest: of all groups of columns, those of the largest maxima."""
    n_rows, n_columns = table.shape
    width = _group_width(n_columns, n_largest)
    n_groups = n_columns // width
    in_groups = table[:, : n_groups * width].reshape(n_rows, width, n_groups)
    groups = _largest(in_groups.max(axis=1), min(n_largest, n_groups))
    columns = (groups[:, :, None] + n_groups * np.arange(width)).reshape(n_rows, -1)
    # What is left over of the groups is fewer columns than a group has.
    rest = np.arange(n_groups * width, n_columns)
    return np.hstack([columns, np.broadcast_to(rest, (n_rows, len(rest)))])


def _largest(values: np.ndarray, n_largest: int) -> np.ndarray:
    """Indices of the largest of each row, in no order."""
    n_others = values.shape[1] - n_largest
    return np.argpartition(values, n_others - 1, axis=1)[:, n_others:] if n_others else _all_columns(values)


def _all_columns(values: np.ndarray) -> np.ndarray:
    return np.broadcast_to(np.arange(values.shape[1]), values.shape)


def _measured(units: np.ndarray, references: np.ndarray, indices: np.ndarray) -> Neighbors:
    """The neighbours by rising distance, which is the length of the difference; ties by row."""
    indices = np.sort(indices, axis=1)
    distances = np.empty(indices.shape, np.float32)
    for start in range(0, len(units), _ROWS_OF_DIFFERENCES):
        rows = slice(start, start + _ROWS_OF_DIFFERENCES)
        for number in range(indices.shape[1]):
            difference = units[rows] - references[indices[rows, number]]
            distances[rows, number] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    order = np.argsort(distances, axis=1, kind="stable")
    return Neighbors(np.take_along_axis(distances, order, axis=1), np.take_along_axis(indices, order, axis=1))
