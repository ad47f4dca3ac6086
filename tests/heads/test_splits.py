"""Folds: stratified, seeded, never parting a group, and held to it whoever makes them."""

import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsClassifier

from featx import HeadError
from featx.heads.splits import check_classes, check_folds, fewest_members, has_groups, make_folds
from tests.heads.problems import draw_problem, each_seed, noisy_views


def same_folds(some, others):
    pairs = zip(some, others, strict=True)
    return all(np.array_equal(a, b) for fold, other in pairs for a, b in zip(fold, other, strict=True))


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


# ------------------------------------------------------------------------------------------- repeats


@pytest.mark.parametrize("grouped", [False, True])
def test_repeats_are_the_folds_of_one_seed_after_another(grouped):
    y, groups = draw_problem(0)
    grouping = groups if grouped else None
    found = make_folds(y, grouping, cv=3, random_state=7, n_repeats=3)
    expected = [make_folds(y, grouping, cv=3, random_state=seed) for seed in (7, 8, 9)]
    assert same_folds(found, [fold for folds in expected for fold in folds])
    assert not same_folds(expected[0], expected[1])


def test_repeats_without_a_seed_begin_at_0():
    y, _ = draw_problem(0)
    assert same_folds(make_folds(y, n_repeats=2), make_folds(y, n_repeats=2, random_state=0))


@pytest.mark.parametrize("n_repeats", [0, 1.5, True])
def test_a_number_of_repeats_that_is_none_is_refused(n_repeats):
    with pytest.raises(HeadError, match="n_repeats="):
        make_folds(np.array([0, 1] * 5), n_repeats=n_repeats)


def test_repeats_beyond_the_last_seed_are_refused():
    with pytest.raises(HeadError, match=r"n_repeats - 1=4294967296; expected an integer"):
        make_folds(np.array([0, 1] * 5), n_repeats=2, random_state=2**32 - 1)


@pytest.mark.parametrize("options", [{"n_repeats": 2}, {"strata": [0, 1] * 5}])
def test_folds_of_ones_own_are_neither_repeated_nor_stratified(options):
    with pytest.raises(HeadError, match=f"cv of type KFold with {next(iter(options))}; expected a number"):
        make_folds(np.array([0, 1] * 5), cv=KFold(2), **options)


# --------------------------------------------------------------------------------------------- strata


@each_seed
@pytest.mark.parametrize("grouped", [False, True])
def test_folds_have_every_combination_of_two_columns_in_equal_shares(seed, grouped):
    y, _ = draw_problem(seed, n_samples=240)
    kind = np.random.default_rng(seed + 50).choice(["mono", "poly"], len(y))
    groups = None
    if grouped:
        groups = np.arange(480) % 240
        y, kind = np.tile(y, 2), np.tile(kind, 2)
    both = np.unique([f"{a} {b}" for a, b in zip(y, kind, strict=True)], return_inverse=True)[1]
    n_copies = 1 + grouped
    for _, test in make_folds(y, groups, cv=4, random_state=seed, strata=[y, kind]):
        # StratifiedGroupKFold fills its folds greedily: a group more or less than samples would be.
        assert np.abs(np.bincount(both[test]) - np.bincount(both) / 4).max() <= n_copies * (1 + grouped)


def test_strata_of_one_column_are_stratified_by_like_classes():
    y, strata = draw_problem(0, n_groups=4)
    expected = StratifiedKFold(3, shuffle=True, random_state=0).split(y, strata)
    assert same_folds(make_folds(y, cv=3, random_state=0, strata=strata), expected)


@pytest.mark.parametrize("grouped", [False, True])
def test_rare_combinations_do_not_stop_the_folds(grouped):
    y, groups = draw_problem(0)
    rare = np.arange(len(y)) // 2
    folds = make_folds(y, groups if grouped else None, cv=4, random_state=0, strata=[y, rare])
    for _, test in folds:
        # Every combination is rare, and so the leading column is what is stratified by.
        slack = 1 if not grouped else np.bincount(groups).max()
        assert np.abs(np.bincount(y[test]) - np.bincount(y) / 4).max() <= slack


def test_strata_that_keep_a_class_out_of_a_training_part_are_refused():
    # All of class 1 is tested at once: strata that say nothing of it leave that to chance.
    y, groups = np.array([0] * 12 + [1] * 2), [*range(12), 12, 13]
    messages = set()
    for seed in range(40):
        try:
            make_folds(y, groups, cv=2, random_state=seed, strata=np.zeros(14))
        except HeadError as error:
            messages.add(str(error).partition(";")[0])
    assert messages == {f"received none of the class 1 to train on in fold {fold}" for fold in (0, 1)}


