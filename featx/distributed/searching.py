"""A joblib backend for Ray: what joblib runs in parallel, a head search's candidates above all, on a cluster.

What all tasks of a search share, its features, is placed in Ray's object store once, and every node reads it
there without a copy for each worker. Each task is a Ray task of one processor, so that Ray sets its BLAS to
one thread, sends it where there is room, and a worker that dies takes no other task along. What is finished
comes back at once, which a journal, a time budget and a progress bar need.

Rejected: the backend of ``ray.util.joblib``. Its pool knows the large arguments that tasks share by the type
of joblib's batches, which joblib now wraps, and so sends them with every task; it hands nothing back before
the end; and it gives each worker its share beforehand, so that a slow one is waited for.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from threading import Timer
from typing import Any

from joblib import parallel_config, register_parallel_backend
from joblib.externals.loky.process_executor import TerminatedWorkerError
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from featx.distributed.cluster import LOCAL, check_address, connected, deaths, import_ray
from featx.heads.problem import Problem
from featx.heads.shared import FOLDS

#: By which ``joblib.parallel_config`` knows the backend.
NAME = "ray"

# As joblib has it for what it shares with processes.
_LARGE_BYTES = 2**20
# A worker outlives the search; what the search keeps in it need not.
_KEPT_S = 60.0


def register_ray() -> None:
    """Make ``joblib.parallel_config(backend="ray")`` run on a Ray cluster, features placed there once.

    It takes the name over from Ray's own backend (``ray.util.joblib``), under which a search finds the same
    but sends the features with every task. Under it, ``n_jobs`` of None or -1 is all processors of the
    cluster. A process that is not connected joins the cluster of ``RAY_ADDRESS``, or starts one of this
    machine, until the block ends. featx has to be installed on every node.

    Raises
    ------
    MissingPackageError
        Without Ray.

    Examples
    --------
    >>> from joblib import parallel_config
    >>> register_ray()  # doctest: +SKIP
    >>> with parallel_config(backend="ray"):  # doctest: +SKIP
    ...     search = featx.HeadSearch().fit(X, y)
    """
    import_ray()
    register_parallel_backend(NAME, ClusterBackend)


def check_cluster(address: str | None) -> None:
    """Refuse what `on_cluster` could not use, before the work that comes first."""
    if address is not None:
        check_address(address)
        import_ray()


@contextmanager
def on_cluster(address: str | None) -> Iterator[None]:
    """Searches in the block run on a cluster; without an address, where they would have.

    Parameters
    ----------
    address : str or None
        As `featx.distributed.cluster.connected` has it.
    """
    if address is None:
        yield
        return
    with connected(address):
        register_ray()
        with parallel_config(backend=NAME):
            yield


class ClusterBackend(AutoBatchingMixin, ParallelBackendBase):
    """Runs joblib's batches as Ray tasks; joblib makes one for each ``parallel_config`` block."""

    supports_retrieve_callback = True
    # Whoever names a cluster means all of it.
    default_n_jobs = -1

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._shelf = _Shelf(self._put)
        self._pending: set[Any] = set()
        self._answers: ThreadPoolExecutor | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """The tasks at once: by default the processors of the cluster."""
        if n_jobs == 0:
            message = "n_jobs == 0 in Parallel has no meaning"
            raise ValueError(message)
        if n_jobs is not None and n_jobs > 0:
            return n_jobs
        n_cpus = int(self._connected().cluster_resources().get("CPU", 1))
        return max(1, n_cpus + 1 + (-1 if n_jobs is None else n_jobs))

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_: Any) -> int:
        """Get ready for a call; one task at a time is the cluster's, too."""
        self.parallel = parallel
        self._ray = self._connected()
        # A dead worker is `_answered`'s to deal with: Ray tries for ever what takes too much memory.
        self._run = self._ray.remote(num_cpus=1, max_retries=0)(run_batch)
        self._answers = ThreadPoolExecutor(1, thread_name_prefix="featx-ray")
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Any, callback: Callable[[Any], None] | None = None) -> Any:
        """Send a batch of calls, without what is placed."""
        batch, references = copy(func), list[Any]()
        mark = partial(self._shelf.mark, references=references)
        batch.items = [
            (function, [mark(value) for value in args], {name: mark(value) for name, value in kwargs.items()})
            for function, args, kwargs in func.items
        ]
        return self._send(_Sent((batch, *references), callback))

    def _send(self, sent: _Sent) -> Any:
        reference = self._run.remote(*sent.arguments)
        self._pending.add(reference)
        answered = partial(self._answered, reference, sent)
        reference.future().add_done_callback(partial(self._hand_over, answered))
        return reference

    def _hand_over(self, answered: Callable[[Any], None], future: Future[Any]) -> None:
        # Ray calls from a thread in which nothing may wait. What comes after the call is nobody's.
        if self._answers is not None:
            with suppress(RuntimeError):
                self._answers.submit(answered, future)

    def _answered(self, reference: Any, sent: _Sent, future: Future[Any]) -> None:
        if reference not in self._pending:
            return
        self._pending.discard(reference)
        # A node that was lost is no fault of the task; what kills a second worker is.
        if self._is_death(future.exception()) and not sent.is_retry:
            self._send(replace(sent, is_retry=True))
        elif sent.callback is not None:
            sent.callback(future)

    def _is_death(self, error: BaseException | None) -> bool:
        return isinstance(error, deaths(self._ray))

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """What a batch returned; what it raised, as joblib's own processes would raise it."""
        error = out.exception()
        if self._is_death(error):
            message = "a worker of the Ray cluster died"
            raise TerminatedWorkerError(message) from error
        if isinstance(error, self._ray.exceptions.RayTaskError) and isinstance(error.cause, Exception):
            raise error.cause from error
        return out.result()

    def stop_call(self) -> None:
        """Let go of the arguments of a call: before the next, somebody may write to them."""
        self._shelf.end_call()

    def terminate(self) -> None:
        """End a call."""
        if self._answers is not None:
            self._answers.shutdown(wait=False)
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """End what runs, and what waits."""
        aborted, self._pending = self._pending, set()
        for reference in aborted:
            self._ray.cancel(reference, force=True)

    def _put(self, value: Any) -> Any:
        return self._ray.put(value)

    def _connected(self) -> Any:
        ray = import_ray()
        if not ray.is_initialized():
            stack = ExitStack()
            stack.enter_context(connected(os.environ.get("RAY_ADDRESS", LOCAL)))
            weakref.finalize(self, stack.close)
        return ray


