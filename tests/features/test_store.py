"""The store: committed rows stay, damage is found before it is used, nobody needs a lock."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx import (
    FeatureExtractor,
    FeatureStore,
    FeatxWarning,
    StoreCorruptError,
    StoreError,
)
from featx.features import shards as shards_module
from featx.features.engines import Graph
from featx.features.graph_files import write_graph
from featx.features.shards import ShardSet, _Reordered
from tests.conftest import TINY
from tests.contracts import unprivileged

pytestmark = pytest.mark.backends


@pytest.fixture
def spec():
    return FeatureExtractor(TINY).fit().spec_


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path)


def rows(spec, start, stop):
    """Digests and features that are a function of the row's number."""
    digests = [f"{row:064x}" for row in range(start, stop)]
    features = np.arange(start, stop)[:, None] + np.arange(spec.n_features)[None] / 100
    return digests, features.astype(np.float32)


def commit(shards, start, stop):
    digests, features = rows(shards.spec, start, stop)
    shards.commit(digests, features, {"engine": "test"})


@pytest.fixture
def nothing_kept(monkeypatch):
    """A store too large to keep in memory what was verified when it was opened."""
    monkeypatch.setattr(shards_module, "_KEPT_BYTES", 0)


def read(shards, digests):
    return shards.reader(digests)(0, len(digests))


def shard_files(store):
    return sorted(store.directory.glob("*/*.h5"))


def test_rows_come_back_in_any_order(store, spec):
    shards = store.open(spec)
    commit(shards, 0, 5)
    commit(shards, 5, 9)
    digests, features = rows(spec, 0, 9)
    order = [8, 0, 3, 3, 5]
    reopened = store.open(spec)
    assert len(reopened) == 9
    np.testing.assert_array_equal(read(reopened, [digests[row] for row in order]), features[order])


@pytest.mark.usefixtures("nothing_kept")
@pytest.mark.parametrize("order", ["scattered", "as committed"])
def test_rows_are_read_in_blocks_and_every_shard_a_few_times_at_most(store, spec, monkeypatch, order):
    shards = store.open(spec)
    for start in range(0, 80, 10):
        commit(shards, start, start + 10)
    digests, features = rows(spec, 0, 80)
    if order == "scattered":
        shuffled = np.random.default_rng(0).permutation(80)
        digests, features = [digests[row] for row in shuffled], features[shuffled]
    reads = []
    original = ShardSet._read
    monkeypatch.setattr(ShardSet, "_read", lambda self, name: reads.append(name) or original(self, name))
    read_rows = store.open(spec).reader(digests)
    reads.clear()
    blocks = [read_rows(start, start + 8) for start in range(0, 80, 8)]
    np.testing.assert_array_equal(np.concatenate(blocks), features)
    assert len(reads) == 8
    assert sorted(path.suffix for path in shards.directory.iterdir()) == [".h5"] * 8 + [".json"]


def test_what_others_committed_is_taken_in_without_reading_it(store, spec, monkeypatch):
    mine, theirs = store.open(spec), store.open(spec)
    commit(mine, 0, 2)
    commit(theirs, 1, 4)
    reads = []
    original = ShardSet._read
    monkeypatch.setattr(ShardSet, "_read", lambda self, name: reads.append(name) or original(self, name))
    (name,) = theirs.names
    digests, features = rows(spec, 0, 4)
    mine.add(name, digests[1:])
    mine.add(name, digests[1:])
    assert len(mine) == 4
    assert name in mine.names
    assert len(mine.names) == 2
    assert not reads
    np.testing.assert_array_equal(read(mine, digests), features)
    # The rows of the shard that came last serve, as after a commit.
    reads.clear()
    mine._loaded.clear()
    read(mine, digests[1:])
    assert reads == [name]


@pytest.mark.parametrize("name", ["spec.json", "000003-" + "0" * 64 + ".h5", "../000002-" + "0" * 64 + ".h5"])
def test_what_others_committed_has_its_rows_in_its_name(store, spec, name):
    shards = store.open(spec)
    with pytest.raises(StoreError, match=r"of 2 rows; expected a name .* begins with its number of rows"):
        shards.add(name, rows(spec, 0, 2)[0])
    assert len(shards) == 0


