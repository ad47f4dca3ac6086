"""The one dispatch: whatever a user has becomes the right source, or is refused with what would do."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.errors import SourceError
from featx.images.decoding import decode_image
from featx.images.sources import (
    ArraySource,
    DatasetSource,
    FolderSource,
    HDF5Source,
    ManifestSource,
    PathSource,
    as_source,
)
from tests.contracts import IMAGES, LABELS, time_limit, unprivileged


@pytest.fixture
def folder(tmp_path):
    """The six images in every form that a file or a folder of files can have."""
    import h5py

    for index, label in enumerate(LABELS):
        (tmp_path / "classes" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[index]).save(tmp_path / "classes" / label / f"{index}.png")
    lines = [f"classes/{label}/{index}.png,{label}" for index, label in enumerate(LABELS)]
    (tmp_path / "manifest.CSV").write_text("\n".join(["path,label", *lines]))
    np.save(tmp_path / "images.npy", IMAGES)
    np.savez(tmp_path / "images.npz", images=IMAGES, labels=LABELS, groups=[1, 1, 2, 2, 3, 3])
    np.savez_compressed(tmp_path / "packed.npz", images=IMAGES, labels=LABELS)
    for name in ("images.h5", "images.HDF5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["images"], file["labels"] = IMAGES, LABELS
    return tmp_path


def pixels_of(source):
    return {decode_image(sample.fetch()).tobytes() for sample in source.read(0, len(source))}


@pytest.mark.parametrize(
    ("name", "kind", "is_labelled"),
    [
        ("classes", FolderSource, True),
        ("manifest.CSV", ManifestSource, True),
        ("images.npy", ArraySource, False),
        ("images.npz", ArraySource, True),
        ("packed.npz", ArraySource, True),
        ("images.h5", HDF5Source, True),
        ("images.HDF5", HDF5Source, True),
    ],
)
@pytest.mark.parametrize("type_of_path", [str, Path])
def test_a_path_becomes_the_source_of_what_lies_there(folder, name, kind, is_labelled, type_of_path):
    source = as_source(type_of_path(folder / name))
    assert isinstance(source, kind)
    assert pixels_of(source) == {image.tobytes() for image in IMAGES}
    assert source.class_names == (["dark", "light"] if is_labelled else [])


def tf_dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(IMAGES).batch(4)


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        (lambda: IMAGES, ArraySource),
        (lambda: list(IMAGES), ArraySource),
        (lambda: tuple(IMAGES), ArraySource),
        (lambda: np.array([*IMAGES, None], dtype=object)[:6], ArraySource),
        (tf_dataset, DatasetSource),
    ],
    ids=["array", "list", "tuple", "array of arrays", "tf.data"],
)
def test_images_in_memory_become_a_source(images, kind):
    source = as_source(images(), LABELS)
    assert isinstance(source, kind)
    assert pixels_of(source) == {image.tobytes() for image in IMAGES}
    assert source.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize("type_of_paths", [list, tuple, np.array])
def test_paths_of_images_become_a_source(folder, type_of_paths):
    paths = [str(path) for path in sorted(folder.glob("classes/*/*.png"))]
    source = as_source(type_of_paths(paths), LABELS)
    assert isinstance(source, PathSource)
    assert source.sample_ids == paths
    assert len(pixels_of(source)) == 6


def test_one_image_file_is_a_source_of_one(folder):
    source = as_source(folder / "classes" / "dark" / "0.png", ["dark"])
    np.testing.assert_array_equal(decode_image(source.read(0, 1)[0].fetch()), IMAGES[0])


def test_given_labels_take_the_place_of_those_that_are_there(folder):
    source = as_source(folder / "images.npz", [0, 1, 2, 0, 1, 2])
    assert source.class_names == ["0", "1", "2"]
    assert source.groups == ["1", "1", "2", "2", "3", "3"]


def test_options_reach_the_source(folder):
    np.save(folder / "float.npy", IMAGES / 255)
    assert as_source(folder / "float.npy", value_range=(0, 1)).value_range == (0, 1)
    assert as_source(folder / "manifest.CSV", label_column="path").class_names[0] == "classes/dark/0.png"
    assert as_source(folder / "classes", follow_links=True).follow_links


@pytest.mark.parametrize(
    ("name", "options", "known"),
    [
        ("classes", {"value_range": (0, 1)}, "follow_links"),
        ("images.npy", {"label_column": "kind"}, "value_range"),
        ("images.npz", {"groups": [1]}, "value_range"),
    ],
)
def test_an_option_of_another_source_is_refused_with_those_that_there_are(folder, name, options, known):
    with pytest.raises(
        SourceError, match=f"the option {next(iter(options))}; expected one of {known} for such"
    ):
        as_source(folder / name, **options)


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (None, "a NoneType"),
        (3, "a int"),
        ([], "an empty list"),
        ((), "an empty tuple"),
        ({"a": 1}, "a dict"),
        (b"bytes", "a bytes"),
        ([1, 2], "a list"),
        (["a.png", IMAGES[0]], "a list"),
        (iter(IMAGES), "a generator|a .*iterator"),
        (np.array([None, 1]), "a ndarray"),
        ([Image.new("RGB", (2, 2))], "a list"),
    ],
)
def test_anything_else_is_refused_with_what_would_do(images, received):
    with pytest.raises(SourceError, match=rf"received ({received}); expected a folder, a \.csv, \.npy"):
        as_source(images)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("none", "no such file or folder"),
        ("none.csv", "no such file or folder"),
        ("dangling.npy", "no such file or folder"),
        ("notes.txt", "the file .*notes.txt; expected"),
        ("model.keras", "the file .*model.keras; expected"),
    ],
)
def test_a_path_that_leads_to_nothing_of_use_is_refused(tmp_path, name, reason):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "model.keras").touch()
    (tmp_path / "dangling.npy").symlink_to("none")
    with pytest.raises(SourceError, match=reason) as caught:
        as_source(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz", "h5", "png"])
def test_a_pipe_is_refused_at_once(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    with time_limit(5), pytest.raises(SourceError, match="neither a file nor a folder"):
        as_source(tmp_path / f"pipe.{suffix}")


def test_a_path_that_is_out_of_reach_is_refused(folder):
    folder.chmod(0)
    try:
        with unprivileged(), pytest.raises(SourceError, match="cannot be reached"):
            as_source(folder / "images.npy")
    finally:
        folder.chmod(0o755)


# --------------------------------------------------------------------------------------- NumPy files


def test_a_npy_file_is_not_read_at_once(folder):
    assert isinstance(as_source(folder / "images.npy").images, np.memmap)


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_pickle_in_a_numpy_file_is_not_run(tmp_path, suffix):
    trap, path = tmp_path / "sprung", tmp_path / f"images.{suffix}"
    objects = np.array([Canary(trap)], dtype=object)
    with path.open("wb") as file:
        np.save(file, objects) if suffix == "npy" else np.savez(file, images=objects)
    with pytest.raises(SourceError, match="expected a NumPy file without pickles"):
        as_source(path)
    path.write_bytes(pickle.dumps(Canary(trap)))
    with pytest.raises(SourceError, match="expected a NumPy file without pickles"):
        as_source(path)
    assert not trap.exists()
    # The trap works.
    pickle.loads(path.read_bytes())
    assert trap.exists()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"text" * 100, b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_not_numpys_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"images.{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"{path}: .*; expected a NumPy file"):
        as_source(path)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_no_mutant_of_a_numpy_file_escapes_as_anything_but_a_source_error(folder, suffix):
    whole = (folder / ("images.npy" if suffix == "npy" else "packed.npz")).read_bytes()
    path, n_refused = folder / f"mutant.{suffix}", 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mutant = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            mutant[rng.integers(128 if suffix == "npy" else len(mutant))] = rng.integers(256)
        path.write_bytes(mutant if seed % 5 else mutant[: rng.integers(len(mutant))])
        try:
            as_source(path)
        except SourceError:
            n_refused += 1
    assert n_refused > 100


def test_a_npz_member_that_claims_more_than_there_is_memory_for_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 2**10, 2**10, 3)}
    )
    with zipfile.ZipFile(tmp_path / "images.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    with pytest.raises(SourceError, match=r"images\.npz: .*; expected a NumPy file"):
        as_source(tmp_path / "images.npz")


@pytest.mark.parametrize(
    ("arrays", "received"), [({"x": IMAGES, "y": [1]}, "holding x, y"), ({}, "holding nothing")]
)
def test_an_archive_without_images_is_refused_with_what_it_holds(tmp_path, arrays, received):
    np.savez(tmp_path / "images.npz", **arrays)
    with pytest.raises(SourceError, match=f"{received}; expected an array 'images'"):
        as_source(tmp_path / "images.npz")
