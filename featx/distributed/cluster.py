"""A Ray cluster: joined by its address, or started on this machine for as long as it is needed."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featx.checks import explain, require
from featx.errors import ClusterError, FeatxError

#: Start one here, and stop it afterwards.
LOCAL = "local"

_ANSWER_WITHIN_S = 5.0
_ADDRESS = re.compile(r"local|auto|(ray://)?[\w.\-\[\]:]+:\d+")

# Ray asks for the environment before it reads its options.
_ENVIRONMENT = {
    # It reports its use over the network otherwise.
    "RAY_USAGE_STATS_ENABLED": "0",
    # What becomes its default soon, and warns until then.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

# What keeps Ray from writing between our own lines; its logs are in its folder all the same.
_QUIET = {"log_to_driver": False, "logging_level": "ERROR"}
_SMALL = {"include_dashboard": False}


def check_address(address: str) -> None:
    """Refuse what no cluster is reached by.

    Examples
    --------
    >>> check_address("photos")
    Traceback (most recent call last):
    featx.errors.ClusterError: received the address 'photos'; expected local, auto, HOST:PORT or ...
    """
    if _ADDRESS.fullmatch(address) is None:
        expected = "local, auto, HOST:PORT or ray://HOST:PORT"
        raise ClusterError(explain(f"the address {address!r}", expected, "pass one of them, or nothing"))


@contextmanager
def connected(address: str = LOCAL, *, n_cpus: int | None = None) -> Iterator[Any]:
    """Ray, connected to a cluster while the block lasts.

    Parameters
    ----------
    address : str, default="local"
        "local" starts a cluster of this machine and stops it at the end; "auto" joins the one that runs
        here; ``HOST:PORT`` or ``ray://HOST:PORT`` joins another. A process that is connected already, by
        ``ray.init`` of its own, stays with that.
    n_cpus : int, optional
        Processors that a cluster started here counts; by default those that there are.

    Yields
    ------
    module
        ``ray``.

    Raises
    ------
    ClusterError
        When the address is none, or no cluster answers there.
    MissingPackageError
        Without Ray.
    """
    check_address(address)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    ray = require("ray", "ray")
    if ray.is_initialized():
        yield ray
        return
    _check_answers(address)
    try:
        ray.init(address, **_QUIET, **({"num_cpus": n_cpus, **_SMALL} if address == LOCAL else {}))
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        raise _no_answer(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Ray itself waits for a minute, and then ends the process."""
    if address in (LOCAL, "auto"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: Exception) -> ClusterError:
    received = f"the address {address!r}, at which no Ray cluster answers ({_first_line(error)})"
    return ClusterError(explain(received, "one that runs", "check it, or start one there: ray start --head"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def fetched(ray: Any, reference: Any) -> Any:
    """What a task or an actor gave, or its own error.

    Raises
    ------
    FeatxError
        That it raised.
    ClusterError
        When the actor died more often than Ray restarts it.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, FeatxError):
            raise error.cause from None
        raise
    except ray.exceptions.RayActorError as error:
        raise died("a process that holds the backbone", error) from error


def died(what: str, error: Exception) -> ClusterError:
    """What is said of a process that died over and over again."""
    received = f"{what}, which died again and again over the same samples ({type(error).__name__})"
    remedy = "see Ray's logs; for want of memory, pass a smaller batch_size; what is computed is kept"
    return ClusterError(explain(received, "one that lives", remedy))
