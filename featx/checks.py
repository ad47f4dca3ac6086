"""The standard messages and checks, so that every gate refuses bad input in the same words."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from featx.errors import FeatxError, HeadError, MissingPackageError

if TYPE_CHECKING:
    import numpy as np

# What NumPy's older generator takes, and with it scikit-learn.
_MAX_SEED = 2**32 - 1

_BLOCK_ROWS = 8192


def explain(received: str, expected: str, remedy: str) -> str:
    """One line that says what was received, what is expected and what to do.

    Examples
    --------
    >>> explain("0 images in data/", "at least one", "check the path")
    'received 0 images in data/; expected at least one; check the path'
    """
    return f"received {received}; expected {expected}; {remedy}"


def suggest(name: str, known: Iterable[str]) -> str:
    """A closing phrase with the names nearest to an unknown one.

    Examples
    --------
    >>> suggest("resnet50", ["ResNet50", "VGG16"])
    'did you mean ResNet50?'
    >>> suggest("?", ["knn", "mlp"])
    'choose from knn, mlp'
    """
    choices = {choice.lower(): choice for choice in known}
    near = difflib.get_close_matches(name.lower(), choices, n=3, cutoff=0.5)
    if near:
        return f"did you mean {', '.join(choices[match] for match in near)}?"
    return f"choose from {', '.join(sorted(choices.values()))}"


def check_choice(parameter: str, value: object, choices: Iterable[object], error: type[FeatxError]) -> None:
    """Refuse a value that is not one of a parameter's choices.

    Parameters
    ----------
    parameter : str
        Name of the parameter, for the message.
    value : object
        What was received.
    choices : iterable
        What is allowed.
    error : type
        The class of the error to raise.

    Examples
    --------
    >>> from featx.errors import SourceError
    >>> check_choice("on_error", "ignore", ("raise", "skip"), SourceError)
    Traceback (most recent call last):
    featx.errors.SourceError: received on_error='ignore'; expected one of 'raise', 'skip'; pass one of them
    """
    allowed = list(choices)
    if value not in allowed:
        expected = ", ".join(repr(choice) for choice in allowed)
        raise error(explain(f"{parameter}={value!r}", f"one of {expected}", "pass one of them"))


def check_positive(parameter: str, value: object, error: type[FeatxError]) -> None:
    """Refuse anything but a positive integer.

    Examples
    --------
    >>> from featx.errors import SourceError
    >>> check_positive("batch_size", 0, SourceError)
    Traceback (most recent call last):
    featx.errors.SourceError: received batch_size=0; expected a positive integer; pass 1 or more
    """
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise error(explain(f"{parameter}={value!r}", "a positive integer", "pass 1 or more"))


def check_seed(parameter: str, value: object, error: type[FeatxError]) -> None:
    """Refuse anything but None or an integer that NumPy takes: those can be written down and repeated.

    Examples
    --------
    >>> from featx.errors import HeadError
    >>> check_seed("random_state", "x", HeadError)
    Traceback (most recent call last):
    featx.errors.HeadError: received random_state='x'; expected an integer or None, from 0 to 4294967295; ...
    """
    if value is None:
        return
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= value.__index__() <= _MAX_SEED:
        expected = f"an integer or None, from 0 to {_MAX_SEED}"
        raise error(explain(f"{parameter}={value!r}", expected, "pass a seed"))


def check_n_jobs(value: object, error: type[FeatxError]) -> None:
    """Refuse a number of workers that is none: 0, or no integer at all.

    Examples
    --------
    >>> from featx.errors import HeadError
    >>> check_n_jobs(0, HeadError)
    Traceback (most recent call last):
    featx.errors.HeadError: received n_jobs=0; expected an integer other than 0, or None; pass -1 for ...
    """
    if value is None:
        return
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() == 0:
        expected, remedy = "an integer other than 0, or None", "pass -1 for every processor"
        raise error(explain(f"n_jobs={value!r}", expected, remedy))


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra of featx brings it.

    Parameters
    ----------
    package : str
        Name of the module to import.
    extra : str
        The extra in featx's ``pyproject.toml`` that installs it.

    Returns
    -------
    module

    Raises
    ------
    MissingPackageError
        When the package is not installed.

    Examples
    --------
    >>> require("no_such_package", "demo")
    Traceback (most recent call last):
    featx.errors.MissingPackageError: the package no_such_package is not installed; ...
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # A package that is present but broken must show its own error.
        if error.name != package.partition(".")[0]:
            raise
        raise missing_package(package, extra) from None


def missing_package(package: str, extra: str) -> MissingPackageError:
    """What is said of an optional package that is absent.

    Examples
    --------
    >>> str(missing_package("ray", "ray"))
    'the package ray is not installed; run: pip install "featx[ray]"'
    """
    return MissingPackageError(f'the package {package} is not installed; run: pip install "featx[{extra}]"')


def check_finite(X: np.ndarray) -> None:
    """Refuse features that are not finite, and say in which rows; blocks bound the memory.

    Examples
    --------
    >>> import numpy as np
    >>> check_finite(np.array([[1.0], [np.nan], [np.inf]]))
    Traceback (most recent call last):
    featx.errors.HeadError: received NaN or infinite features in 2 of 3 rows (1, 2); expected finite ...
    """
    # Every module imports this one, and not every run needs numbers.
    import numpy as np

    rows: list[int] = []
    for start in range(0, len(X), _BLOCK_ROWS):
        is_finite = np.isfinite(X[start : start + _BLOCK_ROWS]).all(axis=1)
        rows += (start + np.flatnonzero(~is_finite)).tolist()
    if rows:
        shown = ", ".join(map(str, rows[:10])) + (", ..." if len(rows) > 10 else "")
        received = f"NaN or infinite features in {len(rows)} of {len(X)} rows ({shown})"
        remedy = "extract these images anew, or leave the rows out"
        raise HeadError(explain(received, "finite numbers", remedy))
