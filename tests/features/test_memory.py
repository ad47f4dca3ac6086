"""An engine that is short of memory: batches are halved, no row is lost, and the user is told."""

import numpy as np
import pytest

from featx import BackboneError, FeatureExtractor, FeatxWarning, extract
from featx.features import engine_choice
from featx.features.engine_decisions import EngineRequest
from featx.features.engines import KerasEngine, Settings
from featx.features.memory import FrugalEngine, is_out_of_memory
from tests.conftest import TINY, make_images

pytestmark = pytest.mark.backends


def limited(limit, model, on_finish=False):
    """Keras's engine on a device of `limit` images: the real thing needs an accelerator of known size."""

    class Limited(KerasEngine):
        def check(self):
            if self.batch_size > limit:
                raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes")

        def start(self, inputs):
            on_finish or self.check()
            return super().start(inputs)

        def finish(self, pending):
            self.check()
            return super().finish(pending)

    return lambda settings: Limited(model, settings)


@pytest.fixture
def model():
    return FeatureExtractor(TINY).fit().backbone_.model


@pytest.mark.parametrize("on_finish", [False, True])
@pytest.mark.parametrize(("batch_size", "limit", "left"), [(16, 5, 4), (13, 4, 4), (8, 1, 1)])
def test_batches_are_halved_until_they_fit(model, batch_size, limit, left, on_finish):
    images = make_images(batch_size, size=(16, 16))
    engine = FrugalEngine(limited(limit, model, on_finish), Settings(batch_size))
    with pytest.warns(FeatxWarning, match="not enough memory for batches of") as told:
        features = engine(images)
    assert str(told[0].message).startswith(f"not enough memory for batches of {batch_size}: going on with")
    np.testing.assert_allclose(features, KerasEngine(model, Settings(batch_size))(images), atol=1e-6)
    assert engine.described()["batch_size"] == left
    assert engine.batch_size == batch_size
    # Once halved, it stays so.
    np.testing.assert_array_equal(engine(images), features)


def test_batches_under_way_when_memory_ran_out_are_computed(model):
    batches = [make_images(8, seed, size=(16, 16)) for seed in range(3)]
    engine = FrugalEngine(limited(4, model, on_finish=True), Settings(8))
    pending = [engine.start(images) for images in batches]
    with pytest.warns(FeatxWarning, match="going on with 4"):
        found = [engine.finish(each) for each in pending]
    plain = KerasEngine(model, Settings(8))
    for features, images in zip(found, batches, strict=True):
        np.testing.assert_allclose(features, plain(images), atol=1e-6)


def test_not_even_one_image(model):
    engine = FrugalEngine(limited(0, model), Settings(2))
    with (
        pytest.warns(FeatxWarning, match="going on with 1"),
        pytest.raises(BackboneError, match="take a smaller input_size"),
    ):
        engine(make_images(2, size=(16, 16)))


def test_another_error_is_not_memory(model):
    engine = FrugalEngine(lambda settings: KerasEngine(model, settings), Settings(2))
    with pytest.raises(Exception, match="shape"):
        engine(np.zeros((2, 5, 5, 3), np.uint8))
    assert not is_out_of_memory(ValueError("incompatible shape"))


def test_a_run_that_ends_for_lack_of_memory_keeps_what_it_committed(tmp_path, monkeypatch, n_embedded):
    images = make_images(40, size=(16, 16))
    extractor = FeatureExtractor(TINY, batch_size=8)
    original, n_calls = KerasEngine.finish, []

    def fail_later(self, pending):
        n_calls.append(1)
        if len(n_calls) > 3:
            raise MemoryError
        return original(self, pending)

    monkeypatch.setattr(KerasEngine, "finish", fail_later)
    with pytest.warns(FeatxWarning), pytest.raises(BackboneError, match="not enough memory"):
        extract(images, extractor, store=tmp_path)
    monkeypatch.setattr(KerasEngine, "finish", original)
    n_embedded.clear()
    features = extract(images, extractor, store=tmp_path)
    assert features.report.n_cached == 24
    assert sum(n_embedded) == 16


def test_the_choice_is_made_on_engines_that_halve(tmp_path, model):
    request = EngineRequest("keras", "float32", 4, lambda: model, tmp_path, 10)
    assert isinstance(engine_choice.choose_engine(request, make_images(4, size=(16, 16))), FrugalEngine)
