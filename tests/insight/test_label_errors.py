"""Labels that other samples speak against: planted ones are found, copies do not vouch for themselves."""

import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.errors import HeadError
from featx.insight import label_errors
from featx.insight.label_errors import out_of_fold_probabilities, suspected_labels


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32), y


def flipped(y, n_flipped, seed):
    random = np.random.default_rng(seed)
    rows = random.choice(len(y), n_flipped, replace=False)
    labels = y.copy()
    labels[rows] = (y[rows] + random.integers(1, 10, n_flipped)) % 10
    return labels, rows


def clusters(n_samples, n_classes=2, seed=0, n_features=4):
    random = np.random.default_rng(seed)
    codes = np.arange(n_samples) % n_classes
    centres = 4 * random.normal(size=(n_classes, n_features))
    return centres[codes] + random.normal(size=(n_samples, n_features)), codes


class TestProbabilities:
    def test_planted_errors_are_most_of_what_is_suspected(self, digits):
        X, y = digits
        labels, rows = flipped(y, 40, seed=100)
        found = suspected_labels(out_of_fold_probabilities(X, labels), labels)
        n_hits = len(np.intersect1d(found.rows, rows))
        assert n_hits / 40 > 0.65
        assert n_hits / len(found.rows) > 0.65
        is_hit = np.isin(found.rows, rows)
        assert (found.suggested[is_hit] == y[found.rows[is_hit]]).mean() > 0.9
        assert (np.diff(found.scores) <= 0).all()

    def test_neighbours_make_it_better(self, digits):
        X, y = digits
        labels, rows = flipped(y, 40, seed=100)
        directions = X / np.linalg.norm(X, axis=1, keepdims=True)
        similarity = directions @ directions.T
        np.fill_diagonal(similarity, -1)
        neighbors = np.argsort(-similarity, axis=1)[:, :20]
        precision = []
        for given in (None, neighbors):
            found = suspected_labels(out_of_fold_probabilities(X, labels, neighbors=given), labels)
            precision.append(np.isin(found.rows, rows).mean())
        assert precision[1] > precision[0] + 0.05

    def test_nothing_of_the_own_fold_is_used(self, monkeypatch):
        X, codes = clusters(60, n_classes=3)
        folds = np.repeat(np.arange(5), 12)
        monkeypatch.setattr(label_errors, "_folds", lambda *_: folds)
        neighbors = np.random.default_rng(0).integers(0, 60, (60, 7))
        before = out_of_fold_probabilities(X, codes, neighbors=neighbors)
        codes[folds == 2] = (codes[folds == 2] + 1) % 3
        after = out_of_fold_probabilities(X, codes, neighbors=neighbors)
        np.testing.assert_allclose(before[folds == 2], after[folds == 2], atol=1e-6)
        assert not np.allclose(before[folds == 1], after[folds == 1], atol=1e-6)

    def test_copies_of_one_group_do_not_vouch_for_each_other(self):
        X, codes = clusters(40, n_features=200)
        X, codes = np.concatenate([X, np.repeat(X[:1], 12, axis=0)]), np.append(codes, [1] * 12)
        codes[0] = 1
        groups = [str(row) for row in range(40)] + ["0"] * 12
        apart = suspected_labels(out_of_fold_probabilities(X, codes, groups), codes)
        assert set(apart.rows) >= {0, *range(40, 52)}
        together = suspected_labels(out_of_fold_probabilities(X, codes), codes)
        assert len(np.intersect1d(together.rows, range(40, 52))) < 12

    def test_groups_stay_whole_and_classes_spread(self):
        random = np.random.default_rng(1)
        members = random.integers(0, 60, 400)
        labels = (members % 3).astype(np.intp)
        folds = label_errors._folds(labels, np.unique(members, return_inverse=True)[1], 5, 0)
        assert all(len(np.unique(folds[members == group])) == 1 for group in np.unique(members))
        table = np.array([[((folds == fold) & (labels == c)).sum() for c in range(3)] for fold in range(5)])
        assert table.min() > 0.6 * table.mean()

    def test_a_class_in_one_group_is_not_judged_and_not_suspected(self):
        X, codes = clusters(60, n_classes=3)
        groups = np.array([str(row) for row in range(60)], object)
        groups[codes == 2] = "the same patient"
        probabilities = out_of_fold_probabilities(X, codes, groups)
        assert np.isnan(probabilities[codes == 2]).all()
        assert np.isfinite(probabilities[codes != 2]).all()
        assert not (codes[suspected_labels(probabilities, codes).rows] == 2).any()

    @pytest.mark.parametrize(
        ("codes", "groups"),
        [([0] * 6, None), ([0, 1] * 3, ["a"] * 6), ([0], None), ([], None)],
        ids=["one class", "one group", "one sample", "none"],
    )
    def test_what_cannot_be_judged(self, codes, groups):
        X = np.random.default_rng(0).normal(size=(len(codes), 3))
        probabilities = out_of_fold_probabilities(X, codes, groups)
        assert np.isnan(probabilities).all()
        assert len(suspected_labels(probabilities, codes).rows) == 0

    @pytest.mark.parametrize("n_samples", [2, 3, 4, 7])
    def test_a_handful_of_samples(self, n_samples):
        X, codes = clusters(n_samples)
        probabilities = out_of_fold_probabilities(X, codes)
        assert probabilities.shape == (n_samples, 2)
        judged = np.isfinite(probabilities).all(axis=1)
        np.testing.assert_allclose(probabilities[judged].sum(axis=1), 1)

    def test_the_place_of_the_origin_and_constant_columns_do_not_matter(self):
        X, codes = clusters(80)
        moved = np.column_stack([X + 300, np.full(80, 7.0), np.zeros(80)])
        np.testing.assert_allclose(
            out_of_fold_probabilities(X, codes), out_of_fold_probabilities(moved, codes), atol=1e-3
        )

    def test_half_precision_and_many_columns(self, monkeypatch):
        # As many as are still multiplied pair by pair take a second.
        monkeypatch.setattr(label_errors, "_MOST_COLUMNS", 300)
        monkeypatch.setattr(label_errors, "_N_PROJECTED", 200)
        X, codes = clusters(60, n_features=400)
        probabilities = out_of_fold_probabilities(X.astype(np.float16), codes)
        assert (probabilities.argmax(axis=1) == codes).all()

    def test_memory_is_bounded_whatever_the_classes(self, monkeypatch):
        monkeypatch.setattr(label_errors, "_BLOCK_BYTES", 2**21)
        monkeypatch.setattr(label_errors, "_MOST_FOR_TEMPERATURE", 2**16)
        X, codes = clusters(6000, n_classes=1000, n_features=8)
        tracemalloc.start()
        try:
            probabilities = out_of_fold_probabilities(X.astype(np.float32), codes)
            suspected_labels(probabilities, codes)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Beside the probabilities, a few blocks; decisions of all pairs of folds would be four times as much.
        assert probabilities.nbytes == 24_000_000
        assert peak < probabilities.nbytes + 60 * 2**20

    def test_the_seed_draws_the_folds(self):
        X, codes = clusters(60)
        codes[:5] = 1
        one, same, other = (out_of_fold_probabilities(X, codes, random_state=seed) for seed in (0, 0, 1))
        assert (one == same).all()
        assert (one != other).any()

    def test_bad_input_is_refused(self):
        X, codes = clusters(10)
        with pytest.raises(HeadError, match="a row and a class"):
            out_of_fold_probabilities(X[:9], codes)
        with pytest.raises(HeadError, match="a row and a class"):
            out_of_fold_probabilities(X, codes - 1)
        X[3, 0] = np.inf
        with pytest.raises(HeadError, match="infinite features in 1 of 10 rows"):
            out_of_fold_probabilities(X, codes)


