"""What a classifier's head means: a search in which views are one image, or an estimator as it is."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from featx import FeatureSet, HeadError, HeadSearch, HeadSpec
from featx.fitting import fit_head

RNG = np.random.default_rng(0)


def with_views(n_images=40):
    """One view of each image is on the wrong side by a little, the other on the right side by much."""
    y = np.repeat(np.arange(n_images) % 2, 2)
    X = np.where(y, 1.0, -1.0) * np.tile([3.0, -1.0], n_images) + RNG.normal(0, 0.1, 2 * n_images)
    groups = np.repeat([f"{index}" for index in range(n_images)], 2).tolist()
    view = np.tile([0, 1], n_images)
    return FeatureSet(X[:, None].astype(np.float32), y, groups=groups, view=view)


def fit(head, features, **options):
    return fit_head(head, features, np.arange(len(features)), features.y, ["no", "yes"], **options)


def test_a_search_scores_the_views_of_an_image_as_one():
    features = with_views()
    head, search = fit("logistic_regression", features, cv=3, random_state=0)
    assert search.best_score_ == 1.0
    assert head.score(features.X, features.y) < 0.6


def test_a_search_of_ones_own_keeps_its_settings():
    _, search = fit(HeadSearch("knn", cv=2, random_state=0), with_views(), cv=5)
    assert (search.cv, search.best_head_) == (2, "knn")
    _, search = fit(HeadSpec("mine", LogisticRegression(), {"C": [1.0]}), with_views(), cv=4)
    assert (search.cv, search.best_params_) == (4, {"C": 1.0})


def test_an_estimator_learns_from_every_view():
    features = with_views()
    head, search = fit(LogisticRegression(), features)
    assert search is None
    np.testing.assert_array_equal(head.coef_, LogisticRegression().fit(features.X, features.y).coef_)


def test_a_head_that_could_not_average_is_refused_before_it_is_fitted():
    head = SVC(decision_function_shape="ovo")
    with pytest.raises(HeadError, match=r"SVC, without a score for each class; .* pass n_views=1"):
        fit(head, with_views())
    plain = FeatureSet(RNG.normal(size=(8, 2)).astype(np.float32), [0, 1] * 4)
    assert fit(head, plain)[0].n_features_in_ == 2


def test_an_image_is_one_sample_of_its_class_whatever_its_views():
    few = with_views(3)
    with pytest.raises(HeadError, match="the class yes with"):
        fit("logistic_regression", few, cv=2)