# ----------------------------------------------------------------------------------------- many labels


def draw_labels(seed=0, n_samples=120, n_groups=40):
    rng = np.random.default_rng(seed)
    return (rng.random((n_samples, 3)) < [0.5, 0.2, 0.7]).astype(int), rng.integers(0, n_groups, n_samples)


@pytest.mark.parametrize("random_state", [None, 3])
def test_folds_of_several_labels_are_shuffled(random_state):
    y, groups = draw_labels()
    seed = random_state or 0
    expected = KFold(4, shuffle=True, random_state=seed).split(y)
    assert same_folds(make_folds(y, cv=4, random_state=random_state), expected)
    expected = GroupKFold(4, shuffle=True, random_state=seed).split(y, groups=groups)
    assert same_folds(make_folds(y, groups, cv=4, random_state=random_state), expected)


def test_folds_of_several_labels_may_have_strata():
    y, _ = draw_labels()
    for _, test in make_folds(y, cv=4, random_state=0, strata=y):
        assert np.abs(y[test].sum(axis=0) - y.sum(axis=0) / 4).max() <= 4
    found = make_folds(y, cv=4, random_state=0, strata=y[:, 1])
    assert same_folds(found, StratifiedKFold(4, shuffle=True, random_state=0).split(y, y[:, 1]))


def test_folds_of_several_labels_may_be_repeated():
    y, _ = draw_labels()
    expected = [*make_folds(y, cv=2, random_state=0), *make_folds(y, cv=2, random_state=1)]
    assert same_folds(make_folds(y, cv=2, n_repeats=2), expected)


@pytest.mark.parametrize(
    ("column", "groups", "message"),
    [
        ([0] * 8, None, "the label dog with positives in 0 samples; expected 2 samples or more for 3 folds"),
        ([0] * 7 + [1], None, "the label dog with positives in 1 sample;"),
        ([1] * 7 + [0], None, "the label dog with negatives in 1 sample;"),
        ([1, 1] + [0] * 6, [0, 0, 1, 2, 3, 4, 5, 6], "positives in 2 samples in 1 group; expected 2 groups"),
        ([0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1], "labels of 8 samples in 2 groups; expected 3 groups or more"),
    ],
)
def test_a_label_that_cannot_be_in_every_training_part_is_refused_by_name(column, groups, message):
    with pytest.raises(HeadError, match=message):
        check_classes(np.stack([[0, 1] * 4, column], axis=1), groups, 3, ["cat", "dog"])


def test_a_label_of_two_positives_is_accepted():
    check_classes(np.stack([[0, 1] * 4, [1, 1] + [0] * 6], axis=1), None, 5)


def test_a_label_whose_positives_are_all_tested_at_once_is_refused():
    y = np.array([[1], [1], [0], [0], [0], [0], [0], [0]])
    messages = set()
    for seed in range(40):
        try:
            make_folds(y, cv=2, random_state=seed)
        except HeadError as error:
            messages.add(str(error).partition(";")[0])
    assert messages == {f"received no positive of the label 0 to train on in fold {fold}" for fold in (0, 1)}
    with pytest.raises(HeadError, match="no negative of the label 0 to train on in fold 0"):
        make_folds(1 - y, cv=[(np.arange(2, 8), np.arange(2))])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([[0, 2], [1, 0]], "the label value 2; expected 0 or 1"),
        ([[0.5], [1]], "the label value 0.5"),
        (np.zeros((4, 2, 2)), r"y of shape \(4, 2, 2\)"),
        (np.zeros((4, 0)), r"y of shape \(4, 0\)"),
    ],
)
def test_labels_of_another_kind_are_refused(y, message):
    with pytest.raises(HeadError, match=message):
        make_folds(np.array(y), cv=2)


def test_fewest_members_of_several_labels_are_of_the_rarest_side():
    y = np.array([[0, 1], [0, 1], [1, 1], [1, 1], [1, 0]])
    assert fewest_members(y, None) == 1
    assert fewest_members(y[:, :1], None) == 2
    assert fewest_members(y[:, :1], [0, 0, 1, 2, 3]) == 1


# ------------------------------------------------------------------------------ what folds are held to


Y = np.array([0, 1, 0, 1, 0, 1])
GROUPS = ["a", "b", "b", "c", "c", "a"]


