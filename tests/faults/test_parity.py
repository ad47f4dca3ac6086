"""Random problems, every head: its Keras layers choose the same class for every row, equally surely."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler

from featx import ParityError, check_parity, list_heads, to_keras
from featx.heads.spaces import resolve_heads
from featx.models.dispatch import CONVERTERS
from tests.models.test_conversion import HEADS, fit, problem, tolerance_of

#: featx's own heads without their scalers, and every kind of head and parameter that has a converter.
OWN = {
    spec.name: lambda spec=spec: clone(spec.estimator.steps[-1][1])
    for spec in [*resolve_heads("thorough"), *list_heads()]
}
MADE = {**OWN, **HEADS}
BEFORE = {
    "as it is": (),
    "scaled": (StandardScaler,),
    "to a range": (MinMaxScaler,),
    "to the largest": (MaxAbsScaler,),
    "normalised": (Normalizer,),
    "scaled and PCA": (StandardScaler, lambda: PCA(8, random_state=0)),
    "whitened": (lambda: PCA(6, whiten=True, random_state=0),),
    "PCA and normalised": (lambda: PCA(6, random_state=0), Normalizer),
}
N_PROBLEMS = 200


def drawn(number):
    """A head, what stands before it, and a problem: all heads in turn, the rest by lot."""
    rng = np.random.default_rng(number)
    name = list(MADE)[number % len(MADE)]
    before = list(BEFORE)[rng.integers(len(BEFORE))]
    n_classes = int(rng.choice([2, 2, 3, 5, 10]))
    X, y, X_test = problem(n_classes, seed=1000 + number)
    head = MADE[name]()
    is_weighted = bool(rng.integers(2)) and "class_weight" in head.get_params()
    if is_weighted:
        head.set_params(class_weight="balanced")
        # Classes of different sizes, so that weights weigh.
        kept = (y > 0) | (np.arange(len(y)) % 3 == 0)
        X, y = X[kept], y[kept]
    pipeline = make_pipeline(*(step() for step in BEFORE[before]), head)
    case = f"{number}: {name}, {before}, {n_classes} classes{', weighted' if is_weighted else ''}"
    return case, name, fit(pipeline, X, y), X_test


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0, 8),
        *(pytest.param(first, first + 50, marks=pytest.mark.faults) for first in range(0, N_PROBLEMS, 50)),
    ],
)
@pytest.mark.protocol("T17", "P18", "a random problem, its head converted to Keras")
def test_a_converted_head_answers_as_the_head_does(first, last, ledger):
    for number in range(first, last):
        case, name, head, X = drawn(number)
        ledger.inject()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                parity = check_parity(head, to_keras(head), X, tolerance_of(name))
            except ParityError as error:
                ledger.lose(f"{case}: {error}")
                continue
        if parity.n_labels_equal != parity.n_samples:
            ledger.lose(f"{case}: {parity.n_samples - parity.n_labels_equal} rows get another class")


def test_every_converter_is_met():
    made = [make() for make in MADE.values()] + [step() for steps in BEFORE.values() for step in steps]
    left = {kind for kind in CONVERTERS if kind.__module__.startswith("sklearn")} - set(map(type, made))
    # Around every head of the problems, and within every calibrated one; a doctest registers the last.
    assert left <= {Pipeline, FrozenEstimator, FunctionTransformer}
