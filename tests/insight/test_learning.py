"""learning_curve(): noise stays flat, what is learnt rises, groups and views stay whole, the seed decides."""

import json

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featx import HeadError, HeadSearch, learning_curve
from featx.insight.learning import LearningCurve, Projection, plain_head


def blobs(distance, n_samples=400, n_features=20, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % 2
    return (rng.normal(size=(n_samples, n_features)) + distance * y[:, None]).astype(np.float32), y


class Recorder(ClassifierMixin, BaseEstimator):
    """Notes the rows that it is fitted on and asked about: their number stands in the first column."""

    log = []  # noqa: RUF012 - of all copies

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.log.append(("fit", X[:, 0].astype(int)))
        return self

    def predict(self, X):
        self.log.append(("ask", X[:, 0].astype(int)))
        return np.zeros(len(X), int)

    def decision_function(self, X):
        return X[:, 1]


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setattr(Recorder, "log", [])
    return Recorder()


# ------------------------------------------------------------------------------------------ the verdict


@pytest.mark.parametrize("seed", range(3))
def test_labels_of_pure_noise_give_a_flat_curve_and_say_so(seed):
    X, y = blobs(0.0, seed=seed)
    found = learning_curve(None, X, y, random_state=seed)
    assert max(found.score) - min(found.score) < 0.08
    assert "cannot be told from chance" in found.verdict
    low, high = found.projected[0].gain_ci
    assert low < 0.02
    assert high > -0.02


def test_a_separable_set_is_saturated_and_says_so():
    X, y = blobs(3.0)
    found = learning_curve(None, X, y)
    assert found.score[-1] == 1.0
    # A hundred held-out samples without a mistake are no promise.
    assert found.score_ci[-1][0] < 1.0
    assert found.verdict.startswith("more labels would hardly help: doubling them to 800 ")
    assert found.projected[0].gain == pytest.approx(0.0, abs=0.005)


def test_what_is_still_being_learnt_is_expected_to_go_on():
    X, y = blobs(0.15, n_samples=300, n_features=200)
    head = RidgeClassifier(alpha=200.0)
    found = learning_curve(head, X, y)
    twice = found.projected[0]
    assert twice.n_samples == 600
    assert twice.gain > 0
    assert found.score[0] < found.score[-1] < twice.score < found.projected[1].score
    more_X, more_y = blobs(0.15, n_samples=2000, n_features=200, seed=1)
    more = head.fit(more_X[:600], more_y[:600]).score(more_X[600:], more_y[600:])
    assert twice.score_ci[0] <= more <= twice.score_ci[1]


def curve(gain, gain_ci, score_ci=(0.8, 0.9)):
    twice = Projection(2, 200, 0.9, (0.8, 1.0), gain, gain_ci)
    return LearningCurve("accuracy", 100, (75,), (0.85,), (score_ci,), (twice,), 0.5, 10, 0.0)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (curve(0.03, (0.01, 0.05)), "more labels would help: doubling them to 200 is expected to "),
        (curve(0.006, (0.001, 0.012)), "more labels would help a little: "),
        (curve(0.002, (-0.001, 0.006)), "more labels would hardly help: "),
        (curve(0.01, (-0.01, 0.03)), "the curve cannot tell whether more labels would help: "),
        (curve(0.01, (-0.01, 0.03), (0.4, 0.9)), "with 75 labels the head of the curve cannot be told "),
    ],
)  # fmt: skip
def test_the_verdict_follows_the_interval(found, verdict):
    assert found.verdict.startswith(verdict)


def test_a_gain_is_said_in_points():
    assert (
        "to change accuracy by +3.0 points, 95 % interval +1.0 to +5.0" in curve(0.03, (0.01, 0.05)).verdict
    )


def test_fewer_sizes_than_the_law_has_parameters_are_not_carried_on():
    X, y = blobs(1.0)
    found = learning_curve(None, X, y, sizes=(20, 100, 300))
    assert found.projected == ()
    assert "too few" in found.verdict


# ------------------------------------------------------------------------------- what is fitted on what


def test_smaller_parts_are_in_larger_ones_and_nothing_held_out_is_fitted(recorder):
    X = np.c_[np.arange(60.0), np.zeros(60)]
    learning_curve(recorder, X, np.arange(60) % 2, sizes=(6, 20, 45), n_repeats=3)
    for repeat in range(3):
        small, asked, middle, _, large, _ = (set(rows) for _, rows in recorder.log[6 * repeat :][:6])
        assert small < middle < large
        assert (len(small), len(large), len(asked)) == (6, 45, 15)
        assert not large & asked


def test_groups_are_never_split(recorder):
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 20, 100)
    X = np.c_[np.arange(100.0), np.zeros(100)]
    learning_curve(recorder, X, np.arange(100) % 2, groups=groups, sizes=(10, 50), n_repeats=5)
    fits = [rows for what, rows in recorder.log if what == "fit"]
    asked = [rows for what, rows in recorder.log if what == "ask"]
    assert len(fits) == len(asked) == 10
    for trained, held_out in zip(fits, asked, strict=True):
        assert not set(groups[trained]) & set(groups[held_out])


def test_what_groups_are_called_decides_nothing():
    X, y = blobs(0.3, n_samples=80)
    groups = np.arange(80) // 2
    first, renamed = (learning_curve(None, X, y, groups=each) for each in (groups, (97 * groups) % 89))
    assert first.score == renamed.score
    assert learning_curve(None, X, y, groups=-np.arange(80)).score == learning_curve(None, X, y).score


