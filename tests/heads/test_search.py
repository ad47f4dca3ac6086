"""HeadSearch against scikit-learn's own tools, and against what a user may do wrong."""

from functools import cache

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    ParameterGrid,
    StratifiedShuffleSplit,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline

from featx import FeatxWarning, HeadError, HeadSpec
from featx.heads.search import HeadSearch
from featx.heads.spaces import resolve_heads
from featx.heads.splits import make_folds

pytestmark = pytest.mark.backends

SMALL_GRIDS = {
    "logistic_regression": {"head__C": [0.01, 1.0]},
    "linear_svm": {"head__C": [1e-4, 1e-2]},
    "ridge": {"head__alpha": [1.0, 100.0]},
    "rbf_svm": {"head__C": [1.0, 10.0], "head__gamma": ["scale", 3e-3]},
    "mlp": {"head__hidden_layer_sizes": [(8,), (16, 8)], "head__alpha": [1e-4]},
    "knn": {"head__n_neighbors": [1, 5]},
}
HEADS = [HeadSpec(spec.name, spec.estimator, SMALL_GRIDS[spec.name]) for spec in resolve_heads("default")]
LOGISTIC, LINEAR_SVM, RIDGE, RBF_SVM, MLP, KNN = HEADS
BARE_LOGISTIC = HeadSpec("bare", LogisticRegression(max_iter=1000), {"C": [1e-3, 1e-2]})

each_head = pytest.mark.parametrize("spec", HEADS, ids=lambda spec: spec.name)
each_svm = pytest.mark.parametrize("spec", [LINEAR_SVM, RIDGE, RBF_SVM], ids=lambda spec: spec.name)


class ExplosiveHead(LogisticRegression):
    """A head that no search may get as far as fitting."""

    def fit(self, X, y, sample_weight=None):  # noqa: ARG002 - scikit-learn's signature
        raise RuntimeError("fitted")


@cache
def digits(n_samples=240):
    X, y = load_digits(return_X_y=True)
    return X[:n_samples], y[:n_samples]


@cache
def cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return X[:240], y[:240]


def seeded(spec):
    """The head as a search with the seed 0 fits it."""
    seeds = {name: 0 for name in spec.estimator.get_params() if name.endswith("random_state")}
    return clone(spec.estimator).set_params(**seeds)


def grid_search(spec, y, **options):
    """What scikit-learn makes of a head, on the folds that a search with the seed 0 makes."""
    return GridSearchCV(seeded(spec), spec.param_grid, cv=make_folds(y, cv=3, random_state=0), **options)


def assert_same_results(search, grid):
    ours, theirs = search.cv_results_, grid.cv_results_
    assert ours["params"] == theirs["params"]
    for name in theirs:
        if name.endswith("_test_score"):
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-12, err_msg=name)
        if name.startswith("param_"):
            assert ours[name].tolist() == theirs[name].tolist()
    assert (search.best_index_, search.best_params_) == (grid.best_index_, grid.best_params_)
    assert search.best_score_ == pytest.approx(grid.best_score_)


# ----------------------------------------------------------------- the same as scikit-learn's GridSearchCV


@each_head
def test_results_are_grid_search_cvs_candidate_by_candidate(spec):
    X, y = digits()
    grid = grid_search(spec, y).fit(X, y)
    search = HeadSearch(spec, cv=3, random_state=0).fit(X, y)
    assert_same_results(search, grid)


@pytest.mark.parametrize("scoring", ["roc_auc", "neg_log_loss", make_scorer(f1_score, average="macro")])
def test_results_are_grid_search_cvs_whatever_is_scored(scoring):
    X, y = cancer()
    grid = grid_search(LOGISTIC, y, scoring=scoring).fit(X, y)
    assert_same_results(HeadSearch(LOGISTIC, scoring=scoring, cv=3, random_state=0).fit(X, y), grid)


