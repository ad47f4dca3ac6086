"""The resize inside an exported model is Pillow's."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from featx.images.decoding import load_image
from featx.models.resizing import with_resize
from tests.conftest import make_images

SIZE = (224, 224)


@pytest.fixture(scope="module")
def resize():
    images = keras.Input((*SIZE, 3), dtype="uint8")
    model = with_resize(keras.Model(images, keras.layers.Identity(dtype="uint8")(images)))
    return lambda batch: np.asarray(model.predict_on_batch(batch))


@pytest.mark.parametrize(
    "size", [(427, 640), (100, 80), (300, 301), (224, 500), (700, 224), (1, 1), (1, 900)]
)
def test_it_is_pillows_to_within_one_level(resize, size):
    photo = load_image(load_sample_image("china.jpg"), size)
    difference = np.abs(resize(photo[None])[0].astype(int) - load_image(photo, SIZE))
    assert difference.max() <= 1
    assert difference.mean() < 0.02


def test_an_image_of_the_input_size_goes_through_unchanged(resize):
    noise = make_images(2, size=SIZE)
    np.testing.assert_array_equal(resize(noise), noise)


def test_height_and_width_are_not_swapped():
    images = keras.Input((5, 9, 3), dtype="uint8")
    model = with_resize(keras.Model(images, keras.layers.Identity(dtype="uint8")(images)))
    photo = load_image(load_sample_image("flower.jpg"), (40, 30))
    difference = np.asarray(model.predict_on_batch(photo[None]))[0].astype(int) - load_image(photo, (5, 9))
    assert np.abs(difference).max() <= 1
