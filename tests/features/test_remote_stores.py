"""Stores in object storage, on a real server of this machine: what local ones promise, these promise too."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from featx import FeatureExtractor, FeatureStore, extract
from featx.cli import app
from featx.errors import FeatxWarning, StoreCorruptError, StoreError
from featx.features import shards as shards_module
from featx.features.engine_decisions import Decision, EngineRequest, keep_decision
from featx.features.shards import ShardSet
from featx.features.verification import read_spec
from featx.files import atomic_write
from tests.conftest import TINY
from tests.features.test_store import commit, read, rows

# Commits shards of a few rows, and says so, until it is killed.
WRITER = """
import sys
import numpy as np
from featx.features.fingerprint import ExtractionSpec
from featx.features.store import FeatureStore

spec = ExtractionSpec.from_json(sys.argv[2])
shards = FeatureStore(sys.argv[1]).open(spec)
rng = np.random.default_rng(0)
for number in range(10_000):
    digests = [f"{row:064x}" for row in range(number * 50, number * 50 + 50)]
    if digests[0] not in shards:
        shards.commit(digests, rng.random((50, spec.n_features), np.float32), {})
        print(number, flush=True)
"""


@pytest.fixture
def spec():
    return FeatureExtractor(TINY).fit().spec_


@pytest.fixture
def store(s3):
    return FeatureStore(s3)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shard_files(store):
    return [path for folder in store.directory.iterdir() for path in folder.glob("*.h5")]


def test_an_extraction_gives_the_file_that_a_local_one_gives(s3, class_folder, tiny_extractor, tmp_path):
    extract(class_folder, tiny_extractor, store=tmp_path / "store").save(tmp_path / "local.h5")
    extract(class_folder, tiny_extractor, store=s3).save(tmp_path / "remote.h5")
    assert sha256(tmp_path / "remote.h5") == sha256(tmp_path / "local.h5")


def test_what_is_there_is_not_computed_again(s3, class_folder, tiny_extractor, n_embedded):
    extract(class_folder, tiny_extractor, store=s3)
    n_embedded.clear()
    features = extract(class_folder, tiny_extractor, store=s3)
    assert (features.report.n_cached, features.report.n_computed, n_embedded) == (12, 0, [])


def test_rows_come_back_scattered_over_the_shards(store, spec, monkeypatch):
    monkeypatch.setattr(shards_module, "_KEPT_BYTES", 0)
    shards = store.open(spec)
    for start in range(0, 40, 4):
        commit(shards, start, start + 4)
    again = store.open(spec)
    digests, expected = rows(spec, 0, 40)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(read(again, [digests[row] for row in order]), expected[order])


def test_a_process_that_is_killed_loses_nothing_it_reported(s3, spec):
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    arguments = [sys.executable, "-c", WRITER, s3, spec.to_json()]
    reported = []
    for n_shards in (3, 5):
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
        reported += [int(process.stdout.readline()) for _ in range(n_shards)]
        process.send_signal(signal.SIGKILL)
        reported += [int(line) for line in process.communicate()[0].split()]
    shards = FeatureStore(s3).open(spec)
    assert all(f"{50 * number:064x}" in shards for number in reported)
    # What was put and not yet reported is whole as well, and nothing was put twice.
    assert len(shards) == 50 * len(shards.names) <= 50 * (len(reported) + 2)
    (check,) = FeatureStore(s3).verify()
    assert (check.damaged, check.n_samples) == ((), len(shards))
    assert FeatureStore(s3).prune() == []


def test_two_writers_at_once_lose_nothing(store, spec):
    failures = []

    def write(first):
        try:
            shards = store.open(spec)
            for start in range(first, first + 40, 4):
                commit(shards, start, start + 4)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    # Half of it by both, in the same shards.
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    shards = store.open(spec)
    assert (len(shards), len(shards.names)) == (60, 15)


def test_a_damaged_object_is_set_aside_and_its_rows_computed_anew(
    s3, class_folder, tiny_extractor, n_embedded
):
    expected = extract(class_folder, tiny_extractor, store=s3).X
    (shard,) = shard_files(FeatureStore(s3))
    data = bytearray(shard.read_bytes(2**20))
    data[len(data) // 2] ^= 1
    atomic_write(shard, bytes(data))
    n_embedded.clear()
    with pytest.warns(FeatxWarning, match=r"s3://featx/.* is damaged: .*; set aside as"):
        features = extract(class_folder, tiny_extractor, store=s3)
    assert features.report.n_computed == 12
    np.testing.assert_array_equal(features.X, expected)
    (check,) = FeatureStore(s3).verify()
    assert (check.n_aside, check.damaged, check.n_samples) == (1, (), 12)
    assert [path.suffix for path in FeatureStore(s3).prune()] == [".corrupt"]
    assert FeatureStore(s3).prune() == []


def test_a_damaged_object_is_found_by_verify(store, spec):
    shards = store.open(spec)
    commit(shards, 0, 5)
    atomic_write(shard_files(store)[0], b"short")
    with pytest.warns(FeatxWarning, match="set aside"):
        (check,) = store.verify()
    assert (check.n_lost, check.n_samples) == (5, 0)


def test_a_spec_that_is_damaged_costs_no_row_and_one_out_of_reach_is_no_damage(store, spec, monkeypatch):
    shards = store.open(spec)
    commit(shards, 0, 5)
    path = shards.directory / "spec.json"
    atomic_write(path, b"{")
    with pytest.warns(FeatxWarning, match=r"spec.json is damaged.*set aside"):
        assert len(store.open(spec)) == 5
    assert read_spec(path) == spec

    def refuse(*_, **__):
        raise TimeoutError("timed out")

    filesystem, _ = path._connected()
    monkeypatch.setattr(filesystem, "cat_file", refuse)
    monkeypatch.setattr(filesystem, "info", refuse)
    with pytest.raises(StoreError, match=r"spec.json cannot be read: timed out; mend that") as raised:
        store.open(spec)
    assert not isinstance(raised.value, StoreCorruptError)
    monkeypatch.undo()
    assert len(store.open(spec)) == 5


def test_of_two_decisions_the_first_stays(store, spec):
    extractor = FeatureExtractor(TINY).fit()
    directory = store.open(spec).directory
    request = EngineRequest("keras", "float32", None, lambda: extractor.backbone_.folded, directory, 10)
    first, second = (Decision("keras", size, "float32", 0.0, "", 1.0, {}) for size in (4, 2))
    mine = object()
    assert keep_decision(request, first, None, mine) is mine
    # Whoever comes second does as the first.
    assert keep_decision(request, second, None, mine).batch_size == 4


def test_shards_can_be_written_from_elsewhere(store, spec):
    shards = store.open(spec)
    sent = pickle.loads(pickle.dumps((shards.directory, spec)))
    commit(ShardSet(*sent), 0, 4)
    shards.refresh()
    assert len(shards) == 4


def test_the_store_commands_work(store, spec, monkeypatch):
    commit(store.open(spec), 0, 5)

    def run(*arguments):
        done = CliRunner().invoke(app, ["store", *arguments, "--json"])
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    address = str(store.root)
    (row,) = run("list", "--store", address)
    assert row["n_samples"] == 5
    assert run("info", row["key"], "--store", address)["directory"].startswith(f"{address}/features/tiny-")
    monkeypatch.setenv("FEATX_CACHE", address)
    (check,) = run("verify")
    assert (check["n_samples"], check["directory"]) == (5, str(store.open(spec).directory))
    assert run("prune", row["key"]) == [{"deleted": str(store.open(spec).directory)}]


def test_a_store_that_cannot_keep_what_is_committed_is_one_line(class_folder):
    for address in ("https://example.com/store", "memory://store"):
        done = CliRunner().invoke(app, ["extract", str(class_folder), "--store", address])
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1
        assert f"received a store at {address}; expected" in done.stderr


def test_a_bucket_that_is_not_there_is_one_line(class_folder, s3):  # noqa: ARG001 - the server
    address = "s3://no-such-bucket/store"
    for command in (["extract", str(class_folder), "--backbone", TINY], ["store", "list"]):
        done = CliRunner().invoke(app, [*command, "--store", address])
        assert done.exit_code == 1
        assert "s3://no-such-bucket/store" in done.stderr
        assert "bucket does not exist" in done.stderr


def test_a_feature_file_is_of_this_machine(class_folder, s3):
    done = CliRunner().invoke(app, ["extract", str(class_folder), "--out", f"{s3}/features.h5"])
    assert done.exit_code == 1
    assert "expected a file of this machine to write to" in done.stderr
