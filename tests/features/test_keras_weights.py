"""Files of weights are walked before Keras reads them, by a process that may be lost."""

import h5py
import keras
import numpy as np
import pytest

from featx.errors import StoreError
from featx.features import keras_weights
from featx.features.keras_weights import checked_weights
from tests.faults.mutants import mutant


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.weights.h5"
    keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Dense(2)]).save_weights(
        path
    )
    return path


def test_what_keras_wrote_is_counted(weights):
    assert checked_weights(weights) == 4 * (3 * 3 * 3 * 4 + 4 + 4 * 2 + 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.create_dataset("x", data=np.zeros(9), compression="gzip"), "through filters"),
        (lambda file: file.update({"x": h5py.ExternalLink("other.h5", "y")}), "the link x"),
        (lambda file: file.create_dataset("x", (2**40,), "f4"), "stores 0"),
    ],
)
def test_what_keras_would_not_write_is_refused(weights, change, reason):
    with h5py.File(weights, "r+") as file:
        change(file)
    with pytest.raises(StoreError, match=reason):
        checked_weights(weights)


def test_damage_is_an_error_and_ends_nothing(weights):
    whole = weights.read_bytes()
    outcomes = set()
    for seed in range(20):
        weights.write_bytes(mutant(whole, seed))
        try:
            checked_weights(weights)
            outcomes.add("read")
        except StoreError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_a_file_that_ends_its_reader_is_refused(weights, monkeypatch):
    # No file crashes this version of HDF5 on demand: a target that dies stands in for it.
    monkeypatch.setattr(keras_weights, "_TARGET", "tests.children:dies")
    with pytest.raises(StoreError, match=r"reading its weights as HDF5 died \(SIGSEGV\); refused"):
        checked_weights(weights)
