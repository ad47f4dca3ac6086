"""Decoding in child processes: the same pixels and the same reasons, and a decoder's end is one image's."""

import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from featx import DecodeError, FeatureExtractor, FeatxError, SourceError, extract
from featx.features.pipeline import decode_ahead
from featx.features.preparation import ImagePreparation, isolated
from featx.images import isolation
from featx.images.decoding import _REFERENCE_IMAGES, reference_image
from featx.images.isolation import DecoderPool
from featx.images.sources import FolderSource
from featx.images.view_loading import load_views
from featx.images.views import ViewRecipe
from tests.conftest import TINY, make_images, write_class_folder
from tests.contracts import time_limit

DIGEST = "ab" * 32
RECIPE = ViewRecipe(("flip", "crop", "colour"), 7)

REASONS = {
    "crash": "its decoder died (SIGSEGV)",
    "hoard": "its decoder needed more than 128 MB",
    "spin": "its decoder took longer than 1 s",
    "raise": "its decoder failed (KeyError: 'size')",
}


@pytest.fixture(autouse=True)
def _patience():
    with time_limit(60):
        yield


@pytest.fixture
def fragile(monkeypatch):
    """Decoders that fail at the images that `mark` marks."""
    monkeypatch.setattr(isolation, "_TARGET", "tests.children:fragile_decoder")
    monkeypatch.setattr(isolation, "DECODE_TIMEOUT_S", 1.0)
    monkeypatch.setattr(isolation, "DECODE_MAX_BYTES", 128 * 2**20)


def mark(path, deed):
    """A JPEG with something behind its end, which decoders pass over."""
    Image.open(path).save(path, "JPEG")
    path.write_bytes(path.read_bytes() + deed.encode())


def png(width, height):
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


def reason_of(call):
    with pytest.raises(DecodeError) as caught:
        call()
    assert caught.value.sample_id == "a"
    return caught.value.reason


@pytest.mark.parametrize(
    ("recipe", "views"), [(None, [0]), (RECIPE, [0]), (RECIPE, [0, 1, 2, 5]), (RECIPE, [3])]
)
def test_pixels_are_those_of_this_process_to_the_bit(recipe, views):
    with DecoderPool((31, 40), recipe) as decoders:
        for name in _REFERENCE_IMAGES:
            content = reference_image(name)
            found = decoders.load(content, views, DIGEST)
            expected = load_views(content, (31, 40), recipe, views, DIGEST)
            assert [each.dtype for each in found] == [np.uint8] * len(views)
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "content",
    [b"", b"nothing\n\x1b[2J", b"<html>", png(8_000, 8_000), reference_image("rotated.jpg")[:300]],
    ids=["empty", "no image", "a page", "too many pixels", "truncated"],
)
def test_reasons_are_those_of_this_process(content):
    with DecoderPool((8, 8), None) as decoders:
        found = reason_of(lambda: decoders.load(content, [0], DIGEST, sample_id="a"))
    assert found == reason_of(lambda: load_views(content, (8, 8), None, [0], DIGEST, sample_id="a"))


def test_an_image_beyond_the_limit_of_memory_is_told_it(monkeypatch):
    monkeypatch.setattr(isolation, "DECODE_MAX_BYTES", 32 * 2**20)
    with DecoderPool((8, 8), None) as decoders:
        found = reason_of(lambda: decoders.load(png(6_000, 6_000), [0], DIGEST, sample_id="a"))
        assert found == "its decoder needed more than 32 MB"
        assert decoders.load(png(60, 60), [0], DIGEST)[0].shape == (8, 8, 3)


def test_the_stated_limit_is_enough_for_the_largest_image():
    rgba = io.BytesIO()
    Image.new("RGBA", (8_333, 6_000), (1, 2, 3, 100)).save(rgba, "PNG", compress_level=1)
    with DecoderPool((8, 8), RECIPE) as decoders:
        assert len(decoders.load(rgba.getvalue(), [0, 1, 2, 3], DIGEST)) == 4


def test_decoders_import_what_they_need(monkeypatch):
    monkeypatch.setattr(isolation, "_TARGET", "tests.children:decoder_modules")
    with DecoderPool((8, 8), RECIPE) as decoders:
        modules = reason_of(lambda: decoders.load(png(9, 9), [0, 1], DIGEST, sample_id="a")).split()
    assert {"numpy", "PIL.Image"} <= set(modules)
    assert not {"keras", "tensorflow", "sklearn", "scipy", "h5py", "featx.features"} & set(modules)


