"""scikit-learn's own estimator checks, and on images what they check on tables."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from featx import FeatureExtractor, HeadSpec, ImageClassifier
from featx.heads.search import HeadSearch
from tests.conftest import TINY, TINY_FEATURES, make_images

LOGISTIC = HeadSpec("logistic_regression", LogisticRegression(), {"C": [0.1, 1.0]})
# The dual solver draws by lot, and where it stops short, weights are not quite the same as copies.
SVM = HeadSpec("linear_svm", LinearSVC(dual=False, tol=1e-12), {"C": [0.1, 1.0]})


# No check is expected to fail: a search is a classifier like any other.
@parametrize_with_checks(
    [
        HeadSearch(LOGISTIC, cv=3),
        HeadSearch([LOGISTIC, SVM], cv=2, random_state=0),
        HeadSearch(SVM, cv=2, calibration=None),
    ]
)
def test_head_search_is_a_scikit_learn_classifier(estimator, check):
    check(estimator)


# ------------------------------------------------------------------------------- estimators of images
#
# scikit-learn's suite feeds tables of numbers and leaves out what takes images. Those of its checks that
# feed nothing, or stop before the data are looked at, are called by name.

CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_valid_tag_types,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_set_params,
    estimator_checks.check_estimators_unfitted,
]
# The extractor's fit looks at no image, so these can feed it numbers.
EXTRACTOR_CHECKS = [
    *CHECKS,
    estimator_checks.check_transformers_unfitted,
    estimator_checks.check_get_feature_names_out_error,
    estimator_checks.check_transformer_get_feature_names_out,
    estimator_checks.check_set_output_transform,
    estimator_checks.check_estimators_fit_returns_self,
    estimator_checks.check_estimators_overwrite_params,
    estimator_checks.check_dont_overwrite_parameters,
    estimator_checks.check_fit_check_is_fitted,
    estimator_checks.check_requires_y_none,
]

IMAGES = make_images(12)
LABELS = np.array(["dark", "light"] * 6)


def extractor():
    return FeatureExtractor(TINY, batch_size=4)


def classifier():
    """A search of one head, on features that are kept nowhere."""
    return ImageClassifier(extractor(), HeadSpec("knn", KNeighborsClassifier(1), {}), store=None, cv=2)


def answers(estimator, images):
    """Features, or probabilities and classes."""
    if hasattr(estimator, "transform"):
        return [estimator.transform(images)]
    return [estimator.predict_proba(images), estimator.predict(images)]


def assert_same(some, others):
    assert all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


each_estimator = pytest.mark.parametrize("make", [extractor, classifier])


@pytest.mark.parametrize("check", EXTRACTOR_CHECKS, ids=lambda check: check.__name__)
def test_feature_extractor_is_a_scikit_learn_transformer(check):
    check("FeatureExtractor", extractor())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_image_classifier_is_a_scikit_learn_classifier(check):
    check("ImageClassifier", classifier())


@each_estimator
def test_fit_returns_the_estimator_and_keeps_its_parameters(make):
    estimator = make()
    before = estimator.get_params()
    assert estimator.fit(IMAGES, LABELS) is estimator
    after = estimator.get_params()
    assert all(after[name] is before[name] for name in before)


@each_estimator
def test_a_fitted_estimator_says_so_and_its_clone_does_not(make):
    estimator = make().fit(IMAGES, LABELS)
    check_is_fitted(estimator)
    with pytest.raises(NotFittedError):
        check_is_fitted(clone(estimator))


@each_estimator
def test_fitting_again_changes_nothing(make):
    estimator = make().fit(IMAGES, LABELS)
    assert_same(answers(estimator, IMAGES), answers(estimator.fit(IMAGES, LABELS), IMAGES))


@each_estimator
def test_a_clone_fitted_alike_answers_alike(make):
    estimator = make().fit(IMAGES, LABELS)
    assert_same(answers(estimator, IMAGES), answers(clone(estimator).fit(IMAGES, LABELS), IMAGES))


@each_estimator
def test_asking_changes_neither_the_estimator_nor_the_images(make):
    estimator, images = make().fit(IMAGES, LABELS), IMAGES.copy()
    images.setflags(write=False)
    before = set(vars(estimator))
    answers(estimator, images)
    assert set(vars(estimator)) == before


@each_estimator
def test_an_answer_depends_on_its_own_image_alone(make):
    estimator = make().fit(IMAGES, LABELS)
    together = answers(estimator, IMAGES)[0]
    backwards = answers(estimator, IMAGES[::-1])[0]
    one_by_one = [answers(estimator, IMAGES[row : row + 1])[0] for row in range(12)]
    # Where in a batch an image stands may change the order of sums.
    np.testing.assert_allclose(together[::-1], backwards, atol=1e-6)
    np.testing.assert_allclose(together, np.concatenate(one_by_one), atol=1e-6)


@each_estimator
def test_an_estimator_survives_pickling(make):
    estimator = make().fit(IMAGES, LABELS)
    assert_same(answers(estimator, IMAGES), answers(pickle.loads(pickle.dumps(estimator)), IMAGES))


@each_estimator
def test_nested_parameters_are_read_and_set(make):
    estimator = make()
    prefix = "backbone__" if isinstance(estimator, ImageClassifier) else ""
    estimator.set_params(**{f"{prefix}pooling": "max"})
    assert estimator.get_params()[f"{prefix}pooling"] == "max"
    assert clone(estimator).get_params()[f"{prefix}pooling"] == "max"


def test_features_are_named_one_a_column():
    fitted = extractor().fit(IMAGES)
    assert fitted.transform(IMAGES).shape == (12, TINY_FEATURES)
    assert len(set(fitted.get_feature_names_out())) == TINY_FEATURES


def test_an_extractor_in_a_pipeline_is_what_it_is_alone():
    features = extractor().fit(IMAGES).transform(IMAGES)
    pipeline = make_pipeline(extractor(), KNeighborsClassifier(3)).fit(IMAGES, LABELS)
    alone = KNeighborsClassifier(3).fit(features, LABELS)
    assert np.array_equal(pipeline.predict_proba(IMAGES), alone.predict_proba(features))
    assert len(pipeline[:-1].get_feature_names_out()) == TINY_FEATURES


def test_an_extractor_is_searched_in_a_pipeline(tmp_path):
    pipeline = make_pipeline(extractor().set_params(store=tmp_path), KNeighborsClassifier(1))
    grid = GridSearchCV(pipeline, {"featureextractor__pooling": ["avg", "max"]}, cv=2, error_score="raise")
    assert grid.fit(IMAGES, LABELS).best_score_ == 1.0


def test_a_classifier_is_cross_validated():
    assert cross_val_score(classifier(), IMAGES, LABELS, cv=2, error_score="raise").tolist() == [1.0, 1.0]


def test_a_classifier_scores_what_it_predicts():
    fitted = classifier().fit(IMAGES, LABELS)
    wrong = np.where(np.arange(12) < 3, "dark", LABELS)
    assert fitted.score(IMAGES, wrong) == np.mean(fitted.predict(IMAGES) == wrong)
    assert fitted.classes_.tolist() == ["dark", "light"]
