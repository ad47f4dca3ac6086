"""Is a head worse on some kind of samples? Its accuracy on each value of a column, against all the others.

The test asks how often the value's samples would differ as much from the rest if values were dealt out at
random: Fisher's exact test or, where samples come in groups that are of one value each, values dealt out to
whole groups. Where a group has several values, its deviation from the common accuracy is what one draws: a
t-test over groups of the score (the cluster-robust score test; Cameron and Miller, Journal of Human Resources
50, 2015).

Many values tested are many chances to find something. The p-values are Holm's (Scandinavian Journal of
Statistics 6, 1979), over the values of all columns: in 95 of 100 evaluations of a head that is equally good
on all of them, none is below 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import fisher_exact, t

from featx.checks import explain
from featx.errors import HeadError, printable
from featx.insight.answers import Answers
from featx.insight.intervals import mean_area_interval
from featx.insight.metrics import Interval, Metrics, score_metrics
from featx.insight.proportions import difference_interval, members_of, share_of
from featx.views import group_views, one_per_image

#: What stands for no value.
MISSING = "missing"

FISHER = "Fisher's exact test"
PERMUTATION = "permutation of whole groups"
SCORE = "score test over groups"

_LEAST_TESTED = 10
_MOST_VALUES = 50
# Numbers of more different values are binned.
_MOST_NUMBERS = 10
_N_BINS = 4
_N_PERMUTATIONS = 9999
# Of more groups, the score test is as good as a permutation, and far faster.
_MOST_PERMUTED = 2000
_BLOCK_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Subgroup:
    """A head on the samples with one value in one column.

    Attributes
    ----------
    column, value : str
        The value, the range of a quarter of the numbers, or "missing".
    n_samples : int
    accuracy : float
    accuracy_ci : tuple of float
        Wilson's, for as many independent samples as those in groups are worth.
    roc_auc : float or None
        None where there are fewer than 10 samples, a class is lacking or nothing ranks them.
    roc_auc_ci : tuple of float or None
        The bootstrap's, or as `featx.insight.intervals` has it where that has no width.
    difference : float or None
        Accuracy less that of all other samples; None where there are no others.
    difference_ci : tuple of float or None
        For this value alone.
    p_value : float or None
        That there is no difference, corrected for the number of values tested. None where fewer than 10
        samples are in the subgroup, or outside it.
    p_value_alone : float or None
        Uncorrected.
    test : str or None
    """

    column: str
    value: str
    n_samples: int
    accuracy: float
    accuracy_ci: Interval
    roc_auc: float | None
    roc_auc_ci: Interval | None
    difference: float | None
    difference_ci: Interval | None
    p_value: float | None
    p_value_alone: float | None
    test: str | None


@dataclass(frozen=True)
class Part:
    """Which samples have a value.

    Attributes
    ----------
    column, value : str
    rows : ndarray of int
    """

    column: str
    value: str
    rows: np.ndarray


def parts_of(
    columns: Mapping[str, Sequence[Any] | np.ndarray],
    n_rows: int,
    images: Sequence[Any] | np.ndarray | None = None,
) -> list[Part]:
    """Part samples by the values of columns, those without a value last.

    Parameters
    ----------
    columns : mapping of str to array-like of shape (n_rows,)
        Text or numbers; None, not a number and blank text are missing. Numbers of more than 10 different
        values are parted into quarters.
    n_rows : int
    images : array-like of shape (n_rows,), optional
        The image of each row; then rows of the parts are images.

    Returns
    -------
    list of Part

    Raises
    ------
    HeadError
        When a column has another length, text of more than 50 different values, or several values for the
        views of one image.

    Examples
    --------
    >>> [(part.value, part.rows.tolist()) for part in parts_of({"kind": ["b", "a", None, "b"]}, 4)]
    [('a', [1]), ('b', [0, 3]), ('missing', [2])]
    >>> [part.value for part in parts_of({"size": range(12)}, 12)]
    ['0 to below 2', '2 to below 5', '5 to below 8', '8 to 11']
    """
    views = None if images is None else group_views(images)
    parts = []
    for column, given in columns.items():
        values = np.array([_text(value) for value in given], object)
        if len(values) != n_rows:
            received = f"{len(values)} values of {column} for {n_rows} samples"
            raise HeadError(explain(received, "one a sample", "pass all of them"))
        if views is not None:
            values = one_per_image(values, views, column)
        parts += [Part(column, value, rows) for value, rows in _rows_by_value(column, values)]
    return parts


def _text(value: Any) -> str:
    """A value as text; "" where it is missing."""
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in ("nan", MISSING) else text


def _rows_by_value(column: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    is_missing = values == ""
    known = values[~is_missing].astype(str)
    names, indices = _numbers(known) or _kinds(column, known)
    rows = np.flatnonzero(~is_missing)
    found = [(name, rows[indices == index]) for index, name in enumerate(names)]
    return found + ([(MISSING, np.flatnonzero(is_missing))] if is_missing.any() else [])


def _kinds(column: str, values: np.ndarray) -> tuple[list[str], np.ndarray]:
    names, indices = np.unique(values, return_inverse=True)
    if len(names) > _MOST_VALUES:
        received = f"the column {printable(column)} with {len(names)} different values"
        remedy = "name a column of kinds, or leave it out"
        raise HeadError(explain(received, f"at most {_MOST_VALUES}", remedy))
    return names.tolist(), indices


def _numbers(values: np.ndarray) -> tuple[list[str], np.ndarray] | None:
    """Names and indices of numbers, in their order, or of their quarters; None where some are not numbers."""
    try:
        numbers = values.astype(float)
    except ValueError:
        return None
    if not len(numbers) or not np.isfinite(numbers).all():
        return None
    seen, first, indices = np.unique(numbers, return_index=True, return_inverse=True)
    if len(seen) <= _MOST_NUMBERS:
        return _shown(seen, values[first]), indices
    steps = np.linspace(0, 1, _N_BINS + 1)
    # Edges are among the numbers. Ties are in one bin, and many of them make fewer bins.
    edges = np.unique(np.quantile(numbers, steps, method="inverted_cdf"))
    if len(edges) == 2:
        edges = np.quantile(seen, steps, method="inverted_cdf")
    texts = _shown(edges, values[first[np.searchsorted(seen, edges)]])
    names = [f"{low} to below {high}" for low, high in pairwise(texts)]
    names[-1] = names[-1].replace("below ", "")
    return names, np.minimum(np.searchsorted(edges, numbers, side="right") - 1, len(names) - 1)


def _shown(numbers: np.ndarray, texts: np.ndarray) -> list[str]:
    """Fractions in six digits where that still tells them apart; otherwise numbers as they were given."""
    short = [f"{number:.6g}" for number in numbers]
    is_fraction = any("." in text for text in texts)
    return short if is_fraction and len(set(short)) == len(short) else list(map(str, texts))


# --------------------------------------------------------------------------------- what is measured


def subgroup_metrics(parts: Sequence[Part], answers: Answers) -> Metrics:
    """The area under the ROC curve in each part, NaN in small ones, as a function of weights."""
    of_parts = [
        None
        if answers.scores is None or len(part.rows) < _LEAST_TESTED
        else score_metrics(answers.codes[part.rows], answers.scores[part.rows])
        for part in parts
    ]

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        areas = np.full((len(weights), len(parts)), np.nan)
        for index, measure in enumerate(of_parts):
            if measure is not None:
                areas[:, index] = measure(weights.take(parts[index].rows, axis=1))["roc_auc"]
        return {"subgroup_roc_auc": areas} if parts else {}

    return metrics


def subgroups_of(
    parts: Sequence[Part],
    answers: Answers,
    values: dict[str, np.ndarray],
    draws: dict[str, np.ndarray],
    random_state: int = 0,
) -> tuple[Subgroup, ...]:
    """A head on every part of its samples, with intervals and tests.

    Parameters
    ----------
    parts : sequence of Part
    answers : Answers
    values, draws : dict of str to ndarray
        What `subgroup_metrics` gives for weights of one, and for bootstrap weights.
    random_state : int, default=0
        Seed of the permutations.

    Returns
    -------
    tuple of Subgroup
    """
    is_right, members = answers.predicted == answers.codes, members_of(answers.groups)
    tests = [_test(part.rows, is_right, members, random_state) for part in parts]
    corrected = _corrected(parts, [p_value for _, p_value in tests])
    found = []
    for index, part in enumerate(parts):
        inside, outside = part.rows, np.setdiff1d(np.arange(len(is_right)), part.rows)
        here, rest = (
            share_of(is_right[rows], None if members is None else members[rows]) for rows in (inside, outside)
        )
        area = float(values["subgroup_roc_auc"][0, index])
        found.append(
            Subgroup(
                column=part.column,
                value=part.value,
                n_samples=len(inside),
                accuracy=here[0],
                accuracy_ci=here[1],
                roc_auc=None if np.isnan(area) else area,
                roc_auc_ci=None
                if np.isnan(area)
                else mean_area_interval(area, draws["subgroup_roc_auc"][:, index], answers.among(inside)),
                difference=here[0] - rest[0] if len(outside) else None,
                difference_ci=difference_interval(here, rest) if len(outside) else None,
                p_value=corrected[index],
                p_value_alone=tests[index][1],
                test=tests[index][0],
            )
        )
    return tuple(found)


def _corrected(parts: Sequence[Part], p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's p-values; the two values of a column of two are one test."""
    n_values: dict[str, int] = {}
    for part in parts:
        n_values[part.column] = n_values.get(part.column, 0) + 1
    keys = [(part.column, "" if n_values[part.column] == 2 else part.value) for part in parts]
    tested = {key: p_value for key, p_value in zip(keys, p_values, strict=True) if p_value is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [adjusted.get(key) for key in keys]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.array(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return list(map(float, adjusted))


# ------------------------------------------------------------------------------------------- the test


def _test(
    rows: np.ndarray, is_right: np.ndarray, members: np.ndarray | None, random_state: int
) -> tuple[str | None, float | None]:
    """Whether some samples are right as often as the others: the test's name, and its p-value."""
    is_inside = np.zeros(len(is_right), bool)
    is_inside[rows] = True
    if min(len(rows), len(is_right) - len(rows)) < _LEAST_TESTED:
        return None, None
    if members is None:
        table = [
            [int((is_right[mask] == hit).sum()) for hit in (True, False)] for mask in (is_inside, ~is_inside)
        ]
        return FISHER, float(fisher_exact(table).pvalue)
    n_samples, n_right, n_inside = (
        np.bincount(members, weights=weights) for weights in (np.ones(len(members)), is_right, is_inside)
    )
    is_of_one_value = bool(((n_inside == 0) | (n_inside == n_samples)).all())
    if is_of_one_value and len(n_samples) <= _MOST_PERMUTED:
        return PERMUTATION, permutation_p_value(n_inside > 0, n_right, n_samples, random_state)
    return SCORE, _score_p_value(is_inside, is_right, members)


def permutation_p_value(
    is_inside: np.ndarray, n_right: np.ndarray, n_samples: np.ndarray, random_state: int
) -> float:
    """How often groups drawn at random differ as much in accuracy from the others as those given, or more.

    Parameters
    ----------
    is_inside : ndarray of bool, shape (n_groups,)
    n_right, n_samples : ndarray of shape (n_groups,)
    random_state : int

    Returns
    -------
    float
        At least 1 in 10,000, of so many draws: the groups as they are count as one.

    Examples
    --------
    >>> n_right = np.repeat([0, 5], 8)
    >>> permutation_p_value(np.repeat([True, False], 8), n_right, np.full(16, 5), 0) < 0.001
    True
    """
    random = np.random.default_rng(random_state)
    counts = np.stack([n_right, n_samples], axis=1).astype(float)
    total = counts.sum(axis=0)

    def differences(chosen: np.ndarray) -> np.ndarray:
        inside = chosen @ counts
        outside = total - inside
        found: np.ndarray = np.abs(inside[:, 0] / inside[:, 1] - outside[:, 0] / outside[:, 1])
        return found

    # Less than a sum's rounding apart is equal.
    found = differences(is_inside[None].astype(float))[0] - 1e-12
    n_as_far, step = 0, max(1, _BLOCK_BYTES // (8 * len(is_inside)))
    for start in range(0, _N_PERMUTATIONS, step):
        dealt = np.tile(is_inside.astype(float), (min(step, _N_PERMUTATIONS - start), 1))
        n_as_far += int((differences(random.permuted(dealt, axis=1)) >= found).sum())
    return (n_as_far + 1) / (_N_PERMUTATIONS + 1)


def _score_p_value(is_inside: np.ndarray, is_right: np.ndarray, members: np.ndarray) -> float:
    residuals = is_right - is_right.mean()
    scores = np.bincount(members, weights=residuals * (is_inside - is_inside.mean()))
    n_groups, total = len(scores), float((scores**2).sum())
    if n_groups < 2 or total == 0:
        return 1.0
    statistic = abs(scores.sum()) / np.sqrt(total * n_groups / (n_groups - 1))
    return float(2 * t.sf(statistic, n_groups - 1))
