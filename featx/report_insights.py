"""What a report tells of the features besides its results: their audit, and what more labels would bring.

Both are of the samples that were trained and tested on: what a search left out is neither. The learning curve
is of ridge regression, as that of ``featx curve`` is unless told otherwise, whatever the head: 4 seconds of
a processor for 5,000 samples of 1,280 features. On 2,624 solar cells, a logistic regression took 2.5 times as
long and a perceptron 5 times, and what they expect of more labels is within each other's intervals. The
report says whose curve it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from featx.audit_jobs import audit_feature_sets
from featx.errors import HeadError
from featx.features.combination import Combination
from featx.images.base import UNLABELLED, ImageSource
from featx.insight.findings import Audit
from featx.learning_jobs import CurveHead, curves_of
from featx.progress import say

# Of more, an audit takes a draw, and a learning curve is left to its own command.
_MAX_STUDIED = 20_000

# Ten repeats, as featx curve has them, take seconds up to here.
_MAX_OF_TEN_REPEATS = 10_000
_N_REPEATS, _FEWER_REPEATS = 10, 4


def audit_of(
    combined: Combination,
    rows: np.ndarray,
    parts: np.ndarray,
    source: ImageSource | None = None,
    *,
    random_state: int = 0,
    verbose: int = 0,
) -> Audit:
    """Audit some rows of the first feature set; other columns of the same images tell much the same of them.

    Parameters
    ----------
    combined : Combination
    rows : ndarray of int
    parts : ndarray of str, shape (n_rows,)
        Of all rows.
    source : ImageSource, optional
        The images.
    random_state, verbose : int, default=0

    Returns
    -------
    Audit
    """
    say("auditing the features", verbose)
    name, features = next(iter(combined.feature_sets.items()))
    chosen = features if len(rows) == len(features) else features.take(rows)
    named = [str(parts[row]) for row in rows]
    drawing: dict[str, Any] = {"max_samples": _MAX_STUDIED, "random_state": random_state}
    return audit_feature_sets({name: chosen}, parts=named, images=source, **drawing)


def label_curves_of(
    combined: Combination,
    rows: np.ndarray,
    columns: slice | np.ndarray,
    *,
    random_state: int = 0,
    verbose: int = 0,
) -> tuple[dict[str, Any], list[str]]:
    """The curves of some rows, as `featx.write_report` takes them, and what they cannot tell.

    Parameters
    ----------
    combined : Combination
    rows : ndarray of int
        Those without a label are left aside.
    columns : slice or ndarray
        Those that the head takes which the report is of.
    random_state, verbose : int, default=0

    Returns
    -------
    dict of str to object
        ``learning``, ``few_shot`` and ``learning_head``; nothing where there are no curves.
    list of str
        Why not.
    """
    aligned = combined.aligned
    labelled = replace(combined, aligned=aligned.take(rows[aligned.y[rows] != UNLABELLED]))
    n_samples = len(set(labelled.aligned.sample_ids))
    if n_samples > _MAX_STUDIED:
        return {}, [
            f"There is no learning curve of {n_samples:,} samples, which takes long: see featx curve."
        ]
    say("drawing learning curves", verbose)
    n_repeats = _N_REPEATS if n_samples <= _MAX_OF_TEN_REPEATS else _FEWER_REPEATS
    try:
        found = curves_of(
            labelled, CurveHead(columns=columns), n_repeats=n_repeats, random_state=random_state
        )
    except HeadError as error:
        return {}, [f"There is no learning curve: {error}."]
    return {"learning": found.learning, "few_shot": found.few_shot, "learning_head": found.head}, []
