"""A parquet file of predictions: types, nulls, row groups of a bounded size, and nothing half written."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featx import parquet
from featx.parquet import save_parquet
from featx.prediction_files import PredictedRows


def rows(n_samples, first=0):
    share = np.linspace(0, 1, n_samples)
    ids = [f"{first + row}.png" for row in range(n_samples)]
    return PredictedRows(
        ids, ["cat", "dog"] * (n_samples // 2), np.stack([share, 1 - share], 1), [""] * n_samples
    )


def test_columns_have_types_and_what_is_not_there_is_null(tmp_path):
    numbers = np.array([[0.25, 0.75], [np.nan, np.nan]])
    block = PredictedRows(["=a.png", "b\udcff.png"], ["dog", None], numbers, ["", "empty file"])
    save_parquet(tmp_path / "p.parquet", ["cat", "dog"], [block])
    table = pq.read_table(tmp_path / "p.parquet")
    double, string = pa.float64(), pa.string()
    assert table.schema.names == [
        "sample_id",
        "label",
        "probability",
        "probability_cat",
        "probability_dog",
        "error",
    ]
    label = pa.dictionary(pa.int32(), string)
    assert table.schema.types == [string, label, double, double, double, string]
    assert table.to_pylist() == [
        dict(zip(table.schema.names, ["=a.png", "dog", 0.75, 0.25, 0.75, None], strict=True)),
        dict(zip(table.schema.names, ["b\\udcff.png", None, None, None, None, "empty file"], strict=True)),
    ]


def test_classes_may_be_integers(tmp_path):
    save_parquet(tmp_path / "p.parquet", [3, 7], [PredictedRows(["a"], [7], np.array([[0.0, 1.0]]), [""])])
    table = pq.read_table(tmp_path / "p.parquet")
    assert table["label"].to_pylist() == [7]
    assert table["probability_7"].to_pylist() == [1.0]


def test_blocks_are_written_as_they_come_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 100)
    written = []

    def blocks():
        for first in range(0, 1_000, 40):
            written.append((tmp_path / "p.parquet").exists())
            yield rows(40, first)

    save_parquet(tmp_path / "p.parquet", ["cat", "dog"], blocks())
    file = pq.ParquetFile(tmp_path / "p.parquet")
    assert written == [False] * 25
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [120] * 8 + [
        40
    ]
    assert file.read()["sample_id"].to_pylist() == [f"{row}.png" for row in range(1_000)]


def test_no_samples_are_a_file_without_rows(tmp_path):
    save_parquet(tmp_path / "p.parquet", ["cat"], [])
    assert pq.read_table(tmp_path / "p.parquet").num_rows == 0


def test_an_error_on_the_way_leaves_what_stood_there(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"as it was")

    def blocks():
        yield rows(40)
        raise RuntimeError("the head failed")

    with pytest.raises(RuntimeError, match="the head failed"):
        save_parquet(tmp_path / "p.parquet", ["cat", "dog"], blocks())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"as it was"]
