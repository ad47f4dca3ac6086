"""CSV and parquet say the same, a name decides which, and a bad one is refused before the work."""

import csv
import sys
import tracemalloc

import numpy as np
import pyarrow.parquet as pq
import pytest

from featx.errors import MissingPackageError, StoreError
from featx.prediction_files import PredictedRows, check_prediction_file, save_predictions

CLASSES = ["cat", "=dog"]


def blocks(n_blocks=3, n_rows=40):
    rng = np.random.default_rng(0)
    for block in range(n_blocks):
        share = rng.random(n_rows)
        probabilities = np.stack([share, 1 - share], axis=1)
        labels = [CLASSES[int(value < 0.5)] for value in share]
        errors = [""] * n_rows
        probabilities[7], labels[7], errors[7] = np.nan, None, "empty file"
        yield PredictedRows([f"-{block}-{row}.png" for row in range(n_rows)], labels, probabilities, errors)


def test_both_say_the_same(tmp_path):
    for name in ("p.csv", "p.parquet"):
        save_predictions(tmp_path / name, CLASSES, blocks())
    with (tmp_path / "p.csv").open(newline="") as file:
        header, *texts = csv.reader(file)
    table = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert header == list(table[0])
    assert len(texts) == len(table) == 120

    def as_text(value):
        if isinstance(value, float):
            return f"{value:.6f}"
        # Only a spreadsheet needs the mark.
        return "" if value is None else f"'{value}" if value[0] in "=-" else value

    assert texts == [[as_text(value) for value in row.values()] for row in table]


@pytest.mark.parametrize("name", ["p.csv", "P.CSV", "p.txt", "p"])
def test_what_is_no_parquet_is_text(tmp_path, name):
    save_predictions(tmp_path / name, CLASSES, blocks())
    assert (tmp_path / name).read_text().startswith("sample_id,label,probability,probability_cat,")


@pytest.mark.parametrize("name", ["p.json", "p.parquet.gz", "p.xlsx", "p.h5"])
def test_another_ending_is_refused_before_anything_is_asked_for(tmp_path, name):
    def unasked():
        pytest.fail("asked for")
        yield

    with pytest.raises(StoreError, match=r"expected a name that ends in \.csv or \.parquet"):
        save_predictions(tmp_path / name, CLASSES, unasked())
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r'pip install "featx\[parquet\]"'):
        check_prediction_file("p.parquet")
    check_prediction_file("p.csv")
    check_prediction_file(None)


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path, name, monkeypatch):
    monkeypatch.setattr("featx.parquet._GROUP_ROWS", 2_000)

    def peak(n_blocks):
        tracemalloc.start()
        save_predictions(tmp_path / name, CLASSES, blocks(n_blocks, 1_000))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert peak(40) < 1.5 * peak(4)
