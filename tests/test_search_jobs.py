"""The job behind search: honest splits, all features in one leaderboard, the model that was scored."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx import (
    FeatureExtractor,
    FeatureSet,
    HeadError,
    HeadSearch,
    ImageClassifier,
    ModelFile,
    StoreError,
    as_source,
    audit_features,
    extract,
    holdout_split,
)
from featx.audit_jobs import audit_feature_sets
from featx.insight.exclusions import Exclusions
from featx.insight.folds import fold_interval, fold_p_values
from featx.jobs import evaluate_model
from featx.search_jobs import save_search, search_features
from tests.conftest import TINY, make_images


def search(**options):
    return HeadSearch("logistic_regression", **{"cv": 3, "random_state": 0, **options})


@pytest.fixture
def features(tmp_path):
    images, y = make_images(40), ["dark", "light"] * 20
    return extract(as_source(images, y), FeatureExtractor(TINY), store=tmp_path / "store")


def test_the_test_part_is_not_trained_on(features):
    result = search_features(features, search(), test_size=0.25)
    assert len(result.test_rows) == 10
    assert not set(result.train_rows) & set(result.test_rows)
    assert result.test.n_samples == 10
    assert result.test.class_names == ("dark", "light")


def test_copies_of_an_image_are_on_one_side(tmp_path):
    images = make_images(40)
    doubled = as_source(np.concatenate([images, images]), ["dark", "light"] * 40)
    features = extract(doubled, FeatureExtractor(TINY), store=tmp_path)
    result = search_features(features, search())
    digests = np.array(features.image_sha256)
    assert not set(digests[result.train_rows]) & set(digests[result.test_rows])


def test_a_test_size_of_zero_trains_on_everything(features):
    result = search_features(features, search(), test_size=0)
    assert result.test is None
    assert len(result.train_rows) == 40
    assert result.to_dict()["test"] is None


def test_unlabelled_rows_are_left_out_and_counted(features):
    features.y[:5] = -1
    result = search_features(features, search())
    assert result.n_unlabelled == 5
    assert min(result.train_rows.min(), result.test_rows.min()) >= 5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full(40, -1), "without labels"),
        (np.zeros(40, int), r"one class only \(dark\)"),
        (np.array([1, 1] + [0] * 38), "the class light with 2 samples; expected 3 samples"),
    ],
)
def test_labels_that_cannot_serve_are_refused_by_name(features, labels, message):
    features.y[:] = labels
    with pytest.raises(HeadError, match=message):
        search_features(features, search(), test_size=0)


def test_the_saved_model_is_the_one_that_was_scored(features, tmp_path):
    result = search_features(features, search())
    save_search(result, tmp_path / "m.featx")
    model = ModelFile.load(tmp_path / "m.featx")
    test = features.X[result.test_rows]
    np.testing.assert_array_equal(model.head.predict_proba(test), result.search.predict_proba(test))
    assert model.metrics["test"]["accuracy"] == result.test.accuracy
    assert model.class_names == ["dark", "light"]
    assert model.extraction_spec == features.spec.to_json()


# --------------------------------------------------------------------------- several sets of features

RNG = np.random.default_rng(0)


def noise(n_samples=60, n_features=3, **options):
    """Features that tell nothing, of samples named alike."""
    ids = [f"s{index}" for index in range(n_samples)]
    X = RNG.normal(size=(n_samples, n_features)).astype(np.float32)
    return FeatureSet(X, np.arange(n_samples) % 2, sample_ids=ids, class_names=["no", "yes"], **options)


def telling(n_samples=60, order=None, **options):
    """Features whose first column is the class; rows in any order."""
    ids = np.array([f"s{index}" for index in range(n_samples)])
    order = np.arange(n_samples) if order is None else order
    y = (np.arange(n_samples) % 2)[order]
    X = np.stack([y * 4.0, RNG.normal(size=n_samples)], axis=1).astype(np.float32)
    return FeatureSet(X, y, sample_ids=ids[order].tolist(), class_names=["no", "yes"], **options)


def test_files_alone_and_together_are_in_one_leaderboard():
    sets = {"noise": noise(), "good": telling(order=RNG.permutation(60))}
    result = search_features(sets, search())
    assert {row["features"] for row in result.candidates()} == {"noise", "good", "noise + good"}
    assert len(result.candidates()) == 18
    assert result.search.best_score_ == 1.0
    assert result.test.accuracy == 1.0
    assert result.features == result.search.best_features_ != "noise"
    alone = search_features(sets, search(), combine="none")
    assert {row["features"] for row in alone.candidates()} == {"noise", "good"}
    assert alone.features == "good"


def test_one_search_serves_other_features_next():
    searcher = search()
    first = search_features({"a": noise(), "b": telling()}, searcher)
    then = search_features({"c": noise(), "d": telling()}, searcher)
    assert {row["features"] for row in first.candidates()} == {"a", "b", "a + b"}
    assert {row["features"] for row in then.candidates()} == {"c", "d", "c + d"}
    assert searcher.feature_blocks is None
    alone = search_features(telling(), searcher)
    assert alone.search is not searcher
    assert not hasattr(searcher, "best_estimator_")


def test_a_file_that_won_alone_is_the_only_one_that_is_listed(features, tmp_path):
    ids = features.sample_ids
    useless = FeatureSet(
        np.zeros((40, 5), np.float32) + np.arange(40, dtype=np.float32)[:, None] % 3,
        features.y,
        sample_ids=ids,
        class_names=features.class_names,
        image_sha256=features.image_sha256,
    )
    result = search_features({"useless": useless, "tiny": features}, search(), combine="parts")
    assert result.features == "tiny"
    save_search(result, tmp_path / "m.featx")
    model = ModelFile.load(tmp_path / "m.featx")
    assert model.specs == (features.spec.to_json(),)
    assert model.head.n_features_in_ == features.n_features
    assert evaluate_model(model, features).evaluation.n_samples == 10
    assert model.metrics["features"] == "tiny"


class TestParts:
    @pytest.fixture
    def features(self, tmp_path):
        source = as_source(make_images(40), ["dark", "light"] * 20)
        extractor = FeatureExtractor(TINY, pooling="avg+max", taps=["first", "top"], input_size=(20, 24))
        return extract(source, extractor, store=tmp_path / "store")

    def test_every_tap_and_pooling_is_searched(self, features):
        result = search_features({"f.h5": features}, search())
        names = {row["features"] for row in result.candidates()}
        assert names == {"f.h5", *(f"f.h5[{part}]" for part in features.feature_blocks)}
        assert len(names) == 1 + len(features.feature_blocks) > 3
        whole = search_features({"f.h5": features}, search(), combine="none")
        assert whole.features == "f.h5"
        assert {row["features"] for row in whole.candidates()} == {"all"}

    @pytest.mark.parametrize("part", [1, 2])
    def test_a_head_on_a_part_takes_the_whole_file(self, features, part, tmp_path):
        start, stop = list(features.feature_blocks.values())[part]
        result = search_features(features, search(feature_blocks={"part": (start, stop)}))
        save_search(result, tmp_path / "m.featx")
        model = ModelFile.load(tmp_path / "m.featx")
        assert model.head.n_features_in_ == features.n_features
        assert model.extraction_spec == features.spec.to_json()
        expected = result.search.predict_proba(features.X)
        np.testing.assert_array_equal(model.head.predict_proba(features.X), expected)
        classifier = ImageClassifier.load(tmp_path / "m.featx", store=tmp_path / "store")
        images = make_images(40)
        np.testing.assert_allclose(classifier.predict_proba(images), expected, atol=1e-6)
        model = classifier.to_keras()
        np.testing.assert_allclose(
            model.predict_on_batch(images), classifier.predict_proba(images), atol=1e-5
        )


def test_sets_of_other_samples_are_refused():
    with pytest.raises(StoreError, match="two without 10 samples of one"):
        search_features({"one": noise(60), "two": noise(50)}, search())
    with pytest.raises(StoreError, match="combine='some'"):
        search_features(noise(), search(), combine="some")


def test_unlabelled_rows_of_several_sets_are_left_out():
    one, two = noise(), telling()
    one.y[:6] = two.y[:6] = -1
    result = search_features({"one": one, "two": two}, search())
    assert result.n_unlabelled == 6
    assert sorted([*result.train_rows, *result.test_rows]) == list(range(6, 60))


# ---------------------------------------------------------------------------------------- memory


def test_one_set_is_not_copied_where_every_row_is_trained_on(monkeypatch):
    given = telling()
    seen = []
    fit = HeadSearch.fit

    def watched(self, X, *rest, **options):
        seen.append(X)
        return fit(self, X, *rest, **options)

    monkeypatch.setattr(HeadSearch, "fit", watched)
    search_features(given, search(), test_size=0)
    assert seen[0] is given.X
    search_features(given, search())
    assert seen[1].shape == (45, 2)


@pytest.mark.parametrize("dtypes", [("float16", "float16"), ("float16", "float32")])
def test_half_precision_stays_where_every_set_has_it(dtypes):
    sets = {
        name: FeatureSet(
            given.X.astype(dtype), given.y, sample_ids=given.sample_ids, class_names=given.class_names
        )
        for name, given, dtype in zip(("a", "b"), (noise(), telling()), dtypes, strict=True)
    }
    result = search_features(sets, search())
    read = result.combined.read(np.array([5, 3]))
    assert read.dtype == np.result_type(*dtypes)
    np.testing.assert_array_equal(read, np.hstack([sets["a"].X[[5, 3]], sets["b"].X[[5, 3]]]))


# ------------------------------------------------------------------------- views, splits, honest scores


def with_views(n_images=30):
    y = np.repeat(np.arange(n_images) % 2, 2)
    X = np.stack([y * 4.0 + np.tile([-0.5, 0.5], n_images), RNG.normal(size=2 * n_images)], axis=1)
    ids = np.repeat([f"{index}.jpg" for index in range(n_images)], 2).tolist()
    view = np.tile([0, 1], n_images)
    return FeatureSet(X.astype(np.float32), y, sample_ids=ids, class_names=["no", "yes"], view=view)


def test_views_are_one_image_in_every_score():
    given = with_views()
    result = search_features(given, search(), nested=3)
    ids = np.array(given.sample_ids)
    assert not set(ids[result.train_rows]) & set(ids[result.test_rows])
    assert result.test.n_samples == len(result.test_rows) // 2
    assert result.nested.mean == 1.0


def test_views_without_a_label_are_one_sample():
    given = with_views()
    given.y[:6] = -1
    assert search_features(given, search()).n_unlabelled == 3


def test_a_hashed_test_part_stays_put_when_samples_are_added():
    before = search_features(noise(60), search(), assignment="hashed")
    after = search_features(noise(90), search(), assignment="hashed")
    assert before.test_rows.tolist() == [row for row in after.test_rows.tolist() if row < 60]
    given = noise(60)
    _, expected = holdout_split(given.y, given.groups, assignment="hashed")
    assert before.test_rows.tolist() == expected.tolist()


def test_nested_scores_are_of_the_training_part():
    result = search_features(telling(), search(), nested=4)
    assert len(result.nested.scores) == 4
    assert json.loads(json.dumps(result.to_dict()["nested"]))["mean"] == result.nested.mean == 1.0
    with pytest.raises(HeadError, match="for 40 folds"):
        search_features(telling(), search(), nested=40)


def test_several_scores_stand_beside_each_other():
    searcher = search(scoring=["roc_auc", "accuracy"], refit="roc_auc")
    first = search_features(telling(), searcher).candidates()[0]
    assert first["mean_test_roc_auc"] == first["mean_test_score"]
    assert 0 < first["mean_test_accuracy"] <= 1


# ------------------------------------------------------------------------------------ what folds can tell


def test_candidates_have_intervals_and_are_compared_with_the_best():
    result = search_features(noisy(), search(cv=4))
    table, rows = result.search.cv_results_, result.candidates()
    scores = np.stack([table[f"split{fold}_test_score"] for fold in range(4)], axis=1)
    assert result.search.test_train_ratio_ == pytest.approx(1 / 3, abs=0.02)
    best = result.search.best_index_
    assert rows[0]["score_ci"] == fold_interval(scores[best], result.search.test_train_ratio_)
    assert rows[0]["score_ci"][0] < result.search.best_score_ < rows[0]["score_ci"][1]
    assert rows[0]["p_value"] == 1
    expected = fold_p_values(scores, best, result.search.test_train_ratio_, result.search.n_scored_)
    assert sorted(row["p_value_alone"] for row in rows) == pytest.approx(sorted(expected))
    found = json.loads(json.dumps(result.to_dict(), default=str))
    assert found["cv_score_ci"] == list(rows[0]["score_ci"])


def test_candidates_that_halving_judged_on_fewer_samples_are_not_compared():
    result = search_features(noisy(2000), search(cv=2, strategy="halving"))
    rows = result.candidates()
    n_resources = result.search.cv_results_["n_resources"]
    assert len(set(n_resources)) > 1
    assert sum(row["p_value"] is not None for row in rows) == (n_resources == n_resources.max()).sum()
    assert all(row["score_ci"] is not None for row in rows)


def test_further_scores_have_intervals_of_their_own():
    result = search_features(noisy(), search(cv=3, scoring=["roc_auc", "accuracy"], refit="roc_auc"))
    row = result.candidates()[0]
    assert row["score_ci"] == row["ci_test_roc_auc"]
    assert row["ci_test_accuracy"][0] < row["mean_test_accuracy"] < row["ci_test_accuracy"][1]


def test_a_nested_mean_has_an_interval():
    result = search_features(noisy(), search(), nested=3)
    low, high = result.nested_ci
    assert low < result.nested.mean < high
    assert result.to_dict()["nested"]["mean_ci"] == (low, high)
    assert search_features(noisy(), search()).nested_ci is None


def test_the_model_file_keeps_figures_and_no_curves(tmp_path):
    result = search_features(noisy(), search())
    save_search(result, tmp_path / "m.featx")
    metrics = ModelFile.load(tmp_path / "m.featx").metrics
    assert result.test.curves is not None
    assert "curves" not in metrics["test"]
    assert metrics["test"]["brier"] == result.test.brier
    assert len(json.dumps(metrics)) < 4000


def noisy(n_samples=120):
    """Features by which classes can be told in part."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % 2
    X = rng.normal(size=(n_samples, 4)).astype(np.float32)
    X[:, 0] += y
    return FeatureSet(X, y, class_names=["dark", "light"])


