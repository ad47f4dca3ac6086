"""Pictures to look at: the right image in each tile, no byte of a file in them, never an error."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from featx import SourceError, as_source
from featx.images.decoding import content_sha256
from featx.images.thumbnails import make_atlas, make_thumbnails
from featx.images.value_sources import as_value_source
from tests.images.builders import encode, with_orientation

COLOURS = [(200, 30, 30), (30, 160, 30), (30, 30, 200), (220, 220, 40), (20, 20, 20)]


def pixels_of(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def tile_of(atlas, tile):
    row, column = divmod(int(tile), atlas.n_columns)
    side = atlas.tile_size
    return pixels_of(atlas.data)[row * side : (row + 1) * side, column * side : (column + 1) * side]


def flat(colour, size=(40, 40)):
    return np.full((*size, 3), colour, np.uint8)


@pytest.fixture
def flat_images(tmp_path):
    paths = [tmp_path / f"{index}.png" for index in range(len(COLOURS))]
    for path, colour in zip(paths, COLOURS, strict=True):
        Image.fromarray(flat(colour)).save(path)
    return paths


def test_every_row_has_the_tile_of_its_own_image(flat_images):
    rows = [3, 0, 4, 1]
    atlas = make_atlas(as_source(flat_images), rows, tile_size=16)
    for place, row in enumerate(rows):
        assert np.abs(tile_of(atlas, atlas.tiles[place])[4:12, 4:12] - COLOURS[row]).max() < 16
    assert atlas.missing == {}


def test_a_tile_shows_the_whole_image_with_grey_beside_it(tmp_path):
    wide = np.concatenate([flat((255, 0, 0), (20, 40)), flat((0, 0, 255), (20, 40))], axis=1)
    Image.fromarray(wide).save(tmp_path / "wide.png")
    atlas = make_atlas(as_source(tmp_path / "wide.png"), [0], tile_size=64)
    tile = tile_of(atlas, 0)
    assert np.abs(tile[32, 4] - (255, 0, 0)).max() < 24
    assert np.abs(tile[32, 60] - (0, 0, 255)).max() < 24
    assert np.abs(tile[4, 32] - 119).max() < 12
    assert np.abs(tile[60, 32] - 119).max() < 12


def test_a_small_image_is_not_enlarged_and_a_turned_one_stands_upright(tmp_path):
    Image.fromarray(flat((250, 250, 250), (4, 4))).save(tmp_path / "small.png")
    half = np.concatenate([flat((0, 0, 0), (64, 48)), flat((255, 255, 255), (64, 48))], axis=1)
    # Orientation 6: the stored left is the top of the image.
    (tmp_path / "turned.jpg").write_bytes(encode(half, "JPEG", exif=with_orientation(6)))
    source = as_source([tmp_path / "small.png", tmp_path / "turned.jpg"])
    atlas = make_atlas(source, [0, 1], tile_size=32)
    small, turned = tile_of(atlas, 0), tile_of(atlas, 1)
    assert (np.abs(small - 119).max(axis=2) > 60).sum() <= 6 * 6
    assert turned[4, 16].max() < 40
    assert turned[28, 16].min() > 215
    assert Image.open(io.BytesIO(make_thumbnails(source, [1], size=48)[1])).size == (32, 48)


def test_no_byte_of_a_file_gets_into_a_picture(tmp_path):
    exif = with_orientation(1)
    exif[0x010E] = "taken at home"
    note = PngInfo()
    note.add_text("Comment", "<script>alert(1)</script>")
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    (tmp_path / "a.jpg").write_bytes(encode(noise, "JPEG", exif=exif, comment=b"secret comment"))
    (tmp_path / "b.png").write_bytes(encode(noise, "PNG", pnginfo=note) + b"trailing secret")
    source = as_source(tmp_path)
    pictures = [make_atlas(source, [0, 1]).data, *make_thumbnails(source, [0, 1]).values()]
    assert len(pictures) == 3
    for data in pictures:
        for secret in (b"home", b"secret", b"script", b"Exif", b"ICCP", b"XMP"):
            assert secret not in data
        assert not {"exif", "icc_profile", "xmp"} & set(Image.open(io.BytesIO(data)).info)


def test_what_cannot_be_shown_is_missing_and_named(flat_images):
    digests = [content_sha256(path.read_bytes()) for path in flat_images]
    flat_images[0].unlink()
    flat_images[1].write_bytes(flat_images[2].read_bytes())
    flat_images[3].write_bytes(b"not an image")
    atlas = make_atlas(as_source(flat_images), range(5), image_sha256=digests)
    assert atlas.tiles.tolist() == [-1, -1, 0, -1, 1]
    assert atlas.missing[0] == "No such file or directory"
    assert atlas.missing[1] == "another image than the one whose features these are"
    assert sorted(atlas.missing) == [0, 1, 3]
    assert sorted(make_thumbnails(as_source(flat_images), range(5), image_sha256=digests)) == [2, 4]
    # Without a digest there is nothing to tell by.
    assert make_atlas(as_source(flat_images), [1], image_sha256=[""]).missing == {}


def test_where_no_image_can_be_shown_there_is_no_picture(flat_images):
    source = as_source(flat_images)
    for path in flat_images:
        path.unlink()
    atlas = make_atlas(source, range(5))
    assert atlas.data == b""
    assert (atlas.tiles == -1).all()
    assert make_atlas(source, []).data == b""


def test_arrays_have_no_pictures():
    source = as_value_source(np.zeros((3, 7), np.float32))
    assert make_atlas(source, range(3)).missing == dict.fromkeys(
        range(3), "its samples are arrays, not images"
    )


@pytest.mark.parametrize("n_images", [40, 400])
def test_the_quality_is_lowered_until_the_atlas_fits(n_images):
    noise = np.random.default_rng(0).integers(0, 256, (n_images, 32, 32, 3)).astype(np.uint8)
    source = as_source(noise)
    best = make_atlas(source, range(n_images), tile_size=32)
    limit = len(best.data) // 2
    small = make_atlas(source, range(n_images), tile_size=32, max_bytes=limit)
    assert limit * 0.7 < len(small.data) <= limit
    large = make_thumbnails(source, [0], size=32, max_bytes=400)
    assert len(large[0]) <= 400 < len(make_thumbnails(source, [0], size=32)[0])


def test_progress_counts_every_image_missing_ones_too(flat_images):
    flat_images[2].unlink()
    steps = []
    make_atlas(as_source(flat_images), range(5), advance=steps.append)
    assert sum(steps) == 5


def test_the_picture_depends_neither_on_threads_nor_on_the_run(flat_images):
    source = as_source(flat_images)
    one = make_atlas(source, [4, 2, 0], workers=1)
    assert one.data == make_atlas(source, [4, 2, 0], workers=4).data


def test_more_tiles_than_a_picture_holds_are_refused():
    source = as_source(np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(SourceError, match="90000 tiles of 56 pixels; expected at most 16383"):
        make_atlas(source, np.zeros(90_000, int))
