"""Folds and the held-out part: stratified, seeded, and never parting a group."""

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier

from featx import HeadError, holdout_split
from featx.heads.splits import check_classes, fewest_members, has_groups, make_folds

each_seed = pytest.mark.parametrize("seed", range(5))


def draw_problem(seed, n_samples=120, n_classes=3, n_groups=40):
    """Classes and groups that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_classes, n_samples), rng.integers(0, n_groups, n_samples)


def same_folds(some, others):
    pairs = zip(some, others, strict=True)
    return all(np.array_equal(a, b) for fold, other in pairs for a, b in zip(fold, other, strict=True))


def share_of_classes(y):
    return np.bincount(y, minlength=3) / len(y)


# -------------------------------------------------------------------------------------------- folds


@pytest.mark.parametrize("grouped", [False, True])
def test_every_sample_is_tested_once_and_trained_on_in_the_other_folds(grouped):
    y, groups = draw_problem(0)
    folds = make_folds(y, groups if grouped else None, cv=4, random_state=0)
    assert len(folds) == 4
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(y)))
    assert all(np.array_equal(np.sort(np.concatenate(fold)), np.arange(len(y))) for fold in folds)


@each_seed
def test_folds_have_the_classes_in_equal_shares(seed):
    y, _ = draw_problem(seed)
    for _, test in make_folds(y, cv=4, random_state=seed):
        assert np.abs(np.bincount(y[test]) - np.bincount(y) / 4).max() <= 1


@each_seed
def test_folds_part_no_group(seed):
    y, groups = draw_problem(seed)
    for train, test in make_folds(y, groups, cv=4, random_state=seed):
        assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize("seed", [None, 0])
def test_folds_are_scikit_learns(seed):
    y, groups = draw_problem(0)
    shuffle = {"shuffle": seed is not None, "random_state": seed}
    expected = StratifiedKFold(3, **shuffle).split(y, y)
    assert same_folds(make_folds(y, cv=3, random_state=seed), expected)
    expected = StratifiedGroupKFold(3, **shuffle).split(y, y, groups)
    assert same_folds(make_folds(y, groups, cv=3, random_state=seed), expected)


def test_groups_of_one_are_no_groups():
    y, _ = draw_problem(0)
    assert same_folds(make_folds(y, np.arange(len(y))), make_folds(y))


def test_cv_none_makes_five_folds_that_part_no_group():
    y, groups = draw_problem(0)
    assert same_folds(make_folds(y, groups, cv=None), make_folds(y, groups, cv=5))


def test_the_seed_decides_the_folds():
    y, groups = draw_problem(0)
    for grouping in (None, groups):
        folds = make_folds(y, grouping, random_state=1)
        assert same_folds(folds, make_folds(y, grouping, random_state=1))
        assert not same_folds(folds, make_folds(y, grouping, random_state=2))


def test_a_splitter_is_used_as_it_is():
    y, groups = draw_problem(0)
    splitter = GroupKFold(3)
    assert same_folds(make_folds(y, groups, cv=splitter), splitter.split(y, y, groups))
    splitter = ShuffleSplit(2, random_state=0)
    assert same_folds(make_folds(y, cv=splitter), splitter.split(y))


def test_folds_of_ones_own_are_used_as_they_are():
    own = [(np.array([0, 1]), np.array([2, 3]))]
    assert same_folds(make_folds(np.array([0, 1, 0, 1]), cv=iter(own)), own)


@pytest.mark.parametrize("n_splits", [1, 0, -2, True])
def test_fewer_than_two_folds_are_refused(n_splits):
    with pytest.raises(HeadError, match="2 folds or more"):
        make_folds(np.array([0, 1] * 5), cv=n_splits)


@pytest.mark.parametrize("cv", ["five", 2.5])
def test_a_cv_of_another_kind_is_refused(cv):
    with pytest.raises(ValueError, match="Expected `cv` as an integer"):
        make_folds(np.array([0, 1] * 5), cv=cv)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[10, 3\]"):
        make_folds(np.array([0, 1] * 5), groups=[0, 0, 1])


# ---------------------------------------------------------------------------- classes that are too small


def test_a_single_class_is_refused_by_name():
    with pytest.raises(HeadError, match=r"one class only \(cat\)"):
        check_classes(np.zeros(9, int), None, 3, ["cat", "dog"])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "class dog with 2 samples; expected 3 samples or more"),
        ([0, 0, 1, 1, 2, 2, 3, 3], "class dog with 2 samples in 1 group; expected 3 groups or more"),
        ([0, 0, 1, 1, 2, 2, 3, 4], "class dog with 2 samples; expected 3 samples or more"),
    ],
    ids=["no groups", "one group", "two groups"],
)
def test_a_class_that_cannot_be_in_every_fold_is_refused_by_name(groups, message):
    with pytest.raises(HeadError, match=message):
        check_classes(np.array([0] * 6 + [1] * 2), groups, 3, ["cat", "dog"])


def test_a_class_in_exactly_as_many_groups_as_folds_is_accepted():
    y, groups = np.array([0, 0, 0, 1, 1, 1]), [0, 1, 2, 0, 1, 2]
    check_classes(y, groups, 3)
    with pytest.raises(HeadError, match="in 3 groups; expected 4 groups"):
        check_classes(np.repeat(y, 2), np.repeat(groups, 2), 4)


def test_string_classes_are_named_by_themselves():
    with pytest.raises(HeadError, match="the class dog with 1 sample;"):
        make_folds(np.array(["cat", "cat", "dog"]), cv=2)


@pytest.mark.parametrize(
    ("groups", "expected"), [(None, False), (["a", "b"], False), (["a", "a"], True), (np.zeros(3), True)]
)
def test_has_groups_tells_whether_any_two_samples_belong_together(groups, expected):
    assert has_groups(groups) is expected


@pytest.mark.parametrize(("groups", "expected"), [(None, 2), ([0, 1, 2, 3, 4], 2), ([0, 0, 0, 1, 2], 1)])
def test_fewest_members_are_those_of_the_smallest_class(groups, expected):
    assert fewest_members(np.array([0, 0, 0, 1, 1]), groups) == expected


# ----------------------------------------------------------------------------------- the held-out part


@each_seed
@pytest.mark.parametrize("grouped", [False, True])
def test_the_two_parts_are_sorted_and_hold_every_sample_once(seed, grouped):
    y, groups = draw_problem(seed)
    train, test = holdout_split(y, groups if grouped else None, random_state=seed)
    assert all(np.array_equal(part, np.unique(part)) for part in (train, test))
    assert np.array_equal(np.union1d(train, test), np.arange(len(y)))
    assert not np.intersect1d(train, test).size


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.3, 0.5, 0.75])
def test_test_size_is_met_and_the_classes_keep_their_shares(test_size):
    y, _ = draw_problem(0, n_samples=300)
    _, test = holdout_split(y, test_size=test_size)
    assert len(test) == np.ceil(test_size * len(y))
    assert np.abs(share_of_classes(y[test]) - share_of_classes(y)).max() < 1 / len(test)


@each_seed
@pytest.mark.parametrize("test_size", [0.02, 0.1, 0.25, 0.5, 0.75])
def test_with_groups_test_size_is_met_within_a_group(seed, test_size):
    y, groups = draw_problem(seed, n_samples=600, n_groups=200)
    train, test = holdout_split(y, groups, test_size=test_size, random_state=seed)
    assert not set(groups[train]) & set(groups[test])
    assert abs(len(test) - test_size * len(y)) <= np.bincount(groups).max()
    shares = np.bincount(y[test], minlength=3) / np.bincount(y)
    assert np.abs(shares - test_size).max() < 0.03


def test_the_largest_group_is_not_always_set_aside():
    # Which group is tested on must be left to chance: the largest one may be unlike the others.
    y, groups = np.array([0, 1] * 30), np.repeat(np.arange(30), 2)
    groups[:8] = 0
    is_tested = [0 in holdout_split(y, groups, random_state=seed)[1] for seed in range(20)]
    assert 0 < sum(is_tested) < 20


def test_a_class_of_two_groups_is_on_both_sides():
    y = np.array([0] * 40 + [1] * 4)
    groups = np.array([*range(20), *range(20), 20, 20, 21, 21])
    for seed in range(5):
        assert all(1 in y[part] for part in holdout_split(y, groups, random_state=seed))


def test_strata_take_the_place_of_the_classes():
    y, strata = draw_problem(0, n_samples=200, n_groups=4)
    _, test = holdout_split(y, strata=strata, test_size=0.5)
    assert np.abs(np.bincount(strata[test]) - np.bincount(strata) / 2).max() <= 1
    groups = np.arange(200) // 2
    _, test = holdout_split(y, groups, strata=np.repeat(strata[:100], 2), test_size=0.5)
    assert np.abs(np.bincount(np.repeat(strata[:100], 2)[test]) - np.bincount(strata[:100])).max() <= 2


@pytest.mark.parametrize("grouped", [False, True])
def test_the_seed_decides_what_is_set_aside(grouped):
    y, groups = draw_problem(0)
    grouping = groups if grouped else None
    test = holdout_split(y, grouping, random_state=1)[1]
    assert np.array_equal(test, holdout_split(y, grouping, random_state=1)[1])
    assert not np.array_equal(test, holdout_split(y, grouping, random_state=2)[1])


@pytest.mark.parametrize("test_size", [0, 1, -0.1, 1.5, 10, float("nan")])
def test_a_test_size_that_is_no_share_is_refused(test_size):
    with pytest.raises(HeadError, match="a share between 0 and 1"):
        holdout_split(np.array([0, 1] * 8), test_size=test_size)


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([0] * 8, {}, "one class only"),
        ([0] * 8 + [1], {}, "the class 1 with 1 sample"),
        ([0] * 8 + [1] * 2, {"groups": [*range(8), 8, 8]}, "the class 1 with 2 samples in 1 group"),
        ([0, 1] * 8, {"test_size": 0.01}, "cannot be split by test_size=0.01"),
        ([0, 1] * 8, {"test_size": 0.01, "groups": np.arange(16) // 2}, "nothing to test on"),
        ([0] * 30 + [1] * 2, {"test_size": 0.9}, "none of the class 1 to train on"),
        ([0] * 30 + [1] * 4, {"test_size": 0.9, "groups": np.arange(34) // 2}, "none of the class 1"),
        ([0, 1] * 8, {"strata": range(16)}, "cannot be split"),
        ([0, 1] * 8, {"strata": range(3)}, "inconsistent numbers of samples"),
        ([0, 1] * 8, {"groups": [0, 0]}, "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_split_is_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        holdout_split(np.array(y), **options)


# -------------------------------------------------------------------------------------------- leakage


def noisy_views(seed, n_images=200, n_views=5, n_classes=10):
    """Views of images whose labels are drawn by lot: there is nothing to learn."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_images, 32)).repeat(n_views, axis=0)
    features += 0.1 * rng.normal(size=features.shape)
    images = np.arange(n_images).repeat(n_views)
    return features, rng.integers(0, n_classes, n_images)[images], images


