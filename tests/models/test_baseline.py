"""The baseline sees what pixels tell, and warns only where the features tell no more."""

import warnings

import numpy as np
import pytest

from featx.errors import FeatxWarning
from featx.models.baseline import _thumbnails, warn_of_negative_transfer
from featx.models.samples import Samples
from tests.conftest import make_images


def samples(n_images, seed, size=(40, 30)):
    images = make_images(n_images, seed, size)
    return Samples((images,), np.arange(n_images) % 2, np.ones(n_images, np.float32))


def test_pixels_that_tell_the_classes_beat_features_that_do_not():
    with pytest.warns(FeatxWarning, match=r"accuracy of 1\.000 .* features 0\.700"):
        assert warn_of_negative_transfer(samples(40, 0), samples(20, 1), 0.7, 0) == 1.0


def test_nothing_is_said_otherwise():
    noise = Samples(samples(40, 0).inputs, np.arange(40) // 2 % 2, np.ones(40, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Neither makes a mistake; the features are better; there is nothing to learn.
        assert warn_of_negative_transfer(samples(40, 0), samples(20, 1), 1.0, 0) == 1.0
        assert warn_of_negative_transfer(noise, samples(20, 1), 0.95, 0) < 0.95
        one = Samples(noise.inputs, np.zeros(40, np.int64), noise.weight)
        assert warn_of_negative_transfer(one, samples(20, 1), 0.5, 0) is None


@pytest.mark.parametrize("size", [(64, 48), (40, 33), (10, 200), (16, 16)])
def test_thumbnails_are_means_of_fields(size):
    images = make_images(2, size=size)
    found = _thumbnails(images, np.array([1]))
    height, width = (min(16, side) for side in size)
    assert found.shape == (1, height * width * 3)
    rows = [np.arange(count) * side // count for count, side in zip((height, width), size, strict=True)]
    bottom, right = (
        int(starts[1]) if len(starts) > 1 else side for starts, side in zip(rows, size, strict=True)
    )
    np.testing.assert_allclose(found[0, :3], images[1, :bottom, :right].mean(axis=(0, 1)), rtol=1e-5)
