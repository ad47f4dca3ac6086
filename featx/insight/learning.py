"""learning_curve(): whether more labels would help, from features that are there already.

A head is fitted on growing parts of the samples and scored on what it has not seen, over and over on other
parts (`featx.insight.repeats`). A power law through the mean scores (`featx.insight.power_laws`) is carried
on to twice and four times the labels. Its intervals are those of laws through bootstrap means over the
repeats: a gain is the difference of two points of one law, so that what makes a held-out part easy or hard
is left out of it.

A fit is all that a point costs. The parameters of the head stay as they
are: a search for each size would find others for small parts, and a somewhat higher curve.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.parallel import Parallel, delayed

from featx.checks import check_choice, check_n_jobs, check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.answers import answers_of
from featx.insight.labelled import Labelled
from featx.insight.metrics import Interval, interval, label_metrics, metrics_of
from featx.insight.power_laws import fit_power_laws
from featx.insight.repeats import corrected_interval, draw_means, draw_repeats

SCORINGS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "roc_auc": "ROC AUC"}

_TEST_SIZE = 0.25
_FACTORS = (2, 4)
_N_SIZES = 8
# Of the training part; below it, the law does not hold yet.
_SMALLEST_SHARE = 1 / 32
_FEWEST_SIZES = 4
_N_DRAWS = 2000
# A gain below this is none that anyone labels for.
_LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Projection:
    """What more labels are expected to bring.

    Attributes
    ----------
    factor : int
        Times the labels that there are.
    n_samples : int
    score : float
    score_ci : tuple of float
    gain : float
        Over all labels that there are.
    gain_ci : tuple of float
    """

    factor: int
    n_samples: int
    score: float
    score_ci: Interval
    gain: float
    gain_ci: Interval


@dataclass(frozen=True)
class LearningCurve:
    """Scores by the number of labels; see `learning_curve`.

    Attributes
    ----------
    scoring : str
    n_total : int
        Labelled samples that there are.
    n_samples : tuple of int
        Sizes that were trained on.
    score : tuple of float
        Mean over the repeats, of samples that were held out.
    score_ci : tuple of (low, high)
        95 % corrected resampled intervals of those means (Nadeau and Bengio 2003).
    projected : tuple of Projection
        Twice and four times the labels. Empty where there are fewer than four sizes to fit a law to.
    chance : float
        What a head scores that always answers the largest class.
    n_repeats : int
    seconds : float

    Examples
    --------
    See `learning_curve`.
    """

    scoring: str
    n_total: int
    n_samples: tuple[int, ...]
    score: tuple[float, ...]
    score_ci: tuple[Interval, ...]
    projected: tuple[Projection, ...]
    chance: float
    n_repeats: int
    seconds: float

    @property
    def opinion(self) -> str:
        """Whether more labels would help, or that the curve cannot tell, in a few words.

        They hardly do where the interval of the gain ends below a point (0.01).
        """
        if self.score_ci[-1][0] <= self.chance or not self.projected:
            return "the curve cannot tell whether more labels would help"
        twice = self.projected[0]
        low, high = twice.gain_ci
        if high < _LEAST_GAIN:
            return "more labels would hardly help"
        if low > 0:
            return f"more labels would help{' a little' * (twice.gain < _LEAST_GAIN)}"
        return "the curve cannot tell whether more labels would help"

    @property
    def verdict(self) -> str:
        """The opinion, with what is expected of twice and four times the labels."""
        if self.score_ci[-1][0] <= self.chance:
            return (
                f"with {self.n_samples[-1]:,} labels the head of the curve cannot be told from chance "
                f"({SCORINGS[self.scoring]} {self.score[-1]:.3f}, chance {self.chance:.3f}): it says nothing "
                "of more labels; check these, or try other features"
            )
        if not self.projected:
            return f"fewer than {_FEWEST_SIZES} sizes: too few to say whether more labels would help"
        twice, *others = self.projected
        further = "".join(f"; {each.factor} times as many, {_points(each)}" for each in others)
        return (
            f"{self.opinion}: doubling them to {twice.n_samples:,} is expected to change "
            f"{SCORINGS[self.scoring]} by {_points(twice, title='points, 95 % interval ')}{further}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON, with the verdict."""
        return {**asdict(self), "verdict": self.verdict}


