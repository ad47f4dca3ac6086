"""What a search is asked: weights, labels, scorings, feature sets, and input that cannot be used."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from featx import HeadError, HeadSpec
from featx.heads import paths, problem, search
from featx.heads.search import HeadSearch
from featx.heads.shared import Fold, Prefix
from featx.heads.spaces import resolve_heads
from featx.heads.splits import make_folds
from tests.heads.real_data import both, cancer, digits, problem_of, scaled

WITH_CLASS_WEIGHT = {
    "logistic": (LogisticRegression(max_iter=1000), {"head__C": [0.01, 1.0]}),
    "linear svm": (LinearSVC(dual=False, tol=1e-6), {"head__C": [1e-4, 1e-2]}),
    "ridge": (RidgeClassifier(), {"head__alpha": [1.0, 100.0]}),
    "rbf svm": (SVC(), {"head__C": [1.0, 10.0]}),
}
NEVER = HeadSpec("never", KNeighborsClassifier(n_neighbors=-1), {})


def split_scores(results):
    return np.array([results[f"split{fold}_test_score"] for fold in range(3)])


@pytest.mark.parametrize("name", WITH_CLASS_WEIGHT)
@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0, 1: 0.2}], ids=["balanced", "dict"])
def test_class_weights_are_scikit_learns(name, class_weight):
    head, grid = WITH_CLASS_WEIGHT[name]
    X, y = cancer()
    folds = make_folds(y, cv=3, random_state=0)
    spec = HeadSpec(name, scaled(head), grid)
    ours = HeadSearch(spec, cv=folds, class_weight=class_weight, refit=False).fit(X, y)
    own = scaled(clone(head)).set_params(head__class_weight=class_weight)
    theirs = GridSearchCV(own, grid, cv=folds, refit=False).fit(X, y)
    # One row of 80 for the linear SVM, whose path ends at another tolerance.
    atol = 1.01 / 80 if name == "linear svm" else 0
    np.testing.assert_allclose(
        split_scores(ours.cv_results_), split_scores(theirs.cv_results_), rtol=0, atol=atol
    )


@pytest.mark.parametrize("name", [spec.name for spec in resolve_heads("default")])
def test_weights_move_every_default_head(name):
    X, y = cancer()
    X = X[:, :2]
    estimator = resolve_heads(name)[0].estimator
    grid = {"head__n_neighbors": [15]} if name == "knn" else {}
    options = {"cv": 3, "random_state": 0, "calibration": None}
    plain, weighted = (
        HeadSearch(HeadSpec(name, estimator, grid), class_weight=weight, **options)
        .fit(X[::2], y[::2])
        .predict(X[1::2])
        for weight in (None, {0: 20.0, 1: 1.0})
    )
    assert (weighted == 0).sum() > (plain == 0).sum()


def labels():
    """Three labels of a digit: even, at least five, and one of three."""
    X, y = digits()
    return X, np.column_stack([y % 2 == 0, y >= 5, np.isin(y, [1, 4, 8])]).astype(int)


@pytest.mark.parametrize("name", [*WITH_CLASS_WEIGHT, "knn"])
def test_several_labels_are_scikit_learns_one_versus_rest(name):
    head, grid = WITH_CLASS_WEIGHT.get(name, (KNeighborsClassifier(), {"head__n_neighbors": [3]}))
    X, y = labels()
    folds = make_folds(y, cv=3, random_state=0)
    ours = HeadSearch(HeadSpec(name, scaled(head), grid), cv=folds, scoring="f1_macro").fit(X, y)
    inner = {key.replace("head__", "head__estimator__"): values for key, values in grid.items()}
    one_each = scaled(OneVsRestClassifier(head))
    theirs = GridSearchCV(one_each, inner, cv=folds, scoring="f1_macro").fit(X, y)
    assert np.array_equal(split_scores(ours.cv_results_), split_scores(theirs.cv_results_))
    assert np.array_equal(ours.predict(X), theirs.predict(X))


def test_every_default_head_serves_several_labels():
    X, y = labels()
    one_each = [
        HeadSpec(spec.name, spec.estimator, {name: values[-2:-1] for name, values in spec.param_grid.items()})
        for spec in resolve_heads("default")
    ]
    found = HeadSearch(one_each, cv=2, scoring="f1_macro", random_state=0).fit(X, y)
    assert found.cv_results_["error"].tolist() == [""] * len(found.cv_results_["params"])
    assert found.predict(X).shape == y.shape
    assert f1_score(y, found.predict(X), average="macro") > 0.9


def test_several_scorings_stand_side_by_side():
    options = {"cv": 3, "random_state": 0, "refit": "roc_auc"}
    several = HeadSearch("ridge", scoring=["accuracy", "roc_auc"], **options).fit(*cancer())
    for name in ("accuracy", "roc_auc"):
        alone = HeadSearch("ridge", cv=3, random_state=0, scoring=name, refit=False).fit(*cancer())
        column = several.cv_results_[f"mean_test_{name}"].tolist()
        assert column == alone.cv_results_["mean_test_score"].tolist()
    assert several.best_score_ == several.cv_results_["mean_test_roc_auc"].max()


@pytest.mark.parametrize("is_weighted", [False, True], ids=["even", "weighted"])
def test_a_head_without_probabilities_is_calibrated_where_they_are_scored(is_weighted):
    X, y = cancer()
    weight = 1.0 + 4 * y if is_weighted else None
    grid = {"head__C": [1.0, 10.0]}
    folds = make_folds(y, cv=3, random_state=0)
    spec = HeadSpec("svm", scaled(SVC()), grid)
    ours = HeadSearch(spec, cv=folds, scoring="neg_log_loss").fit(X, y, sample_weight=weight)
    calibrated = scaled(CalibratedClassifierCV(SVC(), ensemble=False))
    inner = {"head__estimator__C": grid["head__C"]}
    theirs = GridSearchCV(calibrated, inner, cv=folds, scoring="neg_log_loss")
    theirs.fit(X, y, **({} if weight is None else {"head__sample_weight": weight}))
    np.testing.assert_allclose(split_scores(ours.cv_results_), split_scores(theirs.cv_results_), rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=1e-9)


def test_feature_sets_stand_in_one_leaderboard():
    X, y = digits()
    blocks = {"upper": (0, 32), "lower": list(range(32, 64)), "both": slice(0, 64)}
    found = HeadSearch("ridge", cv=3, random_state=0, feature_blocks=blocks).fit(X, y)
    assert found.cv_results_["features"].tolist() == [name for name in blocks for _ in range(6)]
    for name, columns in (("upper", slice(0, 32)), ("lower", slice(32, 64)), ("both", slice(None))):
        alone = HeadSearch("ridge", cv=3, random_state=0, refit=False).fit(X[:, columns], y)
        together = found.cv_results_["mean_test_score"][found.cv_results_["features"] == name]
        assert together.tolist() == alone.cv_results_["mean_test_score"].tolist()
    assert (found.best_features_, found.best_columns_) == ("both", slice(0, 64))


def test_the_best_feature_set_is_taken_out_of_all_columns():
    X, y = digits()
    noise = np.random.default_rng(0).normal(size=X.shape)
    blocks = {"noise": (0, 64), "digits": np.arange(128) >= 64}
    found = HeadSearch("ridge", cv=3, feature_blocks=blocks).fit(np.hstack([noise, X]), y)
    assert found.best_features_ == "digits"
    assert np.array_equal(found.predict(np.hstack([-noise, X])), found.predict(np.hstack([noise, X])))
    with pytest.raises(ValueError, match="X has 64 features"):
        found.predict(X)


@pytest.fixture
def streamed(monkeypatch):
    monkeypatch.setattr(search, "_MOST_CONVERTED_BYTES", 0)
    monkeypatch.setattr(problem, "_STREAMED_BYTES", 0)
    monkeypatch.setattr(paths, "_LEAST_PATH_SIZE", 0)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("name", ["logistic", "linear svm", "ridge"])
def test_half_precision_read_in_blocks_scores_as_single_precision_in_memory(name, caplog, monkeypatch):
    caplog.set_level("DEBUG", logger="featx.heads.cells")
    head, grid = WITH_CLASS_WEIGHT[name]
    X, y = digits()
    spec, half = HeadSpec(name, scaled(head), grid), X.astype(np.float16)
    calls = []
    original = Fold._fit_scaler
    monkeypatch.setattr(Fold, "_fit_scaler", lambda fold: calls.append(fold) or original(fold))
    streamed = HeadSearch(spec, cv=3, random_state=0, calibration=None).fit(half, y)
    assert len(calls) == 4
    assert not caplog.records
    monkeypatch.undo()
    single = HeadSearch(spec, cv=3, random_state=0, calibration=None).fit(half.astype(np.float32), y)
    difference = split_scores(streamed.cv_results_) - split_scores(single.cv_results_)
    assert np.abs(difference).max() <= 1.01 / 80
    assert np.mean(streamed.predict(X) == single.predict(X)) > 0.99


@pytest.mark.usefixtures("streamed")
def test_a_streamed_fold_reads_the_features_where_they_are():
    X, y = digits()
    half = X.astype(np.float16)
    spoken = problem_of(half, y)
    fold = Fold(spoken, "all", Prefix.of(scaled(RidgeClassifier())), *spoken.folds[0])
    design, _ = fold.design()
    assert np.shares_memory(design._X, half)
    assert "transformed" not in fold._kept
    assert fold.nbytes < half.nbytes


def test_small_logistic_regression_is_scikit_learns_bit_by_bit():
    ours, theirs = both(HeadSpec("lr", scaled(LogisticRegression()), {"head__C": [0.01]}), *cancer())
    assert np.array_equal(ours, theirs)


BAD = {
    "NaN": (
        lambda X, y: (np.where(np.arange(240)[:, None] == 7, np.nan, X), y),
        {},
        {},
        r"in 1 of 240 rows \(7\)",
    ),
    "constant": (lambda X, y: (X * 0, y), {}, {}, "columns that are all constant"),
    "few groups": (lambda X, y: (X, y), {}, {"groups": np.arange(240) % 2}, "3 groups"),
    "short weights": (lambda X, y: (X, y), {}, {"sample_weight": np.ones(3)}, "sample_weight.shape"),
    "negative weights": (lambda X, y: (X, y), {}, {"sample_weight": -np.ones(240)}, "[Nn]egative"),
    "class weight": (lambda X, y: (X, y), {"class_weight": "nonsense"}, {}, "class_weight='nonsense'"),
    "empty space": (lambda X, y: (X, y), {"heads": []}, {}, "no heads"),
    "weighted labels": (
        lambda X, y: (X, np.column_stack([y, 1 - y])),
        {"class_weight": "balanced"},
        {},
        "weights for several labels",
    ),
    "a class not trained on": (
        lambda X, y: (X, y),
        {"cv": [(np.flatnonzero(cancer()[1] == 1), np.flatnonzero(cancer()[1] == 0))]},
        {},
        "to train on in fold 0",
    ),
    **{
        f"blocks {blocks}": (lambda X, y: (X, y), {"feature_blocks": blocks}, {}, "columns|feature_blocks")
        for blocks in ({}, [1], {"a": ("x", "y")}, {"a": [0.5]}, {"a": (5, 5)}, {"a": [40]}, {"a": [True]})
    },
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_searched_is_one_error_before_any_fit(name):
    spoil, options, extra, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        HeadSearch(**{"heads": NEVER, "cv": 3, **options}).fit(*spoil(*cancer()), **extra)


def test_a_scoring_that_a_head_cannot_serve_is_refused_before_any_fit():
    svm = HeadSpec("svm", scaled(SVC()), {})
    with pytest.raises(HeadError, match="the head svm, which has no predict_proba"):
        HeadSearch([NEVER, svm], cv=3, scoring="neg_log_loss", calibration=None).fit(*cancer())


def test_problems_of_the_same_samples_are_told_apart_and_known_as_such():
    whole = problem_of(*digits())
    some = whole.with_folds(whole.folds[:1], "some")
    assert len({whole.token, some.token, some.with_folds(whole.folds, "other").token}) == 3
    assert whole.root == some.root == some.with_folds(whole.folds, "other").root
    assert some.X is whole.X
    assert problem_of(*digits()).root != whole.root
