"""The cells of a search, candidate by fold: fitted and scored family by family, in parallel.

A task is a family of candidates on one fold. Tasks go to joblib, by default to threads: the features are
shared and nothing is started or copied, and what takes time in them (BLAS, libsvm, L-BFGS) runs without
Python's lock. Another backend is chosen as scikit-learn documents, with ``joblib.parallel_config``; BLAS is
held to its share of the processors either way. A worker that dies takes nothing along: what is finished is
kept, the rest is run again, one candidate at a time, and a candidate that kills its worker alone is reported.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from time import monotonic, perf_counter, time
from typing import Any

import numpy as np
from joblib import Parallel, cpu_count, delayed, effective_n_jobs
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import get_active_backend
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from threadpoolctl import threadpool_limits

from featx.errors import FeatxWarning
from featx.heads.averaging import ViewAverage
from featx.heads.candidates import Candidate
from featx.heads.paths import Fitted, Path, fit_each, path_of
from featx.heads.problem import Problem, last_step
from featx.heads.shared import FOLDS, Fold, Prefix

_LOG = logging.getLogger(__name__)

#: A search that may be stopped goes through a family in such steps, fold after fold, so that what is stopped
# is finished for some candidates rather than begun for all.
N_AT_ONCE_ON_A_BUDGET = 4


_LARGE_BYTES = 2**20
_DEATHS_OF_RAY = {"RayActorError", "WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"}


@dataclass(frozen=True)
class Cell:
    """One candidate on one fold.

    Attributes
    ----------
    candidate, fold : int
    fit_time, score_time : float
        Seconds, without what candidates share.
    scores : dict of str to float
        "score" for a single scorer.
    error : str
        Why there is no score, or "".
    """

    candidate: int
    fold: int
    fit_time: float
    score_time: float
    scores: dict[str, float]
    error: str = ""


@dataclass(frozen=True)
class Task:
    """Candidates of one family on one fold.

    Attributes
    ----------
    fold : int
    candidates : tuple of int
    block : str
        Feature set.
    prefix : Prefix
    heads : tuple of estimator
        Last steps, not fitted.
    """

    fold: int
    candidates: tuple[int, ...]
    block: str
    prefix: Prefix
    heads: tuple[BaseEstimator, ...]

    def of(self, positions: Sequence[int]) -> Task:
        """The same with some of its candidates."""
        chosen = tuple(self.candidates[position] for position in positions)
        heads = tuple(self.heads[position] for position in positions)
        return Task(self.fold, chosen, self.block, self.prefix, heads)

    def path(self, problem: Problem) -> Path:
        """What fits its heads at once."""
        return _path_of(self.heads[0], problem, self.fold, self.block)[0]

    def shared(self, problem: Problem) -> Fold:
        """What its candidates share."""
        return FOLDS.get(problem, self.block, self.prefix, problem.folds[self.fold], self.fold)


def tasks_of(
    candidates: Sequence[Candidate],
    problem: Problem,
    is_done: Callable[[int, int], bool],
    n_at_once: int | None,
) -> list[Task]:
    """Families of candidates on folds, fold after fold, without the cells that are done.

    Parameters
    ----------
    candidates : sequence of Candidate
    problem : Problem
    is_done : callable
        ``is_done(candidate, fold)``.
    n_at_once : int or None
        The most candidates in a task.

    Returns
    -------
    list of Task
    """
    families: dict[tuple[str, str, str], list[int]] = {}
    prefixes = [Prefix.of(candidate.estimator) for candidate in candidates]
    for index, candidate in enumerate(candidates):
        _, head = last_step(candidate.estimator)
        _, family = _path_of(head, problem, 0, candidate.features)
        # Heads that share nothing but their features are tasks of their own: workers end together.
        family = f"{family} {index}" if family == "each" else family
        families.setdefault((candidate.features, prefixes[index].key, family), []).append(index)
    step = n_at_once or len(candidates)
    chunks = [
        members[start : start + step]
        for members in families.values()
        for start in range(0, len(members), step)
    ]
    n_folds = len(problem.folds)
    order = [(fold, chunk) for fold in range(n_folds) for chunk in chunks]
    if n_at_once is not None:
        order = [(fold, chunk) for chunk in chunks for fold in range(n_folds)]
    tasks = []
    for fold, chunk in order:
        left = [index for index in chunk if not is_done(index, fold)]
        if left:
            first = candidates[left[0]]
            heads = tuple(last_step(candidates[index].estimator)[1] for index in left)
            tasks.append(Task(fold, tuple(left), first.features, prefixes[left[0]], heads))
    return tasks


def _path_of(head: BaseEstimator, problem: Problem, fold: int, block: str) -> tuple[Path, str]:
    if problem.is_multilabel:
        return fit_each, "each"
    return path_of(head, len(problem.folds[fold][0]), problem.n_features(block))


def run_task(task: Task, problem: Problem, deadline: float = math.inf) -> list[Cell]:
    """Fit and score a task's candidates; one that fails costs itself alone.

    Parameters
    ----------
    task : Task
    problem : Problem
    deadline : float
        By the monotonic clock; nothing is begun after it.

    Returns
    -------
    list of Cell
        Of all candidates, or of those that were begun in time.
    """
    if not task.heads or monotonic() > deadline:
        return []
    fold, cells = task.shared(problem), {}
    try:
        for fitted in task.path(problem)(task.heads, fold):
            cells[fitted.index] = _scored(task, fitted, fold)
            if monotonic() > deadline:
                return list(cells.values())
    except Exception:  # noqa: BLE001 - the candidates that are left have errors of their own below
        _LOG.debug("a family is fitted one by one", exc_info=True)
    for position in range(len(task.heads)):
        if position not in cells and monotonic() <= deadline:
            cells[position] = _cell_alone(task, position, fold)
    return list(cells.values())


def _cell_alone(task: Task, position: int, fold: Fold) -> Cell:
    try:
        (fitted,) = fit_each([task.heads[position]], fold)
        return _scored(task, replace(fitted, index=position), fold)
    except Exception as error:  # noqa: BLE001 - reported with the candidate, and costs only itself
        return Cell(task.candidates[position], task.fold, math.nan, math.nan, {}, _reason(error))


def _scored(task: Task, fitted: Fitted, fold: Fold) -> Cell:
    started = perf_counter()
    problem = fold.problem
    head, y = fitted.head, fold.y_test
    if problem.images is not None:
        head, y = ViewAverage.of(head, problem.images[fold.test], y)
    scores = check_scoring(head, problem.scoring)(head, fitted.inputs, y)
    scores = scores if isinstance(scores, Mapping) else {"score": scores}
    named = {name: float(score) for name, score in scores.items()}
    error = "a fold has no score" if any(np.isnan(score) for score in named.values()) else ""
    index, seconds = task.candidates[fitted.index], perf_counter() - started
    return Cell(index, task.fold, fitted.fit_time, seconds, named, error)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def run_tasks(
    tasks: Sequence[Task], problem: Problem, n_jobs: int | None, deadline: float = math.inf
) -> Iterator[list[Cell]]:
    """The cells of tasks as they are finished.

    Parameters
    ----------
    tasks : sequence of Task
    problem : Problem
    n_jobs : int or None
        Tasks at once, as joblib has it.
    deadline : float
        By the monotonic clock; nothing is begun after it.

    Yields
    ------
    list of Cell
    """
    finished: set[tuple[int, int]] = set()
    # Tasks whose worker died are run apart, so that only what kills its worker is lost.
    try:
        for cells in _in_parallel(tasks, problem, n_jobs, deadline):
            finished |= {(cell.candidate, cell.fold) for cell in cells}
            yield cells
    except Exception as error:
        if not _is_death(error):
            raise
        _LOG.debug("a worker died; what it had is run again, apart", exc_info=True)
    else:
        return
    for task in tasks:
        for position, index in enumerate(task.candidates):
            if (index, task.fold) not in finished and monotonic() <= deadline:
                yield _apart(task.of([position]), problem, n_jobs)


def _apart(task: Task, problem: Problem, n_jobs: int | None) -> list[Cell]:
    """One candidate in a worker of its own."""
    try:
        # Two tasks make joblib use workers; the second has nothing to do.
        both = _in_parallel([task, task.of([])], problem, n_jobs, math.inf)
        return [cell for cells in both for cell in cells]
    except Exception as error:
        if not _is_death(error):
            raise
        reason = "its worker process died: out of memory, or killed"
        return [Cell(task.candidates[0], task.fold, math.nan, math.nan, {}, reason)]


def _is_death(error: Exception) -> bool:
    """Whether it says that a worker died; what Ray's own backend raises is known by its name."""
    names = {each.__name__ for each in type(error).__mro__ if each.__module__ == "ray.exceptions"}
    return isinstance(error, TerminatedWorkerError) or not names.isdisjoint(_DEATHS_OF_RAY)


