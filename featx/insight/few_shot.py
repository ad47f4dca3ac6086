"""few_shot_curve(): how well each class is told by a handful of labels, in closed form.

A draw takes the same number of samples of every class, fits ridge regression to them and answers what was
held out; more shots hold the fewer ones of their draw. As in big_vision's few-shot evaluation (Beyer, Zhai
and Kolesnikov, 2022, ``evaluators/fewshot_lsr.py``) what all fits of a draw share is computed once. Of ``m``
samples of ``p`` features that is the products of the samples with themselves and with the held-out part
(m, m) where ``m`` is at most ``p``: a fit with fewer shots takes rows and columns out of those. Else it is
the products of the columns (p, p) and the classes' sums, to which more shots add theirs. There the shared
part is a decomposition over penalties, and the fits are many; here the penalty is one, as many as there are
columns, and the draws are.

Columns are standardised by all samples: features are there before labels are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from sklearn.preprocessing import StandardScaler

from featx.checks import check_positive, check_seed, explain
from featx.errors import HeadError
from featx.insight.labelled import Labelled
from featx.insight.metrics import Interval
from featx.insight.repeats import corrected_interval, draw_repeats
from featx.insight.ridge import ridge_of_columns, ridge_of_samples
from featx.views import average_views

_TEST_SIZE = 0.25
# More would hardly narrow the intervals, and cost the most.
_MOST_HELD_OUT = 5000
_BLOCK_ROWS = 8192
# The largest products, of columns or of samples: a few of them are 256 MB. More shots are not drawn.
_MOST_COLUMNS, _MOST_SAMPLES = 2048, 4096


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
    note : str
        Which shots were too many to be computed, or "".

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
    note: str = ""

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
        Of more than 2,048 features, those that come to more than 4,096 samples of all classes together are
        not drawn, and the note says so.
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
    curve = _curve(images_X, scaler, labelled, repeats, shots)
    return FewShotCurve(
        shots=shots,
        class_names=names,
        n_available=curve.n_available,
        recall=curve.values[:-1],
        recall_ci=curve.intervals[:-1],
        accuracy=curve.values[-1],
        accuracy_ci=curve.intervals[-1],
        n_repeats=n_repeats,
        seconds=perf_counter() - started,
        note=_note(curve.n_drawn, shots),
    )


class _Curve(NamedTuple):
    """A row for each class, and the last for all of them; a column for each number of shots."""

    values: tuple[tuple[float | None, ...], ...]
    intervals: tuple[tuple[Interval | None, ...], ...]
    n_available: tuple[int, ...]
    n_drawn: int


def _curve(
    X: np.ndarray,
    scaler: StandardScaler,
    labelled: Labelled,
    repeats: list[tuple[np.ndarray, np.ndarray]],
    shots: Sequence[int],
) -> _Curve:
    drawn = [_draw(X, scaler, labelled, repeat, shots) for repeat in repeats]
    n_held_out = float(np.mean([len(held_out) for _, held_out in repeats]))
    share = n_held_out / len(labelled.codes)
    n_available = np.min([draw.n_available for draw in drawn], axis=0)
    n_scored = np.append(share * np.bincount(labelled.codes), n_held_out)
    scores = np.array([np.vstack([draw.recall, draw.accuracy]) for draw in drawn]).swapaxes(0, 1)
    # In the order of the shots, those of all draws; where few are left out, of none.
    n_drawn = min(int((~np.isnan(draw.accuracy)).sum()) for draw in drawn)
    rows = []
    for of_row, n_of_row, n_most in zip(
        scores, n_scored, np.append(n_available, n_available.max()), strict=True
    ):
        is_enough = [n_shots <= n_most and column < n_drawn for column, n_shots in enumerate(shots)]
        rows.append(
            [
                _mean(column, share, n_of_row) if enough else _NONE
                for column, enough in zip(of_row.T, is_enough, strict=True)
            ]
        )
    values = tuple(tuple(mean.value for mean in row) for row in rows)
    intervals = tuple(tuple(mean.interval for mean in row) for row in rows)
    return _Curve(values, intervals, tuple(n_available.tolist()), n_drawn)


def _note(n_drawn: int, shots: Sequence[int]) -> str:
    if n_drawn == len(shots):
        return ""
    left_out = ", ".join(str(n_shots) for n_shots in shots[n_drawn:])
    return f"{left_out} labels of every class were not drawn: too many for so many classes and features"


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
    """Of one draw: recall (n_classes, n_shots), NaN where nothing of the class was held out, and accuracy.

    Both are NaN for shots that are too many to be computed.
    """

    recall: np.ndarray
    accuracy: np.ndarray
    n_available: np.ndarray


class _Shown(NamedTuple):
    """Samples of every class to learn from, and how many of their class are before each of them."""

    samples: np.ndarray
    places: np.ndarray

    def up_to(self, n_shots: int) -> _Shown:
        is_taken = self.places < n_shots
        return _Shown(self.samples[is_taken], self.places[is_taken])


def _draw(
    X: np.ndarray,
    scaler: StandardScaler,
    labelled: Labelled,
    repeat: tuple[np.ndarray, np.ndarray],
    shots: Sequence[int],
) -> _Scores:
    (training, held_out), n_columns = repeat, len(shots)
    n_classes, truth = len(labelled.classes), labelled.codes[held_out]
    available = _of_other_groups(labelled, training)
    shown = available.up_to(max(shots))
    by_columns = X.shape[1] < len(shown.samples) and X.shape[1] <= _MOST_COLUMNS
    if not by_columns:
        shots = [each for each in shots if (shown.places < each).sum() <= _MOST_SAMPLES]
        shown = shown.up_to(max(shots, default=0))

    def features(samples: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = scaler.transform(X[samples].astype(np.float32, copy=False))
        return scaled

    answered = (_by_columns if by_columns else _by_samples)(features, labelled, shown, held_out, shots)
    recall, accuracy = np.full((n_classes, n_columns), np.nan), np.full(n_columns, np.nan)
    n_held_out = np.bincount(truth, minlength=n_classes)
    for column, answers in enumerate(answered):
        is_right = answers == truth
        accuracy[column] = is_right.mean()
        n_right = np.bincount(truth, is_right, n_classes)
        np.divide(n_right, n_held_out, out=recall[:, column], where=n_held_out > 0)
    return _Scores(recall, accuracy, np.bincount(labelled.codes[available.samples], minlength=n_classes))


def _of_other_groups(labelled: Labelled, training: np.ndarray) -> _Shown:
    """Training samples, one of each group and class: class by class, in the order of the draw."""
    codes = labelled.codes[training]
    keys = codes * (int(labelled.members.max()) + 1) + labelled.members[training]
    samples = training[np.sort(np.unique(keys, return_index=True)[1])]
    samples = samples[np.argsort(labelled.codes[samples], kind="stable")]
    starts = np.searchsorted(labelled.codes[samples], labelled.codes[samples])
    return _Shown(samples, np.arange(len(samples)) - starts)


_Features = Callable[[np.ndarray], np.ndarray]


def _by_samples(
    features: _Features, labelled: Labelled, shown: _Shown, held_out: np.ndarray, shots: Sequence[int]
) -> Iterator[np.ndarray]:
    """The classes of the held-out samples by each number of shots, from the products of samples."""
    if not shots:
        return
    known = features(shown.samples)
    inner, outer = known @ known.T, features(held_out) @ known.T
    for n_shots in shots:
        taken = np.flatnonzero(shown.places < n_shots)
        targets = np.eye(len(labelled.classes), dtype=np.float32)[labelled.codes[shown.samples[taken]]]
        among = inner[np.ix_(taken, taken)].astype(np.float64)
        yield ridge_of_samples(among, outer[:, taken], targets, known.shape[1]).argmax(axis=1)


def _by_columns(
    features: _Features, labelled: Labelled, shown: _Shown, held_out: np.ndarray, shots: Sequence[int]
) -> Iterator[np.ndarray]:
    """The same from the products of columns and the sums of classes."""
    asked = features(held_out)
    n_columns, n_classes = asked.shape[1], len(labelled.classes)
    products, sums = np.zeros((n_columns, n_columns)), np.zeros((n_classes, n_columns), np.float32)
    counts, n_before, answers = np.zeros(n_classes), 0, np.zeros(0, np.intp)
    for n_shots in shots:
        more = shown.samples[(shown.places >= n_before) & (shown.places < n_shots)]
        for start in range(0, len(more), _BLOCK_ROWS):
            samples = more[start : start + _BLOCK_ROWS]
            block = features(samples)
            products += block.T @ block
            # Class by class, as they are.
            classes, first = np.unique(labelled.codes[samples], return_index=True)
            sums[classes] += np.add.reduceat(block, first)
            counts += np.bincount(labelled.codes[samples], minlength=n_classes)
        if len(more):
            answers = ridge_of_columns(products, sums, counts, asked).argmax(axis=1)
        n_before = n_shots
        yield answers
