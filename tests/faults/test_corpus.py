"""T10: the bad inputs of RELIABILITY's section 6 among good neighbours, which must not notice."""

import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.errors import DecodeError, SourceError, printable
from featx.images.decoding import decode_image, load_image
from featx.images.file_sources import FolderSource, ManifestSource, PathSource
from tests.conftest import TINY, TINY_SIZE
from tests.contracts import run_python, time_limit, unprivileged
from tests.faults import corpus
from tests.images.builders import PNG, TILES, encode, staller

PROTOCOL = pytest.mark.protocol(
    "T10", "P10 P11 P12", "bad inputs among good, in three orders, by 1 and 2 workers"
)
ORDERS = ("odd first", "odd last", "mixed")

# As for a user, who has not turned Pillow's warnings into errors.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(params=["sample", pytest.param("full", marks=pytest.mark.faults)])
def in_both_runs():
    """For what costs so little that the default run has all of it."""


BOTH = pytest.mark.usefixtures("in_both_runs")


class Corpus:
    """The folder, its entries by sample id, and the features of the good images alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = {f"odd/{entry.file_name}": entry for entry in corpus.write_corpus(folder / "odd")}
        self.good = [f"good/{name}" for name in corpus.write_good(folder / "good", 4 * len(self.entries))]
        self.odd = [name for name, entry in self.entries.items() if entry.outcome != "ignore"]
        self.accepted = [name for name in self.odd if self.entries[name].outcome == "accept"]
        self.clean = self.extract(self.good, "clean", 1)

    def extract(self, names, store, workers):
        labels = [name.partition("/")[0] for name in names]
        source = PathSource(names, labels, root=self.folder)
        extractor = featx.FeatureExtractor(TINY, batch_size=4)
        with time_limit(60):
            return featx.extract(
                source, extractor, store=self.folder.parent / store, on_error="skip", workers=workers
            )

    def ordered(self, order):
        if order == "odd first":
            return self.odd + self.good
        if order == "odd last":
            return self.good + self.odd
        names = self.odd + self.good
        return [names[index] for index in np.random.default_rng(0).permutation(len(names))]


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    return Corpus(tmp_path_factory.mktemp("corpus") / "images")


@PROTOCOL
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.faults), 2])
@pytest.mark.parametrize(
    "order", [*(pytest.param(order, marks=pytest.mark.faults) for order in ORDERS[:2]), "mixed"]
)
def test_bad_inputs_are_accounted_for_and_their_neighbours_do_not_notice(bad, ledger, order, workers):
    names = bad.ordered(order)
    features = bad.extract(names, f"{order} {workers}", workers)
    report = features.report
    ledger.inject(len(bad.odd))
    failures = {names[failure.index]: failure for failure in report.failed}
    if report.n_computed + report.n_cached + report.n_failed != report.n_samples or report.n_samples != len(
        names
    ):
        ledger.lose(f"{report} does not add up")
    if sorted([*failures, *features.sample_ids]) != sorted(names):
        ledger.lose("embedded and failed are not the source")
    if [name for name in names if name not in failures] != list(features.sample_ids):
        ledger.lose("rows are not in the source's order")
    check_failures(bad, failures, ledger)
    # Without those that fail, and with the good ones alone, nothing is different, to the bit.
    usable = [name for name in names if name not in failures]
    check_rows(features, bad.extract(usable, f"{order} {workers} clean", 1), ledger)
    clean = dict(zip(bad.clean.sample_ids, bad.clean.X, strict=True))
    rows = [row for row, name in enumerate(features.sample_ids) if name in clean]
    expected = np.stack([clean[features.sample_ids[row]] for row in rows])
    if not np.array_equal(features.X[rows], expected):
        ledger.lose("a good image has other features than alone")


def check_failures(bad, failures, ledger):
    for name in set(failures) - set(bad.odd):
        ledger.lose(f"{name}, which is good, failed")
    for name in bad.odd:
        entry, failure = bad.entries[name], failures.get(name)
        if (entry.outcome == "error") != (failure is not None):
            ledger.lose(f"{name}: {failure}, not {entry.outcome}")
        elif failure and not (failure.sample_id == printable(name) and re.search(entry.says, failure.reason)):
            ledger.lose(f"{name}: {failure}")
        elif failure and not failure.reason.isprintable():
            ledger.lose(f"{name}: its reason does not fit on a line")


def check_rows(features, clean, ledger):
    expected = dict(zip(clean.sample_ids, clean.X, strict=True))
    for row, name in enumerate(features.sample_ids):
        if not np.array_equal(features.X[row], expected[name]):
            ledger.lose(f"{name}: other features than in a clean run")
        if features.class_names[features.y[row]] != name.partition("/")[0]:
            ledger.lose(f"{name}: the label of another")


@BOTH
@pytest.mark.protocol("T10", "P12", "odd images that are accepted")
def test_an_accepted_image_has_the_pixels_that_a_user_sees(bad, ledger):
    source = PathSource(bad.accepted, root=bad.folder)
    for raw in source.read(0, len(source)):
        ledger.inject()
        entry, content, notes = bad.entries[raw.sample_id], raw.fetch(), []
        pixels = decode_image(content, raw.sample_id)
        load_image(content, TINY_SIZE, raw.sample_id, notes)
        if entry.pixels is not None and (
            pixels.shape != entry.pixels.shape or np.abs(pixels.astype(int) - entry.pixels).max() > entry.atol
        ):
            ledger.lose(f"{raw.sample_id!r}: {pixels.shape} other pixels")
        if not re.search(entry.says, "; ".join(notes)) or bool(entry.says) != bool(notes):
            ledger.lose(f"{raw.sample_id!r}: noted {notes}, not {entry.says!r}")


@BOTH
@pytest.mark.protocol("T10", "P10 P20", "bad inputs found in a folder")
def test_a_folder_lists_every_bad_input(bad, ledger):
    with time_limit(10):
        source = FolderSource(bad.folder)
    ledger.inject(len(bad.entries))
    if sorted(source.sample_ids) != sorted(bad.odd + bad.good):
        ledger.lose("a folder lists other files than it holds")
    if source.ignored != [name for name, entry in bad.entries.items() if entry.outcome == "ignore"]:
        ledger.lose(f"ignored {source.ignored}")


@BOTH
@pytest.mark.protocol("T10", "P10", "a file that permissions close")
def test_a_file_without_permission_is_named(tmp_path, ledger):
    corpus.make_unreadable(tmp_path / "secret.png")
    (raw,) = PathSource(["secret.png"], root=tmp_path).read(0, 1)
    ledger.inject()
    with unprivileged(), pytest.raises(DecodeError, match="Permission denied"):
        raw.fetch()


# ------------------------------------------------------------------------------------ refused as a whole


@BOTH
@pytest.mark.protocol("T10", "P10 P15 P20", "manifests and labels that refuse a run")
@pytest.mark.parametrize("name", corpus.MANIFESTS)
def test_a_manifest_that_is_not_sound_refuses_the_run(tmp_path, name, ledger):
    corpus.write_manifests(tmp_path)
    ledger.inject()
    with time_limit(10), pytest.raises(SourceError, match=corpus.MANIFESTS[name][1]) as caught:
        featx.extract(tmp_path / f"{name}.csv", TINY, store=tmp_path / "store", on_error="skip")
    assert len(str(caught.value)) < 1000
    assert not (tmp_path / "store").exists()


@BOTH
@pytest.mark.protocol("T10", "P15", "one image under two labels")
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_one_image_under_two_labels_is_refused_and_both_are_named(tmp_path, on_error, ledger):
    for index, pixels in enumerate([TILES, TILES, 255 - TILES]):
        (tmp_path / f"{index}.png").write_bytes(encode(pixels, "PNG"))
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,label\n0.png,cat\n1.png,dog\n2.png,dog\n")
    ledger.inject()

    def extract():
        return featx.extract(manifest, TINY, store=tmp_path / "store", on_error=on_error)

    if on_error == "raise":
        with pytest.raises(SourceError, match=r"0\.png \(cat\) and 1\.png \(dog\)"):
            extract()
        return
    features = extract()
    assert features.sample_ids == ["2.png"]
    for failure in features.report.failed:
        assert (failure.stage, "0.png (cat) and 1.png (dog)" in failure.reason) == ("label", True)


@BOTH
@pytest.mark.protocol("T10", "P15", "classes of fewer samples than folds")
def test_a_class_of_one_sample_refuses_a_search_and_is_named(bad, ledger):
    y = np.zeros(len(bad.clean.X), int)
    y[0] = 1
    ledger.inject()
    with pytest.raises(featx.HeadError, match="the class 1 with 1 sample; expected 3 samples or more"):
        featx.HeadSearch(heads=["logistic_regression"], cv=3).fit(bad.clean.X, y)


@BOTH
@pytest.mark.protocol("T10", "P20", "archives for images")
@pytest.mark.parametrize("name", ["slip.zip", "a.tar", "a.tar.gz"])
def test_an_archive_refuses_the_run(tmp_path, name, ledger):
    import tarfile
    import zipfile

    path = tmp_path / name
    if name == "slip.zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../outside.png", PNG)
    else:
        (tmp_path / "a.png").write_bytes(PNG)
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.add(tmp_path / "a.png", "../a.png")
    ledger.inject()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SourceError, match=re.escape(name)):
        featx.extract(path, TINY, store=tmp_path / "store")
    assert sorted(tmp_path.rglob("*")) == before


# ---------------------------------------------------------------------------- what changes while it is read


@BOTH
@pytest.mark.protocol("T10", "P10", "files that go, shrink, grow or change after they were listed")
@pytest.mark.parametrize(
    "how",
    ["deleted", "replaced by a pipe", "replaced by a folder", "replaced by a link out", "emptied", "cut"],
)
def test_a_file_changed_after_it_was_listed_is_an_error_of_its_own(tmp_path, how, ledger):
    names = corpus.write_good(tmp_path / "good", 12)
    source = FolderSource(tmp_path / "good")
    victim = tmp_path / "good" / names[5]
    content = victim.read_bytes()
    victim.unlink()
    {
        "deleted": lambda: None,
        "replaced by a pipe": lambda: os.mkfifo(victim),
        "replaced by a folder": victim.mkdir,
        "replaced by a link out": lambda: victim.symlink_to("/etc/passwd"),
        "emptied": victim.touch,
        "cut": lambda: victim.write_bytes(content[:-40]),
    }[how]()
    ledger.inject()
    with time_limit(60):
        features = featx.extract(source, TINY, store=tmp_path / "store", on_error="skip")
    assert [failure.sample_id for failure in features.report.failed] == [names[5]]
    assert features.sample_ids == names[:5] + names[6:]


@pytest.mark.protocol(
    "T10", "P10", "a file overwritten in the midst of its reading, within a tick of the clock"
)
@pytest.mark.parametrize("n_trials", [10, pytest.param(200, marks=pytest.mark.faults)])
def test_a_file_that_is_overwritten_while_it_is_read_is_whole_or_an_error(
    tmp_path, ledger, monkeypatch, n_trials
):
    old, new = (encode(np.full((40, 40, 3), value, np.uint8), "BMP") for value in (10, 240))
    path = tmp_path / "a.bmp"
    path.write_bytes(old)
    (raw,) = FolderSource(tmp_path).read(0, 1)
    read, half = os.read, len(old) // 2
    asked = []

    def read_in_pieces(descriptor, size):
        if not asked:
            asked.append(size)
            return read(descriptor, half)
        if len(asked) == 1:
            asked.append(size)
            with path.open("r+b") as file:
                file.write(new)
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", read_in_pieces)
    for _ in range(n_trials):
        ledger.inject()
        asked.clear()
        path.write_bytes(old)
        try:
            if raw.fetch() not in (old, new):
                ledger.lose("a mixture of two versions was taken for an image")
        except DecodeError as error:
            if "changed while it was read" not in error.reason:
                ledger.lose(str(error))


@BOTH
@pytest.mark.protocol("T10", "P10", "files that are being written")
def test_a_file_that_is_still_growing_is_an_error(tmp_path, ledger):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    (raw,) = FolderSource(tmp_path).read(0, 1)
    stop = threading.Event()

    def grow():
        with path.open("ab", buffering=0) as file:
            while not stop.wait(0.001):
                file.write(bytes(100))

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(10):
            ledger.inject()
            time.sleep(0.005)
            size = path.stat().st_size
            try:
                raw.fetch()
            except DecodeError as error:
                if "changed while it was read" not in error.reason:
                    ledger.lose(str(error))
            else:
                if path.stat().st_size != size:
                    ledger.lose("a file that was growing was taken for an image")
    finally:
        stop.set()
        writer.join()


@BOTH
@pytest.mark.protocol("T10", "P9 P10", "files whose reading fails")
def test_an_error_of_the_disk_is_an_error_of_the_sample(tmp_path, ledger):
    # Reading this file at its start is an error of input and output, whoever reads it.
    broken = Path("/proc/self/mem")
    if not broken.is_file():
        pytest.skip("no file at hand whose reading fails")
    (tmp_path / "a.png").symlink_to(broken)
    names = ["a.png", *corpus.write_good(tmp_path, 5)]
    ledger.inject()
    features = featx.extract(
        PathSource(names, root=tmp_path, follow_links=True), TINY, store=tmp_path / "store", on_error="skip"
    )
    (failure,) = features.report.failed
    assert (failure.sample_id, failure.stage) == ("a.png", "read")
    assert features.sample_ids == names[1:]


# --------------------------------------------------------------------------------------- bounded


DECODE_AND_MEASURE = """
import re, sys, time, warnings
from pathlib import Path
from featx.errors import DecodeError
from featx.images.decoding import load_image
warnings.simplefilter("ignore")
def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
for path in sys.argv[1:]:
    data, before, started = Path(path).read_bytes(), peak_kib(), time.perf_counter()
    try:
        load_image(data, (224, 224))
        print("decoded")
    except DecodeError:
        print(time.perf_counter() - started, peak_kib() - before)
