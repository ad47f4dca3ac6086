"""Features as a map of two dimensions: what is alike stands together, as far as two dimensions allow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from featx.checks import check_choice, check_finite, explain, require
from featx.errors import HeadError

PROJECTIONS = ("pca", "umap")


@dataclass(frozen=True)
class Projection:
    """A map of samples.

    Attributes
    ----------
    positions : ndarray of shape (n_samples, 2), float64
        From 0 to 1, in both directions by the same measure.
    note : str
        How it was made, and what can be read off it.
    """

    positions: np.ndarray
    note: str


def check_projection(method: str) -> None:
    """Refuse a projection that cannot be made, before hours of work end in that error.

    Raises
    ------
    HeadError
        For an unknown name.
    MissingPackageError
        When umap-learn is not installed.

    Examples
    --------
    >>> check_projection("tsne")
    Traceback (most recent call last):
    featx.errors.HeadError: received projection='tsne'; expected one of 'pca', 'umap'; pass one of them
    """
    check_choice("projection", method, PROJECTIONS, HeadError)
    if method == "umap":
        require("umap", "umap")


def project(X: np.ndarray, method: str = "pca", *, random_state: int = 0) -> Projection:
    """Lay samples out in a plane by their features.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    method : {"pca", "umap"}, default="pca"
        The two directions along which the samples vary most (Hotelling, Journal of Educational Psychology
        24, 1933), by randomised decomposition; or UMAP (McInnes et al., arXiv 1802.03426), which keeps
        neighbours together and says nothing of far distances.
    random_state : int, default=0

    Returns
    -------
    Projection

    Raises
    ------
    HeadError
        When features are not finite or not a matrix, or the method is unknown.
    MissingPackageError
        When umap-learn is not installed.

    Examples
    --------
    >>> project(np.array([[0.0, 1.0, 0.0], [4.0, 1.0, 0.0], [2.0, 1.0, 1.0]])).positions[:, 0].round(3)
    array([0. , 1. , 0.5])
    """
    check_projection(method)
    X = np.asarray(X)
    if X.ndim != 2:
        raise HeadError(explain(f"features of shape {X.shape}", "a matrix", "pass one row a sample"))
    X = X.astype(np.float32, copy=False)
    check_finite(X)
    n_components = min(2, *X.shape)
    if n_components < 2 or not np.ptp(X, axis=0).any():
        # Nothing varies, or along one direction alone.
        line = X[:, :1] if X.shape[1] else np.zeros((len(X), 1))
        return Projection(_to_unit_square(np.hstack([line, np.zeros((len(X), 1))])), _note_of_pca(1.0))
    if method == "umap":
        # Below three samples UMAP has no neighbours to keep together.
        return _umap(X, random_state) if len(X) > 3 else _pca(X, random_state)
    return _pca(X, random_state)


def _pca(X: np.ndarray, random_state: int) -> Projection:
    pca = PCA(2, svd_solver="randomized", random_state=random_state)
    positions = pca.fit_transform(X)
    share = float(pca.explained_variance_ratio_.sum())
    return Projection(_to_unit_square(positions), _note_of_pca(share))


def _note_of_pca(share: float) -> str:
    return (
        "Principal components: the two directions in which the features vary most. "
        f"They hold {share * 100:.0f} % of the variance; what overlaps here may be far apart in the rest."
    )


def _umap(X: np.ndarray, random_state: int) -> Projection:
    import warnings

    umap = require("umap", "umap")
    # Fifty components keep what neighbours are, and the search for them short.
    n_components = min(50, *X.shape)
    reduced = PCA(n_components, svd_solver="randomized", random_state=random_state).fit_transform(X)
    mapper = umap.UMAP(n_neighbors=min(15, len(X) - 1), random_state=random_state, n_jobs=1)
    with warnings.catch_warnings():
        # Of spectral starts that fail on parted data; it starts at random then.
        warnings.simplefilter("ignore")
        positions = mapper.fit_transform(reduced)
    note = "UMAP: neighbours stay together; sizes of groups and distances between them say nothing."
    return Projection(_to_unit_square(np.asarray(positions, np.float64)), note)


def _to_unit_square(positions: np.ndarray) -> np.ndarray:
    """Positions from 0 to 1, the longer side filled and the shorter in its middle."""
    positions = positions.astype(np.float64)
    low, high = positions.min(axis=0), positions.max(axis=0)
    span = float((high - low).max()) or 1.0
    centred: np.ndarray = (positions - (low + high) / 2) / span
    return centred + 0.5
