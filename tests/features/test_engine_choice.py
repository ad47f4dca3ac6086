"""The choice of an engine: checked against Keras, fastest of those that pass, remembered."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from featx import BackboneError, FeatureExtractor, FeatxWarning, extract
from featx.features import engine_choice, engine_decisions, engines
from featx.features.engine_choice import choose_engine
from featx.features.engine_decisions import EngineRequest
from featx.features.engines import Graph
from tests.conftest import TINY, make_images

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow" or not engines.is_installed("openvino"),
    reason="the engines besides Keras need the extra openvino, and TensorFlow to convert",
)

N_FIRST = 8


def request_of(directory, **options):
    backbone = FeatureExtractor(TINY).fit().backbone_
    defaults = {"engine": "auto", "precision": "float32", "batch_size": N_FIRST, "n_samples": 10**6}
    return EngineRequest(load_model=lambda: backbone.folded, directory=directory, **{**defaults, **options})


def first_rows():
    return make_images(N_FIRST, size=(16, 16))


def must_not_load():
    raise AssertionError("Keras was asked for")


def test_a_converted_engine_is_remembered_and_needs_no_keras(tmp_path):
    request = request_of(tmp_path, engine="openvino")
    chosen = choose_engine(request, first_rows())
    assert (chosen.name, chosen.why) == ("openvino", "asked for")
    again = choose_engine(dataclasses.replace(request, load_model=must_not_load), first_rows())
    np.testing.assert_array_equal(again(first_rows()), chosen(first_rows()))
    assert again.why == chosen.why


def test_auto_takes_the_fastest_and_says_so(tmp_path, monkeypatch):
    speeds = {"openvino": 100.0, "onnx": 300.0, "keras": 310.0}
    monkeypatch.setattr(engine_choice, "_speed", lambda engine, _: speeds[engine.name])
    chosen = choose_engine(request_of(tmp_path), first_rows())
    # Keras is faster by less than noise.
    assert chosen.name == "onnx"
    assert chosen.why == "fastest of openvino 100 rows/s, onnx 300 rows/s, keras 310 rows/s"
    kept = json.loads(next(tmp_path.glob("engine-*.json")).read_text())
    assert kept["rows_per_second"] == speeds


def test_a_short_run_compares_no_more_than_it_wins(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_choice, "_speed", lambda *_: 100.0)
    chosen = choose_engine(request_of(tmp_path, n_samples=2_000), first_rows())
    assert (chosen.name, chosen.why) == ("openvino", "openvino 100 rows/s, too few rows to try others")


def test_few_images_are_not_worth_converting_and_do_not_bind_many(tmp_path):
    short = request_of(tmp_path, n_samples=50)
    chosen = choose_engine(short, first_rows())
    assert (chosen.name, chosen.why) == ("keras", "few images")
    assert choose_engine(request_of(tmp_path), first_rows()).name != "keras"
    # What many decided serves few too.
    assert choose_engine(dataclasses.replace(short, load_model=must_not_load), first_rows()).name != "keras"


def test_a_resumed_short_run_in_few_bits_does_as_before(tmp_path, monkeypatch):
    request = request_of(tmp_path, engine="auto", precision="bfloat16", n_samples=50)
    first = choose_engine(request, first_rows())
    monkeypatch.setitem(engine_choice.LEAST_COSINE, "bfloat16", 0.99999999)
    assert choose_engine(request, 255 - first_rows()).settings == first.settings


def test_nothing_kept_is_converted_for_many_alone(monkeypatch):
    monkeypatch.setattr(engine_choice, "_speed", lambda *_: 1e9)
    assert choose_engine(request_of(None, n_samples=5_000), first_rows()).name == "keras"
    assert choose_engine(request_of(None, n_samples=50_000), first_rows()).name == "openvino"


def test_without_other_engines_it_is_keras(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_choice, "is_installed", lambda engine: engine == "keras")
    chosen = choose_engine(request_of(tmp_path), first_rows())
    assert (chosen.name, chosen.why) == ("keras", "onnx and openvino not installed")


class TestGate:
    @staticmethod
    def wrong_graph(model, engine):
        """A model whose weights are not those of Keras's."""
        weights = [
            weight + 0.05 * np.random.default_rng(0).normal(size=weight.shape)
            for weight in model.get_weights()
        ]
        other = keras.models.clone_model(model)
        other.set_weights(weights)
        return engines.convert_model(other, engine)

    def test_an_engine_that_computes_something_else_is_not_used(self, tmp_path, monkeypatch):
        monkeypatch.setattr(engine_choice, "convert_model", self.wrong_graph)
        with pytest.warns(
            FeatxWarning, match=r"openvino in float32 is at a cosine of 0\.\d+ from Keras in float32"
        ):
            chosen = choose_engine(request_of(tmp_path, engine="openvino"), first_rows())
        assert chosen.name == "keras"

    def test_in_auto_it_is_passed_over_and_the_reason_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setattr(engine_choice, "convert_model", self.wrong_graph)
        chosen = choose_engine(request_of(tmp_path), first_rows())
        assert chosen.name == "keras"
        assert "openvino in float32 is at a cosine of" in chosen.why

    def test_a_model_that_cannot_be_converted_runs_in_keras(self, tmp_path, monkeypatch):
        def fail(*_):
            raise RuntimeError("no such operation\nand more")

        monkeypatch.setattr(engine_choice, "convert_model", fail)
        with pytest.warns(FeatxWarning, match=r"openvino cannot run this model \(no such operation\)"):
            chosen = choose_engine(request_of(tmp_path, engine="openvino"), first_rows())
        assert chosen.name == "keras"

    def test_rows_that_keras_cannot_compute_do_not_count(self, tmp_path):
        backbone = FeatureExtractor(TINY).fit().backbone_.unshared()
        weights = backbone.base.get_weights()
        weights[0][...] = np.nan
        backbone.base.set_weights(weights)
        request = dataclasses.replace(
            request_of(tmp_path, engine="openvino"), load_model=lambda: backbone.model
        )
        assert choose_engine(request, first_rows()).name == "openvino"

    def test_few_bits_keep_float32_where_they_have_to(self, tmp_path, monkeypatch):
        monkeypatch.setitem(engine_choice.LEAST_COSINE, "bfloat16", 0.999999)
        request = request_of(tmp_path, engine="keras", precision="bfloat16")
        strict = choose_engine(request, first_rows())
        assert strict.settings.precision == "bfloat16"
        assert strict.settings.float32_share > 0
        monkeypatch.setitem(engine_choice.LEAST_COSINE, "bfloat16", 0.9)
        monkeypatch.setattr(engine_decisions, "_machine", lambda: {"processor": "another"})
        assert choose_engine(request, first_rows()).settings.float32_share == 0

    def test_no_engine_in_few_bits_is_float32_and_a_warning(self, tmp_path, monkeypatch):
        monkeypatch.setitem(engine_choice.LEAST_COSINE, "bfloat16", 1.1)
        with pytest.warns(FeatxWarning, match="keras in bfloat16 is at a cosine of"):
            chosen = choose_engine(request_of(tmp_path, precision="bfloat16"), first_rows())
        assert chosen.described()["precision"] == "float32"

    def test_features_that_are_longer_are_not_the_same(self, tmp_path, monkeypatch):
        def scaled(model, engine):
            other = keras.Model(model.input, model.output * 1.01)
            return engines.convert_model(other, engine)

        monkeypatch.setattr(engine_choice, "convert_model", scaled)
        with pytest.warns(FeatxWarning, match="its largest difference 1.0e-02 of the largest feature"):
            chosen = choose_engine(request_of(tmp_path, engine="openvino"), first_rows())
        assert chosen.name == "keras"