@dataclass(frozen=True)
class _Sent:
    """A batch on its way: what went to the worker, and whom to tell."""

    arguments: tuple[Any, ...]
    callback: Callable[[Any], None] | None
    is_retry: bool = False


@dataclass(frozen=True)
class _Mark:
    """Stands for an argument that is placed.

    Attributes
    ----------
    position : int
        Of its value among those that come with the batch.
    is_problem : bool
        Then they are its features, and what comes next is the rest of it.
    """

    position: int
    is_problem: bool

    def value(self, values: tuple[Any, ...]) -> Any:
        """The argument, out of the object store."""
        first = values[self.position]
        return replace(values[self.position + 1], X=first) if self.is_problem else first


class _Shelf:
    """What is placed in the object store: of the present search, and of the present call."""

    def __init__(self, put: Callable[[Any], Any]) -> None:
        self._put = put
        self._root = ""
        self._of_search: dict[str, Any] = {}
        self._of_call: dict[int, tuple[Any, Any]] = {}

    def mark(self, value: Any, references: list[Any]) -> Any:
        """The argument, or what stands for it where it is among the references now."""
        is_problem = isinstance(value, Problem)
        if not is_problem and _n_bytes(value) < _LARGE_BYTES:
            return value
        mark = _Mark(len(references), is_problem)
        references += self._problem(value) if is_problem else [self._value(value)]
        return mark

    def end_call(self) -> None:
        """Forget what may be written to before the next call; a search's problem is its own."""
        self._of_call = {}

    def _problem(self, problem: Problem) -> list[Any]:
        # Of another search nothing will be asked again.
        if problem.root != self._root:
            self._root, self._of_search = problem.root, {"features": self._put(problem.X)}
        if problem.token not in self._of_search:
            self._of_search[problem.token] = self._put(replace(problem, X=problem.X[:0]))
        return [self._of_search["features"], self._of_search[problem.token]]

    def _value(self, value: Any) -> Any:
        if id(value) not in self._of_call:
            # Kept along with its reference, so that nothing else gets its id.
            self._of_call[id(value)] = value, self._put(value)
        return self._of_call[id(value)][1]


def _n_bytes(value: Any) -> int:
    # A view of an array says of its size only what its header takes.
    n_bytes = getattr(value, "nbytes", None)
    return n_bytes if isinstance(n_bytes, int) else sys.getsizeof(value)


class _Keeping:
    """What searches keep in a worker, until nothing was asked of it for a while."""

    def __init__(self) -> None:
        self._timer: Timer | None = None

    def start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def end(self) -> None:
        self._timer = Timer(_KEPT_S, FOLDS.clear)
        self._timer.daemon = True
        self._timer.start()


_KEEPING = _Keeping()


def run_batch(batch: Any, *values: Any) -> list[Any]:
    """In a worker: run one of joblib's batches.

    Parameters
    ----------
    batch : callable
        Its calls, with marks for what is placed.
    *values : object
        That, read-only where it is an array.

    Returns
    -------
    list
        Of each call what it returned.
    """
    batch.items = [
        (
            function,
            [_filled(value, values) for value in args],
            {name: _filled(value, values) for name, value in kwargs.items()},
        )
        for function, args, kwargs in batch.items
    ]
    _KEEPING.start()
    try:
        found: list[Any] = batch()
        return found
    finally:
        _KEEPING.end()


def _filled(value: Any, values: tuple[Any, ...]) -> Any:
    return value.value(values) if isinstance(value, _Mark) else value
