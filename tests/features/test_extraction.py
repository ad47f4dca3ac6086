"""extract(): nothing lost, nothing computed twice, labels never shift."""

import hashlib
import shutil
import time

import h5py
import numpy as np
import pytest
from PIL import Image

import featx
from featx import (
    ArraySource,
    DecodeError,
    FeatureExtractor,
    FeatureSet,
    FeatureStore,
    PathSource,
    SourceError,
    StoreCorruptError,
    StoreError,
    as_source,
    extract,
    holdout_split,
)
from featx.features import computing, extraction, run
from featx.images.decoding import load_image
from tests.conftest import TINY, make_images, write_class_folder

pytestmark = pytest.mark.backends


def file_sha256(features, path):
    features.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reference(source):
    """Features one image at a time, without store, threads or batches."""
    backbone = featx.load_backbone(TINY)
    pixels = [load_image(raw.fetch(), backbone.input_size) for raw in source.read(0, len(source))]
    return np.concatenate([backbone.model.predict_on_batch(image[None]) for image in pixels])


def test_rows_are_the_sources_in_order(class_folder, tiny_extractor, tmp_path):
    source = as_source(class_folder)
    features = extract(source, tiny_extractor, store=tmp_path)
    np.testing.assert_allclose(features.X, reference(source), atol=1e-5)
    assert features.sample_ids == source.sample_ids
    np.testing.assert_array_equal(features.y, source.labels)
    assert features.class_names == ["dark", "light"]
    assert features.spec == tiny_extractor.fit().spec_
    digests = [hashlib.sha256((class_folder / name).read_bytes()).hexdigest() for name in source.sample_ids]
    assert features.image_sha256 == features.groups == digests


def test_every_sample_is_computed_cached_or_failed(class_folder, tiny_extractor, tmp_path):
    (class_folder / "dark" / "broken.png").write_bytes(b"no image")
    shutil.copy(class_folder / "dark" / "00-002.png", class_folder / "dark" / "copy.png")
    report = extract(class_folder, tiny_extractor, store=tmp_path, on_error="skip").report
    assert (report.n_samples, report.n_computed, report.n_cached, report.n_failed) == (14, 12, 1, 1)
    assert report.failed[0].sample_id == "dark/broken.png"
    assert report.failed[0].stage == "decode"
    assert set(report.stages) == {"read", "decode", "start", "forward", "write", "wait", "compare"}


def test_failures_are_kept_beside_the_features(class_folder, tiny_extractor, tmp_path):
    (class_folder / "dark" / "broken.png").write_bytes(b"no image")
    (class_folder / "dark" / "\udce9\n.png").write_bytes(b"")
    features = extract(class_folder, tiny_extractor, store=tmp_path / "store", on_error="skip")
    features.save(tmp_path / "f.h5")
    loaded = FeatureSet.load(tmp_path / "f.h5")
    assert loaded.failures == features.failures == list(features.report.failed)
    assert [(failure.sample_id, failure.path) for failure in loaded.failures] == [
        ("dark/broken.png", f"{class_folder}/dark/broken.png"),
        ("dark/\\udce9\\n.png", f"{class_folder}/dark/\\udce9\\n.png"),
    ]
    assert len(loaded) + len(loaded.failures) == features.report.n_samples == 14
    assert as_source(class_folder).sample_ids[loaded.failures[1].index] == "dark/\udce9\n.png"
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["failures/reason"].asstr()[1] == "empty file"
        assert sorted(file["failures"]) == ["index", "path", "reason", "sample_id", "stage"]


