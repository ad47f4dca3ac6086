"""What a precision costs: measured on the user's own images, once, and kept with the features."""

import json

import keras
import numpy as np
import pytest

from featx import FeatureExtractor, FeatureSet, FeatxWarning, ImageClassifier, as_source, extract
from featx.features import difference
from featx.features.engine_choice import cosines
from featx.features.engines import KerasEngine
from featx.features.frozen import Backbone
from featx.features.precision import resolve_precision
from tests.conftest import TINY, make_images, write_class_folder

pytestmark = pytest.mark.backends


@pytest.fixture
def extractor():
    return FeatureExtractor(TINY, precision="bfloat16", engine="keras", batch_size=8)


@pytest.fixture
def n_measured(monkeypatch):
    counted = []
    original = difference._reference

    def count(engine, inputs):
        counted.append(len(inputs))
        return original(engine, inputs)

    monkeypatch.setattr(difference, "_reference", count)
    return counted


def test_it_is_the_cosine_to_float32_and_a_heads_accuracy(tmp_path, extractor):
    folder = write_class_folder(tmp_path / "images", n_images=40)
    features = extract(folder, extractor, store=tmp_path / "store")
    plain = extract(folder, FeatureExtractor(TINY, batch_size=8), store=tmp_path / "store")
    alike = cosines(features.X, plain.X)
    found = features.difference
    assert (found.precision, found.n_samples) == ("bfloat16", 40)
    assert 0.99 < found.cosine_min < 1
    assert found.cosine_min == pytest.approx(alike.min(), abs=1e-6)
    assert found.cosine_mean == pytest.approx(alike.mean(), abs=1e-6)
    # Dark and light images.
    assert found.accuracy == found.accuracy_float32 == 1.0
    assert plain.difference is None


def test_it_goes_with_the_features_into_their_file(tmp_path, extractor):
    features = extract(make_images(8), extractor, store=tmp_path)
    features.save(tmp_path / "f.h5")
    loaded = FeatureSet.load(tmp_path / "f.h5")
    assert loaded.difference == features.difference
    assert loaded.difference.accuracy is None
    # Of other columns it would not be true.
    assert loaded.select(["top"]).difference is None


def test_it_is_measured_once_also_when_the_data_set_grows(tmp_path, extractor, n_measured):
    images = make_images(60)
    first = extract(images[:50], extractor, store=tmp_path)
    assert extract(images[:50], extractor, store=tmp_path).difference == first.difference
    assert extract(images, extractor, store=tmp_path).difference == first.difference
    assert n_measured == [50]
    extract(make_images(30, seed=9), extractor, store=tmp_path)
    assert n_measured == [50, 30]


def test_a_kept_graph_in_float32_serves_for_keras(tmp_path, monkeypatch):
    if keras.backend.backend() != "tensorflow" or resolve_precision("auto", "openvino") != "bfloat16":
        pytest.skip("needs OpenVINO on a processor with bfloat16, and TensorFlow to convert")
    extractor = FeatureExtractor(TINY, precision="bfloat16", engine="openvino", batch_size=8).fit()
    extract(make_images(20), extractor, store=tmp_path)

    def must_not_load(*_):
        raise AssertionError("Keras was asked for")

    images = make_images(20, seed=7)
    expected = extract(images, FeatureExtractor(TINY, engine="keras"), store=None)
    monkeypatch.setattr(Backbone, "folded", property(must_not_load))
    features = extract(images, extractor, store=tmp_path)
    assert features.difference.n_samples == 20
    assert features.difference.cosine_min == pytest.approx(cosines(features.X, expected.X).min(), abs=1e-5)


def test_other_labels_of_the_same_images_give_another_accuracy(tmp_path, extractor, n_measured):
    images, rng = make_images(40), np.random.default_rng(0)
    by_light = extract(as_source(images, np.arange(40) % 2), extractor, store=tmp_path)
    by_chance = extract(as_source(images, rng.integers(0, 2, 40)), extractor, store=tmp_path)
    assert by_light.difference.accuracy == 1.0
    assert by_chance.difference.accuracy < 0.9
    assert n_measured == [40, 40]


def test_labels_of_one_class_are_measured_once(tmp_path, extractor, n_measured):
    source = as_source(make_images(12), ["cell"] * 12)
    assert extract(source, extractor, store=tmp_path).difference.accuracy is None
    extract(source, extractor, store=tmp_path)
    assert n_measured == [12]


def test_a_prediction_measures_nothing(tmp_path, extractor, n_measured):
    extractor.set_params(store=tmp_path).fit().transform(make_images(8))
    classifier = ImageClassifier(extractor, "logistic_regression", store=tmp_path, cv=2)
    classifier.fit(make_images(12), np.arange(12) % 2).predict(make_images(4, seed=5))
    assert n_measured == []


def test_it_takes_no_larger_batches_than_the_extraction(tmp_path):
    seen = []
    original = KerasEngine.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            KerasEngine, "start", lambda self, inputs: (seen.append(len(inputs)), original(self, inputs))[1]
        )
        extractor = FeatureExtractor(TINY, precision="bfloat16", engine="keras", batch_size=2)
        extract(make_images(7), extractor, store=tmp_path)
    assert set(seen) == {2}


def test_labels_that_come_later_give_an_accuracy(tmp_path, extractor, n_measured):
    folder = write_class_folder(tmp_path / "images", n_images=20)
    paths = sorted(folder.rglob("*.*"))
    assert extract(paths, extractor, store=tmp_path / "store").difference.accuracy is None
    assert extract(folder, extractor, store=tmp_path / "store").difference.accuracy is not None
    assert n_measured == [20, 20]


def test_large_data_sets_are_measured_by_a_sample_spread_over_them(
    tmp_path, extractor, monkeypatch, n_measured
):
    monkeypatch.setattr(difference, "_MAX_SAMPLES", 5)
    assert extract(make_images(50), extractor, store=tmp_path).difference.n_samples == 5
    assert n_measured == [5]
    assert difference._spread(range(50)) == [0, 12, 24, 37, 49]


def test_failed_images_do_not_count(tmp_path, extractor):
    folder = write_class_folder(tmp_path / "images", n_images=12)
    (folder / "dark" / "0.png").write_bytes(b"")
    features = extract(folder, extractor, store=tmp_path / "store", on_error="skip")
    assert (features.report.n_failed, features.difference.n_samples) == (1, 12)


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"labels": {}, "difference": "{}"})])
def test_a_damaged_record_is_measured_anew(tmp_path, extractor, n_measured, text):
    extract(make_images(8), extractor, store=tmp_path)
    (path,) = tmp_path.rglob("difference-*.json")
    path.write_text(text)
    with pytest.warns(FeatxWarning, match="measuring anew"):
        extract(make_images(8), extractor, store=tmp_path)
    assert n_measured == [8, 8]


def test_accuracy_needs_two_classes_of_five():
    X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    assert difference._accuracy(X, np.zeros(12, int)) is None
    assert difference._accuracy(X, np.array([0] * 8 + [1] * 4)) is None
    assert difference._accuracy(X, np.array([0] * 6 + [1] * 6)) is not None
    assert difference._accuracy(X, np.full(12, -1)) is None
