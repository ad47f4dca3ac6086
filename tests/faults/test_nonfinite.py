"""Features that are no numbers, or the same for every image, reach no head: each gate refuses them in words.

A column that is constant, or an image whose features are all zero, is let pass by design: a network whose
units are silent gives such, and the others tell the classes apart.
"""

import warnings

import keras
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from featx import (
    ArraySource,
    FeatureExtractor,
    FeatureSet,
    FeatureStore,
    FeatxError,
    HeadError,
    HeadSearch,
    HeadSpec,
    ImageClassifier,
    SourceError,
    compare,
    evaluate,
    extract,
    list_heads,
    nested_scores,
    rank_features,
)
from featx.heads.spaces import resolve_heads
from tests.conftest import make_images
from tests.heads.real_data import cancer

#: featx's own, and two that take what is not a number for a value like any other.
TOLERANT = [
    HeadSpec("forest", RandomForestClassifier(5, random_state=0), {}),
    HeadSpec("boosting", HistGradientBoostingClassifier(max_iter=3), {}),
]
HEADS = {spec.name: spec for spec in [*resolve_heads("thorough"), *list_heads(), *TOLERANT]}


def put(value, rows=slice(None), columns=slice(None), dtype=np.float32):
    def spoil(X):
        X = X.astype(dtype)
        with np.errstate(over="ignore"):
            X[rows, columns] = value
        return X

    return spoil


#: What is refused wherever it stands: in what is fitted on, and in what is asked about.
NOT_NUMBERS = {
    "NaN": put(np.nan, 3, 2),
    "infinity": put(np.inf, 3, 2),
    "negative infinity": put(-np.inf, 3, 2),
    "NaN in the last row": put(np.nan, -1, 0),
    "a row of NaN": put(np.nan, 5),
    "a row of infinity": put(np.inf, 5),
    "a column of NaN": put(np.nan, slice(None), 4),
    "nothing but NaN": put(np.nan),
    "too large for float16": put(1e5, 3, 2, np.float16),
}
#: And what nothing can be learned from.
ALL_ALIKE = {
    "all zero": put(0),
    "all the same value": put(7.5),
    "all the same row": lambda X: np.repeat(X[:1].astype(np.float32), len(X), axis=0),
}
#: What is let pass.
ODD = {
    "a constant column": put(7.5, slice(None), 4),
    "a row of zeros": put(0, 5),
    "every seventh row of zeros": put(0, slice(None, None, 7)),
    "a column of zeros": put(0, slice(None), 4),
}


def refused(ledger, what, function, message, error=HeadError):
    ledger.inject()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function()
        ledger.lose(f"{what}: accepted")
    except error as refusal:
        if message not in str(refusal):
            ledger.lose(f"{what}: {refusal}")
    except Exception as refusal:  # noqa: BLE001 - counted, whatever it is
        ledger.lose(f"{what}: {type(refusal).__name__}: {refusal}")


each_head = pytest.mark.parametrize(
    "name",
    [
        name
        if name in {"logistic_regression", "knn", "boosting"}
        else pytest.param(name, marks=pytest.mark.faults)
        for name in HEADS
    ],
)


def smallest(name):
    """The head with the first of its parameters."""
    spec = HEADS[name]
    return HeadSpec(name, spec.estimator, {key: values[:1] for key, values in spec.param_grid.items()})


@each_head
@pytest.mark.protocol("T12", "P13", "NaN, infinite, constant features in a feature file, by head")
def test_no_head_is_fitted_on_what_is_no_number(name, ledger, tmp_path):
    X, y = cancer(100)
    for kind, spoil in {**NOT_NUMBERS, **ALL_ALIKE}.items():
        FeatureSet(spoil(X), y).save(tmp_path / "f.h5")
        spoiled = FeatureSet.load(tmp_path / "f.h5").X
        message = "NaN or infinite features in" if kind in NOT_NUMBERS else "columns that are all constant"
        search = HeadSearch(smallest(name), cv=2)
        refused(ledger, f"{name} fitted on {kind}", lambda: search.fit(spoiled, y), message)  # noqa: B023
        refused(ledger, f"{name} nested on {kind}", lambda: nested_scores(search, spoiled, y, cv=2), message)  # noqa: B023