@each_head
def test_the_best_head_is_refitted_on_every_sample(spec):
    X, y = digits()
    search = HeadSearch(spec, cv=3, calibration=None, random_state=0).fit(X, y)
    alone = seeded(spec).set_params(**search.best_params_).fit(X, y)
    method = "predict_proba" if hasattr(alone, "predict_proba") else "decision_function"
    # Another solver, and its tolerance, for the two heads that a path refits.
    tolerance = {"linear_svm": 1e-3, "ridge": 1e-9}.get(spec.name, 0)
    np.testing.assert_allclose(getattr(search, method)(X), getattr(alone, method)(X), rtol=0, atol=tolerance)


def test_results_have_every_column_of_grid_search_cvs():
    X, y = digits()
    grid = grid_search(KNN, y).fit(X, y)
    assert set(HeadSearch(KNN, cv=3).fit(X, y).cv_results_) == {
        *grid.cv_results_,
        "head",
        "features",
        "error",
    }


def test_a_list_of_grids_is_searched_like_grid_search_cvs():
    grids = [{"head__n_neighbors": [1, 3]}, {"head__weights": ["uniform"], "head__n_neighbors": [5]}]
    spec = HeadSpec("knn", KNN.estimator, grids)
    X, y = digits()
    assert_same_results(HeadSearch(spec, cv=3, random_state=0).fit(X, y), grid_search(spec, y).fit(X, y))


# ----------------------------------------------------------------------------------- one leaderboard


@cache
def all_heads():
    return HeadSearch(HEADS, cv=3, random_state=0).fit(*digits())


def test_all_heads_stand_in_one_table_in_the_order_asked_for():
    results = all_heads().cv_results_
    n_candidates = {name: 4 if name == "rbf_svm" else 2 for name in SMALL_GRIDS}
    assert results["head"].tolist() == [name for name, n in n_candidates.items() for _ in range(n)]
    assert len(results["params"]) == len(results["mean_test_score"]) == 14


def test_a_parameter_is_masked_where_a_head_has_none():
    results = all_heads().cv_results_
    is_knn = results["head"] == "knn"
    assert np.array_equal(results["param_head__n_neighbors"].mask, ~is_knn)
    assert results["param_head__hidden_layer_sizes"].compressed().tolist() == [(8,), (16, 8)]


def test_every_head_scores_as_it_does_alone():
    search = all_heads()
    for spec in HEADS:
        alone = HeadSearch(spec, cv=3, random_state=0, refit=False).fit(*digits())
        together = search.cv_results_["mean_test_score"][search.cv_results_["head"] == spec.name]
        assert np.array_equal(alone.cv_results_["mean_test_score"], together)


def test_the_best_is_the_one_with_the_highest_mean_score():
    search = all_heads()
    scores = search.cv_results_["mean_test_score"]
    assert search.best_index_ == scores.argmax()
    assert search.best_score_ == scores.max()
    assert search.best_head_ == search.cv_results_["head"][search.best_index_]
    assert search.best_params_ == search.cv_results_["params"][search.best_index_]


def test_the_leaderboard_runs_from_best_to_worst():
    search = all_heads()
    board = search.leaderboard()
    scores = [row["mean_test_score"] for row in board]
    assert scores == sorted(search.cv_results_["mean_test_score"], reverse=True)
    assert (board[0]["rank"], board[0]["head"]) == (1, search.best_head_)
    assert board[0]["params"] == search.best_params_


def test_of_equal_candidates_the_first_is_the_best():
    twins = [HeadSpec(name, GaussianNB(), {}) for name in ("first", "second")]
    search = HeadSearch(twins, cv=2).fit(*digits())
    assert search.cv_results_["rank_test_score"].tolist() == [1, 1]
    assert search.best_head_ == "first"


def test_fitted_attributes_describe_the_data():
    search = all_heads()
    assert search.classes_.tolist() == list(range(10))
    assert (search.n_splits_, search.n_features_in_) == (3, 64)


# --------------------------------------------------------------------------------------------- groups


