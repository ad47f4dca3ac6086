"""HDF5: the same content makes the same bytes, and a crafted file opens nothing but itself."""

import io
import time

import h5py
import numpy as np
import pytest

from featx import hdf5
from featx.hdf5 import CHUNK_BYTES, add_dataset, create_hdf5, fixed_strings
from tests.contracts import run_python

VALUES = np.arange(4000, dtype=np.float32).reshape(1000, 4)


def hdf5_bytes():
    image = io.BytesIO()
    with create_hdf5(image) as file:
        add_dataset(file, "features", VALUES.shape, VALUES.dtype)[:] = VALUES
        names = fixed_strings(["a", "é"])
        add_dataset(file, "names", names.shape, names.dtype)[:] = names
        file.attrs["metadata"] = np.bytes_(b'{"format_version": 1}')
    return image.getvalue()


def write_hdf5(path, build):
    """A file as anyone's h5py writes it."""
    with h5py.File(path, "w") as file:
        build(file)
    return path


# ----------------------------------------------------------------------------------------- writing


def test_the_same_content_makes_the_same_bytes_in_another_second():
    first = hdf5_bytes()
    # HDF5 stamps objects with the time of day in seconds, unless told otherwise.
    time.sleep(1 - time.time() % 1 + 0.01)
    assert hdf5_bytes() == first


def test_plain_h5py_reads_what_was_written():
    with h5py.File(io.BytesIO(hdf5_bytes())) as file:
        np.testing.assert_array_equal(file["features"][:], VALUES)
        assert file["names"].asstr()[:].tolist() == ["a", "é"]
        assert file.attrs["metadata"] == b'{"format_version": 1}'


def test_plain_h5py_finds_a_flipped_bit_in_the_values():
    data = bytearray(hdf5_bytes())
    data[data.index(VALUES[500:510].tobytes())] ^= 1
    with h5py.File(io.BytesIO(data)) as file, pytest.raises(OSError, match=r"filter|checksum"):
        file["features"][:]


WRITE_ON_A_FULL_DISK = """
import resource, sys
import numpy as np
from featx.files import atomic_writer
from featx.hdf5 import add_dataset, create_hdf5
path, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with atomic_writer(path) as file, create_hdf5(file) as hdf5:
        for name in ("a", "b", "c"):
            add_dataset(hdf5, name, (500_000, 2), np.float32)[:] = np.ones((500_000, 2))
except BaseException as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("limit", [0, 100, 2_000, 1_000_000, 8_000_000, 12_000_000])
def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(tmp_path, limit):
    path = tmp_path / "f.h5"
    path.write_bytes(b"old")
    done = run_python(WRITE_ON_A_FULL_DISK, path, limit)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"StoreError cannot write {path}: ")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((10, 3), "f4"), ((1_000_000, 2), "f4"), ((3, 600_000), "f8"), ((5,), "i8"), ((100_000,), "S64")],
)
def test_chunks_are_checked_and_at_most_a_mebibyte_or_one_row(shape, dtype):
    with create_hdf5(io.BytesIO()) as file:
        dataset = add_dataset(file, "x", shape, dtype)
        assert dataset.shape == shape
        assert dataset.fletcher32
        n_bytes = int(np.prod(dataset.chunks)) * dataset.dtype.itemsize
        assert n_bytes <= CHUNK_BYTES or dataset.chunks[0] == 1


def test_the_last_chunk_is_about_as_full_as_the_others():
    with create_hdf5(io.BytesIO()) as file:
        dataset = add_dataset(file, "x", (1024, 1280), "f4")
        dataset[:] = 1
        file.flush()
        assert dataset.id.get_storage_size() < 1.01 * 4 * 1024 * 1280


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,)])
def test_a_dataset_may_have_no_rows(shape):
    with create_hdf5(io.BytesIO()) as file:
        assert add_dataset(file, "x", shape, "f4")[:].shape == shape


@pytest.mark.parametrize(
    "strings", [[], [""], ["a", "longer"], ["é", "猫", "\U0001f408"], ["line\nbreak", "tab\t"]]
)
def test_strings_come_back_as_they_were(strings):
    stored = fixed_strings(strings)
    with create_hdf5(io.BytesIO()) as file:
        add_dataset(file, "x", stored.shape, stored.dtype)[:] = stored
        assert file["x"].asstr()[:].tolist() == strings


def test_strings_are_fixed_in_blocks_as_wide_as_the_longest_of_all(monkeypatch):
    monkeypatch.setattr(hdf5, "_BLOCK_STRINGS", 2)
    strings = ["a", "é", "", "longest", "caf\udce9", "z"]
    stored = fixed_strings(strings)
    encoded = [string.encode("utf-8", "backslashreplace") for string in strings]
    assert stored.tolist() == encoded
    assert stored.dtype.itemsize == max(map(len, encoded))


def test_an_undecodable_byte_of_a_name_is_stored_as_an_escape():
    assert fixed_strings(["caf\udce9.jpg"])[0] == rb"caf\udce9.jpg"