class TestSuspicion:
    def test_a_hard_class_is_not_suspected_as_a_whole(self):
        # Half of class 1 looks like class 0: its mean is low, and so is what it takes to be likely.
        probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
        codes = np.repeat([0, 1], 10)
        assert len(suspected_labels(probabilities, codes).rows) == 0
        assert (probabilities.argmax(axis=1) != codes).sum() == 10

    def test_classes_without_samples_are_passed_over(self):
        probabilities = np.array([[0.9, 0.0, 0.1], [0.8, 0.0, 0.2], [0.1, 0.0, 0.9], [0.9, 0.0, 0.1]])
        found = suspected_labels(probabilities, [0, 0, 2, 2])
        assert (found.rows.tolist(), found.suggested.tolist()) == ([3], [0])

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(HeadError, match="one of 'confident', 'cleanlab'"):
            suspected_labels(np.eye(2), [0, 1], "guess")

    def test_equals_cleanlabs_confident_learning(self, digits):
        find = pytest.importorskip("cleanlab.filter").find_label_issues
        X, y = digits
        for n_flipped, is_binary in ((40, False), (400, False), (300, True)):
            labels, _ = flipped(y, n_flipped, seed=101)
            codes = labels % 2 if is_binary else labels
            probabilities = out_of_fold_probabilities(X, codes)
            theirs = find(codes, probabilities, filter_by="confident_learning", n_jobs=1)
            ours = suspected_labels(probabilities, codes).rows
            assert len(ours) > 20
            assert sorted(ours) == np.flatnonzero(theirs).tolist()

    def test_cleanlabs_own_choice(self, digits):
        pytest.importorskip("cleanlab")
        X, y = digits
        labels, rows = flipped(y, 40, seed=102)
        found = suspected_labels(out_of_fold_probabilities(X, labels), labels, "cleanlab")
        assert len(np.intersect1d(found.rows, rows)) > 25
        assert (found.scores >= 0).all()
