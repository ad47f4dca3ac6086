"""What a report shows of samples: which are drawn, what is predicted of them, and whose picture is whose."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

import featx
from featx import FeatureSet, HeadError, SourceError, as_source, extract
from featx.features.combination import combine_features
from featx.insight.findings import Audit, Finding
from featx.report_contents import report_samples
from tests.conftest import make_images, write_class_folder

ANOTHER = "another image than the one whose features these are"


def audit_of(*findings, n_samples=10):
    return Audit(n_samples, n_samples, {}, tuple(findings), {}, {}, {}, (), 0.0)


def two_classes(n_samples, n_features=8, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n_samples)
    X = (rng.normal(size=(n_samples, n_features)) + y[:, None] * 0.6).astype(np.float32)
    return FeatureSet(X, y, class_names=["cat", "dog"])


def tile_colour(samples, row):
    pictures = samples.pictures
    top, left = divmod(int(pictures.tiles[row]), pictures.n_columns)
    atlas = np.asarray(Image.open(io.BytesIO(pictures.atlas)).convert("RGB")).astype(int)
    middle = pictures.tile_size // 2
    return atlas[top * pictures.tile_size + middle, left * pictures.tile_size + middle]


@pytest.fixture
def extracted(tmp_path, tiny_extractor):
    """Features of a folder, and the folder."""
    folder = write_class_folder(tmp_path / "images", 20)
    return extract(folder_source(folder), tiny_extractor, store=tmp_path / "store"), folder


def folder_source(folder):
    return as_source(folder)


def test_only_what_the_head_was_not_fitted_on_is_predicted():
    features = two_classes(60)
    features.y[50:] = -1
    head = LogisticRegression().fit(features.X[:30], features.y[:30])
    samples = report_samples(features, head, range(30, 50))
    assert samples.parts == ["training"] * 30 + ["test"] * 20 + ["unlabelled"] * 10
    assert samples.predicted[:30] == [None] * 30
    assert np.isnan(samples.confidence[:30]).all()
    expected = [features.class_names[label] for label in head.predict(features.X[30:])]
    assert samples.predicted[30:] == expected
    np.testing.assert_allclose(samples.confidence[30:], head.predict_proba(features.X[30:]).max(axis=1))
    assert samples.labels[29:31] == [features.class_names[label] for label in features.y[29:31]]
    assert samples.labels[50:] == [None] * 10
    assert samples.n_total == 60


def test_a_head_without_probabilities_has_no_confidence_and_none_at_all_predicts_nothing():
    features = two_classes(40)
    head = LinearSVC().fit(features.X[:30], features.y[:30])
    samples = report_samples(features, head, range(30, 40))
    assert set(samples.predicted[30:]) <= {"cat", "dog"}
    assert np.isnan(samples.confidence).all()
    assert report_samples(features).predicted == [None] * 40


def test_classes_of_a_head_are_named_as_it_knows_them():
    features = two_classes(40)
    names = np.array(["katze", "hund"])[features.y]
    head = LogisticRegression().fit(features.X[:30], names[:30])
    assert set(report_samples(features, head, [39]).predicted[39:]) <= {"katze", "hund"}
    given = report_samples(features, head, [39], class_names=["dog", "cat"])
    assert set(given.predicted[39:]) <= {"dog", "cat"}
    with pytest.raises(HeadError, match="1 class names for a head of 2 classes"):
        report_samples(features, head, [39], class_names=["dog"])


def test_rows_that_are_not_there_are_refused():
    with pytest.raises(HeadError, match="test rows from 3 to 40; expected 0 to 39"):
        report_samples(two_classes(40), test_rows=[3, 40])
    with pytest.raises(HeadError, match="max_samples=0"):
        report_samples(two_classes(40), max_samples=0)


def test_views_are_one_sample_by_the_images_own_row_and_their_mean():
    one = two_classes(40)
    X = np.repeat(one.X, 3, axis=0)
    X[1::3] += 3
    X[2::3] -= 4
    ids = np.repeat([f"i{row}" for row in range(40)], 3).tolist()
    order = np.random.default_rng(0).permutation(120)
    features = FeatureSet(
        X[order],
        np.repeat(one.y, 3)[order],
        sample_ids=[ids[row] for row in order],
        class_names=one.class_names,
        view=np.tile(np.arange(3), 40)[order],
    )
    head = LogisticRegression().fit(one.X, one.y)
    samples = report_samples(features, head, np.arange(120))
    assert sorted(samples.sample_ids) == sorted(set(ids))
    rows = [int(name[1:]) for name in samples.sample_ids]
    np.testing.assert_array_equal(samples.X, one.X[rows])
    mean = head.predict_proba(X).reshape(40, 3, 2).mean(axis=1)[rows]
    assert samples.predicted == [one.class_names[label] for label in mean.argmax(axis=1)]
    np.testing.assert_allclose(samples.confidence, mean.max(axis=1), rtol=1e-5)


def test_several_sets_stand_side_by_side_in_the_first_ones_order():
    one, two = two_classes(30), two_classes(30, 3, seed=0)
    turned = FeatureSet(
        two.X[::-1], one.y[::-1], sample_ids=one.sample_ids[::-1], class_names=one.class_names
    )
    X = np.hstack([one.X, two.X])
    head = LogisticRegression().fit(X, one.y)
    samples = report_samples({"one": one, "two": turned}, head, range(30))
    np.testing.assert_array_equal(samples.X, X)
    assert samples.predicted == [one.class_names[label] for label in head.predict(X)]


class TestDrawing:
    def test_mistakes_and_findings_are_kept_of_many_samples(self):
        features = two_classes(200_000)
        head = LogisticRegression().fit(features.X[:1000], features.y[:1000])
        found = [Finding("outlier", (name,), 1.0, "far") for name in ("150000", "199999", "3")]
        samples = report_samples(features, head, range(1000, 200_000), audit=audit_of(*found))
        assert len(samples.sample_ids) == len(set(samples.sample_ids)) == 5000
        assert samples.n_total == 200_000
        assert {"150000", "199999", "3"} <= set(samples.sample_ids)
        wrong = head.predict(features.X[1000:]) != features.y[1000:]
        sureness = np.where(wrong, head.predict_proba(features.X[1000:]).max(axis=1), 0)
        surest = {str(1000 + row) for row in np.argsort(-sureness)[:2000]}
        assert surest <= set(samples.sample_ids)
        assert (
            "5,000 of 200,000 samples are shown, drawn with seed 0: first 2,500 mistakes" in samples.notes[0]
        )
        row = samples.sample_ids.index("150000")
        np.testing.assert_array_equal(samples.X[row], features.X[150_000])

    def test_few_mistakes_leave_the_places_to_others(self):
        features = two_classes(400)
        found = Finding("suspected_label", ("7", "8", "gone"), 1.0, "why")
        samples = report_samples(features, audit=audit_of(found), max_samples=100)
        assert len(samples.sample_ids) == 100
        assert {"7", "8"} <= set(samples.sample_ids)
        assert "first 2 mistakes" in samples.notes[0]

    def test_the_draw_is_the_seeds(self):
        features = two_classes(400)
        one, two, other = (report_samples(features, max_samples=50, random_state=seed) for seed in (0, 0, 1))
        assert one.sample_ids == two.sample_ids != other.sample_ids

    def test_a_single_sample_may_be_asked_for(self):
        assert len(report_samples(two_classes(10), max_samples=1).sample_ids) == 1


class TestPictures:
    def test_every_sample_has_its_own_picture(self, extracted):
        features, folder = extracted
        samples = report_samples(features, images=folder)
        assert samples.notes == ()
        for row, sample_id in enumerate(samples.sample_ids):
            is_light = tile_colour(samples, row).mean() > 115
            assert is_light == sample_id.startswith("light")

    def test_mistakes_and_findings_get_large_pictures(self, extracted):
        features, folder = extracted
        found = Finding("outlier", (features.sample_ids[5],), 1.0, "far")
        # Every answer is wrong.
        head = LogisticRegression().fit(features.X, 1 - features.y)
        samples = report_samples(features, head, [2, 3], images=folder, audit=audit_of(found))
        assert sorted(samples.pictures.large) == [2, 3, 5]
        large = np.asarray(Image.open(io.BytesIO(samples.pictures.large[5])).convert("RGB")).astype(int)
        assert large.shape == (20, 24, 3)
        assert abs(large.mean() - np.asarray(Image.open(folder / features.sample_ids[5])).mean()) < 8

    def test_without_images_the_notes_say_so(self, extracted):
        samples = report_samples(extracted[0])
        assert samples.pictures is None
        assert samples.notes == (
            "There are no pictures: the report was made of features alone, without the images.",
        )

    def test_images_that_went_or_changed_are_named_and_no_error(self, extracted):
        features, folder = extracted
        source = as_source(folder)
        first, second, third = (folder / features.sample_ids[row] for row in (0, 1, 2))
        first.unlink()
        second.write_bytes(third.read_bytes())
        samples = report_samples(features, images=source)
        assert (samples.pictures.tiles[:3] >= 0).tolist() == [False, False, True]
        assert samples.notes == (
            f"1 of 20 samples have no picture: No such file or directory ({features.sample_ids[0]}).",
            f"1 of 20 samples have no picture: {ANOTHER} ({features.sample_ids[1]}).",
        )
        again = report_samples(features, images=folder)
        assert again.notes[0].startswith("1 of 20 samples have no picture: not among the images given")

    def test_other_images_altogether_are_no_pictures(self, extracted):
        samples = report_samples(extracted[0], images=make_images(3))
        assert samples.pictures is None
        assert samples.notes[0].startswith(
            "20 of 20 samples have no picture: not among the images given (dark/"
        )

    def test_what_is_no_source_is_refused(self, extracted):
        with pytest.raises(SourceError, match="no such file or folder"):
            report_samples(extracted[0], images="not/there")

    def test_names_stay_what_they_are(self, tmp_path, tiny_extractor):
        folder = tmp_path / "images"
        names = ["<img src=x onerror=alert(1)>.png", "line\nbreak.png", "b\udce9.png", "a & b.png"]
        for seed, class_name in enumerate(("<b>bold", "plain")):
            (folder / class_name).mkdir(parents=True)
            for name, pixels in zip(names, make_images(4, seed), strict=True):
                Image.fromarray(pixels).save(folder / class_name / name)
        features = extract(as_source(folder), tiny_extractor, store=tmp_path / "store")
        features.save(tmp_path / "f.h5")
        loaded = FeatureSet.load(tmp_path / "f.h5")
        samples = report_samples(loaded, images=folder)
        assert samples.notes == ()
        assert (samples.pictures.tiles >= 0).all()
        assert samples.sample_ids == loaded.sample_ids

    def test_an_image_that_is_seen_in_several_views_is_shown_itself(self, tmp_path):
        folder = write_class_folder(tmp_path / "images", 6)
        extractor = featx.FeatureExtractor("tiny", batch_size=4, n_views=3)
        features = extract(as_source(folder), extractor, store=tmp_path / "store")
        samples = report_samples(features, images=folder)
        assert len(samples.sample_ids) == 6
        assert samples.notes == ()
        assert (samples.pictures.tiles >= 0).all()


def test_the_digest_of_features_is_the_files(tmp_path):
    features = two_classes(30)
    features.save(tmp_path / "f.h5")
    loaded = FeatureSet.load(tmp_path / "f.h5")
    digest = features.features_sha256()
    assert loaded.features_sha256() == digest
    assert loaded.X.shape == (30, 8)
    assert loaded.features_sha256() == digest
    assert two_classes(30, seed=1).features_sha256() != digest


def test_one_class_and_no_labels_are_shown():
    for features in (
        FeatureSet(np.zeros((3, 2), np.float32), [0, 0, 0]),
        FeatureSet(np.zeros((3, 2), np.float32)),
    ):
        samples = report_samples(features)
        assert len(set(samples.labels)) == 1
    assert samples.parts == ["unlabelled"] * 3
    assert combine_features(features).aligned.y.tolist() == [-1, -1, -1]
