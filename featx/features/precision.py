"""Which precision a forward pass is computed in, and what each engine can.

Half the bits are worth it where the hardware computes with them: on accelerators, and on processors with
bfloat16 products (AVX-512 BF16, AMX). Elsewhere they are emulated, and slower than float32.
"""

from __future__ import annotations

import functools
from pathlib import Path

from featx.checks import check_choice, explain
from featx.errors import BackboneError
from featx.features.compiled import visible_devices
from featx.features.engines import ENGINES, PRECISIONS, check_installed, has_bfloat16


def resolve_precision(precision: str, engine: str) -> str:
    """The precision to compute in, once it is known that the engine has it.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16", "auto"}
        "auto" is bfloat16 where the hardware has it and an installed engine uses it, else float32.
    engine : str
        One of `featx.features.engines.ENGINES`.

    Returns
    -------
    {"float32", "bfloat16", "float16"}

    Raises
    ------
    BackboneError
        When the engine does not compute in that precision.
    MissingPackageError
        When the engine is not installed.

    Examples
    --------
    >>> resolve_precision("float32", "auto")
    'float32'
    >>> resolve_precision("bfloat16", "onnx")
    Traceback (most recent call last):
    featx.errors.BackboneError: received precision='bfloat16' with engine='onnx'; expected 'float32'; ...
    """
    check_choice("precision", precision, PRECISIONS, BackboneError)
    check_choice("engine", engine, ENGINES, BackboneError)
    check_installed(engine)
    if precision == "auto":
        return "bfloat16" if engine != "onnx" and _has_bfloat16(engine) else "float32"
    known = {"onnx": ("float32",), "openvino": ("float32", "bfloat16")}.get(engine, PRECISIONS)
    if precision not in known:
        received = f"precision={precision!r} with engine={engine!r}"
        expected = " or ".join(repr(choice) for choice in known)
        raise BackboneError(explain(received, expected, "pass one of these, or engine='keras'"))
    return precision


@functools.cache
def _has_bfloat16(engine: str) -> bool:
    if engine != "keras" and has_bfloat16():
        return True
    # Asking Keras loads it: only where there is a driver to ask about.
    is_likely = any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0"))
    return engine != "openvino" and is_likely and visible_devices() != ["cpu:0"]