def test_a_decoder_that_sends_other_pixels_is_not_believed(monkeypatch):
    monkeypatch.setattr(isolation, "_TARGET", "tests.children:echo")
    with DecoderPool((8, 8), None) as decoders:
        found = reason_of(lambda: decoders.load(b"12345", [0], DIGEST, sample_id="a"))
    assert found == "its decoder sent other pixels than were asked for"


@pytest.mark.usefixtures("fragile")
@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_loses_the_images_that_end_their_decoder_and_no_other(tmp_path, workers):
    folder = write_class_folder(tmp_path / "images", 40)
    paths = sorted(folder.rglob("*.??g"))
    marked = dict(zip(("crash", "hoard", "raise", "spin", "crash"), paths[3:38:7], strict=True))
    for deed, path in marked.items():
        mark(path, deed)
    options = {"store": None, "workers": workers, "on_error": "skip"}
    extractor = FeatureExtractor(TINY, batch_size=4, n_views=3, random_state=0)
    found = extract(folder, extractor, **options, isolate=True)
    assert {(each.sample_id, each.stage, each.reason) for each in found.report.failed} == {
        (path.relative_to(folder).as_posix(), "decode", REASONS[deed]) for deed, path in marked.items()
    }
    # Where no decoder would take those images at all.
    for path in marked.values():
        path.write_bytes(b"no image")
    expected = extract(folder, extractor, **options)
    assert found.sample_ids == expected.sample_ids
    assert found.X.tobytes() == expected.X.tobytes()


def test_without_faults_every_row_is_the_same_to_the_bit(class_folder, tiny_extractor):
    whole = extract(class_folder, tiny_extractor, store=None)
    found = extract(class_folder, tiny_extractor, store=None, isolate=True)
    assert found.X.tobytes() == whole.X.tobytes()
    assert found.image_sha256 == whole.image_sha256


@pytest.mark.usefixtures("fragile")
def test_such_an_image_stops_a_run_that_skips_none(class_folder, tiny_extractor):
    mark(next(class_folder.rglob("*.jpg")), "crash")
    with pytest.raises(SourceError, match=r"its decoder died \(SIGSEGV\)"):
        extract(class_folder, tiny_extractor, store=None, isolate=True)


def test_processes_end_with_the_block(class_folder):
    with isolated(ImagePreparation((8, 8), None, 1), isolate=True) as preparation:
        samples = decode_ahead(FolderSource(class_folder), preparation, lambda _: False, 2, 64)
        assert len([sample.pixels for sample in samples]) == 12
        children = [child.pid for child in preparation.decoders._idle]
        assert children
    assert not [pid for pid in children if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110


def test_pixels_and_known_images_need_no_process(monkeypatch, class_folder):
    monkeypatch.setattr(isolation, "_TARGET", "no_such_module:serve")
    plain = ImagePreparation((8, 8), RECIPE, 3)
    pixels = make_images(1)[0]
    with isolated(plain, isolate=True) as preparation:
        found = preparation.load(pixels, "a", DIGEST, [0, 2])
        samples = decode_ahead(FolderSource(class_folder), preparation, lambda _: True, 2, 64)
        assert not any(sample.error for sample in samples)
    np.testing.assert_array_equal(found, plain.load(pixels, "a", DIGEST, [0, 2]))


def test_a_decoder_that_cannot_start_stops_the_run(monkeypatch, class_folder, tiny_extractor):
    monkeypatch.setattr(isolation, "_TARGET", "no_such_module:serve")
    with pytest.raises(FeatxError, match="a child process for no_such_module:serve that did not start"):
        extract(class_folder, tiny_extractor, store=None, on_error="skip", isolate=True)


def test_ctrl_c_leaves_no_process(tmp_path):
    folder = write_class_folder(tmp_path / "images", 40)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from featx.features.pipeline import decode_ahead\n"
        "from featx.features.preparation import ImagePreparation, isolated\n"
        "from featx.images.sources import FolderSource\n"
        "with isolated(ImagePreparation((8, 8), None, 1), True) as preparation:\n"
        "    samples = decode_ahead(FolderSource(sys.argv[1]), preparation, lambda _: False, 2, 16)\n"
        "    for sample in samples:\n"
        "        print(sample.sample_id, flush=True)\n"
        "        time.sleep(60)\n"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, script, folder]
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        assert process.stdout.readline()
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        # The children hold the other end of stderr: this returns when they have ended too.
        _, errors = process.communicate(timeout=20)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "child_process" not in errors
