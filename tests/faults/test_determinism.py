"""The same image gives the same bits: in any order, by any number of threads, resumed anywhere, in any tail.

Within one batch size nothing may differ; across batch sizes features agree to 1e-6 of the largest.
"""

import os
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest

from featx import FeatureExtractor, FeatureStore, extract
from featx.features import shards as shards_module
from featx.features.engines import KerasEngine, is_installed
from tests.conftest import TINY, make_images

N_IMAGES = 67
ROWS_A_SHARD = 16
BATCH_SIZES = (1, 2, 8, 16, 32, 67)
BACKBONES = {TINY: None, "MobileNetV2": (32, 32)}
ENGINES = [name for name in ("keras", "onnx", "openvino") if is_installed(name)]

CASES = [
    pytest.param(
        backbone,
        engine,
        batch_size,
        marks=[] if (backbone, engine, batch_size) == (TINY, "keras", 8) else pytest.mark.faults,
    )
    for backbone in BACKBONES
    for engine in ENGINES
    # Compilers of a fixed shape are tried on the smallest, an odd and the usual one.
    for batch_size in (BATCH_SIZES if engine == "keras" else (1, 32, 67))
]


def extractor_of(backbone, engine, batch_size):
    return FeatureExtractor(
        backbone, input_size=BACKBONES[backbone], weights=None, engine=engine, batch_size=batch_size
    )


@pytest.fixture(scope="module")
def images():
    return make_images(N_IMAGES, size=(36, 40))


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(shards_module, "_MAX_SHARD_ROWS", ROWS_A_SHARD)


def compare(ledger, found, expected, what):
    ledger.inject()
    n_rows = int((found != expected).any(axis=1).sum())
    if n_rows:
        ledger.lose(
            f"{what}: {n_rows} of {len(found)} rows differ, by up to {abs(found - expected).max():.1e}"
        )


def without_shards_from(store, digests, n_kept, to):
    """A copy of a store in which only the first shards, in the source's order, were committed."""
    shutil.copytree(store, to)

    def first_row(path):
        with h5py.File(path) as file:
            return digests.index(file["image_sha256"][0].decode())

    shards = sorted(FeatureStore(to).directory.glob("*/*.h5"), key=first_row)
    for path in shards[n_kept:]:
        path.unlink()
    return len(shards)


