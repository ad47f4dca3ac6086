"""Rows in memory, or in a file where they are too many."""

import errno
import os

import numpy as np
import pytest

from featx import as_source
from featx.errors import DecodeError, StoreError
from featx.models.rows import batches, decoded_rows, empty_rows
from tests.conftest import make_images, write_class_folder


@pytest.mark.parametrize(("memory_gb", "kind"), [(1.0, np.ndarray), (1e-7, np.memmap)])
def test_many_rows_stand_in_a_file(memory_gb, kind):
    rows = empty_rows(100, (2, 3), np.float32, memory_gb)
    assert type(rows) is kind
    rows[:] = np.arange(600).reshape(100, 2, 3)
    np.testing.assert_array_equal(rows[[99, 0], 1, 2], [599, 5])


def test_a_full_disk_is_one_clear_error(monkeypatch):
    # A real full disk would need a file system of its own; the call is what reports it.
    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match=r"No space left on device\); expected room for them; set TMPDIR"):
        empty_rows(100, (2, 3), np.float32, 0.0)


def test_images_are_decoded_as_for_an_extraction(tmp_path):
    folder = write_class_folder(tmp_path / "images")
    images, digests = decoded_rows(as_source(folder), (8, 8), 1.0)
    assert (images.shape, images.dtype, len(set(digests))) == ((12, 8, 8, 3), np.uint8, 12)


def test_a_bad_image_ends_the_work(tmp_path):
    folder = write_class_folder(tmp_path / "images")
    (folder / "dark" / "broken.png").touch()
    with pytest.raises(DecodeError, match="empty file"):
        decoded_rows(as_source(folder), (8, 8), 1.0)


def test_every_row_is_in_one_batch():
    for n_rows in (1, 4, 5, 9):
        rows = np.concatenate([np.arange(n_rows)[batch] for batch in batches(n_rows, 4)])
        np.testing.assert_array_equal(rows, np.arange(n_rows))


def test_some_samples_of_a_source_are_those_samples():
    source = as_source(make_images(6), ["cat", "dog"] * 3)
    chosen = source.select([1, 4, 5])
    assert (chosen.sample_ids, chosen.labels.tolist()) == (["1", "4", "5"], [1, 0, 1])
    images, _ = decoded_rows(chosen, (20, 24), 1.0)
    np.testing.assert_array_equal(images, make_images(6)[[1, 4, 5]])
