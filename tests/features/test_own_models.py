"""A user's own models on arrays of their own, through extractor, store and search, on real data."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx import (
    BackboneError,
    DecodeError,
    FeatureExtractor,
    FeatureSet,
    HeadSearch,
    SourceError,
    as_source,
    as_value_source,
    extract,
    list_taps,
    load_backbone,
)
from featx.features.own_models import vocabulary_size
from tests.conftest import TINY, build_tiny, make_images

pytestmark = pytest.mark.backends

LENGTH = 24


def strokes():
    """Digits, row after row: sequences of 8 steps of 8 values, as a spectrogram's columns are."""
    digits = load_digits()
    return digits.images[:120, :, :, None], digits.target[:120]


def text():
    """Windows of the words of two descriptions, as token ids; 0 pads the last third of every second one."""
    documents = [load_wine().DESCR.split(), load_breast_cancer().DESCR.split()]
    words = {word: index for index, word in enumerate(sorted({*documents[0], *documents[1]}), 1)}
    rows = [
        [words[word] for word in words_[at : at + LENGTH]] for words_ in documents for at in range(0, 150, 3)
    ]
    ids = np.array(rows)
    ids[::2, LENGTH * 2 // 3 :] = 0
    return ids, np.repeat(["wine", "cancer"], len(ids) // 2)


def table():
    """Measurements, standardised: float64 where the model takes float32."""
    cancer = load_breast_cancer()
    return StandardScaler().fit_transform(cancer.data)[:160], cancer.target_names[cancer.target][:160]


def shaken(model):
    """Statistics of normalisations that say something, as those of a trained model do."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean"):
            weight.assign(rng.normal(size=weight.shape))
    return model


def stroke_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    values = layers.Reshape((8, 8))(inputs)
    for index, width in enumerate((16, 24)):
        values = layers.Conv1D(width, 3, padding="same", use_bias=False, name=f"conv_{index}")(values)
        values = layers.ReLU(name=f"relu_{index}")(layers.BatchNormalization()(values))
    return shaken(keras.Model(inputs, values))


def text_model(n_words=1_000):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((LENGTH,), dtype="int32")
    values = layers.Embedding(n_words, 12, mask_zero=True, name="words")(inputs)
    return keras.Model(inputs, layers.GRU(10, return_sequences=True, name="reader")(values))


def table_model():
    keras.utils.set_random_seed(0)
    inputs = values = keras.Input((30,))
    for index, width in enumerate((48, 32)):
        values = layers.Dense(width, use_bias=False, name=f"dense_{index}")(values)
        values = layers.ReLU()(layers.BatchNormalization()(values))
    return shaken(keras.Model(inputs, values))


KINDS = {"strokes": (strokes, stroke_model), "text": (text, text_model), "table": (table, table_model)}
TAP = {"strokes": "relu_0", "text": "words", "table": "dense_0"}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def made(kind, **options):
    """Samples, labels, the model and an extractor on it."""
    data, build = KINDS[kind]
    X, y = data()
    model = build()
    return X, y, model, FeatureExtractor(model, inputs="arrays", **options)


def expected_features(model, X):
    """What the model gives, pooled by hand."""
    outputs = model.predict_on_batch(X.astype(model.inputs[0].dtype))
    if model.inputs[0].dtype == "int32":
        is_word = (X != 0)[..., None]
        return (outputs * is_word).sum(axis=1) / is_word.sum(axis=1)
    return outputs.mean(axis=tuple(range(1, outputs.ndim - 1))) if outputs.ndim > 2 else outputs


def assert_close(features, expected, tolerance=2e-6):
    assert features.shape == expected.shape
    assert np.abs(features - expected).max() <= tolerance * np.abs(expected).max()


class TestEveryKind:
    def test_features_are_those_of_the_model_and_are_kept(self, kind, tmp_path):
        X, y, model, extractor = made(kind)
        features = extract(as_value_source(X, y), extractor, store=tmp_path)
        n_distinct = len(np.unique(X.reshape(len(X), -1), axis=0))
        assert (features.report.n_computed, features.report.n_cached) == (n_distinct, len(X) - n_distinct)
        assert_close(features.X, expected_features(model, X))
        assert sorted(set(features.class_names)) == sorted({str(label) for label in y})
        again = extract(X, extractor, store=tmp_path)
        assert (again.report.n_computed, again.report.n_cached) == (0, len(X))
        np.testing.assert_array_equal(again.X, features.X)

    def test_files_and_specs_bring_them_back(self, kind, tmp_path):
        X, _, model, extractor = made(kind, pooling="avg+max", taps=(TAP[kind], "top"))
        features = extract(X[:9], extractor, store=None)
        assert [name for name, _ in features.spec.feature_blocks] == [
            *(f"{TAP[kind]}:avg", f"{TAP[kind]}:max"),
            *("top:avg", "top:max"),
        ]
        features.save(tmp_path / "f.h5")
        loaded = FeatureSet.load(tmp_path / "f.h5")
        np.testing.assert_array_equal(loaded.X, features.X)
        assert (loaded.spec.inputs, loaded.spec.input_size) == ("arrays", X.shape[1:])
        assert (loaded.spec.resize_rule, loaded.spec.pixels_sha256) == ("", "")
        twin = FeatureExtractor.from_spec(loaded.spec, model)
        np.testing.assert_array_equal(twin.transform(X[:9]), features.X)

    def test_copies_are_one_group_and_embedded_once(self, kind):
        X, _, _, extractor = made(kind)
        features = extract(X[[0, 1, 0]], extractor, store=None)
        assert features.report.n_computed == 2
        assert features.groups[0] == features.groups[2] != features.groups[1]
        np.testing.assert_array_equal(features.X[0], features.X[2])

    def test_a_wrong_shape_is_refused(self, kind):
        X, _, _, extractor = made(kind)
        with pytest.raises(SourceError, match="reshape, pad or cut"):
            extract(X[:, :-1], extractor, store=None)

    def test_images_are_refused(self, kind):
        *_, extractor = made(kind)
        with pytest.raises(SourceError, match="ArraySource of images"):
            extract(as_source(make_images(3)), extractor, store=None)

    def test_a_file_serves_as_the_model_does(self, kind, tmp_path):
        X, _, model, extractor = made(kind)
        model.save(tmp_path / "m.keras")
        from_file = FeatureExtractor(tmp_path / "m.keras", inputs="arrays").fit()
        assert from_file.spec_ == extractor.fit().spec_
        assert_close(from_file.transform(X[:5]), expected_features(model, X[:5]))


@pytest.mark.parametrize("kind", ["strokes", "table"])
def test_a_sample_that_is_not_finite_is_named_or_left_out(kind):
    X, y, _, extractor = made(kind)
    X = X.copy()
    X[5].flat[2] = np.nan
    with pytest.raises(DecodeError, match="5: not finite: 1 of"):
        extract(X, extractor, store=None)
    features = extract(as_value_source(X, y), extractor, store=None, on_error="skip")
    assert [failure.sample_id for failure in features.report.failed] == ["5"]
    assert len(features) == len(X) - 1
    assert [features.class_names[label] for label in features.y] == [str(each) for each in np.delete(y, 5)]


class TestTokens:
    @pytest.mark.parametrize("token", [-1, 1_000])
    def test_an_id_that_the_model_does_not_know_fails_its_sample_alone(self, token):
        X, _, model, extractor = made("text")
        X = X.copy()
        X[3, 4] = token
        with pytest.raises(DecodeError, match=r"3: received token ids from .* the model's vocabulary"):
            extract(X, extractor, store=None)
        features = extract(X, extractor, store=None, on_error="skip")
        assert [failure.sample_id for failure in features.report.failed] == ["3"]
        kept = np.delete(np.arange(len(X)), 3)
        assert_close(features.X, expected_features(model, X[kept]))

    def test_a_worker_knows_the_vocabulary_too(self):
        import pickle

        extractor = made("text")[-1].fit()
        assert pickle.loads(pickle.dumps(extractor)).preparation.vocabulary_size == 1_000

    def test_fractions_are_no_ids(self):
        X, _, _, extractor = made("text")
        with pytest.raises(DecodeError, match="float64 values where the model takes int32"):
            extract(X.astype(float), extractor, store=None)

    def test_nothing_but_padding_has_no_features(self):
        X, _, _, extractor = made("text")
        X = X.copy()
        X[2] = 0
        report = extract(X, extractor, store=None, on_error="skip").report
        assert [(failure.sample_id, failure.stage) for failure in report.failed] == [("2", "forward")]

    def test_it_is_found_wherever_the_input_goes_into_an_embedding(self):
        inner = keras.Sequential([keras.Input((4,)), layers.Embedding(30, 2)])
        inputs = keras.Input((4,), dtype="int32")
        both = layers.Concatenate()([inner(inputs), layers.Embedding(20, 2)(inputs)])
        assert vocabulary_size(inner) == 30
        assert vocabulary_size(keras.Model(inputs, both)) == 20

    def test_others_have_none(self):
        assert vocabulary_size(table_model()) is None
        # What becomes of the input before it is looked up is the model's own business.
        inputs = keras.Input((4,), dtype="int32")
        assert vocabulary_size(keras.Model(inputs, layers.Embedding(20, 2)(inputs % 20))) is None


def test_heads_are_searched_on_them():
    X, y, _, extractor = made("table")
    features = extract(as_value_source(X, y), extractor, store=None)
    search = HeadSearch(["logistic_regression", "knn"], cv=3, random_state=0).fit(features.X, features.y)
    assert search.best_score_ > 0.9


def test_a_grid_search_embeds_each_sample_once(tmp_path):
    X, y, model, _ = made("table")
    extractor = FeatureExtractor(model, inputs="arrays", store=tmp_path)
    pipeline = make_pipeline(extractor, LogisticRegression(max_iter=10_000))
    grid = GridSearchCV(pipeline, {"logisticregression__C": [1, 10]}, cv=3).fit(X, y)
    assert grid.best_score_ > 0.9
    assert extract(X, extractor, store=tmp_path).report.n_computed == 0


@pytest.mark.parametrize("kind", ["strokes", "table"])
@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_other_engines_agree(kind, engine):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[engine])
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the packages that convert are those of TensorFlow's models")
    X, _, model, extractor = made(kind, engine=engine)
    features = extract(X, extractor, store=None)
    assert features.report.engine["name"] == engine
    assert_close(features.X, expected_features(model, X), 2e-5)


@pytest.mark.parametrize("kind", ["strokes", "table"])
def test_half_precision_is_near(kind):
    X, _, model, extractor = made(kind, engine="keras", precision="bfloat16")
    features = extract(X, extractor, store=None)
    assert features.report.engine["precision"] == "bfloat16"
    assert features.spec.precision == "bfloat16"
    assert_close(features.X, expected_features(model, X), 0.03)


def test_masks_are_heeded_in_half_precision():
    X, _ = text()
    inputs = keras.Input((LENGTH,), dtype="int32")
    values = layers.Embedding(1_000, 12, mask_zero=True)(inputs)
    model = keras.Model(inputs, layers.Dense(10)(values))
    extractor = FeatureExtractor(model, inputs="arrays", engine="keras", precision="bfloat16")
    features = extract(X, extractor, store=None)
    # No layer had to keep float32 for the features to be near.
    assert (features.report.engine["precision"], features.report.engine["float32_share"]) == ("bfloat16", 0.0)
    assert_close(features.X, expected_features(model, X), 0.01)


def test_sequences_of_any_length_need_one():
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, layers.GRU(4)(layers.Embedding(50, 3)(inputs)))
    with pytest.raises(BackboneError, match=r"of shape \(None,\).*input_size=\(the shape of one sample\)"):
        FeatureExtractor(model, inputs="arrays").fit()
    extractor = FeatureExtractor(model, inputs="arrays", input_size=(7,))
    assert extractor.fit().transform(np.ones((2, 7), int)).shape == (2, 4)
    for size in ((7, 1), (0,), 7, ("7",)):
        with pytest.raises(BackboneError, match="pass one that fits"):
            FeatureExtractor(model, inputs="arrays", input_size=size).fit()


def two_inputs():
    inputs = [keras.Input((3,)), keras.Input((3,))]
    return keras.Model(inputs, layers.Add()(inputs))


def two_outputs():
    inputs = keras.Input((3,))
    return keras.Model(inputs, [inputs, inputs])


def half_inputs():
    inputs = keras.Input((3,), dtype="bfloat16")
    return keras.Model(inputs, layers.Dense(2)(inputs))


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lambda: TINY, {}, "inputs='arrays' for the backbone tiny, which takes images"),
        (table_model, {"inputs": "tables"}, "'images', 'arrays'"),
        (table_model, {"inputs": "images"}, "pass inputs='arrays'"),
        (table_model, {"preprocessing": "unit"}, "'auto', 'none'"),
        (table_model, {"n_views": 3}, "views are made of images"),
        (table_model, {"input_size": (31,)}, "pass one that fits"),
        (table_model, {"taps": ("dense_2",)}, "did you mean dense_"),
        (two_inputs, {}, "one input of shape"),
        (two_outputs, {}, "with 2 outputs"),
        (half_inputs, {}, "of the type bfloat16"),
        (lambda: "m.keras", {}, "no such file"),
        (lambda: keras.Sequential([layers.Dense(3)]), {}, "make a model of one input"),
    ],
)
def test_what_cannot_be_is_refused_in_fit(build, options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BackboneError, match=message):
        FeatureExtractor(build(), **{"inputs": "arrays", **options}).fit()


def test_arrays_for_a_backbone_of_images_are_refused():
    with pytest.raises(SourceError, match="inputs='arrays'"):
        extract(as_value_source(load_iris().data), TINY, store=None)


def test_a_model_of_images_may_take_them_as_they_are():
    model = build_tiny((16, 16), None)
    images = make_images(3, size=(16, 16))
    as_arrays = FeatureExtractor(model, inputs="arrays").fit()
    as_images = FeatureExtractor(model, preprocessing="none").fit()
    assert as_arrays.spec_.key != as_images.spec_.key
    assert_close(as_arrays.transform(images), as_images.transform(images))


def test_an_unshared_copy_takes_the_same():
    backbone = load_backbone(text_model(), inputs="arrays")
    X, _ = text()
    copy = backbone.unshared()
    assert (copy.inputs, copy.input_dtype, copy.base is backbone.base) == ("arrays", "int32", False)
    assert_close(copy.model.predict_on_batch(X.astype("int32")), expected_features(backbone.base, X))


def test_taps_are_listed():
    names = [tap.name for tap in list_taps(table_model(), inputs="arrays", every_layer=True)]
    assert names[0] == "dense_0"
    assert names[-1] == "top"
