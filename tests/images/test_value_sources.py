"""A user's own arrays: handed out as they are, of one shape and type, and no bad one costs its neighbours."""

import hashlib
import struct

import h5py
import numpy as np
import pytest

from featx.errors import DecodeError, SourceError, StoreError
from featx.images.base import SampleLayout
from featx.images.decoding import content_sha256
from featx.images.sources import ArraySource
from featx.images.value_sources import (
    DatasetValueSource,
    ValueSource,
    as_value_source,
    cast_value,
    value_sha256,
)
from tests.contracts import LABELS, VALUES, ValueSourceContract, reasons, stacked

TOKENS = np.random.default_rng(0).integers(0, 90, (6, 50)).astype(np.int32)


def tf_dataset(*columns):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(columns if len(columns) > 1 else columns[0])


def of_several_lengths():
    import tensorflow as tf

    return tf.data.Dataset.from_generator(
        lambda: (TOKENS[:2, : 5 + index] for index in range(2)),
        output_signature=tf.TensorSpec((None, None), tf.int32),
    )


def write_hdf5(folder, **datasets):
    path = folder / "values.h5"
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
    return path


# ---------------------------------------------------------------------------------------- contracts


class TestValueSourceContract(ValueSourceContract):
    def build(self, _folder):
        return ValueSource(VALUES, LABELS)


class TestValueListSourceContract(ValueSourceContract):
    def build(self, _folder):
        return ValueSource(list(VALUES), np.array(LABELS), sample_ids=[f"sound {i}" for i in range(6)])


class TestBigEndianFortranSourceContract(ValueSourceContract):
    def build(self, _folder):
        return ValueSource(np.asfortranarray(VALUES).astype(">f4"), LABELS)


class TestMappedValueSourceContract(ValueSourceContract):
    def build(self, folder):
        np.save(folder / "values.npy", VALUES)
        return as_value_source(folder / "values.npy", LABELS)


class TestHDF5ValueSourceContract(ValueSourceContract):
    def build(self, folder):
        return as_value_source(write_hdf5(folder, values=VALUES, labels=LABELS))


class TestTensorFlowValueSourceContract(ValueSourceContract):
    def build(self, _folder):
        return DatasetValueSource(tf_dataset(VALUES, LABELS).batch(4))


class TestPyDatasetValueSourceContract(ValueSourceContract):
    def build(self, _folder):
        import keras

        class Batches(keras.utils.PyDataset):
            num_batches = 3

            def __getitem__(self, index):
                rows = slice(2 * index, 2 * index + 2)
                return VALUES[rows], np.array(LABELS[rows])

        return DatasetValueSource(Batches())


# ------------------------------------------------------------------------------------ digest and types


def test_the_digest_is_of_type_shape_and_values():
    digests = [
        value_sha256(array)
        for array in (
            TOKENS,
            TOKENS.T,
            TOKENS.reshape(50, 6),
            TOKENS.astype(np.uint32),
            TOKENS.astype(np.float32),
            TOKENS + 1,
        )
    ]
    assert len(set(digests)) == len(digests)
    assert value_sha256(np.asfortranarray(TOKENS).astype(">i4")) == value_sha256(TOKENS)


def test_the_digest_is_this_one_for_ever():
    # A store that an earlier release filled is found again.
    expected = hashlib.sha256(b"values float32 (2, 3)" + struct.pack("<6f", *range(6))).hexdigest()
    assert value_sha256(np.arange(6, dtype=np.float32).reshape(2, 3)) == expected


def test_an_array_and_an_image_of_the_same_bytes_are_two_things():
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert value_sha256(pixels) != content_sha256(pixels)


@pytest.mark.parametrize(
    "dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">i2", ">f8"]
)
def test_numbers_of_every_type_are_handed_out_as_they_are(dtype):
    values = TOKENS.astype(dtype)
    source = ValueSource(values)
    assert source.layout == SampleLayout((50,), np.dtype(dtype).newbyteorder("="))
    np.testing.assert_array_equal(stacked(source), values)
    assert stacked(source).dtype == np.dtype(dtype).newbyteorder("=")


def test_numbers_of_pythons_are_taken_in_lists():
    source = as_value_source([[1, 2.5], (3, 4)])
    assert str(source.layout) == "float64 (2,)"
    np.testing.assert_array_equal(stacked(source), [[1, 2.5], [3, 4]])


class DataFrame:
    """What is asked of a table, whether of pandas or polars: the name of its class and one method."""

    def __init__(self, columns):
        self.columns = columns

    def to_numpy(self):
        return np.column_stack(list(self.columns.values()))


def test_a_data_frame_is_its_numbers():
    source = as_value_source(DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}), ["x", "y"])
    np.testing.assert_array_equal(stacked(source), [[1, 3], [2, 4]])
    frame = DataFrame({"a": np.array([1.0, 2.0], object), "name": np.array(["x", "y"], object)})
    with pytest.raises(SourceError, match=r"values of the type object.* expected booleans, integers"):
        as_value_source(frame)


