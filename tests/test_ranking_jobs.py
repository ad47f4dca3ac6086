"""The job behind rank: files and their parts, without the rows that have no label."""

import numpy as np
import pytest

from featx import ArraySource, FeatureExtractor, FeatureSet, HeadError, StoreError, extract
from featx.ranking_jobs import rank_feature_sets
from tests.conftest import TINY, make_images


@pytest.fixture
def features():
    source = ArraySource(make_images(40), ["dark", "light"] * 20)
    return extract(source, FeatureExtractor(TINY, taps=("first", "top")), store=None)


def noise_like(features, **options):
    X = np.random.default_rng(0).normal(size=(len(features), 4)).astype(np.float32)
    samples = {name: getattr(features, name) for name in ("y", "sample_ids", "class_names", "groups")}
    return FeatureSet(X, **samples | options)


def test_sets_and_their_parts_are_ranked(features):
    ranking = rank_feature_sets({"tiny": features, "noise": noise_like(features)})
    assert ranking.n_unlabelled == 0
    assert {found.name for found in ranking.ranks} == {"tiny", "tiny[first:avg]", "tiny[top:avg]", "noise"}
    assert ranking.ranks[-1].name == "noise"
    assert [found["name"] for found in ranking.to_list()] == [found.name for found in ranking.ranks]


def test_rows_without_a_label_are_left_out_and_counted(features):
    features.y[:7] = -1
    features.X[3] = np.nan
    ranking = rank_feature_sets({"tiny": features})
    assert ranking.n_unlabelled == 7
    assert ranking.ranks[0].n_samples == 33


def test_copies_of_an_image_do_not_vouch_for_each_other():
    images, labels = make_images(30), np.random.default_rng(0).integers(0, 2, 30)
    source = ArraySource(np.concatenate([images, images]), np.concatenate([labels, labels]))
    features = extract(source, FeatureExtractor(TINY), store=None)
    assert rank_feature_sets({"tiny": features}).ranks[0].measures.knn_accuracy < 0.8


def test_what_cannot_be_ranked_is_refused(features):
    other = noise_like(features, sample_ids=[*features.sample_ids[1:], "another"])
    with pytest.raises(StoreError, match="noise without 1 sample of tiny"):
        rank_feature_sets({"tiny": features, "noise": other})
    features.y[:] = -1
    with pytest.raises(HeadError, match="features without labels"):
        rank_feature_sets({"tiny": features})
    features.y[:] = 1
    with pytest.raises(HeadError, match=r"one class only \(light\)"):
        rank_feature_sets({"tiny": features})