class TestRemembering:
    def test_a_damaged_graph_is_made_anew(self, tmp_path):
        request = request_of(tmp_path, engine="openvino")
        features = choose_engine(request, first_rows())(first_rows())
        path = next(tmp_path.glob("*.graph"))
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        with pytest.warns(FeatxWarning, match="is damaged.*choosing anew"):
            chosen = choose_engine(request, first_rows())
        np.testing.assert_array_equal(chosen(first_rows()), features)

    def test_an_error_that_says_nothing_of_the_decision_leaves_it(self, tmp_path):
        request = request_of(tmp_path, engine="keras")
        choose_engine(request, first_rows())

        def unreachable():
            raise BackboneError("the weights could not be downloaded")

        with pytest.raises(BackboneError, match="could not be downloaded"):
            choose_engine(dataclasses.replace(request, load_model=unreachable), first_rows())
        assert len(list(tmp_path.glob("engine-*.json"))) == 1

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"engine": "openvino", "graph": "../../x"}'])
    def test_a_damaged_decision_is_made_anew(self, tmp_path, text):
        request = request_of(tmp_path, engine="openvino")
        choose_engine(request, first_rows())
        next(tmp_path.glob("engine-*.json")).write_text(text)
        with pytest.warns(FeatxWarning, match="choosing anew"):
            assert choose_engine(request, first_rows()).name == "openvino"

    def test_another_machine_decides_for_itself(self, tmp_path, monkeypatch):
        choose_engine(request_of(tmp_path, engine="openvino"), first_rows())
        monkeypatch.setattr(engine_decisions, "_machine", lambda: {"processor": "another"})
        choose_engine(request_of(tmp_path, engine="openvino"), first_rows())
        assert len(list(tmp_path.glob("engine-*.json"))) == 2

    def test_of_two_processes_the_first_decides(self, tmp_path, monkeypatch):
        request = request_of(tmp_path)
        speeds = {"openvino": 100.0, "onnx": 1.0, "keras": 1.0}
        monkeypatch.setattr(engine_choice, "_speed", lambda engine, _: speeds[engine.name])
        original = engine_choice._compared

        def slower(*arguments):
            found = original(*arguments)
            monkeypatch.setattr(engine_choice, "_compared", original)
            speeds["openvino"], speeds["keras"] = 0.5, 1000.0
            assert choose_engine(request, first_rows()).name == "keras"
            return found

        monkeypatch.setattr(engine_choice, "_compared", slower)
        assert choose_engine(request, first_rows()).name == "keras"


