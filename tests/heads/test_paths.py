"""Families of candidates fitted at once, against scikit-learn one by one, split by split."""

import logging

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import SVC, LinearSVC

from featx import HeadSpec
from featx.heads import paths
from featx.heads.linear_paths import NotConvergedError
from featx.heads.search import HeadSearch
from featx.heads.shared import Fold, Prefix
from tests.heads.real_data import both, cancer, digits, gave_up, problem_of, scaled

SVM_GRID = {"head__C": [0.1, 10.0], "head__gamma": ["scale", "auto", 3e-3]}
CASES = {
    "rbf": (SVC(), SVM_GRID, paths._fit_svc_path),
    "linear kernel": (SVC(kernel="linear"), {"head__C": [0.01, 1.0]}, paths._fit_svc_path),
    "poly": (SVC(kernel="poly", degree=2, coef0=0.5), SVM_GRID, paths._fit_svc_path),
    "sigmoid": (SVC(kernel="sigmoid"), SVM_GRID, paths._fit_svc_path),
    "balanced rbf": (SVC(class_weight="balanced"), SVM_GRID, paths._fit_svc_path),
    "ridge": (RidgeClassifier(), {"head__alpha": [0.1, 10.0, 1000.0]}, paths._fit_ridge_path),
    "knn cosine": (
        KNeighborsClassifier(algorithm="brute", metric="cosine"),
        {"head__n_neighbors": [1, 4, 9], "head__weights": ["uniform", "distance"]},
        paths._fit_neighbors_path,
    ),
    "knn euclidean": (
        KNeighborsClassifier(),
        {"head__n_neighbors": [1, 4, 9], "head__weights": ["uniform", "distance"]},
        paths._fit_neighbors_path,
    ),
    # No path: the heads are fitted as they are, on shared features.
    "mlp": (MLPClassifier((8,), max_iter=5, random_state=0), {"head__alpha": [1e-4, 1.0]}, paths.fit_each),
    "small logistic": (LogisticRegression(max_iter=500), {"head__C": [0.01, 1.0]}, paths.fit_each),
}
DATA = {"two classes": cancer, "ten classes": digits}

each_case = pytest.mark.parametrize("case", CASES)
each_data = pytest.mark.parametrize("data", DATA)


@pytest.fixture
def path_log(caplog):
    """Catches what would say that a path gave up."""
    caplog.set_level(logging.DEBUG, logger="featx.heads.cells")
    return caplog


