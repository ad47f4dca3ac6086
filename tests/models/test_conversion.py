"""Fitted heads as Keras layers: the same answers, from weights that can be trained."""

import random
import warnings
from functools import partial

import keras
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC

from featx import ConversionError, HeadSearch, ParityError, check_parity, register_converter, to_keras
from featx.heads.columns import on_columns
from featx.heads.neighbors import WeightedNeighbors
from featx.models.dispatch import CONVERTERS
from tests.contracts import described

pytestmark = pytest.mark.backends

N_FEATURES = 12

HEADS = {
    "logistic regression": LogisticRegression,
    "logistic regression, no intercept": partial(LogisticRegression, fit_intercept=False),
    "logistic regression, cross-validated": partial(
        LogisticRegressionCV, Cs=3, cv=2, l1_ratios=(0.0,), use_legacy_attributes=False
    ),
    "one-vs-rest logistic": lambda: OneVsRestClassifier(LogisticRegression()),
    "one-vs-rest linear SVC": lambda: OneVsRestClassifier(LinearSVC()),
    "one-vs-rest modified Huber": lambda: OneVsRestClassifier(
        SGDClassifier(loss="modified_huber", alpha=0.1)
    ),
    "one-vs-rest RBF": lambda: OneVsRestClassifier(SVC()),
    "linear SVC": LinearSVC,
    "linear SVC, no intercept": partial(LinearSVC, fit_intercept=False),
    "ridge": RidgeClassifier,
    "ridge, cross-validated": RidgeClassifierCV,
    "linear discriminants": LinearDiscriminantAnalysis,
    "SGD hinge": SGDClassifier,
    "SGD log loss": partial(SGDClassifier, loss="log_loss", alpha=0.01),
    "SGD modified Huber": partial(SGDClassifier, loss="modified_huber", alpha=0.1),
    "perceptron": Perceptron,
    "SVC linear": partial(SVC, kernel="linear"),
    "SVC RBF": SVC,
    "SVC RBF, ties broken": partial(SVC, break_ties=True),
    "SVC RBF, one-vs-one": partial(SVC, decision_function_shape="ovo"),
    "SVC poly": partial(SVC, kernel="poly", coef0=1.0),
    "SVC sigmoid": partial(SVC, kernel="sigmoid", gamma=0.01),
    "SVC RBF, Platt": partial(SVC, probability=True),
    "SVC linear, Platt": partial(SVC, kernel="linear", probability=True),
    "nu-SVC RBF": partial(NuSVC, nu=0.1),
    "MLP relu": partial(MLPClassifier, (16, 8), activation="relu"),
    "MLP tanh": partial(MLPClassifier, (16,), activation="tanh"),
    "MLP logistic": partial(MLPClassifier, (16,), activation="logistic"),
    "MLP identity": partial(MLPClassifier, (16,), activation="identity"),
    "kNN": KNeighborsClassifier,
    "kNN, distance": partial(KNeighborsClassifier, weights="distance"),
    "kNN, cosine": partial(KNeighborsClassifier, algorithm="brute", metric="cosine"),
    "kNN, cosine distance": partial(
        KNeighborsClassifier, 7, algorithm="brute", metric="cosine", weights="distance"
    ),
    "nearest centroid": NearestCentroid,
    "nearest centroid, empirical priors": partial(NearestCentroid, priors="empirical"),
    "calibrated linear SVC": lambda: CalibratedClassifierCV(LinearSVC(), cv=3, ensemble=False),
    "calibrated linear SVC, ensemble": lambda: CalibratedClassifierCV(LinearSVC(), cv=3),
    "calibrated RBF": lambda: CalibratedClassifierCV(SVC(), cv=3, ensemble=False),
    "calibrated kNN": lambda: CalibratedClassifierCV(KNeighborsClassifier(), cv=3, ensemble=False),
    "calibrated centroid": lambda: CalibratedClassifierCV(NearestCentroid(), cv=3, ensemble=False),
    "isotonic linear SVC": lambda: CalibratedClassifierCV(
        LinearSVC(), cv=3, method="isotonic", ensemble=False
    ),
    "isotonic linear SVC, ensemble": lambda: CalibratedClassifierCV(LinearSVC(), cv=3, method="isotonic"),
}
SCALINGS = {
    "no scaler": (),
    "scaler": (StandardScaler,),
    "scaler and PCA": (StandardScaler, partial(PCA, 8)),
}


