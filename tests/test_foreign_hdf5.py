"""HDF5 from elsewhere: a crafted file opens nothing but itself, and ends nothing but its reader."""

import os
import subprocess
import sys
import zlib

import h5py
import numpy as np
import pytest

from featx import foreign_hdf5
from featx.errors import SourceError, StoreCorruptError, StoreError
from featx.files import atomic_writer
from featx.foreign_hdf5 import open_foreign_hdf5
from featx.hdf5 import add_dataset, create_hdf5
from tests.contracts import Canary, run_python, time_limit
from tests.test_hdf5 import VALUES, hdf5_bytes


def write_hdf5(path, build):
    """A file as anyone's h5py writes it."""
    with h5py.File(path, "w") as file:
        build(file)
    return path


# ------------------------------------------------------------------------------- opening good files


def good_files():
    def numbers(file):
        for dtype in ("u1", "i2", "i8", "f2", "f4", "f8", "?", ">f4"):
            file[dtype] = np.ones((2, 3), dtype)
        file["scalar"] = 3.5

    def strings(file):
        file["fixed"] = np.array([b"a", b"bc"])
        file["variable"] = ["a", "猫"]
        file.create_dataset("none", (0,), h5py.string_dtype())

    def empty(file):
        file["without_size"] = h5py.Empty("f4")
        file["without_rows"] = np.zeros((0, 7))
        file.create_dataset("not_written", (1000,), "f4")

    def compressed(file):
        file.create_dataset("x", data=np.zeros(10**7, "u1"), compression=9, shuffle=True, fletcher32=True)

    def groups(file):
        file["a/b/c/d/e/f/g/x"] = [1]
        file["same_dataset"] = file["a/b/c/d/e/f/g/x"]
        file["type"] = np.dtype("f4")

    return [numbers, strings, empty, compressed, groups]


@pytest.mark.parametrize("build", good_files(), ids=lambda build: build.__name__)
def test_an_honest_file_opens(tmp_path, build):
    path = write_hdf5(tmp_path / "f.h5", build)
    with h5py.File(path) as plain:
        names = list(plain)
    with open_foreign_hdf5(path) as file:
        assert list(file) == names


def test_a_dataset_under_two_names_is_read_by_either(tmp_path):
    def build(file):
        file["a/b/x"] = [1, 2]
        file["same"] = file["a/b/x"]

    with open_foreign_hdf5(write_hdf5(tmp_path / "f.h5", build)) as file:
        assert sorted(file.datasets) == ["a/b/x", "same"]
        assert file["a/b/x"][:].tolist() == file["same"][:].tolist() == [1, 2]


def test_a_file_opens_read_only_and_stays_as_it_is(tmp_path):
    path = write_hdf5(tmp_path / "f.h5", lambda file: file.create_dataset("x", data=[1, 2]))
    before = path.read_bytes()
    with pytest.raises(StoreError), open_foreign_hdf5(path) as file:
        file["x"][0] = 7
    assert path.read_bytes() == before