def noisy_views(seed=0):
    """Five views each of 60 images of two classes drawn by lot."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 16)).repeat(5, axis=0)
    images = np.arange(60).repeat(5)
    return X + 0.1 * rng.normal(size=X.shape), rng.integers(0, 2, 60)[images], images


def test_groups_are_never_parted():
    X, y, images = noisy_views()
    search = HeadSearch(HeadSpec("nearest", KNeighborsClassifier(1), {}), cv=3, random_state=0)
    assert search.fit(X, y).best_score_ > 0.95
    # Three standard deviations of a guess at 60 images.
    assert abs(search.fit(X, y, images).best_score_ - 0.5) < 3 * np.sqrt(0.25 / 60)


def test_groups_reach_a_splitter():
    X, y, images = noisy_views()
    search = HeadSearch(BARE_LOGISTIC, cv=GroupKFold(3)).fit(X, y, images)
    grid = GridSearchCV(BARE_LOGISTIC.estimator, BARE_LOGISTIC.param_grid, cv=GroupKFold(3))
    assert_same_results(search, grid.fit(X, y, groups=images))


@pytest.mark.parametrize("cv", [3, GroupShuffleSplit(2, random_state=0)], ids=["folds", "random splits"])
def test_calibration_parts_no_group_either(cv):
    X, y, images = noisy_views()
    search = HeadSearch(LINEAR_SVM, cv=cv, random_state=0).fit(X, y, images)
    best = seeded(LINEAR_SVM).set_params(**search.best_params_)
    folds = make_folds(y, images, 3 if cv == 3 else 5, random_state=0)
    expected = CalibratedClassifierCV(best, method="sigmoid", cv=folds, ensemble=False).fit(X, y)
    np.testing.assert_allclose(search.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-3)


# ------------------------------------------------------------------------------------------ calibration


@each_svm
def test_a_support_vector_machine_gets_probabilities(spec):
    X, y = digits()
    probabilities = HeadSearch(spec, cv=3, random_state=0).fit(X, y).predict_proba(X)
    assert probabilities.shape == (len(X), 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1) == y).mean() > 0.95


@each_svm
def test_calibration_is_platt_scaling_on_out_of_fold_decisions(spec):
    X, y = cancer()
    search = HeadSearch(spec, cv=3, random_state=0).fit(X, y)
    best = seeded(spec).set_params(**search.best_params_)
    folds = make_folds(y, cv=3, random_state=0)
    expected = CalibratedClassifierCV(best, method="sigmoid", cv=folds, ensemble=False).fit(X, y)
    np.testing.assert_allclose(search.predict_proba(X), expected.predict_proba(X), rtol=0, atol=1e-3)


@each_svm
def test_predictions_are_the_calibrated_models(spec):
    X, y = digits()
    search = HeadSearch(spec, cv=3, random_state=0).fit(X, y)
    assert isinstance(search.best_estimator_, CalibratedClassifierCV)
    assert np.array_equal(search.predict(X), search.predict_proba(X).argmax(axis=1))


@each_svm
def test_without_calibration_there_are_decisions_and_no_probabilities(spec):
    X, y = cancer()
    search = HeadSearch(spec, cv=3, calibration=None, random_state=0).fit(X, y)
    assert not hasattr(search, "predict_proba")
    assert np.array_equal(search.decision_function(X) > 0, search.predict(X) == 1)


def test_a_head_with_probabilities_is_not_calibrated():
    search = HeadSearch(KNN, cv=3).fit(*digits())
    assert isinstance(search.best_estimator_.steps[-1][1], KNeighborsClassifier)


@pytest.mark.parametrize("n_copies", [1, 3])
def test_calibration_serves_a_class_too_small_for_five_folds(n_copies):
    images, classes = np.arange(43).repeat(n_copies), np.array([0] * 20 + [1] * 20 + [2] * 3)
    X, y = np.random.default_rng(0).normal(size=(43, 4))[images], classes[images]
    drawn = StratifiedShuffleSplit(2, test_size=0.4, random_state=0).split(classes, classes)
    cv = [tuple(np.flatnonzero(np.isin(images, part)) for part in fold) for fold in drawn]
    search = HeadSearch(LINEAR_SVM, cv=cv).fit(X, y, images)
    assert search.predict_proba(X).shape == (len(y), 3)


# ------------------------------------------------------------------------------------ refit and methods


def test_without_refit_there_are_results_and_no_predictions():
    search = HeadSearch(KNN, cv=3, refit=False).fit(*digits())
    assert (search.best_head_, search.best_score_) == ("knn", search.cv_results_["mean_test_score"].max())
    assert not hasattr(search, "best_estimator_")
    assert not hasattr(search, "predict")


def test_a_search_that_does_not_refit_forgets_the_head_of_an_earlier_one():
    search = HeadSearch(KNN, cv=3).fit(*digits())
    search.set_params(refit=False).fit(*digits())
    assert not hasattr(search, "best_estimator_")


def test_a_search_that_fails_forgets_the_head_of_an_earlier_one():
    X, y = digits()
    search = HeadSearch(KNN, cv=3).fit(X, y)
    with pytest.raises(HeadError):
        search.fit(X, np.zeros(len(X), int))
    with pytest.raises(NotFittedError):
        search.predict(X)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_a_search_before_fit_says_so(method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(HeadSearch(), method)([[0.0]])


@pytest.mark.parametrize("calibration", ["sigmoid", None])
@each_head
def test_a_search_has_before_fit_the_methods_that_it_has_afterwards(spec, calibration):
    search = HeadSearch(spec, cv=2, calibration=calibration)
    methods = ("predict", "predict_proba", "decision_function")
    before = [hasattr(search, method) for method in methods]
    assert before == [hasattr(search.fit(*digits()), method) for method in methods]


def test_a_leaderboard_before_fit_says_so():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        HeadSearch().leaderboard()


def test_features_of_another_width_are_refused():
    search = HeadSearch(KNN, cv=3).fit(*digits())
    with pytest.raises(ValueError, match="X has 3 features, but HeadSearch is expecting 64"):
        search.predict([[0.0, 1.0, 2.0]])


# -------------------------------------------------------------------------------------------- scoring


def test_any_callable_scores():
    def n_hits(head, X, y):
        return float((head.predict(X) == y).sum())

    search = HeadSearch(KNN, scoring=n_hits, cv=3).fit(*digits())
    assert search.best_score_ == pytest.approx(80 * HeadSearch(KNN, cv=3).fit(*digits()).best_score_)


def test_no_scoring_means_the_heads_own():
    scores = [HeadSearch(KNN, scoring=name, cv=3).fit(*digits()).best_score_ for name in (None, "accuracy")]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ("acuracy", "did you mean accuracy"),
        (["accuracy"], "several scores and refit=True"),
        (0.5, "a scorer's name"),
    ],
)
def test_what_cannot_score_is_refused_before_any_work(scoring, message):
    spec = HeadSpec("explosive", ExplosiveHead(), {})
    with pytest.raises(HeadError, match=message):
        HeadSearch(spec, scoring=scoring).fit(*digits())


@pytest.mark.parametrize(
    ("score", "message"),
    [(lambda *_: {"a": 1.0}, "no score named 'score'"), (lambda *_: np.nan, "a fold has no score")],
    ids=["dict", "nan"],
)
def test_a_scorer_without_one_number_is_said_to_be_at_fault(score, message):
    with pytest.raises(HeadError, match=f"every candidate failed.*{message}"):
        HeadSearch(KNN, scoring=score, cv=2).fit(*digits())


# ------------------------------------------------------------------------------- time, failure, workers


@pytest.mark.parametrize("budget", [0, -1, 1e-9])
def test_a_spent_time_budget_leaves_the_first_candidate_and_a_warning(budget):
    search = HeadSearch([KNN, LOGISTIC], cv=3, time_budget_s=budget)
    with pytest.warns(FeatxWarning, match="1 of 4 candidates"):
        search.fit(*digits())
    assert search.cv_results_["params"] == [{"head__n_neighbors": 1}]
    assert search.best_head_ == "knn"
    assert search.predict(digits()[0]).shape == (240,)


def test_a_time_budget_that_is_not_spent_changes_nothing():
    search = HeadSearch([KNN, LOGISTIC], cv=3, time_budget_s=600).fit(*digits())
    assert len(search.cv_results_["params"]) == 4


def test_a_failing_candidate_costs_only_itself():
    solvers = HeadSpec("solvers", LogisticRegression(max_iter=1000), {"solver": ["nonsense", "lbfgs"]})
    search = HeadSearch([solvers, KNN], cv=3)
    with pytest.warns(FeatxWarning, match="solvers with {'solver': 'nonsense'} failed: .*nonsense"):
        search.fit(*digits())
    results = search.cv_results_
    assert np.isnan(results["mean_test_score"]).tolist() == [True, False, False, False]
    assert results["rank_test_score"][0] == 4
    assert "nonsense" in results["error"][0]
    assert results["error"][1:].tolist() == ["", "", ""]
    assert search.best_score_ == np.nanmax(results["mean_test_score"])


def test_a_candidate_that_fails_in_one_fold_is_out():
    # The first fold trains on two samples, which a regression can and three neighbours cannot.
    y = np.array([0, 0, 0, 1, 1, 1])
    folds = [(np.array([0, 3]), np.array([2, 5])), (np.array([0, 1, 3, 4]), np.array([2, 5]))]
    neighbours = HeadSpec("neighbours", KNeighborsClassifier(3), {})
    with pytest.warns(FeatxWarning, match="neighbours with .* failed"):
        search = HeadSearch([neighbours, BARE_LOGISTIC], cv=folds).fit(y[:, None].astype(float), y)
    assert search.best_head_ == BARE_LOGISTIC.name
    assert np.isnan(search.cv_results_["mean_test_score"][0])


def test_when_every_candidate_fails_alike_the_error_gives_the_reason_once():
    spec = HeadSpec("explosive", ExplosiveHead(), {"C": [1.0, 2.0]})
    # A warning would be an error of its own here.
    with pytest.raises(HeadError, match=r"^every candidate failed: fitted$"):
        HeadSearch(spec, cv=3).fit(*digits())


def test_a_scoring_that_does_not_suit_the_labels_is_one_error():
    with pytest.raises(HeadError, match=r"a scoring that suits them.*multi_class must be in"):
        HeadSearch(HEADS, scoring="roc_auc", cv=2).fit(*digits())


def test_when_every_candidate_fails_in_its_own_way_each_is_named():
    nonsense = HeadSpec("nonsense", LogisticRegression(), {"solver": ["nonsense"]})
    explosive = HeadSpec("explosive", ExplosiveHead(), {})
    with (
        pytest.warns(FeatxWarning, match="explosive with {} failed: fitted"),
        pytest.warns(FeatxWarning, match="nonsense with .* failed"),
        pytest.raises(HeadError, match="every candidate failed; the first with: fitted"),
    ):
        HeadSearch([explosive, nonsense], cv=3).fit(*digits())


def neighbourhoods(search):
    return [params["head__n_neighbors"] for params in search.cv_results_["params"]]


@pytest.mark.parametrize(
    ("n_samples", "expected"), [(40, [1, 5, 15]), (52, [1, 5, 15]), (53, [1, 5, 15, 35])]
)
def test_featxs_own_grid_leaves_out_neighbourhoods_larger_than_a_training_part(n_samples, expected):
    X, y = cancer()[0][:n_samples], np.arange(n_samples) % 2
    # With a warning, this would be an error.
    search = HeadSearch("knn", cv=3).fit(X, y)
    assert neighbourhoods(search) == expected
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    assert search.predict(X).shape == (n_samples,)


def test_the_smallest_training_part_decides_on_a_neighbourhood():
    X, y = digits()
    folds = [(np.arange(200), np.arange(200, 240)), (np.arange(20), np.arange(200, 240))]
    assert neighbourhoods(HeadSearch("knn", cv=folds).fit(X, y)) == [1, 5, 15]


def test_a_users_own_grid_is_tried_as_it_is():
    X, _ = cancer()
    spec = HeadSpec("knn", KNN.estimator, {"head__n_neighbors": [1, 35]})
    with pytest.warns(FeatxWarning, match="knn with {'head__n_neighbors': 35} failed: .*n_neighbors"):
        search = HeadSearch(spec, cv=3).fit(X[:40], np.arange(40) % 2)
    assert neighbourhoods(search) == [1, 35]


@pytest.mark.parametrize("n_jobs", [0, True, 1.5, "2"])
def test_no_workers_are_one_error_before_any_work(n_jobs):
    spec = HeadSpec("explosive", ExplosiveHead(), {})
    with pytest.raises(HeadError, match=r"n_jobs=.*; expected an integer other than 0"):
        HeadSearch(spec, n_jobs=n_jobs).fit(*digits())


def test_two_workers_find_what_one_finds():
    search = HeadSearch(HEADS, cv=3, random_state=0, n_jobs=2).fit(*digits())
    for name in ("head", "params", "mean_test_score", "std_test_score", "rank_test_score"):
        assert list(search.cv_results_[name]) == list(all_heads().cv_results_[name])
    X = digits()[0]
    assert np.array_equal(search.predict_proba(X), all_heads().predict_proba(X))


def test_a_progress_bar_is_silent_where_nobody_watches(capsys):
    HeadSearch(KNN, cv=3, verbose=1).fit(*digits())
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------------------------------- sample weights


@pytest.mark.parametrize("spec", [LOGISTIC, LINEAR_SVM, RBF_SVM, MLP], ids=lambda spec: spec.name)
def test_weighted_results_are_grid_search_cvs(spec):
    X, y = cancer()
    weight = np.where(y == 1, 0.2, 5.0)
    search = HeadSearch(spec, cv=3, random_state=0).fit(X, y, sample_weight=weight)
    assert_same_results(search, grid_search(spec, y).fit(X, y, head__sample_weight=weight))


def test_weights_reach_the_refit():
    X, y = cancer()
    weight = np.where(y == 1, 0.2, 5.0)
    search = HeadSearch(LOGISTIC, cv=3).fit(X, y, sample_weight=weight)
    alone = clone(LOGISTIC.estimator).set_params(**search.best_params_).fit(X, y, head__sample_weight=weight)
    assert np.array_equal(search.predict_proba(X), alone.predict_proba(X))


@each_svm
def test_weights_reach_a_head_and_its_calibration(spec):
    X, y = cancer()
    # Whole numbers, so that weighing is the same as repeating: a class that weighs more is found more often.
    weight = np.where(y == 1, 1, 9)
    search = HeadSearch(spec, cv=3, random_state=0)
    even = search.fit(X, y, sample_weight=np.ones(len(y))).predict_proba(X)
    assert np.array_equal(even, search.fit(X, y).predict_proba(X))
    weighted = search.fit(X, y, sample_weight=weight).predict_proba(X)
    rows = np.repeat(np.arange(len(y)), weight)
    repeated = HeadSearch(spec, cv=3, random_state=0).fit(X[rows], y[rows], groups=rows).predict_proba(X)
    assert weighted[:, 0].mean() > even[:, 0].mean() + 0.01
    assert weighted[:, 0].mean() == pytest.approx(repeated[:, 0].mean(), abs=0.02)


def test_weights_reach_pipelines_and_bare_heads_in_one_search():
    X, y = cancer()
    weight = np.where(y == 1, 0.2, 5.0)
    bayes = HeadSpec("bayes", GaussianNB(), {"var_smoothing": [1e-9, 1e-3]})
    search = HeadSearch([LOGISTIC, bayes], cv=3, random_state=0, refit=False)
    scores = search.fit(X, y, sample_weight=weight).cv_results_["mean_test_score"]
    folds = make_folds(y, cv=3, random_state=0)
    # GridSearchCV would weigh the scores of a bare head too; cross_val_score weighs neither.
    expected = [
        cross_val_score(clone(spec.estimator).set_params(**params), X, y, cv=folds, params={name: weight})
        for spec, name in ((LOGISTIC, "head__sample_weight"), (bayes, "sample_weight"))
        for params in ParameterGrid(spec.param_grid)
    ]
    assert scores.tolist() == np.mean(expected, axis=1).tolist()


def test_weights_are_refused_where_a_head_cannot_weigh():
    tree = HeadSpec("radius", RadiusNeighborsClassifier(), {})
    with pytest.raises(HeadError, match=r"sample_weight for the head radius; .* leave radius out"):
        HeadSearch([*HEADS, tree], cv=3).fit(*digits(), sample_weight=np.ones(240))


# -------------------------------------------------------------------------------- seeds and parameters


def test_the_same_seed_finds_the_same():
    X, y = digits()
    first, again = (HeadSearch(MLP, cv=3, random_state=3).fit(X, y) for _ in range(2))
    assert_same_results(first, again)
    assert np.array_equal(first.predict_proba(X), again.predict_proba(X))


def test_another_seed_makes_other_folds():
    X, y = digits()
    scores = [HeadSearch(KNN, cv=3, random_state=seed).fit(X, y).cv_results_ for seed in (0, 1)]
    assert scores[0]["split0_test_score"].tolist() != scores[1]["split0_test_score"].tolist()


def test_a_heads_own_seed_is_kept():
    X, y = digits()
    spec = HeadSpec("own", clone(MLP.estimator).set_params(head__random_state=7), MLP.param_grid)
    search = HeadSearch(spec, cv=3, random_state=0).fit(X, y)
    assert search.best_estimator_.get_params()["head__random_state"] == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_state": np.random.RandomState(0)}, "an integer or None"),
        ({"random_state": True}, "an integer or None"),
        ({"random_state": -1}, "random_state=-1; expected an integer or None, from 0"),
        ({"random_state": 2**32}, "random_state=4294967296"),
        ({"calibration": "temperature"}, "calibration='temperature'"),
        ({"heads": "logistic"}, "did you mean logistic_regression"),
        ({"heads": HeadSpec("x", LogisticRegression(), {"c": [1]})}, "param_grid of the head x .*'c'"),
        ({"heads": HeadSpec("x", LogisticRegression(), {"C": 1.0})}, "param_grid of the head x .*list"),
        ({"heads": HeadSpec("x", LogisticRegression(), [])}, "an empty param_grid for x"),
        ({"cv": 1}, "2 folds or more"),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(options, message):
    with pytest.raises(HeadError, match=message):
        HeadSearch(**options).fit(*digits())


def test_parameters_are_read_set_and_cloned():
    search = HeadSearch(HEADS, cv=3, random_state=0).set_params(cv=4, scoring="roc_auc_ovr")
    twin = clone(search)
    assert twin.get_params()["cv"] == 4
    assert twin.get_params()["scoring"] == "roc_auc_ovr"
    assert [spec.name for spec in twin.heads] == [spec.name for spec in HEADS]
    assert not hasattr(twin, "cv_results_")


def test_fit_leaves_parameters_and_specs_as_they_were():
    spec = HeadSpec("bare", LogisticRegression(max_iter=1000), {"C": [1e-3]})
    search = HeadSearch(spec, cv=3, random_state=0)
    before = search.get_params()
    search.fit(*digits())
    assert search.get_params() == before
    assert not hasattr(spec.estimator, "coef_")
    assert spec.estimator.random_state is None


def test_an_estimator_among_the_parameters_is_not_fitted_itself():
    heads = [LogisticRegression(max_iter=1000), GaussianNB()]
    spec = HeadSpec("either", LOGISTIC.estimator, {"head": heads})
    search = HeadSearch(spec, cv=3).fit(*digits())
    assert search.cv_results_["error"].tolist() == ["", ""]
    assert not any(hasattr(head, "classes_") for head in heads)


# --------------------------------------------------------------------------------------------- inputs


def test_float16_features_are_searched_as_float32():
    X, y = digits()
    half = X.astype(np.float16)
    search = HeadSearch(LOGISTIC, cv=3).fit(half, y)
    single = HeadSearch(LOGISTIC, cv=3).fit(X.astype(np.float32), y)
    assert_same_results(search, single)
    assert search.best_estimator_[-1].coef_.dtype == np.float32
    assert np.array_equal(search.predict_proba(half), single.predict_proba(X.astype(np.float32)))


@each_head
@pytest.mark.parametrize("names", [["no", "yes"], [False, True], [-3, 8]], ids=["strings", "bools", "ints"])
def test_classes_may_be_anything_that_sorts(spec, names):
    X, y = cancer()
    search = HeadSearch(spec, cv=3, random_state=0).fit(X, np.array(names)[y])
    assert search.classes_.tolist() == names
    assert np.isin(search.predict(X), names).all()
    assert search.score(X, np.array(names)[y]) > 0.85


def test_lists_are_features_too():
    X, y = digits()
    search = HeadSearch(KNN, cv=3).fit(X.tolist(), y.tolist())
    assert_same_results(search, HeadSearch(KNN, cv=3).fit(X.astype(np.float32), y))


BAD_INPUTS = {
    "NaN in X": (
        lambda X, y: (np.where(X.max() == X, np.nan, X), y),
        {},
        r"NaN or infinite features in 236 of 240 rows \(1, 2, 4",
    ),
    "infinity in X": (lambda X, y: (np.where(X.max() == X, np.inf, X), y), {}, "NaN or infinite features"),
    "one class": (lambda X, y: (X, y * 0), {}, "one class only"),
    "a small class": (
        lambda X, y: (X, (np.arange(len(y)) < 2) * 1),
        {},
        "class 1 with 2 samples; expected 3",
    ),
    "no samples": (lambda X, y: (X[:0], y[:0]), {}, "0 sample"),
    "one dimension": (lambda X, y: (X[:, 0], y), {}, "Expected 2D array"),
    "short y": (lambda X, y: (X, y[:-1]), {}, "inconsistent numbers of samples"),
    "y in two dimensions": (lambda X, y: (X, np.stack([y, y], 1)), {}, "y should be a 1d array"),
    "continuous y": (lambda X, y: (X, y + 0.5), {}, "continuous"),
    "NaN in y": (lambda X, y: (X, np.where(y == 1, np.nan, y)), {}, "Input y contains NaN"),
    "short groups": (lambda X, y: (X, y), {"groups": [1, 2]}, "inconsistent numbers of samples"),
    "few groups": (lambda X, y: (X, y), {"groups": np.arange(240) % 2}, "in 2 groups; expected 3 groups"),
    "short weights": (lambda X, y: (X, y), {"sample_weight": [1.0, 2.0]}, "sample_weight.shape"),
    "NaN in weights": (lambda X, y: (X, y), {"sample_weight": [np.nan] * 240}, "contains NaN"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_one_clear_error_before_any_fit(name):
    spoil, extra, message = BAD_INPUTS[name]
    search = HeadSearch(HeadSpec("explosive", ExplosiveHead(), {}), cv=3)
    with pytest.raises(ValueError, match=message):
        search.fit(*spoil(*digits()), **extra)


# ------------------------------------------------------------------------------ among scikit-learn's tools


def test_a_search_ends_a_pipeline():
    X, y = digits()
    pipeline = make_pipeline(PCA(16, random_state=0), HeadSearch([KNN, LOGISTIC], cv=3, random_state=0))
    pipeline.fit(X, y)
    assert pipeline.score(X, y) > 0.95
    np.testing.assert_allclose(pipeline.predict_proba(X).sum(axis=1), 1, rtol=1e-6)


def test_nested_cross_validation_fits_a_search_in_every_fold():
    X, y = digits()
    scores = cross_val_score(HeadSearch([KNN, LOGISTIC], cv=3, random_state=0), X, y, cv=3)
    assert scores.min() > 0.85


def test_nested_cross_validation_hands_groups_on():
    X, y, images = noisy_views()
    search = HeadSearch(HeadSpec("nearest", KNeighborsClassifier(1), {}), cv=3, random_state=0)
    groups = {"groups": images}
    scores = cross_val_score(search, X, y, groups=images, params=groups, cv=GroupKFold(3))
    assert abs(scores.mean() - 0.5) < 3 * np.sqrt(0.25 / 60)


def test_a_search_is_itself_searched_and_calibrated_like_any_classifier():
    X, y = cancer()
    grid = GridSearchCV(HeadSearch(KNN, cv=3), {"calibration": [None, "sigmoid"]}, cv=2).fit(X, y)
    assert grid.best_score_ > 0.85
    calibrated = CalibratedClassifierCV(HeadSearch(LINEAR_SVM, cv=3, calibration=None), cv=2).fit(X, y)
    assert calibrated.score(X, y) > 0.9


def test_score_is_the_scoring_that_was_searched_by():
    X, y = load_breast_cancer(return_X_y=True)
    search = HeadSearch("logistic_regression", scoring="roc_auc", cv=3).fit(X[:300], y[:300])
    expected = roc_auc_score(y[300:], search.predict_proba(X[300:])[:, 1])
    assert search.score(X[300:], y[300:]) == pytest.approx(expected)
