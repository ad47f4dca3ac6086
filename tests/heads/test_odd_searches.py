"""Searches of odd heads, odd features and odd options, each of which once went wrong."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from featx import FeatxWarning, HeadError, HeadSpec, evaluate
from featx.heads.search import HeadSearch
from featx.heads.splits import make_folds
from tests.heads.real_data import both, cancer, digits, scaled


def views_of(X, y, n_views=2, noise=0.5):
    """Rows of views: each image with some noise of its own."""
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(len(y)), n_views)
    return X[rows] + noise * X.std(axis=0) * random.normal(size=(len(rows), X.shape[1])), y[rows], rows


def test_a_threshold_decides_on_averaged_views_too():
    X, y = cancer(400)
    # One benign cell in six: the usual half finds few of them.
    kept = np.flatnonzero((y == 0) | (np.arange(len(y)) % 6 == 0))
    X, y, images = views_of(X[kept, ::4], y[kept], noise=2.0)
    options = {"scoring": "balanced_accuracy", "cv": 3, "random_state": 0}
    spec = HeadSpec("logistic", scaled(LogisticRegression()), {"head__C": [0.01]})
    tuned = HeadSearch(spec, tune_threshold=True, **options).fit(X, y, images=images)
    plain = HeadSearch(spec, **options).fit(X, y, images=images)
    scores = [evaluate(head, X, y, images=images).balanced_accuracy for head in (tuned, plain)]
    assert scores[0] > scores[1] + 0.05
    shares = tuned.predict_proba(X)[:, 1].reshape(-1, 2).mean(axis=1)
    by_hand = balanced_accuracy_score(y[::2], shares >= tuned.best_threshold_)
    assert scores[0] == pytest.approx(by_hand)


def test_one_against_one_decisions_are_averaged_and_calibrated_like_any():
    X, y = digits()
    spec = HeadSpec("ovo", scaled(SVC(decision_function_shape="ovo")), {"head__C": [1.0]})
    search = HeadSearch(spec, cv=3).fit(X, y, images=np.arange(len(y)))
    assert search.best_score_ == HeadSearch(spec, cv=3, calibration=None).fit(X, y).best_score_ > 0.9
    assert search.predict_proba(X).shape == (len(y), 10)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_features_far_from_zero_are_told_apart_as_by_scikit_learn(kernel):
    X, y = cancer()
    X = StandardScaler().fit_transform(X) + 1000
    spec = HeadSpec("svm", SVC(kernel=kernel), {"C": [1.0, 10.0], "gamma": [0.01, "scale"]})
    ours, theirs = both(spec, X.astype(np.float32), y)
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("head", "grid"),
    [
        (LinearSVC(), {"C": [-1.0, 0.1]}),
        (LinearSVC(tol=-1.0), {"C": [0.1]}),
        (RidgeClassifier(solver="nonsense"), {"alpha": [1.0]}),
    ],
)
def test_a_path_takes_no_parameter_that_scikit_learn_refuses(head, grid):
    X, y = cancer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        grid_search = GridSearchCV(head, grid, cv=3, error_score=np.nan, refit=False)
        try:
            expected = grid_search.fit(X, y).cv_results_["mean_test_score"]
        except ValueError:
            expected = np.full(1, np.nan)
    search = HeadSearch(HeadSpec("odd", head, grid), cv=3)
    if np.isnan(expected).all():
        with pytest.raises(HeadError, match="every candidate failed"):
            search.fit(X, y)
        return
    with pytest.warns(FeatxWarning, match="failed"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == np.isnan(expected).tolist()


def test_a_head_without_any_score_is_not_calibrated():
    X, y = cancer()
    vote = VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression(max_iter=5000))], voting="hard")
    search = HeadSearch(HeadSpec("vote", scaled(vote), {}), cv=3).fit(X, y)
    assert search.best_calibration_ is None
    assert (search.predict(X) == y).mean() > 0.9
    assert not hasattr(search, "predict_proba")


@pytest.mark.parametrize("name", ["knn", "logistic_regression"])
def test_probabilities_of_several_labels_are_one_table(name):
    X, y = digits()
    labels = np.stack([y > 4, y % 2 == 0, y == 3], axis=1).astype(int)
    search = HeadSearch(name, cv=3, random_state=0).fit(X, labels)
    assert search.predict_proba(X).shape == (len(X), 3)
    with pytest.raises(HeadError, match="several labels"):
        search.fit(X, labels, images=np.arange(len(X)))


def test_calibration_for_a_scoring_parts_no_group():
    random = np.random.default_rng(0)
    images = np.repeat(np.arange(60), 5)
    X = random.normal(size=(60, 20))[images] + 0.1 * random.normal(size=(300, 20))
    y = np.repeat(random.integers(0, 2, 60), 5)
    spec = HeadSpec("svm", scaled(SVC()), {"head__gamma": [0.05]})
    search = HeadSearch(spec, scoring="neg_log_loss", cv=3, random_state=0).fit(X, y, images)
    assert search.best_calibration_ == "sigmoid"
    folds = make_folds(y, images, 5)
    expected = CalibratedClassifierCV(SVC(gamma=0.05), method="sigmoid", cv=folds, ensemble=False)
    expected = scaled(expected).fit(X, y)
    assert np.array_equal(search.predict_proba(X), expected.predict_proba(X))
    # A calibration that parted the views would believe what it knows of them: a log loss of 0.8 and more.
    assert search.best_score_ > -0.75


def test_rows_that_stand_twice_count_twice_where_features_are_streamed(monkeypatch):
    X, y = cancer()
    rows = np.arange(len(y))
    folds = [
        (np.r_[rows[rows % 3 != k], np.repeat(rows[(rows % 3 != k) & (y == 0)], 3)], rows[rows % 3 == k])
        for k in range(3)
    ]
    spec = HeadSpec("ridge", scaled(RidgeClassifier()), {"head__alpha": [1e-2, 1e4]})
    in_memory = HeadSearch(spec, cv=folds, refit=False).fit(X.astype(np.float32), y)
    monkeypatch.setattr("featx.heads.problem._STREAMED_BYTES", 0)
    streamed = HeadSearch(spec, cv=folds, refit=False).fit(X.astype(np.float32), y)
    assert np.array_equal(streamed.cv_results_["mean_test_score"], in_memory.cv_results_["mean_test_score"])


def test_a_backend_without_generators_serves():
    X, y = digits()
    search = HeadSearch("knn", cv=3, n_jobs=2)
    expected = search.fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend="multiprocessing"):
        assert np.array_equal(search.fit(X, y).cv_results_["mean_test_score"], expected)


@pytest.mark.parametrize("scoring", ["f1", "roc_auc", ["accuracy", "precision"]])
def test_a_scoring_that_does_not_suit_the_classes_is_refused_before_any_fit(scoring):
    class Explosive(LogisticRegression):
        def fit(self, X, y, sample_weight=None):  # noqa: ARG002 - scikit-learn's signature
            raise RuntimeError("fitted")

    search = HeadSearch(HeadSpec("explosive", Explosive(), {}), scoring=scoring, refit="accuracy", cv=3)
    with pytest.raises(HeadError, match="a scoring that suits them"):
        search.fit(*digits())


class Doubling(Pipeline):
    """A pipeline of somebody's own, whose fit does more than its steps."""

    def fit(self, X, y):
        return super().fit(np.r_[X, X], np.r_[y, 1 - y])