def problem(n_classes, seed=0, n_samples=None):
    """Overlapping classes in columns of different means and spreads, exact in float32, half for testing."""
    rng = np.random.default_rng(seed)
    n_samples = n_samples or 24 * n_classes + 32
    y = np.arange(n_samples) % n_classes
    X = rng.normal(size=(n_samples, N_FEATURES)) + 1.2 * rng.normal(size=(n_classes, N_FEATURES))[y]
    X = X * rng.uniform(0.3, 3.0, N_FEATURES) + rng.uniform(-1.0, 3.0, N_FEATURES)
    X = X.astype(np.float32).astype(np.float64)
    half = n_samples // 2
    return X[:half], y[:half], X[half:]


def fit(head, X, y):
    head.set_params(**{name: 0 for name in head.get_params() if name.endswith("random_state")})
    with warnings.catch_warnings():
        # Convergence does not matter here, and Platt's probabilities are deprecated.
        warnings.simplefilter("ignore")
        return head.fit(X, y)


def fitted_problem(name, scaling, n_classes, seed):
    X, y, X_test = problem(n_classes, seed)
    return fit(make_pipeline(*(step() for step in SCALINGS[scaling]), HEADS[name]()), X, y), X_test


def tolerance_of(name):
    # An isotonic step can be so steep that the last digit of a float32 score moves it by more than 1e-5, and
    # the modified Huber loss divides by a sum that is nothing but rounding where no class is likely.
    return 1e-4 if "isotonic" in name or "Huber" in name else 1e-5


def parity_table(seeds, names=tuple(HEADS)):
    """Rows of (head, classes, scaling, problems, samples, labels equal, ties, largest difference)."""
    for name in names:
        for n_classes in (2, 3, 10):
            for scaling in SCALINGS:
                found = []
                for seed in seeds:
                    head, X = fitted_problem(name, scaling, n_classes, seed)
                    found.append(check_parity(head, to_keras(head), X, tolerance_of(name)))
                differences = [each.max_abs_difference or 0.0 for each in found]
                counts = (
                    sum(getattr(each, field) for each in found)
                    for field in ("n_samples", "n_labels_equal", "n_ties")
                )
                yield (name, n_classes, scaling, len(found), *counts, max(differences))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_answers_the_same(name):
    assert len(list(parity_table(range(1), [name]))) == 9


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADS)
def test_a_head_answers_the_same_on_twenty_problems(name, record_property):
    for row in parity_table(range(20), [name]):
        # The table, with: -m slow --junit-xml=FILE -o junit_family=xunit1.
        record_property("parity", " | ".join(map(str, row)))


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize(
    "name", [name for name in HEADS if "kNN" not in name and hasattr(HEADS[name](), "predict_proba")]
)
def test_decisions_choose_what_the_head_predicts(name, n_classes):
    head, X = fitted_problem(name, "scaler", n_classes, seed=1)
    model = to_keras(head, output="decision")
    assert model.output_names == ["decision"]
    assert check_parity(head, model, X).max_abs_difference is None


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler(with_mean=False)],
        [StandardScaler(with_std=False)],
        [StandardScaler(with_mean=False, with_std=False)],
        [MinMaxScaler((-1, 2))],
        [MinMaxScaler(clip=True)],
        [MaxAbsScaler()],
        [MaxAbsScaler(clip=True)],
        [Normalizer("l1")],
        [Normalizer("l2"), StandardScaler()],
        [Normalizer("max")],
        [PCA(5, whiten=True)],
        [PCA(5), MinMaxScaler(), Normalizer(), PCA(3)],
        ["passthrough", StandardScaler(), "passthrough", None],
        [make_pipeline(StandardScaler(), make_pipeline(PCA(4), "passthrough"))],
    ],
    ids=described,
)
@pytest.mark.parametrize("fold", [False, True])
def test_what_stands_before_a_head_answers_the_same(steps, fold):
    X, y, X_test = problem(3)
    X[:, 4] = 7.0
    pipeline = Pipeline([(str(index), step) for index, step in enumerate([*steps, LogisticRegression()])])
    head = fit(pipeline, X, y)
    # Rows outside the range that was fitted, and one that has no direction.
    X_test = np.vstack([3 * X_test, -X_test, np.zeros((1, N_FEATURES))])
    check_parity(head, to_keras(head, fold=fold), X_test)


