"""The best candidate made ready for use: refitted, calibrated, its threshold chosen.

Calibration and threshold are chosen on out-of-fold scores, those that each fold's head gives the rows it was
not fitted on. Each choice is judged crosswise: a fold's rows are calibrated by what the other folds say. The
head itself is fitted once, on everything.

References
----------
Platt, Probabilistic Outputs for Support Vector Machines, 1999. Zadrozny and Elkan, Transforming Classifier
Scores into Accurate Multiclass Probability Estimates, KDD 2002 (isotonic).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import check_scoring, log_loss
from sklearn.model_selection import FixedThresholdClassifier

from featx.checks import explain
from featx.errors import HeadError
from featx.heads.candidates import Candidate, needed_methods, needs_calibration, will_give
from featx.heads.paths import fit_alone, fit_each, path_of
from featx.heads.problem import Problem, fit_weights, last_step, parting_no_group, with_last_step
from featx.heads.shared import FOLDS, Fold, Prefix
from featx.heads.spaces import HeadSpec
from featx.heads.splits import fewest_members, make_folds
from featx.views import average_views, group_views

_LOG = logging.getLogger(__name__)

CALIBRATIONS = ("sigmoid", "isotonic", "auto", None)

_N_THRESHOLDS = 100
_MOST_FOLDS = 5


@dataclass(frozen=True)
class Finished:
    """The best head, ready for use.

    Attributes
    ----------
    estimator : estimator
        Fitted on everything.
    calibration : str or None
        That it got.
    calibration_losses : dict of str to float
        Log loss of each calibration, crosswise, in nats, where several were tried.
    threshold : float or None
        Probability from which on the second class is predicted; None for the usual rule.
    threshold_score : float or None
        What predictions by thresholds score, each fold by the threshold that is best on the others.
    """

    estimator: BaseEstimator
    calibration: str | None
    calibration_losses: dict[str, float]
    threshold: float | None
    threshold_score: float | None


def check_threshold(
    problem: Problem, specs: Sequence[HeadSpec], scoring: Any, calibration: str | None
) -> None:
    """Refuse a search that could not choose a threshold at its end.

    Parameters
    ----------
    problem : Problem
    specs : sequence of HeadSpec
    scoring : str, callable or None
        That ranks.
    calibration : {"sigmoid", "isotonic", "auto", None}
    """
    remedy = "leave tune_threshold out"
    if problem.is_multilabel or len(np.unique(problem.y)) != 2:
        received = "tune_threshold for other than two classes"
        raise HeadError(explain(received, "two classes", remedy))
    if any("predict" not in methods for methods in needed_methods(scoring)):
        received, expected = f"tune_threshold for scoring={scoring!r}", "a scoring of predicted classes"
        raise HeadError(explain(received, expected, f"{remedy}, or score for example balanced_accuracy"))
    for spec in specs:
        if not will_give(spec.estimator, "predict_proba", calibration):
            received = f"tune_threshold for the head {spec.name}, which has no probabilities"
            raise HeadError(explain(received, "a calibration, or heads that have them", remedy))


def finish(
    best: Candidate,
    problem: Problem,
    *,
    calibration: str | None,
    threshold_scoring: Any,
    random_state: int | None,
) -> Finished:
    """Refit, calibrate and choose the threshold.

    Parameters
    ----------
    best : Candidate
    problem : Problem
    calibration : {"sigmoid", "isotonic", "auto", None}
    threshold_scoring : scorer or None
        What the threshold is to maximise; None leaves it.
    random_state : int or None
        Of folds, where the search's give no out-of-fold scores.

    Returns
    -------
    Finished
    """
    fitted = refit(best, problem)
    is_asked = needs_calibration(fitted, calibration) or calibration == "auto"
    if problem.is_multilabel or not (is_asked or threshold_scoring):
        return Finished(fitted, _calibration_of(fitted), {}, None, None)
    # Folds that overlap or leave samples out give no out-of-fold scores.
    folds = _partition(problem, random_state)
    if folds is not problem.folds:
        problem = problem.with_folds(folds, "finish")
    scores = _Scores.out_of_fold(best, problem, fitted)
    methods = _methods(fitted, calibration) if is_asked else ["none"]
    losses = scores.losses(methods)
    chosen = min(methods, key=lambda name: losses.get(name, 0.0))
    estimator = fitted if chosen == "none" else scores.calibrated(chosen, best.estimator, fitted)
    threshold, threshold_score = None, None
    if threshold_scoring is not None:
        threshold, threshold_score = scores.best_threshold(chosen, threshold_scoring)
        estimator = _with_threshold(estimator, threshold, problem)
    return Finished(estimator, None if chosen == "none" else chosen, losses, threshold, threshold_score)


def _calibration_of(fitted: BaseEstimator) -> str | None:
    """The calibration that a head has from the start, because the scoring asks for probabilities."""
    head = last_step(fitted)[1]
    return str(head.method) if isinstance(head, CalibratedClassifierCV) else None


def refit(best: Candidate, problem: Problem) -> BaseEstimator:
    """The candidate, fitted on every sample of its feature set.

    Parameters
    ----------
    best : Candidate
    problem : Problem

    Returns
    -------
    estimator
    """
    rows = np.arange(len(problem.y))
    if not problem.is_multilabel:
        fold = Fold(problem, best.features, Prefix.of(best.estimator), rows, rows[:0])
        fitted = fit_alone(best.estimator, fold)
        if fitted is not None:
            return fitted
    name, head = last_step(best.estimator)
    estimator = with_last_step(clone(best.estimator), parting_no_group(head, problem.y, problem.groups))
    weights = fit_weights(estimator, problem.weights(rows))
    fitted = estimator.fit(problem.features(rows, best.features), problem.y, **weights)
    return fitted.set_params(**{f"{name}cv": None}) if isinstance(head, CalibratedClassifierCV) else fitted


def _partition(problem: Problem, random_state: int | None) -> list[tuple[np.ndarray, np.ndarray]]:
    tested = np.sort(np.concatenate([test for _, test in problem.folds]))
    if np.array_equal(tested, np.arange(len(problem.y))):
        return problem.folds
    n_folds = min(_MOST_FOLDS, fewest_members(problem.y, problem.groups))
    return make_folds(problem.y, problem.groups, n_folds, random_state)


def _methods(fitted: BaseEstimator, calibration: str | None) -> list[str]:
    if calibration != "auto":
        return [str(calibration)]
    # Without probabilities of its own, a head has to have some.
    return [*(["none"] if hasattr(fitted, "predict_proba") else []), "sigmoid", "isotonic"]


class _GivenScores(ClassifierMixin, BaseEstimator):
    """Decisions that are given as features, so that scikit-learn calibrates them without a head."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: np.ndarray, y: np.ndarray) -> _GivenScores:  # noqa: ARG002 - scikit-learn's signature
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        best = X.argmax(axis=1) if len(self.classes) > 2 else (X[:, 0] > 0).astype(int)
        return np.asarray(self.classes[best])

    @property
    def classes_(self) -> np.ndarray:
        return self.classes

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0] if len(self.classes) == 2 else X


