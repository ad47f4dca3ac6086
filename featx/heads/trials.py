"""The loop of a search: rounds of a strategy, cells out of the journal or run, outcomes.

Cells are written to the journal as they are finished. A time budget ends the search between cells: what is
not finished on every fold by then has no outcome.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from featx.files import StrPath
from featx.heads.candidates import Candidate, can_fit
from featx.heads.cells import N_AT_ONCE_ON_A_BUDGET, Cell, run_tasks, tasks_of
from featx.heads.journal import Journal, is_complete
from featx.heads.problem import Problem
from featx.heads.results import Outcome
from featx.heads.splits import Folds
from featx.heads.strategies import Round, Space, make_strategy
from featx.progress import progress_bar


@dataclass(frozen=True)
class Trials:
    """How candidates are tried.

    Attributes
    ----------
    strategy : str
    rank_by : str
        Name of the score that a strategy goes by.
    journal : path-like or None
    n_jobs : int or None
    deadline : float
        By the monotonic clock; infinite for none.
    verbose : int
    """

    strategy: str
    rank_by: str
    journal: StrPath | None
    n_jobs: int | None
    deadline: float
    verbose: int

    def run(self, space: Space, problem: Problem) -> tuple[list[Outcome], int]:
        """Try what the strategy asks for.

        Parameters
        ----------
        space : Space
        problem : Problem

        Returns
        -------
        outcomes : list of Outcome
        n_unfinished : int
            Candidates of the round in which the deadline came.
        """
        strategy = make_strategy(self.strategy, space)
        outcomes: list[Outcome] = []
        journals: dict[float, tuple[Problem, Journal]] = {}
        number, round_ = 0, next(strategy)
        while True:
            if round_.share not in journals:
                part = problem if round_.share == 1 else _on_a_share(problem, round_.share, space)
                journals[round_.share] = part, Journal(self.journal, part)
            candidates = [each for each in round_.candidates if can_fit(each, problem.folds)]
            round_ = replace(round_, candidates=candidates)
            found = self._round(round_, number, *journals[round_.share])
            outcomes += found.values()
            if len(found) < len(candidates):
                return outcomes, len(candidates) - len(found)
            try:
                scores = [found[index].scores(self.rank_by).mean() for index in range(len(candidates))]
                number, round_ = number + 1, strategy.send((candidates, np.array(scores)))
            except StopIteration:
                return outcomes, 0

    def _round(self, round_: Round, number: int, problem: Problem, journal: Journal) -> dict[int, Outcome]:
        candidates, n_folds = round_.candidates, len(problem.folds)
        # Only a file has to know them again.
        keys = [f"{number} {index}" for index in range(len(candidates))]
        if self.journal is not None:
            keys = [candidate.key for candidate in candidates]
        cells: dict[tuple[int, int], Cell] = {}
        for index, key in enumerate(keys):
            for fold in range(n_folds):
                if (cell := journal.get(key, fold, index)) is not None:
                    cells[index, fold] = cell
        with progress_bar("Searching", len(candidates) * n_folds, self.verbose, "fits") as advance:
            advance(len(cells))

            def run(some: Sequence[Candidate], deadline: float) -> None:
                tasks = tasks_of(some, problem, lambda index, fold: (index, fold) in cells, self._n_at_once)
                for finished in run_tasks(tasks, problem, self.n_jobs, deadline):
                    cells.update({(cell.candidate, cell.fold): cell for cell in finished})
                    journal.add((keys[cell.candidate], cell) for cell in finished if is_complete(cell))
                    advance(len(finished))

            if number == 0 and self._n_at_once is not None:
                # Whatever the budget, there is a first candidate.
                run(candidates[:1], math.inf)
            run(candidates, self.deadline)
        n_rows = min(len(train) for train, _ in problem.folds)
        return {
            index: Outcome(
                candidate,
                tuple(cells[index, fold] for fold in range(n_folds)),
                number,
                round_.share,
                n_rows,
            )
            for index, candidate in enumerate(candidates)
            if all((index, fold) in cells for fold in range(n_folds))
        }

    @property
    def _n_at_once(self) -> int | None:
        return N_AT_ONCE_ON_A_BUDGET if math.isfinite(self.deadline) else None


def _on_a_share(problem: Problem, share: float, space: Space) -> Problem:
    """The problem with fewer rows to train on, every class in its proportion; the test parts stay."""
    random = np.random.default_rng(space.preparation.random_state or 0)
    folds: Folds = []
    for train, test in problem.folds:
        order = random.permutation(train)
        classes = np.unique(problem.y[order], axis=0, return_inverse=True)[1].reshape(-1)
        chosen = [
            order[classes == label][: math.ceil(share * np.sum(classes == label))]
            for label in np.unique(classes)
        ]
        folds.append((np.sort(np.concatenate(chosen)), test))
    return problem.with_folds(folds, str(share))