@each_head
@pytest.mark.protocol("T12", "P13", "NaN and infinite features asked about, by head")
def test_no_head_answers_for_what_is_no_number(name, ledger):
    X, y = cancer(100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = HeadSearch(smallest(name), cv=2, random_state=0, calibration=None).fit(
            X.astype(np.float32), y
        )
    methods = {
        method: getattr(search, method)
        for method in ("predict", "predict_proba", "decision_function")
        if hasattr(search, method)
    }
    methods |= {
        "score": lambda X: search.score(X, y),
        "evaluate": lambda X: evaluate(search.best_estimator_, X, y),
        "compare": lambda X: compare(search.best_estimator_, search.best_estimator_, X, y),
    }
    for kind, spoil in NOT_NUMBERS.items():
        for method, ask in methods.items():
            spoiled = spoil(X)
            refused(ledger, f"{name} asked by {method} about {kind}", lambda: ask(spoiled), "in")  # noqa: B023
    for kind, spoil in ODD.items():
        for method in set(methods) & {"predict", "predict_proba", "decision_function"}:
            ledger.inject()
            if not np.isfinite(methods[method](spoil(X))).all():
                ledger.lose(f"{name}: {method} of {kind} is no number")


@each_head
@pytest.mark.protocol("T12", "P13", "constant columns and zero rows, by head")
def test_what_is_let_pass_gives_numbers(name, ledger):
    X, y = cancer(100)
    for kind, spoil in ODD.items():
        ledger.inject()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = HeadSearch(smallest(name), cv=2, random_state=0).fit(spoil(X), y)
        if any(search.cv_results_["error"]) or not np.isfinite(search.predict_proba(spoil(X))).all():
            ledger.lose(f"{name} on {kind}: {search.cv_results_['error']}")


@pytest.mark.protocol("T12", "P13", "NaN and infinite features ranked")
def test_no_features_are_ranked_that_are_no_numbers(ledger):
    X, y = cancer(100)
    for kind, spoil in NOT_NUMBERS.items():
        refused(ledger, f"ranked {kind}", lambda: rank_features({"f": spoil(X)}, y), "not finite")  # noqa: B023


def network(*, spoil=None, scale=1.0):
    inputs = keras.Input((16, 16, 3))
    layer = keras.layers.Conv2D(8, 3, kernel_initializer=keras.initializers.GlorotUniform(1))
    model = keras.Model(inputs, layer(inputs))
    kernel, bias = layer.get_weights()
    kernel = kernel * np.float32(scale)
    if spoil is not None:
        kernel.flat[7] = spoil
    layer.set_weights([kernel, bias])
    return FeatureExtractor(model, preprocessing="unit", batch_size=4)


WEIGHTS = {
    "a NaN": {"spoil": np.nan},
    "an infinity": {"spoil": np.inf},
    "numbers that overflow": {"scale": 3e38},
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.protocol("T12", "P13", "damaged weights of a backbone")
def test_no_damaged_backbone_fills_a_store(kind, ledger, tmp_path):
    images, extractor = make_images(8), network(**WEIGHTS[kind])
    for on_error in ("raise", "skip"):
        refused(
            ledger,
            f"{kind} in the weights, {on_error}",
            lambda: extract(images, extractor, store=tmp_path, on_error=on_error),  # noqa: B023
            "features are not finite",
            SourceError,
        )
    if n_kept := sum(entry.n_samples for entry in FeatureStore(tmp_path).entries()):
        ledger.lose(f"{kind} in the weights: {n_kept} rows in the store")


@pytest.mark.parametrize("head", ["fast", TOLERANT[0], TOLERANT[0].estimator, TOLERANT[1].estimator], ids=str)
@pytest.mark.protocol("T12", "P13", "a silent backbone, whose weights are zero")
def test_no_classifier_learns_from_a_silent_backbone(head, ledger, tmp_path):
    classifier = ImageClassifier(network(scale=0.0), head, store=tmp_path)
    refused(
        ledger,
        f"{head} on a silent backbone",
        lambda: classifier.fit(make_images(12), np.arange(12) % 2),
        "all constant",
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0])
@pytest.mark.protocol("T12", "P13", "NaN and infinite pixels")
def test_no_image_of_what_is_no_number_is_embedded(value, ledger, tmp_path):
    pixels = np.random.default_rng(0).random((8, 16, 16, 3)).astype(np.float32)
    pixels[3, 2, 1, 0] = value

    def embed(on_error):
        return extract(ArraySource(pixels, value_range=(0, 1)), network(), store=tmp_path, on_error=on_error)

    refused(ledger, f"a pixel of {value}", lambda: embed("raise"), "", FeatxError)
    ledger.inject()
    try:
        found = embed("skip")
    except SourceError:
        # The whole array is refused, not one image of it.
        return
    if len(found) != 7 or [failure.index for failure in found.report.failed] != [3]:
        ledger.lose(f"a pixel of {value}: {found.report.failed}")


@pytest.mark.protocol("T12", "P13", "an array that is no number")
def test_no_array_of_what_is_no_number_is_embedded(ledger):
    X = np.random.default_rng(0).random((8, 16)).astype(np.float32)
    X[3, 2], X[5] = np.nan, np.inf
    inputs = keras.Input((16,))
    extractor = FeatureExtractor(keras.Model(inputs, keras.layers.Dense(4)(inputs)), inputs="arrays")
    refused(ledger, "an array", lambda: extract(X, extractor, store=None), "not finite", SourceError)
    ledger.inject(2)
    found = extract(X, extractor, store=None, on_error="skip")
    if [failure.index for failure in found.report.failed] != [3, 5]:
        ledger.lose(f"arrays: {found.report.failed}")
