"""Learning curves as power laws, ``score = ceiling - gap * n_samples^-rate``, fitted and carried on.

The law describes learning curves of classifiers well over a range of sizes (Cortes et al., Learning Curves:
Asymptotic Values and Rate of Convergence, NIPS 1993; Hestness et al., Deep Learning Scaling is Predictable,
Empirically, arXiv:1712.00409, 2017), and no law describes all of them (Viering and Loog, The Shape of
Learning Curves: a Review, IEEE TPAMI 45, 2023): carry it on by a small factor alone.

Given the rate, the law is a straight line in ``n^-rate``, with a closed form. Rates are tried on a grid, for
a thousand bootstrap curves at once, where a solver for each would take minutes and get stuck where the three
parameters trade places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Measured rates are from 0.1 to 1. Slower ones are indistinguishable from a logarithm, which has no ceiling.
_RATES = np.linspace(0.1, 1.5, 57)


@dataclass(frozen=True)
class PowerLaws:
    """Laws of several curves.

    Attributes
    ----------
    ceiling, gap, rate : ndarray of shape (n_curves,)
        The gap is below 0 where a score falls as samples are added.
    """

    ceiling: np.ndarray
    gap: np.ndarray
    rate: np.ndarray

    def at(self, n_samples: np.ndarray) -> np.ndarray:
        """Scores, (n_curves, n_sizes)."""
        falling = np.asarray(n_samples, float)[None, :] ** -self.rate[:, None]
        scores: np.ndarray = np.clip(self.ceiling[:, None] - self.gap[:, None] * falling, 0.0, 1.0)
        return scores


def fit_power_laws(n_samples: np.ndarray, curves: np.ndarray) -> PowerLaws:
    """Fit a law to each curve by least squares, each size weighed by its samples.

    Parameters
    ----------
    n_samples : ndarray of int, shape (n_sizes,)
        Four sizes or more; the law has three parameters.
    curves : ndarray of shape (n_curves, n_sizes)
        Scores from 0 to 1, such that more is better.

    Returns
    -------
    PowerLaws
        No ceiling is above 1.

    Examples
    --------
    >>> n_samples = np.array([50, 100, 200, 400])
    >>> laws = fit_power_laws(n_samples, 0.9 - 0.8 / np.sqrt(n_samples)[None])
    >>> laws.rate, laws.at(np.array([800])).round(4)
    (array([0.5]), array([[0.8717]]))
    """
    weights = n_samples / n_samples.sum()
    fits = [_line(n_samples**-rate, curves, weights) for rate in _RATES]
    best = np.argmin([errors for _, _, errors in fits], axis=0)
    curve = np.arange(len(curves))
    ceilings, gaps = (np.stack([fit[part] for fit in fits])[best, curve] for part in (0, 1))
    return PowerLaws(ceilings, gaps, _RATES[best])


def _line(
    falling: np.ndarray, curves: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ceiling and gap of the best line, and its weighed squared error."""
    mean = weights @ falling
    spread = weights * (falling - mean)
    gap = -(curves @ spread) / (spread @ falling)
    ceiling = curves @ weights + gap * mean
    # Of the lines that end at 1, the best goes through the origin of what is missing.
    is_above = ceiling > 1
    steepest = (1 - curves) @ (weights * falling) / (weights @ falling**2)
    gap, ceiling = np.where(is_above, steepest, gap), np.where(is_above, 1.0, ceiling)
    errors = (curves - ceiling[:, None] + gap[:, None] * falling) ** 2 @ weights
    return ceiling, gap, errors
