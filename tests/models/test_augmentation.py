"""Each change changes images, at random, and keeps them images."""

import numpy as np
import pytest

from featx import Augmentation
from tests.conftest import make_images

CHANGES = [
    {"flip": "horizontal"},
    {"flip": "vertical"},
    {"flip": "horizontal_and_vertical"},
    {"rotation_degrees": 20},
    {"shift": 0.2},
    {"zoom": 0.2},
    {"shear": 0.2},
]


@pytest.mark.parametrize("options", CHANGES, ids=str)
def test_images_change_and_stay_images(options):
    images = make_images(8).astype(np.float32)
    (layer,) = Augmentation(**options).layers(seed=0)
    first, second = (np.asarray(layer(images, training=True)) for _ in range(2))
    assert first.shape == images.shape
    assert (first.min(), first.max()) >= (images.min(), 0)
    assert first.max() <= images.max() + 1e-3
    assert not np.array_equal(first, images)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.asarray(layer(images, training=False)), images)


def test_flips_are_flips():
    images = make_images(16).astype(np.float32)
    (layer,) = Augmentation("horizontal").layers(seed=0)
    found = np.asarray(layer(images, training=True))
    flipped = [np.array_equal(after, before[:, ::-1]) for after, before in zip(found, images, strict=True)]
    kept = [np.array_equal(after, before) for after, before in zip(found, images, strict=True)]
    assert all(left != right for left, right in zip(flipped, kept, strict=True))
    assert 0 < sum(flipped) < len(images)


def test_nothing_asked_for_is_no_layer():
    assert not list(Augmentation().layers(seed=0))
