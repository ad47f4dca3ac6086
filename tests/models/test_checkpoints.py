"""A checkpoint is whole or absent, and another's or a damaged one is never taken up."""

import zipfile

import numpy as np
import pytest

from featx.errors import FeatxWarning, StoreError, StoreMismatchError
from featx.models.checkpoints import Checkpoint

ARRAYS = {"weights/0": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/0": np.array(7)}


@pytest.fixture
def checkpoint(tmp_path):
    checkpoint = Checkpoint(tmp_path / "run.ckpt", {"epochs": 3, "learning_rate": 0.1})
    checkpoint.save({"epoch": 1}, ARRAYS)
    return checkpoint


def test_what_was_saved_comes_back_as_it_was(checkpoint):
    state, arrays = checkpoint.load()
    assert state == {"epoch": 1}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_another_run_is_refused_with_what_differs(checkpoint):
    other = Checkpoint(checkpoint.path, {"epochs": 3, "learning_rate": 0.2})
    with pytest.raises(StoreMismatchError, match=r"learning_rate: found 0\.1, expected 0\.2"):
        other.load()


@pytest.mark.parametrize("n_bytes", [0, 1, 100, 500, -1])
def test_a_torn_file_is_set_aside(checkpoint, n_bytes):
    data = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(data[:n_bytes])
    with pytest.warns(FeatxWarning, match=r"cannot be read as a checkpoint.*set aside as run\.ckpt\.corrupt"):
        assert checkpoint.load() is None
    assert checkpoint.path.with_name("run.ckpt.corrupt").read_bytes() == data[:n_bytes]


def test_changed_arrays_are_noticed(checkpoint):
    with zipfile.ZipFile(checkpoint.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = bytearray(members["weights/0.npy"])
    changed[-1] ^= 1
    with zipfile.ZipFile(checkpoint.path, "w") as archive:
        for name, data in {**members, "weights/0.npy": bytes(changed)}.items():
            archive.writestr(name, data)
    with pytest.warns(FeatxWarning, match="is damaged, or of another version of featx"):
        assert checkpoint.load() is None


def test_pickles_and_compression_are_refused(checkpoint, tmp_path):
    with zipfile.ZipFile(checkpoint.path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    np.save(tmp_path / "pickle.npy", np.array([object()], dtype=object), allow_pickle=True)
    for data, kind in (
        ((tmp_path / "pickle.npy").read_bytes(), zipfile.ZIP_STORED),
        (members["weights/0.npy"], zipfile.ZIP_DEFLATED),
    ):
        with zipfile.ZipFile(checkpoint.path, "w", kind) as archive:
            for name, old in members.items():
                archive.writestr(name, data if name == "weights/0.npy" else old)
        with pytest.warns(FeatxWarning, match="set aside"):
            assert checkpoint.load() is None


def test_a_link_is_not_followed(checkpoint, tmp_path):
    (tmp_path / "link.ckpt").symlink_to(checkpoint.path)
    with pytest.raises(StoreError, match="cannot be read"):
        Checkpoint(tmp_path / "link.ckpt", checkpoint.run).load()
