"""Images in HDF5 files: read in blocks, each image once, and damage costs no neighbour."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from featx.errors import SourceError, StoreError
from featx.images import hdf5_source
from featx.images.hdf5_source import HDF5Source
from tests.contracts import IMAGES, LABELS, SourceContract, contents, reasons, stacked

GREY = IMAGES[..., 0]


def write_hdf5(folder, **datasets):
    path = folder / "images.h5"
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


class TestHDF5SourceContract(SourceContract):
    def build(self, folder):
        return HDF5Source(write_hdf5(folder, images=IMAGES, labels=LABELS))


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        ([3, 5, 3, 5, 3, -1], ["3", "5"]),
        (np.array([b"a", b"b"] * 3), ["a", "b"]),
        (["katze", "größe"] * 3, ["größe", "katze"]),
        (np.array(["größe".encode(), b"katze"] * 3), ["größe", "katze"]),
        (np.array([True, False] * 3), ["False", "True"]),
    ],
    ids=["integers", "fixed", "variable", "fixed UTF-8", "booleans"],
)
def test_labels_in_hdf5_may_be_numbers_or_text(tmp_path, labels, class_names):
    source = HDF5Source(write_hdf5(tmp_path, images=IMAGES, labels=labels))
    assert source.class_names == class_names
    assert source.labels.dtype == np.int64


def test_hdf5_without_labels_is_unlabelled_unless_they_were_named(tmp_path):
    path = write_hdf5(tmp_path, images=IMAGES)
    assert HDF5Source(path).labels.tolist() == [-1] * 6
    with pytest.raises(SourceError, match="holding images; expected a dataset 'kinds'"):
        HDF5Source(path, labels="kinds")


def test_datasets_in_hdf5_may_have_other_names(tmp_path):
    path = write_hdf5(tmp_path, **{"train/x": IMAGES, "train/y": [0, 1] * 3, "labels": [9] * 3})
    source = HDF5Source(path, "train/x", "train/y")
    np.testing.assert_array_equal(stacked(source), IMAGES)
    assert source.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    ("datasets", "reason"),
    [
        ({"x": IMAGES}, "holding x; expected a dataset 'images'"),
        ({}, "holding nothing; expected a dataset 'images'"),
        ({"images/0": IMAGES[0]}, "holding images; expected a dataset 'images'"),
        ({"images": IMAGES, "labels/0": [1]}, "expected a dataset 'labels'"),
        ({"images": h5py.Empty("u1")}, "expected a dataset 'images'"),
        ({"images": 3}, r"images of shape \(\)"),
        ({"images": IMAGES[0]}, "one image of shape"),
        ({"images": IMAGES / 255}, r"float64 images .* pass HDF5Source\(..., value_range"),
        ({"images": ["a.png", "b.png"]}, r"images of shape \(2,\)"),
        ({"images": IMAGES[:0]}, "no samples"),
        ({"images": IMAGES, "labels": [0, 1]}, r"labels of shape \(2,\) for 6 samples"),
        ({"images": IMAGES, "labels": [[b"a"], [b"b"]] * 3}, r"labels of shape \(6, 1\)"),
        ({"images": IMAGES, "labels": [b"a", b""] * 3}, r"^1: its label is missing"),
    ],
)
def test_hdf5_that_does_not_hold_images_is_refused(tmp_path, datasets, reason):
    with pytest.raises(SourceError, match=reason):
        HDF5Source(write_hdf5(tmp_path, **datasets))


def test_float_images_in_hdf5_have_a_stated_range(tmp_path):
    source = HDF5Source(write_hdf5(tmp_path, images=GREY / 255), value_range=(0, 1))
    np.testing.assert_array_equal(stacked(source)[..., 0], GREY)


def test_a_damaged_chunk_costs_the_images_in_it_alone(tmp_path):
    path = tmp_path / "images.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("images", data=IMAGES, chunks=(2, 20, 24, 3), fletcher32=True)
        offset = dataset.id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 100] ^= 1
    path.write_bytes(data)
    source = HDF5Source(path)
    found = reasons(source)
    assert [reason is None for reason in found] == [True, True, False, False, True, True]
    assert found[2].startswith("cannot be read: ")
    good = [sample for sample, reason in zip(source.read(0, 6), found, strict=True) if reason is None]
    assert contents(good) == [IMAGES[index].tobytes() for index in (0, 1, 4, 5)]


def test_a_crafted_hdf5_file_is_refused_before_a_value_is_read(tmp_path):
    other = write_hdf5(tmp_path, x=IMAGES)
    path = tmp_path / "crafted.h5"
    with h5py.File(path, "w") as file:
        file["images"] = h5py.ExternalLink(other, "x")
    with pytest.raises(StoreError, match=":/images is a link"):
        HDF5Source(path)


def test_hdf5_that_is_gone_at_the_second_look_is_an_error(tmp_path):
    path = write_hdf5(tmp_path, images=IMAGES)
    source = HDF5Source(path)
    path.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        source.read(0, 2)


def open_of(monkeypatch):
    """How often each file was opened."""
    opened = []
    original = hdf5_source.open_foreign_hdf5

    def count(path):
        opened.append(path)
        return original(path)

    monkeypatch.setattr(hdf5_source, "open_foreign_hdf5", count)
    return opened


def rows_read(monkeypatch):
    """The rows asked of the file, slice by slice."""
    asked = []
    original = hdf5_source._read_rows

    def note(dataset, start, stop):
        asked.append((start, stop))
        return original(dataset, start, stop)

    monkeypatch.setattr(hdf5_source, "_read_rows", note)
    return asked


def write_numbered(folder, n_images=40, chunk=10):
    """Images that are told apart by their value."""
    path = folder / "numbered.h5"
    images = np.repeat(np.arange(n_images, dtype=np.uint8), 4 * 4 * 3).reshape(n_images, 4, 4, 3)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=images, chunks=(chunk, 4, 4, 3), compression="gzip")
    return path


def values(samples):
    return [int(sample.fetch()[0, 0, 0]) for sample in samples]


def test_a_pass_in_small_steps_reads_every_row_once_and_whole_chunks(tmp_path, monkeypatch):
    path = write_numbered(tmp_path)
    source = HDF5Source(path)
    monkeypatch.setattr(hdf5_source, "_BLOCK_BYTES", 25 * 48)
    asked, opened = rows_read(monkeypatch), open_of(monkeypatch)
    found = [value for start in range(0, 40, 8) for value in values(source.read(start, start + 8))]
    assert found == list(range(40))
    assert asked == [(0, 20), (20, 40)]
    assert len(opened) == 2


@pytest.mark.parametrize("block", [1, 3 * 48, 15 * 48])
def test_a_chunk_or_a_request_larger_than_a_block_is_read_all_the_same(tmp_path, monkeypatch, block):
    monkeypatch.setattr(hdf5_source, "_BLOCK_BYTES", block)
    source = HDF5Source(write_numbered(tmp_path, chunk=17))
    for start, stop in [(0, 5), (5, 20), (3, 4), (30, 40), (38, 50), (0, 40)]:
        assert values(source.read(start, stop)) == list(range(start, min(stop, 40)))


def test_threads_may_read_one_source(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_source, "_BLOCK_BYTES", 10 * 48)
    source = HDF5Source(write_numbered(tmp_path))
    starts = np.random.default_rng(0).integers(0, 36, 200).tolist()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda start: values(source.read(start, start + 5)), starts))
    assert found == [list(range(start, min(start + 5, 40))) for start in starts]


def test_a_pickle_holds_no_pixels(tmp_path):
    source = HDF5Source(write_numbered(tmp_path))
    before = len(pickle.dumps(source))
    source.read(0, 8)
    assert len(pickle.dumps(source)) == before
    assert values(pickle.loads(pickle.dumps(source)).read(8, 16)) == list(range(8, 16))


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    path = write_numbered(tmp_path)
    source = HDF5Source(path)
    assert values(source.read(0, 2)) == [0, 1]
    with h5py.File(path, "r+") as file:
        file["images"][:] = 99
    # Both may fall into one tick of the file system's clock.
    os.utime(path, ns=(0, 0))
    assert values(source.read(0, 2)) == [99, 99]
    write_numbered(tmp_path, n_images=30)
    with pytest.raises(SourceError, match=r"30 samples, where there were 40; .*; make a new source"):
        source.read(0, 2)


def test_a_file_that_is_gone_is_not_remembered(tmp_path):
    path = write_numbered(tmp_path)
    source = HDF5Source(path)
    source.read(0, 2)
    path.unlink()
    with pytest.raises(StoreError, match="does not exist"):
        source.read(2, 4)
