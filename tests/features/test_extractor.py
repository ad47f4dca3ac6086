"""FeatureExtractor: a scikit-learn transformer that runs the backbone once per distinct image."""

import pickle

import joblib
import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline

from featx import (
    BackboneError,
    BackboneSpec,
    DecodeError,
    FeatureExtractor,
    FeatureStore,
    StoreMismatchError,
    extract,
)
from featx.features.backbones import _shared_backbone
from tests.conftest import TINY, build_tiny, make_images, write_class_folder
from tests.contracts import described

pytestmark = pytest.mark.backends


def pipeline(store):
    return Pipeline([("embed", FeatureExtractor(TINY, store=store)), ("head", LogisticRegression())])


@pytest.mark.parametrize("kind", ["arrays", "paths", "array of paths"])
def test_a_grid_search_embeds_every_image_once(tmp_path, n_embedded, kind):
    images, y = make_images(24), np.array([0, 1] * 12)
    if kind != "arrays":
        folder = write_class_folder(tmp_path / "images", 24)
        images = sorted(str(path) for path in folder.rglob("*.*"))
        y = np.array(["light" in path for path in images])
        images = np.array(images) if kind == "array of paths" else images
    search = GridSearchCV(pipeline(tmp_path / "store"), {"head__C": [0.01, 1.0, 100.0]}, cv=4)
    search.fit(images, y)
    assert sum(n_embedded) == 24
    assert search.best_score_ == 1.0
    assert search.predict(images).shape == (24,)
    assert sum(n_embedded) == 24


def test_worker_processes_share_the_store(tmp_path):
    model = pipeline(tmp_path)
    # A worker process knows only the names that featx brings, so it is told the whole spec.
    model.set_params(embed__backbone=BackboneSpec(TINY, build_tiny, "unit", (16, 16), 12, "random"))
    scores = cross_val_score(model, make_images(24), [0, 1] * 12, cv=3, n_jobs=2)
    assert scores.mean() == 1.0
    assert FeatureStore(tmp_path).entries()[0].n_samples >= 24


def test_searching_the_extractors_own_parameters(tmp_path, n_embedded):
    search = GridSearchCV(pipeline(tmp_path), {"embed__pooling": ["avg", "max"]}, cv=3)
    search.fit(make_images(12), [0, 1] * 6)
    assert sum(n_embedded) == 24


def test_clone_and_pickle_keep_the_parameters_and_the_features(images):
    extractor = FeatureExtractor(TINY, pooling="max", batch_size=5).fit()
    expected = extractor.transform(images)
    assert clone(extractor).get_params() == extractor.get_params()
    for copy in (clone(extractor).fit(), pickle.loads(pickle.dumps(extractor))):
        np.testing.assert_array_equal(copy.transform(images), expected)


def test_own_models_survive_clone_and_worker_processes(tmp_path):
    extractor = FeatureExtractor(build_tiny((16, 16), None), preprocessing="unit", store=tmp_path).fit()
    assert clone(extractor).fit().spec_.key == extractor.spec_.key
    images = make_images(3)
    expected = extractor.transform(images)
    (found,) = joblib.Parallel(n_jobs=2)([joblib.delayed(extractor.transform)(images)])
    np.testing.assert_array_equal(found, expected)


def test_names_of_the_columns():
    extractor = FeatureExtractor(TINY, taps=("first",), pooling="avg+max").fit()
    names = extractor.get_feature_names_out()
    assert len(names) == extractor.n_features_out_ == 16
    assert [names[0], names[8]] == ["first:avg_0", "first:max_0"]


def test_fit_looks_at_no_image():
    assert FeatureExtractor(TINY).fit(["no/such/file.png"]).n_features_out_ == 12


def test_transform_never_drops_a_row(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"a\.png: empty file"):
        FeatureExtractor(TINY).fit_transform([tmp_path / "a.png"])


@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": "large"},
        {"n_views": 0},
        {"n_views": 9, "views": "flip"},
        {"n_views": 2, "views": ("flip", "spin")},
        {"precision": "float8"},
        {"precision": "bfloat16", "engine": "onnx"},
        {"engine": "fast"},
        {"pooling": "sum"},
        {"taps": ("nowhere",)},
        {"random_state": "x"},
        {"random_state": np.random.default_rng(0)},
        {"backbone": "tinny"},
    ],
    ids=described,
)
def test_unusable_parameters_are_refused_in_fit(parameters):
    extractor = FeatureExtractor(**{"backbone": TINY, **parameters})
    with pytest.raises(BackboneError, match="expected"):
        extractor.fit()


