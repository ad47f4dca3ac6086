"""A Ray cluster: joined by its address, or started on this machine for as long as it is needed."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featx.checks import explain, require
from featx.errors import ClusterError, FeatxError

#: Start one here, and stop it afterwards.
LOCAL = "local"

_ANSWER_WITHIN_S = 5.0
_ADDRESS = re.compile(r"local|auto|[\w.\-\[\]:]+:\d+")

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
    featx.errors.ClusterError: received the address 'photos'; expected local, auto or HOST:PORT; ...
    """
    if _ADDRESS.fullmatch(address) is None:
        expected = "local, auto or HOST:PORT"
        remedy = "pass one of them, on a machine of the cluster, or nothing"
        raise ClusterError(explain(f"the address {address!r}", expected, remedy))


@contextmanager
def connected(address: str = LOCAL, *, n_cpus: int | None = None) -> Iterator[Any]:
    """Ray, connected to a cluster while the block lasts.

    Parameters
    ----------
    address : str, default="local"
        "local" starts a cluster of this machine and stops it at the end; "auto" joins the one that runs
        here; ``HOST:PORT`` joins another, of which this machine has to be one. A process that is connected
        already, by ``ray.init`` of its own, stays with that.
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
    ray = import_ray()
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


def import_ray() -> Any:
    """Ray, told beforehand what it asks of the environment when it is imported.

    Raises
    ------
    MissingPackageError
        Without Ray.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if _has_token():
        # Clusters ask for it by default, and Ray shows it to one by its address only if it is told to.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return require("ray", "ray")


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    return "RAY_AUTH_TOKEN" in os.environ or Path(path).expanduser().exists()


def _check_answers(address: str) -> None:
    """Ray itself waits for a minute, and then ends the process."""
    if address == "auto":
        # Where Ray itself looks; of what was killed its file stays.
        noted = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # noqa: S108
        address = os.environ.get("RAY_ADDRESS") or (noted.read_text().strip() if noted.is_file() else "")
    if address == LOCAL or re.fullmatch(r".+:\d+", address) is None:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, error) from error


def _no_answer(address: str, error: BaseException) -> ClusterError:
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    why = "; ".join(dict.fromkeys(map(_first_line, causes)))
    remedy = "check it, or start one there: ray start --head"
    if any("AuthToken" in str(cause) for cause in causes):
        why, remedy = "it asks for a token", "copy that of its first machine, ~/.ray/auth_token"
    received = f"the address {address!r}, at which no Ray cluster answers ({why})"
    return ClusterError(explain(received, "one that runs and takes this process", remedy))


def _first_line(error: BaseException) -> str:
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
        if isinstance(error.cause, ImportError):
            received = f"a machine of the cluster on which {error.cause}"
            raise ClusterError(explain(received, "featx there, as here", "install it there")) from error
        raise
    except ray.exceptions.RayActorError as error:
        raise died("a process that holds the backbone", error) from error


def deaths(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises of a task whose process or machine ended."""
    return ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError


def died(what: str, error: Exception) -> ClusterError:
    """What is said of a process that died over and over again, or could not even start."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    received = f"{what}, which died more often than it is started again ({type(error).__name__}: {lines[-1]})"
    remedy = "see Ray's logs; for want of memory, pass a smaller batch_size; what is computed is kept"
    return ClusterError(explain(received, "one that lives", remedy))