def test_known_rows_are_sorted_bytes(store, spec):
    shards = store.open(spec)
    assert shards.known().dtype == "S32"
    assert len(shards.known()) == 0
    digests = ["ff" * 32, "00" * 32, "0a" * 31 + "00"]
    shards.commit(digests, rows(spec, 0, 3)[1], {})
    known = store.open(spec).known()
    assert known.dtype == "S32"
    assert known.tobytes().hex() == "".join(sorted(digests))


@pytest.mark.usefixtures("nothing_kept")
def test_rows_are_put_in_order_whole_though_a_write_is_cut_short(store, spec, monkeypatch):
    shards = store.open(spec)
    for start in range(0, 80, 10):
        commit(shards, start, start + 10)
    digests, features = rows(spec, 0, 80)
    shuffled = np.random.default_rng(0).permutation(80)
    write = os.pwrite
    monkeypatch.setattr(
        os, "pwrite", lambda file, data, place: write(file, data[: len(data) // 2 + 1], place)
    )
    found = store.open(spec).reader([digests[row] for row in shuffled])(0, 80)
    np.testing.assert_array_equal(found, features[shuffled])


def test_a_store_without_room_to_put_rows_in_order_says_so(store, spec):
    shards = store.open(spec)
    for start in range(0, 20, 2):
        commit(shards, start, start + 2)
    digests = [rows(spec, 0, 20)[0][row] for row in np.random.default_rng(0).permutation(20)]
    read_rows = _Reordered(shards._index.places(digests), shards._rows_at, 1, store.root / "gone").read
    with pytest.raises(StoreError, match=r"cannot put features in order .*; make room there"):
        read_rows(0, 1)


def test_a_shard_that_cannot_be_read_now_is_not_set_aside(store, spec, monkeypatch):
    commit(store.open(spec), 0, 4)
    before = shard_files(store)

    def refuse(*_):
        raise OSError(24, "Too many open files")

    # The real thing needs a process without file descriptors left, in which pytest cannot run either.
    monkeypatch.setattr("featx.reading.read_regular_file", refuse)
    with pytest.raises(StoreError, match="Too many open files"):
        store.open(spec)
    monkeypatch.undo()
    assert shard_files(store) == before
    assert len(store.open(spec)) == 4


@pytest.mark.usefixtures("nothing_kept")
def test_a_shard_that_another_process_took_away_is_not_there(store, spec):
    commit(store.open(spec), 0, 4)
    shards = store.open(spec)
    shard_files(store)[0].unlink()
    with pytest.raises(StoreCorruptError, match="run the same command again"):
        read(shards, rows(spec, 0, 1)[0])
    assert len(store.open(spec)) == 0


def test_rows_of_a_fresh_commit_can_be_read_at_once(store, spec):
    shards = store.open(spec)
    commit(shards, 0, 3)
    digests, features = rows(spec, 0, 3)
    assert digests[1] in shards
    assert "f" * 64 not in shards
    np.testing.assert_array_equal(read(shards, digests), features)
    assert read(shards, []).shape == (0, spec.n_features)


def test_the_same_rows_make_the_same_file(store, spec, tmp_path):
    commit(store.open(spec), 0, 4)
    time.sleep(1.1)  # HDF5 would stamp the time of day in seconds
    other = FeatureStore(tmp_path / "other")
    commit(other.open(spec), 0, 4)
    (mine,), (theirs,) = shard_files(store), shard_files(other)
    assert mine.name == theirs.name
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_shard_is_plain_hdf5(store, spec):
    commit(store.open(spec), 0, 4)
    with h5py.File(shard_files(store)[0]) as file:
        assert file["features"].shape == (4, spec.n_features)
        assert file["image_sha256"][0] == b"0" * 64
        metadata = json.loads(file.attrs["metadata"])
    assert metadata == {"format_version": 1, "key": spec.key, "computed_with": {"engine": "test"}}


def test_resume_false_takes_no_row_that_is_there(store, spec):
    commit(store.open(spec), 0, 4)
    assert len(store.open(spec, resume=False)) == 0


def test_rows_of_this_run_come_before_those_of_earlier_ones(store, spec):
    commit(store.open(spec), 0, 4)
    shards = store.open(spec)
    digests, features = rows(spec, 0, 2)
    shards.commit(digests, features + 1, {})
    np.testing.assert_array_equal(read(shards, digests), features + 1)


@pytest.mark.parametrize("seed", range(30))
def test_any_flipped_bit_or_cut_is_found_and_the_rest_kept(store, spec, seed):
    rng = np.random.default_rng(seed)
    shards = store.open(spec)
    commit(shards, 0, 4)
    commit(shards, 4, 8)
    victim = shard_files(store)[seed % 2]
    data = bytearray(victim.read_bytes())
    if seed % 3:
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    else:
        del data[rng.integers(len(data)) :]
    victim.write_bytes(data)
    with pytest.warns(FeatxWarning, match="set aside"):
        reopened = store.open(spec)
    assert len(reopened) == 4
    assert not victim.exists()
    assert victim.with_name(f"{victim.name}.corrupt").exists()


@pytest.mark.usefixtures("nothing_kept")
def test_a_shard_damaged_after_it_was_opened_is_never_returned(store, spec):
    commit(store.open(spec), 0, 4)
    shards = store.open(spec)
    victim = shard_files(store)[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.warns(FeatxWarning), pytest.raises(StoreCorruptError, match="run the same command again"):
        read(shards, rows(spec, 0, 1)[0])


def test_what_was_verified_at_opening_is_kept_in_bounded_memory(store, spec, monkeypatch):
    shards = store.open(spec)
    for start in range(0, 40, 10):
        commit(shards, start, start + 10)
    # Two of the four shards.
    monkeypatch.setattr(shards_module, "_KEPT_BYTES", 2 * 10 * 4 * spec.n_features)
    reads = []
    original = ShardSet._read
    monkeypatch.setattr(ShardSet, "_read", lambda self, name: reads.append(name) or original(self, name))
    opened = store.open(spec)
    assert len(reads) == 4
    digests, features = rows(spec, 0, 40)
    # Scattered, yet two shards are no more than are read in turn: no copy in order is made for them.
    order = np.random.default_rng(0).permutation(40)
    read_rows = opened.reader([digests[row] for row in order])
    blocks = [read_rows(start, start + 8) for start in range(0, 40, 8)]
    np.testing.assert_array_equal(np.concatenate(blocks), features[order])
    assert len(reads) == 4 + 2
    assert sum(kept.nbytes for kept in opened._kept.values()) == 2 * 10 * 4 * spec.n_features


def test_a_shard_damaged_after_it_was_opened_serves_what_was_verified(store, spec):
    commit(store.open(spec), 0, 4)
    shards = store.open(spec)
    victim = shard_files(store)[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    digests, features = rows(spec, 0, 4)
    np.testing.assert_array_equal(read(shards, digests), features)
    with pytest.warns(FeatxWarning, match="set aside"):
        assert len(store.open(spec)) == 0


def test_rows_that_are_handed_out_cannot_be_changed(store, spec):
    commit(store.open(spec), 0, 4)
    block = read(store.open(spec), rows(spec, 1, 3)[0])
    with pytest.raises(ValueError, match="read-only"):
        block[0] = 0


def test_a_shard_of_another_extraction_is_not_used(store, spec):
    other = dataclasses.replace(spec, pooling="max")
    commit(store.open(other), 0, 4)
    (foreign,) = shard_files(store)
    directory = store.directory / spec.directory_name
    directory.mkdir()
    foreign.rename(directory / foreign.name)
    with pytest.warns(FeatxWarning, match="another version or extraction; key: found"):
        assert len(store.open(spec)) == 0


def test_nonfinite_rows_in_a_shard_are_not_used(store, spec):
    shards = store.open(spec)
    digests, features = rows(spec, 0, 2)
    features[1, 3] = np.nan
    shards.commit(digests, features, {})
    with pytest.warns(FeatxWarning, match="set aside"):
        assert len(store.open(spec)) == 0


def test_a_shard_that_was_made_anew_meanwhile_is_put_back(store, spec, monkeypatch):
    commit(store.open(spec), 0, 4)
    (path,) = shard_files(store)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])

    def made_anew(original=Path.replace):
        def replace(self, target):
            # Another process has set the damaged one aside, and committed the rows again.
            monkeypatch.setattr(Path, "replace", original)
            path.write_bytes(whole)
            return original(self, target)

        return replace

    monkeypatch.setattr(Path, "replace", made_anew())
    store.open(spec)
    assert path.read_bytes() == whole
    assert not list(path.parent.glob("*.corrupt"))
    assert len(store.open(spec)) == 4


def test_the_spec_of_another_extraction_is_set_aside_and_its_fields_named(store, spec):
    commit(store.open(spec), 0, 4)
    path = store.directory / spec.directory_name / "spec.json"
    path.write_text(dataclasses.replace(spec, pooling="max", input_size=(8, 8)).to_json())
    with pytest.warns(FeatxWarning, match="input_size: found.*pooling: found max, expected avg.*set aside"):
        assert len(store.open(spec)) == 4
    assert path.read_text() == spec.to_json()


def test_verify_finds_a_spec_of_which_one_digit_was_changed(store, spec):
    commit(store.open(spec), 0, 4)
    path = store.directory / spec.directory_name / "spec.json"
    digest = spec.pixels_sha256
    changed = digest[:7] + ("1" if digest[7] == "0" else "0") + digest[8:]
    path.write_text(path.read_text().replace(digest, changed))
    with pytest.warns(FeatxWarning, match="not listed"):
        assert store.entries() == []
    with pytest.warns(FeatxWarning, match="set aside"):
        (check,) = store.verify()
    assert (check.damaged, check.n_shards, check.n_lost) == (("spec.json",), 1, 0)
    assert len(store.open(spec)) == 4


def test_a_damaged_spec_costs_no_row(store, spec):
    commit(store.open(spec), 0, 4)
    (store.directory / spec.directory_name / "spec.json").write_text("{")
    with pytest.warns(FeatxWarning, match="set aside"):
        assert len(store.open(spec)) == 4


def test_entries_and_find(store, spec):
    commit(store.open(spec), 0, 4)
    other = dataclasses.replace(spec, pooling="max")
    store.open(other)
    assert {entry.spec.pooling: entry.n_samples for entry in store.entries()} == {"avg": 4, "max": 0}
    assert store.find(spec.key[:8]).spec == spec
    assert store.find(spec.directory_name).spec == spec
    for key in ("zzzz", spec.key[:8] + "z"):
        with pytest.raises(StoreError, match="the start of one key"):
            store.find(key)


def test_an_empty_store_is_empty(store):
    assert store.entries() == []
    assert store.verify() == []
    assert store.prune() == []


def test_verify_names_the_damage(store, spec):
    shards = store.open(spec)
    commit(shards, 0, 4)
    commit(shards, 4, 6)
    victim = shard_files(store)[0]
    victim.write_bytes(b"")
    with pytest.warns(FeatxWarning):
        (check,) = store.verify()
    assert check.damaged == (victim.name,)
    assert check.n_lost == int(victim.name[:6])
    assert (check.n_shards, check.n_samples) == (1, 6 - check.n_lost)
    assert check.backbone == spec.backbone
    (check,) = store.verify()
    assert check.damaged == ()


def test_a_folder_whose_spec_is_gone_is_told_of_and_can_be_pruned(store, spec):
    commit(store.open(spec), 0, 4)
    directory = store.directory / spec.directory_name
    (directory / "spec.json").unlink()
    with pytest.warns(FeatxWarning, match="is not listed"):
        assert store.entries() == []
    (check,) = store.verify()
    assert (check.damaged, check.n_shards, check.n_lost) == (("spec.json",), 1, 0)
    assert len(store.open(spec)) == 4
    (directory / "spec.json").unlink()
    assert store.prune([directory.name]) == [directory]
    assert not directory.exists()


def test_verify_counts_what_was_set_aside_earlier(store, spec):
    commit(store.open(spec), 0, 4)
    (victim,) = shard_files(store)
    victim.write_bytes(b"")
    with pytest.warns(FeatxWarning, match="set aside"):
        assert store.verify()[0].n_aside == 0
    assert store.verify()[0].n_aside == 1


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"version": 99}', ""])
def test_verify_finds_a_damaged_spec_and_checks_the_shards_without_it(store, spec, content):
    shards = store.open(spec)
    commit(shards, 0, 4)
    commit(shards, 4, 6)
    (shards.directory / "spec.json").write_text(content)
    victim = shard_files(store)[1]
    victim.write_bytes(victim.read_bytes() + b" ")
    with pytest.warns(FeatxWarning, match="set aside"):
        (check,) = store.verify()
    assert check.damaged == ("spec.json", victim.name)
    assert (check.backbone, check.n_shards) == ("", 1)
    assert len(store.open(spec)) == 6 - check.n_lost


def test_verify_checks_what_stands_beside_the_shards(store, spec):
    directory = store.open(spec).directory
    graph = directory / write_graph(directory, Graph("openvino", b"<net/>", b"weights"))
    assert store.verify()[0].damaged == ()
    graph.write_bytes(graph.read_bytes()[:-1])
    (directory / "engine-0123456789abcdef.json").write_text('{"name": ')
    with pytest.warns(FeatxWarning, match="set aside"):
        (check,) = store.verify()
    assert check.damaged == ("engine-0123456789abcdef.json", graph.name)
    assert check.n_lost == 0
    assert not graph.exists()
    assert len(store.prune()) == 2


def test_what_cannot_be_read_now_is_no_damage(store, spec):
    directory = store.open(spec).directory
    (directory / "engine-0123456789abcdef.json").mkdir()
    with pytest.raises(StoreError, match=r"engine-\w+\.json cannot be read: a folder, not a file"):
        store.verify()
    assert (directory / "engine-0123456789abcdef.json").exists()


def test_prune_deletes_what_is_named_and_what_was_left_behind(store, spec):
    commit(store.open(spec), 0, 4)
    kept = store.open(dataclasses.replace(spec, pooling="max"))
    corrupt = kept.directory / "000001-ab.h5.corrupt"
    corrupt.touch()
    doomed = [store.directory / spec.directory_name, corrupt]
    theirs = store.root / "documents" / "thesis.corrupt"
    theirs.parent.mkdir()
    theirs.touch()
    assert sorted(store.prune([spec.key], dry_run=True)) == sorted(doomed)
    assert all(path.exists() for path in doomed)
    assert sorted(store.prune([spec.key])) == sorted(doomed)
    assert [entry.spec.pooling for entry in store.entries()] == ["max"]
    assert theirs.exists()


def test_what_may_not_be_deleted_is_named(spec):
    # A folder that another user may enter, unlike pytest's own.
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        directory = FeatureStore(root).open(spec).directory
        (directory / "x.h5.corrupt").touch()
        directory.chmod(0o555)
        with unprivileged(), pytest.raises(StoreError, match=r"x.h5.corrupt cannot be deleted: Permission"):
            FeatureStore(root).prune()


@pytest.mark.parametrize("key", ["", "abc"])
def test_a_key_that_could_mean_anything_is_refused(store, spec, key):
    store.open(spec)
    with pytest.raises(StoreError, match="4 digits or more"):
        store.prune([key])


def test_the_leavings_of_a_dead_process_are_swept_those_of_a_living_one_kept(store, spec):
    directory = store.open(spec).directory
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    names = {pid: f".featx-{pid}-{'0' * 32}.tmp" for pid in (int(dead.stdout), os.getpid())}
    for name in names.values():
        (directory / name).touch()
        os.utime(directory / name, (0, 0))
    fresh = directory / f".featx-{int(dead.stdout)}-{'1' * 32}.tmp"
    fresh.touch()
    store.open(spec)
    left = {path.name for path in directory.glob(".featx-*")}
    assert left == {names[os.getpid()], fresh.name}


def test_shards_stay_small_for_wide_features(store, spec):
    wide = dataclasses.replace(spec, feature_blocks=(("top:none", 25_088),))
    assert store.open(wide).rows_per_shard == 16 * 2**20 // (4 * 25_088)
    assert store.open(spec).rows_per_shard == 1024
