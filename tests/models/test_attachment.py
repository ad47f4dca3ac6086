"""A head behind its backbone answers on images what the head answers on cached features."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from featx import BackboneError, FeatureExtractor, ImageClassifier, extract, load_backbone
from featx.errors import ConversionError
from featx.images.decoding import load_image
from featx.models.attachment import attach_head
from featx.models.conversion import to_keras
from tests.conftest import TINY, TINY_FEATURES, TINY_SIZE, make_images, write_class_folder

pytestmark = pytest.mark.backends


def own_network():
    inputs = keras.Input((16, 16, 3))
    features = keras.layers.Conv2D(8, 3, use_bias=False)(inputs)
    return keras.Model(inputs, keras.layers.BatchNormalization()(features))


def own_sequential():
    return keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(8, 3), keras.layers.ReLU()])


@pytest.fixture
def head_model():
    X = np.random.default_rng(0).normal(size=(20, TINY_FEATURES))
    return to_keras(LogisticRegression().fit(X, np.arange(20) % 2))


@pytest.mark.parametrize(
    "extractor",
    [
        FeatureExtractor(TINY),
        FeatureExtractor("efficientnet_lite0", input_size=(64, 64)),
        FeatureExtractor("MobileNetV2", input_size=(48, 32), weights=None, pooling="avg+max"),
        FeatureExtractor(TINY, taps=("first", "top")),
        FeatureExtractor(own_network(), preprocessing="unit"),
        FeatureExtractor(own_sequential(), preprocessing="tf"),
    ],
    ids=["tiny", "lite0", "MobileNetV2", "taps", "own", "sequential"],
)
@pytest.mark.parametrize("head", ["logistic_regression", "rbf_svm", KNeighborsClassifier(3)], ids=str)
def test_the_cached_path_equals_the_end_to_end_path_on_raw_images(extractor, head, tmp_path):
    folder = write_class_folder(tmp_path / "images", n_images=24)
    classifier = ImageClassifier(extractor, head, store=tmp_path / "cache", cv=2, random_state=0).fit(folder)
    model = classifier.to_keras()
    # JPEG and PNG files of another size than the network's.
    paths = sorted(folder.rglob("*.*g"))
    images = np.stack(
        [load_image(path.read_bytes(), classifier.extractor_.spec_.input_size) for path in paths]
    )
    found = model.predict_on_batch(images)
    np.testing.assert_allclose(found, classifier.predict_proba(paths), atol=1e-5)
    assert [model.class_names[column] for column in found.argmax(axis=1)] == classifier.predict(
        paths
    ).tolist()


def test_training_it_changes_no_backbone_that_features_are_extracted_with(head_model):
    backbone = load_backbone(TINY)
    before = extract(make_images(4), TINY, store=None).X
    model = attach_head(backbone, head_model)
    for layer in model.layers:
        layer.trainable = True
    model.compile("sgd", "categorical_crossentropy")
    model.train_on_batch(make_images(4, size=TINY_SIZE), np.eye(2)[[0, 1, 0, 1]])
    np.testing.assert_array_equal(extract(make_images(4), TINY, store=None).X, before)
    np.testing.assert_array_equal(
        backbone.model.predict_on_batch(make_images(4, size=TINY_SIZE)),
        load_backbone(TINY).unshared().model.predict_on_batch(make_images(4, size=TINY_SIZE)),
    )


@pytest.mark.parametrize("build", [own_network, own_sequential])
def test_a_users_own_model_is_copied(build):
    own = build()
    backbone = load_backbone(own, preprocessing="unit")
    copy = backbone.unshared()
    images = make_images(3, size=(16, 16))
    np.testing.assert_array_equal(
        copy.model.predict_on_batch(images), backbone.model.predict_on_batch(images)
    )
    assert not {id(weight) for weight in copy.base.weights} & {id(weight) for weight in own.weights}


def test_a_model_that_cannot_be_copied_is_refused():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    inputs = keras.Input((16, 16, 3))
    own = keras.Model(inputs, Own()(inputs))
    with pytest.raises(BackboneError, match="no equal copy"):
        load_backbone(own, preprocessing="unit").unshared().model  # noqa: B018 - built when first asked for


def test_the_head_can_be_trained_and_the_backbone_is_frozen(head_model):
    model = attach_head(TINY, head_model)
    assert {variable.path for variable in model.trainable_variables} == {
        variable.path for variable in head_model.trainable_variables
    }


def test_class_names(head_model):
    assert attach_head(TINY, head_model).class_names == ("0", "1")
    assert attach_head(TINY, head_model, ["cat", "dog"]).class_names == ("cat", "dog")
    with pytest.raises(ConversionError, match="3 class names for a head of 2 classes"):
        attach_head(TINY, head_model, ["cat", "dog", "cow"])


def test_a_head_of_another_width_is_refused(head_model):
    with pytest.raises(ConversionError, match="a head of 12 features behind a backbone of 24"):
        attach_head(load_backbone(TINY, pooling="avg+max"), head_model)
    with pytest.raises(ConversionError, match="n_features"):
        attach_head(TINY, load_backbone(TINY).model)


def test_a_backbone_of_arrays_is_refused(head_model):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(TINY_FEATURES)])
    with pytest.raises(ConversionError, match=r"which takes arrays; .* keras.Sequential yourself"):
        attach_head(load_backbone(model, inputs="arrays"), head_model)