def test_a_mean_far_above_the_spread_costs_no_digits():
    X, y, X_test = problem(3)
    X, X_test = ((each.astype(np.float32) + np.float32(3000)).astype(np.float64) for each in (X, X_test))
    for last in (LogisticRegression(), SVC(), KNeighborsClassifier(weights="distance")):
        head = fit(make_pipeline(StandardScaler(), last), X, y)
        check_parity(head, to_keras(head), X_test)
    head = fit(make_pipeline(PCA(4), LogisticRegression()), X, y)
    check_parity(head, to_keras(head), X_test)


def test_columns_stand_in_the_order_of_the_classes():
    X, y, X_test = problem(3)
    names = np.array(["zebra", "ant", "mole"])[y]
    head = fit(make_pipeline(StandardScaler(), LogisticRegression()), X, names)
    model = to_keras(head)
    assert (model.name, model.inputs[0].name, model.output_names) == (
        "featx_head",
        "features",
        ["probability"],
    )
    assert model.input_shape == (None, N_FEATURES)
    assert model.dtype == "float32"
    scores = keras.ops.convert_to_numpy(model(X_test.astype(np.float32)))
    predicted = head.classes_[scores.argmax(axis=1)]
    assert (predicted == head.predict(X_test)).all()
    check_parity(head, model, X_test)
    # Decisions are compared by label.
    head = fit(LinearSVC(), X, names)
    check_parity(head, to_keras(head), X_test)


@pytest.mark.parametrize("name", ["logistic regression", "SVC RBF, Platt", "MLP relu", "kNN, distance"])
def test_any_layout_and_precision_will_do(name):
    X, y, X_test = problem(3)
    X, X_test = X.astype(np.float32), X_test.astype(np.float32)
    head = fit(make_pipeline(StandardScaler(), HEADS[name]()), X, y)
    model = to_keras(head)
    parity = check_parity(head, model, X_test)
    assert parity.n_labels_equal == len(X_test)
    assert check_parity(head, model, np.asfortranarray(X_test)) == parity
    assert check_parity(head, model, X_test.astype(np.float64)) == parity
    assert check_parity(head, model, X_test.tolist()) == parity


@pytest.mark.parametrize("head", ["logistic_regression", "linear_svm", "rbf_svm", "mlp", "knn"])
def test_what_a_search_finds_is_converted(head):
    X, y, X_test = problem(3, n_samples=240)
    search = fit(HeadSearch(head, cv=3), X, y)
    model = to_keras(search)
    assert model.output_names == ["probability"]
    assert check_parity(search, model, X_test).n_labels_equal == len(X_test)


def test_what_scikit_learns_search_finds_is_converted():
    X, y, X_test = problem(2)
    search = fit(GridSearchCV(SVC(), {"C": [0.1, 10.0]}, cv=2), X, y)
    check_parity(search, to_keras(search), X_test)


def tree_of(output):
    return output if isinstance(output, list | tuple) else [output]


def used_operations(model):
    for operation in model.operations:
        yield operation
        if isinstance(operation, keras.Model):
            yield from used_operations(operation)


