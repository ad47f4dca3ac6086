"""The job behind compare: images that neither model saw, classes by name, features by extraction."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from featx import FeatureSet, HeadError, ModelFile, StoreError, compare
from featx.comparison_jobs import compare_models

NAMES = ["cat", "dog", "fox"]


def feature_set(n_samples=90, seed=0, n_features=6, class_names=NAMES, **options):
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % 3
    X = (rng.normal(size=(n_samples, n_features)) + np.eye(n_features)[y]).astype(np.float32)
    sample_ids = [f"{row:03d}.png" for row in range(n_samples)]
    known = {"sample_ids": sample_ids, "image_sha256": [f"{row:064d}"[::-1] for row in range(n_samples)]}
    return FeatureSet(X, y, class_names=class_names, **known | options)


def model_on(features, rows, head=None, names=NAMES):
    """Fitted on some rows, its classes numbered in the order of the names."""
    y = np.array([names.index(features.class_names[label]) for label in features.y])
    head = (head or LogisticRegression()).fit(features.X[rows], y[rows])
    seen = [features.image_sha256[row] for row in rows]
    return ModelFile(head, class_names=names, training_images=seen)


@pytest.fixture
def features():
    return feature_set()


@pytest.fixture
def models(features):
    a, b = model_on(features, np.arange(40)), model_on(features, np.arange(20, 50), GaussianNB())
    return ("a.featx", a), ("b.featx", b)


def test_images_that_either_saw_are_left_out(features, models):
    found = compare_models(*models, features)
    assert (found.n_trained_on, found.flatters) == (50, False)
    rows = np.arange(50, 90)
    expected = compare(models[0][1].head, models[1][1].head, features.X[rows], features.y[rows])
    assert found.comparison.n_samples == 40
    assert found.comparison.p_value == expected.p_value
    assert found.comparison.accuracy == expected.accuracy
    assert found.comparison.log_loss == expected.log_loss
    # By rows of the feature set.
    assert found.comparison.only_a_right == tuple(50 + row for row in expected.only_a_right)


def test_when_none_is_left_the_figures_flatter(features):
    models = [(name, model_on(features, rows)) for name, rows in (("a", range(50)), ("b", range(40, 90)))]
    found = compare_models(*models, features)
    assert (found.flatters, found.n_trained_on, found.comparison.n_samples) == (True, 90, 90)


def test_a_model_that_says_nothing_of_its_images_is_named(features, models):
    silent = ModelFile(models[1][1].head, class_names=NAMES)
    found = compare_models(models[0], ("silent", silent), features)
    assert found.unknown == ("silent",)
    assert found.n_trained_on == 40


def test_classes_are_matched_by_name(features):
    rows = np.arange(40)
    a, b = model_on(features, rows), model_on(features, rows, names=["fox", "cat", "dog"])
    found = compare_models(("a", a), ("b", b), features)
    assert found.comparison.n_only_a_right == found.comparison.n_only_b_right == 0
    assert found.comparison.accuracy.a > 0.4
    assert found.comparison.log_loss.difference == pytest.approx(0, abs=1e-4)
    assert found.comparison.roc_auc.difference == pytest.approx(0, abs=1e-4)


def test_other_classes_are_refused(features):
    a, b = model_on(features, np.arange(40)), model_on(features, np.arange(40))
    b = ModelFile(b.head, class_names=["cat", "dog", "wolf"])
    only_shared = FeatureSet(features.X[:80:3], [0] * 27, class_names=["cat"])
    expected = r"a without wolf and b without fox; expected models of the same classes"
    with pytest.raises(HeadError, match=expected):
        compare_models(("a", a), ("b", b), only_shared)


def test_unlabelled_images_are_left_out(features, models):
    features.y[60:] = -1
    assert compare_models(*models, features).comparison.n_samples == 10


def test_differing_samples_are_told_in_words(features, models, tmp_path):
    found = compare_models(*models, features)
    comparison = found.comparison
    counts = [sum(sample.right == side for sample in found.differing) for side in ("a", "b", "neither")]
    assert counts == [
        comparison.n_only_a_right,
        comparison.n_only_b_right,
        len(comparison.both_wrong_differently),
    ]
    assert counts[0] + counts[1] > 0
    heads = [model.head for _, model in models]
    for sample in found.differing:
        row = int(sample.sample_id[:3])
        assert sample.label == NAMES[features.y[row]]
        shares = [head.predict_proba(features.X[[row]])[0] for head in heads]
        assert (sample.answer_a, sample.answer_b) == tuple(NAMES[share.argmax()] for share in shares)
        assert (sample.probability_a, sample.probability_b) == pytest.approx(tuple(map(max, shares)))
        assert (sample.right == "a") == (sample.answer_a == sample.label)
    found.save_csv(tmp_path / "differs.csv")
    rows = list(csv.DictReader((tmp_path / "differs.csv").read_text().splitlines()))
    assert [row["sample_id"] for row in rows] == [sample.sample_id for sample in found.differing]
    assert float(rows[0]["probability_a"]) == pytest.approx(found.differing[0].probability_a, abs=1e-6)


def test_the_verdict_names_the_files(features, models):
    found = compare_models(*models, features)
    assert "of a.featx" in found.verdict
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["verdict"] == found.verdict
    assert read["differing"][0]["sample_id"] == found.differing[0].sample_id
    assert read["n_only_a_right"] == found.comparison.n_only_a_right


def test_each_model_takes_features_in_its_own_views_and_order(features):
    """The second set holds each image three times over, in another order."""
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(90), 3))
    views = np.zeros(270, int)
    for row in range(90):
        views[order == row] = np.arange(3)
    noise = np.random.default_rng(2).normal(0, 0.1, (270, 6)).astype(np.float32)
    several = FeatureSet(
        features.X[order] + noise,
        features.y[order],
        class_names=NAMES,
        sample_ids=[features.sample_ids[row] for row in order],
        groups=[features.sample_ids[row] for row in order],
        image_sha256=[features.image_sha256[row] for row in order],
        view=views,
    )
    model = model_on(features, np.arange(40))
    found = compare_models(("a", model), ("b", model), several)
    assert (found.comparison.n_samples, found.comparison.n_only_a_right) == (50, 0)
    alone = compare_models(("a", model), ("b", model), features)
    assert found.comparison.accuracy.a == pytest.approx(alone.comparison.accuracy.a, abs=0.1)


def test_groups_are_tossed_whole(models):
    features = feature_set(groups=[str(row // 9) for row in range(90)])
    found = compare_models(*models, features)
    assert found.comparison.n_groups == 5
    assert found.comparison.test.endswith("whole groups")


def test_features_without_labels_are_refused(features, models):
    features.y[:] = -1
    with pytest.raises(HeadError, match="features without labels"):
        compare_models(*models, features)


def test_sets_of_other_samples_are_refused(features):
    wide = LogisticRegression().fit(np.ones((3, 12)), [0, 1, 2])
    other = feature_set(80, n_features=6)
    with pytest.raises(StoreError, match="without 10 samples"):
        compare_models(
            ("a", ModelFile(wide, NAMES)), ("b", ModelFile(wide, NAMES)), {"f": features, "g": other}
        )


def test_what_either_search_left_out_is_left_out(features, models):
    (name, a), b = models
    left_out = [features.image_sha256[row] for row in range(45, 60)]
    found = compare_models((name, replace(a, excluded_images=left_out)), b, features)
    assert (found.n_trained_on, found.n_excluded, found.comparison.n_samples) == (50, 10, 30)
    everything = replace(a, training_images=(), excluded_images=features.image_sha256)
    with pytest.raises(HeadError, match="90 labelled samples, all of which the search had left out"):
        compare_models((name, everything), (name, everything), features)
