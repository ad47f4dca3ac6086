"""The jobs behind evaluate and predict: honest scores, nothing dropped."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from featx import (
    ArraySource,
    ConversionError,
    FeatureExtractor,
    FeatureSet,
    HeadError,
    HeadSearch,
    HeadSpec,
    ImageClassifier,
    ModelFile,
    StoreError,
    StoreMismatchError,
    as_source,
    extract,
    save_head,
)
from featx.answering import answer, answers_on
from featx.embedding import embed
from featx.features.execution import LocalExecution
from featx.jobs import evaluate_model, predict_images, predict_to_file
from featx.model_jobs import export_model_file, finetune_model
from featx.search_jobs import save_search, search_features
from tests.conftest import TINY, make_images, write_class_folder

pytestmark = pytest.mark.backends

PROBABILITIES = ["probability", "probability_dark", "probability_light"]


class Somewhere(LocalExecution):
    address = "host:1"


def search():
    return HeadSearch("logistic_regression", cv=3, random_state=0)


@pytest.fixture
def features(tmp_path):
    images, y = make_images(40), ["dark", "light"] * 20
    return extract(as_source(images, y), FeatureExtractor(TINY), store=tmp_path / "store")


@pytest.fixture
def model(features, tmp_path):
    save_search(search_features(features, search()), tmp_path / "m.featx")
    return ModelFile.load(tmp_path / "m.featx")


class TestEvaluateModel:
    def test_images_it_was_fitted_on_are_left_out(self, features, model):
        found = evaluate_model(model, features)
        assert found.n_trained_on == 30
        assert found.evaluation.n_samples == 10
        assert not found.flatters
        assert found.evaluation.accuracy == model.metrics["test"]["accuracy"]

    def test_when_it_was_fitted_on_all_it_says_so(self, features, model):
        seen = np.flatnonzero(model.was_trained_on(features.image_sha256))
        chosen = FeatureSet(
            features.X[seen],
            features.y[seen],
            class_names=features.class_names,
            image_sha256=[features.image_sha256[row] for row in seen],
            spec=features.spec,
        )
        found = evaluate_model(model, chosen)
        assert found.flatters
        assert found.evaluation.n_samples == 30

    def test_classes_are_matched_by_name(self, features, model):
        swapped = FeatureSet(
            features.X,
            1 - features.y,
            class_names=["light", "dark"],
            image_sha256=features.image_sha256,
            spec=features.spec,
        )
        assert evaluate_model(model, swapped).evaluation.accuracy == 1.0

    def test_an_unknown_class_is_refused(self, features, model):
        features.class_names = ["dark", "grey"]
        with pytest.raises(HeadError, match="the classes grey; expected labels among dark, light"):
            evaluate_model(model, features)

    def test_features_of_another_extraction_are_refused_with_the_fields(self, model, tmp_path):
        source = as_source(make_images(4), ["dark", "light"] * 2)
        other = extract(source, FeatureExtractor(TINY, pooling="max"), store=tmp_path)
        with pytest.raises(StoreMismatchError, match="pooling: found max, expected avg"):
            evaluate_model(model, other)

    def test_features_without_a_spec_must_have_the_width(self, model):
        with pytest.raises(HeadError, match="3 features; expected the 12"):
            evaluate_model(model, FeatureSet(np.ones((2, 3), np.float32), [0, 1]))


class TestSubgroupsAndThresholds:
    @pytest.fixture
    def manifest(self, features, tmp_path):
        def write(rows, header="sample_id,kind"):
            path = tmp_path / "cells.csv"
            path.write_text("\n".join([header, *(f"{features.sample_ids[row]},{row % 2}" for row in rows)]))
            return path

        return write

    def test_columns_are_joined_by_sample_whatever_the_order(self, features, model, manifest):
        # Every second image is light, so the columns are the classes.
        found = evaluate_model(model, features, by=["kind"], manifest=manifest(range(39, -1, -1)))
        parts = {part.value: part.n_samples for part in found.evaluation.subgroups}
        n_samples = [one.n_samples for one in found.evaluation.per_class]
        assert parts == dict(zip("01", n_samples, strict=True))
        assert found.n_unlisted == found.to_dict()["n_unlisted"] == 0

    def test_samples_that_are_not_listed_are_counted_and_missing(self, features, model, manifest):
        tested = np.flatnonzero(~model.was_trained_on(features.image_sha256))
        found = evaluate_model(model, features, by=["kind"], manifest=manifest(tested[:7]))
        assert found.n_unlisted == 3
        assert found.evaluation.subgroups[-1].value == "missing"
        assert found.evaluation.subgroups[-1].n_samples == 3

    def test_a_manifest_of_other_samples_is_refused(self, features, model, tmp_path):
        (tmp_path / "other.csv").write_text("path,kind\nother.png,1\n")
        with pytest.raises(HeadError, match=r"other.csv, which lists other.png and none of the samples"):
            evaluate_model(model, features, by=["kind"], manifest=tmp_path / "other.csv")

    @pytest.mark.parametrize("options", [{"by": ["kind"]}, {"manifest": "cells.csv"}])
    def test_columns_need_a_manifest_and_the_other_way_round(self, features, model, options):
        with pytest.raises(HeadError, match="expected both, or none"):
            evaluate_model(model, features, **options)

    def test_a_threshold_takes_the_place_of_the_heads_decision(self, features, model):
        plain = evaluate_model(model, features).evaluation
        for threshold, label in ((0.0, 1), (1.0, 0)):
            found = evaluate_model(model, features, threshold=threshold).evaluation
            assert np.array(found.confusion_matrix)[:, label].sum() == 10
            assert found.log_loss == plain.log_loss
            assert found.curves.thresholds[0].threshold == threshold

    def test_a_threshold_that_cannot_be_is_refused(self, features, model):
        with pytest.raises(HeadError, match=r"the threshold 1\.5; expected a probability"):
            evaluate_model(model, features, threshold=1.5)
        head = LogisticRegression().fit(features.X[:30], np.arange(30) % 3)
        three = ModelFile(head, class_names=["dark", "light", "grey"])
        with pytest.raises(HeadError, match="a head of 3 classes; expected two classes"):
            evaluate_model(three, features, threshold=0.5)


def two_extractions(n_images, tmp_path):
    """Feature sets of the same images by two extractions, the second in another row order."""
    images, y = make_images(n_images), np.array(["dark", "light"] * (n_images // 2))
    ids = [f"{index:03d}" for index in range(n_images)]
    order = np.random.default_rng(0).permutation(n_images)
    sets = {}
    for name, pooling, rows in (("avg", "avg", np.arange(n_images)), ("max", "max", order)):
        source = as_source(images[rows], y[rows])
        source.sample_ids = [ids[row] for row in rows]
        sets[name] = extract(source, FeatureExtractor(TINY, pooling=pooling), store=tmp_path / "store")
    return sets


class TestHeadsOnSeveralExtractions:
    @pytest.fixture
    def sets(self, tmp_path):
        return two_extractions(40, tmp_path)

    @pytest.fixture
    def together(self, sets, tmp_path):
        only_all = HeadSearch("logistic_regression", cv=3, random_state=0, feature_blocks={"both": (0, 24)})
        result = search_features(sets, only_all)
        save_search(result, tmp_path / "m.featx")
        return ModelFile.load(tmp_path / "m.featx"), result

    def test_the_file_keeps_every_spec(self, sets, together):
        model, result = together
        assert model.extraction_spec is None
        assert model.specs == (sets["avg"].spec.to_json(), sets["max"].spec.to_json())
        assert result.combined.n_features == model.head.n_features_in_ == 24

    def test_the_files_are_matched_in_any_order(self, sets, together):
        model, result = together
        for names in (("avg", "max"), ("max", "avg")):
            found = evaluate_model(model, {name: sets[name] for name in names})
            assert (found.n_trained_on, found.evaluation.n_samples) == (30, 10)
            assert found.evaluation.log_loss == pytest.approx(result.test.log_loss)

    def test_a_missing_or_another_file_is_refused(self, sets, together):
        model, _ = together
        with pytest.raises(HeadError, match="1 feature file; expected 2, of tiny at 16 x 16, tiny at"):
            evaluate_model(model, sets["avg"])
        twice = {"avg": sets["avg"], "again": sets["avg"]}
        with pytest.raises(StoreMismatchError, match="pooling: found avg, expected max"):
            evaluate_model(model, twice)

    def test_a_file_that_the_head_does_not_need_is_left_aside(self, sets, together, tmp_path):
        model, result = together
        more = FeatureExtractor(TINY, input_size=(20, 20))
        third = extract(as_source(make_images(4), ["dark", "light"] * 2), more, store=tmp_path / "store")
        found = evaluate_model(model, {"third": third, **sets})
        assert found.evaluation.log_loss == pytest.approx(result.test.log_loss)

    def test_images_are_embedded_by_each(self, sets, together, tmp_path):
        model, _ = together
        classifier = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "store")
        images = make_images(40)
        expected = model.head.predict_proba(np.hstack([sets["avg"].X, aligned_max(sets)]))
        np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=1e-6)
        found = predict_images(classifier, as_source(images))
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
        classifier.save(tmp_path / "again.featx")
        assert ModelFile.load(tmp_path / "again.featx").specs == model.specs

    def test_it_has_no_keras_model_and_says_what_to_do(self, together, tmp_path):
        assert together
        classifier = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "store")
        calls = [
            classifier.to_keras,
            lambda: classifier.fine_tune(make_images(40), ["dark", "light"] * 20),
            lambda: export_model_file(tmp_path / "m.featx", tmp_path / "m.keras"),
            lambda: finetune_model(tmp_path / "m.featx", as_source(make_images(4), ["dark", "light"] * 2)),
        ]
        for call in calls:
            with pytest.raises(ConversionError, match=r"2 extractions .* search one of the feature files"):
                call()


def aligned_max(sets):
    rows = {sample_id: row for row, sample_id in enumerate(sets["max"].sample_ids)}
    return sets["max"].X[[rows[sample_id] for sample_id in sets["avg"].sample_ids]]


def test_views_of_an_image_are_evaluated_as_one(features):
    doubled = FeatureSet(
        np.repeat(features.X, 2, axis=0),
        np.repeat(features.y, 2),
        sample_ids=np.repeat(features.sample_ids, 2).tolist(),
        class_names=features.class_names,
        view=np.tile([0, 1], 40),
    )
    head = LogisticRegression().fit(features.X, features.y)
    found = evaluate_model(ModelFile(head, class_names=features.class_names), doubled)
    assert found.evaluation.n_samples == 40


class TestViews:
    """A model that was searched on four views of each image."""

    @pytest.fixture
    def by_views(self, tmp_path):
        source = as_source(make_images(40), ["dark", "light"] * 20)
        return {
            n_views: extract(source, FeatureExtractor(TINY, n_views=n_views), store=tmp_path / "store")
            for n_views in (1, 2, 4)
        }

    @pytest.fixture
    def model(self, by_views, tmp_path):
        # One candidate: which of several that do equally well is the best is of no matter here.
        head = HeadSpec("logistic_regression", LogisticRegression(), {"C": [10.0]})
        searcher = HeadSearch(head, cv=3, random_state=0)
        save_search(search_features(by_views[4], searcher), tmp_path / "m.featx")
        return ModelFile.load(tmp_path / "m.featx")

    def test_it_is_evaluated_on_any_number_of_them(self, by_views, model):
        found = {n_views: evaluate_model(model, features) for n_views, features in by_views.items()}
        assert {(each.n_trained_on, each.evaluation.n_samples) for each in found.values()} == {(30, 10)}
        assert found[4].evaluation.log_loss == pytest.approx(model.metrics["test"]["log_loss"])
        assert len({each.evaluation.log_loss for each in found.values()}) == 3

    def test_a_model_of_one_view_is_evaluated_on_several(self, by_views, tmp_path):
        save_search(search_features(by_views[1], search()), tmp_path / "one.featx")
        found = evaluate_model(ModelFile.load(tmp_path / "one.featx"), by_views[4])
        assert (found.n_trained_on, found.evaluation.n_samples) == (30, 10)

    def test_of_several_files_that_serve_it_takes_its_own(self, by_views, model):
        named = {str(n_views): features for n_views, features in by_views.items()}
        assert evaluate_model(model, named) == evaluate_model(model, by_views[4])

    def test_the_file_lists_every_image_once(self, model):
        assert len(model.training_images) == len(set(model.training_images)) == 30

    def test_another_extraction_is_refused_all_the_same(self, model, tmp_path):
        source = as_source(make_images(4), ["dark", "light"] * 2)
        other = extract(source, FeatureExtractor(TINY, pooling="max", n_views=4), store=tmp_path)
        with pytest.raises(StoreMismatchError, match="pooling: found max, expected avg") as caught:
            evaluate_model(model, other)
        assert "n_views" not in str(caught.value)

    def test_predictions_are_one_an_image_and_failures_keep_their_place(self, model, tmp_path):
        folder = write_class_folder(tmp_path / "images", 12)
        for name in ("dark/00.png", "dark/00-004.png", "light/zz.jpg"):
            (folder / name).write_bytes(b"")
        classifier = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "store")
        found = predict_images(classifier, as_source(folder), on_error="skip")
        good = [index for index, error in enumerate(found.errors) if not error]
        names = [found.sample_ids[index] for index in good]
        assert len(names) == 11
        assert [found.labels[index] for index in good] == [name.partition("/")[0] for name in names]
        for index in (good[0], good[3], good[-1]):
            alone = extract(folder / found.sample_ids[index], classifier.extractor_, store=None)
            expected = model.head.predict_proba(alone.X).mean(axis=0)
            np.testing.assert_allclose(found.probabilities[index], expected, rtol=1e-5)
        assert (found.report.n_samples, found.report.n_views) == (14, 4)

    def test_fine_tuning_trains_on_the_images_of_the_head_and_tests_on_the_others(self, model, tmp_path):
        assert model.specs
        source = as_source(make_images(40), ["dark", "light"] * 20)
        options = {"unfreeze": "none", "epochs": 1, "validation_size": 0.3}
        found = finetune_model(tmp_path / "m.featx", source, store=tmp_path / "store", **options)
        assert found.frozen_test.n_samples == 10


class TestPredictImages:
    @pytest.fixture
    def classifier(self, model, tmp_path):
        classifier = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "store")
        assert classifier.classes_.tolist() == model.class_names
        return classifier

    @pytest.fixture
    def spoiled(self, tmp_path):
        folder = write_class_folder(tmp_path / "images", 12)
        for name in ("dark/00.png", "dark/00-003.png", "light/zz.jpg"):
            (folder / name).write_bytes(b"")
        return as_source(folder)

    def test_failed_images_keep_their_place(self, classifier, spoiled):
        found = predict_images(classifier, spoiled, on_error="skip")
        assert found.sample_ids == spoiled.sample_ids
        for sample_id, label, row, error in zip(
            found.sample_ids, found.labels, found.probabilities, found.errors, strict=True
        ):
            if sample_id in {"dark/00.png", "dark/00-003.png", "light/zz.jpg"}:
                assert (label, error, np.isnan(row).all()) == (None, "empty file", True)
            else:
                assert (label, error) == (sample_id.partition("/")[0], "")
                assert row.sum() == pytest.approx(1)

    def test_the_csv_has_a_row_for_every_image(self, classifier, spoiled, tmp_path):
        predict_images(classifier, spoiled, on_error="skip").save(tmp_path / "p.csv")
        with (tmp_path / "p.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["sample_id"] for row in rows] == spoiled.sample_ids
        names = ["sample_id", "label", "probability", "probability_dark", "probability_light", "error"]
        assert list(rows[0]) == names
        failed = next(row for row in rows if row["sample_id"] == "dark/00.png")
        assert failed["label"] == failed["probability"] == ""
        good = next(row for row in rows if not row["error"])
        assert float(good["probability"]) == max(float(good[name]) for name in names[3:5])

    @pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
    def test_a_file_is_the_same_whether_or_not_it_passes_through_memory(
        self, classifier, spoiled, tmp_path, name, monkeypatch
    ):
        expected = predict_images(classifier, spoiled, on_error="skip")
        expected.save(tmp_path / f"whole-{name}")
        # Two rows a block; failures stand at the start, in the middle and at the end.
        monkeypatch.setattr("featx.features.rows._BLOCK_BYTES", 2 * 12 * 4)
        asked = []
        monkeypatch.setattr(
            "featx.answering.answer", lambda head, block: asked.append(len(block.X)) or answer(head, block)
        )
        monkeypatch.setattr(FeatureSet, "X", property(lambda _: pytest.fail("all in memory")))
        report = predict_to_file(classifier, spoiled, tmp_path / name, on_error="skip")
        assert asked == [2] * 6
        assert (report.n_samples, report.n_failed) == (15, 3)
        if name == "p.csv":
            assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
        else:
            found, whole = (pq.read_table(tmp_path / each) for each in (name, f"whole-{name}"))
            assert found.drop(PROBABILITIES).equals(whole.drop(PROBABILITIES))
            for column in PROBABILITIES:
                np.testing.assert_allclose(
                    found[column].to_numpy(), whole[column].to_numpy(), atol=1e-6, equal_nan=True
                )
            assert found["error"].null_count == 12
            assert found["label"].null_count == found["probability_dark"].null_count == 3

    def test_a_file_that_cannot_be_is_refused_before_an_image_is_read(self, classifier, spoiled, tmp_path):
        spoiled.read = lambda *_: pytest.fail("read")
        with pytest.raises(StoreError, match=r"p\.json; expected a name that ends in"):
            predict_to_file(classifier, spoiled, tmp_path / "p.json")
        with pytest.raises(StoreError, match="add a file name"):
            predict_to_file(classifier, spoiled, tmp_path)

    def test_a_cluster_is_asked_to_embed_and_to_answer(self, classifier, monkeypatch):
        cluster, given = Somewhere(), []

        def record(name, function):
            def called(*arguments, cluster, **options):
                given.append((name, cluster))
                return function(*arguments, **options)

            monkeypatch.setattr(f"featx.jobs.{name}", called)

        record("embed", embed)
        record("answers_on", answers_on)
        source = as_source(make_images(4))
        found = predict_images(classifier, source, cluster=cluster)
        assert given == [("embed", cluster), ("answers_on", "host:1")]
        np.testing.assert_allclose(found.probabilities, classifier.predict_proba(source), atol=1e-6)

    def test_plain_values_leave_failures_to_their_list(self, classifier, spoiled):
        details = predict_images(classifier, spoiled, on_error="skip").to_dict()
        assert (len(details["predictions"]), details["n_failed"], details["n_samples"]) == (12, 3, 15)


def test_samples_of_one_name_keep_their_own_predictions(tmp_path):
    images, y = make_images(12).astype(float), ["dark", "light"] * 6
    classifier = ImageClassifier(TINY, "logistic_regression", store=tmp_path, cv=2)
    classifier.fit(ArraySource(images, y, value_range=(0, 255)))
    expected = classifier.predict_proba(ArraySource(images[1:2], value_range=(0, 255)))[0]
    images[0] = np.nan
    source = ArraySource(images[:2], value_range=(0, 255))
    # Built-in sources refuse or prevent this; a source of somebody's own may not.
    source.sample_ids = ["a", "a"]
    found = predict_images(classifier, source, on_error="skip")
    assert [bool(error) for error in found.errors] == [True, False]
    assert found.labels == [None, "light"]
    np.testing.assert_allclose(found.probabilities[1], expected, rtol=1e-5)


def test_a_head_saved_without_names_is_evaluated_by_the_classes_it_knows(features, tmp_path):
    head = LogisticRegression().fit(features.X, np.array(features.class_names)[features.y])
    save_head(head, tmp_path / "m.featx")
    found = evaluate_model(ModelFile.load(tmp_path / "m.featx"), features)
    assert found.evaluation.n_samples == len(features)


def test_features_without_digests_are_nobodys_training_images(features):
    alone = FeatureSet(features.X, features.y, class_names=features.class_names)
    head = LogisticRegression().fit(alone.X, alone.y)
    model = ModelFile(head, class_names=alone.class_names, training_images=alone.image_sha256)
    found = evaluate_model(model, alone)
    assert (found.flatters, found.n_trained_on) == (False, 0)
