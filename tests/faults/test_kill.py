"""Whole processes, TensorFlow and all, killed: what was committed is there, and the file comes out the same.

Seconds each, so there are few. Kills by the hundred, and every other fault, stand in `test_store_faults`,
where a forked child takes a tenth of a second.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featx import FeatureStore
from tests.conftest import write_class_folder

N_IMAGES = 60

# A real extraction of the tiny backbone, in shards of four rows, slowed so that a kill finds it at work.
SCRIPT = """
import signal, sys, time
# Where this runs in a shell's background, Ctrl-C is ignored from the start.
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.conftest import TINY, TINY_FEATURES, TINY_SIZE, build_tiny
import featx, featx.features.shards
from featx.features.engines import KerasEngine

featx.register_backbone(featx.BackboneSpec(TINY, build_tiny, "unit", TINY_SIZE, TINY_FEATURES, "random"))
featx.features.shards._MAX_SHARD_ROWS = 4
forward = KerasEngine.start

def slow_forward(self, images):
    print("batch", flush=True)
    time.sleep(0.02)
    return forward(self, images)

KerasEngine.start = slow_forward
folder, store, out = sys.argv[1:]
features = featx.extract(folder, featx.FeatureExtractor(TINY, batch_size=4), store=store)
features.save(out)
print("done", features.report.n_computed, flush=True)
"""


class Extraction:
    """One process that extracts."""

    def __init__(self, folder, store, out):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path.cwd())}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, folder, store, out],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def kill_after_batches(self, n_batches, delay_s, how=signal.SIGKILL):
        """Returns how many batches were through: each says so when the next one starts."""
        n_started = 0
        while n_started < n_batches and self.process.stdout.readline() == "batch\n":
            n_started += 1
        time.sleep(delay_s)
        self.process.send_signal(how)
        self.process.communicate()
        return max(0, n_started - 1)

    def finish(self):
        stdout, stderr = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, stderr
        return int(stdout.split("done ")[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_class_folder(tmp_path_factory.mktemp("kill") / "images", N_IMAGES)


@pytest.fixture(scope="module")
def expected(folder):
    out = folder.parent / "reference.h5"
    assert Extraction(folder, folder.parent / "reference", out).finish() == N_IMAGES
    return hashlib.sha256(out.read_bytes()).hexdigest()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def n_committed(store):
    return sum(entry.n_samples for entry in FeatureStore(store).entries())


@pytest.mark.protocol("T1", "P1 P3 P5", "SIGKILL of whole processes")
@pytest.mark.parametrize("n_kills", [1, pytest.param(6, marks=pytest.mark.faults)])
def test_kills_at_random_lose_nothing(folder, expected, tmp_path, ledger, n_kills):
    rng = np.random.default_rng(n_kills)
    store, out = tmp_path / "store", tmp_path / "f.h5"
    before = 0
    for _ in range(n_kills):
        extraction = Extraction(folder, store, out)
        n_batches = extraction.kill_after_batches(int(rng.integers(2, 4)), float(rng.uniform(0, 0.03)))
        ledger.inject()
        # Everything that was there before, and a shard of four rows for every batch that was through.
        assert n_committed(store) >= min(before + 4 * n_batches, N_IMAGES)
        before = n_committed(store)
    n_computed = Extraction(folder, store, out).finish()
    assert n_computed <= N_IMAGES - before
    assert sha256(out) == expected


@pytest.mark.faults
def test_ctrl_c_keeps_every_batch_and_ends_at_once(folder, expected, tmp_path):
    store, out = tmp_path / "store", tmp_path / "f.h5"
    extraction = Extraction(folder, store, out)
    extraction.kill_after_batches(5, 0.0, signal.SIGINT)
    assert extraction.process.returncode != 0
    assert not out.exists()
    before = n_committed(store)
    assert before >= 16
    assert Extraction(folder, store, out).finish() == N_IMAGES - before
    assert sha256(out) == expected


def test_two_processes_on_one_store_and_one_is_killed(folder, expected, tmp_path):
    store = tmp_path / "store"
    victim = Extraction(folder, store, tmp_path / "victim.h5")
    survivor = Extraction(folder, store, tmp_path / "survivor.h5")
    victim.kill_after_batches(4, 0.01)
    survivor.finish()
    assert sha256(tmp_path / "survivor.h5") == expected


@pytest.mark.faults
def test_two_processes_on_one_store_agree(folder, expected, tmp_path):
    both = [Extraction(folder, tmp_path / "store", tmp_path / f"{name}.h5") for name in "ab"]
    for extraction in both:
        extraction.finish()
    assert sha256(tmp_path / "a.h5") == sha256(tmp_path / "b.h5") == expected


@pytest.mark.faults
def test_a_full_disk_is_one_clear_error_and_is_resumed_from(folder, expected, tmp_path):
    store, out = tmp_path / "store", tmp_path / "f.h5"
    # A shard of four rows fits, the feature file does not: the limit stands in for a full disk.
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (7_000, 7_000))\n"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", limit + SCRIPT, folder, store, out]
    full = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert full.returncode == 1
    assert "StoreError: cannot write" in full.stderr
    assert not out.exists()
    assert n_committed(store) == N_IMAGES
    assert Extraction(folder, store, out).finish() == 0
    assert sha256(out) == expected


@pytest.mark.faults
def test_a_kill_loses_nothing_of_a_store_in_object_storage(folder, expected, tmp_path, s3):
    out = tmp_path / "f.h5"
    extraction = Extraction(folder, s3, out)
    n_batches = extraction.kill_after_batches(4, 0.02)
    before = n_committed(s3)
    assert 4 * n_batches <= before < N_IMAGES
    assert Extraction(folder, s3, out).finish() <= N_IMAGES - before
    assert sha256(out) == expected
