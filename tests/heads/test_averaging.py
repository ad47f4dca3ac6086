"""Views of an image are judged as one: averages by hand, and nothing to learn from noise."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from featx import HeadError, HeadSpec
from featx.heads.averaging import ViewAverage
from featx.heads.search import HeadSearch
from featx.heads.splits import make_folds
from tests.heads.problems import noisy_views
from tests.heads.real_data import cancer, digits, scaled

N_VIEWS = 3


def views_of(data):
    """Each image's row, three times with noise on it, in no order."""
    X, y = data()
    rng = np.random.default_rng(0)
    images = rng.permutation(np.repeat(np.arange(len(X)), N_VIEWS))
    return X[images] + rng.normal(scale=2 * X.std(), size=(len(images), X.shape[1])), y[images], images


@pytest.mark.parametrize("data", [cancer, digits])
@pytest.mark.parametrize("head", [LogisticRegression(max_iter=2000), LinearSVC(dual=False)], ids=["p", "d"])
def test_scores_are_those_of_views_averaged_by_hand(data, head):
    X, y, images = views_of(data)
    spec = HeadSpec("head", scaled(head), {"head__C": [1e-3]})
    folds = make_folds(y, images, 3, 0)
    search = HeadSearch(spec, cv=folds, refit=False).fit(X, y, images=images)
    for number, (train, test) in enumerate(folds):
        fitted = clone(spec.estimator).set_params(head__C=1e-3).fit(X[train], y[train])
        method = fitted.predict_proba if hasattr(fitted, "predict_proba") else fitted.decision_function
        scores, hits = method(X[test]), []
        for image in np.unique(images[test]):
            mean = scores[images[test] == image].mean(axis=0)
            guess = mean.argmax() if mean.ndim else int(mean > 0)
            hits.append(guess == y[images == image][0])
        # One image may lie on the boundary, to the tolerance of the linear SVM's path.
        expected = search.cv_results_[f"split{number}_test_score"][0]
        assert expected == pytest.approx(np.mean(hits), abs=1.01 / len(hits))


def test_an_image_with_one_view_is_itself():
    X, y = digits()
    search = HeadSearch("ridge", cv=make_folds(y, cv=3), refit=False)
    alone = search.fit(X, y).cv_results_["mean_test_score"].tolist()
    averaged = search.fit(X, y, images=np.arange(len(X)))
    assert averaged.cv_results_["mean_test_score"].tolist() == alone


def test_averages_help_where_views_are_noisy():
    X, y, images = views_of(digits)
    plain = HeadSearch("ridge", cv=3, random_state=0, refit=False).fit(X, y, images)
    averaged = HeadSearch("ridge", cv=3, random_state=0, refit=False).fit(X, y, images=images)
    assert averaged.best_score_ > plain.best_score_ + 0.02


def test_views_of_one_image_have_one_class_and_one_group():
    X, y, images = views_of(cancer)
    with pytest.raises(HeadError, match="class"):
        HeadSearch("ridge", cv=3).fit(X, np.roll(y, 1), images=images)
    with pytest.raises(HeadError, match="group"):
        HeadSearch("ridge", cv=3).fit(X, y, np.arange(len(y)), images=images)


def test_the_average_has_what_the_head_has():
    X, y = cancer()
    members = np.arange(120).repeat(2)
    svm = ViewAverage(LinearSVC(dual=False).fit(X, y), members)
    assert not hasattr(svm, "predict_proba")
    knn = ViewAverage(KNeighborsClassifier().fit(X, y), members)
    assert not hasattr(knn, "decision_function")
    assert svm.predict(X).shape == knn.predict(X).shape == (120,)
    assert svm.classes_.tolist() == [0, 1]


def check_noise(seed):
    X, y, images = noisy_views(seed)
    spec = HeadSpec("nearest", KNeighborsClassifier(1), {})
    search = HeadSearch(spec, cv=3, random_state=seed, refit=False)
    # Four standard deviations as measured: 0.03, more than a binomial's 0.021, because one image may be the
    # nearest of several.
    bound = 0.12
    assert abs(search.fit(X, y, images).best_score_ - 0.1) < bound
    assert abs(search.fit(X, y, images=images).best_score_ - 0.1) < bound
    assert search.fit(X, y).best_score_ > 0.9
    return search.fit(X, y, images=images).best_score_


@pytest.mark.parametrize("seed", range(3))
def test_of_noise_nothing_is_learned(seed):
    check_noise(seed)


@pytest.mark.slow
def test_of_noise_nothing_is_learned_over_many_seeds():
    scores = [check_noise(seed) for seed in range(20)]
    # Classes that are drawn by lot are not equally large, so that chance is a little more than a tenth.
    assert abs(np.mean(scores) - 0.1045) < 4 * 0.03 / np.sqrt(20)
