"""NumPy's files: their arrays come back, and nothing else comes of them."""

import numpy as np
import pytest

from featx.errors import SourceError
from featx.images.numpy_files import numpy_arrays
from tests.faults.malicious import NPY, NPZ, npz, zip_bytes

IMAGES = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_wanted_arrays_come_back(tmp_path, save):
    save(tmp_path / "a.npz", images=IMAGES, labels=["a", "b", "a", "b"], other=np.zeros(3))
    found = numpy_arrays(tmp_path / "a.npz", "images", optional=("labels", "groups"))
    assert list(found) == ["images", "labels"]
    np.testing.assert_array_equal(found["images"], IMAGES, strict=True)


def test_a_single_array_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    found = numpy_arrays(tmp_path / "a.npy", "images")["images"]
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, IMAGES)


def test_what_is_not_wanted_is_not_read(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(zip_bytes(npz(other=NPY["pickle"]()).items()))
    assert set(numpy_arrays(path, "images")) == {"images"}


def test_an_absent_array_is_named_beside_those_that_are_there(tmp_path):
    np.savez(tmp_path / "a.npz", labels=[1])
    with pytest.raises(SourceError, match=r"a\.npz holding labels; expected an array 'values' or 'X'"):
        numpy_arrays(tmp_path / "a.npz", "values", "X")


@pytest.mark.parametrize("name", NPY)
def test_malicious_arrays_are_refused(tmp_path, name):
    (tmp_path / "a.npy").write_bytes(NPY[name]())
    with pytest.raises(SourceError, match=r"a\.npy: .*; expected a NumPy file"):
        numpy_arrays(tmp_path / "a.npy", "images")


@pytest.mark.parametrize("name", ["pickle in images", "terabytes in images", "repeated member", "path above"])
def test_malicious_archives_are_refused(tmp_path, name):
    (tmp_path / "a.npz").write_bytes(NPZ[name]())
    with pytest.raises(SourceError, match=r"a\.npz: .*; expected a NumPy file"):
        numpy_arrays(tmp_path / "a.npz", "images")