def test_a_pipeline_of_ones_own_is_fitted_as_a_whole():
    X, y = cancer()
    own = Doubling([("scale", StandardScaler()), ("head", RidgeClassifier())])
    # It is taught the opposite of everything as often, and knows nothing.
    assert HeadSearch(HeadSpec("own", own, {}), cv=3, refit=False).fit(X, y).best_score_ < 0.8


def test_integers_are_refined_where_a_parameter_is_continuous():
    X, y = digits()
    spec = HeadSpec("logistic", scaled(LogisticRegression(max_iter=500)), {"head__C": [1, 10, 100]})
    search = HeadSearch(spec, cv=3, strategy="refine", refit=False).fit(X, y)
    assert len(search.cv_results_["params"]) > 3
    counted = HeadSearch("knn", cv=3, strategy="refine", refit=False).fit(X, y)
    assert len(counted.cv_results_["params"]) == 4


def test_several_scores_without_refit_need_no_name():
    search = HeadSearch("knn", scoring=["accuracy", "f1_macro"], refit=False, cv=3).fit(*digits())
    assert {"mean_test_accuracy", "mean_test_f1_macro"} <= set(search.cv_results_)
    with pytest.raises(HeadError, match="no scoring"):
        HeadSearch("knn", scoring=[], cv=3).fit(*digits())