def test_a_frame_of_pandas_is_its_numbers():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.5, 2.5], "b": [3, 4]})
    np.testing.assert_array_equal(stacked(as_value_source(frame)), [[1.5, 3], [2.5, 4]])


def test_what_is_fetched_can_be_changed_without_changing_the_source():
    values = VALUES.copy()
    ValueSource(values).read(0, 1)[0].fetch()[:] = 0
    np.testing.assert_array_equal(values, VALUES)


# -------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "build",
    [
        lambda values, _: ValueSource(values),
        lambda values, _: DatasetValueSource(tf_dataset(values).batch(4)),
        lambda values, folder: as_value_source(write_hdf5(folder, values=values)),
    ],
    ids=["array", "tf.data", "HDF5"],
)
def test_a_value_that_is_not_finite_costs_its_sample_alone(build, bad, tmp_path):
    values = VALUES.copy()
    values[3, 5, 2] = bad
    source = build(values, tmp_path)
    found = reasons(source)
    assert [reason is None for reason in found] == [True, True, True, False, True, True]
    assert found[3] == "not finite: 1 of 280 values are NaN or infinite"
    with pytest.raises(DecodeError, match=r"^3: not finite"):
        source.read(3, 4)[0].fetch()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([VALUES[0], VALUES[1, :5]], r"samples of shapes \(40, 7\) and \(5, 7\); .*; pad them"),
        ([[1, 2, 3], [4, 5]], r"samples of shapes \(3,\) and \(2,\); .*; pad them"),
        ([[[1, 2], [3]], [[4, 5], [6]]], "a sample that is no array .*; pad them"),
        (np.array([np.zeros(3), np.zeros(2)], dtype=object), "samples of shapes .*; pad them"),
        ([np.zeros(2), np.zeros(2, int)], "samples of types float64 and int64; .*; pad them .* or cast"),
        (np.zeros(6), r"values of shape \(6,\); .* pass values\[:, None\]"),
        ([1, 2, 3], r"values of shape \(3,\)"),
        (np.zeros((6, 0)), "samples that hold a value"),
        (np.zeros((0, 6)), "no samples"),
        ([], "an empty list"),
        (np.zeros((2, 3), complex), "values of the type complex128"),
        (np.zeros((2, 3), np.longdouble), "values of the type (float128|longdouble)"),
        ([["a", "b"], ["c", "d"]], "values of the type <U1"),
        (["a.npy", "b.npy"], "values of the type <U5"),
        ([[None, 1], [2, 3]], "values of the type object|samples of types"),
        (np.ma.masked_equal(TOKENS, 3), "a masked array; .*; fill what is masked"),
        (None, "a NoneType; expected an array, a data frame"),
        ({"a": [1]}, "a dict; expected an array"),
        (b"bytes", "a bytes"),
        (3, "a int"),
        (ArraySource(np.zeros((2, 4, 4, 3), np.uint8)), "a ArraySource of images; expected an array"),
    ],
)
def test_what_is_no_array_of_samples_is_refused_with_the_remedy(values, reason):
    with pytest.raises(SourceError, match=reason):
        as_value_source(values)


def test_labels_groups_and_ids_align():
    source = ValueSource(TOKENS, LABELS, groups=list("aabbcc"), sample_ids=list("uvwxyz"))
    assert (source.groups, source.sample_ids) == (list("aabbcc"), list("uvwxyz"))
    for options in ({"labels": LABELS[:5]}, {"groups": ["a"]}, {"sample_ids": ["a"]}):
        with pytest.raises(SourceError, match="for 6 samples"):
            ValueSource(TOKENS, **options)
    with pytest.raises(SourceError, match="the sample_id 'a' more than once"):
        ValueSource(TOKENS, sample_ids=["a"] * 6)


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (lambda: tf_dataset(TOKENS, [0, 1] * 3), r"elements of shape \(50,\); .*; append .batch\(32\)"),
        (lambda: tf_dataset(VALUES, [0, 1] * 3), r"elements of shape \(40, 7\); .*; append .batch\(32\)"),
        (lambda: tf_dataset(TOKENS).batch(2).repeat(), "a data set without end"),
        (lambda: tf_dataset(TOKENS).batch(2).take(0), "no samples"),
        (lambda: tf_dataset({"x": TOKENS}).batch(2), "a data set with a dict of inputs"),
        (lambda: tf_dataset(["text"] * 4).batch(2), "a batch of text|elements of shape"),
        (lambda: tf_dataset([["text"]] * 4).batch(2), "a batch of text, .*; pad them"),
        (of_several_lengths, r"batches of int32 \(5,\) and of int32 \(6,\); .*; pad them"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_refused_with_the_remedy(dataset, reason):
    with pytest.raises(SourceError, match=reason):
        as_value_source(dataset())


def test_a_data_set_that_shuffles_anew_is_refused():
    dataset = tf_dataset(np.arange(64)[:, None], np.arange(64)).shuffle(64, seed=0).batch(8)
    with pytest.raises(SourceError, match=r"changed between two passes .* turn shuffling"):
        as_value_source(dataset).read(0, 64)


# ------------------------------------------------------------------------------------------------ casts


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.5, 2.0], "f4"),
        ([1, -300], "f4"),
        ([True, False], "f4"),
        ([1, 255], "u1"),
        ([0, 90_000], "i4"),
        ([0, 1], "?"),
    ],
)
def test_a_sample_is_cast_to_what_the_model_takes(values, dtype):
    cast = cast_value(np.array(values), np.dtype(dtype))
    assert cast.dtype == dtype
    np.testing.assert_array_equal(cast, values)


