"""The job behind curve: the head that is meant, labelled images, classes by name."""

import json

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from featx import FeatureSet, HeadError, ModelFile, few_shot_curve, learning_curve
from featx.learning_jobs import draw_label_curves

OPTIONS = {"n_repeats": 3, "shots": (1, 5)}


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = (rng.normal(size=(120, 6)) + 0.7 * y[:, None]).astype(np.float32)
    return FeatureSet(X, y, class_names=["cat", "dog"])


def test_without_a_head_it_is_the_fast_ridge(features):
    found = draw_label_curves(features, **OPTIONS)
    expected = learning_curve(None, features.X, features.y, n_repeats=3)
    assert (found.head, found.learning.score) == ("ridge", expected.score)
    assert found.learning.projected == expected.projected
    shots = few_shot_curve(features.X, features.y, shots=(1, 5), n_repeats=3)
    assert found.few_shot.recall == shots.recall
    assert found.few_shot.class_names == ("cat", "dog")


def test_a_models_head_is_fitted_anew(features):
    model = ModelFile(GaussianNB(var_smoothing=0.5).fit(features.X, 1 - features.y), ["dog", "cat"])
    found = draw_label_curves(features, model=model, **OPTIONS)
    expected = learning_curve(GaussianNB(var_smoothing=0.5), features.X, features.y, n_repeats=3)
    assert found.head == "GaussianNB"
    assert found.learning.score == expected.score


def test_a_head_by_its_name_is_searched_once(features):
    found = draw_label_curves(features, head="knn", **OPTIONS)
    assert found.head == "knn"
    assert found.learning.score != draw_label_curves(features, **OPTIONS).learning.score
    with pytest.raises(HeadError, match="the head 'nn'"):
        draw_label_curves(features, head="nn")


def test_unlabelled_images_are_left_out_and_counted(features):
    features.y[:20] = -1
    found = draw_label_curves(features, **OPTIONS)
    assert (found.n_unlabelled, found.learning.n_total) == (20, 100)


def test_groups_of_the_features_count():
    X = np.repeat(np.random.default_rng(0).normal(size=(20, 6)), 6, axis=0).astype(np.float32)
    grouped = FeatureSet(X, np.repeat(np.arange(20) % 2, 6), groups=np.repeat(np.arange(20), 6).astype(str))
    alone = FeatureSet(X, grouped.y)
    with_groups, without = (draw_label_curves(each, head="knn", **OPTIONS) for each in (grouped, alone))
    # Copies of what is held out are trained on.
    assert without.learning.score[-1] == 1.0
    assert with_groups.learning.score[-1] < 0.9


def test_features_without_labels_are_refused(features):
    features.y[:] = -1
    with pytest.raises(HeadError, match="features without labels"):
        draw_label_curves(features)


def test_the_curves_are_plain_json(features):
    found = draw_label_curves(features, **OPTIONS)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert list(read) == ["verdict", "head", "learning", "few_shot", "n_unlabelled"]
    assert read["verdict"] == found.verdict