def test_a_file_opens_while_another_process_holds_its_lock(tmp_path):
    path = write_hdf5(tmp_path / "f.h5", lambda file: file.create_dataset("x", data=[1, 2]))
    code = (
        "import h5py, sys; file = h5py.File(sys.argv[1], 'r+', locking=True); print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(BlockingIOError):
            h5py.File(path, "r", locking=True)
        with open_foreign_hdf5(path) as file:
            assert file["x"][:].tolist() == [1, 2]
        other.stdin.close()


def test_an_undecodable_file_name_is_no_obstacle(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.h5"
    try:
        os.close(os.open(path, os.O_CREAT))
    except OSError:
        pytest.skip("this file system takes no such name")
    path = write_hdf5(os.fsdecode(path), lambda file: file.create_dataset("x", data=[1, 2]))
    with open_foreign_hdf5(path) as file:
        assert list(file) == ["x"]


# ------------------------------------------------------------------------------- opening other files


@pytest.fixture
def secret(tmp_path):
    """A file that nothing is to open."""
    return write_hdf5(tmp_path / "secret.h5", lambda file: file.create_dataset("x", data=np.arange(4)))


def external_link(file, secret):
    file["x"] = h5py.ExternalLink(secret, "x")


def nested_external_link(file, secret):
    file["a/b/x"] = h5py.ExternalLink(secret, "x")


def external_storage(file, secret):
    file.create_dataset("x", (4,), "i8", external=[(secret, 0, 32)])


def virtual_dataset(file, secret):
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(secret, "x", (4,))
    file.create_virtual_dataset("x", layout)


def growing_virtual_dataset(file, secret):
    # Even to ask for its shape opens the other file.
    layout = h5py.VirtualLayout((4,), "i8", maxshape=(None,))
    source = h5py.VirtualSource(secret, "x", (4,), maxshape=(None,))
    layout[0 : h5py.h5s.UNLIMITED] = source[0 : h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (external_link, ":/x is a link"),
        (nested_external_link, ":/a/b/x is a link"),
        (external_storage, ":/x keeps its values in another file"),
        (virtual_dataset, ":/x keeps its values in another file"),
        (growing_virtual_dataset, ":/x keeps its values in another file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_file_that_leads_to_another_is_refused_and_the_other_not_opened(tmp_path, secret, build, reason):
    path = write_hdf5(tmp_path / "f.h5", lambda file: build(file, secret))
    with Canary(secret) as canary:
        with pytest.raises(StoreError, match=f"{path}{reason}"), open_foreign_hdf5(path):
            pytest.fail("opened")
        assert not canary.was_opened()
        # The trap works: without the guard the other file is opened.
        with h5py.File(path) as file:
            file["a/b/x" if build is nested_external_link else "x"][:]
        assert canary.was_opened()


def soft_link(file):
    file["x"] = [1]
    file["link"] = h5py.SoftLink("/x")


def dangling_link(file):
    file["link"] = h5py.SoftLink("/nowhere")


def huge_claim(file):
    file.create_dataset("x", (2**40,), "f4", chunks=(1024,))


def overflowing_claim(file):
    # The product of the shape is 2**64, which is 0 in 64 bits.
    file.create_dataset("x", (2**32, 2**32), "u1", chunks=(1, 1024))


def compressed_claim(file):
    dataset = file.create_dataset("x", (2**31,), "u1", chunks=(2**20,), compression=9)
    dataset[:10] = 1


def foreign_filter(file):
    file.create_dataset("x", data=np.zeros(1000), compression="lzf")


def offset_filter(file):
    file.create_dataset("x", data=np.zeros(1000, "i4"), scaleoffset=0)


def deflated_twice(file):
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    n_bytes = 2**26
    creation.set_chunk((n_bytes,))
    creation.set_deflate(9)
    creation.set_deflate(9)
    space = h5py.h5s.create_simple((10,), (h5py.h5s.UNLIMITED,))
    dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_U8LE, space, creation)
    # Some hundred bytes that expand to 64 MiB, for ten values.
    dataset.write_direct_chunk((0,), zlib.compress(zlib.compress(bytes(n_bytes), 9), 9))


def deep_groups(file):
    file["/".join("abcdefghijk")] = [1]


def group_in_itself(file):
    group = file.create_group("a/b")
    group["c"] = file["a"]


def diamonds(file):
    # Groups of which each stands under sixty names in the one above: 47 thousand million paths to walk.
    group = file.create_group("bottom")
    for _ in range(6):
        above = file.create_group(None)
        for name in range(60):
            above[str(name)] = group
        group = above
    del file["bottom"]
    file["top"] = group


def records(file):
    file["x"] = np.zeros(3, [("a", "i4"), ("b", "f4")])


def complex_numbers(file):
    file["x"] = np.zeros(3, "c16")


def references(file):
    file["y"] = [1]
    file["x"] = np.array([file["y"].ref], h5py.ref_dtype)


def lists_of_numbers(file):
    file.create_dataset("x", (3,), h5py.vlen_dtype("i4"))


def opaque_bytes(file):
    file["x"] = np.zeros(3, "V8")


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (soft_link, "/link is a link"),
        (dangling_link, "/link is a link"),
        (huge_claim, "claims 4,398,046,511,104 bytes and stores 0"),
        (overflowing_claim, "claims 18,446,744,073,709,551,616 bytes"),
        (compressed_claim, "claims 2,147,483,648 bytes and stores"),
        (foreign_filter, "uses filters other than"),
        (offset_filter, "uses filters other than"),
        (deflated_twice, "uses filters other than"),
        (deep_groups, "nests groups deeper than 8"),
        (group_in_itself, "holds the group .* under two names"),
        (diamonds, "holds the group .* under two names"),
        (records, "has the type"),
        (complex_numbers, "has the type complex128"),
        (references, "has the type object"),
        (lists_of_numbers, "has the type object"),
        (opaque_bytes, "has the type"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_could_mislead_exhaust_or_run_a_plug_in_is_refused(tmp_path, build, reason):
    path = write_hdf5(tmp_path / "f.h5", build)
    with time_limit(10), pytest.raises(StoreError, match=reason) as caught, open_foreign_hdf5(path):
        pytest.fail("opened")
    assert str(path) in str(caught.value)
    assert not isinstance(caught.value, StoreCorruptError)


def test_a_name_in_a_file_cannot_break_the_line_of_the_error(tmp_path):
    path = write_hdf5(tmp_path / "f.h5", lambda file: records(file.create_group("a\nb\x1b[2J")))
    with (
        pytest.raises(StoreError, match=r":/a\\nb\\x1b\[2J/x has the type") as caught,
        open_foreign_hdf5(path),
    ):
        pytest.fail("opened")
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------- what is not a whole file


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none", "does not exist"), ("folder", "not a regular file"), ("pipe", "not a regular file")],
)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with time_limit(5), pytest.raises(StoreError, match=reason), open_foreign_hdf5(tmp_path / name):
        pytest.fail("opened")


@pytest.mark.parametrize("n_bytes", [0, 1, 8, 100, 1_000, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path, n_bytes):
    path = tmp_path / "f.h5"
    path.write_bytes(hdf5_bytes()[:n_bytes])
    with pytest.raises(StoreError, match=f"{path} is not a readable HDF5 file"), open_foreign_hdf5(path):
        pytest.fail("opened")


def test_a_text_file_is_refused(tmp_path):
    path = tmp_path / "f.h5"
    path.write_text("path,label\n" * 100)
    with pytest.raises(StoreError, match="is not a readable HDF5 file"), open_foreign_hdf5(path):
        pytest.fail("opened")


def test_damage_that_shows_when_a_value_is_read_is_the_files(tmp_path):
    path = tmp_path / "f.h5"
    data = bytearray(hdf5_bytes())
    data[data.index(VALUES[500:510].tobytes())] ^= 1
    path.write_bytes(data)
    with (
        pytest.raises(StoreCorruptError, match=f"{path} is damaged or incomplete"),
        open_foreign_hdf5(path) as file,
    ):
        file["features"][:]


def test_an_error_that_featx_raises_in_the_block_comes_through(tmp_path):
    path = write_hdf5(tmp_path / "f.h5", lambda file: file.create_dataset("x", data=[1]))
    error = SourceError("no images")
    with pytest.raises(SourceError) as caught, open_foreign_hdf5(path):
        raise error
    assert caught.value is error


def test_committed_and_opened_again(tmp_path):
    with atomic_writer(tmp_path / "f.h5") as file, create_hdf5(file) as hdf5:
        add_dataset(hdf5, "features", VALUES.shape, VALUES.dtype)[:] = VALUES
    with open_foreign_hdf5(tmp_path / "f.h5") as hdf5:
        np.testing.assert_array_equal(hdf5["features"][:], VALUES)


@pytest.mark.parametrize("step_bytes", [1, 700, 10**6])
def test_what_is_asked_for_in_parts_is_put_together(tmp_path, monkeypatch, step_bytes):
    variable = ["a", "longer", "猫", ""] * 3

    def build(file):
        file["fixed"] = np.array([b"a", b"bcd", b""] * 4)
        file["variable"] = variable
        file["numbers"] = np.arange(24).reshape(12, 2)

    path = write_hdf5(tmp_path / "f.h5", build)
    monkeypatch.setattr(foreign_hdf5, "_BLOCK_BYTES", step_bytes)
    with open_foreign_hdf5(path) as file:
        assert file["fixed"][()].tolist() == [b"a", b"bcd", b""] * 4
        assert file["variable"][()].tolist() == [text.encode() for text in variable]
        assert file["variable"][3:9].tolist() == [text.encode() for text in variable[3:9]]
        np.testing.assert_array_equal(file["numbers"][()], np.arange(24).reshape(12, 2))
        assert file["numbers"][5:5].shape == (0, 2)


def test_strings_of_a_fixed_length_are_counted_as_long_as_they_are(tmp_path, monkeypatch):
    path = write_hdf5(tmp_path / "f.h5", lambda file: file.create_dataset("x", data=np.array([b"ab"] * 500)))
    monkeypatch.setattr(foreign_hdf5, "_MAX_WHOLE_BYTES", 1000)
    with open_foreign_hdf5(path) as file:
        assert len(file["x"][()]) == 500
        monkeypatch.setattr(foreign_hdf5, "_MAX_WHOLE_BYTES", 999)
        with pytest.raises(StoreError, match="claims 1,000 bytes, more than names and labels have"):
            file["x"][()]


READ_DAMAGED_COPIES = """
import sys
import numpy as np
from featx.errors import StoreError
from featx.foreign_hdf5 import open_foreign_hdf5
path, n_copies = sys.argv[1], int(sys.argv[2])
whole = open(path, "rb").read()
def read():
    with open_foreign_hdf5(path) as file:
        return file["features"][:].tobytes(), file["names"][:].tobytes(), file.attrs["metadata"]
expected, n_refused = read(), 0
for seed in range(n_copies):
    rng = np.random.default_rng(seed)
    damaged = bytearray(whole)
    # The values are most of the file and its simplest part: aim at the rest as often.
    offset = rng.integers(len(whole)) if seed % 2 else rng.integers(1000)
    damaged[offset] ^= 1 << rng.integers(8)
    open(path, "wb").write(damaged)
    try:
        assert read() == expected, f"seed {seed}: other values"
    except StoreError:
        n_refused += 1
print(n_refused)
"""


def test_a_flipped_bit_never_changes_a_value_unnoticed(tmp_path):
    path = tmp_path / "f.h5"
    path.write_bytes(hdf5_bytes())
    # In a process of its own: what HDF5 makes of damage may be a crash.
    done = run_python(READ_DAMAGED_COPIES, path, 400)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 300
