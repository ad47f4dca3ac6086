"""How well features part classes, measured without a search: the measures and what they share.

All take columns standardised by `standardise`, as featx's heads scale them, classes as codes from 0 and
groups as codes from 0. What is left out is always a whole group, so no sample is judged by its own copies.

LogME and ridge regression share one decomposition ``Z Z' = U diag(values) U'``, made from the smaller of the
two Gram matrices. With it, a penalty costs one product with U instead of a fit, the samples left out
included, and the evidence costs a sum over the values. Folds with a fit each would give nearly the same
answers many times slower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

_BLOCK_BYTES = 32 * 2**20
# Below this share of the largest value is the rounding of float32 features, not their content.
_RELATIVE_RANK = 1e-10
# Of copies: what float32 tells from 0.
_LEAST_DISTANCE = np.finfo(np.float32).eps
# Penalties of the ridge classifier, in mean values of the decomposition.
_PENALTIES = np.logspace(-2, 3, 6)
# The evidence's one free parameter, noise to signal, in largest values; flat beyond either end.
_NOISE_TO_SIGNAL = np.logspace(-10, 4, 57)


def standardise(X: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and deviation 1 in float32; constant columns become 0.

    Examples
    --------
    >>> standardise(np.array([[1, 7], [3, 7]], np.float16))
    array([[-1.,  0.],
           [ 1.,  0.]], dtype=float32)
    """
    # float16 has too few digits, and too small a range, to be scaled in.
    scaled: np.ndarray = StandardScaler().fit_transform(np.asarray(X, np.float32))
    return scaled


# ------------------------------------------------------------------------------- neighbours, centroids