def learning_curve(
    head: BaseEstimator | None,
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    images: Sequence[Any] | np.ndarray | None = None,
    sizes: Sequence[int] | None = None,
    n_repeats: int = 10,
    scoring: str = "accuracy",
    n_jobs: int | None = None,
    random_state: int = 0,
) -> LearningCurve:
    """Score a head by the number of labels it is fitted on, and carry the curve on.

    Parameters
    ----------
    head : estimator or None
        A classifier with its parameters; copies are fitted, of a search the best head, without a
        calibration and a threshold, which would be others for every size. None takes ridge regression of
        standardised columns with as much penalty as there are columns: seconds for thousands of samples,
        and near the best of its path on pooled embeddings.
    X : array-like of shape (n_samples, n_features)
        Features, float32 or float16.
    y : array-like of shape (n_samples,)
        Classes. Leave samples without a label out: -1, by which featx codes them, is a class here.
    groups : array-like of shape (n_samples,), optional
        Samples that belong together; a group is trained on or held out, never both.
    images : array-like of shape (n_samples,), optional
        The image of every row, where rows are views: images are counted, and their views answered as one.
    sizes : sequence of int, optional
        Samples to train on, at most three quarters of them. By default eight, from a 32nd of the training
        part to all of it, without those that are too small for the head.
    n_repeats : int, default=10
        Times that a quarter is held out; two or more.
    scoring : {"accuracy", "balanced_accuracy", "roc_auc"}, default="accuracy"
    n_jobs : int, optional
        Repeats at once, in threads; None means one, as the default head always has.
    random_state : int, default=0
        Seed of the parts, of heads that have none of their own, and of the bootstrap.

    Returns
    -------
    LearningCurve

    Raises
    ------
    HeadError
        When labels or features cannot serve, a size is not between the number of classes and that of
        training samples, or the head cannot be fitted on one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> curve = learning_curve(None, X, y)
    >>> curve.n_samples[0], curve.n_samples[-1], curve.score[0] < curve.score[-1]
    (42, 1348, True)
    >>> curve.verdict
    'more labels would hardly help: doubling them to 3,594 is expected to change accuracy by ...'
    """
    started = perf_counter()
    check_choice("scoring", scoring, SCORINGS, HeadError)
    check_positive("n_repeats - 1", n_repeats - 1, HeadError)
    check_n_jobs(n_jobs, HeadError)
    check_seed("random_state", random_state, HeadError)
    labelled = Labelled.of(X, y, groups, images)
    repeats = draw_repeats(
        labelled.codes, labelled.members, n_repeats=n_repeats, test_size=_TEST_SIZE, random_state=random_state
    )
    n_training = min(len(training) for training, _ in repeats)
    chosen = _chosen_sizes(sizes, n_training, len(labelled.classes))
    fitted = _seeded(_default_head(labelled) if head is None else head, random_state)
    with warnings.catch_warnings():
        # A head that stops early scores as it would in use. Threads share the filter.
        warnings.simplefilter("ignore")
        # The default head is matrix products, which have threads of their own.
        parallel = Parallel(n_jobs=1 if head is None else n_jobs, prefer="threads")
        tasks = (
            delayed(_scores)(fitted, labelled, repeat, chosen, scoring, is_strict=sizes is not None)
            for repeat in repeats
        )
        scores = np.array(parallel(tasks))
    is_scored = ~np.isnan(scores).any(axis=0)
    scores, chosen = scores[:, is_scored], np.array(chosen)[is_scored].tolist()
    n_held_out = float(np.mean([len(held_out) for _, held_out in repeats]))
    n_total = len(labelled.codes)
    share = n_held_out / n_total
    return LearningCurve(
        scoring=scoring,
        n_total=n_total,
        n_samples=tuple(chosen),
        score=tuple(scores.mean(axis=0).tolist()),
        score_ci=tuple(corrected_interval(column, share, n_held_out) for column in scores.T),
        projected=_projections(np.array(chosen), scores, n_total, share, random_state),
        chance=_chance(labelled.codes, scoring),
        n_repeats=n_repeats,
        seconds=perf_counter() - started,
    )


def _points(projection: Projection, title: str = "") -> str:
    low, high = (100 * end for end in projection.gain_ci)
    return f"{100 * projection.gain:+.1f} {title or '('}{low:+.1f} to {high:+.1f}{'' if title else ')'}"


# --------------------------------------------------------------------------------- what is fitted on what


def _chosen_sizes(sizes: Sequence[int] | None, n_training: int, n_classes: int) -> list[int]:
    if sizes is None:
        smallest = min(n_training, max(2 * n_classes, round(n_training * _SMALLEST_SHARE)))
        return sorted({round(size) for size in np.geomspace(smallest, n_training, _N_SIZES).tolist()})
    chosen = sorted({int(size) for size in sizes})
    if not chosen or chosen[0] < n_classes or chosen[-1] > n_training:
        expected = f"some from {n_classes}, the classes, to {n_training}, the training part"
        received = f"the sizes {', '.join(map(str, chosen)) or 'none'}"
        raise HeadError(explain(received, expected, "pass others, or leave them out"))
    return chosen


