"""ImageClassifier: images of any kind in, classes as the user knows them out."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from featx import (
    ArraySource,
    BackboneError,
    ConversionError,
    DecodeError,
    FeatureExtractor,
    HeadError,
    HeadSearch,
    ImageClassifier,
    SourceError,
    StoreError,
    StoreMismatchError,
    ValueSource,
    as_source,
    extract,
    to_keras,
)
from tests.conftest import TINY, build_tiny, make_images, write_class_folder

pytestmark = pytest.mark.backends

IMAGES = make_images(20)
NAMES = np.array(["dark", "light"] * 10)


@pytest.fixture
def classifier(tmp_path):
    return ImageClassifier(TINY, "logistic_regression", store=tmp_path / "store", cv=3, random_state=0)


def test_a_folder_is_all_it_takes(classifier, tmp_path):
    folder = write_class_folder(tmp_path / "images", 20)
    classifier.fit(folder)
    assert classifier.classes_.tolist() == ["dark", "light"]
    assert classifier.score(folder) == 1.0
    assert classifier.report_.n_computed == 20
    assert classifier.search_.best_head_ == "logistic_regression"


def test_a_manifest_and_paths_do_too(classifier, tmp_path):
    folder = write_class_folder(tmp_path / "images", 20)
    paths = sorted(folder.rglob("*.*"))
    labels = [path.parent.name for path in paths]
    by_paths = clone(classifier).fit(paths, labels)
    lines = [f"{path.relative_to(folder)},{label}" for path, label in zip(paths, labels, strict=True)]
    (folder / "list.csv").write_text("path,label\n" + "\n".join(lines))
    by_manifest = clone(classifier).fit(folder / "list.csv")
    np.testing.assert_array_equal(by_paths.predict_proba(IMAGES), by_manifest.predict_proba(IMAGES))


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (NAMES, ["dark", "light"]),
        ([7, 3] * 10, [7, 3]),
        ([0.0, 1.0] * 10, [0.0, 1.0]),
        ([True, False] * 10, [True, False]),
    ],
    ids=["strings", "integers", "floats", "booleans"],
)
def test_predictions_are_of_the_kind_that_was_fitted(classifier, y, expected):
    predicted = classifier.fit(IMAGES, y).predict(IMAGES[:2])
    assert predicted.tolist() == expected
    assert predicted.dtype == np.asarray(y).dtype
    assert classifier.score(IMAGES, y) == 1.0


def test_probabilities_are_in_the_order_of_the_classes(classifier):
    probabilities = classifier.fit(IMAGES, NAMES).predict_proba(IMAGES)
    assert probabilities.shape == (20, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(classifier.classes_[probabilities.argmax(axis=1)], NAMES)


@pytest.mark.parametrize(
    "head",
    ["rbf_svm", LogisticRegression(C=0.1), HeadSearch("linear_svm", cv=2)],
    ids=["name", "estimator", "search"],
)
def test_heads_of_every_kind(classifier, head):
    classifier.set_params(head=head).fit(IMAGES, NAMES)
    assert classifier.score(IMAGES, NAMES) == 1.0
    assert (classifier.search_ is None) == isinstance(head, LogisticRegression)


def test_a_head_without_probabilities_says_so(classifier):
    classifier.set_params(head=SVC()).fit(IMAGES, NAMES)
    with pytest.raises(HeadError, match="SVC, which has no probabilities"):
        classifier.predict_proba(IMAGES)


def test_unlabelled_images_are_left_out_of_the_fit(classifier):
    y = np.array([0, 1] * 10)
    y[:6] = -1
    classifier.fit(IMAGES, y)
    assert classifier.classes_.tolist() == [0, 1]
    assert len(classifier.training_images_) == 14


def test_a_class_whose_images_all_failed_is_not_known(classifier, tmp_path):
    folder = write_class_folder(tmp_path / "images", 20)
    (folder / "aaa").mkdir()
    (folder / "aaa" / "broken.png").write_bytes(b"")
    with pytest.raises(DecodeError):
        classifier.fit(folder)
    classifier.set_params(on_error="skip").fit(folder)
    assert classifier.classes_.tolist() == ["dark", "light"]
    assert classifier.report_.n_failed == 1
    assert classifier.predict(IMAGES[:2]).tolist() == ["dark", "light"]


@pytest.mark.parametrize(
    ("images", "y", "error", "message"),
    [
        (IMAGES, None, SourceError, "without labels"),
        (IMAGES, NAMES[:5], SourceError, r"labels of shape \(5,\) for 20 samples"),
        (IMAGES, ["dark"] * 20, HeadError, r"one class only \(dark\)"),
        (IMAGES, np.linspace(0, 1, 20), SourceError, "expected a string or an integer"),
        (IMAGES, ["a"] * 19 + ["b"], HeadError, "the class b with 1 sample"),
        (IMAGES[0], None, SourceError, r"images\[None\]"),
        ("no/such/folder", None, SourceError, "check the path"),
    ],
)
def test_unusable_input_is_refused(classifier, images, y, error, message):
    with pytest.raises(error, match=message):
        classifier.fit(images, y)


class TestSaving:
    def test_a_loaded_classifier_answers_the_same(self, classifier, tmp_path):
        classifier.fit(IMAGES, NAMES).save(tmp_path / "m.featx")
        loaded = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "other")
        assert loaded.classes_.tolist() == ["dark", "light"]
        np.testing.assert_array_equal(loaded.predict_proba(IMAGES), classifier.predict_proba(IMAGES))
        assert loaded.training_images_ == [digest[:16] for digest in classifier.training_images_]

    def test_integer_classes_stay_integers(self, classifier, tmp_path):
        classifier.fit(IMAGES, [7, 3] * 10).save(tmp_path / "m.featx")
        assert ImageClassifier.load(tmp_path / "m.featx").predict(IMAGES[:2]).tolist() == [7, 3]

    def test_choices_of_the_extractor_are_kept(self, classifier, tmp_path):
        extractor = FeatureExtractor(
            TINY, pooling="avg+max", input_size=(20, 20), weights=None, random_state=3
        )
        classifier.set_params(backbone=extractor).fit(IMAGES, NAMES).save(tmp_path / "m.featx")
        loaded = ImageClassifier.load(tmp_path / "m.featx")
        assert loaded.extractor_.spec_ == classifier.extractor_.spec_
        np.testing.assert_array_equal(loaded.predict(IMAGES), NAMES)

    def test_a_model_of_ones_own_is_asked_for(self, classifier, tmp_path):
        model = build_tiny((16, 16), None)
        extractor = FeatureExtractor(model, preprocessing="unit")
        classifier.set_params(backbone=extractor).fit(IMAGES, NAMES).save(tmp_path / "m.featx")
        with pytest.raises(ValueError, match="pass backbone"):
            ImageClassifier.load(tmp_path / "m.featx")
        assert ImageClassifier.load(tmp_path / "m.featx", backbone=model).score(IMAGES, NAMES) == 1.0
        with pytest.raises(StoreMismatchError, match="weights_sha256"):
            ImageClassifier.load(tmp_path / "m.featx", backbone=build_tiny((16, 16), None))

    def test_what_is_no_model_is_refused(self, tmp_path):
        (tmp_path / "m.featx").write_bytes(b"no model")
        with pytest.raises(StoreError, match="expected a model file"):
            ImageClassifier.load(tmp_path / "m.featx")


def test_classes_that_the_classifier_does_not_know_score_zero(classifier):
    classifier.fit(IMAGES, NAMES)
    assert classifier.score(ArraySource(IMAGES[:2], ["cat", "dog"])) == 0.0


def test_scoring_needs_labels(classifier):
    with pytest.raises(SourceError, match="without labels"):
        classifier.fit(IMAGES, NAMES).score(IMAGES)


def test_a_clone_shares_the_network_and_nothing_else():
    classifier = ImageClassifier(build_tiny((16, 16), None), LogisticRegression(C=3.0), cv=3)
    copy = clone(classifier)
    assert copy.backbone is classifier.backbone
    assert copy.head is not classifier.head
    assert (copy.head.C, copy.cv) == (3.0, 3)
    extractor = FeatureExtractor(TINY)
    assert clone(ImageClassifier(extractor)).backbone is not extractor


def test_labels_that_contradict_each_other_are_no_obstacle_to_a_prediction(tmp_path):
    folder = write_class_folder(tmp_path / "images")
    classifier = ImageClassifier(TINY, "logistic_regression", store=tmp_path / "cache", cv=2).fit(folder)
    copy = next((folder / "dark").iterdir())
    (folder / "light" / copy.name).write_bytes(copy.read_bytes())
    assert len(classifier.predict(folder)) == len(classifier.predict_proba(folder)) == 13
    assert classifier.extractor_.transform(folder).shape[0] == 13


def test_a_source_is_scored_after_fitting_on_whole_floats(tmp_path):
    images, y = make_images(24), np.array([0.0, 1.0] * 12)
    classifier = ImageClassifier(TINY, "logistic_regression", store=tmp_path, cv=2).fit(images, y)
    assert classifier.score(as_source(images, y)) == classifier.score(images, y) > 0.9


class TestViews:
    @pytest.fixture
    def extractor(self):
        return FeatureExtractor(TINY, n_views=4, batch_size=8, random_state=2)

    @pytest.fixture
    def fitted(self, classifier, extractor):
        return classifier.set_params(backbone=extractor).fit(IMAGES, NAMES)

    def test_an_image_is_answered_by_the_mean_over_its_views(self, fitted, extractor, tmp_path):
        features = extract(IMAGES, extractor, store=tmp_path / "store")
        each = fitted.head_.predict_proba(features.X).reshape(20, 4, 2)
        found = fitted.predict_proba(IMAGES)
        np.testing.assert_allclose(found, each.mean(axis=1), rtol=1e-6)
        assert not np.allclose(found, each[:, 0])
        np.testing.assert_array_equal(fitted.predict(IMAGES), fitted.classes_[found.argmax(axis=1)])
        assert fitted.score(IMAGES, NAMES) == 1.0

    def test_the_search_knows_which_rows_are_one_image(self, fitted):
        assert fitted.report_.n_rows_computed == 80
        assert fitted.head_.n_features_in_ == 12
        # Twenty images, not eighty rows, are too few for thirty folds.
        with pytest.raises(HeadError, match="for 30 folds"):
            clone(fitted).set_params(cv=30).fit(IMAGES, NAMES)

    def test_training_images_are_listed_once(self, fitted):
        assert len(fitted.training_images_) == len(set(fitted.training_images_)) == 20

    def test_images_without_labels_or_content_shift_nothing(self, classifier, extractor, tmp_path):
        folder = write_class_folder(tmp_path / "images", 20)
        (folder / "dark" / "00-001.png").write_bytes(b"")
        classifier.set_params(backbone=extractor, on_error="skip").fit(folder)
        assert (classifier.report_.n_failed, len(classifier.training_images_)) == (1, 20)
        y = np.array([0, 1] * 10)
        y[:6] = -1
        assert len(clone(classifier).fit(IMAGES, y).training_images_) == 14

    def test_a_file_keeps_the_views_unless_told_otherwise(self, fitted, tmp_path, n_embedded):
        fitted.save(tmp_path / "m.featx")
        loaded = ImageClassifier.load(tmp_path / "m.featx", store=None)
        assert loaded.extractor_.spec_ == fitted.extractor_.spec_
        np.testing.assert_allclose(loaded.predict_proba(IMAGES), fitted.predict_proba(IMAGES), rtol=1e-5)
        n_embedded.clear()
        plain = ImageClassifier.load(tmp_path / "m.featx", store=None, n_views=1, engine="keras")
        assert plain.extractor_.engine == "keras"
        assert plain.score(IMAGES, NAMES) == 1.0
        assert sum(n_embedded) == 20
        with pytest.raises(BackboneError, match="n_views=0"):
            ImageClassifier.load(tmp_path / "m.featx", n_views=0)

    def test_decisions_are_averaged_where_there_are_no_probabilities(self, classifier, extractor):
        classifier.set_params(backbone=extractor, head=SVC()).fit(IMAGES, NAMES)
        assert classifier.score(IMAGES, NAMES) == 1.0

    def test_fine_tuning_takes_each_image_as_it_is(self, fitted, n_embedded):
        # The images themselves are in the store already: nothing is embedded.
        n_embedded.clear()
        tuner = fitted.fine_tune(IMAGES, NAMES, validation_size=0.3, unfreeze="none", epochs=1)
        assert n_embedded == []
        assert tuner.predict_proba(IMAGES).shape == (20, 2)
        plain = ImageClassifier(TINY, fitted.head_, store=None).fit(IMAGES, NAMES)
        model = fitted.to_keras()
        assert model.input_shape == plain.to_keras().input_shape == (None, 16, 16, 3)


class TestArrays:
    @pytest.fixture
    def table(self):
        from sklearn.datasets import load_iris

        flowers = load_iris()
        return flowers.data, flowers.target_names[flowers.target]

    @pytest.fixture
    def model(self):
        import keras

        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        return keras.Model(inputs, keras.layers.Dense(16, activation="relu")(inputs))

    def classifier(self, model, tmp_path):
        extractor = FeatureExtractor(model, inputs="arrays")
        return ImageClassifier(extractor, "logistic_regression", store=tmp_path / "cache", cv=3)

    def test_they_are_fitted_scored_saved_and_loaded(self, table, model, tmp_path):
        X, y = table
        fitted = self.classifier(model, tmp_path).fit(X, y)
        assert fitted.score(X, y) > 0.9
        assert fitted.score(ValueSource(X, y)) == fitted.score(X, y)
        fitted.save(tmp_path / "m.featx")
        loaded = ImageClassifier.load(tmp_path / "m.featx", backbone=model, store=tmp_path / "cache")
        np.testing.assert_array_equal(loaded.predict(X[:9]), fitted.predict(X[:9]))
        np.testing.assert_array_equal(loaded.predict_proba(X[:9]), fitted.predict_proba(X[:9]))

    def test_there_is_nothing_to_make_a_model_of_images_from(self, table, model, tmp_path):
        X, y = table
        fitted = self.classifier(model, tmp_path).fit(X, y)
        with pytest.raises(ConversionError, match="takes arrays; expected one of images"):
            fitted.to_keras()
        with pytest.raises(ConversionError, match="takes arrays; expected one of images"):
            fitted.fine_tune(X, y)

    def test_what_the_refusal_says_to_do_works(self, table, model, tmp_path):
        import keras

        X, y = table
        fitted = self.classifier(model, tmp_path).fit(X, y)
        whole = keras.Sequential([fitted.extractor_.backbone_.model, to_keras(fitted.head_)])
        probabilities = whole.predict_on_batch(X[:9].astype(np.float32))
        np.testing.assert_allclose(probabilities, fitted.predict_proba(X[:9]), atol=1e-5)

    def test_images_are_refused(self, model, tmp_path):
        with pytest.raises(SourceError, match=r"samples of uint8 \(20, 24, 3\); expected float32 \(4,\)"):
            self.classifier(model, tmp_path).fit(make_images(4), [0, 1, 0, 1])