@pytest.mark.parametrize("isolate", [False, True])
def test_odd_images_are_embedded_and_told_of(class_folder, tiny_extractor, tmp_path, isolate):
    for number in range(6):
        Image.fromarray(make_images(1, 7 + number)[0]).save(class_folder / "dark" / f"x{number}.jpg", "PNG")
    Image.fromarray(make_images(1, 6, (3, 24))[0]).save(class_folder / "light" / "low.png")
    options = {"store": tmp_path / "store", "isolate": isolate}
    report = extract(class_folder, tiny_extractor, **options).report
    assert report.n_computed == 19
    assert [(oddity.what, oddity.n_samples) for oddity in report.odd] == [
        ("PNG named .jpg", 6),
        ("under 8 pixels wide or high", 1),
    ]
    assert report.odd[0].sample_ids == [f"dark/x{number}.jpg" for number in range(5)]
    assert report.to_dict()["odd"][1]["sample_ids"] == ["light/low.png"]
    # Of what was not decoded nothing is known.
    assert extract(class_folder, tiny_extractor, **options).report.odd == ()


def test_a_feature_file_without_failures_has_no_table_of_them(class_folder, tiny_extractor, tmp_path):
    extract(class_folder, tiny_extractor, store=tmp_path / "store").save(tmp_path / "f.h5")
    assert FeatureSet.load(tmp_path / "f.h5").failures == []
    with h5py.File(tmp_path / "f.h5") as file:
        assert "failures" not in file


def test_the_file_is_the_same_whenever_failures_are_written(class_folder, tiny_extractor, tmp_path):
    (class_folder / "dark" / "broken.png").write_bytes(b"no image")
    features = extract(class_folder, tiny_extractor, store=tmp_path / "store", on_error="skip")
    features.save(tmp_path / "a.h5")
    # HDF5 stamps with whole seconds.
    time.sleep(1.1)
    features.save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_changed_failure_is_noticed(class_folder, tiny_extractor, tmp_path):
    (class_folder / "dark" / "broken.png").write_bytes(b"no image")
    path = tmp_path / "f.h5"
    extract(class_folder, tiny_extractor, store=tmp_path / "store", on_error="skip").save(path)
    with h5py.File(path, "r+") as file:
        file["failures/index"][0] += 1
    with pytest.raises(StoreCorruptError, match="not those that were saved"):
        FeatureSet.load(path)


@pytest.mark.parametrize(
    ("max_failed", "is_borne"), [(0, False), (1, False), (2, True), (0.1, False), (0.15, True)]
)
def test_as_many_as_are_borne_may_fail(class_folder, tiny_extractor, tmp_path, max_failed, is_borne):
    for name in ("00.png", "zz.png"):
        (class_folder / "light" / name).write_bytes(b"")
    options = {"store": tmp_path / "store", "on_error": "skip", "max_failed": max_failed}
    if is_borne:
        assert extract(class_folder, tiny_extractor, **options).report.n_failed == 2
        return
    with pytest.raises(SourceError, match=r"of 14 that failed, the last for: light/(00|zz)\.png: empty"):
        extract(class_folder, tiny_extractor, **options)
    # Six dark ones are a batch of four, which is kept, and two that were under way.
    assert FeatureStore(tmp_path / "store").entries()[0].n_samples >= 4


@pytest.mark.parametrize(
    "options",
    [
        {"max_failed": 1},
        {"max_failed": -1, "on_error": "skip"},
        {"max_failed": 1.5, "on_error": "skip"},
        {"max_failed": True, "on_error": "skip"},
        {"max_failed": float("nan"), "on_error": "skip"},
        {"max_failed": float("inf"), "on_error": "skip"},
    ],
)
def test_a_limit_of_failures_that_means_nothing_is_refused(images, tiny_extractor, options):
    with pytest.raises(SourceError, match="max_failed="):
        extract(images, tiny_extractor, store=None, **options)


