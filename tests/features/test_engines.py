"""Engines: one fixed batch shape, the same bits for the same image."""

import numpy as np
import pytest

from featx import BackboneError, load_backbone
from featx.features.engines import compile_engine
from tests.conftest import TINY, make_images

BATCH_SIZE = 32


@pytest.fixture(scope="module", params=["efficientnet_lite0", "MobileNetV2"])
def engine(request):
    model = load_backbone(request.param, input_size=(64, 64), weights=None).model
    return compile_engine("auto", model, BATCH_SIZE)


def batch():
    return make_images(BATCH_SIZE, size=(64, 64))


def test_a_rerun_gives_the_same_bits(engine):
    np.testing.assert_array_equal(engine(batch()), engine(batch()))


def test_a_row_does_not_depend_on_its_neighbours_or_its_place(engine):
    order = np.random.default_rng(1).permutation(BATCH_SIZE)
    features = engine(batch())
    np.testing.assert_array_equal(engine(batch()[order]), features[order])
    padded = batch()
    padded[3:] = 0
    np.testing.assert_array_equal(engine(padded)[:3], features[:3])


def test_it_says_what_it_computed_with(engine):
    assert engine.computed_with["engine"] == "keras"
    assert engine.computed_with["batch_size"] == BATCH_SIZE
    assert {"backend", "keras", "pillow"} <= set(engine.computed_with)


def test_an_unknown_engine_is_refused():
    with pytest.raises(BackboneError, match="'auto', 'keras'"):
        compile_engine("onnx2", load_backbone(TINY).model, 8)