class TestExclude:
    """Samples that a file names are left out, everywhere or of the training part; no model says otherwise."""

    def excluding(self, tmp_path, features, rows, **options):
        path = tmp_path / "x.csv"
        path.write_text("sample_id,exclude\n" + "".join(f"{name},{scope}\n" for name, scope in rows))
        return search_features(features, search(), exclude=path, **options)

    def test_everywhere_is_as_if_they_were_not_there(self, tmp_path, features):
        rows = [(features.sample_ids[row], "everywhere") for row in (0, 1, 2, 7)]
        result = self.excluding(tmp_path, features, rows)
        assert not {0, 1, 2, 7} & {*result.train_rows.tolist(), *result.test_rows.tolist()}
        assert len(result.train_rows) + len(result.test_rows) == 36
        assert result.to_dict()["excluded"] == {"n_everywhere": 4, "n_training": 0, "n_unknown": 0}

    def test_of_the_training_part_alone_the_test_part_stays_as_it_was(self, tmp_path, features):
        before = search_features(features, search())
        named = [*before.train_rows[:3].tolist(), *before.test_rows[:2].tolist()]
        rows = [(features.sample_ids[row], "training") for row in named] + [("nobody", "training")]
        result = self.excluding(tmp_path, features, rows)
        assert result.test_rows.tolist() == before.test_rows.tolist()
        assert result.train_rows.tolist() == before.train_rows[3:].tolist()
        assert result.to_dict()["excluded"] == {"n_everywhere": 0, "n_training": 3, "n_unknown": 1}
        assert before.to_dict()["excluded"] is None

    def test_the_model_file_knows_what_was_trained_on(self, tmp_path, features):
        rows = [
            (name, ("everywhere", "training")[row % 2]) for row, name in enumerate(features.sample_ids[:8])
        ]
        result = self.excluding(tmp_path, features, rows, test_size=0)
        save_search(result, tmp_path / "m.featx")
        model = ModelFile.load(tmp_path / "m.featx")
        assert model.was_trained_on(features.image_sha256).tolist() == [False] * 8 + [True] * 32
        found = evaluate_model(model, features)
        assert found.flatters
        assert (found.evaluation.n_samples, found.n_trained_on, found.n_excluded) == (32, 32, 8)

    def test_a_model_is_evaluated_on_what_the_search_tested(self, tmp_path):
        images = make_images(40)
        twice = as_source(np.concatenate([images, images]), ["dark", "light"] * 40)
        features = extract(twice, FeatureExtractor(TINY), store=tmp_path / "store")
        before = search_features(features, search())
        # Of each kind of row: copies of images that stay in the test part, too.
        tested, trained = before.test_rows, before.train_rows
        rows = [(str(row), "everywhere") for row in (*tested[tested >= 40][:5], *trained[:4])]
        rows += [(str(row), "training") for row in (*trained[9:12], *tested[:2])]
        result = self.excluding(tmp_path, features, rows)
        save_search(result, tmp_path / "m.featx")
        model = ModelFile.load(tmp_path / "m.featx")
        found = evaluate_model(model, features)
        assert found.evaluation.n_samples == result.test.n_samples == len(tested) - 5
        assert found.evaluation.accuracy == result.test.accuracy
        assert not model.was_excluded(features.image_sha256, features.sample_ids)[result.test_rows].any()
        assert found.n_excluded + found.n_trained_on + found.evaluation.n_samples == 80

    def test_what_a_cleaned_training_part_flatters_is_said(self, tmp_path, features):
        before = search_features(features, search())
        named = [(str(row), "training") for row in before.train_rows[:3]]
        (note,) = self.excluding(tmp_path, features, named).to_dict()["notes"]
        assert "without 3 excluded samples, and flatter: quote the figures of the held-out part" in note
        (note,) = self.excluding(tmp_path, features, named, test_size=0).notes
        assert "no figure here is free of that" in note
        assert before.notes == self.excluding(tmp_path, features, [("1", "everywhere")]).notes == ()

    def test_all_of_the_test_part_is_too_much(self, tmp_path, features):
        rows = [(str(row), "everywhere") for row in search_features(features, search()).test_rows]
        with pytest.raises(HeadError, match="all 10 samples of the test part excluded"):
            self.excluding(tmp_path, features, rows)

    def test_all_views_of_an_image_go(self, tmp_path):
        source = as_source(make_images(40), ["dark", "light"] * 20)
        features = extract(source, FeatureExtractor(TINY, n_views=2), store=tmp_path / "store")
        result = self.excluding(tmp_path, features, [("3", "everywhere"), ("4", "training")], test_size=0)
        assert len(result.train_rows) == 76
        assert not {6, 7, 8, 9} & set(result.train_rows.tolist())
        assert result.excluded.n_training == 1

    def test_of_several_feature_sets_and_with_nested_folds(self, tmp_path, features):
        two = FeatureSet(
            features.X[::-1].copy(),
            features.y[::-1],
            sample_ids=features.sample_ids[::-1],
            class_names=features.class_names,
        )
        rows = [("0", "everywhere"), ("1", "training")]
        result = self.excluding(tmp_path, {"one": features, "two": two}, rows, test_size=0, nested=2)
        assert sorted(result.train_rows.tolist()) == list(range(2, 40))
        assert len(result.nested.scores) == 2

    def test_ids_with_the_name_of_their_file(self, tmp_path, features):
        rows = [("train:0", "everywhere"), ("test:1", "everywhere"), ("2", "everywhere")]
        result = self.excluding(tmp_path, {"a/train.h5": features}, rows)
        assert (result.excluded.n_everywhere, result.excluded.n_unknown) == (2, 1)

    def test_an_undecodable_file_name_is_an_escape_in_the_file(self, tmp_path, features):
        features.sample_ids[5] = "bad \udce9.png"
        result = self.excluding(tmp_path, features, [("bad \\udce9.png", "everywhere")])
        assert (result.excluded.n_everywhere, result.excluded.n_unknown) == (1, 0)

    def test_a_journal_is_of_the_samples_that_are_left(self, tmp_path, features):
        path = tmp_path / "journal"
        exclude = Exclusions(training=frozenset(features.sample_ids[:6]))
        kept = search_features(features, search(journal=path), exclude=exclude, test_size=0)
        n_bytes = path.stat().st_size
        again = search_features(features, search(journal=path), exclude=exclude, test_size=0)
        assert path.stat().st_size == n_bytes
        assert again.search.best_score_ == kept.search.best_score_
        search_features(features, search(journal=path), test_size=0)
        assert path.stat().st_size > n_bytes * 1.5

    def test_too_much_is_refused(self, tmp_path, features):
        everything = [(name, "everywhere") for name in features.sample_ids]
        with pytest.raises(HeadError, match="all 40 samples with a label excluded everywhere"):
            self.excluding(tmp_path, features, everything)
        dark = [(name, "training") for name in features.sample_ids[::2]]
        with pytest.raises(HeadError, match="none of the class dark left to train on"):
            self.excluding(tmp_path, features, dark)
        with pytest.raises(HeadError, match="expected a CSV file"):
            search_features(features, search(), exclude=tmp_path / "absent.csv")


