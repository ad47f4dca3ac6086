"""One candidate: a head with one choice of parameters, prepared, weighted, scored and tabulated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, clone
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.model_selection import ParameterGrid, cross_validate
from sklearn.utils.validation import has_fit_parameter

from featx.checks import explain, suggest
from featx.errors import HeadError
from featx.heads.spaces import HeadSpec, is_own_head
from featx.heads.splits import Folds

Candidate: TypeAlias = tuple[HeadSpec, Mapping[str, Any]]


@dataclass(frozen=True)
class Problem:
    """What all candidates share."""

    X: np.ndarray
    y: np.ndarray
    groups: Sequence[Any] | np.ndarray | None
    folds: Folds
    sample_weight: np.ndarray | None


def check_single_scoring(scoring: Any) -> None:
    """Refuse a scoring that is unknown, or that is more than one: candidates are ranked by one."""
    names = get_scorer_names()
    if scoring is not None and not callable(scoring) and scoring not in names:
        remedy = suggest(scoring, names) if isinstance(scoring, str) else "choose the one to rank by"
        raise HeadError(explain(f"scoring={scoring!r}", "one scorer: its name or a callable", remedy))


def candidates_of(spec: HeadSpec) -> list[Candidate]:
    """Every choice of a head's parameters; a grid that does not fit the head is refused before any work."""
    try:
        candidates = [(spec, params) for params in ParameterGrid(spec.param_grid)]
        for candidate in candidates:
            prepare(*candidate, random_state=None)
    except (TypeError, ValueError) as error:
        raise HeadError(f"the param_grid of the head {spec.name} cannot be used: {error}") from error
    if not candidates:
        expected = "one choice of parameters or more"
        raise HeadError(explain(f"an empty param_grid for {spec.name}", expected, "pass {} for defaults"))
    return candidates


def can_fit(candidate: Candidate, folds: Folds) -> bool:
    """Whether the folds have enough samples for a candidate that featx chose itself.

    Its grids are for folders of every size. That a small one has fewer images than its largest
    neighbourhood is nothing to be warned of; a candidate that a user chose is left to fail and say so.
    """
    spec, params = candidate
    n_neighbors = params.get("head__n_neighbors", 0) if is_own_head(spec) else 0
    return all(n_neighbors <= len(train) for train, _ in folds)


def needs_calibration(estimator: BaseEstimator, calibration: str | None) -> bool:
    """Whether a head gets its probabilities by calibration, because it has none of its own."""
    return calibration is not None and not hasattr(estimator, "predict_proba")


def will_give(estimator: BaseEstimator, method: str, calibration: str | None) -> bool:
    """Whether a head will have a method once it is refitted."""
    if needs_calibration(estimator, calibration):
        return method != "decision_function"
    return hasattr(estimator, method)


def prepare(spec: HeadSpec, params: Mapping[str, Any], random_state: int | None) -> BaseEstimator:
    """A candidate, not fitted, with the search's seed wherever a seed is open."""
    estimator = clone(spec.estimator).set_params(**clone(params, safe=False))
    seeds = {
        name: random_state
        for name, value in estimator.get_params().items()
        if name.rpartition("__")[2] == "random_state" and value is None
    }
    return estimator.set_params(**seeds)


def score_candidate(estimator: BaseEstimator, *, problem: Problem, scoring: Any) -> Mapping[str, Any]:
    """Fit and score one candidate on every fold; one that fails gives not-a-number and its reason."""
    try:
        scores = cross_validate(
            estimator,
            problem.X,
            problem.y,
            cv=problem.folds,
            scoring=check_scoring(estimator, scoring),
            params=fit_weights(estimator, problem.sample_weight),
            error_score="raise",
        )
        if not isinstance(scores.get("test_score"), np.ndarray):
            raise TypeError("the scorer gives several scores, and candidates are ranked by one")
    except Exception as error:  # noqa: BLE001 - one candidate's failure is reported and costs only itself
        failed = np.full(len(problem.folds), np.nan)
        return {"fit_time": failed, "score_time": failed, "test_score": failed, "error": str(error)}
    return {**scores, "error": "a fold has no score" if np.isnan(scores["test_score"]).any() else ""}


def check_weighable(specs: list[HeadSpec]) -> None:
    """Refuse heads whose ``fit`` takes no sample weights."""
    for spec in specs:
        if not has_fit_parameter(_last_step(spec.estimator)[1], "sample_weight"):
            received = f"sample_weight for the head {spec.name}"
            raise HeadError(explain(received, "heads that can weigh samples", f"leave {spec.name} out"))


def fit_weights(estimator: BaseEstimator, sample_weight: np.ndarray | None) -> dict[str, np.ndarray]:
    """The weights by the name under which a head's ``fit`` takes them."""
    if sample_weight is None:
        return {}
    return {f"{_last_step(estimator)[0]}sample_weight": sample_weight}


def _last_step(estimator: BaseEstimator) -> tuple[str, BaseEstimator]:
    """What classifies, and the prefix of its parameters."""
    steps = getattr(estimator, "steps", None)
    return ("", estimator) if steps is None else (f"{steps[-1][0]}__", steps[-1][1])


def results_table(candidates: list[Candidate], results: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Results in GridSearchCV's layout."""
    table: dict[str, Any] = {"head": np.array([spec.name for spec, _ in candidates])}
    for name in ("fit_time", "score_time"):
        times = np.array([result[name] for result in results])
        table[f"mean_{name}"], table[f"std_{name}"] = times.mean(axis=1), times.std(axis=1)
    params = [dict(params) for _, params in candidates]
    for name in sorted({name for chosen in params for name in chosen}):
        column = np.empty(len(params), dtype=object)
        # One by one: an array made of tuples at once would become two-dimensional.
        for index, chosen in enumerate(params):
            column[index] = chosen.get(name)
        table[f"param_{name}"] = np.ma.array(column, mask=[name not in chosen for chosen in params])
    table["params"] = params
    scores = np.array([result["test_score"] for result in results])
    table |= {f"split{fold}_test_score": scores[:, fold] for fold in range(scores.shape[1])}
    mean = scores.mean(axis=1)
    table["mean_test_score"], table["std_test_score"] = mean, scores.std(axis=1)
    worst_last = np.where(np.isnan(mean), -np.inf, mean)
    table["rank_test_score"] = rankdata(-worst_last, method="min").astype(np.int32)
    table["error"] = np.array([result["error"] for result in results], dtype=object)
    return table
