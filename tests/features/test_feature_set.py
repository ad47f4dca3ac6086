"""FeatureSet: a file that h5py reads alone, that comes back bit for bit, and that is checked."""

import dataclasses
import json
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from featx import ExtractionSpec, FeatureExtractor, FeatureSet, StoreCorruptError, StoreError
from featx.features import feature_set, rows, strings
from featx.features.extraction import to_dtype
from featx.features.rows import Rows, features_digest
from tests.conftest import TINY, make_images


@pytest.fixture
def spec():
    return FeatureExtractor(TINY, taps=("first", "second"), pooling="avg+max").fit().spec_


@pytest.fixture
def features(spec):
    rng = np.random.default_rng(0)
    return FeatureSet(
        rng.normal(size=(7, spec.n_features)).astype(np.float32),
        [0, 1, -1, 1, 0, 2, 2],
        sample_ids=[f"böse/{row}.png" for row in range(6)] + ["undecodable \udcff.png"],
        class_names=["a", "b", "ç"],
        groups=list("aabbcde"),
        image_sha256=[f"{row:064x}" for row in range(7)],
        spec=spec,
    )


@pytest.fixture
def path(features, tmp_path):
    features.save(tmp_path / "f.h5")
    return tmp_path / "f.h5"


def test_a_file_comes_back_as_it_was(features, path):
    loaded = FeatureSet.load(path)
    np.testing.assert_array_equal(loaded.X, features.X)
    np.testing.assert_array_equal(loaded.y, features.y)
    assert loaded.sample_ids == [*features.sample_ids[:6], "undecodable \\udcff.png"]
    for name in ("class_names", "groups", "image_sha256", "spec"):
        assert getattr(loaded, name) == getattr(features, name)
    assert loaded.X.dtype == np.float32