class _GivenLabels(ClassifierMixin, BaseEstimator):
    """Predictions that are there already, for a scorer."""

    def __init__(self, labels: np.ndarray, classes: np.ndarray) -> None:
        self.labels = labels
        self.classes_ = classes

    def fit(self) -> None:
        """Scorers ask for one."""

    def predict(self, X: np.ndarray) -> np.ndarray:  # noqa: ARG002
        return self.labels


@dataclass(frozen=True)
class _Scores:
    """Out-of-fold scores of one candidate.

    Attributes
    ----------
    decisions : ndarray of shape (n_samples, 1) or (n_samples, n_classes)
    probabilities : ndarray of shape (n_samples, n_classes) or None
        The head's own.
    problem : Problem
    classes : ndarray
    """

    decisions: np.ndarray
    probabilities: np.ndarray | None
    problem: Problem
    classes: np.ndarray

    @classmethod
    def out_of_fold(cls, best: Candidate, problem: Problem, fitted: BaseEstimator) -> _Scores:
        classes, n_rows = np.unique(problem.y), len(problem.y)
        has_decisions = hasattr(fitted, "decision_function")
        has_probabilities = hasattr(fitted, "predict_proba")
        decisions = np.zeros((n_rows, 1 if len(classes) == 2 else len(classes)))
        probabilities = np.zeros((n_rows, len(classes))) if has_probabilities else None
        for number, rows in enumerate(problem.folds):
            fold = FOLDS.get(problem, best.features, Prefix.of(best.estimator), rows, number)
            head, inputs = _fitted_on(fold, best)
            if probabilities is not None:
                probabilities[fold.test] = head.predict_proba(inputs)
            if has_decisions:
                decisions[fold.test] = head.decision_function(inputs).reshape(len(fold.test), -1)
            elif probabilities is not None:
                decisions[fold.test] = probabilities[fold.test][:, -decisions.shape[1] :]
        return cls(decisions, probabilities, problem, classes)

    def losses(self, methods: list[str]) -> dict[str, float]:
        """Log loss of each method, crosswise; a single one needs no comparison."""
        if len(methods) == 1:
            return {}
        weights = self.problem.weights(np.arange(len(self.problem.y)))
        found = {}
        for method in methods:
            shares = self.crosswise(method)
            found[method] = float(
                log_loss(self.problem.y, shares, sample_weight=weights, labels=self.classes)
            )
        return found

    def crosswise(self, method: str) -> np.ndarray:
        """Probabilities of each fold's rows, calibrated on the other folds'."""
        if method == "none" and self.probabilities is not None:
            return self.probabilities
        shares = np.zeros((len(self.decisions), len(self.classes)))
        for _, test in self.problem.folds:
            others = np.setdiff1d(np.arange(len(shares)), test)
            shares[test] = self._fit(method, others).predict_proba(self.decisions[test])
        return shares

    def calibrated(self, method: str, estimator: BaseEstimator, fitted: BaseEstimator) -> BaseEstimator:
        """The fitted head behind a calibration on all out-of-fold scores, as ``ensemble=False`` makes it."""
        found = self._fit(method, np.arange(len(self.decisions)))
        found.calibrated_classifiers_[0].estimator = fitted
        found.set_params(estimator=clone(estimator), cv=None)
        if hasattr(fitted, "n_features_in_"):
            found.n_features_in_ = fitted.n_features_in_
        return found

    def best_threshold(self, method: str, scoring: Any) -> tuple[float, float]:
        """The threshold that is best on all rows, and what the choice is worth on rows it has not seen."""
        shares, y, tests = self._by_image(self.crosswise(method)[:, 1])
        thresholds = np.unique(np.quantile(shares, np.linspace(0, 1, _N_THRESHOLDS)))
        guesses = [self.classes[(shares >= threshold).astype(int)] for threshold in thresholds]

        def best_on(rows: np.ndarray) -> int:
            found = [self._score(guess[rows], y[rows], scoring) for guess in guesses]
            # Of a plateau, the middle: its ends are what chance moves first.
            ties = np.flatnonzero(np.isclose(found, np.max(found)))
            return int(ties[len(ties) // 2])

        unseen = y.copy()
        for test in tests:
            unseen[test] = guesses[best_on(np.setdiff1d(np.arange(len(y)), test))][test]
        every = np.arange(len(y))
        return float(thresholds[best_on(every)]), self._score(unseen, y, scoring)

    def _by_image(self, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Probabilities, classes and test parts of what is judged: images, or rows without views."""
        tests = [test for _, test in self.problem.folds]
        if self.problem.images is None:
            return shares, self.problem.y, tests
        views = group_views(self.problem.images)
        of_images = [np.unique(views.members[test]) for test in tests]
        return average_views(shares, views.members), self.problem.y[views.first_rows], of_images

    def _score(self, labels: np.ndarray, y: np.ndarray, scoring: Any) -> float:
        known: Any = _GivenLabels(labels, self.classes)
        return float(check_scoring(known, scoring)(known, np.zeros((len(y), 1)), y))

    def _fit(self, method: str, rows: np.ndarray) -> CalibratedClassifierCV:
        given = FrozenEstimator(_GivenScores(self.classes))
        # The scores are out of fold as they come: one split of everything, on which nothing is fitted.
        every = np.arange(len(rows))
        calibrated = CalibratedClassifierCV(given, method=method, cv=[(every, every)], ensemble=False)
        with warnings.catch_warnings():
            # The weights are the calibration's alone: there is no head to be fitted with them.
            warnings.filterwarnings("ignore", ".* does not appear to accept sample_weight", UserWarning)
            return calibrated.fit(self.decisions[rows], self.problem.y[rows], self.problem.weights(rows))


def _fitted_on(fold: Fold, best: Candidate) -> tuple[BaseEstimator, np.ndarray]:
    """The candidate's last step on one fold, and what it takes for the test part."""
    _, head = last_step(best.estimator)
    path, _ = path_of(head, len(fold.train), fold.n_features)
    try:
        (fitted,) = path([head], fold)
    except Exception:  # noqa: BLE001 - a path may give up; scikit-learn's own solver does not
        _LOG.debug("the best head is fitted without its path", exc_info=True)
        (fitted,) = fit_each([head], fold)
    return fitted.head, fitted.inputs


def _with_threshold(estimator: BaseEstimator, threshold: float, problem: Problem) -> BaseEstimator:
    fixed = FixedThresholdClassifier(
        FrozenEstimator(estimator), threshold=threshold, response_method="predict_proba"
    )
    # Fitting only looks at the classes: the head inside is frozen.
    rows = np.unique(problem.y, return_index=True)[1]
    return fixed.fit(np.zeros((len(rows), problem.X.shape[1])), problem.y[rows])