@pytest.mark.parametrize("name", HEADS)
def test_a_model_is_keras_own_and_survives_its_file(name, tmp_path):
    head, X = fitted_problem(name, "scaler and PCA", 3, seed=3)
    model = to_keras(head)
    assert all(type(each).__module__.startswith("keras.src.") for each in used_operations(model))
    assert not any(isinstance(each, keras.layers.Lambda) for each in used_operations(model))
    # Neither float64, which LiteRT and accelerators lack, nor what a policy might make of it.
    assert {tensor.dtype for each in model.operations for tensor in tree_of(each.output)} <= {
        *("float32", "int32", "bool"),
    }
    model.save(tmp_path / "head.keras")
    loaded = keras.models.load_model(tmp_path / "head.keras")
    expected, found = (keras.ops.convert_to_numpy(each(X.astype(np.float32))) for each in (model, loaded))
    np.testing.assert_array_equal(found, expected)
    assert len(loaded.trainable_variables) == len(model.trainable_variables)
    check_parity(head, loaded, X)


@pytest.mark.parametrize(
    ("name", "n_classes"),
    [
        *((name, 2 if "Platt" in name else 3) for name in HEADS),
        ("logistic regression", 2),
        ("SVC RBF", 2),
        ("MLP relu", 2),
        ("calibrated linear SVC", 2),
    ],
)
def test_every_weight_can_be_trained(name, n_classes):
    X, y, X_test = problem(n_classes, seed=5)
    model = to_keras(fit(make_pipeline(StandardScaler(), PCA(6), HEADS[name]()), X, y))
    if is_uniform := name in ("kNN", "kNN, cosine", "calibrated kNN"):
        # Which samples are nearest has no gradient, so that nothing before the labels can learn.
        for layer in model.layers[: [layer.name for layer in model.layers].index(embeddings(model)[1].name)]:
            layer.trainable = False
    assert is_uniform or not model.non_trainable_variables
    # Labels that the head does not know, so that there is something to learn.
    target = keras.utils.to_categorical(np.arange(len(X_test)) // 2 % n_classes, n_classes)
    # A few steps: to trace them would take longer than to take them.
    model.compile(keras.optimizers.Adam(1e-3), "mean_squared_error", run_eagerly=True)
    before = [np.array(keras.ops.convert_to_numpy(weight)) for weight in model.trainable_variables]
    history = model.fit(X_test.astype(np.float32), target, batch_size=64, epochs=3, verbose=0, shuffle=False)
    assert history.history["loss"][-1] < history.history["loss"][0]
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_variables]
    assert all(np.isfinite(each).all() for each in after)
    assert all((new != old).any() for new, old in zip(after, before, strict=True))


def test_two_classes_get_equal_gradients():
    X, y, _ = problem(2)
    model = to_keras(fit(LogisticRegression(), X, y))
    kernel, bias = model.layers[-2].get_weights()
    np.testing.assert_array_equal(kernel[:, 0], -kernel[:, 1])
    assert bias[0] == -bias[1]


def embeddings(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Embedding)]