def test_h5py_alone_reads_it(path):
    script = f"""
import h5py, json
with h5py.File({str(path)!r}) as f:
    assert f["features"].shape == (7, 40) and f["features"].dtype == "float32"
    assert f["labels"][:].tolist() == [0, 1, -1, 1, 0, 2, 2]
    assert f["sample_ids"].asstr()[0] == "böse/0.png"
    assert f["groups"].asstr()[:].tolist() == list("aabbcde")
    assert f["view"][:].tolist() == [0] * 7
    assert f["image_sha256"][1] == b"0" * 63 + b"1"
    assert [name.decode() for name in f.attrs["class_names"]] == ["a", "b", "ç"]
    assert json.loads(f.attrs["feature_blocks"])[1] == ["first:max", 8, 16]
    assert json.loads(f.attrs["extraction_spec"])["backbone"] == "tiny"
    assert f.attrs["format_version"] == 1
import sys
assert not [name for name in sys.modules if name.startswith("featx")]
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_equal_content_makes_equal_bytes(features, path, tmp_path):
    time.sleep(1.1)  # HDF5 would stamp the time of day in seconds
    features.save(tmp_path / "again.h5")
    FeatureSet.load(path).save(tmp_path / "copy.h5")
    assert path.read_bytes() == (tmp_path / "again.h5").read_bytes() == (tmp_path / "copy.h5").read_bytes()


def test_float16_is_kept_as_float16(features, tmp_path):
    half = FeatureSet(features.X.astype(np.float16), features.y, class_names=features.class_names)
    half.save(tmp_path / "half.h5")
    loaded = FeatureSet.load(tmp_path / "half.h5")
    assert loaded.X.dtype == np.float16
    np.testing.assert_array_equal(loaded.X, half.X)


def test_values_that_do_not_fit_float16_are_refused():
    assert to_dtype(np.float32([65_504]), "float16") == 65_504
    with pytest.raises(StoreError, match="pass dtype='float32'"):
        to_dtype(np.float32([1, -70_000]), "float16")


def test_without_labels_or_names_there_are_defaults(tmp_path):
    plain = FeatureSet(np.ones((2, 3), np.float32))
    plain.save(tmp_path / "plain.h5")
    loaded = FeatureSet.load(tmp_path / "plain.h5")
    assert loaded.y.tolist() == [-1, -1]
    assert loaded.class_names == []
    assert loaded.spec is None
    assert loaded.feature_blocks == {"features": (0, 3)}


def test_many_long_class_names_fit(tmp_path):
    names = [f"class {index} {'x' * 40}" for index in range(5000)]
    FeatureSet(np.ones((1, 3), np.float32), [4999], class_names=names).save(tmp_path / "f.h5")
    assert FeatureSet.load(tmp_path / "f.h5").class_names == names


@pytest.mark.parametrize("taps", [["second"], ["second", "first"]])
def test_select_takes_the_columns_of_taps(features, taps):
    chosen = features.select(taps)
    columns = {"first": features.X[:, :16], "second": features.X[:, 16:]}
    np.testing.assert_array_equal(chosen.X, np.hstack([columns[tap] for tap in taps]))
    assert chosen.spec == FeatureExtractor(TINY, taps=taps, pooling="avg+max").fit().spec_
    assert chosen.sample_ids == features.sample_ids


@pytest.mark.parametrize(
    ("arguments", "blocks"),
    [
        ({"taps": ["second:max", "first:avg"]}, ["second:max", "first:avg"]),
        ({"taps": ["second", "first:max"]}, ["second:avg", "second:max", "first:max"]),
        ({"taps": ["first:max", "second:max"]}, ["first:max", "second:max"]),
        ({"taps": ["first:max", "second:avg", "first:avg"]}, ["first:max", "second:avg", "first:avg"]),
        ({"poolings": ["max"]}, ["first:max", "second:max"]),
        ({"poolings": ["max", "avg"]}, ["first:max", "first:avg", "second:max", "second:avg"]),
        ({"taps": ["second", "first:avg"], "poolings": ["max"]}, ["second:max", "first:avg"]),
        ({"taps": ["second:max+avg"]}, ["second:max", "second:avg"]),
    ],
)
def test_select_takes_blocks_and_its_spec_gives_these_columns(features, arguments, blocks):
    chosen = features.select(**arguments)
    assert [name for name, _ in chosen.spec.feature_blocks] == blocks
    columns = [np.arange(*features.feature_blocks[name]) for name in blocks]
    np.testing.assert_array_equal(chosen.X, features.X[:, np.concatenate(columns)])
    rebuilt = FeatureExtractor.from_spec(ExtractionSpec.from_json(chosen.spec.to_json()))
    assert rebuilt.spec_ == chosen.spec
    # What that extractor computes is what was selected.
    images = make_images(2)
    everything = FeatureExtractor.from_spec(features.spec).transform(images)
    np.testing.assert_allclose(rebuilt.transform(images), everything[:, np.concatenate(columns)], atol=1e-6)


def test_the_output_selected_is_that_of_an_extractor_without_taps():
    spec = FeatureExtractor(TINY, taps=("first", "top"), pooling="max+gem").fit().spec_
    features = FeatureSet(np.ones((2, spec.n_features), np.float32), spec=spec)
    assert features.select(["top"]).spec == FeatureExtractor(TINY, pooling="max+gem").fit().spec_
    assert features.select(["first:max", "top:max"]).select(["top"]).spec.pooling == "max"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taps": ["first", "first:avg"]}, "first:avg more than once"),
        ({"taps": ["first:gem"]}, "'gem'; expected of first, one of avg, max"),
        ({"poolings": ["mean"]}, "'mean'"),
        ({"taps": []}, "a sequence of names"),
        ({"taps": "first"}, "pass a list"),
    ],
)
def test_a_selection_that_is_none_is_refused(features, arguments, message):
    with pytest.raises(StoreError, match=message):
        features.select(**arguments)


def test_features_without_a_spec_have_nothing_to_select():
    with pytest.raises(StoreError, match="without a spec"):
        FeatureSet(np.ones((1, 2), np.float32)).select(["top"])


def test_selecting_what_was_not_extracted_suggests_the_nearest(features):
    with pytest.raises(StoreError, match="did you mean first"):
        features.select(["frist"])


def test_a_file_is_narrowed_and_saved_without_all_of_it_in_memory(features, path, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "_BLOCK_BYTES", 2 * 40 * 4)
    FeatureSet.load(path).select(["second", "first:max"]).save(tmp_path / "lazy.h5")
    expected = FeatureSet.load(path)
    expected.X  # noqa: B018 - read into memory
    expected.select(["second", "first:max"]).save(tmp_path / "whole.h5")
    assert (tmp_path / "lazy.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    chosen = FeatureSet.load(path).select(["second"])
    assert chosen.features_sha256() == features.select(["second"]).features_sha256()
    np.testing.assert_array_equal(chosen.select(["second:max"]).X, features.select(["second:max"]).X)


def test_the_columns_of_a_damaged_file_are_refused_as_a_whole(features, path):
    data = bytearray(path.read_bytes())
    # In a column that is not selected.
    place = data.index(features.X[3, :2].tobytes())
    chosen = FeatureSet.load(path).select(["second"])
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreCorruptError):
        chosen.X  # noqa: B018
    with pytest.raises(StoreCorruptError):
        FeatureSet.load(path).take([0])


@pytest.mark.parametrize("is_read", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 2 * 40 * 4, 2**20])
def test_take_gives_samples_in_the_order_asked(features, path, monkeypatch, is_read, block_bytes):
    monkeypatch.setattr(rows, "_BLOCK_BYTES", block_bytes)
    loaded = FeatureSet.load(path)
    if is_read:
        loaded.X  # noqa: B018
    chosen = [5, 0, -1, 0]
    taken = loaded.take(chosen)
    np.testing.assert_array_equal(taken.X, features.X[chosen])
    assert taken.y.tolist() == features.y[chosen].tolist()
    assert taken.groups == [features.groups[row] for row in chosen]
    assert taken.image_sha256 == [features.image_sha256[row] for row in chosen]
    assert (taken.class_names, taken.spec) == (features.class_names, features.spec)
    by_mask = loaded.take(features.y == 1)
    np.testing.assert_array_equal(by_mask.X, features.X[features.y == 1])
    assert len(loaded.take(features.y == 9)) == 0
    with pytest.raises(IndexError):
        loaded.take([7])


def test_what_was_taken_of_a_file_is_saved_as_what_was_made_of_it(tmp_path):
    whole = FeatureSet(np.eye(3, dtype=np.float32), [0, 1, 1], sample_ids=["a", "longest", "c"])
    whole.save(tmp_path / "whole.h5")
    FeatureSet.load(tmp_path / "whole.h5").take([0, 2]).save(tmp_path / "taken.h5")
    FeatureSet(whole.X[[0, 2]], [0, 1], sample_ids=["a", "c"]).save(tmp_path / "made.h5")
    assert (tmp_path / "taken.h5").read_bytes() == (tmp_path / "made.h5").read_bytes()


def test_a_file_is_opened_and_saved_without_a_string(tmp_path, monkeypatch):
    digests = [f"{row:064x}" for row in range(5)]
    FeatureSet(np.ones((5, 2), np.float32), groups=digests, image_sha256=digests).save(tmp_path / "f.h5")
    loaded = FeatureSet.load(tmp_path / "f.h5")
    monkeypatch.setattr(strings, "decoded_strings", None)
    loaded.save(tmp_path / "copy.h5")
    assert (tmp_path / "copy.h5").read_bytes() == (tmp_path / "f.h5").read_bytes()
    monkeypatch.undo()
    assert loaded.groups == loaded.image_sha256 == digests
    assert loaded.groups[3] is loaded.image_sha256[3]


def test_large_features_are_read_and_written_in_blocks(tmp_path):
    largest = 0

    def read(start, stop):
        nonlocal largest
        largest = max(largest, stop - start)
        return np.arange(start, stop, dtype=np.float32)[:, None] * np.ones(4096, np.float32)

    lazy = FeatureSet(Rows((3000, 4096), "float32", read))
    lazy.save(tmp_path / "f.h5")
    assert largest * 4096 * 4 <= 16 * 2**20
    np.testing.assert_array_equal(FeatureSet.load(tmp_path / "f.h5").X[:, 7], np.arange(3000))


def test_every_row_is_digested_once_to_be_saved_and_not_at_all_without_need(features, tmp_path, monkeypatch):
    n_digested = []

    def counting(shape, dtype):
        digest = features_digest(shape, dtype)
        n_digested.append(0)

        class Counting:
            def update(self, data):
                n_digested[-1] += len(data)
                digest.update(data)

            hexdigest = digest.hexdigest

        return Counting()

    for module in (feature_set, rows):
        monkeypatch.setattr(module, "features_digest", counting)
    lazy = FeatureSet(Rows(features.X.shape, "float32", lambda start, stop: features.X[start:stop]))
    lazy.save(tmp_path / "f.h5")
    assert n_digested == [features.X.nbytes]
    np.testing.assert_array_equal(lazy.X, features.X)
    assert n_digested == [features.X.nbytes]
    np.testing.assert_array_equal(FeatureSet.load(tmp_path / "f.h5").X, features.X)
    assert n_digested == [features.X.nbytes] * 2


@pytest.mark.parametrize("seed", range(40))
def test_damage_never_gives_other_values(path, features, seed):
    rng = np.random.default_rng(seed)
    data = bytearray(path.read_bytes())
    if seed % 4:
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    else:
        del data[rng.integers(len(data)) :]
    path.write_bytes(data)
    try:
        loaded = FeatureSet.load(path)
        X = loaded.X
    except StoreError:
        return
    # Some bytes of an HDF5 file mean nothing.
    np.testing.assert_array_equal(X, features.X)
    np.testing.assert_array_equal(loaded.y, features.y)
    assert loaded.class_names == features.class_names


@pytest.mark.parametrize("name", ["features", "labels", "sample_ids", "groups", "image_sha256"])
def test_values_edited_with_h5py_are_found(path, name):
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        values[[0, 1]] = values[[1, 0]]
        if name == "groups":
            values[0] = b"z"
        file[name][()] = values
    with pytest.raises(StoreCorruptError):
        _ = FeatureSet.load(path).X


def test_an_edited_spec_is_found(path, spec):
    with h5py.File(path, "r+") as file:
        file.attrs["extraction_spec"] = np.bytes_(dataclasses.replace(spec, precision="float16").to_json())
    with pytest.raises(StoreCorruptError, match="labels or names"):
        FeatureSet.load(path)


def test_a_file_of_a_later_version_says_so(path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 9
    with pytest.raises(StoreError, match="format_version 9; expected a feature file of version 1"):
        FeatureSet.load(path)


def test_other_hdf5_and_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = np.ones((2, 2))
    with pytest.raises(StoreError, match="no format_version"):
        FeatureSet.load(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(StoreError, match="not a readable HDF5 file"):
        FeatureSet.load(tmp_path / "text.h5")
    with pytest.raises(StoreError, match="does not exist"):
        FeatureSet.load(tmp_path / "absent.h5")
    with pytest.raises(StoreError, match="add a file name"):
        FeatureSet(np.ones((1, 1), np.float32)).save(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": [0, 1]}, "2 y for 3 samples"),
        ({"groups": ["a"]}, "1 groups for 3 samples"),
        ({"y": [0, 1, 3], "class_names": ["a", "b"]}, "labels from 0 to 3"),
        ({"y": [0, 1, -2]}, "labels from -2"),
        ({"X": np.ones((3, 2), np.int64)}, "type int64"),
        ({"X": np.ones(3, np.float32)}, r"shape \(3,\)"),
    ],
)
def test_what_does_not_align_is_refused(changes, message):
    arguments = {"X": np.ones((3, 2), np.float32), **changes}
    with pytest.raises(StoreError, match=message):
        FeatureSet(arguments.pop("X"), **arguments)


def test_features_of_another_width_than_their_spec_are_refused(spec):
    with pytest.raises(StoreError, match="the spec's 40"):
        FeatureSet(np.ones((3, 2), np.float32), spec=spec)


def test_a_full_disk_leaves_the_old_file(path):
    before = path.read_bytes()
    script = f"""
import resource, signal
import numpy as np
from featx import FeatureSet, StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    FeatureSet(np.ones((500, 1000), np.float32)).save({str(path)!r})
except StoreError as error:
    assert "f.h5" in str(error) and "bytes free" in str(error), error
else:
    raise SystemExit("no error")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["f.h5"]


def test_the_spec_in_the_file_is_the_spec(path, spec):
    with h5py.File(path) as file:
        assert ExtractionSpec.from_json(file.attrs["extraction_spec"].decode()).key == spec.key
        assert json.loads(file.attrs["extraction_spec"]) == json.loads(spec.to_json())
