"""Real features, small heads and guards for the tests of the head search."""

from functools import cache

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.heads.problem import Problem
from featx.heads.search import HeadSearch
from featx.heads.splits import make_folds


@cache
def digits(n_samples=240):
    """Ten classes, 64 columns, float64."""
    X, y = load_digits(return_X_y=True)
    return X[:n_samples], y[:n_samples]


@cache
def cancer(n_samples=240):
    """Two classes, 30 columns, float64."""
    X, y = load_breast_cancer(return_X_y=True)
    return X[:n_samples], y[:n_samples]


def scaled(head, *between):
    """A pipeline as featx's own heads are."""
    return Pipeline([("scale", StandardScaler()), *between, ("head", head)])


def problem_of(X, y, n_folds=3, **options):
    return Problem(X, y, None, make_folds(y, cv=n_folds, random_state=0), **options)


def both(spec, X, y, weight=None, **options):
    """The split scores, (n_candidates, n_folds), of a search and of GridSearchCV on the same folds."""
    folds = make_folds(y, cv=3, random_state=0)
    search = HeadSearch(spec, cv=folds, refit=False, **options).fit(X, y, sample_weight=weight)
    name = "head__sample_weight" if isinstance(spec.estimator, Pipeline) else "sample_weight"
    params = {} if weight is None else {name: weight}
    options = {name: value for name, value in options.items() if name == "scoring"}
    grid = GridSearchCV(spec.estimator, spec.param_grid, cv=folds, refit=False, **options).fit(X, y, **params)
    assert search.cv_results_["params"] == grid.cv_results_["params"]
    assert search.cv_results_["error"].tolist() == [""] * len(grid.cv_results_["params"])
    names = [f"split{fold}_test_score" for fold in range(3)]
    ours, theirs = (np.array([results.cv_results_[name] for name in names]).T for results in (search, grid))
    return ours, theirs


def gave_up(caplog):
    """Whether a path gave up and its family was fitted one by one, which caplog has to catch at DEBUG."""
    return any("one by one" in record.message for record in caplog.records)