@pytest.mark.parametrize(
    ("values", "dtype", "reason"),
    [
        ([1, 256], "u1", "values from 1 to 256 do not fit into uint8"),
        ([-1, 1], "u8", "values from -1 to 1 do not fit into uint64"),
        ([0, 2**31], "i4", "do not fit into int32"),
        ([0, 2], "?", "do not fit into bool"),
        ([1.0, 2.0], "i4", "float64 values where the model takes int32"),
        ([0.0, 1e300], "f4", r"values from 0\.0 to 1e\+300 do not fit into float32"),
        ([0, 70_000], "f2", "do not fit into float16"),
    ],
)
def test_a_sample_that_a_cast_would_change_is_refused(values, dtype, reason):
    with pytest.raises(DecodeError, match=f"^a: .*{reason}"):
        cast_value(np.array(values), np.dtype(dtype), "a")


# ------------------------------------------------------------------------------------------------ files


def test_a_npy_file_is_not_read_at_once(tmp_path):
    np.save(tmp_path / "values.npy", VALUES)
    assert isinstance(as_value_source(tmp_path / "values.npy").values, np.memmap)


@pytest.mark.parametrize(
    "names", [("values", "labels"), ("X", "y"), ("values", "y"), ("X", "labels")], ids="-".join
)
def test_an_archive_may_name_its_arrays_as_scikit_learn_does(tmp_path, names):
    path = tmp_path / "a.npz"
    np.savez(path, **dict(zip(names, (TOKENS, LABELS), strict=True)), groups=[1, 1, 2, 2, 3, 3])
    source = as_value_source(path)
    np.testing.assert_array_equal(stacked(source), TOKENS)
    assert source.class_names == ["dark", "light"]
    assert source.groups == ["1", "1", "2", "2", "3", "3"]
    assert as_value_source(str(path), groups=["a"] * 6).groups == ["a"] * 6


def test_datasets_in_hdf5_may_have_other_names(tmp_path):
    path = write_hdf5(tmp_path, **{"train/x": TOKENS, "train/y": [0, 1] * 3})
    source = as_value_source(path, dataset="train/x", label_dataset="train/y", sample_ids=list("abcdef"))
    np.testing.assert_array_equal(stacked(source), TOKENS)
    assert (source.labels.tolist(), source.sample_ids) == ([0, 1] * 3, list("abcdef"))


def test_a_crafted_hdf5_file_is_refused_before_a_value_is_read(tmp_path):
    other = write_hdf5(tmp_path, x=TOKENS)
    with h5py.File(tmp_path / "crafted.h5", "w") as file:
        file["values"] = h5py.ExternalLink(other, "x")
    with pytest.raises(StoreError, match=":/values is a link"):
        as_value_source(tmp_path / "crafted.h5")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none.npy", "no such file or folder; expected an array"),
        ("", "a folder; expected an array"),
        ("notes.txt", "the file .*notes.txt; expected an array"),
        ("wrong.npz", "holding labels; expected an array 'values' or 'X'"),
        ("wrong.h5", "holding labels; expected a dataset 'values'"),
        ("objects.npy", "expected a NumPy file without pickles"),
    ],
)
def test_a_path_that_leads_to_nothing_of_use_is_refused(tmp_path, name, reason):
    (tmp_path / "notes.txt").touch()
    np.savez(tmp_path / "wrong.npz", labels=LABELS)
    write_hdf5(tmp_path, labels=[0, 1]).rename(tmp_path / "wrong.h5")
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object))
    with pytest.raises(SourceError, match=reason) as caught:
        as_value_source(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(("values", "known"), [(TOKENS, "labels, groups, sample_ids"), (None, "class_names")])
def test_an_option_of_another_source_is_refused_with_those_that_there_are(values, known):
    values = tf_dataset(TOKENS).batch(2) if values is None else values
    with pytest.raises(SourceError, match=f"the option value_range; expected one of {known} for such"):
        as_value_source(values, value_range=(0, 1))
