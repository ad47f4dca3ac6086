"""The held-out part: stratified and seeded, or hashed so that it stays put; never parting a group."""

import hashlib

import numpy as np
import pytest
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from featx import HeadError, holdout_split
from tests.heads.problems import draw_problem, each_seed, noisy_views


def share_of_classes(y):
    return np.bincount(y, minlength=3) / len(y)


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
        ([0, 1] * 8, {"strata": range(3)}, "inconsistent numbers of samples"),
        ([0, 1] * 8, {"groups": [0, 0]}, "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_split_is_refused(y, options, message):
    with pytest.raises(ValueError, match=message):
        holdout_split(np.array(y), **options)


@each_seed
@pytest.mark.parametrize("grouped", [False, True])
def test_two_columns_are_stratified_by_at_once(seed, grouped):
    y, _ = draw_problem(seed, n_samples=200)
    kind = np.random.default_rng(seed + 50).choice(["mono", "poly"], len(y))
    groups = np.arange(400) // 2 if grouped else None
    if grouped:
        y, kind = y.repeat(2), kind.repeat(2)
    both = np.unique([f"{a} {b}" for a, b in zip(y, kind, strict=True)], return_inverse=True)[1]
    _, test = holdout_split(y, groups, strata=[y, kind], test_size=0.25, random_state=seed)
    assert np.abs(np.bincount(both[test]) - np.bincount(both) / 4).max() <= 1 + grouped
    _, again = holdout_split(y, groups, strata=np.stack([y, kind], axis=1), test_size=0.25, random_state=seed)
    assert np.array_equal(test, again)


def test_strata_of_one_column_are_stratified_by_like_classes():
    y, strata = draw_problem(0, n_groups=4)
    expected = train_test_split(np.arange(len(y)), test_size=0.25, stratify=strata, random_state=0)
    assert all(map(np.array_equal, holdout_split(y, strata=strata), map(np.sort, expected)))


@pytest.mark.parametrize("test_size", [0.05, 0.25, 0.9])
@pytest.mark.parametrize("grouped", [False, True])
def test_rare_combinations_do_not_stop_the_split(test_size, grouped):
    y, groups = draw_problem(0)
    strata = [y, np.arange(len(y)) // 2]
    _, test = holdout_split(y, groups if grouped else None, strata=strata, test_size=test_size)
    assert abs(len(test) - test_size * len(y)) <= (np.bincount(groups).max() if grouped else 1)


def test_several_labels_are_split_and_each_is_left_to_train_on():
    y = (np.random.default_rng(0).random((60, 3)) < 0.3).astype(int)
    train, test = holdout_split(y)
    assert (len(train), len(test)) == (45, 15)
    rare = np.array([[1], [1], [0], [0], [0], [0], [0], [0]])
    messages = set()
    for seed in range(40):
        try:
            holdout_split(rare, test_size=0.5, random_state=seed)
        except HeadError as error:
            messages.add(str(error).partition(";")[0])
    assert messages == {"received test_size=0.5, which leaves no positive of the label 0 to train on"}


# -------------------------------------------------------------------------------------------- hashed


def hashed(y, names, grouped=True, **options):
    """The names that are set aside."""
    by = {"groups": names} if grouped else {"sample_ids": names}
    _, test = holdout_split(y, assignment="hashed", **by, **options)
    return {str(name) for name in np.asarray(names)[test]}


@each_seed
@pytest.mark.parametrize("grouped", [False, True])
def test_five_hundred_new_samples_move_none_of_the_old(seed, grouped):
    rng = np.random.default_rng(seed)
    names = np.array([f"images/{index}.jpg" for index in rng.permutation(1500)])
    if grouped:
        names = names[rng.integers(0, 700, 1500)]
    y = rng.integers(0, 3, 1500)
    before = hashed(y[:1000], names[:1000], grouped, random_state=seed)
    mixed = rng.permutation(1500)
    after = hashed(y[mixed], names[mixed], grouped, random_state=seed)
    assert after & set(names[:1000]) == before
    assert after - before


def test_a_stratified_part_does_move():
    # What the hash is for: the other assignment draws anew.
    y, names = np.arange(1500) % 3, np.array([f"{index}.jpg" for index in range(1500)])
    before = set(names[:1000][holdout_split(y[:1000])[1]])
    assert set(names[holdout_split(y)[1]]) & set(names[:1000]) != before


@each_seed
@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5])
def test_the_share_is_as_chance_has_it(seed, test_size):
    y, names = np.arange(4000) % 2, [f"{index}.jpg" for index in range(4000)]
    spread = np.sqrt(4000 * test_size * (1 - test_size))
    assert abs(len(hashed(y, names, random_state=seed, test_size=test_size)) - 4000 * test_size) < 4 * spread