"""


@pytest.mark.protocol("T10", "P11", "bombs, and files built to stall a decoder")
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
@pytest.mark.parametrize(
    "names",
    [
        ["23", "24", "25"],
        *(pytest.param([name], marks=pytest.mark.faults) for name in staller("")),
    ],
)
def test_a_bomb_is_refused_in_little_memory_and_time(bad, tmp_path, names, ledger):
    paths = [bad.folder / name for name in bad.odd if name[4:6] in names]
    if not paths:
        paths = [tmp_path / "staller"]
        paths[0].write_bytes(staller(names[0]))
    done = run_python(DECODE_AND_MEASURE, *paths)
    assert (done.returncode, done.stderr) == (0, "")
    for path, line in zip(paths, done.stdout.splitlines(), strict=True):
        ledger.inject()
        seconds, n_kib = map(float, line.split())
        # What is refused for its many segments holds most of them by then.
        if seconds > 10 or n_kib > (50 if len(paths) > 1 else 250) * 1024:
            ledger.lose(f"{path.name}: {line}")


# -------------------------------------------------------------------------------- features of no use


@BOTH
@pytest.mark.protocol("T10", "P13", "images whose features are not finite")
def test_features_that_are_not_finite_are_an_error_of_their_images(tmp_path, ledger):
    import keras

    def build(input_size, weights):  # noqa: ARG001 - the signature of BackboneSpec.build
        inputs = keras.Input((*input_size, 3))
        mean = keras.ops.mean(inputs, axis=(1, 2), keepdims=True)
        return keras.Model(inputs, keras.ops.divide(inputs, mean))

    featx.register_backbone(featx.BackboneSpec("by its mean", build, "unit", TINY_SIZE, 3, "random"))
    images = np.stack([np.full((20, 20, 3), value, np.uint8) for value in (9, 0, 8, 0, 7)])
    ledger.inject(2)
    features = featx.extract(images, "by its mean", store=tmp_path / "store", on_error="skip")
    assert [failure.index for failure in features.report.failed] == [1, 3]
    assert all(f.stage == "forward" and "not finite" in f.reason for f in features.report.failed)
    assert features.sample_ids == ["0", "2", "4"]


def test_a_manifest_of_the_corpus_is_a_source(bad):
    # Names with a line break or bytes that are no text can only be quoted, or cannot stand in a CSV.
    names = [name for name in bad.odd if name.isprintable()]
    manifest = bad.folder / "m.csv"
    manifest.write_text("path\n" + "\n".join(f'"{name}"' for name in names))
    assert ManifestSource(manifest).sample_ids == names
    manifest.unlink()
