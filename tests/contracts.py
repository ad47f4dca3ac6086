"""The tests that every kind of image source inherits, and the guards that tests with real faults need."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from featx.errors import DecodeError, SourceError
from featx.images.base import SampleLayout
from featx.images.decoding import decode_image
from featx.images.sources import ImageSource, as_source
from featx.images.value_sources import as_value_source
from tests.conftest import make_images

NOBODY = 65534
IN_OPEN = 0x20

#: What a source under contract is built of: dark and light in turn, and named so.
IMAGES = make_images(6)
LABELS = ["dark", "light"] * 3
#: And a source of arrays that are no images: six short spectrograms, so to say.
VALUES = np.random.default_rng(0).normal(size=(6, 40, 7)).astype(np.float32)


class SourceContract:
    """What every image source does.

    A kind of source inherits from this class and says how to `build` one of `IMAGES` and `LABELS`,
    stored without loss, and in which `order` it gives them.
    """

    order: Sequence[int] = range(len(IMAGES))
    expected: np.ndarray = IMAGES
    decode = staticmethod(decode_image)

    def build(self, folder: Path) -> ImageSource:
        raise NotImplementedError

    @pytest.fixture
    def source(self, tmp_path):
        return self.build(tmp_path)

    def test_its_length_is_that_of_its_ids_and_labels(self, source):
        assert len(source) == len(source.sample_ids) == len(source.labels) == len(IMAGES)

    def test_ids_are_distinct_strings(self, source):
        assert all(isinstance(sample_id, str) for sample_id in source.sample_ids)
        assert len(set(source.sample_ids)) == len(source)

    def test_labels_are_int64_indices_into_sorted_class_names(self, source):
        assert source.labels.dtype == np.int64
        assert source.class_names == ["dark", "light"]
        assert [source.class_names[label] for label in source.labels] == [LABELS[i] for i in self.order]

    def test_read_gives_every_sample_in_order(self, source):
        samples = source.read(0, len(source))
        assert [sample.sample_id for sample in samples] == source.sample_ids
        for sample, index in zip(samples, self.order, strict=True):
            np.testing.assert_array_equal(self.decode(sample.fetch()), self.expected[index])

    @pytest.mark.parametrize(("start", "stop"), [(0, 1), (2, 5), (5, 6), (3, 3), (4, 100), (6, 9)])
    def test_read_slices_as_a_list_does(self, source, start, stop):
        samples = source.read(start, stop)
        assert [sample.sample_id for sample in samples] == source.sample_ids[start:stop]
        for sample, index in zip(samples, self.order[start:stop], strict=True):
            np.testing.assert_array_equal(self.decode(sample.fetch()), self.expected[index])

    def test_an_image_is_fetched_as_bytes_or_as_uint8_rgb(self, source):
        assert source.layout is None
        for sample in source.read(0, len(source)):
            content = sample.fetch()
            is_pixels = isinstance(content, np.ndarray)
            assert isinstance(content, bytes) or (is_pixels and content.dtype == np.uint8)
            assert not is_pixels or content.shape == IMAGES.shape[1:]

    def test_reading_again_backwards_and_in_pieces_gives_the_same(self, source):
        starts = [0, 2, 4, 4, 2, 0, 3, 0]
        first = contents(source.read(0, len(source)))
        for start in starts:
            assert contents(source.read(start, start + 2)) == first[start : start + 2]

    def test_fetching_a_sample_twice_gives_the_same(self, source):
        samples = source.read(0, len(source))
        assert contents(samples) == contents(samples)

    def test_threads_fetch_what_one_thread_fetches(self, source):
        samples = source.read(0, len(source)) * 8
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda sample: contents([sample])[0], samples))
        assert found == contents(samples)

    def test_the_fingerprint_is_that_of_the_same_source_built_anew(self, source, tmp_path):
        source.read(0, 3)
        assert source.fingerprint() == self.build(tmp_path).fingerprint()
        assert len(source.fingerprint()) == 64

    def test_other_labels_change_the_fingerprint(self, source):
        other = source.with_labels([*source.labels[:-1].tolist(), 7])
        assert other.fingerprint() != source.fingerprint()

    def test_with_labels_gives_the_same_images_other_classes(self, source):
        names = [f"class {index % 3}" for index in range(len(source))]
        other = source.with_labels(names)
        assert other.labels.tolist() == [0, 1, 2, 0, 1, 2]
        assert other.labels.dtype == np.int64
        assert other.class_names == ["class 0", "class 1", "class 2"]
        assert other.sample_ids == source.sample_ids
        assert contents(other.read(0, 6)) == contents(source.read(0, 6))

    def test_with_labels_leaves_the_source_as_it_was(self, source):
        before = source.fingerprint()
        source.with_labels(range(len(source)))
        assert source.fingerprint() == before

    def test_with_labels_refuses_labels_that_do_not_align(self, source):
        with pytest.raises(SourceError, match=r"labels of shape \(5,\) for 6 samples"):
            source.with_labels(LABELS[:5])

    def test_a_source_and_its_relabelled_copy_can_be_read_in_turns(self, source):
        expected = contents(source.read(0, len(source)))
        # In the middle of a pass, of which the copy may not take its share.
        source.read(0, 2)
        copy = source.with_labels(range(len(source)))
        found = [contents(each.read(start, start + 2)) for start in (2, 4) for each in (source, copy)]
        assert found == [expected[start : start + 2] for start in (2, 4) for _ in range(2)]

    def test_as_source_takes_it_as_it_is(self, source):
        assert as_source(source) is source
        assert as_source(source, range(6)).class_names == ["0", "1", "2", "3", "4", "5"]

    def test_as_source_refuses_options_for_it(self, source):
        with pytest.raises(SourceError, match="the option value_range; expected none"):
            as_source(source, value_range=(0, 1))


class ValueSourceContract(SourceContract):
    """What every source of a user's own arrays does: it is built of `VALUES` and `LABELS`."""

    expected = VALUES
    decode = staticmethod(np.asarray)

    # What stands in its place is the next test.
    test_an_image_is_fetched_as_bytes_or_as_uint8_rgb = None

    def test_a_sample_is_fetched_in_the_layout_of_its_source(self, source):
        assert source.layout == SampleLayout(VALUES.shape[1:], VALUES.dtype)
        for sample in source.read(0, len(source)):
            content = sample.fetch()
            assert SampleLayout(content.shape, content.dtype) == source.layout
            assert content.flags.c_contiguous
            assert content.dtype.isnative

    def test_some_of_its_samples_are_of_the_same_layout(self, source):
        some = source.select([3, 1])
        assert some.layout == source.layout
        for sample, index in zip(some.read(0, 2), (3, 1), strict=True):
            np.testing.assert_array_equal(sample.fetch(), VALUES[index])

    def test_as_value_source_takes_it_as_it_is(self, source):
        assert as_value_source(source) is source


