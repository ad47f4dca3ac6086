"""The jobs behind search, evaluate and predict: honest splits, honest scores, nothing dropped."""

import csv

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featx import (
    ArraySource,
    FeatureExtractor,
    FeatureSet,
    HeadError,
    HeadSearch,
    ImageClassifier,
    ModelFile,
    StoreMismatchError,
    as_source,
    extract,
    save_head,
)
from featx.jobs import evaluate_model, predict_images, save_search, search_features
from tests.conftest import TINY, make_images, write_class_folder


def search():
    return HeadSearch("logistic_regression", cv=3, random_state=0)


@pytest.fixture
def features(tmp_path):
    images, y = make_images(40), ["dark", "light"] * 20
    return extract(as_source(images, y), FeatureExtractor(TINY), store=tmp_path / "store")


@pytest.fixture
def model(features, tmp_path):
    save_search(search_features(features, search()), features, tmp_path / "m.featx")
    return ModelFile.load(tmp_path / "m.featx")


def test_the_test_part_is_not_trained_on(features):
    result = search_features(features, search(), test_size=0.25)
    assert len(result.test_rows) == 10
    assert not set(result.train_rows) & set(result.test_rows)
    assert result.test.n_samples == 10
    assert result.test.class_names == ("dark", "light")


def test_copies_of_an_image_are_on_one_side(tmp_path):
    images = make_images(40)
    doubled = as_source(np.concatenate([images, images]), ["dark", "light"] * 40)
    features = extract(doubled, FeatureExtractor(TINY), store=tmp_path)
    result = search_features(features, search())
    digests = np.array(features.image_sha256)
    assert not set(digests[result.train_rows]) & set(digests[result.test_rows])


def test_a_test_size_of_zero_trains_on_everything(features):
    result = search_features(features, search(), test_size=0)
    assert result.test is None
    assert len(result.train_rows) == 40
    assert result.to_dict()["test"] is None


def test_unlabelled_rows_are_left_out_and_counted(features):
    features.y[:5] = -1
    result = search_features(features, search())
    assert result.n_unlabelled == 5
    assert min(result.train_rows.min(), result.test_rows.min()) >= 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(40, -1), "without labels"),
        (np.zeros(40, int), r"one class only \(dark\)"),
        (np.array([1, 1] + [0] * 38), "the class light with 2 samples; expected 3 samples"),
    ],
)
def test_labels_that_cannot_serve_are_refused_by_name(features, labels, message):
    features.y[:] = labels
    with pytest.raises(HeadError, match=message):
        search_features(features, search(), test_size=0)


def test_the_saved_model_is_the_one_that_was_scored(features, tmp_path):
    result = search_features(features, search())
    save_search(result, features, tmp_path / "m.featx")
    model = ModelFile.load(tmp_path / "m.featx")
    test = features.X[result.test_rows]
    np.testing.assert_array_equal(model.head.predict_proba(test), result.search.predict_proba(test))
    assert model.metrics["test"]["accuracy"] == result.test.accuracy
    assert model.class_names == ["dark", "light"]
    assert model.extraction_spec == features.spec.to_json()


class TestEvaluateModel:
    def test_images_it_was_fitted_on_are_left_out(self, features, model):
        found = evaluate_model(model, features)
        assert found.n_trained_on == 30
        assert found.evaluation.n_samples == 10
        assert not found.flatters
        assert found.evaluation.accuracy == model.metrics["test"]["accuracy"]

    def test_when_it_was_fitted_on_all_it_says_so(self, features, model):
        seen = np.flatnonzero(model.was_trained_on(features.image_sha256))
        chosen = FeatureSet(
            features.X[seen],
            features.y[seen],
            class_names=features.class_names,
            image_sha256=[features.image_sha256[row] for row in seen],
            spec=features.spec,
        )
        found = evaluate_model(model, chosen)
        assert found.flatters
        assert found.evaluation.n_samples == 30

    def test_classes_are_matched_by_name(self, features, model):
        swapped = FeatureSet(
            features.X,
            1 - features.y,
            class_names=["light", "dark"],
            image_sha256=features.image_sha256,
            spec=features.spec,
        )
        assert evaluate_model(model, swapped).evaluation.accuracy == 1.0

    def test_an_unknown_class_is_refused(self, features, model):
        features.class_names = ["dark", "grey"]
        with pytest.raises(HeadError, match="the classes grey; expected labels among dark, light"):
            evaluate_model(model, features)

    def test_features_of_another_extraction_are_refused_with_the_fields(self, model, tmp_path):
        source = as_source(make_images(4), ["dark", "light"] * 2)
        other = extract(source, FeatureExtractor(TINY, pooling="max"), store=tmp_path)
        with pytest.raises(StoreMismatchError, match="pooling: found max, expected avg"):
            evaluate_model(model, other)

    def test_features_without_a_spec_must_have_the_width(self, model):
        with pytest.raises(HeadError, match="3 features; expected the 12"):
            evaluate_model(model, FeatureSet(np.ones((2, 3), np.float32), [0, 1]))