def dense_layers(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


@pytest.mark.parametrize(
    ("last", "n_layers"),
    [
        (LogisticRegression(), 1),
        (RidgeClassifier(), 1),
        (LinearSVC(), 1),
        (OneVsRestClassifier(LogisticRegression()), 1),
        (MLPClassifier((8,)), 2),
        (make_pipeline(MinMaxScaler(), LinearDiscriminantAnalysis()), 1),
        (CalibratedClassifierCV(LinearSVC(), cv=2, ensemble=False), 1),
    ],
    ids=described,
)
def test_a_linear_chain_folds_into_one_layer(last, n_layers):
    X, y, X_test = problem(3)
    head = fit(make_pipeline(StandardScaler(), PCA(8, whiten=True), last), X, y)
    before = head.predict(X_test)
    unfolded, model = to_keras(head), to_keras(head, fold=True)
    assert len(dense_layers(model)) == n_layers < len(unfolded.layers)
    assert dense_layers(model)[0].kernel.shape[0] == N_FEATURES
    check_parity(head, model, X_test)
    assert (head.predict(X_test) == before).all()


@pytest.mark.parametrize(
    "head",
    [
        CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), cv=3, ensemble=False),
        CalibratedClassifierCV(make_pipeline(StandardScaler(), LinearSVC()), cv=3),
        OneVsRestClassifier(make_pipeline(StandardScaler(), PCA(4), LogisticRegression())),
    ],
    ids=described,
)
def test_chains_inside_a_head_fold(head):
    X, y, X_test = problem(3)
    fit(head, X, y)
    model = to_keras(head, fold=True)
    assert len(model.layers) < len(to_keras(head).layers)
    assert all(layer.kernel.shape[0] == N_FEATURES for layer in dense_layers(model))
    check_parity(head, model, X_test)


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler(), KNeighborsClassifier()],
        [StandardScaler(), SVC(kernel="linear")],
        [StandardScaler(), CalibratedClassifierCV(KNeighborsClassifier(), cv=2)],
        [StandardScaler(), MinMaxScaler(clip=True), LogisticRegression()],
        [StandardScaler(), Normalizer(), OneVsRestClassifier(SVC())],
        [LogisticRegression()],
    ],
    ids=described,
)
def test_what_cannot_be_folded_is_converted_as_it_is(steps):
    X, y, X_test = problem(3)
    head = fit(make_pipeline(*steps), X, y)
    model = to_keras(head, fold=True)
    assert len(model.layers) == len(to_keras(head).layers)
    check_parity(head, model, X_test)


