"""Which candidates are tried, and in what order: everything, samples, refinement, successive halving.

A strategy is a generator. It yields a `Round`, is sent that round's candidates with their mean scores, and
yields the next; the search knows nothing else of it. Candidates that the folds are too small for are not sent
back.

References
----------
Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021, appendix A.3:
the penalty of a linear probe by a coarse sweep and halving steps around its peak, 8 to a decade.
Jamieson and Talwalkar, Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016:
successive halving.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from sklearn.model_selection import ParameterSampler

from featx.checks import check_choice, check_positive
from featx.errors import HeadError
from featx.heads.candidates import Candidate, Preparation
from featx.heads.spaces import HeadSpec

STRATEGIES = ("grid", "refine", "random", "halving")

_STEPS_A_DECADE = 8
_KEPT_OF = 3
# A rung on fewer rows would rank by chance.
_LEAST_ROWS = 200


@dataclass(frozen=True)
class Round:
    """Candidates that are tried together.

    Attributes
    ----------
    candidates : list of Candidate
    share : float
        Of each training part that they are fitted on.
    """

    candidates: list[Candidate]
    share: float = 1.0


Strategy: TypeAlias = Generator[Round, tuple[list[Candidate], np.ndarray], None]


@dataclass(frozen=True)
class Space:
    """What a strategy chooses from.

    Attributes
    ----------
    specs : list of HeadSpec
    features : tuple of str
        Names of the feature sets.
    preparation : Preparation
    n_iter : int
        Samples a head and feature set, of the random strategy.
    n_rows : int
        Of the smallest training part.
    """

    specs: list[HeadSpec]
    features: tuple[str, ...]
    preparation: Preparation
    n_iter: int
    n_rows: int

    def every_candidate(self) -> list[Candidate]:
        """The whole grid."""
        of_specs = (self.preparation.candidates(spec, self.features) for spec in self.specs)
        return list(chain.from_iterable(of_specs))


def make_strategy(name: str, space: Space) -> Strategy:
    """A strategy by its name.

    Parameters
    ----------
    name : {"grid", "refine", "random", "halving"}
    space : Space

    Returns
    -------
    generator of Round
    """
    check_choice("strategy", name, STRATEGIES, HeadError)
    check_positive("n_iter", space.n_iter, HeadError)
    return {"grid": _grid, "refine": _refine, "random": _random, "halving": _halving}[name](space)


def _grid(space: Space) -> Strategy:
    yield Round(space.every_candidate())


def _random(space: Space) -> Strategy:
    candidates = []
    for spec in space.specs:
        grids = spec.param_grid if isinstance(spec.param_grid, Sequence) else [spec.param_grid]
        are_lists = all(not hasattr(values, "rvs") for grid in grids for values in grid.values())
        every = space.preparation.candidates(spec, space.features[:1]) if are_lists else []
        # Of a small grid there is no more to draw than all of it.
        n_iter = min(space.n_iter, len(every)) if are_lists else space.n_iter
        drawn = list(ParameterSampler(spec.param_grid, n_iter, random_state=space.preparation.random_state))
        candidates += [
            space.preparation.candidate(spec, params, name) for name in space.features for params in drawn
        ]
    yield Round(candidates)


def _halving(space: Space) -> Strategy:
    candidates = space.every_candidate()
    n_rounds = max(0, math.floor(math.log(max(len(candidates), 1), _KEPT_OF)))
    n_rounds = min(n_rounds, max(0, math.floor(math.log(max(space.n_rows / _LEAST_ROWS, 1), _KEPT_OF))))
    for left in range(n_rounds, -1, -1):
        candidates, scores = yield Round(candidates, float(_KEPT_OF) ** -left)
        order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")
        candidates = [candidates[index] for index in order[: math.ceil(len(candidates) / _KEPT_OF)]]


def _refine(space: Space) -> Strategy:
    """The grid, then steps half as wide around each head's best, until they are fine enough."""
    tried: dict[tuple[str, str], list[tuple[float, Candidate]]] = {}
    round_ = Round(space.every_candidate())
    while round_.candidates:
        for candidate, score in zip(*(yield round_), strict=True):
            # What failed is never the best, and is not tried again.
            scored = -np.inf if np.isnan(score) else score
            tried.setdefault((candidate.spec.name, candidate.features), []).append((scored, candidate))
        found: list[Candidate] = []
        for of_head in tried.values():
            score, best = max(of_head, key=lambda pair: pair[0])
            if np.isfinite(score):
                found += _around(best, [candidate for _, candidate in of_head], space)
        round_ = Round(found)


def _around(best: Candidate, of_head: list[Candidate], space: Space) -> list[Candidate]:
    """Neighbours of the best at half the step to the nearest value tried, along each logarithmic axis."""
    found = []
    for name, value in best.params.items():
        values = sorted({candidate.params[name] for candidate in of_head if _is_continuous(candidate, name)})
        # An axis is something that was swept, and over a decade or more.
        if len(values) < 3 or value not in values or values[-1] / values[0] < 10:
            continue
        place = values.index(value)
        sides = [values[place - 1]] * (place > 0) + values[place + 1 : place + 2]
        for side in sides:
            if abs(math.log10(side / value)) > 1.001 / _STEPS_A_DECADE:
                params = {**best.params, name: float(np.sqrt(side * value))}
                found.append(space.preparation.candidate(best.spec, params, best.features))
    return found


def _is_continuous(candidate: Candidate, name: str) -> bool:
    """Whether a value is positive and one of many: a float, or an integer where the head's own is none."""
    value: Any = candidate.params.get(name)
    is_counted = isinstance(candidate.spec.estimator.get_params().get(name), int)
    is_number = isinstance(value, float) or (type(value) is int and not is_counted)
    return is_number and value > 0
