"""A model over a source: every sample has its row, in its place, whatever fails."""

import numpy as np
import pytest

from featx import as_source
from featx.errors import DecodeError
from featx.models.prediction import scores_of
from tests.conftest import make_images, write_class_folder


def mean_colours(images):
    return images.mean(axis=(1, 2))


@pytest.mark.parametrize("n_images", [1, 4, 9])
def test_rows_stand_in_the_sources_order(n_images):
    images = make_images(n_images, size=(8, 8))
    shapes = []

    def predict(batch):
        shapes.append(batch.shape)
        return mean_colours(batch)

    found = scores_of(predict, as_source(images), (8, 8), batch_size=4)
    np.testing.assert_allclose(found, mean_colours(images), rtol=1e-6)
    assert set(shapes) == {(4, 8, 8, 3)}


def test_what_fails_is_told_and_leaves_its_row_empty(tmp_path):
    folder = write_class_folder(tmp_path / "images")
    (folder / "dark" / "00-002.png").write_bytes(b"")
    source = as_source(folder)
    failed = {}
    found = scores_of(mean_colours, source, (8, 8), on_failure=lambda row, error: failed.update({row: error}))
    (row,) = failed
    assert source.sample_ids[row] == "dark/00-002.png"
    assert np.isnan(found).any(axis=1).nonzero()[0].tolist() == [row]
    with pytest.raises(DecodeError, match=r"dark/00-002\.png: empty file"):
        scores_of(mean_colours, source, (8, 8))


def test_nothing_but_bad_images_is_rows_of_nothing(tmp_path):
    (tmp_path / "bad.png").touch()
    found = scores_of(mean_colours, as_source(tmp_path), (8, 8), on_failure=lambda *_: None)
    assert found.shape == (1, 3)
    assert np.isnan(found).all()
