"""The best head made ready: calibration against scikit-learn's, thresholds that help and hold."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from featx import HeadError, HeadSpec, load_head, save_head
from featx.heads.search import HeadSearch
from featx.heads.splits import make_folds
from tests.heads.real_data import cancer, digits, scaled

HEADS = {
    "linear svm": HeadSpec("linear svm", scaled(LinearSVC(dual=False, tol=1e-8)), {"head__C": [1e-3]}),
    "rbf svm": HeadSpec("rbf svm", scaled(SVC()), {"head__C": [10.0]}),
    "bayes": HeadSpec("bayes", scaled(GaussianNB()), {"head__var_smoothing": [1e-9]}),
    "logistic": HeadSpec("logistic", scaled(LogisticRegression()), {"head__C": [0.1]}),
}
NEVER = HeadSpec("never", scaled(KNeighborsClassifier(n_neighbors=-1)), {})


def scikit_learns(spec, method, X, y):
    params = {name: values[0] for name, values in spec.param_grid.items()}
    estimator = clone(spec.estimator).set_params(**params)
    folds = make_folds(y, cv=3, random_state=0)
    return CalibratedClassifierCV(estimator, method=method, cv=folds, ensemble=False).fit(X, y)


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", ["linear svm", "rbf svm"])
@pytest.mark.parametrize("data", [cancer, digits])
def test_calibration_is_scikit_learns_without_an_ensemble(method, name, data):
    X, y = data()
    search = HeadSearch(HEADS[name], cv=3, calibration=method, random_state=0).fit(X, y)
    expected = scikit_learns(HEADS[name], method, X, y)
    difference = np.abs(search.predict_proba(X) - expected.predict_proba(X))
    # Decisions of the linear path are right to a thousandth; an isotonic step may move with one of them.
    assert np.quantile(difference, 0.98) < 2e-3
    assert search.best_calibration_ == method
    assert search.calibration_losses_ == {}


@pytest.mark.parametrize("name", HEADS)
def test_auto_takes_the_least_crosswise_loss(name):
    X, y = cancer(400)
    search = HeadSearch(HEADS[name], cv=3, calibration="auto", random_state=0).fit(X, y)
    losses = search.calibration_losses_
    own = {"none"} if hasattr(HEADS[name].estimator, "predict_proba") else set()
    assert set(losses) == {"sigmoid", "isotonic"} | own
    best = min(losses, key=losses.get)
    assert search.best_calibration_ == (None if best == "none" else best)
    if best != "none":
        expected = scikit_learns(HEADS[name], best, X, y).predict_proba(X)
        assert np.quantile(np.abs(search.predict_proba(X) - expected), 0.98) < 2e-3


def test_the_loss_of_no_calibration_is_that_of_out_of_fold_probabilities():
    X, y = cancer()
    search = HeadSearch(HEADS["bayes"], cv=3, calibration="auto", random_state=0).fit(X, y)
    shares = np.zeros((len(y), 2))
    for train, test in make_folds(y, cv=3, random_state=0):
        shares[test] = clone(HEADS["bayes"].estimator).fit(X[train], y[train]).predict_proba(X[test])
    assert search.calibration_losses_["none"] == pytest.approx(log_loss(y, shares))
    # Naive Bayes on correlated columns is far too sure of itself.
    assert search.best_calibration_ is not None


def unbalanced():
    """Eights among all digits, in two halves."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:, ::2], (y == 8).astype(int)
    return X[::2], y[::2], X[1::2], y[1::2]


@pytest.mark.parametrize(
    ("name", "scoring"),
    [("linear svm", "balanced_accuracy"), ("logistic", "balanced_accuracy"), ("logistic", "f1")],
)
def test_a_threshold_helps_where_classes_are_unbalanced(name, scoring):
    X, y, X_new, y_new = unbalanced()
    metric = balanced_accuracy_score if scoring == "balanced_accuracy" else f1_score
    options = {"cv": 3, "scoring": scoring, "random_state": 0}
    plain = HeadSearch(HEADS[name], **options).fit(X, y)
    tuned = HeadSearch(HEADS[name], tune_threshold=True, **options).fit(X, y)
    gain = metric(y_new, tuned.predict(X_new)) - metric(y_new, plain.predict(X_new))
    assert gain > 0.02
    assert tuned.threshold_score_ == pytest.approx(metric(y_new, tuned.predict(X_new)), abs=0.1)
    assert np.array_equal(tuned.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("classes", [[0, 1], ["no", "yes"]])
def test_predictions_are_those_of_the_threshold(classes):
    X, y, X_new, _ = unbalanced()
    y = np.array(classes)[y]
    search = HeadSearch(
        HEADS["logistic"], cv=3, scoring="balanced_accuracy", tune_threshold=True, random_state=0
    )
    search.fit(X, y)
    assert isinstance(search.best_estimator_, FixedThresholdClassifier)
    is_second = search.predict_proba(X_new)[:, 1] >= search.best_threshold_
    assert np.array_equal(search.predict(X_new), np.array(classes)[is_second.astype(int)])
    assert 0 < search.best_threshold_ < 0.5


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic", "auto"])
@pytest.mark.parametrize("has_threshold", [False, True])
@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("name", ["linear_svm", "knn"])
def test_every_finished_head_is_saved_and_loaded(calibration, has_threshold, is_weighted, name, tmp_path):
    X, y = cancer()
    search = HeadSearch(name, cv=3, calibration=calibration, tune_threshold=has_threshold, random_state=0)
    search.fit(X, y, sample_weight=1.0 + y if is_weighted else None)
    save_head(search, tmp_path / "head")
    loaded = load_head(tmp_path / "head")
    assert np.array_equal(loaded.predict(X), search.predict(X))
    assert np.array_equal(loaded.predict_proba(X), search.predict_proba(X))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (digits, {}, "tune_threshold for other than two classes"),
        (cancer, {"scoring": "roc_auc"}, "a scoring of predicted classes"),
        (cancer, {"scoring": ["f1", "neg_log_loss"], "refit": "neg_log_loss"}, "scoring='neg_log_loss'"),
        (cancer, {"heads": HEADS["rbf svm"], "calibration": None}, "rbf svm, which has no probabilities"),
    ],
)
def test_a_threshold_that_could_not_be_chosen_is_refused_before_any_fit(data, options, message):
    options = {"heads": NEVER, **options}
    with pytest.raises(HeadError, match=message):
        HeadSearch(cv=3, tune_threshold=True, **options).fit(*data())


def test_of_several_scores_the_threshold_serves_the_one_that_ranks():
    X, y, _, _ = unbalanced()
    one = HeadSearch(HEADS["logistic"], cv=3, scoring="f1", tune_threshold=True).fit(X, y)
    several = HeadSearch(
        HEADS["logistic"], cv=3, scoring=["roc_auc", "f1"], refit="f1", tune_threshold=True
    ).fit(X, y)
    assert several.best_threshold_ == one.best_threshold_