class TestJudgedLabels:
    """What labels of the test part spoke against is not left out: its absence would tell of these."""

    @staticmethod
    def written(tmp_path, rows, header="sample_id,exclude,kind,part"):
        path = tmp_path / "x.csv"
        path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
        return path

    def test_random_labels_stay_at_chance(self):
        X = load_digits(return_X_y=True)[0].astype(np.float32)
        scores = []
        for seed in range(8):
            y = np.random.default_rng(seed).permutation(np.arange(len(X)) % 2)
            features = FeatureSet(X, y, class_names=["a", "b"])
            audit = audit_feature_sets(features, random_state=seed)
            result = search_features(features, HeadSearch("knn", cv=2), exclude=audit, random_state=seed)
            assert result.excluded.n_training > 400
            assert result.search.best_score_ > 0.6
            scores.append(result.test.accuracy)
        # Eight parts of 450 coins: 0.0083 is a deviation of the mean. Judged by all labels it was 0.57.
        assert abs(np.mean(scores) - 0.5) < 3 * 0.5 / np.sqrt(8 * 450)

    def test_an_audit_of_other_parts_is_refused(self, tmp_path):
        features = noisy()
        options = {"random_state": 3, "test_size": 0.4, "assignment": "hashed"}
        audit = audit_feature_sets(features, **options)
        audit.save_csv(tmp_path / "a.csv")
        result = search_features(features, search(), exclude=tmp_path / "a.csv", **options)
        assert result.excluded.n_training > 3
        for exclude in (audit, tmp_path / "a.csv"):
            for other in ({"random_state": 4}, {"test_size": 0.2}, {"assignment": "stratified"}):
                with pytest.raises(HeadError, match=r"an audit of other parts.*the same --test-size"):
                    search_features(features, search(), exclude=exclude, **(options | other))
            search_features(features, search(), exclude=exclude, test_size=0)

    def test_labels_judged_by_all_are_refused_where_some_are_set_aside(self):
        features = noisy()
        for audit in (audit_features(features), audit_feature_sets(features, test_size=0)):
            with pytest.raises(HeadError, match="all labels were asked about"):
                search_features(features, search(), exclude=audit)
            assert search_features(features, search(), exclude=audit, test_size=0).excluded.n_training > 3

    def test_a_list_of_ones_own_is_ones_own_judgement(self, tmp_path):
        rows = [("1", "training", "outlier", ""), ("2", "training", "", "")]
        result = search_features(noisy(), search(), exclude=self.written(tmp_path, rows))
        assert result.excluded.n_unknown == 0
        plain = self.written(tmp_path, [("1", "training")], "sample_id,exclude")
        assert search_features(noisy(), search(), exclude=plain).test.n_samples == 30
