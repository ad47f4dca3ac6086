"""Which engine runs a forward pass: tried on the first batch, checked against Keras, and remembered.

The first run of an extraction on a machine loads the Keras model, converts it for the engines that are
installed, and lets each compute the run's first batch. One whose features differ from those of Keras in
float32 by more than its precision explains is not used; of the others the fastest is. The decision, and
the converted model, are kept beside the shards: a later run, or a second process, does the same with the
same bits and never loads Keras.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from featx.errors import FeatxWarning
from featx.features.batching import batches_of
from featx.features.compiled import visible_devices
from featx.features.engine_decisions import (
    Decision,
    EngineRequest,
    first_line,
    keep_decision,
    recalled_engine,
)
from featx.features.engines import PACKAGES, Engine, Settings, convert_model, is_installed, start_engine
from featx.features.memory import (
    available_memory_bytes,
    frugal_engine,
    is_out_of_memory,
    peak_memory_bytes,
)

#: Least cosine between an engine's features of an image and those of Keras in float32.
LEAST_COSINE = {"float32": 0.99999, "bfloat16": 0.999, "float16": 0.999}

# In float32 no feature may differ by more than this share of the largest: rows of all engines mix in a store.
_LARGEST_DIFFERENCE = 1e-4

# With few bits, this much of the network keeps float32: the first share that uses up half of what is
# allowed, because other images differ by more than the worst of the first batch.
_FLOAT32_SHARES = (0.0, 0.25, 0.5, 0.75)
_SHARE_OF_ALLOWANCE = 0.5

# A further engine that is at best a fifth faster has to win back what converting for it takes.
_WORTH_COMPARING_S = 60.0

_TINY = np.finfo(np.float32).tiny

# A later engine must beat the ones before it by this much, so that noise does not choose.
_MARGIN = 1.05
_N_TIMED = 3
_TIMED_S = 0.25

_BATCH_SIZES = (64, 128, 256, 512, 1024)
_WORTH_DOUBLING = 1.05


class _Trial(NamedTuple):
    """An engine, what it runs, and how near to Keras: least cosine, largest difference by largest feature."""

    engine: Engine
    source: Any
    cosine: float = 1.0
    difference: float = 0.0


class _Comparison(NamedTuple):
    """The best engine, the speeds of those that were timed, and why others are not used."""

    best: _Trial
    speeds: dict[str, float]
    refused: list[str]


def choose_engine(request: EngineRequest, inputs: np.ndarray) -> Engine:
    """The engine that serves, started.

    Parameters
    ----------
    request : EngineRequest
    inputs : ndarray of shape (n_rows, ...)
        The first rows that have to be computed, at most ``request.n_first``.

    Returns
    -------
    Engine
        Its ``why`` says what decided.

    Raises
    ------
    BackboneError
        When there is not enough memory for one row.
    """
    return recalled_engine(request) or _chosen(request, inputs)


def cosines(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The cosine of each row of two feature matrices; two rows of zeros are equal.

    Examples
    --------
    >>> cosines(np.array([[1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])).round(3)
    array([0.707, 1.   ])
    """
    a, b = (np.asarray(rows, np.float64) for rows in (features, reference))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    products = np.einsum("ij,ij->i", a, b)
    alike: np.ndarray = np.where(norms > 0, products / np.where(norms > 0, norms, 1.0), (a == b).all(axis=1))
    return alike


# ---------------------------------------------------------------------------------------- choosing


def _chosen(request: EngineRequest, inputs: np.ndarray) -> Engine:
    model = request.load_model()
    plain = frugal_engine(model, Settings(request.n_first))
    candidates = _candidates(request)
    if candidates == ["keras"] and request.precision == "float32":
        found = _Comparison(_Trial(plain, model), {}, [])
    else:
        found = _compared(candidates, request, _Check.of(plain, model, inputs))
    why = _reason(request, found, n_candidates=len(candidates))
    is_other = found.best.engine.settings.precision != request.precision
    if found.refused and (request.engine != "auto" or is_other):
        warnings.warn(why, FeatxWarning, stacklevel=2)
    return _settled(request, found, inputs, why)


def _compared(candidates: list[str], request: EngineRequest, check: _Check) -> _Comparison:
    """The fastest engine that passes; where there is nothing to choose, the first that does."""
    best: _Trial | None = None
    speeds: dict[str, float] = {}
    refused: list[str] = []
    for name in candidates:
        trial = _try(name, request, check)
        if isinstance(trial, str):
            refused.append(trial)
            continue
        if request.engine != "auto":
            return _Comparison(trial, speeds, refused)
        speeds[trial.engine.name] = round(_speed(trial.engine, check.batch), 1)
        if best is None or speeds[trial.engine.name] > _MARGIN * speeds[best.engine.name]:
            best = trial
        if request.n_samples / speeds[best.engine.name] < _WORTH_COMPARING_S:
            break
    return _Comparison(best or _Trial(check.plain, check.model), speeds, refused)


def _candidates(request: EngineRequest) -> list[str]:
    """Engines to try, the likely best first."""
    if request.engine != "auto":
        return [request.engine] if request.engine == "keras" else [request.engine, "keras"]
    if visible_devices() != ["cpu:0"] or request.precision == "float16":
        return ["keras"]
    converted = [name for name in ("openvino", "onnx") if is_installed(name)]
    if request.precision == "bfloat16":
        # ONNX Runtime has no bfloat16 on a processor.
        return [*(name for name in converted if name == "openvino"), "keras"]
    return [*converted, "keras"] if request.is_long else ["keras"]