class TestIncremental:
    def test_a_second_run_embeds_nothing(self, class_folder, tiny_extractor, tmp_path, n_embedded):
        first = extract(class_folder, tiny_extractor, store=tmp_path)
        assert sum(n_embedded) == 12
        n_embedded.clear()
        second = extract(class_folder, tiny_extractor, store=tmp_path)
        assert (second.report.n_computed, second.report.n_cached, n_embedded) == (0, 12, [])
        np.testing.assert_array_equal(first.X, second.X)

    def test_new_images_cost_themselves_only(self, class_folder, tiny_extractor, tmp_path, n_embedded):
        extract(class_folder, tiny_extractor, store=tmp_path)
        n_embedded.clear()
        write_class_folder(class_folder, n_images=5, seed=1)
        features = extract(class_folder, tiny_extractor, store=tmp_path)
        assert (features.report.n_computed, sum(n_embedded)) == (5, 5)
        fresh = extract(class_folder, tiny_extractor, store=None)
        np.testing.assert_allclose(features.X, fresh.X, atol=1e-6)

    def test_a_renamed_folder_costs_nothing(self, class_folder, tiny_extractor, tmp_path):
        before = extract(class_folder, tiny_extractor, store=tmp_path)
        moved = class_folder.rename(tmp_path / "elsewhere")
        (moved / "dark").rename(moved / "zzz")
        after = extract(moved, tiny_extractor, store=tmp_path)
        assert after.report.n_computed == 0
        assert after.class_names == ["light", "zzz"]
        order = [before.image_sha256.index(digest) for digest in after.image_sha256]
        np.testing.assert_array_equal(after.X, before.X[order])

    def test_copies_are_embedded_once_and_share_a_group(self, images, tiny_extractor, tmp_path, n_embedded):
        features = extract(np.concatenate([images, images[:5]]), tiny_extractor, store=tmp_path)
        assert sum(n_embedded) == 12
        assert features.groups[:5] == features.groups[12:]
        np.testing.assert_array_equal(features.X[:5], features.X[12:])

    def test_resume_false_embeds_anew(self, images, tiny_extractor, tmp_path, n_embedded):
        extract(images, tiny_extractor, store=tmp_path)
        report = extract(images, tiny_extractor, store=tmp_path, resume=False).report
        assert (report.n_computed, sum(n_embedded)) == (12, 24)

    def test_another_extraction_does_not_share_rows(self, images, tmp_path):
        extract(images, FeatureExtractor(TINY), store=tmp_path)
        report = extract(images, FeatureExtractor(TINY, pooling="max"), store=tmp_path).report
        assert report.n_computed == 12
        assert len(FeatureStore(tmp_path).entries()) == 2

    def test_without_a_store_nothing_is_kept(self, images, tiny_extractor, n_embedded):
        features = extract(images, tiny_extractor, store=None)
        extract(images, tiny_extractor, store=None)
        assert sum(n_embedded) == 24
        assert features.X.shape == (12, 12)


class TestSameBytes:
    """The feature file's bytes depend on the images and the extraction, on nothing else."""

    @pytest.fixture
    def expected(self, class_folder, tiny_extractor, tmp_path):
        features = extract(class_folder, tiny_extractor, store=tmp_path / "reference")
        return file_sha256(features, tmp_path / "reference.h5")

    @pytest.mark.parametrize("workers", [1, 3])
    def test_whatever_the_workers(self, class_folder, tiny_extractor, tmp_path, expected, workers):
        features = extract(class_folder, tiny_extractor, store=tmp_path, workers=workers)
        assert file_sha256(features, tmp_path / "f.h5") == expected

    @pytest.mark.parametrize("n_before", [1, 3, 4, 7, 11])
    def test_wherever_a_run_was_interrupted(
        self, class_folder, tiny_extractor, tmp_path, expected, n_before, monkeypatch
    ):
        taken = []
        original = run.ExtractionRun._take

        def interrupt(self, sample):
            if len(taken) == n_before:
                raise KeyboardInterrupt
            taken.append(sample)
            original(self, sample)

        with monkeypatch.context() as patched:
            patched.setattr(run.ExtractionRun, "_take", interrupt)
            with pytest.raises(KeyboardInterrupt):
                extract(class_folder, tiny_extractor, store=tmp_path)
        features = extract(class_folder, tiny_extractor, store=tmp_path)
        # Whole batches of four were computed before, and are kept.
        assert features.report.n_cached == n_before // 4 * 4
        assert file_sha256(features, tmp_path / "f.h5") == expected

    def test_when_shards_are_small(self, class_folder, tiny_extractor, tmp_path, expected, monkeypatch):
        monkeypatch.setattr("featx.features.shards._MAX_SHARD_ROWS", 4)
        features = extract(class_folder, tiny_extractor, store=tmp_path)
        assert FeatureStore(tmp_path).entries()[0].n_shards == 3
        assert file_sha256(features, tmp_path / "f.h5") == expected

    def test_when_a_shard_was_damaged(self, class_folder, tiny_extractor, tmp_path, expected, monkeypatch):
        monkeypatch.setattr("featx.features.shards._MAX_SHARD_ROWS", 4)
        extract(class_folder, tiny_extractor, store=tmp_path)
        victim = sorted((tmp_path / "features").glob("*/*.h5"))[1]
        victim.write_bytes(victim.read_bytes()[:-9])
        with pytest.warns(featx.FeatxWarning, match="set aside"):
            features = extract(class_folder, tiny_extractor, store=tmp_path)
        assert features.report.n_computed == 4
        assert file_sha256(features, tmp_path / "f.h5") == expected


