"""nested_scores: an estimate that many candidates do not flatter."""

import json

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from featx import HeadError, HeadSearch, HeadSpec, nested_scores
from featx.heads import search as search_module
from featx.heads.splits import make_folds

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(80, 5))
COINS = RNG.permutation(np.arange(80) % 2)
MANY = HeadSpec("knn", KNeighborsClassifier(), {"n_neighbors": list(range(1, 40)), "p": [1, 2]})


def test_noise_gives_chance_where_the_best_score_is_optimistic():
    search = HeadSearch(MANY, cv=4, random_state=0)
    found = nested_scores(search, NOISE, COINS, cv=5, random_state=0)
    optimistic = search.fit(NOISE, COINS).best_score_
    assert optimistic > 0.55
    assert found.mean < optimistic
    assert abs(found.mean - 0.5) < 0.1


def separable(n_samples=60):
    y = np.arange(n_samples) % 3
    return RNG.normal(size=(n_samples, 4)) + 4 * np.eye(3, 4)[y], y


def test_what_each_fold_found_is_told():
    X, y = separable()
    blocks = {"all": (0, 4), "useless": (3, 4)}
    search = HeadSearch("knn", cv=3, feature_blocks=blocks, random_state=0)
    found = nested_scores(search, X, y, cv=4, random_state=0)
    assert len(found.scores) == len(found.heads) == len(found.params) == 4
    assert set(found.features) == {"all"}
    assert set(found.params[0]) == {"head__n_neighbors"}
    assert found.mean == pytest.approx(np.mean(found.scores))
    assert json.loads(json.dumps(found.to_dict()))["std"] == found.std
    assert not hasattr(search, "best_estimator_")


def test_the_score_that_ranks_is_the_one_given():
    X, y = separable()
    search = HeadSearch("knn", cv=3, scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss")
    assert nested_scores(search, X, y, cv=3).mean < 0


def test_groups_are_not_parted_and_weights_reach_the_fits():
    X, y = separable(36)
    groups = np.repeat(np.arange(12), 3)
    with pytest.raises(HeadError, match="group"):
        nested_scores(HeadSearch("knn", cv=2), X, y, groups, cv=[(np.arange(35), np.array([35]))])
    # Without weight, a class is never predicted.
    weight = (y != 1).astype(float)
    search = HeadSearch("knn", cv=2)
    assert nested_scores(search, X, y, None, weight, cv=3).mean < nested_scores(search, X, y, cv=3).mean - 0.2


def test_views_are_averaged_and_never_parted():
    y = np.arange(40) % 2
    X = np.repeat(y[:, None] * 2.0, 2, axis=0) + np.tile([[-3.0], [3.0]], (40, 1))
    X = np.hstack([X, RNG.normal(size=(80, 1)) * 0.01])
    images, labels = np.repeat([f"{row}.jpg" for row in range(40)], 2), np.repeat(y, 2)
    search = HeadSearch(HeadSpec("knn", KNeighborsClassifier(3), {"weights": ["uniform"]}), cv=3)
    assert nested_scores(search, X, labels, images=images, cv=4).mean == 1.0
    with pytest.raises(HeadError, match="of one image with the group"):
        nested_scores(search, X, labels, np.arange(80), images=images)


@pytest.mark.parametrize("n_columns", [1, 2])
def test_strata_spread_over_the_outer_and_the_inner_folds(monkeypatch, n_columns):
    X, y = separable(72)
    is_rare = np.arange(72) < 12
    strata = is_rare if n_columns == 1 else np.stack([is_rare, y], axis=1)
    # A column of the features tells which rows are where.
    X[:, 3] = is_rare
    seen, n_tested, fit = [], [], HeadSearch.fit

    def watched_fit(self, X, *rest, **options):
        seen.append(X[:, 3])
        return fit(self, X, *rest, **options)

    def watched_folds(*args, **options):
        folds = make_folds(*args, **options)
        n_tested.append([int(seen[-1][test].sum()) for _, test in folds])
        return folds

    monkeypatch.setattr(HeadSearch, "fit", watched_fit)
    monkeypatch.setattr(search_module, "make_folds", watched_folds)
    nested_scores(HeadSearch("knn", cv=3, random_state=0), X, y, strata=strata, cv=4, random_state=0)
    assert [int(column.sum()) for column in seen] == [9] * 4
    assert n_tested == [[3, 3, 3]] * 4
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        nested_scores(HeadSearch("knn"), X, y, strata=strata[:9])


def test_a_search_without_a_head_is_refused():
    with pytest.raises(HeadError, match="refit=False"):
        nested_scores(HeadSearch("knn", refit=False), NOISE, COINS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        nested_scores(HeadSearch("knn"), NOISE, COINS[:9])
