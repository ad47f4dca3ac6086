"""An engine that meets its memory's limit goes on with half the batch, and half of that.

What does not fit is known when it fails and not before: an accelerator's memory is shared, and a compiler
plans its own buffers. The rows of a run stay in the batches they were in, so that nothing else notices;
only the engine cuts them up.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from featx.checks import explain
from featx.errors import BackboneError, FeatxWarning
from featx.features.batching import batches_of
from featx.features.engines import Engine, Settings, start_engine

# How the backends' own errors are called, or what they say.
_NAMES = {"ResourceExhaustedError", "OutOfMemoryError"}
_WORDS = ("resource_exhausted", "out of memory", "bad_alloc", "bad allocation", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short, in the words of any backend.

    Examples
    --------
    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("shape"))
    (True, False)
    """
    is_named = isinstance(error, MemoryError) or type(error).__name__ in _NAMES
    return is_named or any(word in str(error).lower() for word in _WORDS)


def peak_memory_bytes() -> int:
    """The most that this process has had in memory, or 0 where the machine does not say.

    Examples
    --------
    >>> peak_memory_bytes() >= 0
    True
    """
    return int(_kibibytes("/proc/self/status", "VmHWM:", 0)) * 1024


def available_memory_bytes() -> float:
    """What the machine can still give, or infinity where it does not say.

    Examples
    --------
    >>> available_memory_bytes() > 0
    True
    """
    return _kibibytes("/proc/meminfo", "MemAvailable:", math.inf) * 1024


def _kibibytes(path: str, name: str, default: float) -> float:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return default
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), default)


class _Pending(NamedTuple):
    inputs: np.ndarray
    parts: list[Any]
    engine: Engine


class FrugalEngine(Engine):
    """An engine that halves what it computes at once whenever memory is short.

    Parameters
    ----------
    start : callable
        ``start(settings)`` gives the engine for a batch size.
    settings : Settings

    Raises
    ------
    BackboneError
        When not even one row fits.
    """

    def __init__(self, start: Callable[[Settings], Engine], settings: Settings) -> None:
        self._start = start
        self._engine = self._started(settings)
        super().__init__(settings, self._engine.versions)
        self.name = self._engine.name

    @property
    def n_in_flight(self) -> int:  # type: ignore[override]
        """Batches under way before the first is fetched."""
        return self._engine.n_in_flight

    @property
    def computed_with(self) -> dict[str, Any]:
        """Engine, versions, precision and batch size: what is kept with each shard."""
        return self._engine.computed_with

    def described(self) -> dict[str, Any]:
        """What a report says of it."""
        return {**self._engine.described(), "why": self.why}

    def start(self, inputs: np.ndarray) -> Any:
        """Send one full batch on its way, in as many parts as memory asks for."""
        while True:
            engine, n_rows = self._engine, self._engine.batch_size
            try:
                parts = [engine.start(part) for part in batches_of(inputs, n_rows)]
                return _Pending(inputs, parts, engine)
            except Exception as error:  # noqa: BLE001 - each backend has an error of its own
                settings = _half(engine.settings, error)
            # Outside of the clause, which holds on to what the failed call had in memory.
            self._restart(engine, settings)

    def finish(self, pending: Any) -> np.ndarray:
        """The features of a batch that was started."""
        while True:
            try:
                parts = [pending.engine.finish(part) for part in pending.parts]
                return np.concatenate(parts)[: len(pending.inputs)]
            except Exception as error:  # noqa: BLE001 - each backend has an error of its own
                settings = _half(pending.engine.settings, error)
            engine, inputs = pending.engine, pending.inputs
            pending = None
            self._restart(engine, settings)
            pending = self.start(inputs)

    def _started(self, settings: Settings) -> Engine:
        while True:
            try:
                return self._start(settings)
            except Exception as error:  # noqa: BLE001 - each backend has an error of its own
                settings = _half(settings, error)

    def _restart(self, engine: Engine, settings: Settings) -> None:
        # Of several batches under way the first to fail halves for all.
        if engine is self._engine:
            self._engine = self._started(settings)


def frugal_engine(source: Any, settings: Settings) -> FrugalEngine:
    """The engine that runs a model or a graph, and halves its batches where memory is short.

    Parameters
    ----------
    source : keras.Model or Graph
        As `featx.features.engines.start_engine` takes it.
    settings : Settings
    """
    return FrugalEngine(partial(start_engine, source), settings)


def _half(settings: Settings, error: Exception) -> Settings:
    if not is_out_of_memory(error):
        raise error
    if settings.batch_size == 1:
        received = "an image for whose forward pass there is not enough memory"
        message = explain(received, "room for one", "take a smaller input_size or backbone")
        raise BackboneError(message) from error
    n_rows = (settings.batch_size + 1) // 2
    message = f"not enough memory for batches of {settings.batch_size}: going on with {n_rows} at once"
    warnings.warn(message, FeatxWarning, stacklevel=5)
    return replace(settings, batch_size=n_rows)
