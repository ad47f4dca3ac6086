"""What candidates share on one fold, computed once: scaled features, distances, Gram matrices.

Candidates differ in their last step's parameters far more often than in what comes before it. So the steps
before the last are fitted once a fold for all candidates that have the same ones, and their output is kept
while tasks ask for it (`Fold`). What a family of heads shares beyond that is in `featx.heads.paths`.

A cache of this process holds the folds at work. It is bounded in bytes, and every thread of a search uses it,
so that nothing of a matrix's size is copied for a candidate or a worker.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock, RLock
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.heads.design import Design
from featx.heads.problem import Problem, digest_of

_Value = TypeVar("_Value")

_CACHE_BYTES = 2 * 2**30
_BLOCK_ROWS = 65536


@dataclass(frozen=True)
class Prefix:
    """The steps of a pipeline before its last, and a name for all that are equal.

    Attributes
    ----------
    steps : tuple of (str, transformer)
        Not fitted; empty for a head alone.
    key : str
        Equal for equal steps.
    """

    steps: tuple[tuple[str, Any], ...]
    key: str

    @classmethod
    def of(cls, estimator: BaseEstimator) -> Prefix:
        """The prefix of an estimator."""
        steps = tuple(estimator.steps[:-1]) if type(estimator) is Pipeline else ()
        # Of a function without a name of its own nobody can say that another candidate's is the same.
        return cls(steps, digest_of(steps) or f"of {id(estimator)}")

    @property
    def is_scaler(self) -> bool:
        """Whether there is nothing in it but standardisation, which products can carry along."""
        return all(
            type(step) is StandardScaler and step.with_mean and step.with_std for _, step in self.steps
        ) and (len(self.steps) <= 1)


class Fold:
    """One split of one feature set behind one prefix.

    Everything here is computed when first asked for, by one thread, and kept.

    Parameters
    ----------
    problem : Problem
    block : str
        Name of the feature set.
    prefix : Prefix
    train, test : ndarray of int
        Rows.
    """

    def __init__(
        self, problem: Problem, block: str, prefix: Prefix, train: np.ndarray, test: np.ndarray
    ) -> None:
        self.problem, self.block, self.prefix = problem, block, prefix
        self.train, self.test = train, test
        self.y_train, self.y_test = problem.y[train], problem.y[test]
        self.weights = problem.weights(train)
        self._kept: dict[Any, Any] = {}
        self._locks: dict[Any, RLock] = {}
        self._lock = Lock()

    def keep(self, name: Any, make: Callable[[], _Value]) -> _Value:
        """What ``make`` returns, computed once."""
        with self._lock:
            lock = self._locks.setdefault(name, RLock())
        # One for each, so that nobody waits for what somebody else needs.
        with lock:
            if name not in self._kept:
                self._kept[name] = make()
            value: _Value = self._kept[name]
            return value

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(array.nbytes for array in _arrays_of(list(self._kept.values())))

    @property
    def transformers(self) -> list[tuple[str, Any]]:
        """The prefix, fitted on the training part; block by block where the fold is streamed."""
        return self.keep("scaler", self._fit_scaler) if self.is_streamed else self._transformed[0]

    @property
    def X_train(self) -> np.ndarray:
        """Training part behind the prefix, (n_train, n_outputs)."""
        return self._transformed[1]

    @property
    def X_test(self) -> np.ndarray:
        """Test part behind the prefix, (n_test, n_outputs)."""

        def make() -> np.ndarray:
            if not len(self.test):
                return np.zeros((0, self.n_features), np.float32)
            X = self.problem.features(self.test, self.block)
            for _, step in self.transformers:
                X = step.transform(X)
            return X

        return self.keep("X_test", make)

    @property
    def classes(self) -> np.ndarray:
        """Of the training part, sorted."""
        return self._coded[0]

    @property
    def codes(self) -> np.ndarray:
        """Of the training part's rows, integers from 0."""
        return self._coded[1]

    @property
    def n_features(self) -> int:
        """Columns of the feature set."""
        return self.problem.n_features(self.block)

    @property
    def is_streamed(self) -> bool:
        """Whether linear heads read the features in blocks; others copy the training part all the same."""
        has_slice = isinstance(self.problem.blocks[self.block], slice)
        return self.problem.is_streamed and has_slice and self.prefix.is_scaler

    def design(self) -> tuple[Design, np.ndarray]:
        """The training part for a linear head: its rows, and their codes."""
        if not self.is_streamed:
            return Design(self.X_train, self.weights), self.codes
        X = self.problem.X[:, self.problem.blocks[self.block]]
        weights, codes = np.zeros(len(X)), np.zeros(len(X), np.intp)
        # A row may stand in a training part more than once.
        np.add.at(weights, self.train, 1.0 if self.weights is None else self.weights)
        codes[self.train] = self.codes
        scalers = [step for _, step in self.transformers]
        scaling = (scalers[0].mean_, scalers[0].scale_) if scalers else (None, None)
        return Design(X, weights, *scaling), codes

    @property
    def _transformed(self) -> tuple[list[tuple[str, Any]], np.ndarray]:
        def make() -> tuple[list[tuple[str, Any]], np.ndarray]:
            X, fitted = self.problem.features(self.train, self.block), []
            for name, step in self.prefix.steps:
                if step is None or step == "passthrough":
                    continue
                transformer = clone(step)
                X = transformer.fit_transform(X, self.y_train)
                fitted.append((name, transformer))
            return fitted, X

        return self.keep("transformed", make)

    @property
    def _coded(self) -> tuple[np.ndarray, np.ndarray]:
        return self.keep("coded", lambda: np.unique(self.y_train, return_inverse=True))

    def _fit_scaler(self) -> list[tuple[str, Any]]:
        fitted = []
        for name, step in self.prefix.steps:
            scaler = clone(step)
            for start in range(0, len(self.train), _BLOCK_ROWS):
                scaler.partial_fit(self.problem.features(self.train[start : start + _BLOCK_ROWS], self.block))
            fitted.append((name, scaler))
        return fitted


def _arrays_of(values: Any) -> list[np.ndarray]:
    if isinstance(values, np.ndarray):
        return [values]
    if isinstance(values, list | tuple):
        return [array for value in values for array in _arrays_of(value)]
    return []


class FoldCache:
    """The folds at work in this process, the least recently used dropped where they grow too large."""

    def __init__(self, max_bytes: int = _CACHE_BYTES) -> None:
        self._folds: OrderedDict[tuple[Any, ...], Fold] = OrderedDict()
        self._max_bytes, self._lock = max_bytes, Lock()

    def get(
        self, problem: Problem, block: str, prefix: Prefix, rows: tuple[np.ndarray, np.ndarray], name: Any
    ) -> Fold:
        """A fold, the same for the same problem, feature set, prefix and name."""
        key = (problem.token, block, prefix.key, name)
        with self._lock:
            fold = self._folds.get(key)
            if fold is None:
                fold = self._folds[key] = Fold(problem, block, prefix, *rows)
            self._folds.move_to_end(key)
            self._drop(problem.token)
        return fold

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._folds.clear()

    def _drop(self, token: str) -> None:
        # Of another problem nothing will be asked again.
        for key in [key for key in self._folds if key[0] != token]:
            del self._folds[key]
        sizes = {key: fold.nbytes for key, fold in self._folds.items()}
        for key in list(sizes)[:-1]:
            if sum(sizes.values()) <= self._max_bytes:
                return
            del self._folds[key], sizes[key]


FOLDS = FoldCache()
