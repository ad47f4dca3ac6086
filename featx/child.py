"""A child process that answers requests: what kills, stalls or bloats it ends one request and no more.

Decoders and parsers of foreign files are C code: a bug in one is a crash that no ``except`` catches, a loop
that no thread can leave. A `Child` runs a function of featx in a process of its own, hands it requests over
a pipe and waits so long for each reply. A child that dies, is late or wants too much memory makes that one
request a `ChildError` that says so, and the next request starts a new one.

::

    parent                                        child
    Child(target, settings)
      start: target, settings, limits     ----->  handle = target(settings)
                                          <-----  ready
      request(header, content)            ----->  handle(header, content)
                                          <-----  header, buffers

Both ways go frames: how long, a header in JSON, then plain bytes. Nothing is pickled, and the parent
believes nothing but lengths below the child's limit of memory. A child is a fresh interpreter, neither forked
(TensorFlow has threads) nor spawned by multiprocessing (which runs the user's script again): it starts from
any script, and imports `target` and what that needs. It ends when its standard input does, so also when its
parent is killed; one that hangs at that moment is ended by an alarm of its own. It is no sandbox: the child
may do whatever its user may.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Self

from featx.checks import explain
from featx.child_process import FRAME, OUT_OF_MEMORY, PATIENCE, REPLY, REQUEST, frame
from featx.errors import FeatxError, printable

if TYPE_CHECKING:
    from typing_extensions import Buffer

_START_S = 60.0
# How long a child whose pipe has ended may take to be gone.
_GRACE_S = 1.0
# A reply of a few hundred kilobytes passes in one piece; the default of 64 KiB makes both sides take turns.
_PIPE_BYTES = 2**20

_ENVIRONMENT = {
    # Threads of linear algebra, which no child does, would take memory and time to start.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Memory freed after a request is kept for the next: otherwise a sixth of a decoder's time is spent on
    # handing the system 140 pages an image and taking them back (glibc; others know no such names).
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
}

# As the parent finds modules, so does the child. -P: until then, none in the working directory.
_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from featx.child_process import serve; serve()"
)


class ChildError(Exception):
    """Why a request has no reply; whoever asked makes of it an error of its own.

    Parameters
    ----------
    reason : str
        What became of the child, to be put behind its name: "died (SIGSEGV)", "took longer than 10 s",
        "needed more than 512 MB", "sent more than 512 MB", "sent no valid reply", "stopped answering",
        "ended (exit status 1)", "failed (KeyError: 'size')".

    Attributes
    ----------
    reason : str
        As given, but printable.

    Examples
    --------
    >>> f"its decoder {ChildError('died (SIGSEGV)').reason}"
    'its decoder died (SIGSEGV)'
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = printable(reason)


