"""One candidate: a head with one choice of parameters, on one feature set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import ParameterGrid

from featx.checks import explain, suggest
from featx.errors import HeadError
from featx.heads.problem import (
    ALL_FEATURES,
    digest_of,
    for_labels,
    last_step,
    scorers_of,
    weighable,
    with_last_step,
)
from featx.heads.spaces import HeadSpec, is_own_head
from featx.heads.splits import Folds

_SHAPE = "decision_function_shape"


@dataclass(frozen=True)
class Candidate:
    """A head with one choice of parameters, on one feature set.

    Attributes
    ----------
    spec : HeadSpec
    params : mapping of str to object
    features : str
        Name of the feature set.
    estimator : estimator
        Prepared, not fitted.
    """

    spec: HeadSpec
    params: Mapping[str, Any]
    features: str
    estimator: BaseEstimator = field(repr=False, compare=False)

    @property
    def key(self) -> str:
        """What it is, as text that is the same in every process: for the journal."""
        digest = digest_of(self.estimator)
        if digest is None:
            expected, remedy = "classes and functions that are known by name", "define them in a module"
            raise HeadError(explain(f"{self} and a journal", expected, remedy))
        return f"{self.spec.name} {self.features} {digest}"

    def __str__(self) -> str:
        place = "" if self.features == ALL_FEATURES else f" on {self.features}"
        return f"{self.spec.name} with {dict(self.params)}{place}"


@dataclass(frozen=True)
class Preparation:
    """How a candidate's estimator is made.

    Attributes
    ----------
    random_state : int or None
        Wherever a seed is open.
    is_multilabel : bool
    is_weighted : bool
        Whether it will be fitted with weights.
    scoring : object
        As scikit-learn has it.
    calibration : str or None
        What gives a head probabilities where the scoring needs them and it has none.
    """

    random_state: int | None = None
    is_multilabel: bool = False
    is_weighted: bool = False
    scoring: Any = None
    calibration: str | None = None

    def candidate(self, spec: HeadSpec, params: Mapping[str, Any], features: str = ALL_FEATURES) -> Candidate:
        """A candidate, not fitted."""
        try:
            estimator = clone(spec.estimator).set_params(**clone(params, safe=False))
        except (TypeError, ValueError) as error:
            raise HeadError(f"the param_grid of the head {spec.name} cannot be used: {error}") from error
        open_values = estimator.get_params().items()
        # One column a pair of classes cannot be averaged or calibrated, and no prediction depends on it.
        estimator.set_params(
            **{name: "ovr" for name, value in open_values if name.endswith(_SHAPE) and value == "ovo"}
        )
        seeds = {
            name: self.random_state
            for name, value in open_values
            if name.rpartition("__")[2] == "random_state" and value is None
        }
        estimator.set_params(**seeds)
        if self.is_weighted:
            estimator = weighable(spec.name, estimator)
        if self.is_multilabel:
            estimator = for_labels(estimator)
        return Candidate(spec, params, features, self._made_to_serve(spec.name, estimator))

    def candidates(self, spec: HeadSpec, features: Sequence[str] = (ALL_FEATURES,)) -> list[Candidate]:
        """Every choice of a head's parameters; a grid that does not fit it is refused before any work."""
        try:
            choices = list(ParameterGrid(spec.param_grid))
        except (TypeError, ValueError) as error:
            raise HeadError(f"the param_grid of the head {spec.name} cannot be used: {error}") from error
        found = [self.candidate(spec, params, name) for name in features for params in choices]
        if not found:
            received, expected = f"an empty param_grid for {spec.name}", "one choice of parameters or more"
            raise HeadError(explain(received, expected, "pass {} for defaults"))
        return found

    def _made_to_serve(self, name: str, estimator: BaseEstimator) -> BaseEstimator:
        """The estimator as it is, or calibrated where a scorer asks for probabilities that it lacks."""
        lacking = [methods for methods in needed_methods(self.scoring) if not _has_any(estimator, methods)]
        if not lacking:
            return estimator
        wanted = " or ".join(lacking[0])
        can_calibrate = self.calibration is not None and hasattr(estimator, "decision_function")
        if not can_calibrate or any("predict_proba" not in methods for methods in lacking):
            received = f"the head {name}, which has no {wanted}, for scoring={self.scoring!r}"
            remedy = f"leave {name} out, choose another scoring, or calibrate"
            raise HeadError(explain(received, f"heads with {wanted}", remedy))
        method = "sigmoid" if self.calibration == "auto" else self.calibration
        # Of the last step: a calibrated pipeline would hand its head no weights.
        head = CalibratedClassifierCV(last_step(estimator)[1], method=method, ensemble=False)
        return with_last_step(estimator, head)