@pytest.fixture
def always_a_path(monkeypatch):
    """Small data take the path of logistic regression, too."""
    monkeypatch.setattr(paths, "_LEAST_PATH_SIZE", 0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@each_case
@each_data
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_split_scores_as_grid_search_cvs(case, data, dtype, path_log):
    head, grid, path = CASES[case]
    X, y = DATA[data]()
    assert paths.path_of(head, *X.shape)[0] is path
    ours, theirs = both(HeadSpec(case, scaled(head), grid), X.astype(dtype), y)
    assert np.array_equal(ours, theirs)
    assert not gave_up(path_log)


@each_case
def test_every_split_scores_as_grid_search_cvs_behind_pca(case, path_log):
    head, grid, _ = CASES[case]
    if case == "mlp":
        pytest.skip("a network on whitened columns takes no other way than the one above")
    estimator = scaled(head, ("pca", PCA(10, whiten=True, random_state=0)))
    ours, theirs = both(HeadSpec(case, estimator, grid), *cancer())
    assert np.array_equal(ours, theirs)
    assert not gave_up(path_log)


@pytest.mark.parametrize("case", [name for name in CASES if name not in ("mlp", "small logistic")])
def test_every_split_scores_as_grid_search_cvs_without_scaling(case, path_log):
    head, grid, _ = CASES[case]
    X, y = digits()
    # Of whole numbers many neighbours are equally far, and which of them comes first nobody promises.
    X = X / 16 + np.random.default_rng(0).normal(scale=1e-3, size=X.shape)
    bare = {name.removeprefix("head__"): values for name, values in grid.items()}
    ours, theirs = both(HeadSpec(case, head, bare), X, y)
    assert np.array_equal(ours, theirs)
    assert not gave_up(path_log)


@pytest.mark.parametrize("case", ["rbf", "linear kernel", "poly", "balanced rbf", "ridge"])
@each_data
def test_every_weighted_split_scores_as_grid_search_cvs(case, data, path_log):
    head, grid, _ = CASES[case]
    X, y = DATA[data]()
    weight = np.random.default_rng(0).uniform(0.1, 5, len(y))
    ours, theirs = both(HeadSpec(case, scaled(head), grid), X, y, weight)
    assert np.array_equal(ours, theirs)
    assert not gave_up(path_log)


def first_fold(X, y, estimator, weight=None):
    problem = problem_of(X, y, sample_weight=weight)
    return Fold(problem, "all", Prefix.of(estimator), *problem.folds[0])


def fitted_by_path(spec, fold):
    heads = [clone(spec.estimator[-1]).set_params(C=C) for C in spec.param_grid["head__C"]]
    path, _ = paths.path_of(heads[0], len(fold.train), fold.n_features)
    assert path is paths._fit_linear_path
    return heads, {fitted.index: fitted for fitted in path(heads, fold)}


LINEAR = [
    HeadSpec("svm", scaled(LinearSVC(dual=False, tol=1e-8, max_iter=100_000)), {"head__C": [1e-4, 1e-2]}),
    HeadSpec(
        "svm no intercept", scaled(LinearSVC(dual=False, tol=1e-8, fit_intercept=False)), {"head__C": [1e-3]}
    ),
    HeadSpec(
        "svm scaled intercept",
        scaled(LinearSVC(dual=False, tol=1e-8, intercept_scaling=10.0)),
        {"head__C": [1e-2, 1e-3]},
    ),
    HeadSpec("logistic", scaled(LogisticRegression(tol=1e-6, max_iter=5000)), {"head__C": [1e-3, 0.1]}),
    HeadSpec(
        "logistic no intercept",
        scaled(LogisticRegression(tol=1e-6, max_iter=5000, fit_intercept=False)),
        {"head__C": [0.1]},
    ),
]


@pytest.mark.parametrize("spec", LINEAR, ids=lambda spec: spec.name)
@each_data
@pytest.mark.parametrize("is_weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.usefixtures("always_a_path")
def test_decisions_of_a_linear_path_are_scikit_learns_at_a_tight_tolerance(spec, data, is_weighted):
    X, y = DATA[data]()
    weight = np.random.default_rng(0).uniform(0.1, 5, len(y)) if is_weighted else None
    fold = first_fold(X, y, spec.estimator, weight)
    for index, fitted in fitted_by_path(spec, fold)[1].items():
        head = clone(spec.estimator[-1]).set_params(C=spec.param_grid["head__C"][index])
        head.fit(fold.X_train, fold.y_train, fold.weights)
        ours, theirs = fitted.head.decision_function(fold.X_test), head.decision_function(fold.X_test)
        # The path stops where the root mean square error of the training decisions is below 1e-3 of their
        # own size (or of one, where they are smaller); test rows lie a little outside of them.
        bound = 3e-3 * max(1, np.sqrt(np.mean(theirs**2)))
        assert np.sqrt(np.mean((ours - theirs) ** 2)) < bound
        assert np.mean(fitted.head.predict(fold.X_test) == head.predict(fold.X_test)) > 0.98


@pytest.mark.parametrize("spec", [LINEAR[0], LINEAR[3]], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("data", "dtype"), [("two classes", np.float64), ("ten classes", np.float32)])
@pytest.mark.usefixtures("always_a_path")
def test_scores_of_a_linear_path_are_grid_search_cvs(spec, data, dtype, path_log):
    X, y = DATA[data]()
    ours, theirs = both(spec, X.astype(dtype), y)
    # One of 80 test rows may lie so near a boundary that a thousandth moves it across.
    assert np.abs(ours - theirs).max() <= 1 / 80 + 1e-9
    assert not gave_up(path_log)


def test_ridge_in_double_precision_is_scikit_learns():
    X, y = digits()
    fold = first_fold(X, y, scaled(RidgeClassifier()))
    heads = [RidgeClassifier(alpha=alpha, fit_intercept=True) for alpha in (1e-2, 1.0, 1e4)]
    for fitted in paths._fit_ridge_path(heads, fold):
        alone = clone(heads[fitted.index]).fit(fold.X_train, fold.y_train)
        np.testing.assert_allclose(fitted.head.coef_, alone.coef_, rtol=0, atol=1e-9)
        np.testing.assert_allclose(fitted.head.intercept_, alone.intercept_, rtol=0, atol=1e-9)


def give_up(*_, **__):
    raise NotConvergedError("gradient too large")


def test_a_path_that_gives_up_leaves_every_candidate_its_score_and_the_refit(monkeypatch, path_log):
    monkeypatch.setattr(paths, "fit_path", give_up)
    spec = HeadSpec("svm", scaled(LinearSVC()), {"head__C": [1e-4, 1e-2]})
    ours, theirs = both(spec, *cancer())
    assert np.array_equal(ours, theirs)
    assert gave_up(path_log)
    X, y = cancer()
    search = HeadSearch(spec, cv=3, calibration=None).fit(X, y)
    alone = clone(spec.estimator).set_params(**search.best_params_).fit(X, y)
    assert np.array_equal(search.decision_function(X), alone.decision_function(X))


@pytest.mark.parametrize(
    "head",
    [
        LinearSVC(penalty="l1", dual=False),
        LinearSVC(loss="hinge"),
        LinearSVC(class_weight="balanced"),
        SVC(kernel="precomputed"),
        RidgeClassifier(positive=True),
        RidgeClassifier(alpha=0),
        KNeighborsClassifier(1000),
        LogisticRegression(solver="liblinear"),
        LogisticRegression(l1_ratio=1.0, solver="saga"),
        LogisticRegression(C=np.inf),
    ],
    ids=str,
)
@pytest.mark.usefixtures("always_a_path")
def test_what_a_path_cannot_serve_is_fitted_as_it_is(head):
    assert paths.path_of(head, 100, 10)[0] is paths.fit_each


def test_heads_that_differ_in_more_than_the_path_varies_are_other_families():
    families = [paths.path_of(head, 100, 10)[1] for head in (SVC(), SVC(C=2, gamma=1), SVC(kernel="poly"))]
    assert families[0] == families[1] != families[2]


def wide(data):
    """The same samples with more columns than rows: products of pairs of columns."""
    X, y = DATA[data]()
    random = np.random.default_rng(0)
    left, right = random.integers(0, X.shape[1], (2, 600))
    return (X[:, left] * X[:, right]).astype(np.float32), y


@pytest.mark.parametrize("spec", [LINEAR[0], LINEAR[2], LINEAR[3]], ids=lambda spec: spec.name)
@each_data
@pytest.mark.usefixtures("always_a_path")
def test_more_columns_than_rows_are_rotated_and_decide_as_scikit_learns(spec, data):
    fold = first_fold(*wide(data), spec.estimator)
    assert len(fold.train) < fold.X_train.shape[1]
    for index, fitted in fitted_by_path(spec, fold)[1].items():
        head = clone(spec.estimator[-1]).set_params(C=spec.param_grid["head__C"][index])
        head.fit(fold.X_train, fold.y_train)
        ours, theirs = fitted.head.decision_function(fold.X_test), head.decision_function(fold.X_test)
        assert fitted.head.coef_.shape == head.coef_.shape
        # As for fewer columns; what the training rows do not span has more room for their error.
        assert np.sqrt(np.mean((ours - theirs) ** 2)) < 1e-2 * max(1, np.sqrt(np.mean(theirs**2)))


@each_data
def test_ridge_of_more_columns_than_rows_is_scikit_learns(data, path_log):
    X, y = wide(data)
    spec = HeadSpec("ridge", scaled(RidgeClassifier()), {"head__alpha": [1.0, 100.0, 1e4]})
    ours, theirs = both(spec, X.astype(np.float64), y)
    assert np.array_equal(ours, theirs)
    assert not gave_up(path_log)
