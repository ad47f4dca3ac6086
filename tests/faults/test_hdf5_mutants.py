"""T6: HDF5 files with a byte, a block or the end changed, read as a user reads them.

A changed feature file or shard is refused or gives exactly what was saved. One of a stranger's has no
checksums, so its values may change; whoever reads it is told, or not, but lives on and does not wait.
"""

from __future__ import annotations

import hashlib
import time

import h5py
import numpy as np
import pytest

from featx import FeatureSet, FeatureStore, FeatxError, FeatxWarning, HDF5Source
from featx.features.failures import Failure
from tests.faults.mutants import mutant

# A reader may compute for 2 s; 5 s are a hang to the protocol. On a busy machine both are longer on the wall.
MAX_S = 15.0


def count(sample, full):
    return pytest.mark.parametrize(
        "n_mutants",
        [pytest.param(sample, id="sample"), pytest.param(full, id="full", marks=pytest.mark.faults)],
    )


class Patience:
    """Notes a hang."""

    def __init__(self, ledger, seed):
        self.ledger, self.seed = ledger, seed

    def __enter__(self):
        self.started = time.perf_counter()

    def __exit__(self, *_):
        seconds = time.perf_counter() - self.started
        if seconds > MAX_S:
            self.ledger.lose(f"seed {self.seed}: {seconds:.1f} s")


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    found = FeatureSet(
        rng.normal(size=(40, 12)).astype(np.float32),
        np.arange(40) % 3,
        sample_ids=[f"cat/{row}.jpg" for row in range(40)],
        class_names=["cat", "dog", "émeu"],
        image_sha256=[hashlib.sha256(bytes([row])).hexdigest() for row in range(40)],
    )
    found.failures = [Failure("bad.jpg", "decode", "empty file", 7, "images/bad.jpg")]
    return found


def meaning(features):
    """Everything that a feature file says, comparable with ``==``."""
    X = features.X.astype("<f4")
    columns = (features.sample_ids, features.groups, features.image_sha256, features.class_names)
    return X.tobytes(), X.shape, features.y.tolist(), features.view.tolist(), columns, features.failures


@count(300, 10_000)
@pytest.mark.protocol("T6", "P6 P21", "changed feature files")
def test_a_changed_feature_file_gives_what_was_saved_or_an_error(features, tmp_path, ledger, n_mutants):
    path = tmp_path / "f.h5"
    features.save(path)
    whole, expected = path.read_bytes(), meaning(features)
    n_refused = 0
    for seed in range(n_mutants):
        path.write_bytes(mutant(whole, seed))
        ledger.inject()
        with Patience(ledger, seed):
            try:
                if meaning(FeatureSet.load(path)) != expected:
                    ledger.lose(f"seed {seed}: other values")
            except FeatxError:
                n_refused += 1
    # Bytes without a meaning are few in a file this small.
    assert n_refused > 0.7 * n_mutants


@count(50, 1_000)
@pytest.mark.protocol("T6", "P6 P21", "changed shards")
def test_a_changed_shard_is_set_aside(features, tmp_path, ledger, n_mutants, tiny_extractor):
    spec = tiny_extractor.fit().spec_
    store = FeatureStore(tmp_path)
    store.open(spec).commit(features.image_sha256, features.X, {})
    (path,) = store.directory.glob("*/*.h5")
    whole = path.read_bytes()
    for seed in range(n_mutants):
        changed = mutant(whole, seed)
        path.write_bytes(changed)
        ledger.inject()
        with pytest.warns(FeatxWarning, match="set aside"):
            shards = store.open(spec)
        aside = path.with_name(f"{path.name}.corrupt")
        if len(shards) or not aside.exists() or aside.read_bytes() != changed:
            ledger.lose(f"seed {seed}: {len(shards)} rows of a changed shard in use")
        aside.unlink(missing_ok=True)


@count(200, 3_000)
@pytest.mark.protocol("T6", "P6 P21", "changed files of a stranger, without checksums")
def test_a_strangers_changed_file_ends_nothing_and_is_not_waited_for(tmp_path, ledger, n_mutants):
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        # As plain h5py writes them: the old format, in chunks, and names of no fixed length.
        images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
        file.create_dataset("images", data=images, chunks=(4, 8, 8, 3), compression="gzip")
        file["labels"] = ["cat", "dog"] * 6
    whole = path.read_bytes()
    for seed in range(n_mutants):
        path.write_bytes(mutant(whole, seed))
        ledger.inject()
        with Patience(ledger, seed):
            try:
                for sample in HDF5Source(path).read(0, 12):
                    sample.fetch()
            except FeatxError:
                pass
            except Exception as error:  # noqa: BLE001 - what else it may be is what is tested
                ledger.lose(f"seed {seed}: {type(error).__name__}: {error}")
