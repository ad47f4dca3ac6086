"""Which engine was chosen, kept beside the shards, so that every later run does the same.

A decision holds for the machine and the versions that it was made with; others decide for themselves. Of
two processes that choose at once the first decides for both.
"""

from __future__ import annotations

import functools
import json
import platform
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.documents import read_json
from featx.errors import FeatxError, FeatxWarning, printable
from featx.features.engines import ENGINES, PACKAGES, PRECISIONS, Engine, Graph, Settings, available_cpus
from featx.features.graph_files import read_graph, write_graph
from featx.features.memory import frugal_engine
from featx.files import atomic_write, sha256_hex
from featx.storage import AnyPath

if TYPE_CHECKING:
    import keras

_FIRST_BATCH_SIZE = 32

# More than any batch size that is tried.
_MOST_ROWS = 4096

# Converting takes as long as Keras needs for a few hundred images, and where nothing is kept, every time.
_WORTH_CONVERTING, _WORTH_CONVERTING_ONCE = 1_000, 10_000


@dataclass(frozen=True)
class EngineRequest:
    """What is asked for.

    Parameters
    ----------
    engine : str
        One of `featx.features.engines.ENGINES`.
    precision : {"float32", "bfloat16", "float16"}
    batch_size : int or None
        None finds it by measuring.
    load_model : callable
        Gives the Keras model.
    directory : Path, RemotePath or None
        Where the decision is kept; None keeps it nowhere.
    n_samples : int
        As many as may have to be computed.
    """

    engine: str
    precision: str
    batch_size: int | None
    load_model: Callable[[], keras.Model]
    directory: AnyPath | None
    n_samples: int

    @property
    def is_long(self) -> bool:
        """Whether there is enough to compute that converting the model pays."""
        return self.n_samples >= (_WORTH_CONVERTING if self.directory else _WORTH_CONVERTING_ONCE)

    @property
    def n_first(self) -> int:
        """Rows of the batch that engines are tried on."""
        return self.batch_size or _FIRST_BATCH_SIZE


@dataclass(frozen=True)
class Decision:
    """What was decided.

    Parameters
    ----------
    engine : str
    batch_size : int
    precision : str
    float32_share : float
    why : str
    cosine : float
        Least over the first batch, to Keras in float32.
    rows_per_second : dict of str to float
        Of the engines that were timed.
    graph : str
        File of the converted model, or "".
    """

    engine: str
    batch_size: int
    precision: str
    float32_share: float
    why: str
    cosine: float
    rows_per_second: dict[str, float]
    graph: str = ""

    @property
    def settings(self) -> Settings:
        """For the engine."""
        return Settings(self.batch_size, self.precision, self.float32_share)


def _is_decision(fields: Any, request: EngineRequest) -> bool:
    """Whether it is one that featx may have made: a store may be shared, or half of another version."""
    known = {field.name for field in fields_of(Decision)}
    if not isinstance(fields, dict) or not fields.keys() <= known:
        return False
    speeds, batch_size = fields.get("rows_per_second"), fields.get("batch_size")
    return (
        all(isinstance(fields.get(name, ""), str) for name in ("engine", "precision", "why", "graph"))
        and fields.get("engine") in ENGINES
        and fields.get("precision") in PRECISIONS
        and type(batch_size) is int
        and 1 <= batch_size <= (request.batch_size or _MOST_ROWS)
        and _is_number(fields.get("cosine"))
        and _is_number(fields.get("float32_share"))
        and 0 <= fields["float32_share"] <= 1
        and isinstance(speeds, dict)
        and all(map(_is_number, speeds.values()))
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _read_decision(path: AnyPath, request: EngineRequest) -> Decision:
    fields = read_json(path)
    if not _is_decision(fields, request):
        message = "it is no decision on an engine"
        raise ValueError(message)
    return Decision(**{**fields, "why": printable(fields.get("why", ""))})


def first_line(error: Exception) -> str:
    r"""What an error says, on one line.

    Examples
    --------
    >>> first_line(ValueError("no such operation\nat line 3"))
    'no such operation'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO begins with the place in its own source.
    told = [line for line in lines if not line.startswith(("Check '", "Exception from"))] or lines
    return (told or [type(error).__name__])[0][:200]


def _path(request: EngineRequest, *, is_long: bool) -> AnyPath | None:
    if request.directory is None:
        return None
    asked = [request.engine, request.precision, request.batch_size, is_long]
    text = json.dumps([asked, _machine()], sort_keys=True)
    return request.directory / f"engine-{sha256_hex(text.encode())[:16]}.json"


def _recalled(request: EngineRequest) -> tuple[Decision, Any] | None:
    """The decision that holds for a request, and what its engine runs.

    A short run does what a long one decided, but not the other way round: it looks at less.
    """
    for is_long in (True,) if request.is_long else (True, False):
        path = _path(request, is_long=is_long)
        if path is None or not path.exists():
            continue
        try:
            decision = _read_decision(path, request)
            graph = read_graph(path.with_name(decision.graph)) if decision.graph else None
        except (FeatxError, OSError, TypeError, ValueError) as error:
            reason = printable(first_line(error))
            message = f"the engine of {path.name} cannot be used again ({reason}); choosing anew"
            warnings.warn(message, FeatxWarning, stacklevel=4)
            path.unlink(missing_ok=True)
            continue
        return decision, request.load_model() if graph is None else graph
    return None


@functools.cache
def _machine() -> dict[str, Any]:
    """What the decision depends on besides the request: another machine or version decides anew."""
    packages = ("keras", "tensorflow", "jax", "torch", *PACKAGES.values())
    return {
        "processor": _processor(),
        "n_cpus": available_cpus(),
        "versions": {package: _version(package) for package in packages},
    }


def _version(package: str) -> str | None:
    # Not needed where every row is there, and as slow to import as a thousand rows are to look up.
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = {line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "flags"))}
    return " ".join(sorted(named)) or f"{platform.machine()} {platform.processor()}"


def recalled_engine(request: EngineRequest) -> Engine | None:
    """The engine of an earlier decision, if there is one that holds."""
    found = _recalled(request)
    if found is None:
        return None
    decision, source = found
    engine = frugal_engine(source, decision.settings)
    engine.why = decision.why
    return engine


def reference_engine(request: EngineRequest) -> Engine:
    """What computes in float32 for a comparison: the kept graph, which was checked against Keras, or Keras.

    Parameters
    ----------
    request : EngineRequest

    Returns
    -------
    Engine
    """
    found = _recalled(request)
    source = request.load_model() if found is None else found[1]
    return frugal_engine(source, Settings(request.n_first))


def keep_decision(request: EngineRequest, decision: Decision, source: Any, engine: Engine) -> Engine:
    """Write the decision; where another process was first, do as that did."""
    path = _path(request, is_long=request.is_long)
    if path is None:
        return engine
    if isinstance(source, Graph):
        decision = replace(decision, graph=write_graph(path.parent, source))
    atomic_write(path, json.dumps(asdict(decision), sort_keys=True).encode(), keep_first=True)
    try:
        kept = _read_decision(path, request)
    except (OSError, ValueError):
        # What stands there is of no use; whoever reads it next decides anew.
        return engine
    same = (kept.engine, kept.settings) == (decision.engine, decision.settings)
    return engine if same else recalled_engine(request) or engine