@pytest.mark.parametrize(
    ("fold", "groups", "message"),
    [
        (([0, 1, 2], [3, 6]), None, "the index 6 in fold 1; expected 0 to 5"),
        (([0, 1, -1], [3]), None, "the index -1 in fold 1; expected 0 to 5"),
        (([0, 1, 2], [2, 3]), None, "sample 2 in both parts of fold 1"),
        (([0, 2], [1, 3]), None, "none of the class 1 to train on in fold 1"),
        (([], [1, 3]), None, "none of the class 0 to train on in fold 1"),
        (([0, 1], []), None, "nothing to test on in fold 1"),
        (([0, 1, 5], [2, 3]), GROUPS, "the group b in both parts of fold 1; expected whole groups"),
        (([True, True, False], [False, False, True]), None, "type bool .* in fold 1; expected indices"),
        (([0.0, 1.0], [2.0]), None, "type float64 .* in fold 1"),
        (([[0, 1]], [2]), None, r"shape \(1, 2\) in fold 1"),
        (([0, 1], [2], [3]), None, "makes no folds: too many values to unpack"),
    ],
)
def test_folds_that_cannot_serve_are_refused_by_number(fold, groups, message):
    good = ([0, 1, 5], [3, 4]) if groups else ([0, 1], [2, 3])
    with pytest.raises(HeadError, match=message):
        make_folds(Y, groups, cv=[good, fold])


def test_folds_may_leave_samples_out_and_train_on_one_twice():
    make_folds(Y, cv=[([0, 1, 1], [2, 3])])


@pytest.mark.parametrize(
    ("cv", "groups", "message"),
    [
        ([], None, "no folds; expected one or more"),
        ([1, 2], None, "cv of type list, for 6 samples, makes no folds: cannot unpack"),
        (GroupKFold(5), GROUPS, "for 6 samples in 3 groups, makes no folds: Cannot have number of splits"),
        (GroupKFold(5), None, "for 6 samples, makes no folds: The 'groups' parameter should not be None"),
        (KFold(7), None, "for 6 samples, makes no folds"),
        (list(KFold(3).split(Y)), GROUPS, "the group a in both parts of fold 0"),
        (5, GROUPS, "the class 0 with 3 samples; expected 5 samples or more for 5 folds"),
        (3, [0, 0, 1, 1, 1, 1], "the class 0 with 3 samples in 2 groups; expected 3 groups or more"),
    ],
)
def test_what_makes_no_folds_is_refused(cv, groups, message):
    with pytest.raises(HeadError, match=message):
        make_folds(Y, groups, cv=cv)


def test_a_single_class_is_refused_whoever_makes_the_folds():
    with pytest.raises(HeadError, match=r"one class only \(0\)"):
        make_folds(np.zeros(4, int), cv=[([0, 1], [2, 3])])


def test_folds_of_strings_are_refused_by_name():
    with pytest.raises(HeadError, match="none of the class dog to train on in fold 0"):
        check_folds([(np.array([0]), np.array([1]))], np.array(["cat", "dog"]))


@each_seed
def test_folds_of_whole_groups_that_no_class_can_be_trained_on_in_are_refused(seed):
    # Whatever the draw: what is returned has every class in every training part.
    rng = np.random.default_rng(seed)
    y, groups = rng.choice(4, 60, p=[0.6, 0.3, 0.06, 0.04]), rng.integers(0, 15, 60)
    try:
        folds = make_folds(y, groups, cv=2, random_state=seed)
    except HeadError as error:
        assert "class" in str(error)  # noqa: PT017 - either is right, and nothing else is
    else:
        assert all(set(y[train]) == set(y) for train, _ in folds)


# -------------------------------------------------------------------------------------------- leakage


@pytest.mark.parametrize("seed", range(3))
def test_views_of_one_image_give_nothing_away_when_they_are_a_group(seed):
    X, y, images = noisy_views(seed)
    nearest = KNeighborsClassifier(n_neighbors=1)
    leaking = cross_val_score(nearest, X, y, cv=make_folds(y, None, random_state=seed)).mean()
    honest = cross_val_score(nearest, X, y, cv=make_folds(y, images, random_state=seed)).mean()
    assert leaking > 0.95
    # Three standard deviations of a guess at 200 images of ten classes.
    assert abs(honest - 0.1) < 3 * np.sqrt(0.1 * 0.9 / 200)


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize("groups", [None, [0, 0, 1, 1, 2, 2, 3, 3]], ids=["samples", "groups"])
def test_a_seed_that_numpy_refuses_is_refused_in_one_way(groups, seed):
    with pytest.raises(HeadError, match=f"random_state={seed}; expected an integer or None, from 0"):
        make_folds(np.array([0, 1] * 4), groups, random_state=seed)
