"""few_shot_curve(): both ways to compute it, small classes, whole groups."""

import json
import tracemalloc

import numpy as np
import pytest

from featx import HeadError, few_shot_curve
from featx.insight import few_shot
from featx.insight.labelled import Labelled


def blobs(counts=(60, 60, 60), distance=1.5, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(len(counts)), counts)
    return (rng.normal(size=(len(y), 12)) + distance * np.eye(12)[y]).astype(np.float32), y


@pytest.mark.parametrize("counts", [(60, 60, 60), (90, 8, 20)])
def test_columns_and_samples_tell_the_same(monkeypatch, counts):
    X, y = blobs(counts)
    by_columns = few_shot_curve(X, y, shots=(5, 20, 40))
    monkeypatch.setattr(few_shot, "_MOST_COLUMNS", 0)
    by_samples = few_shot_curve(X, y, shots=(5, 20, 40))
    assert by_columns.recall == by_samples.recall
    assert by_columns.accuracy_ci == by_samples.accuracy_ci
    assert by_columns.note == by_samples.note == ""


def test_too_many_shots_are_left_out_and_said(monkeypatch):
    monkeypatch.setattr(few_shot, "_MOST_COLUMNS", 0)
    monkeypatch.setattr(few_shot, "_MOST_SAMPLES", 60)
    found = few_shot_curve(*blobs(), shots=(5, 20, 40, 41))
    assert None not in found.accuracy[:2]
    assert found.accuracy[2:] == found.accuracy_ci[2:] == (None, None)
    assert found.note.startswith("40, 41 labels of every class were not drawn")
    assert [row[2] for row in found.recall] == [None] * 3
    monkeypatch.setattr(few_shot, "_MOST_SAMPLES", 2)
    assert few_shot_curve(*blobs(), shots=(5, 20)).accuracy == (None, None)


def test_memory_is_bounded_whatever_the_classes():
    rng = np.random.default_rng(0)
    y = np.arange(6000) % 120
    X = rng.normal(size=(6000, 16)).astype(np.float32)
    tracemalloc.start()
    try:
        few_shot_curve(X, y, n_repeats=2, shots=(1, 20, 30))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Products of all samples that are shown would be 100 MB by themselves.
    assert peak < 30 * 2**20


def test_more_shots_know_more():
    found = few_shot_curve(*blobs(), shots=(1, 5, 40))
    assert found.accuracy[0] < found.accuracy[1] < found.accuracy[2]
    for (low, high), accuracy in zip(found.accuracy_ci, found.accuracy, strict=True):
        assert low < accuracy < high
    assert np.mean(found.recall, axis=0) == pytest.approx(found.accuracy, abs=0.03)


def test_noise_is_told_by_chance():
    found = few_shot_curve(*blobs(distance=0.0), shots=(1, 40))
    for low, high in found.accuracy_ci:
        assert low < 1 / 3 < high


def test_what_is_always_right_may_yet_be_wrong():
    found = few_shot_curve(*blobs(distance=30.0), shots=(10,))
    assert found.accuracy == (1.0,)
    assert found.accuracy_ci[0][0] < 1.0


def test_a_class_with_fewer_samples_than_shots_has_none():
    found = few_shot_curve(*blobs((60, 60, 8)), shots=(2, 5, 20), class_names=["a", "b", "rare"])
    assert found.class_names == ("a", "b", "rare")
    assert found.n_available[:2] == (45, 45)
    assert 5 <= found.n_available[2] < 8
    rare = found.recall[2]
    assert rare[2] is None
    assert found.recall_ci[2][2] is None
    assert rare[0] is not None
    assert None not in found.recall[0]
    # The others are still told from it.
    assert found.accuracy[2] is not None


def test_more_shots_than_any_class_has_give_nothing():
    found = few_shot_curve(*blobs(), shots=(5, 500))
    assert found.accuracy[1] is None
    assert found.accuracy_ci[1] is None
    assert [row[1] for row in found.recall] == [None] * 3


def test_shots_are_of_different_groups_and_none_is_parted():
    X, y = blobs((40, 40))
    groups = np.repeat(np.arange(20), 4)
    labelled = Labelled.of(X, y, groups, None)
    shown = few_shot._of_other_groups(labelled, np.arange(80))
    chosen = shown.samples[y[shown.samples] == 1]
    assert shown.places.tolist() == [*range(10), *range(10)]
    assert len(chosen) == len(set(groups[chosen])) == 10
    found = few_shot_curve(X, y, groups=groups, shots=(1, 7, 8))
    # A quarter of the groups of a class is held out, and copies are no shots.
    assert found.n_available[0] <= 9


def test_views_are_averaged_before_anything_else():
    X, y = blobs()
    noise = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    views, images = np.concatenate([X + noise, X - noise]), np.tile(np.arange(180), 2)
    found = few_shot_curve(views, np.tile(y, 2), images=images, shots=(1, 10))
    expected = few_shot_curve(X, y, shots=(1, 10))
    assert found.accuracy == pytest.approx(expected.accuracy, abs=0.005)
    assert found.n_available == expected.n_available


def test_the_seed_decides():
    first, again, other = (few_shot_curve(*blobs(), shots=(1, 5), random_state=seed) for seed in (1, 1, 2))
    assert (first.recall, first.recall_ci) == (again.recall, again.recall_ci)
    assert first.recall != other.recall


def test_shots_are_sorted_and_named_once():
    assert few_shot_curve(*blobs(), shots=(5, 1, 5)).shots == (1, 5)


def test_a_large_set_is_judged_on_a_part(monkeypatch):
    monkeypatch.setattr(few_shot, "_MOST_HELD_OUT", 9)
    found = few_shot_curve(*blobs(), shots=(5,))
    assert {round(value * 90) % 1 for value in found.accuracy} == {0}
    assert found.accuracy_ci[0][1] - found.accuracy_ci[0][0] > 0


def test_a_curve_is_plain_json():
    found = few_shot_curve(*blobs((60, 60, 8)), shots=(2, 20))
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["recall"][2][1] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": ()}, "no shots"),
        ({"shots": (0, 1)}, "shots=0"),
        ({"n_repeats": 1}, "n_repeats - 1=0"),
        ({"class_names": ["a"]}, "1 class names for 3 classes"),
        ({"random_state": "x"}, "random_state='x'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(HeadError, match=message):
        few_shot_curve(*blobs(), **options)
