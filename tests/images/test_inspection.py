"""What is odd about single images: planted among ordinary ones, in files and in memory."""

import io

import numpy as np
from PIL import Image

from featx import as_source, make_miniatures
from featx.images.decoding import content_sha256
from featx.images.inspection import inspect_images
from tests.conftest import make_images, write_class_folder


def folder_of(root, images):
    """A folder of twelve ordinary images and others by name: pixels, or bytes."""
    write_class_folder(root)
    for name, content in images.items():
        path = root / "dark" / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)
    return as_source(root)


def looked_at(root, images):
    source = folder_of(root, images)
    found, _ = inspect_images(source, range(len(source)))
    return {source.sample_ids[each.index].removeprefix("dark/"): each for each in found}


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_ordinary_images_give_nothing_to_say(tmp_path):
    assert looked_at(tmp_path / "images", {}) == {}


def test_odd_images(tmp_path):
    noisy = 40 + np.random.default_rng(0).integers(0, 3, (60, 60, 3))
    tail = photo(64, 64)
    tail[40:] = 128
    cut = jpeg(photo(64, 64))[:3000]
    found = looked_at(
        tmp_path / "images",
        {
            "white.png": np.full((30, 30, 3), 255, np.uint8),
            "dark.png": noisy.astype(np.uint8),
            "tail.png": tail,
            "tiny.png": photo(4, 5),
            "strip.png": photo(20, 120),
            "cut.jpg": cut + bytes(len(cut)),
            "named.png": jpeg(photo(24, 20)),
            "text.png": b"<html>not found",
        },
    )
    said = {name: "; ".join(each.oddities) for name, each in found.items()}
    assert said.pop("text.png") == ""
    for name, words in {
        "white.png": "blank",
        "dark.png": "blank",
        "tail.png": "a grey tail",
        "tiny.png": "under 8 pixels wide or high; under a quarter of the usual size: 5 x 4 pixels",
        "strip.png": "over four times as long as usual: 120 x 20 pixels",
        "cut.jpg": "no end of a JPEG",
        "named.png": "JPEG named .png",
    }.items():
        assert words in said.pop(name), name
    assert said == {}
    assert found["text.png"].error == "an HTML page, not an image; the download may have failed"
    assert {name for name, each in found.items() if not each.harms} == {"named.png"}


def test_a_mark_on_an_empty_ground_is_not_blank():
    images = np.full((2, 200, 200, 3), 255, np.uint8)
    images[1, 60:140, 60:140] = 0
    assert [each.index for each in inspect_images(as_source(images), [0, 1])[0]] == [0]


def test_an_image_that_is_another_or_gone_is_said(tmp_path):
    source = folder_of(tmp_path / "images", {})
    digests = [content_sha256(raw.fetch()) for raw in source.read(0, 12)]
    (tmp_path / "images" / source.sample_ids[3]).unlink()
    (tmp_path / "images" / source.sample_ids[5]).write_bytes(jpeg(photo(20, 24)))
    (tmp_path / "images" / source.sample_ids[7]).write_bytes(b"")
    found = {each.index: each for each in inspect_images(source, range(12), digests)[0]}
    assert sorted(found) == [3, 5, 7]
    assert found[3].error == "No such file or directory"
    assert (found[5].is_other, found[7].is_other) == (True, True)
    assert {each.index: each.error for each in inspect_images(source, [7])[0]} == {7: "empty file"}


def test_some_images_in_the_order_given():
    images = make_images(6)
    images[[1, 4]] = 9
    assert [each.index for each in inspect_images(as_source(images), [4, 0, 1])[0]] == [4, 1]


def test_no_images():
    found, miniatures = inspect_images(as_source(make_images(2)), [])
    assert (found, miniatures.shape) == ([], (0, 256))


def test_miniatures_are_made_besides(tmp_path):
    source = folder_of(tmp_path / "images", {"text.png": b"<html>"})
    bad = source.sample_ids.index("dark/text.png")
    _, miniatures = inspect_images(source, range(13))
    np.testing.assert_array_equal(miniatures, make_miniatures(source))
    assert np.flatnonzero(np.isnan(miniatures).any(axis=1)).tolist() == [bad]


def test_a_source_that_fails_meanwhile_is_said_of_its_image(tmp_path):
    source = folder_of(tmp_path / "images", {})
    read = source.read

    def failing(start, stop):
        if start == 2:
            raise OSError(5, "Input/output error")
        return read(start, stop)

    source.read = failing
    found, miniatures = inspect_images(source, range(len(source)))
    assert [(each.index, each.harms) for each in found if each.error] == [(2, True)]
    assert "Input/output error" in found[0].error
    assert np.isnan(miniatures).any(axis=1).tolist() == [index == 2 for index in range(len(source))]
