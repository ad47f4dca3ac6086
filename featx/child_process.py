"""The other side of `featx.child`: what a child process runs, and the form of what passes between the two.

A message is three numbers (its kind, the bytes of its header, those of its content), the header as JSON, and
the content as it is. The process serves one target, limits its own memory and, while it works, its time; it
ends after a request that failed, with the input, or with the alarm.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

if TYPE_CHECKING:
    from typing_extensions import Buffer

    #: What a target returns: a request's header and content to a reply's header and buffers.
    Handler: TypeAlias = Callable[[dict[str, Any], bytes], tuple[Mapping[str, Any], Sequence[Buffer]]]

FRAME = struct.Struct("<cQQ")
REQUEST, REPLY, FAILED, OUT_OF_MEMORY = b"?", b"=", b"!", b"m"

# How many times its limit a request may last where the child waits for a processor; then it ends itself.
PATIENCE = 6


def frame(kind: bytes, header: Mapping[str, Any], content: Iterable[Buffer]) -> list[Buffer]:
    """A message, in pieces to be sent one after the other.

    Examples
    --------
    >>> [bytes(part) for part in frame(REQUEST, {}, [b"ab"])][1:]
    [b'ab']
    """
    # A view with a zero in its shape cannot be cast.
    parts = [memoryview(part).cast("B") for part in content if memoryview(part).nbytes]
    encoded = json.dumps(dict(header)).encode()
    return [FRAME.pack(kind, len(encoded), sum(map(len, parts))) + encoded, *parts]


def serve() -> None:
    """Answer the requests on standard input until it ends: what a child process runs."""
    requests, replies = _take_pipes()
    try:
        _answer_all(requests, replies)
    except MemoryError:
        _report(replies, OUT_OF_MEMORY, {})
    except Exception as error:  # noqa: BLE001 - the parent says what became of the request
        _report(replies, FAILED, {"error": f"{type(error).__name__}: {error}"[:500]})
    # Nothing is held that an orderly end would save, and after damage one may never come.
    os._exit(0)


def _answer_all(requests: BinaryIO, replies: BinaryIO) -> None:
    found = _next_request(requests)
    if found is None:
        return
    start, _ = found
    handle = _resolved(start["target"])(start["settings"])
    _limit_itself(start["max_bytes"])
    _send(replies, REPLY, {})
    while (request := _next_request(requests)) is not None:
        # A parent that is gone cannot end a child that hangs.
        signal.setitimer(signal.ITIMER_REAL, PATIENCE * start["timeout_s"] + 1)
        header, content = handle(*request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(replies, REPLY, header, *content)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Requests and replies; what a library prints is no reply, and goes where errors go."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, replies


def _resolved(target: str) -> Callable[[dict[str, Any]], Handler]:
    module, _, function = target.partition(":")
    resolved: Callable[[dict[str, Any]], Handler] = getattr(importlib.import_module(module), function)
    return resolved


def _limit_itself(max_bytes: int) -> None:
    # Elsewhere a limit of the address space is not kept, or refused.
    if sys.platform == "linux":
        n_pages = int(Path("/proc/self/statm").read_text().split()[0])
        _lower(resource.RLIMIT_AS, n_pages * resource.getpagesize() + max_bytes)
    # A crash is reported in a word; its core would be as large as the limit above.
    _lower(resource.RLIMIT_CORE, 0)
    # An alarm ends the process, whatever its parent made of alarms.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def _lower(limit: int, value: int) -> None:
    soft, hard = resource.getrlimit(limit)
    if soft == resource.RLIM_INFINITY or value < soft:
        resource.setrlimit(limit, (value, hard))


def _next_request(requests: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    head = requests.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    _, n_header, n_content = FRAME.unpack(head)
    header, content = requests.read(n_header), requests.read(n_content)
    if len(header) + len(content) < n_header + n_content:
        return None
    return json.loads(header), content


def _send(replies: BinaryIO, kind: bytes, header: Mapping[str, Any], *content: Buffer) -> None:
    replies.writelines(frame(kind, header, content))
    replies.flush()


def _report(replies: BinaryIO, kind: bytes, header: Mapping[str, Any]) -> None:
    # Without a parent there is nobody to tell.
    with suppress(OSError):
        _send(replies, kind, header)
