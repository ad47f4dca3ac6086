"""Decoding ahead: the source's order, bounded, and stopped when nobody listens."""

import threading
import time

import numpy as np
import pytest

from featx import ArraySource, DecodeError, PathSource
from featx.features.pipeline import decode_ahead
from featx.features.preparation import ImagePreparation
from featx.images.base import ImageSource, RawImage
from tests.conftest import make_images


class CountingSource(ImageSource):
    """Hands out images that take a random while, and counts how many were fetched."""

    def __init__(self, n_images, fails=()):
        super().__init__([str(index) for index in range(n_images)])
        self.pixels = make_images(n_images, size=(4, 4))
        self.fails, self.n_fetched, self.lock = fails, 0, threading.Lock()

    def read(self, start, stop):
        return [
            RawImage(self.sample_ids[index], lambda index=index: self.fetch(index))
            for index in range(start, min(stop, len(self)))
        ]

    def fetch(self, index):
        time.sleep(0.002 * (index % 3))
        with self.lock:
            self.n_fetched += 1
        if index in self.fails:
            raise DecodeError(str(index), "broken")
        return self.pixels[index]


def decode(source, is_known=lambda _: False, n_threads=4, n_ahead=16):
    return decode_ahead(source, ImagePreparation((4, 4), None, 1), is_known, n_threads, n_ahead)


@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_samples_come_in_the_sources_order(n_threads):
    source = CountingSource(50, fails={7, 8, 30})
    samples = list(decode(source, n_threads=n_threads))
    assert [sample.sample_id for sample in samples] == source.sample_ids
    assert [index for index, sample in enumerate(samples) if sample.error] == [7, 8, 30]
    for index in (0, 1, 9, 49):
        np.testing.assert_array_equal(samples[index].pixels, source.pixels[index])


def test_no_more_than_asked_is_in_flight():
    source = CountingSource(400)
    samples = decode(source, n_threads=2, n_ahead=16)
    next(samples)
    time.sleep(0.2)
    assert source.n_fetched <= 32
    samples.close()


def test_closing_stops_the_threads():
    source = CountingSource(400)
    samples = decode(source)
    next(samples)
    samples.close()
    n_fetched = source.n_fetched
    time.sleep(0.1)
    assert source.n_fetched == n_fetched < 400
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("featx-decode")]


def test_a_known_digest_is_not_decoded(tmp_path):
    (tmp_path / "a.png").write_bytes(b"never an image")
    (sample,) = decode(PathSource([tmp_path / "a.png"]), is_known=lambda _: True)
    assert sample.error is None
    assert sample.pixels is None
    assert len(sample.image_sha256) == 64


def test_the_stage_says_how_far_a_sample_came(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    absent, damaged = decode(PathSource([tmp_path / "absent.png", tmp_path / "a.png"]))
    assert (absent.stage, absent.image_sha256) == ("read", None)
    assert damaged.stage == "decode"
    assert damaged.image_sha256 is not None


def test_images_are_resized_to_the_input_size():
    preparation = ImagePreparation((7, 9), None, 1)
    (sample,) = decode_ahead(ArraySource(make_images(1)), preparation, lambda _: False, 1, 8)
    assert sample.pixels.shape == (7, 9, 3)
