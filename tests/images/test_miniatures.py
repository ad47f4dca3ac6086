"""Miniatures hardly change with an image's bytes and size, and tell images apart."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from featx import ArraySource, PathSource
from featx.images import miniatures as miniatures_module
from featx.images.miniatures import SIDE, make_miniatures


@pytest.fixture(scope="module")
def photos():
    return load_sample_images().images


def encoded(pixels, size=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image if size is None else image.resize(size)).save(file, **options)
    return file.getvalue()


def test_a_photo_keeps_its_miniature_through_jpeg_and_size(photos, tmp_path):
    versions = {
        "a.png": encoded(photos[0], format="PNG"),
        "b.jpg": encoded(photos[0], format="JPEG", quality=70),
        "c.jpg": encoded(photos[0], (580, 390), format="JPEG", quality=85),
        "other.png": encoded(photos[1], format="PNG"),
    }
    for name, data in versions.items():
        (tmp_path / name).write_bytes(data)
    miniatures = make_miniatures(PathSource([tmp_path / name for name in versions]))
    assert miniatures.shape == (4, SIDE * SIDE)
    assert miniatures.dtype == np.float32
    away = np.abs(miniatures - miniatures[0]).mean(axis=1)
    assert away[1:3].max() < 1.5
    assert away[3] > 30


def test_miniatures_are_means_of_grey():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32] = [255, 0, 0]
    rows = make_miniatures(ArraySource([image]))[0].reshape(SIDE, SIDE)
    np.testing.assert_allclose(rows[: SIDE // 2], 0.299 * 255, rtol=1e-5)
    assert (rows[SIDE // 2 :] == 0).all()


def test_an_image_that_cannot_be_decoded_is_a_row_of_nan(tmp_path, photos):
    (tmp_path / "a.png").write_bytes(encoded(photos[0], (40, 30), format="PNG"))
    (tmp_path / "b.png").write_bytes(b"no image")
    miniatures = make_miniatures(PathSource([tmp_path / "b.png", tmp_path / "a.png"]), workers=1)
    assert np.isnan(miniatures[0]).all()
    assert np.isfinite(miniatures[1]).all()


def test_many_images_keep_their_order(monkeypatch):
    monkeypatch.setattr(miniatures_module, "_AT_ONCE", 8)
    images = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 3), np.uint8)
    miniatures = make_miniatures(ArraySource(images))
    np.testing.assert_allclose(miniatures.mean(axis=1), np.arange(20), atol=1e-3)