@each_seed
def test_hashing_parts_no_group(seed):
    y, groups = draw_problem(seed)
    train, test = holdout_split(y, groups, assignment="hashed", random_state=seed)
    assert not set(groups[train]) & set(groups[test])
    assert np.array_equal(np.union1d(train, test), np.arange(len(y)))


def test_the_hash_is_as_documented():
    names = [f"{index}.jpg" for index in range(50)]
    digests = [hashlib.sha256(f"7:{name}".encode()).digest() for name in names]
    expected = {
        name for name, digest in zip(names, digests, strict=True) if int.from_bytes(digest[:8], "big") < 2**62
    }
    assert hashed(np.arange(50) % 2, names, random_state=7) == expected


def test_a_larger_share_only_adds_and_a_seed_deals_anew():
    y, names = np.arange(300) % 2, [f"{index}.jpg" for index in range(300)]
    assert hashed(y, names, test_size=0.2) < hashed(y, names, test_size=0.4)
    assert hashed(y, names, random_state=1) != hashed(y, names, random_state=2)


def test_a_name_is_the_same_as_text_bytes_or_number():
    y, numbers = np.arange(300) % 2, np.arange(300)
    parts = [
        holdout_split(y, assignment="hashed", sample_ids=ids)[1].tolist()
        for ids in (numbers, numbers.astype(str), numbers.astype(bytes), numbers.astype(object))
    ]
    assert parts[0] == parts[1] == parts[2] == parts[3]


def test_groups_are_hashed_before_sample_ids():
    y, groups = draw_problem(0)
    ids = [f"{index}.jpg" for index in range(len(y))]
    both = holdout_split(y, groups, assignment="hashed", sample_ids=ids)
    assert all(map(np.array_equal, both, holdout_split(y, groups, assignment="hashed")))


def test_names_that_are_no_utf_8_are_hashed_too():
    names = [f"{index}\udcff.jpg" for index in range(100)]
    assert 0 < len(hashed(np.arange(100) % 2, names)) < 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "assignment='hashed' without ids; expected groups, or sample_ids"),
        ({"sample_ids": range(16), "strata": [0, 1] * 8}, "strata with assignment='hashed'"),
        ({"sample_ids": np.arange(16) / 2}, "the id 0.0; expected text, bytes or a whole number"),
        ({"sample_ids": [None] * 16}, "the id None"),
        ({"sample_ids": [True, False] * 8}, "the id True"),
        ({"sample_ids": range(15)}, "inconsistent numbers of samples"),
        ({"sample_ids": range(16), "random_state": None}, "random_state=None; expected a seed"),
        ({"sample_ids": range(16), "test_size": 1e-9}, "nothing to test on"),
        ({"sample_ids": range(16), "test_size": 1 - 1e-9}, "none of the class 0 to train on"),
    ],
)
def test_what_cannot_be_hashed_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        holdout_split(np.array([0, 1] * 8), assignment="hashed", **options)


def test_another_assignment_is_refused():
    with pytest.raises(HeadError, match="assignment='random'; expected one of 'stratified', 'hashed'"):
        holdout_split(np.array([0, 1] * 8), assignment="random")


# -------------------------------------------------------------------------------------------- leakage


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
def test_a_seed_that_numpy_refuses_is_refused_in_one_way(groups, seed):
    with pytest.raises(HeadError, match=f"random_state={seed}; expected an integer or None, from 0"):
        holdout_split(np.array([0, 1] * 4), groups, random_state=seed)
