"""What a search found, in the layout of scikit-learn's ``GridSearchCV``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata

from featx.heads.candidates import Candidate, values_of
from featx.heads.cells import Cell


@dataclass(frozen=True)
class Outcome:
    """A candidate that was tried.

    Attributes
    ----------
    candidate : Candidate
    cells : tuple of Cell
        One a fold.
    round : int
        Of the strategy.
    share : float
        Of each training part that it was fitted on.
    n_rows : int
        Of the smallest training part.
    """

    candidate: Candidate
    cells: tuple[Cell, ...]
    round: int
    share: float
    n_rows: int

    @property
    def error(self) -> str:
        """The first fold's that has one, or ""."""
        return next((cell.error for cell in self.cells if cell.error), "")

    def scores(self, name: str) -> np.ndarray:
        """A score on each fold, NaN where there is none."""
        return np.array([cell.scores.get(name, math.nan) for cell in self.cells])


def results_table(outcomes: Sequence[Outcome], rank_by: str) -> dict[str, Any]:
    """Outcomes in GridSearchCV's layout, with the columns ``head``, ``features`` and ``error``.

    Parameters
    ----------
    outcomes : sequence of Outcome
    rank_by : str
        Name of the score that decides; a later round of halving stands before an earlier one.

    Returns
    -------
    dict of str to array
    """
    candidates = [outcome.candidate for outcome in outcomes]
    table: dict[str, Any] = {
        "head": np.array([candidate.spec.name for candidate in candidates]),
        "features": np.array([candidate.features for candidate in candidates]),
    }
    for name in ("fit_time", "score_time"):
        times = np.array([[getattr(cell, name) for cell in outcome.cells] for outcome in outcomes])
        table[f"mean_{name}"], table[f"std_{name}"] = times.mean(axis=1), times.std(axis=1)
    table |= _params_table(candidates)
    shares = np.array([outcome.share for outcome in outcomes])
    if max(outcome.round for outcome in outcomes):
        table["iter"] = np.array([outcome.round for outcome in outcomes])
        table["n_resources"] = np.array([outcome.n_rows for outcome in outcomes])
    names = sorted(
        {name for outcome in outcomes for cell in outcome.cells for name in cell.scores} | {rank_by}
    )
    for name in names:
        scores = np.array([outcome.scores(name) for outcome in outcomes])
        table |= {f"split{fold}_test_{name}": scores[:, fold] for fold in range(scores.shape[1])}
        mean = scores.mean(axis=1)
        table[f"mean_test_{name}"], table[f"std_test_{name}"] = mean, scores.std(axis=1)
        table[f"rank_test_{name}"] = _ranks(mean, shares)
    table["error"] = values_of([outcome.error for outcome in outcomes])
    return table


def _params_table(candidates: Sequence[Candidate]) -> dict[str, Any]:
    params = [dict(candidate.params) for candidate in candidates]
    table: dict[str, Any] = {}
    for name in sorted({name for chosen in params for name in chosen}):
        column = values_of([chosen.get(name) for chosen in params])
        table[f"param_{name}"] = np.ma.array(column, mask=[name not in chosen for chosen in params])
    return {**table, "params": params}


def _ranks(mean: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties equal; what failed is last, and what saw more rows comes first."""
    ranks = np.zeros(len(mean), np.int32)
    # What failed has seen nothing.
    seen = np.where(np.isnan(mean), 0, shares)
    for share in set(seen):
        is_here = seen == share
        ranks[is_here] = rankdata(-np.nan_to_num(mean[is_here]), method="min") + (seen > share).sum()
    return ranks


def leaderboard(results: dict[str, Any], rank_by: str) -> list[dict[str, Any]]:
    """The candidates from best to worst, as plain rows."""
    order = np.argsort(results[f"rank_test_{rank_by}"], kind="stable")
    return [
        {
            "rank": int(results[f"rank_test_{rank_by}"][index]),
            "head": str(results["head"][index]),
            "features": str(results["features"][index]),
            "params": results["params"][index],
            "mean_test_score": float(results[f"mean_test_{rank_by}"][index]),
            "std_test_score": float(results[f"std_test_{rank_by}"][index]),
            "mean_fit_time": float(results["mean_fit_time"][index]),
        }
        for index in order
    ]
