"""Feature files as parts of one data set, the model that parts one, and the images themselves."""

import shutil

import numpy as np
import pytest
from PIL import Image

from featx import FeatureExtractor, FeatureSet, HeadSearch, ModelFile, as_source, extract
from featx.audit_jobs import audit_feature_sets
from featx.errors import HeadError, StoreMismatchError
from featx.search_jobs import save_search, search_features
from tests.conftest import TINY, make_images, write_class_folder, write_recompressed


@pytest.fixture
def embedded(tmp_path):
    """Extracts a folder of images of two classes."""

    def embed(name, n_images=40, seed=0, **options):
        root = write_class_folder(tmp_path / name, n_images, seed)
        return root, extract(root, FeatureExtractor(TINY, **options), store=tmp_path / "cache")

    return embed


class TestParts:
    def test_copies_across_files_are_leaks(self, tmp_path, embedded):
        root, train = embedded("train")
        other, _ = embedded("test", seed=1)
        shutil.copy(root / "dark" / "00-000.jpg", other / "light" / "copy.jpg")
        test = extract(other, FeatureExtractor(TINY), store=tmp_path / "cache")
        audit = audit_feature_sets({"a/train.h5": train, "a/test.h5": test})
        (leak,) = audit.of("exact_duplicate")
        assert leak.sample_ids == ("dark/00-000.jpg", "light/copy.jpg")
        assert leak.across == ("parts", "labels")
        assert "in train and test: a leak; called 'dark' and 'light'" in leak.reason
        assert audit.parts["light/copy.jpg"] == "test"
        assert audit.n_samples == 81

    def test_ids_of_several_files_get_their_parts_name(self, embedded):
        _, features = embedded("train")
        audit = audit_feature_sets({"train.h5": features, "test.h5": features})
        first = audit.of("exact_duplicate")[0]
        assert first.sample_ids[0].startswith("train:")
        assert first.sample_ids[1] == first.sample_ids[0].replace("train:", "test:")
        assert len(audit.of("exact_duplicate")) == 40

    def test_files_of_one_stem_are_called_by_their_paths(self, embedded):
        _, features = embedded("train")
        audit = audit_feature_sets({"a/f.h5": features, "b/f.h5": features})
        assert set(audit.parts.values()) == {"a/f.h5", "b/f.h5"}

    def test_classes_are_known_by_their_names(self):
        X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
        one = FeatureSet(X[:30], [0, 1] * 15, class_names=["cat", "dog"])
        two = FeatureSet(X[30:], [0, 1, -1] * 10, class_names=["dog", "eel"])
        audit = audit_feature_sets({"one.h5": one, "two.h5": two})
        assert audit.class_counts == {"cat": 15, "dog": 25, "eel": 10}
        assert any("'eel'" in each.reason and "none in one" in each.reason for each in audit.findings)

    def test_other_extractions_are_refused(self, embedded):
        _, one = embedded("train")
        _, two = embedded("train", pooling="max")
        with pytest.raises(StoreMismatchError, match=r"audit them one at a time; .*pooling"):
            audit_feature_sets({"one.h5": one, "two.h5": two})
        bare = FeatureSet(np.zeros((4, 3), np.float32)), FeatureSet(np.zeros((4, 5), np.float32))
        with pytest.raises(HeadError, match=r"3 features in one\.h5 and 5 in two\.h5"):
            audit_feature_sets(dict(zip(("one.h5", "two.h5"), bare, strict=True)))
        with pytest.raises(HeadError, match="no feature sets"):
            audit_feature_sets({})