def stacked(source):
    """What every sample holds, in one array."""
    return np.stack([sample.fetch() for sample in source.read(0, len(source))])


def reasons(source):
    """Why each sample cannot be had, or None."""
    found = []
    for sample in source.read(0, len(source)):
        try:
            sample.fetch()
            found.append(None)
        except DecodeError as error:
            found.append(error.reason)
    return found


def contents(samples) -> list[bytes]:
    """What was fetched, comparable with ``==``."""
    return [
        content if isinstance(content := sample.fetch(), bytes) else content.tobytes() for sample in samples
    ]


def described(value: object) -> str:
    """The id of a test: what a value is, and not where in memory, so that every run names it alike."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", str(value))


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which may be killed or run out of something."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail where the code under test waits for ever, as it would for the other end of a pipe."""

    def fail(*_) -> None:
        # Not a TimeoutError: that is an OSError, which the code under test may well handle.
        pytest.fail(f"still waiting after {seconds} s")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class Canary:
    """A watch over a file that notices its being opened, by Python or by any library beneath it."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "inotify_init1"):
            pytest.skip("this system has no inotify to see which files are opened")
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_OPEN) < 0:
            pytest.skip("this system does not let inotify see which files are opened")

    def was_opened(self) -> bool:
        """Whether the file was opened since the last call."""
        try:
            return bool(os.read(self.descriptor, 4096))
        except BlockingIOError:
            return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        os.close(self.descriptor)


@contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom permissions stop, also where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except PermissionError:
        pytest.skip("this root user may not become another, and no permission stops it")
    try:
        yield
    finally:
        os.seteuid(0)