def _default_head(labelled: Labelled) -> BaseEstimator:
    return make_pipeline(StandardScaler(), RidgeClassifier(alpha=labelled.X.shape[1]))


def _seeded(head: BaseEstimator, random_state: int) -> BaseEstimator:
    """A copy that gives the same again."""
    head = plain_head(head)
    seeds = {name: value for name, value in head.get_params().items() if name.endswith("random_state")}
    return head.set_params(**{name: random_state for name, value in seeds.items() if value is None})


def plain_head(head: BaseEstimator) -> BaseEstimator:
    """A copy, not fitted, of what is inside a search, a calibration, a chosen threshold or a frozen head.

    What is frozen would stay fitted on samples that it is then scored on; a calibration and a threshold
    would have to be chosen anew for every size, at a fit for each of their folds.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.naive_bayes import GaussianNB
    >>> plain_head(FrozenEstimator(GaussianNB().fit([[0.0], [1.0]], [0, 1])))
    GaussianNB()
    """
    head = getattr(head, "best_estimator_", head)
    if isinstance(head, FrozenEstimator | FixedThresholdClassifier | CalibratedClassifierCV):
        return plain_head(head.estimator)
    if isinstance(head, Pipeline):
        *others, (name, last) = head.steps
        return Pipeline([*((other, clone(step)) for other, step in others), (name, plain_head(last))])
    return clone(head)


def _scores(
    head: BaseEstimator,
    labelled: Labelled,
    repeat: tuple[np.ndarray, np.ndarray],
    sizes: Sequence[int],
    scoring: str,
    *,
    is_strict: bool,
) -> list[float]:
    """Of each size; NaN of one that nobody asked for and that is too small for the head."""
    training, held_out = repeat
    test = labelled.rows(held_out)
    scores = []
    for size in sizes:
        rows = labelled.rows(training[:size])
        try:
            fitted = clone(head).fit(labelled.X[rows], labelled.codes[labelled.image_of(rows)])
            scores.append(_score(fitted, labelled, test, scoring))
        except HeadError:
            raise
        except ValueError as error:
            if not is_strict and size < sizes[-1]:
                scores.append(np.nan)
                continue
            received = f"{size} samples, on which the head cannot answer ({error})"
            raise HeadError(explain(received, "enough for the head", "pass larger sizes")) from error
    return scores


def _score(head: BaseEstimator, labelled: Labelled, rows: np.ndarray, scoring: str) -> float:
    images = labelled.image_of(rows)
    if labelled.views is None and scoring != "roc_auc":
        # Predictions alone: decisions would cost a kernel machine the same again.
        codes = labelled.codes[images]
        metrics = label_metrics(codes, head.predict(labelled.X[rows]), len(labelled.classes))
        n_samples = len(codes)
    else:
        views = None if labelled.views is None else images
        answers = answers_of(head, labelled.X[rows], labelled.codes[images], images=views)
        metrics, n_samples = metrics_of(answers), len(answers.codes)
    score = metrics(np.ones((1, n_samples))).get(scoring, np.array([np.nan]))[0]
    if np.isnan(score):
        received = f"scoring={scoring} of a head without scores, or held-out parts without a class"
        raise HeadError(explain(received, "all that it needs", "score by accuracy"))
    return float(score)


def _chance(codes: np.ndarray, scoring: str) -> float:
    counts = np.bincount(codes)
    of_scoring = {"accuracy": counts.max() / counts.sum(), "balanced_accuracy": 1 / len(counts)}
    return float(of_scoring.get(scoring, 0.5))


# ---------------------------------------------------------------------------------------- what is expected


def _projections(
    sizes: np.ndarray, scores: np.ndarray, n_total: int, share: float, random_state: int
) -> tuple[Projection, ...]:
    if len(sizes) < _FEWEST_SIZES:
        return ()
    wanted = np.array([n_total, *(factor * n_total for factor in _FACTORS)])
    expected = fit_power_laws(sizes, scores.mean(axis=0)[None]).at(wanted)[0]
    draws = fit_power_laws(sizes, draw_means(scores, share, _N_DRAWS, random_state)).at(wanted)
    return tuple(
        Projection(
            factor=factor,
            n_samples=factor * n_total,
            score=float(expected[place]),
            score_ci=interval(draws[:, place]),
            gain=float(expected[place] - expected[0]),
            gain_ci=interval(draws[:, place] - draws[:, 0]),
        )
        for place, factor in enumerate(_FACTORS, start=1)
    )