class TestModel:
    @pytest.fixture
    def model(self, tmp_path, embedded):
        _, features = embedded("images")
        save_search(search_features(features, HeadSearch("logistic_regression", cv=3)), tmp_path / "m.featx")
        return ModelFile.load(tmp_path / "m.featx")

    def test_what_it_was_fitted_on_is_the_training_part(self, model, tmp_path, embedded):
        root, before = embedded("images")
        seen = before.sample_ids[int(np.flatnonzero(model.was_trained_on(before.image_sha256))[0])]
        pixels = np.asarray(Image.open(root / seen))
        Image.fromarray(pixels).save(root / "dark" / "again.png", compress_level=1)
        features = extract(root, FeatureExtractor(TINY), store=tmp_path / "cache")
        audit = audit_feature_sets(features, model=model)
        near = next(each for each in audit.of("near_duplicate") if seen in each.sample_ids)
        assert near.sample_ids == (seen, "dark/again.png")
        assert "in training and test: a leak" in near.reason
        with pytest.raises(HeadError, match="a model and 2 feature files"):
            audit_feature_sets({"a.h5": features, "b.h5": features}, model=model)

    def test_parts_that_are_given_are_those_of_one_set(self):
        X = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
        X[39] = X[0]
        features = FeatureSet(X, [0, 1] * 20, image_sha256=["same", *map(str, range(38)), "same"])
        audit = audit_feature_sets(features, parts=["training"] * 30 + ["test"] * 10)
        assert [each.across for each in audit.of("exact_duplicate")] == [("parts", "labels")]
        with pytest.raises(HeadError, match="parts and 2 feature files"):
            audit_feature_sets({"a.h5": features, "b.h5": features}, parts=["training"] * 80)

    def test_a_model_of_other_images_parts_nothing(self, model):
        X = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
        other = FeatureSet(X, [0, 1] * 20, image_sha256=[f"{row:064x}" for row in range(40)])
        audit = audit_feature_sets(other, model=model)
        assert any("fitted on none of these images" in note for note in audit.notes)


class TestImages:
    def test_odd_ones_are_findings(self, tmp_path, embedded):
        root, _ = embedded("images")
        Image.new("RGB", (20, 24), (9, 9, 9)).save(root / "dark" / "blank.png")
        (root / "dark" / "bad.png").write_bytes(b"<html>")
        features = extract(root, FeatureExtractor(TINY), store=tmp_path / "cache", on_error="skip")
        audit = audit_feature_sets(features, images=as_source(root))
        odd = {finding.sample_ids[0]: finding for finding in audit.of("odd_image")}
        assert odd["dark/blank.png"].excluded == ("dark/blank.png",)
        assert "has no features: an HTML page" in odd["dark/bad.png"].reason
        assert odd["dark/bad.png"].excluded == ()
        assert audit.labels["dark/blank.png"] == "dark"
        assert not audit.notes

    def test_a_copy_that_was_compressed_again_is_seen(self, tmp_path, embedded):
        root, _ = embedded("images")
        copies = write_recompressed(root / "dark")
        features = extract(root, FeatureExtractor(TINY), store=tmp_path / "cache")
        audit = audit_feature_sets(features, images=as_source(root))
        assert copies in [finding.sample_ids for finding in audit.of("near_duplicate")]

    def test_images_that_are_gone_or_others_are_notes(self, tmp_path, embedded):
        root, features = embedded("images")
        source = as_source(root)
        names = source.sample_ids
        (root / names[0]).unlink()
        (root / names[1]).rename(tmp_path / "moved")
        Image.fromarray(make_images(1, seed=9)[0]).save(root / names[1])
        audit = audit_feature_sets(features, images=source)
        assert not audit.of("odd_image")
        notes = "\n".join(audit.notes)
        assert f"1 samples of features could not be read ({names[0]}: No such file" in notes
        assert f"1 samples of features are no longer the images that were embedded ({names[1]})" in notes
        rest = as_source(root)
        assert f"1 samples of features are not among the images ({names[0]})" in "\n".join(
            audit_feature_sets(features, images=rest).notes
        )

    def test_of_some_parts(self, embedded):
        root, train = embedded("train")
        _, test = embedded("test", seed=1)
        audit = audit_feature_sets({"train.h5": train, "test.h5": test}, images={"train.h5": as_source(root)})
        assert any("no images of test.h5" in note for note in audit.notes)