def test_the_batch_size_doubles_while_it_pays(tmp_path, monkeypatch):
    speeds = {32: 100.0, 64: 150.0, 128: 151.0}
    monkeypatch.setattr(engine_choice, "_speed", lambda engine, _: speeds[engine.batch_size])
    chosen = choose_engine(
        request_of(tmp_path, engine="keras", batch_size=None), make_images(20, size=(16, 16))
    )
    assert chosen.batch_size == 64


def test_a_batch_that_does_not_fit_ends_the_doubling(tmp_path, monkeypatch):
    def speed(engine, _):
        if engine.batch_size == 128:
            raise MemoryError
        return float(engine.batch_size)

    monkeypatch.setattr(engine_choice, "_speed", speed)
    chosen = choose_engine(
        request_of(tmp_path, engine="keras", batch_size=None), make_images(20, size=(16, 16))
    )
    assert chosen.batch_size == 64


def test_an_extraction_with_a_kept_graph_never_loads_keras(tmp_path):
    script = """
import sys, numpy as np, featx
images, store = np.load(sys.argv[1]), sys.argv[2]
features = featx.extract(images, featx.FeatureExtractor(engine="openvino", input_size=(64, 64)), store=store)
print(features.report.n_computed, features.report.engine["name"], "keras" in sys.modules)
"""
    images, store = make_images(60, size=(64, 64)), tmp_path / "store"
    np.save(tmp_path / "images.npy", images)
    first = extract(images[:40], FeatureExtractor(engine="openvino", input_size=(64, 64)), store=store)
    assert (first.report.n_computed, first.report.engine["name"]) == (40, "openvino")
    command = [sys.executable, "-c", script, tmp_path / "images.npy", store]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["20", "openvino", "False"]


def test_the_report_says_which_engine_and_why(images, tmp_path):
    features = extract(images, FeatureExtractor(TINY, engine="openvino", batch_size=4), store=tmp_path)
    assert features.report.engine["name"] == "openvino"
    assert features.report.engine["why"] == "asked for"
    json.dumps(features.report.to_dict())


def test_batches_of_a_found_size_lose_no_row(tmp_path):
    images = make_images(150, size=(16, 16))
    extractor = FeatureExtractor(TINY, batch_size="auto", engine="openvino")
    features = extract(images, extractor, store=tmp_path)
    plain = extract(images, FeatureExtractor(TINY, engine="keras"), store=None)
    np.testing.assert_allclose(features.X, plain.X, atol=1e-5)


def test_an_onnx_graph_is_one_of_bytes():
    graph = engines.convert_model(FeatureExtractor(TINY).fit().backbone_.model, "onnx")
    assert isinstance(graph, Graph)
    assert graph.weights == b""