@pytest.mark.parametrize(("backbone", "engine", "batch_size"), CASES)
@pytest.mark.protocol("T13", "P14 P4", "another order, tail, number of threads, or point of resuming")
def test_a_row_is_the_same_whatever_was_around_it(backbone, engine, batch_size, images, ledger, tmp_path):
    store, extractor = tmp_path / "store", extractor_of(backbone, engine, batch_size)
    expected = extract(images, extractor, store=store)
    reference = shutil.copytree(store, tmp_path / "reference")
    X, case = expected.X, f"{backbone} on {engine} by {batch_size}"

    def anew(samples, **options):
        return extract(samples, extractor, store=store, resume=False, **options).X

    for seed in range(2):
        order = np.random.default_rng(seed).permutation(N_IMAGES)
        compare(ledger, anew(images[order]), X[order], f"{case}, in another order")
    compare(ledger, anew(images[::-1]), X[::-1], f"{case}, backwards")
    for n_left_out in (1, 2, 5):
        compare(ledger, anew(images[:-n_left_out]), X[:-n_left_out], f"{case}, without the last {n_left_out}")
    for workers in (1, 2):
        compare(ledger, anew(images, workers=workers), X, f"{case}, {workers} threads")
    n_shards = without_shards_from(reference, expected.image_sha256, 0, tmp_path / "none")
    for n_kept in range(n_shards):
        to = tmp_path / f"resumed {n_kept}"
        without_shards_from(reference, expected.image_sha256, n_kept, to)
        found = extract(images, extractor, store=to)
        assert found.report.n_cached == n_kept * max(1, ROWS_A_SHARD // batch_size) * batch_size
        compare(ledger, found.X, X, f"{case}, resumed at shard {n_kept}")


@pytest.mark.parametrize(
    "backbone", [TINY, *(pytest.param(name, marks=pytest.mark.faults) for name in BACKBONES if name != TINY)]
)
@pytest.mark.protocol("T13", "P14", "another batch size")
def test_batch_sizes_agree(backbone, images, ledger):
    features = [extract(images, extractor_of(backbone, "keras", size), store=None).X for size in BATCH_SIZES]
    for size, found in zip(BATCH_SIZES, features, strict=True):
        ledger.inject()
        share = np.abs(found - features[0]).max() / np.abs(features[0]).max()
        if share > 1e-6:
            ledger.lose(f"{backbone}: by {size} features are {share:.1e} of the largest from those by 1")


def hollow():
    """A network that makes 0 / 0 of a black image."""
    inputs = keras.Input((16, 16, 3))
    scaled = inputs / keras.ops.max(inputs, axis=(1, 2, 3), keepdims=True)
    return keras.Model(inputs, keras.layers.Conv2D(8, 3, kernel_initializer="ones")(scaled))


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.faults) for seed in range(2, 8))]
)
@pytest.mark.parametrize("n_in_flight", [1, 3])
@pytest.mark.protocol("T13", "P4 P14", "rows that are not finite, in a run resumed at a shard")
def test_a_refused_row_moves_no_other(seed, n_in_flight, ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "_MAX_SHARD_ROWS", 8)
    finish = KerasEngine.finish

    def finish_by_place(self, pending):
        # What a row's place in its batch may do to its last bits, made large enough to be seen anywhere.
        features = finish(self, pending)
        return features + np.arange(len(features), dtype=np.float32)[:, None]

    monkeypatch.setattr(KerasEngine, "finish", finish_by_place)
    monkeypatch.setattr("featx.features.engines.visible_devices", lambda: ["cpu:0"])
    original = KerasEngine.__init__

    def start_several(self, *arguments):
        original(self, *arguments)
        self.n_in_flight = n_in_flight

    monkeypatch.setattr(KerasEngine, "__init__", start_several)
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 255, (41, 16, 16, 3)).astype(np.uint8)
    bad = rng.choice(41, size=rng.integers(1, 12), replace=False)
    # Black, and distinct all the same.
    pixels = [
        np.zeros((16 + index, 16, 3), np.uint8) if index in bad else each for index, each in enumerate(pixels)
    ]
    extractor = FeatureExtractor(hollow(), preprocessing="none", batch_size=4)
    expected = extract(pixels, extractor, store=tmp_path / "reference", on_error="skip")
    assert [failure.index for failure in expected.report.failed] == sorted(bad)
    n_shards = without_shards_from(tmp_path / "reference", expected.image_sha256, 0, tmp_path / "none")
    for n_kept in range(1, n_shards):
        to = tmp_path / f"resumed {n_kept}"
        without_shards_from(tmp_path / "reference", expected.image_sha256, n_kept, to)
        found = extract(pixels, extractor, store=to, on_error="skip")
        assert found.report.failed == expected.report.failed
        compare(ledger, found.X, expected.X, f"seed {seed}, resumed at shard {n_kept}")


SCRIPT = """
import os, sys
n_cpus, out = int(sys.argv[1]), sys.argv[2]
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n_cpus])
os.environ["TF_NUM_INTRAOP_THREADS"] = str(n_cpus)
import numpy as np
import featx
from tests.conftest import TINY, TINY_FEATURES, TINY_SIZE, build_tiny, make_images
from tests.faults.test_determinism import BACKBONES, ENGINES, N_IMAGES, extractor_of
featx.register_backbone(featx.BackboneSpec(TINY, build_tiny, "unit", TINY_SIZE, TINY_FEATURES, "random"))
images = make_images(N_IMAGES, size=(36, 40))
found = {
    f"{backbone} on {engine}": featx.extract(images, extractor_of(backbone, engine, 8), store=None).X
    for backbone in BACKBONES
    for engine in ENGINES
}
np.savez(out, **found)
"""


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processors cannot be taken away here")
@pytest.mark.protocol("T13", "P14", "one processor for two")
def test_one_processor_computes_what_two_do(ledger, tmp_path):
    found = []
    for n_cpus in (1, 2):
        out = tmp_path / f"{n_cpus}.npz"
        subprocess.run([sys.executable, "-c", SCRIPT, str(n_cpus), str(out)], check=True, timeout=200)
        found.append(np.load(out))
    for case in found[0]:
        compare(ledger, found[0][case], found[1][case], f"{case}, one processor")
