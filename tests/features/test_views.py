"""Views in an extraction: rows of their image's group, more of them cost only the new ones."""

import hashlib

import numpy as np
import pytest

from featx import BackboneError, FeatureExtractor, FeatureSet, as_source, extract
from featx.features.preparation import preparation_of
from tests.conftest import TINY, TINY_FEATURES, make_images, write_class_folder

pytestmark = pytest.mark.backends


def extractor_of(n_views, **options):
    return FeatureExtractor(TINY, batch_size=4, n_views=n_views, **options)


def file_sha256(features, path):
    features.save(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_each_view_is_a_row_of_its_images_group(class_folder, tmp_path):
    features = extract(class_folder, extractor_of(3), store=tmp_path)
    assert features.X.shape == (36, TINY_FEATURES)
    assert features.view.tolist() == [0, 1, 2] * 12
    assert features.sample_ids == [name for name in as_source(class_folder).sample_ids for _ in range(3)]
    assert len(set(features.groups)) == 12
    assert [features.groups[row] for row in range(3)] == [features.groups[0]] * 3
    np.testing.assert_array_equal(features.y, np.repeat(as_source(class_folder).labels, 3))
    assert features.report.n_rows_computed == 36
    assert (features.report.n_computed, features.report.n_views) == (12, 3)


def test_the_first_view_is_the_image_itself_and_taken_from_the_store(class_folder, tmp_path, n_embedded):
    plain = extract(class_folder, extractor_of(1), store=tmp_path)
    n_embedded.clear()
    features = extract(class_folder, extractor_of(4, views="flip"), store=tmp_path)
    assert sum(n_embedded) == 12 * 3
    np.testing.assert_array_equal(features.X[features.view == 0], plain.X)


def test_more_views_compute_only_the_new_ones(class_folder, tmp_path, n_embedded):
    four = extract(class_folder, extractor_of(4), store=tmp_path)
    n_embedded.clear()
    eight = extract(class_folder, extractor_of(8), store=tmp_path)
    assert sum(n_embedded) == eight.report.n_rows_computed == 12 * 4
    np.testing.assert_array_equal(eight.X[eight.view < 4], four.X)
    n_embedded.clear()
    extract(class_folder, extractor_of(8), store=tmp_path)
    assert n_embedded == []


@pytest.mark.parametrize("options", [{"random_state": 1}, {"views": ("crop", "colour")}])
def test_another_seed_or_kind_gives_other_views(class_folder, tmp_path, options):
    base = extract(class_folder, extractor_of(3, weights="imagenet"), store=tmp_path)
    other = extract(class_folder, extractor_of(3, **options), store=tmp_path)
    assert not np.array_equal(base.X, other.X)
    np.testing.assert_array_equal(base.X[base.view == 0], other.X[other.view == 0])


def test_a_rerun_in_another_store_gives_the_same_file(class_folder, tmp_path):
    first, second = (
        file_sha256(extract(class_folder, extractor_of(5), store=tmp_path / name), tmp_path / f"{name}.h5")
        for name in "ab"
    )
    assert first == second


def test_threads_and_batches_do_not_change_a_view(class_folder):
    one = extract(class_folder, extractor_of(3), store=None, workers=1)
    four = extract(class_folder, extractor_of(3), store=None, workers=4)
    np.testing.assert_array_equal(one.X, four.X)


def test_a_bad_image_loses_all_its_views_and_no_other(class_folder, tmp_path):
    (class_folder / "dark" / "broken.png").write_bytes(b"no image")
    features = extract(class_folder, extractor_of(2), store=tmp_path, on_error="skip")
    assert features.report.n_failed == 1
    assert len(features) == 24
    assert "dark/broken.png" not in features.sample_ids


def test_the_spec_goes_through_a_file_and_back(class_folder, tmp_path):
    extract(class_folder, extractor_of(3, random_state=5), store=tmp_path).save(tmp_path / "f.h5")
    spec = FeatureSet.load(tmp_path / "f.h5").spec
    assert (spec.n_views, spec.views, spec.view_seed) == (3, ("flip", "crop"), 5)
    assert FeatureExtractor.from_spec(spec).spec_ == spec


def test_views_of_arrays_are_what_the_recipe_makes():
    images = make_images(2, size=(16, 16))
    preparation = preparation_of(extractor_of(4, views="flip").fit().spec_)
    views = preparation.load(images[0], "0", preparation.digest(images[0]), [0, 1, 2, 3])
    np.testing.assert_array_equal(views[0], images[0])
    np.testing.assert_array_equal(views[1], images[0][:, ::-1])
    np.testing.assert_array_equal(views[2], images[0][::-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_views": 5, "views": "flip"}, "n_views=5 of flip; expected at most 4; add crop"),
        ({"n_views": 2, "views": ("flip", "spin")}, "'spin'; expected one of 'flip'"),
        ({"n_views": 2, "views": ()}, "no kinds"),
    ],
)
def test_views_that_cannot_be_made_are_refused(options, message):
    with pytest.raises(BackboneError, match=message):
        FeatureExtractor(TINY, **options).fit()


def test_a_transformer_gives_one_row_an_image():
    with pytest.raises(BackboneError, match="one row an image"):
        extractor_of(3).fit().transform(make_images(3))


def test_a_source_of_duplicates_computes_each_view_once(tmp_path, n_embedded):
    root = write_class_folder(tmp_path / "images", n_images=4)
    for path in sorted(root.rglob("*.*")):
        (path.parent / f"copy-{path.name}").write_bytes(path.read_bytes())
    features = extract(root, extractor_of(3), store=tmp_path / "store")
    assert len(features) == 24
    assert sum(n_embedded) == 12