def needed_methods(scoring: Any) -> list[tuple[str, ...]]:
    """What each named scorer calls of a head, any one of which will do; a callable may call anything."""
    found = []
    for scorer in scorers_of(scoring):
        methods = getattr(get_scorer(scorer), "_response_method", None)
        if methods is not None:
            methods = (methods,) if isinstance(methods, str) else tuple(methods)
            found.append(tuple("predict" if method == "default" else method for method in methods))
    return found


def _has_any(estimator: BaseEstimator, methods: Sequence[str]) -> bool:
    return any(hasattr(estimator, method) for method in methods)


def check_scoring_names(scoring: Any, refit: Any) -> str:
    """The name of the score that candidates are ranked by; unknown scorers are refused.

    Parameters
    ----------
    scoring : str, callable, sequence of str, mapping or None
    refit : bool or str
        Names the score to rank by where there are several.

    Returns
    -------
    str
        "score" for a single one.

    Examples
    --------
    >>> check_scoring_names("accuracy", True), check_scoring_names(["accuracy", "roc_auc"], "roc_auc")
    ('score', 'roc_auc')
    """
    if scoring is None or callable(scoring):
        return refit if isinstance(refit, str) else "score"
    is_single = isinstance(scoring, str)
    if not is_single and not isinstance(scoring, Mapping | list | tuple | set):
        received = f"scoring={scoring!r}"
        raise HeadError(explain(received, "a scorer's name, a callable, or several by name", "mend it"))
    for scorer in scorers_of(scoring):
        if isinstance(scorer, str) and scorer not in get_scorer_names():
            remedy = suggest(scorer, get_scorer_names())
            raise HeadError(explain(f"scoring={scorer!r}", "a scorer that scikit-learn knows", remedy))
    if is_single:
        return "score"
    if not scoring:
        raise HeadError(explain("no scoring", "one or more", "pass for example 'accuracy'"))
    if refit is False:
        return str(next(iter(scoring)))
    if refit not in scoring:
        received = f"several scores and refit={refit!r}"
        raise HeadError(explain(received, "the name of the one to rank by", f"pass refit={min(scoring)!r}"))
    return str(refit)


def can_fit(candidate: Candidate, folds: Folds) -> bool:
    """Whether the folds have enough samples for a candidate that featx chose itself.

    Its grids are for folders of every size. That a small one has fewer images than its largest
    neighbourhood is nothing to be warned of; a candidate that a user chose is left to fail and say so.
    """
    if not is_own_head(candidate.spec):
        return True
    n_neighbors = candidate.params.get("head__n_neighbors", 0)
    return all(n_neighbors <= len(train) for train, _ in folds)


def needs_calibration(estimator: BaseEstimator, calibration: str | None) -> bool:
    """Whether a head gets its probabilities by calibration, because it has none of its own."""
    has_decisions = hasattr(estimator, "decision_function")
    return calibration is not None and has_decisions and not hasattr(estimator, "predict_proba")


def will_give(estimator: BaseEstimator, method: str, calibration: str | None) -> bool:
    """Whether a head will have a method once it is refitted."""
    if needs_calibration(estimator, calibration):
        return method != "decision_function"
    return hasattr(estimator, method)


def values_of(column: Sequence[Any]) -> np.ndarray:
    """An object array, one by one: one made of tuples at once would become two-dimensional."""
    values = np.empty(len(column), dtype=object)
    for index, value in enumerate(column):
        values[index] = value
    return values