class TestBadImages:
    @pytest.fixture
    def spoiled(self, class_folder):
        """Good images with bad ones before, between and behind them."""
        (class_folder / "dark" / "00.png").write_bytes(b"")
        (class_folder / "dark" / "zz.jpg").write_bytes(b"<html>404</html>")
        (class_folder / "light" / "00-002b.png").mkdir()
        return class_folder

    def test_skipping_lists_them_and_shifts_nothing(self, spoiled, tiny_extractor, tmp_path):
        features = extract(spoiled, tiny_extractor, store=tmp_path, on_error="skip")
        assert {failure.sample_id for failure in features.report.failed} == {
            "dark/00.png",
            "dark/zz.jpg",
            "light/00-002b.png",
        }
        assert [name.partition("/")[0] for name in features.sample_ids] == [
            features.class_names[label] for label in features.y
        ]
        good = [spoiled / name for name in features.sample_ids]
        alone = extract(PathSource(good), tiny_extractor, store=None)
        np.testing.assert_array_equal(features.X, alone.X)
        assert features.report.n_samples == 15

    def test_raising_names_the_image_and_keeps_what_was_computed(self, spoiled, tiny_extractor, tmp_path):
        (spoiled / "dark" / "00.png").unlink()
        with pytest.raises(DecodeError, match=r"dark/zz\.jpg: an HTML page"):
            extract(spoiled, tiny_extractor, store=tmp_path)
        assert FeatureStore(tmp_path).entries()[0].n_samples == 4

    def test_when_none_is_usable_it_says_why(self, tmp_path, tiny_extractor):
        (tmp_path / "a.png").write_bytes(b"")
        with pytest.raises(SourceError, match=r"none is usable.*empty file"):
            extract(tmp_path, tiny_extractor, store=tmp_path / "store", on_error="skip")

    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    def test_one_image_under_two_labels_is_a_contradiction(self, images, tiny_extractor, tmp_path, on_error):
        doubled = ArraySource(np.concatenate([images, images[3:4]]), ["a", "b"] * 6 + ["a"])
        if on_error == "raise":
            with pytest.raises(SourceError, match=r"same image as 3 \(b\) and 12 \(a\)"):
                extract(doubled, tiny_extractor, store=tmp_path)
            return
        features = extract(doubled, tiny_extractor, store=tmp_path, on_error="skip")
        assert [failure.sample_id for failure in features.report.failed] == ["3", "12"]
        assert {failure.stage for failure in features.report.failed} == {"label"}
        report = features.report
        assert report.n_computed + report.n_cached + report.n_failed == report.n_samples == 13

    @pytest.mark.parametrize("on_error", ["raise", "skip"])
    def test_features_that_are_not_finite_are_never_kept(self, tmp_path, on_error):
        import keras

        inputs = keras.Input((8, 8, 3))
        # 0 / 0 for a black image.
        model = keras.Model(inputs, inputs / keras.ops.max(inputs, axis=(1, 2, 3), keepdims=True))
        extractor = FeatureExtractor(model, preprocessing="none", batch_size=4)
        pixels = make_images(6, size=(8, 8))
        pixels[2] = 0
        if on_error == "raise":
            with pytest.raises(DecodeError, match="2: its features are not finite"):
                extract(pixels, extractor, store=tmp_path)
            return
        features = extract(pixels, extractor, store=tmp_path, on_error="skip")
        assert features.sample_ids == ["0", "1", "3", "4", "5"]
        assert np.isfinite(features.X).all()
        assert extract(pixels, extractor, store=tmp_path, on_error="skip").report.n_cached == 5


