"""few_shot_curve(): how well each class is told by a handful of labels, in closed form.

A draw takes the same number of samples of every class, fits ridge regression to them and answers what was
held out; more shots hold the fewer ones of their draw. As in big_vision's few-shot evaluation (Beyer, Zhai
and Kolesnikov, 2022, ``evaluators/fewshot_lsr.py``) what all fits of a draw share is computed once: of the
largest training part, ``m`` samples of ``p`` features, the products with itself (m, m) and with the held-out
part (n, m). A fit with fewer shots takes rows and columns out of those, so that all of a draw cost one
product of n x p x m, and none a pass over the features. There the shared part is a decomposition over
penalties, and the fits are many; here the penalty is one, as many as there are columns, and the draws are.

Columns are standardised by all samples: features are there before labels are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve
from sklearn.preprocessing import StandardScaler

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.labelled import Labelled
from featx.insight.metrics import Interval
from featx.insight.repeats import corrected_interval, draw_repeats
from featx.views import average_views

_TEST_SIZE = 0.25
# More would hardly narrow the intervals, and cost the most.
_MOST_HELD_OUT = 5000
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class FewShotCurve:
    """Recall of each class by the number of labels of each; see `few_shot_curve`.

    Attributes
    ----------
    shots : tuple of int
        Labelled samples of every class.
    class_names : tuple of str
    n_available : tuple of int
        Samples of each class that all draws could train on.
    recall : tuple of tuple of (float or None)
        A row for each class, a column for each number of shots: the mean over the draws. None where a class
        has fewer samples than shots: it takes part with those it has.
    recall_ci : tuple of tuple of ((low, high) or None)
        95 % corrected resampled intervals (Nadeau and Bengio 2003) of the mean over draws. The correction
        is for draws that overlap: too wide, rather than too narrow, for a few shots of many samples.
    accuracy : tuple of (float or None)
        Of all held-out samples, in the shares that the classes have. None where no class has so many.
    accuracy_ci : tuple of ((low, high) or None)
    n_repeats : int
    seconds : float

    Examples
    --------
    See `few_shot_curve`.
    """

    shots: tuple[int, ...]
    class_names: tuple[str, ...]
    n_available: tuple[int, ...]
    recall: tuple[tuple[float | None, ...], ...]
    recall_ci: tuple[tuple[Interval | None, ...], ...]
    accuracy: tuple[float | None, ...]
    accuracy_ci: tuple[Interval | None, ...]
    n_repeats: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def few_shot_curve(
    X: np.ndarray,
    y: Sequence[Any] | np.ndarray,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    images: Sequence[Any] | np.ndarray | None = None,
    shots: Sequence[int] = (1, 2, 5, 10, 20, 50),
    n_repeats: int = 10,
    class_names: Sequence[str] | None = None,
    random_state: int = 0,
) -> FewShotCurve:
    """Recall of each class, and accuracy, after a few labels of every class.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Features, float32 or float16.
    y : array-like of shape (n_samples,)
        Classes. Leave samples without a label out.
    groups : array-like of shape (n_samples,), optional
        Samples that belong together: shots of one class are of different groups, and no group is both
        trained on and held out.
    images : array-like of shape (n_samples,), optional
        The image of every row, where rows are views: an image has the mean of its views' features, whose
        answer is the mean of their answers.
    shots : sequence of int, default=(1, 2, 5, 10, 20, 50)
    n_repeats : int, default=10
        Draws; two or more. Each holds a quarter of the samples out, 5,000 at most.
    class_names : sequence of str, optional
        Of the sorted classes; by default the classes as text.
    random_state : int, default=0
        Seed of the draws.

    Returns
    -------
    FewShotCurve

    Raises
    ------
    HeadError
        When labels or features cannot serve.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> curve = few_shot_curve(X, y, shots=(1, 10))
    >>> curve.accuracy[0] < 0.7 < 0.8 < curve.accuracy[1]
    True
    >>> len(curve.recall), len(curve.recall[0])
    (10, 2)
    """
    started = perf_counter()
    check_positive("n_repeats - 1", n_repeats - 1, HeadError)
    check_seed("random_state", random_state, HeadError)
    shots = _checked_shots(shots)
    labelled = Labelled.of(X, y, groups, images)
    names = _checked_names(class_names, labelled.classes)
    images_X = labelled.X if labelled.views is None else average_views(labelled.X, labelled.views.members)
    scaler = _fitted_scaler(images_X)
    repeats = [
        (training, held_out[:_MOST_HELD_OUT])
        for training, held_out in draw_repeats(
            labelled.codes,
            labelled.members,
            n_repeats=n_repeats,
            test_size=_TEST_SIZE,
            random_state=random_state,
        )
    ]
    drawn = [_draw(images_X, scaler, labelled, repeat, shots) for repeat in repeats]
    n_held_out = float(np.mean([len(held_out) for _, held_out in repeats]))
    share = n_held_out / len(labelled.codes)
    n_available = np.min([draw.n_available for draw in drawn], axis=0)
    n_held_out_of = np.append(share * np.bincount(labelled.codes), n_held_out)
    # The last row is that of all classes.
    scores = np.array([np.vstack([draw.recall, draw.accuracy]) for draw in drawn])
    n_most = np.append(n_available, n_available.max())
    means = [
        [_mean(column, share, n_scored) if enough >= n_shots else _NONE
         for column, n_shots in zip(row.T, shots, strict=True)]
        for row, n_scored, enough in zip(scores.swapaxes(0, 1), n_held_out_of, n_most, strict=True)
    ]  # fmt: skip
    values = [tuple(mean.value for mean in row) for row in means]
    intervals = [tuple(mean.interval for mean in row) for row in means]
    return FewShotCurve(
        shots=shots,
        class_names=names,
        n_available=tuple(n_available.tolist()),
        recall=tuple(values[:-1]),
        recall_ci=tuple(intervals[:-1]),
        accuracy=values[-1],
        accuracy_ci=intervals[-1],
        n_repeats=n_repeats,
        seconds=perf_counter() - started,
    )


class _Mean(NamedTuple):
    value: float | None
    interval: Interval | None


_NONE = _Mean(None, None)


def _mean(scores: np.ndarray, share: float, n_scored: float) -> _Mean:
    known = scores[~np.isnan(scores)]
    # A class may be so rare that hardly a draw holds one of it out.
    if len(known) < 2:
        return _NONE
    return _Mean(float(known.mean()), corrected_interval(known, share, n_scored))


def _checked_shots(shots: Sequence[int]) -> tuple[int, ...]:
    for n_shots in shots:
        check_positive("shots", n_shots, HeadError)
    if not len(shots):
        raise HeadError(explain("no shots", "one number or more", "pass for example (1, 10)"))
    return tuple(sorted({int(n_shots) for n_shots in shots}))


def _checked_names(class_names: Sequence[str] | None, classes: np.ndarray) -> tuple[str, ...]:
    names = classes.tolist() if class_names is None else class_names
    if len(names) != len(classes):
        received = f"{len(names)} class names for {len(classes)} classes"
        raise HeadError(explain(received, "one each", "name the classes that there are samples of"))
    return tuple(map(str, names))


def _fitted_scaler(X: np.ndarray) -> StandardScaler:
    """Of all rows, in blocks: a copy of them in float64 would be twice as large as they are."""
    scaler = StandardScaler()
    for start in range(0, len(X), _BLOCK_ROWS):
        scaler.partial_fit(X[start : start + _BLOCK_ROWS].astype(np.float64))
    return scaler


# ----------------------------------------------------------------------------------------------- a draw


@dataclass(frozen=True)
class _Scores:
    """Of one draw: recall (n_classes, n_shots), NaN where nothing of the class was held out, and accuracy."""

    recall: np.ndarray
    accuracy: np.ndarray
    n_available: np.ndarray


def _draw(
    X: np.ndarray,
    scaler: StandardScaler,
    labelled: Labelled,
    repeat: tuple[np.ndarray, np.ndarray],
    shots: Sequence[int],
) -> _Scores:
    training, held_out = repeat
    of_class = [_of_other_groups(labelled, training, label) for label in range(len(labelled.classes))]
    chosen = np.concatenate([samples[: max(shots)] for samples in of_class])
    place = np.concatenate([np.arange(len(samples[: max(shots)])) for samples in of_class])
    shown, asked = (
        scaler.transform(X[samples].astype(np.float32, copy=False)) for samples in (chosen, held_out)
    )
    products = (shown @ shown.T).astype(np.float64), asked @ shown.T
    truth, targets = np.eye(len(of_class))[labelled.codes[held_out]], np.eye(len(of_class))
    recall, accuracy = np.full((len(of_class), len(shots)), np.nan), np.empty(len(shots))
    for column, n_shots in enumerate(shots):
        taken = np.flatnonzero(place < n_shots)
        inner, outer = products[0][np.ix_(taken, taken)], products[1][:, taken]
        decisions = _ridge(inner, outer, targets[labelled.codes[chosen[taken]]], X.shape[1])
        is_right = decisions.argmax(axis=1) == labelled.codes[held_out]
        accuracy[column] = is_right.mean()
        n_held_out = truth.sum(axis=0)
        np.divide(is_right @ truth, n_held_out, out=recall[:, column], where=n_held_out > 0)
    return _Scores(recall, accuracy, np.array([len(samples) for samples in of_class]))


def _of_other_groups(labelled: Labelled, training: np.ndarray, label: int) -> np.ndarray:
    """Training samples of a class, one of each group, in the order of the draw."""
    samples = training[labelled.codes[training] == label]
    first = np.unique(labelled.members[samples], return_index=True)[1]
    kept: np.ndarray = samples[np.sort(first)]
    return kept


def _ridge(inner: np.ndarray, outer: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """What ridge regression with an intercept answers, from the products of its samples alone.

    Parameters
    ----------
    inner : ndarray of shape (n_training, n_training)
        Products of the training samples with each other.
    outer : ndarray of shape (n_held_out, n_training)
    targets : ndarray of shape (n_training, n_classes)
    penalty : float

    Returns
    -------
    ndarray of shape (n_held_out, n_classes)
    """
    mean, shares = inner.mean(axis=0), targets.mean(axis=0)
    centred = inner - mean - mean[:, None] + mean.mean()
    np.fill_diagonal(centred, centred.diagonal() + penalty)
    weights = solve(centred, targets - shares, assume_a="pos").astype(outer.dtype)
    # The weights add up to 0, so that of the centring only the training samples' own mean is left.
    answers: np.ndarray = outer @ weights - mean @ weights + shares
    return answers