@dataclass(frozen=True)
class _Check:
    """The first batch, padded, and its features by Keras in float32."""

    plain: Engine
    model: Any
    batch: np.ndarray
    reference: np.ndarray
    n_rows: int

    @classmethod
    def of(cls, plain: Engine, model: Any, inputs: np.ndarray) -> _Check:
        """The check against an engine."""
        batch = batches_of(inputs, plain.batch_size)[0]
        return cls(plain, model, batch, plain(batch), len(inputs))

    def trial(self, source: Any, settings: Settings) -> _Trial:
        """An engine at work on the batch."""
        engine = frugal_engine(source, settings)
        # Rows that are images, and whose features Keras can compute.
        rows = np.flatnonzero(np.isfinite(self.reference[: self.n_rows]).all(axis=1))
        features, reference = engine(self.batch)[rows], self.reference[rows]
        with np.errstate(invalid="ignore"):
            found = np.nan_to_num(cosines(features, reference), nan=-1.0)
            difference = np.nan_to_num(np.abs(features - reference), nan=np.inf)
        share = difference.max(initial=0.0) / max(np.abs(reference).max(initial=0.0), _TINY)
        return _Trial(engine, source, float(found.min(initial=1.0)), float(share))


def _try(name: str, request: EngineRequest, check: _Check) -> _Trial | str:
    """The engine at work on the first batch, or why it is not used."""
    plain = _Trial(check.plain, check.model)
    try:
        if name == "keras":
            is_plain = request.precision == "float32"
            return plain if is_plain else _least_float32(check.model, request, check)
        source = convert_model(check.model, name)
        # Later comparisons take the converted graph in float32 for Keras: that is checked in any precision.
        exact = check.trial(source, Settings(request.n_first))
        if exact.cosine < LEAST_COSINE["float32"] or exact.difference > _LARGEST_DIFFERENCE:
            told = f"{name} in float32 is at a cosine of {exact.cosine:.6f} from Keras in float32"
            return f"{told}, its largest difference {exact.difference:.1e} of the largest feature"
        return exact if request.precision == "float32" else _least_float32(source, request, check)
    except Exception as error:  # noqa: BLE001 - an engine fails in any way, and another serves
        return f"{name} cannot run this model ({first_line(error)})"


def _least_float32(source: Any, request: EngineRequest, check: _Check) -> _Trial | str:
    """The engine in few bits, with as little in float32 as its features allow."""
    least = LEAST_COSINE[request.precision]
    wanted = 1.0 - _SHARE_OF_ALLOWANCE * (1.0 - least)
    settings = [Settings(request.n_first, request.precision, share) for share in _FLOAT32_SHARES]
    best = check.trial(source, settings[0])
    for each in settings[1:]:
        if best.cosine >= wanted:
            return best
        # What is not the best so far does not stay in memory.
        best = max(best, check.trial(source, each), key=lambda trial: trial.cosine)
    if best.cosine >= least:
        return best
    told = f"{best.engine.name} in {request.precision} is at a cosine of {best.cosine:.6f}"
    return f"{told} from Keras in float32"


def _speed(engine: Engine, batch: np.ndarray) -> float:
    """Rows a second: the best of a few, because whatever else runs only ever takes time away."""
    times: list[float] = []
    while len(times) < _N_TIMED and sum(times) < _TIMED_S:
        started = perf_counter()
        engine(batch)
        times.append(perf_counter() - started)
    return len(batch) / min(times)


def _reason(request: EngineRequest, found: _Comparison, *, n_candidates: int) -> str:
    name = found.best.engine.name
    figures = [f"{each} {speed:,.0f} rows/s" for each, speed in found.speeds.items()]
    is_alone = len(found.speeds) + len(found.refused) == n_candidates
    missing = [each for each in PACKAGES if not is_installed(each)]
    if len(figures) > 1:
        why = f"fastest of {', '.join(figures)}"
    elif figures:
        why = f"{figures[0]}, {'the only one' if is_alone else 'too few rows to try others'}"
    elif request.engine == name:
        why = "asked for"
    elif name != "keras" or found.refused or visible_devices() != ["cpu:0"]:
        why = "the first that serves"
    elif len(missing) == len(PACKAGES):
        why = f"{' and '.join(missing)} not installed"
    else:
        why = "few images"
    return "; ".join([why, *found.refused])


def _settled(request: EngineRequest, found: _Comparison, inputs: np.ndarray, why: str) -> Engine:
    """The engine with its batch size found, and the decision kept."""
    engine = found.best.engine
    if request.batch_size is None and request.is_long:
        engine = _with_best_batch_size(found.best, batches_of(inputs, request.n_first)[0])
    engine.why = why
    decision = Decision(
        engine=engine.name,
        batch_size=engine.settings.batch_size,
        precision=engine.settings.precision,
        float32_share=engine.settings.float32_share,
        why=why,
        cosine=found.best.cosine,
        rows_per_second=found.speeds,
    )
    return keep_decision(request, decision, found.best.source, engine)


def _with_best_batch_size(best: _Trial, batch: np.ndarray) -> Engine:
    """Twice as many rows at once for as long as that is faster and fits."""
    found, speed = best.engine, _speed(best.engine, batch)
    for n_rows in _BATCH_SIZES:
        settings = replace(found.settings, batch_size=n_rows)
        before = peak_memory_bytes()
        try:
            engine = start_engine(best.source, settings)
            batch = np.concatenate([batch, batch])
            engine(batch)
            larger = _speed(engine, batch)
        except Exception as error:
            if is_out_of_memory(error):
                break
            raise
        if larger < _WORTH_DOUBLING * speed:
            break
        found, speed = frugal_engine(best.source, settings), larger
        # The next size takes at least twice what this one took more; a system may end the process for it.
        if 2 * (peak_memory_bytes() - before) > available_memory_bytes():
            break
    return found