def test_user_groups_are_joined_where_they_share_an_image(images, tiny_extractor, tmp_path):
    source = ArraySource(np.concatenate([images, images[:1]]), groups=["a", "b"] * 6 + ["c"])
    groups = extract(source, tiny_extractor, store=tmp_path).groups
    assert groups[0] == groups[12]
    assert groups[1] == "b"
    assert len(set(groups)) == 2


def test_chains_of_shared_images_join_all_their_groups():
    groups = [f"g{index // 2}" for index in range(10)]
    # Each group shares an image with the next.
    digests = ["0", "1", "1", "2", "2", "3", "3", "4", "4", "5"]
    assert len(set(extraction.merge_groups(groups, digests))) == 1


def test_the_name_of_a_joined_group_and_its_hashed_part_do_not_depend_on_the_rows_order():
    # Every g of an odd number shares an image with the one before it.
    groups = np.repeat([f"g{index:03d}" for index in range(100)], 2)
    digests = [f"{index - (index % 4 == 2)}" for index in range(200)]
    names = extraction.merge_groups(groups.tolist(), digests)
    backwards = extraction.merge_groups(groups[::-1].tolist(), digests[::-1])
    assert names == backwards[::-1] == np.repeat(groups[::4], 4).tolist()
    parts = []
    for joined, rows in ((names, np.arange(200)), (backwards, np.arange(200)[::-1])):
        _, test = holdout_split(np.arange(200) % 2, joined, assignment="hashed")
        parts.append(set(rows[test].tolist()))
    assert parts[0] == parts[1]


def test_float16_features_are_the_rounded_ones(images, tiny_extractor, tmp_path):
    full = extract(images, tiny_extractor, store=tmp_path)
    half = extract(images, tiny_extractor, store=tmp_path, dtype="float16")
    assert half.report.n_computed == 0
    np.testing.assert_array_equal(half.X, full.X.astype(np.float16))


def test_a_name_alone_is_an_extractor(tmp_path):
    assert extract(make_images(2), TINY, store=tmp_path).X.shape == (2, 12)


def test_slow_backbones_commit_by_the_clock(images, tiny_extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(computing, "COMMIT_AFTER_S", 0.0)
    extract(images, tiny_extractor, store=tmp_path)
    assert FeatureStore(tmp_path).entries()[0].n_shards == 3


@pytest.mark.parametrize(
    "options", [{"on_error": "ignore"}, {"dtype": "float64"}, {"workers": 0}, {"workers": "two"}]
)
def test_unusable_options_are_refused(images, tiny_extractor, options):
    with pytest.raises(SourceError, match="expected"):
        extract(images, tiny_extractor, store=None, **options)


def test_a_store_that_cannot_be_written_says_so(images, tiny_extractor, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose another place"):
        extract(images, tiny_extractor, store=tmp_path / "file")


def test_a_jpeg_is_rotated_as_its_exif_says(tmp_path, tiny_extractor):
    pixels = make_images(1, size=(16, 16))[0]
    Image.fromarray(pixels).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])).save(tmp_path / "b.png", exif=exif)
    features = extract(tmp_path, tiny_extractor, store=tmp_path / "store")
    np.testing.assert_allclose(features.X[0], features.X[1], atol=1e-6)
