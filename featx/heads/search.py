"""HeadSearch: every candidate of several heads on the same folds, in one leaderboard.

A candidate is one head with one choice of parameters, on one feature set; all see the same folds. What
candidates share is computed once a fold (`featx.heads.shared`, `featx.heads.paths`), which candidates are
tried is a strategy's to say (`featx.heads.strategies`), and the best is refitted, calibrated and given its
threshold at the end (`featx.heads.finishing`). The results have the layout of scikit-learn's
``GridSearchCV``, with the further columns ``head``, ``features`` and ``error``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from time import monotonic
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from featx.checks import check_choice, check_finite, check_n_jobs, check_seed, explain
from featx.errors import FeatxWarning, HeadError
from featx.files import StrPath
from featx.heads.best import AnswersWithBest
from featx.heads.candidates import Candidate, Preparation, check_scoring_names
from featx.heads.finishing import CALIBRATIONS, check_threshold, finish
from featx.heads.problem import (
    Problem,
    check_blocks,
    check_scorable,
    check_targets,
    check_varied,
    check_weights,
)
from featx.heads.results import Outcome, leaderboard, results_table
from featx.heads.shared import FOLDS
from featx.heads.spaces import HeadSpec, resolve_heads
from featx.heads.splits import make_folds
from featx.heads.strategies import Space
from featx.heads.trials import Trials
from featx.views import group_views, one_per_image

# Larger float16 features are searched as they are, read in blocks.
_MOST_CONVERTED_BYTES = 2**30


class HeadSearch(AnswersWithBest, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """Finds the best of several heads, and refits it on everything.

    Parameters
    ----------
    heads : str, HeadSpec or sequence of those, default="default"
        A search space ("fast", "default", "thorough"), a head's name, or specs of your own. "default" is
        logistic regression, ridge, linear and RBF support vector machines, a small multi-layer perceptron
        and nearest neighbours.
    scoring : str, callable, sequence or mapping, default="accuracy"
        As scikit-learn has it, several at once too; higher is better. A head without probabilities is
        calibrated within each fold where the scoring asks for them, unless ``calibration=None``.
    cv : int, splitter or iterable, default=5
        An integer makes stratified folds that part no group.
    refit : bool or str, default=True
        Fit the best candidate on all samples. With several scores, the name of the one that ranks.
    n_repeats : int, default=1
        Times that an integer ``cv`` is drawn anew.
    strategy : {"grid", "refine", "random", "halving"}, default="grid"
        Every candidate; that, and then half steps around each head's peak until they are an eighth of a
        decade; ``n_iter`` draws of each head's grid or distributions; or all on few rows and the best
        third on three times as many, until the rows are all there are.
    n_iter : int, default=20
        Draws a head and feature set, of the random strategy.
    class_weight : "balanced", mapping or None, default=None
        Of every head, as scikit-learn has it; multiplies the sample weights.
    calibration : {"sigmoid", "isotonic", "auto", None}, default="sigmoid"
        How a best head without probabilities (a support vector machine) gets them when it is refitted: on
        the out-of-fold decisions. "auto" takes what has the least log loss, each fold calibrated by the
        others, and calibrates a head with probabilities of its own, too, where that is better.
        Candidates are ranked by their raw decisions, but a calibrated head predicts the class of the
        highest calibrated probability, which can move decisions where classes are unbalanced. None
        predicts by the raw decisions.
    tune_threshold : bool, default=False
        Of two classes, predict the second from the probability on that is best for the ranking score,
        chosen on out-of-fold probabilities.
    feature_blocks : mapping of str to (start, stop), slice or sequence of int, optional
        Feature sets among the columns, searched in one leaderboard. By default one set of all columns.
    journal : path-like, optional
        File of finished candidates. A search that was killed and is fitted again with the same data goes
        on where it was. A scoring of your own is known by its name: take another file when you change it.
    n_jobs : int, optional
        Tasks at once; None means 1, or what ``joblib.parallel_config`` says, and -1 as many as there are
        processors. Threads, unless ``parallel_config`` names another backend.
    time_budget_s : float, optional
        Nothing is begun after this many seconds, but for the first candidate. The best of the candidates
        that are finished by then is refitted.
    random_state : int, optional
        Seed of the folds and of every head. None keeps the samples' order in the folds.
    verbose : int, default=0
        1 shows a progress bar where stderr is a terminal.

    Attributes
    ----------
    best_estimator_ : estimator
        Refitted on all samples, on its feature set's columns. Only with ``refit``.
    best_head_ : str
        Name of its head.
    best_params_ : dict
    best_features_ : str
        Name of its feature set.
    best_columns_ : slice or ndarray
        Of that.
    best_score_ : float
        Mean score over the folds. It is the best of many and so a little too good; score new samples, or
        use `nested_scores`, for an honest figure.
    best_index_ : int
        Into ``cv_results_``.
    best_calibration_ : str or None
        That the best head got.
    calibration_losses_ : dict of str to float
        Out-of-fold log loss of each calibration, in nats, where several were tried.
    best_threshold_, threshold_score_ : float or None
        With ``tune_threshold``, and what such thresholds score on folds that did not choose them.
    cv_results_ : dict of str to array
        One entry a candidate: ``head``, ``features``, ``params``, ``param_*``, ``split*_test_*``,
        ``mean_test_*``, ``std_test_*``, ``rank_test_*``, ``error``, and times in seconds, without what
        candidates share. ``iter`` and ``n_resources`` where a strategy has several rounds.
    classes_ : ndarray of shape (n_classes,)
    n_splits_ : int
    test_train_ratio_ : float
        Samples that a fold tests on for each one that it fits on, in the mean.
    n_scored_ : float
        Samples that a fold tests on, in the mean; images, where they have views.
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
        refit: bool | str = True,
        n_repeats: int = 1,
        strategy: str = "grid",
        n_iter: int = 20,
        class_weight: str | Mapping[Any, float] | None = None,
        calibration: str | None = "sigmoid",
        tune_threshold: bool = False,
        feature_blocks: Mapping[str, Any] | None = None,
        journal: StrPath | None = None,
        n_jobs: int | None = None,
        time_budget_s: float | None = None,
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.heads = heads
        self.scoring = scoring
        self.cv = cv
        self.refit = refit
        self.n_repeats = n_repeats
        self.strategy = strategy
        self.n_iter = n_iter
        self.class_weight = class_weight
        self.calibration = calibration
        self.tune_threshold = tune_threshold
        self.feature_blocks = feature_blocks
        self.journal = journal
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
        *,
        images: Sequence[Any] | np.ndarray | None = None,
        strata: Sequence[Any] | np.ndarray | None = None,
    ) -> HeadSearch:
        """Score every candidate, and refit the best.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; float16 is searched as float32.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes, or 0 and 1 for each label where a sample may have several. Leave samples without a
            label out: -1, by which featx codes them, is a class here.
        groups : array-like of shape (n_samples,), optional
            Samples of one group are never parted.
        sample_weight : array-like of shape (n_samples,), optional
            Used in fitting, not in scoring.
        images : array-like of shape (n_samples,), optional
            The image of each row. Rows of one image are its views: never parted, and their scores are
            averaged before they are judged.
        strata : array-like of shape (n_samples,) or (n_samples, n_columns), optional
            What an integer ``cv`` stratifies by in place of the classes.

        Returns
        -------
        self

        Raises
        ------
        HeadError
            When features are not finite or all constant, the labels, groups or weights cannot serve the
            folds, a head is unknown, cannot weigh samples, cannot serve the scoring or has another grid's
            parameters, ``n_jobs`` or the seed cannot be used, or every candidate fails.
        """
        rank_by = self._check_params()
        # A search that fails or does not refit must not answer with the head of an earlier one.
        self.__dict__.pop("best_estimator_", None)
        of_rows = {"groups": groups, "sample_weight": sample_weight, "images": images, "strata": strata}
        problem = self._problem(X, y, **of_rows)
        specs = resolve_heads(self.heads)
        if self.tune_threshold:
            check_threshold(problem, specs, self._rank_scoring(), self.calibration)
        preparation = Preparation(
            self.random_state,
            is_multilabel=problem.is_multilabel,
            is_weighted=problem.has_weights(),
            scoring=self.scoring,
            calibration=self.calibration,
        )
        n_rows = min(len(train) for train, _ in problem.folds)
        space = Space(specs, tuple(problem.blocks), preparation, self.n_iter, n_rows)
        budget = math.inf if self.time_budget_s is None else self.time_budget_s
        deadline = monotonic() + budget
        trials = Trials(self.strategy, rank_by, self.journal, self.n_jobs, deadline, self.verbose)
        try:
            outcomes, n_unfinished = trials.run(space, problem)
            if n_unfinished:
                message = f"{len(outcomes)} of {len(outcomes) + n_unfinished} candidates in {budget} seconds"
                warnings.warn(f"the time budget ended the search after {message}", FeatxWarning, stacklevel=2)
            self.cv_results_ = results_table(outcomes, rank_by)
            self._choose(outcomes, rank_by)
            if self.refit:
                self._finish(outcomes[self.best_index_].candidate, problem)
        finally:
            FOLDS.clear()
        return self

    def leaderboard(self) -> list[dict[str, Any]]:
        """The candidates from best to worst, each with its head, parameters, mean score and deviation."""
        check_is_fitted(self, "cv_results_")
        return leaderboard(self.cv_results_, check_scoring_names(self.scoring, self.refit))

    def _check_params(self) -> str:
        check_choice("calibration", self.calibration, CALIBRATIONS, HeadError)
        check_seed("random_state", self.random_state, HeadError)
        check_n_jobs(self.n_jobs, HeadError)
        budget: Any = self.time_budget_s
        if budget is not None and (not isinstance(budget, Real) or budget != budget):  # noqa: PLR0124 - NaN
            received = f"time_budget_s={budget!r}"
            raise HeadError(explain(received, "a number of seconds, or None", "pass for example 60"))
        return check_scoring_names(self.scoring, self.refit)

    def _problem(self, X: Any, y: Any, **of_rows: Any) -> Problem:
        is_large = isinstance(X, np.ndarray) and X.dtype == np.float16 and X.nbytes > _MOST_CONVERTED_BYTES
        dtypes = [np.float16] if is_large else [np.float32, np.float64]
        shape: tuple[int, ...] = getattr(y, "shape", ())
        if len(shape) == 2 and shape[1] == 1:
            y = column_or_1d(y, warn=True)
        # scikit-learn would say that something is not finite, and not where.
        X, y = validate_data(self, X, y, dtype=dtypes, multi_output=True, ensure_all_finite=False)
        check_finite(X)
        check_varied(X)
        check_targets(y)
        if y.ndim == 2 and of_rows["images"] is not None:
            remedy = "leave images out"
            raise HeadError(explain("views of images with several labels", "one class an image", remedy))
        check_scorable(y, self.scoring)
        groups, weights, images = (of_rows[name] for name in ("groups", "sample_weight", "images"))
        if weights is not None:
            weights = _check_sample_weight(weights, X, ensure_non_negative=True)
        check_weights(y, weights, self.class_weight)
        check_consistent_length(X, groups, images)
        if images is not None:
            views = group_views(images)
            one_per_image(y, views, "class")
            images, groups = views.members, views.members if groups is None else groups
            one_per_image(np.asarray(groups), views, "group")
        options = {"n_repeats": self.n_repeats, "strata": of_rows["strata"]}
        folds = make_folds(y, groups, self.cv, self.random_state, **options)
        self.classes_ = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
        self.n_splits_ = len(folds)
        self.test_train_ratio_ = float(np.mean([len(test) / len(train) for train, test in folds]))
        n_views = 1.0 if images is None else len(y) / len(np.unique(images))
        self.n_scored_ = float(np.mean([len(test) for _, test in folds])) / n_views
        return Problem(
            X,
            y,
            None if groups is None else np.asarray(groups),
            folds,
            weights,
            self.class_weight,
            images,
            check_blocks(self.feature_blocks, X.shape[1]),
            self.scoring,
        )

    def _choose(self, outcomes: list[Outcome], rank_by: str) -> None:
        errors = [outcome.error for outcome in outcomes]
        have_all_failed = bool(np.isnan(self.cv_results_[f"mean_test_{rank_by}"]).all())
        if have_all_failed and len(set(errors)) == 1 and errors[0]:
            # Then it is not the candidates that are at fault, and to name each would bury the reason.
            raise HeadError(f"every candidate failed: {errors[0]}")
        for outcome, error in zip(outcomes, errors, strict=True):
            if error:
                warnings.warn(f"{outcome.candidate} failed: {error}", FeatxWarning, stacklevel=3)
        if have_all_failed:
            reason = next(filter(None, errors), f"there is no score named {rank_by!r}")
            raise HeadError(f"every candidate failed; the first with: {reason}")
        self.best_index_ = int(self.cv_results_[f"rank_test_{rank_by}"].argmin())
        best = outcomes[self.best_index_].candidate
        self.best_params_, self.best_head_ = best.params, best.spec.name
        self.best_features_ = best.features
        self.best_score_ = float(self.cv_results_[f"mean_test_{rank_by}"][self.best_index_])

    def _finish(self, best: Candidate, problem: Problem) -> None:
        found = finish(
            best,
            problem,
            calibration=self.calibration,
            threshold_scoring=self._rank_scoring() if self.tune_threshold else None,
            random_state=self.random_state,
        )
        self.best_estimator_ = found.estimator
        self.best_columns_ = problem.blocks[best.features]
        self.best_calibration_, self.calibration_losses_ = found.calibration, found.calibration_losses
        self.best_threshold_, self.threshold_score_ = found.threshold, found.threshold_score

    def _rank_scoring(self) -> Any:
        """The scoring that ranks, of several."""
        if self.scoring is None or callable(self.scoring) or isinstance(self.scoring, str):
            # A head's own score is its accuracy.
            return "accuracy" if self.scoring is None else self.scoring
        return self.scoring[self.refit] if isinstance(self.scoring, Mapping) else self.refit