def test_a_tie_in_votes_goes_to_the_first_class():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 4
    head = fit(SVC(C=100.0, gamma=1.0, decision_function_shape="ovo"), X, y)
    X_test = rng.normal(size=(400, 2))
    decisions = head.decision_function(X_test.astype(np.float32))
    first, second = np.triu_indices(4, 1)
    winners = np.where(decisions > 0, first, second)
    votes = (winners[:, :, np.newaxis] == np.arange(4)).sum(axis=1)
    n_tied = ((votes == votes.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum()
    assert n_tied > 10
    assert check_parity(head, to_keras(head), X_test).n_labels_equal == 400
    head = fit(SVC(C=100.0, gamma=1.0, break_ties=True), X, y)
    assert check_parity(head, to_keras(head), X_test).n_labels_equal == 400


def test_a_decision_of_zero_goes_to_libsvms_class():
    for labels in ([0, 1], [1, 0]):
        head = fit(SVC(kernel="linear"), [[-1.0], [1.0]], labels)
        assert head.decision_function([[0.0]]) == 0
        assert check_parity(head, to_keras(head), [[0.0], [-1.0], [1.0]]).n_labels_equal == 3


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_well_separated_classes_have_platts_probabilities_too(n_classes):
    X, y, X_test = problem(n_classes)
    X += 30 * np.eye(n_classes, N_FEATURES)[y]
    head = fit(SVC(probability=True), X, y)
    check_parity(head, to_keras(head), np.vstack([X, X_test]))


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "minkowski"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbours_that_equal_the_query_or_share_the_vote(metric, weights):
    # Each sample stands there with two labels, and four neighbours are an even vote.
    X = np.repeat([[1.0, 0.0], [0.0, 1.5], [1.0, 1.0], [3.0, 4.0]], 2, axis=0)
    head = KNeighborsClassifier(4, metric=metric, weights=weights, algorithm="brute")
    head.fit(X, ["b", "a", "c", "b", "a", "c", "c", "a"])
    queries = np.vstack([X, [[1.0, 0.25], [0.25, 1.0], [0.5, 0.625]]])
    parity = check_parity(head, to_keras(head), queries)
    assert parity.n_labels_equal == len(queries)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_neighbours_whose_votes_carry_weights(n_classes, weights):
    X, y, X_test = problem(n_classes)
    weight = np.random.default_rng(0).uniform(0, 3, len(y)) * (y > 0)
    head = WeightedNeighbors(3, weights=weights).fit(X, y, weight)
    # Class 0 weighs nothing, so that some rows have no votes at all.
    assert (head.predict_proba(X_test) == 1 / n_classes).all(axis=1).any()
    check_parity(head, to_keras(head), X_test)


@pytest.mark.parametrize("columns", [(3, 9), [8, 1, 3], [4], None], ids=described)
@pytest.mark.parametrize("fold", [False, True])
def test_a_head_on_some_columns_takes_all(columns, fold):
    X, y, X_test = problem(3)
    chosen = (
        np.arange(N_FEATURES) if columns is None else np.r_[slice(*columns)] if len(columns) == 2 else columns
    )
    head = fit(make_pipeline(StandardScaler(), LogisticRegression()), X[:, chosen], y)
    whole = on_columns(head, columns, N_FEATURES)
    model = to_keras(whole, fold=fold)
    assert model.input_shape == (None, N_FEATURES)
    assert check_parity(whole, model, X_test).max_abs_difference < 1e-6
    changed = X_test.copy()
    changed[:, np.setdiff1d(np.arange(N_FEATURES), chosen)] = 99.0
    np.testing.assert_array_equal(model(changed), model(X_test))


def test_a_query_without_direction_is_as_far_from_everything():
    X, y, X_test = problem(3)
    head = KNeighborsClassifier(len(X), metric="cosine", weights="distance").fit(X, y)
    check_parity(head, to_keras(head), np.vstack([X_test, np.zeros((1, N_FEATURES))]))


def test_probabilities_where_every_sigmoid_is_nothing():
    X, y, _ = problem(3)
    zeros = np.zeros((2, N_FEATURES))
    for loss, shift in (("log_loss", -800.0), ("log_loss", -300.0), ("modified_huber", -9.0)):
        head = fit(SGDClassifier(loss=loss), X, y)
        head.coef_, head.intercept_ = 0 * head.coef_, shift - np.array([1.0, 0.0, 2.0])
        check_parity(head, to_keras(head), zeros)
    head = fit(OneVsRestClassifier(LogisticRegression()), X, y)
    for member in head.estimators_:
        member.coef_, member.intercept_ = 0 * member.coef_, np.array([-800.0])
    assert not head.predict_proba(zeros).any()
    check_parity(head, to_keras(head), zeros)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "inner",
    [
        LogisticRegression(),
        MLPClassifier((8,)),
        make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo")),
        OneVsRestClassifier(KNeighborsClassifier()),
        NearestCentroid(priors="empirical"),
    ],
    ids=described,
)
def test_calibration_of_every_kind_of_score(inner, n_classes, method):
    X, y, X_test = problem(n_classes)
    fit(inner, X, y)
    head = fit(CalibratedClassifierCV(FrozenEstimator(inner), method=method), X, y)
    check_parity(head, to_keras(head), X_test, atol=1e-5 if method == "sigmoid" else 1e-4)


def test_calibration_takes_the_first_of_many_one_vs_one_decisions():
    X, y, X_test = problem(4)
    head = CalibratedClassifierCV(SVC(decision_function_shape="ovo"), cv=3, ensemble=False)
    check_parity(fit(head, X, y), to_keras(head), X_test)


def test_a_calibration_that_is_constant():
    X, y, X_test = problem(2)
    head = fit(CalibratedClassifierCV(LinearSVC(), method="isotonic", cv=2), X, y)
    for member in head.calibrated_classifiers_:
        member.calibrators[0].fit([0.0, 1.0], [1.0, 0.0])
    check_parity(head, to_keras(head), X_test)


def test_features_without_spread_inside_a_class():
    X, y, X_test = problem(3)
    X[:, 2] = 1.5
    head = fit(NearestCentroid(priors=[0.2, 0.3, 0.5]), X, y)
    check_parity(head, to_keras(head), X_test)


def test_sparse_weights():
    X, y, X_test = problem(3)
    head = fit(LogisticRegression(), X, y).sparsify()
    check_parity(head, to_keras(head), X_test)


def test_neither_the_policy_nor_the_random_state_counts():
    head, X = fitted_problem("calibrated RBF", "scaler and PCA", 3, seed=0)
    policy, state = keras.config.dtype_policy(), random.getstate()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        check_parity(head, to_keras(head), X)
    finally:
        keras.config.set_dtype_policy(policy)
    # Keras draws the seeds of its initializers from Python's generator.
    assert random.getstate() == state


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (LogisticRegression(), "received a LogisticRegression that is not fitted; expected a fitted one"),
        (HeadSearch(), "received an estimator of type HeadSearch; expected one of CalibratedClassifierCV, "),
        (RandomForestClassifier(), "type RandomForestClassifier; expected one of .*, SVC, .*register_conv"),
        (None, "received an estimator of type NoneType; expected one of"),
    ],
    ids=described,
)
def test_a_head_that_is_not_supported_or_not_fitted_is_refused(head, message):
    with pytest.raises(ConversionError, match=message):
        to_keras(head)