class TestPredictImages:
    @pytest.fixture
    def classifier(self, model, tmp_path):
        classifier = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "store")
        assert classifier.classes_.tolist() == model.class_names
        return classifier

    @pytest.fixture
    def spoiled(self, tmp_path):
        folder = write_class_folder(tmp_path / "images", 12)
        for name in ("dark/00.png", "dark/00-003.png", "light/zz.jpg"):
            (folder / name).write_bytes(b"")
        return as_source(folder)

    def test_failed_images_keep_their_place(self, classifier, spoiled):
        found = predict_images(classifier, spoiled, on_error="skip")
        assert found.sample_ids == spoiled.sample_ids
        for sample_id, label, row, error in zip(
            found.sample_ids, found.labels, found.probabilities, found.errors, strict=True
        ):
            if sample_id in {"dark/00.png", "dark/00-003.png", "light/zz.jpg"}:
                assert (label, error, np.isnan(row).all()) == (None, "empty file", True)
            else:
                assert (label, error) == (sample_id.partition("/")[0], "")
                assert row.sum() == pytest.approx(1)

    def test_the_csv_has_a_row_for_every_image(self, classifier, spoiled, tmp_path):
        predict_images(classifier, spoiled, on_error="skip").save_csv(tmp_path / "p.csv")
        with (tmp_path / "p.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["sample_id"] for row in rows] == spoiled.sample_ids
        names = ["sample_id", "label", "probability", "probability_dark", "probability_light", "error"]
        assert list(rows[0]) == names
        failed = next(row for row in rows if row["sample_id"] == "dark/00.png")
        assert failed["label"] == failed["probability"] == ""
        good = next(row for row in rows if not row["error"])
        assert float(good["probability"]) == max(float(good[name]) for name in names[3:5])

    def test_plain_values_leave_failures_to_their_list(self, classifier, spoiled):
        details = predict_images(classifier, spoiled, on_error="skip").to_dict()
        assert (len(details["predictions"]), details["n_failed"], details["n_samples"]) == (12, 3, 15)


def test_samples_of_one_name_keep_their_own_predictions(tmp_path):
    images, y = make_images(12).astype(float), ["dark", "light"] * 6
    classifier = ImageClassifier(TINY, "logistic_regression", store=tmp_path, cv=2)
    classifier.fit(ArraySource(images, y, value_range=(0, 255)))
    expected = classifier.predict_proba(ArraySource(images[1:2], value_range=(0, 255)))[0]
    images[0] = np.nan
    source = ArraySource(images[:2], value_range=(0, 255))
    # Built-in sources refuse or prevent this; a source of somebody's own may not.
    source.sample_ids = ["a", "a"]
    found = predict_images(classifier, source, on_error="skip")
    assert [bool(error) for error in found.errors] == [True, False]
    assert found.labels == [None, "light"]
    np.testing.assert_allclose(found.probabilities[1], expected, rtol=1e-5)


def test_a_head_saved_without_names_is_evaluated_by_the_classes_it_knows(features, tmp_path):
    head = LogisticRegression().fit(features.X, np.array(features.class_names)[features.y])
    save_head(head, tmp_path / "m.featx")
    found = evaluate_model(ModelFile.load(tmp_path / "m.featx"), features)
    assert found.evaluation.n_samples == len(features)


def test_features_without_digests_are_nobodys_training_images(features):
    alone = FeatureSet(features.X, features.y, class_names=features.class_names)
    head = LogisticRegression().fit(alone.X, alone.y)
    model = ModelFile(head, class_names=alone.class_names, training_images=alone.image_sha256)
    found = evaluate_model(model, alone)
    assert (found.flatters, found.n_trained_on) == (False, 0)