def _in_parallel(
    tasks: Sequence[Task], problem: Problem, n_jobs: int | None, deadline: float
) -> Iterator[list[Cell]]:
    if type(get_active_backend()[0]).__module__.startswith("ray.") and problem.X.nbytes > _LARGE_BYTES:
        message = "Ray's own joblib backend sends the features with every task; call featx.register_ray()"
        warnings.warn(f"{message} to have them placed in its object store once", FeatxWarning, stacklevel=2)
    run = delayed(_run_until)
    # Another machine's monotonic clock counts from another moment.
    ends_at = time() + deadline - monotonic()
    in_time = takewhile(lambda _: monotonic() <= deadline, tasks)
    # What ``parallel_config`` says of n_jobs is lost on a Parallel that prefers another kind of backend.
    n_jobs = Parallel(n_jobs=n_jobs).n_jobs
    # What is finished is handed back at once: neither in a batch with what may kill its worker, nor in turn.
    options: dict[str, Any] = {"n_jobs": n_jobs, "prefer": "threads", "batch_size": 1}
    try:
        parallel = Parallel(**options, return_as="generator_unordered")
    except ValueError:
        # Some backends, multiprocessing among them, hand everything back at the end.
        parallel = Parallel(**options)
    n_workers = effective_n_jobs(n_jobs)
    n_threads = max(1, cpu_count() // n_workers) if n_workers > 1 else None
    with threadpool_limits(n_threads, user_api="blas"):
        yield from parallel(run(task, problem, ends_at) for task in in_time)


def _run_until(task: Task, problem: Problem, ends_at: float) -> list[Cell]:
    return run_task(task, problem, monotonic() + ends_at - time())
