"""Views of encoded images: the first is the plain image, whatever way the others are decoded."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from featx.images.decoding import load_image
from featx.images.view_loading import load_views
from featx.images.views import ViewRecipe


@pytest.mark.parametrize("size", [(4000, 3000), (500, 375)])
def test_the_first_view_loaded_is_the_plain_image_scaled_or_not(size):
    photo = Image.fromarray(load_sample_images().images[0]).resize(size)
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=90)
    recipe = ViewRecipe(("flip", "crop"))
    views = load_views(file.getvalue(), (224, 224), recipe, (0, 2, 1), "0" * 64)
    np.testing.assert_array_equal(views[0], load_image(file.getvalue(), (224, 224)))
    (second,) = load_views(file.getvalue(), (224, 224), recipe, (1,), "0" * 64)
    np.testing.assert_array_equal(views[2], second)
