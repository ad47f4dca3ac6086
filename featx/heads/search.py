"""HeadSearch: every candidate of several heads on the same folds, in one leaderboard.

A candidate is one head with one choice of parameters; all see the same folds. The results have the
layout of scikit-learn's ``GridSearchCV``, with a further column ``head``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, takewhile
from time import monotonic
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import check_scoring
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from featx.checks import check_choice, check_n_jobs, check_seed
from featx.errors import FeatxWarning, HeadError
from featx.heads.candidates import (
    Candidate,
    Problem,
    can_fit,
    candidates_of,
    check_single_scoring,
    check_weighable,
    fit_weights,
    needs_calibration,
    prepare,
    results_table,
    score_candidate,
    will_give,
)
from featx.heads.spaces import HeadSpec, resolve_heads
from featx.heads.splits import fewest_members, make_folds
from featx.progress import progress_bar


def _best_has(method: str) -> Any:
    def check(search: HeadSearch) -> bool:
        if not search.refit:
            return False
        if hasattr(search, "best_estimator_"):
            return hasattr(search.best_estimator_, method)
        # Before fitting, what every head will give is there, and says that a fit is missing.
        return all(
            will_give(spec.estimator, method, search.calibration) for spec in resolve_heads(search.heads)
        )

    return check


class HeadSearch(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Finds the best of several heads, and refits it on everything.

    Parameters
    ----------
    heads : str, HeadSpec or sequence of those, default="default"
        A search space, a head's name, or specs of your own. "default" is logistic regression, linear and
        RBF support vector machines, a small multi-layer perceptron and nearest neighbours.
    scoring : str or callable, default="accuracy"
        As scikit-learn has it; higher is better.
    cv : int, splitter or iterable, default=5
        An integer makes stratified folds that part no group.
    refit : bool, default=True
        Fit the best candidate on all samples.
    calibration : {"sigmoid", None}, default="sigmoid"
        How a best head without probabilities (a support vector machine) gets them when it is refitted:
        Platt scaling on out-of-fold decisions. Candidates are ranked by their raw decisions, but a head
        that is calibrated predicts the class of the highest calibrated probability. Where classes are
        unbalanced, this can move decisions, and the scores that the ranking was by with them; to choose
        the calibration inside the folds is planned. None predicts by the raw decisions.
    n_jobs : int, optional
        Candidates at once; None means 1, or what ``joblib.parallel_config`` says, and -1 as many as there
        are processors.
    time_budget_s : float, optional
        No candidate is handed to a worker after this many seconds, but for the first. Those that joblib
        has handed out already, about two a worker, are finished, so that the search can take longer.
    random_state : int, optional
        Seed of the folds and of every head. None keeps the samples' order in the folds.
    verbose : int, default=0
        1 shows a progress bar where stderr is a terminal.

    Attributes
    ----------
    best_estimator_ : estimator
        Refitted on all samples. Only with ``refit=True``.
    best_head_ : str
        Name of its head.
    best_params_ : dict
    best_score_ : float
        Mean score over the folds. It is the best of many and so a little too good; score new samples for
        an honest figure.
    best_index_ : int
        Into ``cv_results_``.
    cv_results_ : dict of str to array
        One entry a candidate: ``head``, ``params``, ``param_*``, ``split*_test_score``,
        ``mean_test_score``, ``std_test_score``, ``rank_test_score``, and times in seconds.
    classes_ : ndarray of shape (n_classes,)
    n_splits_ : int
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> search = HeadSearch(["logistic_regression", "knn"], cv=3, random_state=0).fit(X[:300], y[:300])
    >>> search.best_head_
    'logistic_regression'
    >>> search.predict(X[300:303]).shape
    (3,)
    """

    def __init__(
        self,
        heads: str | HeadSpec | Sequence[str | HeadSpec] = "default",
        *,
        scoring: Any = "accuracy",
        cv: Any = 5,
        refit: bool = True,
        calibration: str | None = "sigmoid",
        n_jobs: int | None = None,
        time_budget_s: float | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.heads = heads
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.calibration = calibration
        self.n_jobs = n_jobs
        self.time_budget_s = time_budget_s
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: np.ndarray,
        y: Sequence[Any] | np.ndarray,
        groups: Sequence[Any] | np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> HeadSearch:
        """Score every candidate, and refit the best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; float16 is searched as float32.
        y : array-like of shape (n_samples,)
            Classes. Leave samples without a label out: -1, by which featx codes them, is a class here.
        groups : array-like of shape (n_samples,), optional
            Samples of one group are never parted.
        sample_weight : array-like of shape (n_samples,), optional
            Used in fitting, not in scoring.

        Returns
        -------
        self

        Raises
        ------
        HeadError
            When the labels or groups cannot serve the folds, a head is unknown, cannot weigh samples or
            has another grid's parameters, ``n_jobs`` or the seed cannot be used, or every candidate
            fails.
        """
        check_choice("calibration", self.calibration, ("sigmoid", None), HeadError)
        check_seed("random_state", self.random_state, HeadError)
        check_n_jobs(self.n_jobs, HeadError)
        check_single_scoring(self.scoring)
        # A search that fails or does not refit must not answer with the head of an earlier one.
        self.__dict__.pop("best_estimator_", None)
        X, labels = validate_data(self, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(labels)
        specs = resolve_heads(self.heads)
        candidates = list(chain.from_iterable(map(candidates_of, specs)))
        folds = make_folds(labels, groups, self.cv, self.random_state)
        candidates = [candidate for candidate in candidates if can_fit(candidate, folds)]
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            check_weighable(specs)
        problem = Problem(X, labels, groups, folds, sample_weight)
        self.classes_, self.n_splits_ = np.unique(labels), len(folds)
        results = self._score(candidates, problem)
        self.cv_results_ = results_table(candidates[: len(results)], results)
        self._choose(candidates)
        if self.refit:
            spec, params = candidates[self.best_index_]
            self.best_estimator_ = self._refit(prepare(spec, params, self.random_state), problem)
        return self

    @available_if(_best_has("predict"))
    def score(self, X: np.ndarray, y: Sequence[Any] | np.ndarray) -> float:
        """What ``scoring`` gives for the best head on some samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            True classes.

        Returns
        -------
        float
            Higher is better.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw, or ``scoring`` does not suit y.
        """
        check_is_fitted(self, "best_estimator_")
        scorer = check_scoring(self.best_estimator_, self.scoring)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return float(scorer(self.best_estimator_, X, y))

    @available_if(_best_has("predict"))
    def predict(self, X: np.ndarray) -> np.ndarray:
        """The best head's classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Of a calibrated head, the classes of the highest probability.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw.
        """
        return self._of_best("predict", X)

    @available_if(_best_has("predict_proba"))
    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """The best head's probabilities; absent where it has none and ``calibration=None``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns are in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw.
        """
        return self._of_best("predict_proba", X)

    @available_if(_best_has("decision_function"))
    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """The best head's decision values; absent where it has none, and where it was calibrated.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One column for two classes.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            When X has another number of features than `fit` saw.
        """
        return self._of_best("decision_function", X)

    def leaderboard(self) -> list[dict[str, Any]]:
        """The candidates from best to worst, each with its head, parameters, mean score and deviation."""
        check_is_fitted(self, "cv_results_")
        results = self.cv_results_
        order = np.argsort(results["rank_test_score"], kind="stable")
        return [
            {
                "rank": int(results["rank_test_score"][index]),
                "head": str(results["head"][index]),
                "params": results["params"][index],
                "mean_test_score": float(results["mean_test_score"][index]),
                "std_test_score": float(results["std_test_score"][index]),
                "mean_fit_time": float(results["mean_fit_time"][index]),
            }
            for index in order
        ]

    def _of_best(self, method: str, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self, "best_estimator_")
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return np.asarray(getattr(self.best_estimator_, method)(X))

    def _score(self, candidates: list[Candidate], problem: Problem) -> list[Mapping[str, Any]]:
        score = delayed(partial(score_candidate, problem=problem, scoring=self.scoring))
        tasks = (
            score(prepare(spec, params, self.random_state))
            for spec, params in self._until_the_bell(candidates)
        )
        results = []
        with progress_bar("Searching", len(candidates), self.verbose, "candidates") as advance:
            for result in Parallel(n_jobs=self.n_jobs, return_as="generator")(tasks):
                results.append(result)
                advance(1)
        if len(results) < len(candidates):
            message = f"{len(results)} of {len(candidates)} candidates in {self.time_budget_s} seconds"
            warnings.warn(f"the time budget ended the search after {message}", FeatxWarning, stacklevel=3)
        return results

    def _until_the_bell(self, candidates: list[Candidate]) -> Iterator[Candidate]:
        if self.time_budget_s is None:
            return iter(candidates)
        bell = monotonic() + self.time_budget_s
        first, rest = candidates[:1], candidates[1:]
        return chain(first, takewhile(lambda _: monotonic() < bell, rest))

    def _choose(self, candidates: list[Candidate]) -> None:
        scores, reasons = self.cv_results_["mean_test_score"], self.cv_results_["error"]
        have_all_failed = bool(np.isnan(scores).all())
        if have_all_failed and len(set(reasons)) == 1:
            # Then it is not the candidates that are at fault, and to name each would bury the reason.
            raise HeadError(f"every candidate failed: {reasons[0]}")
        for (spec, params), score, reason in zip(candidates, scores, reasons, strict=False):
            if np.isnan(score):
                warnings.warn(f"{spec.name} with {params} failed: {reason}", FeatxWarning, stacklevel=3)
        if have_all_failed:
            raise HeadError(f"every candidate failed; the first with: {reasons[0]}")
        self.best_index_ = int(self.cv_results_["rank_test_score"].argmin())
        spec, self.best_params_ = candidates[self.best_index_]
        self.best_head_ = spec.name
        self.best_score_ = float(scores[self.best_index_])

    def _refit(self, best: BaseEstimator, problem: Problem) -> BaseEstimator:
        weights = fit_weights(best, problem.sample_weight)
        if needs_calibration(best, self.calibration):
            # One head on all samples and one sigmoid on its out-of-fold decisions; folds that overlap
            # or leave samples out give no such decisions.
            folds = problem.folds
            tested = np.sort(np.concatenate([test for _, test in folds]))
            if not np.array_equal(tested, np.arange(len(problem.y))):
                n_folds = min(5, fewest_members(problem.y, problem.groups))
                folds = make_folds(problem.y, problem.groups, n_folds, self.random_state)
            best = CalibratedClassifierCV(best, method=self.calibration, cv=folds, ensemble=False)
            if problem.sample_weight is not None:
                weights["sample_weight"] = problem.sample_weight
        with warnings.catch_warnings():
            # scikit-learn sees the sigmoid's weights, and not those that the head gets by its own name.
            warnings.filterwarnings("ignore", ".* does not appear to accept sample_weight", UserWarning)
            return best.fit(problem.X, problem.y, **weights)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = False
        return tags