class Child:
    """A process that runs one function, started by its first request and replaced after a failed one.

    It belongs to one thread: requests are answered one at a time. Close it, or use it in a ``with``.

    Parameters
    ----------
    target : str
        ``module:function``. Called once in the child, ``function(settings)`` returns ``handle``, and
        ``handle(header, content)`` is called for each request: with a dict and bytes, it returns a dict
        that JSON holds and a sequence of buffers. What it raises makes the request fail.
    settings : mapping
        Whatever JSON holds.
    timeout_s : float
        Longest that a request may take, of wall-clock time. Starting a child is not counted, nor, on Linux,
        the time that it waits for a processor; the latter up to five times as long again.
    max_bytes : int
        Most memory that a request may take, content and reply included: on Linux, the child's address
        space may grow by so much over what it is when `target` has returned (``RLIMIT_AS``). No reply may
        be longer.

    Examples
    --------
    >>> from featx.images.decoding import reference_image
    >>> settings = {"input_size": [8, 6], "views": None, "view_seed": 0}
    >>> with Child("featx.images.decoder_process:serve", settings, timeout_s=10, max_bytes=2**29) as child:
    ...     request = {"views": [0], "digest": "", "sample_id": "a.jpg"}
    ...     header, pixels = child.request(request, reference_image("rotated.jpg"))
    >>> header, len(pixels) == 8 * 6 * 3
    ({'notes': []}, True)
    """

    def __init__(self, target: str, settings: Mapping[str, Any], *, timeout_s: float, max_bytes: int) -> None:
        self.target = target
        self.settings = dict(settings)
        self.timeout_s = timeout_s
        self.max_bytes = max_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def request(self, header: Mapping[str, Any], *content: Buffer) -> tuple[dict[str, Any], memoryview]:
        """Ask the child, and wait for its reply.

        Parameters
        ----------
        header : mapping
            Whatever JSON holds.
        *content : buffer
            Contiguous in memory; sent one after the other, and received as one.

        Returns
        -------
        header : dict
        content : memoryview
            Of bytes; writable, and the caller's own.

        Raises
        ------
        ChildError
            When there is no reply. The child is gone then, and the next request starts another.
        FeatxError
            When no child can be started, which says nothing about the request.
        """
        if self._process is not None and self._process.poll() is not None:
            # Ended while it was idle: this request has nothing to do with it.
            self.close()
        process = self._process or self._start()
        try:
            return self._exchange(process, header, content, self.timeout_s)
        except BaseException:
            # Also after Ctrl-C: a reply still under way would answer the next request.
            self.close()
            raise

    @property
    def pid(self) -> int | None:
        """Of the process, where one is running."""
        return self._process.pid if self._process else None

    def close(self) -> None:
        """End the process; it holds nothing that could be lost."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def abandon(self) -> None:
        """After a fork, leave the process to whoever started it: its pipes are closed on this side alone."""
        process, self._process = self._process, None
        if process is not None:
            _close_pipes(process)
            # It is no child of this process, and subprocess would warn that nobody waited for it.
            process.returncode = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _limit(self) -> str:
        return f"{self.max_bytes / 2**20:,.0f} MB"

    def _start(self) -> subprocess.Popen[bytes]:
        try:
            process = _launch()
        except (OSError, ValueError) as error:
            self._refuse_to_go_on(str(error), error)
        start = {
            "target": self.target,
            "settings": self.settings,
            "timeout_s": self.timeout_s,
            "max_bytes": self.max_bytes,
        }
        try:
            self._exchange(process, start, (), _START_S)
        except BaseException as error:
            _end(process)
            if isinstance(error, ChildError):
                self._refuse_to_go_on(f"it {error.reason}", error)
            raise
        self._process = process
        return process

    def _refuse_to_go_on(self, reason: str, error: Exception) -> NoReturn:
        received = f"a child process for {self.target} that did not start ({printable(reason)})"
        remedy = "free memory or processes, or do without child processes"
        raise FeatxError(explain(received, f"{sys.executable} to run there", remedy)) from error

    def _exchange(
        self,
        process: subprocess.Popen[bytes],
        header: Mapping[str, Any],
        content: Sequence[Buffer],
        timeout_s: float,
    ) -> tuple[dict[str, Any], memoryview]:
        requests, replies = _ends(process)
        deadline = _Deadline(timeout_s, process.pid)
        try:
            # A child that reads no further may have said why.
            with suppress(BrokenPipeError):
                for part in frame(REQUEST, header, content):
                    _write(requests, part, deadline)
            found, n_header, n_content = FRAME.unpack(_read(replies, FRAME.size, deadline))
            if n_header + n_content > self.max_bytes:
                raise ChildError(f"sent more than {self._limit}")
            answer = _parsed(_read(replies, n_header, deadline))
            received = _read(replies, n_content, deadline)
        except TimeoutError:
            raise ChildError(f"took longer than {timeout_s:g} s") from None
        except EOFError:
            raise ChildError(_what_became_of(process)) from None
        if found == OUT_OF_MEMORY:
            raise ChildError(f"needed more than {self._limit}")
        if found != REPLY:
            raise ChildError(f"failed ({str(answer.get('error'))[:500]})")
        return answer, memoryview(received)


def _launch() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _BOOTSTRAP, json.dumps([str(entry) for entry in sys.path])]
    process = subprocess.Popen(  # noqa: S603 - this interpreter and a constant
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT},
        # Ctrl-C in a terminal is for the parent, which ends its children.
        process_group=0,
    )
    for end in _ends(process):
        os.set_blocking(end, False)
        # Linux only, and only so many bytes a user.
        with suppress(OSError, AttributeError):
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return process


def _ends(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Where requests go, and where replies come from."""
    if process.stdin is None or process.stdout is None:
        raise ChildError("has no pipes")
    return process.stdin.fileno(), process.stdout.fileno()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    _close_pipes(process)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _what_became_of(process: subprocess.Popen[bytes]) -> str:
    try:
        status = process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        return "stopped answering"
    if status >= 0:
        return f"ended (exit status {status})"
    try:
        return f"died ({signal.Signals(-status).name})"
    except ValueError:
        return f"died (signal {-status})"


def _write(descriptor: int, data: Buffer, deadline: _Deadline) -> None:
    view = memoryview(data).cast("B")
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _wait(descriptor, select.POLLOUT, deadline)


def _read(descriptor: int, n_bytes: int, deadline: _Deadline) -> bytearray:
    data = bytearray(n_bytes)
    view = memoryview(data)
    while view:
        try:
            n_read = os.readv(descriptor, [view])
        except BlockingIOError:
            _wait(descriptor, select.POLLIN, deadline)
            continue
        if not n_read:
            raise EOFError
        view = view[n_read:]
    return data


class _Deadline:
    """When a child is late: what it waits for a processor meanwhile, as on a busy machine, is not counted."""

    def __init__(self, timeout_s: float, pid: int) -> None:
        self._pid = pid
        self._queued_s = _queued_s(pid)
        self._first = monotonic() + timeout_s
        self._last = monotonic() + PATIENCE * timeout_s

    def least_s(self) -> float:
        """What is left at least: cheap to ask."""
        return self._first - monotonic()

    def remaining_s(self) -> float:
        """What is left."""
        queued_s = _queued_s(self._pid) - self._queued_s
        return min(self._first + queued_s, self._last) - monotonic()


def _queued_s(pid: int) -> float:
    """Seconds that a process has been ready to run without running; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, LookupError, ValueError):
        return 0.0


def _wait(descriptor: int, event: int, deadline: _Deadline) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    wait_s = deadline.least_s()
    while not poll.poll(max(0.0, wait_s) * 1000):
        wait_s = deadline.remaining_s()
        # A parent that was stopped (Ctrl-Z) past the deadline looks once more before it blames its child.
        if wait_s <= 0 and not poll.poll(0):
            raise TimeoutError


def _parsed(data: bytearray) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ChildError("sent no valid reply")
    return header