def knn_accuracy(Z: np.ndarray, codes: np.ndarray, members: np.ndarray, n_neighbors: int = 5) -> float:
    """Share of samples whose nearest neighbours of other groups vote for the sample's class.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
        float32. The cosine tells who is near, and the nearer a neighbour the more its vote counts, in
        inverse proportion to the distance, as in featx's head ``knn``.
    codes, members : ndarray of shape (n_samples,)
        Class and group of each sample.
    n_neighbors : int, default=5
        Fewer where the largest group leaves fewer.

    Returns
    -------
    float

    Examples
    --------
    >>> Z, codes = np.array([[1, 0], [2, 0], [0, 1], [0, 2]], np.float32), np.array([0, 0, 1, 1])
    >>> knn_accuracy(Z, codes, np.arange(4), n_neighbors=1)
    1.0
    """
    n_samples, n_classes = len(Z), int(codes.max()) + 1
    n_neighbors = min(n_neighbors, n_samples - int(np.bincount(members).max()))
    lengths = np.linalg.norm(Z, axis=1, keepdims=True)
    directions = np.divide(Z, lengths, out=np.zeros_like(Z), where=lengths > 0)
    n_hits, step = 0, max(1, _BLOCK_BYTES // (4 * n_samples))
    for start in range(0, n_samples, step):
        block = slice(start, start + step)
        similarity = directions[block] @ directions.T
        similarity[members[block, None] == members] = -np.inf
        nearest = np.argpartition(-similarity, n_neighbors - 1, axis=1)[:, :n_neighbors]
        ballots = codes[nearest] + n_classes * np.arange(len(nearest))[:, None]
        distance = np.maximum(1 - np.take_along_axis(similarity, nearest, axis=1), _LEAST_DISTANCE)
        votes = np.bincount(ballots.ravel(), 1 / distance.ravel(), n_classes * len(nearest))
        n_hits += int((votes.reshape(-1, n_classes).argmax(axis=1) == codes[block]).sum())
    return n_hits / n_samples


def centroid_accuracy(Z: np.ndarray, codes: np.ndarray, members: np.ndarray) -> float:
    """Share of samples that are nearest to their own class's mean, taken without their own group.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
    codes, members : ndarray of shape (n_samples,)
        Class and group of each sample; no class is in one group alone.

    Returns
    -------
    float

    Examples
    --------
    >>> Z, codes = np.array([[1], [3], [-2], [-2]], np.float32), np.array([0, 0, 1, 1])
    >>> centroid_accuracy(Z, codes, np.arange(4))
    1.0
    """
    sums, counts = _indicator(codes) @ Z, np.bincount(codes)
    # Squared distances less the sample's own square, which is the same to every class.
    centroids = sums / counts[:, None]
    distances = (centroids**2).sum(axis=1) - 2 * Z @ centroids.T
    # A cell is what one group has of one class: without it, that class's mean is another for that group.
    cells, cell = np.unique([codes, members], axis=1, return_inverse=True)
    in_cell, in_group = _indicator(cell), _indicator(members)
    step = max(1, _BLOCK_BYTES // (8 * Z.shape[1]))
    for start in range(0, cells.shape[1], step):
        label, group = cells[:, start : start + step]
        of_cell = in_cell[start : start + step]
        others = (sums[label] - of_cell @ Z) / (counts[label] - of_cell.sum(axis=1))[:, None]
        pair, row = in_group[group].nonzero()
        products = np.einsum("ij,ij->i", Z[row], others[pair])
        distances[row, label[pair]] = (others**2).sum(axis=1)[pair] - 2 * products
    return float((distances.argmin(axis=1) == codes).mean())


def _indicator(codes: np.ndarray) -> sparse.csr_array:
    """One row a code, with ones where a sample has it."""
    n_samples = len(codes)
    shape = (int(codes.max()) + 1, n_samples)
    return sparse.csr_array((np.ones(n_samples), (codes, np.arange(n_samples))), shape=shape)


# ------------------------------------------------------------------------------ what a linear head finds


@dataclass(frozen=True)
class Spectrum:
    """Standardised features, seen as a kernel, with one centred target a class.

    Attributes
    ----------
    basis : ndarray of shape (n_samples, rank)
        Left singular vectors of the features.
    values : ndarray of shape (rank,)
        Their squared singular values, all positive.
    targets : ndarray of shape (n_samples, n_classes)
        1 for a sample of the class and 0 for others, less the class's share: so the features need no
        intercept, their columns being centred as well.
    loadings : ndarray of shape (rank, n_classes)
        The targets in the basis.
    """

    basis: np.ndarray
    values: np.ndarray
    targets: np.ndarray
    loadings: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, codes: np.ndarray) -> Spectrum:
        """Decompose features by the smaller of their two Gram matrices.

        Examples
        --------
        >>> Spectrum.of(np.array([[-1, -2], [1, 2]], np.float32), np.array([0, 1])).values
        array([10.])
        """
        is_wide = Z.shape[0] <= Z.shape[1]
        values, vectors = eigh(_gram(Z if is_wide else Z.T), overwrite_a=True, driver="evd")
        kept = values > _RELATIVE_RANK * max(values[-1], np.finfo(np.float32).tiny)
        values, basis = values[kept], vectors[:, kept]
        if not is_wide:
            basis = Z @ basis / np.sqrt(values)
        targets = np.eye(int(codes.max()) + 1)[codes]
        targets -= targets.mean(axis=0)
        return cls(basis, values, targets, basis.T @ targets)


def _gram(Z: np.ndarray) -> np.ndarray:
    """``Z Z'`` in float64, without a copy of Z in float64."""
    gram = np.zeros((len(Z), len(Z)))
    step = max(1, _BLOCK_BYTES // (8 * len(Z)))
    for start in range(0, Z.shape[1], step):
        block = Z[:, start : start + step].astype(np.float64)
        gram += block @ block.T
    return gram


def log_evidence(spectrum: Spectrum) -> float:
    """LogME: the log evidence of a Bayesian linear model of each class, a sample, the mean over classes.

    The model is ``target = Z w + noise`` with ``w ~ N(0, 1/alpha)`` and ``noise ~ N(0, 1/beta)``; the
    evidence is its density of the targets at the best alpha and beta (You et al., LogME: Practical
    Assessment of Pre-trained Models for Transfer Learning, ICML 2021). Given the ratio alpha / beta, the
    best scale is known in closed form, which leaves a search along one line. It ends where the paper's
    fixed-point iteration does, and at an end of the line where that one would run off to infinity: for
    features that say nothing of the classes, or everything.
    Targets and columns are centred, so that one degree of freedom goes to the intercept.

    Returns
    -------
    float
        In nats; higher is better.

    Examples
    --------
    >>> x, codes = np.linspace(-1, 1, 20, dtype=np.float32), np.repeat([0, 1], 10)
    >>> noise = np.tile(np.float32([-1, 1]), 10)
    >>> log_evidence(Spectrum.of(x[:, None], codes)) > log_evidence(Spectrum.of(noise[:, None], codes))
    True
    """
    per_class = [
        _best_evidence(spectrum, (target**2).sum(), loading**2)
        for target, loading in zip(spectrum.targets.T, spectrum.loadings.T, strict=True)
    ]
    return float(np.mean(per_class))


def _best_evidence(spectrum: Spectrum, total: float, explained: np.ndarray) -> float:
    values, n_free = spectrum.values, len(spectrum.targets) - 1
    unexplained = max(0.0, total - explained.sum())
    n_noise = n_free - len(values)

    def evidence(log_ratio: float) -> float:
        ratio = np.exp(log_ratio)
        # alpha times the targets' variance, were alpha / beta this ratio.
        scale = ((explained / (values + ratio)).sum() + unexplained / ratio) / n_free
        log_determinant = np.log(values + ratio).sum() + n_noise * log_ratio
        return float(-(n_free * (np.log(2 * np.pi * scale) + 1) + log_determinant) / (2 * n_free))

    grid = np.log(_NOISE_TO_SIGNAL * values.max(initial=np.finfo(np.float32).tiny))
    best = int(np.argmax([evidence(point) for point in grid]))
    # The grid finds the hill, where there are several; the line search finds its top.
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    top = minimize_scalar(lambda point: -evidence(point), bounds=bounds, method="bounded")
    return max(evidence(grid[best]), -float(top.fun))


def ridge_decisions(spectrum: Spectrum, members: np.ndarray) -> np.ndarray:
    """What a ridge classifier says of each group when it was fitted on all others.

    Fitting is linear in the targets, ``fitted = H targets``, so that the residuals of a group g left out
    are ``inv(I - H[g, g])`` times those of the fit with it: the same numbers as a fit for each group, for
    the price of one (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, eq. 7.64).
    Column means and class shares are those of all samples. The penalty is the one of six whose squared
    residuals are least.

    Parameters
    ----------
    spectrum : Spectrum
    members : ndarray of shape (n_samples,)
        Group of each sample.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Higher means more likely; without the class's share.

    Examples
    --------
    >>> x, codes = np.linspace(-1, 1, 20, dtype=np.float32), np.repeat([0, 1], 10)
    >>> decisions = ridge_decisions(Spectrum.of(x[:, None], codes), np.arange(20))
    >>> (decisions.argmax(axis=1) == codes).mean()
    np.float64(1.0)
    """
    penalties = _PENALTIES * spectrum.values.mean() if len(spectrum.values) else _PENALTIES
    order = np.argsort(members, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(members[order])) + 1)
    groups = [group for group in groups if len(group) > 1]
    candidates = (_residuals_left_out(spectrum, penalty, groups) for penalty in penalties)
    least = min(candidates, key=lambda residuals: float((residuals**2).sum()))
    decisions: np.ndarray = spectrum.targets - least
    return decisions


def _residuals_left_out(spectrum: Spectrum, penalty: float, groups: list[np.ndarray]) -> np.ndarray:
    basis, weights = spectrum.basis, spectrum.values / (spectrum.values + penalty)
    residuals = spectrum.targets - basis @ (weights[:, None] * spectrum.loadings)
    left_out: np.ndarray = residuals / (1 - np.einsum("ij,j,ij->i", basis, weights, basis))[:, None]
    for group in groups:
        hat = (basis[group] * weights) @ basis[group].T
        left_out[group] = np.linalg.solve(np.eye(len(group)) - hat, residuals[group])
    return left_out


def ridge_scores(spectrum: Spectrum, codes: np.ndarray, members: np.ndarray) -> tuple[float, float]:
    """Accuracy and area under the ROC curve, the mean of each class against the rest, of `ridge_decisions`.

    Parameters
    ----------
    spectrum : Spectrum
    codes, members : ndarray of shape (n_samples,)
        Class and group of each sample.

    Returns
    -------
    accuracy, roc_auc : float

    Examples
    --------
    >>> x, codes = np.linspace(-1, 1, 20, dtype=np.float32), np.repeat([0, 1], 10)
    >>> ridge_scores(Spectrum.of(x[:, None], codes), codes, np.arange(20))
    (1.0, 1.0)
    """
    truth = np.eye(spectrum.targets.shape[1])[codes]
    decisions = ridge_decisions(spectrum, members)
    accuracy = ((decisions + truth.mean(axis=0)).argmax(axis=1) == codes).mean()
    return float(accuracy), float(roc_auc_score(truth, decisions))
