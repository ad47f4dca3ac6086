"""rank_features: an order that makes sense on real data, honest samples, and bad input refused by name."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx import FeatureRank, HeadError, rank_features
from featx.insight.ranking import _sample_rows


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600].astype(np.float32), y[:600]


@pytest.fixture(scope="module")
def feature_sets(digits):
    """Real pixels, two random projections of them, and numbers that have nothing to do with them."""
    X, rng = digits[0], np.random.default_rng(0)
    return {
        "noise": rng.normal(size=X.shape).astype(np.float32),
        "two projections": X @ rng.normal(size=(64, 2)).astype(np.float32),
        "pixels": X,
        "upper half": X[:, :32],
    }


@pytest.fixture(scope="module")
def ranking(feature_sets, digits):
    return rank_features(feature_sets, digits[1])


def test_the_order_makes_sense(ranking):
    assert [found.name for found in ranking] == ["pixels", "upper half", "two projections", "noise"]
    assert [found.rank for found in ranking] == [1, 2, 3, 4]
    pixels, noise = ranking[0].measures, ranking[-1].measures
    assert min(pixels.knn_accuracy, pixels.ridge_accuracy, pixels.centroid_accuracy) > 0.85
    assert pixels.ridge_roc_auc > 0.98
    assert max(noise.knn_accuracy, noise.ridge_accuracy, noise.centroid_accuracy) < 0.2
    assert 0.4 < noise.ridge_roc_auc < 0.6


def test_each_measure_is_shown_with_its_rank(ranking):
    for measure in ranking[0].ranks:
        by_value = sorted(ranking, key=lambda found: -getattr(found.measures, measure))
        ranks = [found.ranks[measure] for found in by_value]
        assert ranks == sorted(ranks)
        assert ranks[0] == 1
    for found in ranking:
        assert found.mean_rank == np.mean(list(found.ranks.values()))
    mean_ranks = [found.mean_rank for found in ranking]
    assert mean_ranks == sorted(mean_ranks)


def test_equal_sets_share_their_ranks(digits):
    X, y = digits
    ranking = rank_features({"one": X, "two": X, "worse": X[:, :8]}, y)
    assert ranking[0].ranks == ranking[1].ranks == dict.fromkeys(ranking[0].ranks, 1)
    assert set(ranking[2].ranks.values()) == {3}


def test_a_rank_is_plain_values(ranking):
    found = json.loads(json.dumps(ranking[0].to_dict()))
    assert (found["name"], found["rank"], found["n_samples"], found["n_features"]) == ("pixels", 1, 600, 64)
    assert found["knn_accuracy"] == ranking[0].measures.knn_accuracy
    assert found["ranks"]["logme"] == 1
    assert isinstance(ranking[0], FeatureRank)
    with pytest.raises(AttributeError):
        ranking[0].rank = 2


def test_float16_and_other_scales_of_columns_change_little(digits):
    X, y = digits
    X = X[:, X.std(axis=0) > 0]
    scales = np.logspace(-3, 2, X.shape[1], dtype=np.float32)
    ranking = rank_features({"as is": X, "float16": X.astype(np.float16), "scaled": X * scales + 5}, y)
    measures = [list(vars(found.measures).values()) for found in ranking]
    np.testing.assert_allclose(measures, measures[:1] * 3, atol=5e-3)


def test_names_of_classes_do_as_well_as_numbers(digits):
    X, y = digits
    names = np.array(list("zyxwvutsrq"))[y]
    by_name = rank_features({"pixels": X}, names.tolist())[0].measures
    by_number = rank_features({"pixels": X}, y)[0].measures
    np.testing.assert_allclose(list(vars(by_name).values()), list(vars(by_number).values()), atol=1e-6)


def test_samples_are_never_judged_by_their_group(digits):
    y = digits[1]
    noise = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    twice, labels, groups = np.repeat(noise, 2, axis=0), np.repeat(y[:60], 2), np.repeat(np.arange(60), 2)
    assert rank_features({"noise": twice}, labels)[0].measures.knn_accuracy > 0.4
    measures = rank_features({"noise": twice}, labels, groups=groups)[0].measures
    assert max(measures.knn_accuracy, measures.ridge_accuracy, measures.centroid_accuracy) < 0.3


@pytest.mark.parametrize("n_columns", [1, 64], ids=["one", "all"])
def test_constant_columns_are_no_obstacle(digits, n_columns):
    X, y = digits
    constant = np.full_like(X[:, :n_columns], 3.7)
    half = np.hstack([X[:, :32], constant])
    ranking = rank_features({"constant": constant, "half": half, "half alone": X[:, :32]}, y)
    assert ranking[-1].name == "constant"
    assert vars(ranking[0].measures) == pytest.approx(vars(ranking[1].measures), abs=1e-6)


# --------------------------------------------------------------------------------------------- the sample


class TestSample:
    def test_classes_keep_their_shares(self):
        y = np.repeat([0, 1, 2], [6000, 3000, 1000])
        rows = _sample_rows(y, np.arange(10_000), 1000, 0)
        np.testing.assert_array_equal(np.bincount(y[rows]), [600, 300, 100])
        assert len(np.unique(rows)) == 1000

    def test_groups_stay_whole(self):
        rng = np.random.default_rng(0)
        y, groups = rng.integers(0, 3, 5000), np.unique(rng.integers(0, 900, 5000), return_inverse=True)[1]
        rows = _sample_rows(y, groups, 1000, 0)
        assert len(rows) == pytest.approx(1000, rel=0.03)
        sizes = np.bincount(groups)
        sampled = np.bincount(groups[rows], minlength=len(sizes))
        assert set((sampled / sizes).tolist()) == {0.0, 1.0}

    def test_rare_classes_keep_two_groups(self):
        y = np.r_[np.zeros(5000, int), [1] * 3, [2] * 40]
        groups = np.r_[np.arange(5000), 5000, 5001, 5002, np.repeat([5003, 5004], 20)]
        rows = _sample_rows(y, groups, 100, 0)
        for label in (1, 2):
            assert len(np.unique(groups[rows][y[rows] == label])) >= 2

    def test_the_seed_decides(self, digits):
        X, y = digits
        first, again, other = (
            rank_features({"pixels": X}, y, n_samples=200, random_state=seed)[0] for seed in (0, 0, 1)
        )
        assert first == again
        assert first.measures != other.measures
        assert first.n_samples == pytest.approx(200, abs=10)

    def test_a_sample_tells_nearly_the_same(self, feature_sets, digits, ranking):
        sampled = rank_features(feature_sets, digits[1], n_samples=300)
        assert [found.name for found in sampled] == [found.name for found in ranking]


# ---------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_sets": {}}, "no feature sets"),
        ({"feature_sets": {"f": np.zeros((5, 2), np.float32)}}, "f with 5 rows for 600 labels"),
        ({"feature_sets": {"f": np.zeros(600, np.float32)}}, r"f with shape \(600,\)"),
        ({"feature_sets": {"f": np.zeros((600, 0), np.float32)}}, r"f with shape \(600, 0\)"),
        ({"feature_sets": {"f": np.full((600, 2), "x")}}, "type <U1"),
        ({"y": np.zeros(600, int)}, r"one class only \(0\)"),
        ({"y": np.zeros((600, 2), int)}, r"labels of shape \(600, 2\)"),
        ({"y": np.linspace(0, 1, 600)}, "continuous"),
        ({"y": np.full(600, np.nan)}, "NaN"),
        ({"y": [None] * 600}, "labels"),
        ({"y": []}, "labels"),
        ({"y": np.r_[7, np.arange(599) % 2]}, "the class 7 with 1 sample; expected 2 samples"),
        ({"y": np.arange(600)}, "the class 0 with 1 sample"),
        ({"groups": ["a"] * 599}, "599 groups for 600 labels"),
        (
            {"y": ["cat"] * 300 + ["dog"] * 300, "groups": [*range(300), *["a"] * 300]},
            "the class dog with 300 samples in one group; expected 2 groups",
        ),
        ({"n_samples": 0}, "n_samples=0"),
        ({"random_state": -1}, "random_state=-1"),
    ],
)
def test_bad_input_is_refused(digits, change, message):
    arguments = {"feature_sets": {"pixels": digits[0]}, "y": digits[1]} | change
    with pytest.raises(HeadError, match=message):
        rank_features(**arguments)


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.float32, np.nan), (np.float16, np.inf), (np.float64, 1e300)]
)
def test_the_rows_that_are_not_finite_are_named(digits, dtype, value):
    X, y = digits
    X = X.astype(dtype)
    X[[3, 599], 7] = value
    with pytest.raises(HeadError, match=r"received bad with .* rows 3, 599; expected"):
        rank_features({"good": digits[0], "bad": X}, y)
    X[10:200] = value
    with pytest.raises(HeadError, match="rows 3, 10, 11, 12, 13 and 187 more"):
        # Also where they would not be in the sample.
        rank_features({"bad": X}, y, n_samples=50)
