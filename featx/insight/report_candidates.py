"""A search's candidates with what their folds can tell: an interval each, and a test against the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.insight.folds import fold_interval, fold_p_values

#: Candidates whose p-value is below it are told from the best.
SIGNIFICANT = 0.05


def candidates_of(search: Any) -> list[dict[str, Any]]:
    """The leaderboard, with ``score_ci`` and ``p_value`` added to every candidate.

    Parameters
    ----------
    search : HeadSearch
        Or what has a ``leaderboard()`` as it has; without ``cv_results_`` nothing is known of the folds.

    Returns
    -------
    list of dict
        Best first. Both are None where the folds cannot say, as of a candidate that failed on one.
    """
    candidates = [dict(candidate) for candidate in search.leaderboard()]
    scores = _fold_scores(search, candidates)
    if scores is None:
        return [{**candidate, "score_ci": None, "p_value": None} for candidate in candidates]
    n_folds = max(2, scores.shape[1] // (getattr(search, "n_repeats", None) or 1))
    ratio = getattr(search, "test_train_ratio_", 1 / (n_folds - 1))
    p_values = fold_p_values(scores, 0, ratio)
    return [
        {
            **candidate,
            "score_ci": fold_interval(of_candidate, ratio),
            "p_value": None if np.isnan(p_value) else float(p_value),
        }
        for candidate, of_candidate, p_value in zip(candidates, scores, p_values, strict=True)
    ]


def parameters_of(candidate: Mapping[str, Any]) -> str:
    """A candidate's parameters as a line, without the steps that they belong to.

    Examples
    --------
    >>> parameters_of({"params": {"head__C": 0.01, "head__solver": "lbfgs"}})
    'C = 0.01, solver = lbfgs'
    """
    return ", ".join(
        f"{name.rpartition('__')[2]} = {f'{value:.6g}' if isinstance(value, float) else value}"
        for name, value in candidate["params"].items()
    )


def _fold_scores(search: Any, candidates: list[dict[str, Any]]) -> np.ndarray | None:
    """Of shape (n_candidates, n_folds), in the order of the candidates."""
    results = getattr(search, "cv_results_", None)
    if results is None or not candidates:
        return None
    best = candidates[0]["mean_test_score"]
    for name in sorted(key.removeprefix("rank_test_") for key in results if key.startswith("rank_test_")):
        order = np.argsort(results[f"rank_test_{name}"], kind="stable")
        # Of several scores, the one that ranks.
        if results[f"mean_test_{name}"][order[0]] == best:
            n_folds = sum(key.startswith("split") and key.endswith(f"_test_{name}") for key in results)
            folds = [np.asarray(results[f"split{fold}_test_{name}"], float)[order] for fold in range(n_folds)]
            return np.stack(folds, axis=1)
    return None