def test_copies_in_groups_are_no_further_knowledge():
    # Every sample ten times over: without groups, held-out copies stand in the training part.
    X, y = blobs(0.0, n_samples=40)
    X, y, groups = np.repeat(X, 10, axis=0), np.repeat(y, 10), np.repeat(np.arange(40), 10)
    head, options = KNeighborsClassifier(1), {"sizes": (200,), "n_repeats": 3}
    assert learning_curve(head, X, y, **options).score[-1] > 0.95
    assert learning_curve(head, X, y, groups=groups, **options).score[-1] < 0.75


def test_views_are_counted_as_images_and_answered_as_one(recorder):
    images = np.repeat(np.arange(30), 3)
    X = np.c_[np.arange(90.0), np.zeros(90)]
    found = learning_curve(
        recorder, X, (np.arange(30) % 2)[images], images=images, sizes=(5, 20), n_repeats=2
    )
    assert found.n_total == 30
    first = next(rows for what, rows in recorder.log if what == "fit")
    assert np.bincount(images[first])[np.unique(images[first])].tolist() == [3] * 5


@pytest.mark.parametrize("scoring", ["balanced_accuracy", "roc_auc"])
def test_other_scores(scoring):
    X, y = blobs(0.3)
    found = learning_curve(GaussianNB(), X, y, scoring=scoring)
    assert found.chance == 0.5
    assert found.score[0] < found.score[-1] < 1
    assert ("ROC AUC" in found.verdict) == (scoring == "roc_auc")


def test_the_seed_decides():
    X, y = blobs(0.3)
    first, again, other = (learning_curve(None, X, y, random_state=seed) for seed in (1, 1, 2))
    assert (first.score, first.score_ci, first.projected) == (again.score, again.score_ci, again.projected)
    assert first.score != other.score


def test_the_number_of_threads_does_not():
    X, y = blobs(0.3)
    one, two = (learning_curve(GaussianNB(), X, y, n_jobs=n_jobs) for n_jobs in (None, 2))
    assert one.score == two.score


def test_default_sizes_reach_from_a_few_to_all_that_are_trained_on():
    X, y = load_digits(return_X_y=True)
    found = learning_curve(GaussianNB(), X, y, n_repeats=2)
    assert len(found.n_samples) == 8
    assert (found.n_samples[0], found.n_samples[-1]) == (42, 1348)
    assert found.n_repeats == 2


def test_a_curve_is_plain_json():
    X, y = blobs(1.0)
    found = learning_curve(None, X, y)
    read = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert read["verdict"] == found.verdict
    assert read["projected"][1]["factor"] == 4


# ------------------------------------------------------------------------------------------ the head


def test_a_head_is_unwrapped_to_what_can_be_fitted_anew():
    X, y = blobs(1.0)
    calibrated = CalibratedClassifierCV(LinearSVC(C=0.1)).fit(X, y)
    chosen = FixedThresholdClassifier(FrozenEstimator(calibrated), threshold=0.2).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), CalibratedClassifierCV(LinearSVC(C=0.1))).fit(X, y)
    assert repr(plain_head(chosen)) == repr(LinearSVC(C=0.1))
    assert repr(plain_head(pipeline)[-1]) == repr(LinearSVC(C=0.1))
    assert not hasattr(plain_head(pipeline)[0], "mean_")
    assert not hasattr(plain_head(pipeline)[-1], "classes_")


def test_of_a_search_the_best_head_is_fitted_anew():
    X, y = blobs(1.0)
    search = HeadSearch("linear_svm", cv=3, random_state=0).fit(X, y)
    found = plain_head(search)
    assert search.best_params_ == {"head__C": found[-1].C}
    assert type(found[-1]).__name__ == "LinearSVC"


def test_a_frozen_head_is_not_scored_on_what_it_was_fitted_on():
    X, y = blobs(0.0)
    frozen = FrozenEstimator(KNeighborsClassifier(1).fit(X, y))
    assert learning_curve(frozen, X, y, n_repeats=3).score[-1] < 0.7


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (1, 20)}, "the sizes 1, 20; expected some from 2, the classes, to 300, the training part"),
        ({"sizes": (20, 301)}, "the sizes 20, 301"),
        ({"sizes": ()}, "the sizes none"),
        ({"n_repeats": 1}, "n_repeats - 1=0"),
        ({"scoring": "f1"}, "scoring='f1'"),
        ({"n_jobs": 0}, "n_jobs=0"),
        ({"random_state": -1}, "random_state=-1"),
        ({"groups": [0, 1]}, "2 groups for 400 labels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    X, y = blobs(1.0)
    with pytest.raises(HeadError, match=message):
        learning_curve(None, X, y, **options)


def test_a_head_that_needs_more_samples_is_named():
    X, y = blobs(1.0)
    with pytest.raises(HeadError, match=r"4 samples, on which the head cannot answer .* pass larger sizes"):
        learning_curve(KNeighborsClassifier(9), X, y, sizes=(4, 40))


def test_default_sizes_leave_out_what_is_too_small_for_the_head():
    X, y = blobs(1.0)
    found = learning_curve(KNeighborsClassifier(30), X, y, n_repeats=2)
    assert 30 <= found.n_samples[0] < 60
    assert found.n_samples[-1] == 300
    assert len(found.score) == len(found.score_ci) == len(found.n_samples) < 8
    with pytest.raises(HeadError, match="300 samples, on which the head cannot answer"):
        learning_curve(KNeighborsClassifier(301), X, y, n_repeats=2)


def test_an_area_needs_scores():
    X, y = blobs(1.0)
    with pytest.raises(HeadError, match="scoring=roc_auc of a head without scores"):
        learning_curve(NoScores(), X, y, scoring="roc_auc")


class NoScores(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):  # noqa: ARG002 - scikit-learn's signature
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.zeros(len(X), int)