def gram(a, b):
    return a @ b.T


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (make_pipeline(StandardScaler(), RandomForestClassifier(5)), "type RandomForestClassifier"),
        (SVC(kernel="precomputed"), "a SVC with kernel='precomputed'; expected one of linear, poly, rbf"),
        (make_pipeline(StandardScaler(), SVC(kernel=gram)), "a SVC with kernel='a callable'"),
        (SVC(kernel=gram), "a SVC without n_features_in_; expected a number of features"),
        (MLPClassifier(), "a MLPClassifier of several labels; expected one label a sample"),
        (RidgeClassifier(), "a RidgeClassifier of several labels"),
        (KNeighborsClassifier(), "a KNeighborsClassifier of several labels"),
        (OneVsRestClassifier(LinearSVC()), "a OneVsRestClassifier of several labels"),
        (KNeighborsClassifier(metric="manhattan"), "metric='manhattan'; expected one of euclidean, cosine"),
        (KNeighborsClassifier(p=3), "metric='minkowski'; expected one of euclidean, cosine"),
        (
            KNeighborsClassifier(weights=np.exp),
            "weights of its own; expected weights='uniform' or 'distance'",
        ),
        (NearestCentroid(metric="manhattan"), "metric='manhattan'; expected metric='euclidean'"),
        (CalibratedClassifierCV(LinearSVC(), method="temperature", cv=2), "method='temperature'; expected"),
        (StandardScaler(), "a StandardScaler, which predicts nothing; expected a classifier"),
    ],
    ids=described,
)
def test_a_head_whose_parameters_are_not_supported_is_refused(head, message):
    X, y, _ = problem(3)
    if "precomputed" in message:
        X = X @ X.T
    with pytest.raises(ConversionError, match=message):
        to_keras(fit(head, X, np.eye(3, dtype=int)[y] if "several labels" in message else y))


@pytest.mark.parametrize("fold", [False, True])
def test_a_pipeline_with_a_step_that_is_not_fitted_is_refused(fold):
    X, y, _ = problem(3)
    first, last = fit(MaxAbsScaler(), X, y), fit(LogisticRegression(), X, y)
    for steps in ([StandardScaler(), last], [first, StandardScaler(), last]):
        with pytest.raises(ConversionError, match="a StandardScaler that is not fitted"):
            to_keras(make_pipeline(*steps), fold=fold)


def test_a_sample_without_direction_is_refused():
    head = KNeighborsClassifier(1, metric="cosine").fit([[0.0, 0.0], [1.0, 0.0]], [0, 1])
    with pytest.raises(ConversionError, match="a KNeighborsClassifier with a sample of zeros"):
        to_keras(head)


