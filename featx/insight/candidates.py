"""A search's candidates with what their folds can tell: an interval each, and a test against the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.insight.folds import fold_interval, fold_p_values, score_range
from featx.insight.metrics import Interval
from featx.insight.subgroups import holm

#: Candidates whose p-value is below it are told from the best.
SIGNIFICANT = 0.05

_UNKNOWN = ("score_ci", "p_value", "p_value_alone")


def candidates_of(search: Any) -> list[dict[str, Any]]:
    """The leaderboard, with what the folds can tell of every candidate.

    Parameters
    ----------
    search : HeadSearch
        Or what has a ``leaderboard()`` as it has; without ``cv_results_`` nothing is known of the folds.

    Returns
    -------
    list of dict
        Best first. Each has ``score_ci``, the 95 % interval of its mean score, and ``p_value_alone``, of a
        corrected resampled t-test of its difference from the best (see `featx.insight.folds`). The best was
        chosen among many, so that some seem worse by chance: ``p_value`` is corrected for the number of
        others by Holm's procedure, and below 0.05 for any candidate that is as good as the best in no more
        than 5 of 100 searches. All are None where a fold has no score, and the p-values where halving
        judged the candidate on fewer samples. Of several scores, each stands there as
        ``mean_test_<score>`` besides the one that ranks, with ``ci_test_<score>``.
    """
    candidates = [dict(candidate) for candidate in search.leaderboard()]
    table = getattr(search, "cv_results_", None)
    if table is None or not candidates:
        return [{**candidate, **dict.fromkeys(_UNKNOWN)} for candidate in candidates]
    names = [name.removeprefix("rank_test_") for name in table if name.startswith("rank_test_")]
    rank_by = names[0] if len(names) == 1 else ranked_by(search)
    # The score that ranks stands first.
    names.sort(key=lambda name: name != rank_by)
    order = np.argsort(table[f"rank_test_{rank_by}"], kind="stable")
    p_values = _p_values(search, rank_by, order)
    corrected = _corrected(p_values)
    intervals = {name: _intervals(search, name, order) for name in names}
    of_several = names if len(names) > 1 else []
    return [
        {
            **candidate,
            "score_ci": intervals[rank_by][place],
            "p_value": corrected[place],
            "p_value_alone": p_values[place],
            **{f"mean_test_{name}": float(table[f"mean_test_{name}"][index]) for name in of_several},
            **{f"ci_test_{name}": intervals[name][place] for name in of_several},
        }
        for place, (candidate, index) in enumerate(zip(candidates, order, strict=True))
    ]


def ranked_by(search: Any) -> str:
    """The score that candidates are ranked by, as it was asked for; "score" where it has no name."""
    scoring = getattr(search, "scoring", None)
    if isinstance(scoring, str):
        return scoring
    if scoring is None or callable(scoring):
        return "score"
    return search.refit if isinstance(search.refit, str) else str(next(iter(scoring)))


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


def _p_values(search: Any, rank_by: str, order: np.ndarray) -> list[float | None]:
    """Of each candidate by itself against the best, which is the first."""
    n_scored = getattr(search, "n_scored_", None) if _limits(search, rank_by) == (0.0, 1.0) else None
    p_values = fold_p_values(_fold_scores(search, rank_by, order), 0, search.test_train_ratio_, n_scored)
    n_resources = search.cv_results_.get("n_resources", np.zeros(len(order), int))[order]
    p_values[n_resources != n_resources[0]] = np.nan
    return [None if np.isnan(p_value) else float(p_value) for p_value in p_values]


def _corrected(p_values: list[float | None]) -> list[float | None]:
    """By Holm's procedure; the best is not tested against itself."""
    adjusted = iter(holm([p_value for p_value in p_values[1:] if p_value is not None]))
    return p_values[:1] + [None if p_value is None else next(adjusted) for p_value in p_values[1:]]


def _intervals(search: Any, name: str, order: np.ndarray) -> list[Interval | None]:
    n_scored, limits = getattr(search, "n_scored_", None), _limits(search, name)
    scores = _fold_scores(search, name, order)
    return [
        fold_interval(of_candidate, search.test_train_ratio_, limits, n_scored) for of_candidate in scores
    ]


def _limits(search: Any, name: str) -> Interval:
    return score_range(ranked_by(search) if name == "score" else name)


def _fold_scores(search: Any, name: str, order: np.ndarray) -> np.ndarray:
    """Of shape (n_candidates, n_folds), best candidate first."""
    folds = [search.cv_results_[f"split{fold}_test_{name}"] for fold in range(search.n_splits_)]
    scores: np.ndarray = np.stack(folds, axis=1)[order]
    return scores