@pytest.mark.parametrize("seed", range(3))
def test_views_of_one_image_give_nothing_away_when_they_are_a_group(seed):
    X, y, images = noisy_views(seed)
    nearest = KNeighborsClassifier(n_neighbors=1)
    leaking = cross_val_score(nearest, X, y, cv=make_folds(y, None, random_state=seed)).mean()
    honest = cross_val_score(nearest, X, y, cv=make_folds(y, images, random_state=seed)).mean()
    assert leaking > 0.95
    # Three standard deviations of a guess at 200 images of ten classes.
    assert abs(honest - 0.1) < 3 * np.sqrt(0.1 * 0.9 / 200)


@pytest.mark.parametrize("seed", range(3))
def test_a_held_out_view_gives_nothing_away_when_views_are_a_group(seed):
    X, y, images = noisy_views(seed)
    accuracy = {}
    for name, groups in {"leaking": None, "honest": images}.items():
        train, test = holdout_split(y, groups, random_state=seed)
        nearest = KNeighborsClassifier(n_neighbors=1).fit(X[train], y[train])
        accuracy[name] = nearest.score(X[test], y[test])
    assert accuracy["leaking"] > 0.95
    assert abs(accuracy["honest"] - 0.1) < 3 * np.sqrt(0.1 * 0.9 / 50)


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1, 2, 2, 3, 3]], ids=["samples", "groups"])
@pytest.mark.parametrize("split", [make_folds, holdout_split], ids=["folds", "holdout"])
def test_a_seed_that_numpy_refuses_is_refused_in_one_way(split, groups, seed):
    with pytest.raises(HeadError, match=f"random_state={seed}; expected an integer or None, from 0"):
        split(np.array([0, 1] * 4), groups, random_state=seed)