def test_a_fold_without_all_classes_is_refused():
    X, y, _ = problem(3)
    folds = [(np.flatnonzero(y < 2), np.arange(len(y))), (np.arange(len(y)), np.arange(len(y)))]
    head = fit(CalibratedClassifierCV(LogisticRegression(), cv=folds), X, y)
    with pytest.raises(ConversionError, match="a fold that lacks a class; expected every class in every"):
        to_keras(head)


def test_outputs_that_a_head_does_not_have_are_refused():
    X, y, _ = problem(2)
    with pytest.raises(ConversionError, match="'probability' for a LinearSVC without predict_proba"):
        to_keras(fit(LinearSVC(), X, y), output="probability")
    with pytest.raises(ConversionError, match="output='logits'; expected one of 'auto', 'probability'"):
        to_keras(fit(LinearSVC(), X, y), output="logits")


def test_only_exact_types_are_converted_until_they_are_registered(monkeypatch):
    class Loud(LogisticRegression):
        """Nobody knows what it does."""

    X, y, X_test = problem(3)
    head = fit(Loud(), X, y)
    with pytest.raises(ConversionError, match="type Loud"):
        to_keras(head)
    monkeypatch.setitem(CONVERTERS, Loud, None)
    register_converter(Loud)(CONVERTERS[LogisticRegression])
    check_parity(head, to_keras(head), X_test)


def test_a_model_of_another_head_has_no_parity():
    X, y, X_test = problem(3)
    head, other = fit(LogisticRegression(), X, y), fit(LogisticRegression(C=0.9), X, y)
    with pytest.raises(ParityError, match="probabilities differ from the head's; largest diff") as caught:
        check_parity(head, to_keras(other), X_test)
    differences = np.abs(head.predict_proba(X_test) - other.predict_proba(X_test))
    assert caught.value.max_abs_difference == pytest.approx(differences.max(), abs=1e-6)
    assert caught.value.worst_sample == differences.max(axis=1).argmax()
    assert caught.value.tolerance == 1e-5
    assert check_parity(head, to_keras(other), X_test, atol=0.1).max_abs_difference > 1e-5
    other = fit(LogisticRegression(), X, y[::-1].copy())
    for output in ("probability", "decision"):
        with pytest.raises(ParityError, match=r"\d+ of 52 samples get another class than from the head"):
            check_parity(head, to_keras(other, output=output), X_test)


def test_not_a_number_is_no_parity():
    X, y, X_test = problem(3)
    head = fit(LogisticRegression(), X, y)
    model = to_keras(head)
    kernel, bias = model.layers[-2].get_weights()
    model.layers[-2].set_weights([kernel, np.full_like(bias, np.nan)])
    with pytest.raises(ParityError):
        check_parity(head, model, X_test)


def test_probabilities_that_float32_cannot_tell_apart_are_ties():
    X, y, _ = problem(3)
    head = fit(SGDClassifier(loss="log_loss"), X, y)
    head.coef_, head.intercept_ = 0 * head.coef_, np.array([20.0, 21.0, -20.0])
    parity = check_parity(head, to_keras(head), np.zeros((2, N_FEATURES)))
    assert (parity.n_labels_equal, parity.n_ties) == (0, 2)


def test_what_cannot_be_compared_is_refused():
    X, y, X_test = problem(3)
    head = fit(LogisticRegression(), X, y)
    for wrong in (X_test[:, :5], X_test[0], X_test[:0]):
        with pytest.raises(ConversionError, match="expected samples of 12 features, one or more"):
            check_parity(head, to_keras(head), wrong)
    for model in (keras.Sequential([keras.layers.Dense(3)]), None):
        with pytest.raises(ConversionError, match="expected a converted head of 3 classes; make it with"):
            check_parity(head, model, X_test)
    other = to_keras(fit(LogisticRegression(), X, y % 2))
    with pytest.raises(ConversionError, match="'featx_head' with another output; expected a converted head"):
        check_parity(head, other, X_test)
    with pytest.raises(ConversionError, match="a LogisticRegression that is not fitted"):
        check_parity(LogisticRegression(), other, X_test)