class TestFromSpec:
    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"pooling": "avg+max", "taps": ("first", "top"), "input_size": (20, 17)},
            {"weights": None, "random_state": 5},
            {"preprocessing": "tf"},
        ],
        ids=described,
    )
    def test_a_spec_gives_its_extractor_back(self, parameters):
        spec = FeatureExtractor(TINY, **parameters).fit().spec_
        assert FeatureExtractor.from_spec(spec, batch_size=7).spec_ == spec

    def test_own_models_are_asked_for(self):
        spec = FeatureExtractor(build_tiny((16, 16), None), preprocessing="unit").fit().spec_
        with pytest.raises(BackboneError, match="pass backbone"):
            FeatureExtractor.from_spec(spec)

    def test_own_models_are_recognised_whatever_their_name(self):
        model = build_tiny((16, 16), None)
        spec = FeatureExtractor(model, preprocessing="unit").fit().spec_
        model.name = "renamed"
        assert FeatureExtractor.from_spec(spec, model).n_features_out_ == 12

    def test_another_model_is_refused_with_the_fields(self):
        spec = FeatureExtractor(build_tiny((16, 16), None), preprocessing="unit").fit().spec_
        with pytest.raises(StoreMismatchError, match="weights_sha256"):
            FeatureExtractor.from_spec(spec, build_tiny((16, 16), None))

    def test_another_decoder_is_refused(self, monkeypatch):
        spec = FeatureExtractor(TINY).fit().spec_
        monkeypatch.setattr("featx.features.recipe.pixels_sha256", lambda: "f" * 64)
        with pytest.raises(StoreMismatchError, match="pixels_sha256"):
            FeatureExtractor.from_spec(spec)


class Doubled(keras.layers.Layer):
    """A layer of a user's own, which is not registered with Keras."""

    def call(self, inputs):
        return 2.0 * inputs


def own_model(*, name=None, layer=None):
    inputs = keras.Input((16, 16, 3))
    features = keras.layers.Conv2D(4, 3, kernel_initializer="ones")(inputs)
    return keras.Model(inputs, features if layer is None else layer(features), name=name)


def test_a_model_that_is_trained_after_fit_is_refused(tmp_path):
    model = own_model()
    extractor = FeatureExtractor(model, preprocessing="unit", store=tmp_path).fit()
    before = extractor.transform(make_images(4))
    model.set_weights([weight + 1 for weight in model.get_weights()])
    with pytest.raises(StoreMismatchError, match="fit the extractor again; weights_sha256"):
        extractor.transform(make_images(4, seed=1))
    after = extractor.fit().transform(make_images(4))
    assert np.abs(after - before).max() > 1


def test_a_file_that_is_replaced_after_fit_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    own_model().save(path)
    extractor = pickle.loads(pickle.dumps(FeatureExtractor(path, preprocessing="unit").fit()))
    own_model(layer=keras.layers.ReLU()).save(path)
    with pytest.raises(StoreMismatchError, match="architecture"):
        extractor.backbone_  # noqa: B018 - it is loaded when asked for


def test_what_a_users_model_is_called_changes_nothing(tmp_path):
    images = make_images(4)
    for n_computed, name in ((4, "first"), (0, "second")):
        features = extract(
            images, FeatureExtractor(own_model(name=name), preprocessing="unit"), store=tmp_path
        )
        assert features.report.n_computed == n_computed


def test_a_model_with_layers_of_a_users_own_is_extracted(tmp_path):
    extractor = FeatureExtractor(own_model(layer=Doubled()), preprocessing="unit")
    doubled = extract(make_images(3), extractor, store=tmp_path).X
    plain = extract(make_images(3), FeatureExtractor(own_model(), preprocessing="unit"), store=tmp_path).X
    np.testing.assert_allclose(doubled, 2 * plain, rtol=1e-6)
    assert clone(extractor).backbone is extractor.backbone


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "MobileNetV2"])
def test_the_global_precision_changes_no_features(backbone, tmp_path):
    extractor = FeatureExtractor(backbone, input_size=(32, 32), weights=None)
    expected = extract(make_images(2), extractor, store=tmp_path / "a").X
    _shared_backbone.cache_clear()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = extract(make_images(2), extractor, store=tmp_path / "b").X
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
        _shared_backbone.cache_clear()
    np.testing.assert_array_equal(found, expected)


def test_a_tap_that_is_not_in_a_list_is_refused():
    with pytest.raises(BackboneError, match=r"pass \['second'\]"):
        FeatureExtractor(TINY, taps="second").fit()


def test_a_model_with_two_outputs_is_refused():
    inputs = keras.Input((16, 16, 3))
    with pytest.raises(BackboneError, match="with 2 outputs"):
        FeatureExtractor(keras.Model(inputs, [inputs, inputs]), preprocessing="unit").fit()


class TestWithViews:
    def test_the_network_is_shared_and_the_spec_is_that_of_a_new_one(self):
        four = FeatureExtractor(TINY, n_views=4, views="crop", random_state=3).fit()
        eight = four.with_views(8)
        assert eight.backbone_ is four.backbone_
        again = FeatureExtractor(TINY, n_views=8, views="crop", random_state=3).fit()
        assert eight.spec_ == again.spec_
        assert four.with_views(1).spec_ == four.spec_.of_one_view()
        assert four.n_views == 4

    def test_more_views_than_there_are_are_refused(self):
        extractor = FeatureExtractor(TINY, views="flip").fit()
        with pytest.raises(BackboneError, match="n_views=9 of flip"):
            extractor.with_views(9)
        with pytest.raises(BackboneError, match="n_views=0"):
            extractor.with_views(0)
