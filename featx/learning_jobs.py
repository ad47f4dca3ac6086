"""The job behind `featx curve`: what labels bring, with many and with a few.

Like those of `featx.jobs`, it only puts public names together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from featx.checks import check_choice, require
from featx.errors import StoreError
from featx.features.combination import Combination, combine_features
from featx.features.feature_set import FeatureSet
from featx.files import StrPath, atomic_write, check_target
from featx.heads.persistence import ModelFile
from featx.heads.search import HeadSearch
from featx.insight.few_shot import FewShotCurve, few_shot_curve
from featx.insight.learning import SCORINGS, LearningCurve, learning_curve, plain_head
from featx.insight.plots import learning_svg
from featx.model_inputs import as_head_takes


class CurveHead(NamedTuple):
    """What is fitted on growing parts: its name, the head or None for ridge regression, and its columns."""

    name: str = "ridge"
    estimator: BaseEstimator | None = None
    columns: slice | np.ndarray = slice(None)


@dataclass(frozen=True)
class LabelCurves:
    """What `draw_label_curves` found.

    Attributes
    ----------
    head : str
        That was fitted on growing parts.
    learning : LearningCurve
    few_shot : FewShotCurve
    n_unlabelled : int
        Images left out because they have no label.
    """

    head: str
    learning: LearningCurve
    few_shot: FewShotCurve
    n_unlabelled: int

    @property
    def verdict(self) -> str:
        """Whether more labels would help, in words."""
        return self.learning.verdict

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON, with the verdict first."""
        return {
            "verdict": self.verdict,
            "head": self.head,
            "learning": self.learning.to_dict(),
            "few_shot": self.few_shot.to_dict(),
            "n_unlabelled": self.n_unlabelled,
        }

    def save_plot(self, path: StrPath) -> None:
        """Draw the learning curve with its projections.

        Parameters
        ----------
        path : path-like
            An SVG file, created or replaced; it appears complete or not at all.

        Raises
        ------
        StoreError
            When the file has another suffix.
        MissingPackageError
            When matplotlib is not installed.
        """
        check_curve_plot(path)
        atomic_write(path, learning_svg(self.learning, SCORINGS[self.learning.scoring]))


def check_curve_plot(path: StrPath, *inputs: StrPath) -> None:
    """Refuse a plot that cannot be drawn or would replace an input, before the work.

    Parameters
    ----------
    path : path-like
    *inputs : path-like
        Files that are read.

    Examples
    --------
    >>> check_curve_plot("curve.jpg")
    Traceback (most recent call last):
    featx.errors.StoreError: received the suffix of the plot='.jpg'; expected one of '.svg'; pass one of them
    """
    check_choice("the suffix of the plot", Path(path).suffix, (".svg",), StoreError)
    require("matplotlib", "report")
    check_target(path, *inputs)


def draw_label_curves(
    features: FeatureSet | Mapping[str, FeatureSet],
    *,
    model: ModelFile | None = None,
    head: str | None = None,
    scoring: str = "accuracy",
    n_repeats: int = 10,
    shots: Sequence[int] = (1, 2, 5, 10, 20, 50),
    n_jobs: int | None = None,
    random_state: int = 0,
) -> LabelCurves:
    """Learning curve and few-shot curve of cached features.

    Parameters
    ----------
    features : FeatureSet, or mapping of str to FeatureSet
        Of the same samples; several stand side by side.
    model : ModelFile, optional
        Whose head is fitted anew, with its parameters, on the columns that it takes.
    head : str, optional
        In place of it a head by its name. Its parameters are searched once, on all samples: the held-out
        ones among them, for which the curve is a little too high. Without either, ridge regression, as
        `featx.learning_curve` has it.
    scoring : {"accuracy", "balanced_accuracy", "roc_auc"}, default="accuracy"
        Of the learning curve.
    n_repeats : int, default=10
    shots : sequence of int, default=(1, 2, 5, 10, 20, 50)
    n_jobs : int, optional
        Fits at once.
    random_state : int, default=0

    Returns
    -------
    LabelCurves

    Raises
    ------
    StoreMismatchError
        When the features are of another extraction than those of the model.
    StoreError
        When the sets are not of the same samples.
    HeadError
        When the labels cannot serve, or there is no head of that name.
    """
    sets = features if model is None else as_head_takes(model, features)
    combined = combine_features(sets, labelled=True)
    combined.aligned.check_labelled()
    chosen = CurveHead()
    if model is not None:
        estimator = plain_head(model.head)
        name = str(model.metrics.get("best_head") or type(estimator).__name__)
        chosen = CurveHead(name, estimator)
    elif head is not None:
        chosen = CurveHead(head, _searched(head, combined, n_jobs, random_state))
    options: dict[str, Any] = {"scoring": scoring, "n_repeats": n_repeats, "shots": shots}
    return curves_of(combined, chosen, **options, n_jobs=n_jobs, random_state=random_state)


def curves_of(
    combined: Combination,
    head: CurveHead,
    *,
    scoring: str = "accuracy",
    n_repeats: int = 10,
    shots: Sequence[int] = (1, 2, 5, 10, 20, 50),
    n_jobs: int | None = None,
    random_state: int = 0,
) -> LabelCurves:
    """Learning curve of a head, and few-shot curve of ridge regression, on the columns of that head.

    Parameters
    ----------
    combined : Combination
        Of samples that have a label.
    head : CurveHead
    scoring, n_repeats, shots, n_jobs, random_state
        As of `draw_label_curves`.

    Returns
    -------
    LabelCurves

    Raises
    ------
    HeadError
        When the labels cannot serve.
    """
    aligned = combined.aligned
    X = combined.read(np.arange(len(aligned)))[:, head.columns]
    of_samples: dict[str, Any] = {"groups": np.array(aligned.groups), "images": combined.images}
    learning = learning_curve(
        head.estimator,
        X,
        aligned.y,
        **of_samples,
        scoring=scoring,
        n_repeats=n_repeats,
        n_jobs=n_jobs,
        random_state=random_state,
    )
    few_shot = few_shot_curve(
        X,
        aligned.y,
        **of_samples,
        shots=shots,
        n_repeats=n_repeats,
        class_names=[aligned.class_names[label] for label in np.unique(aligned.y)],
        random_state=random_state,
    )
    return LabelCurves(head.name, learning, few_shot, combined.n_unlabelled)


def _searched(head: str, combined: Combination, n_jobs: int | None, random_state: int) -> BaseEstimator:
    aligned = combined.aligned
    X = combined.read(np.arange(len(aligned)))
    search = HeadSearch(head, cv=3, calibration=None, n_jobs=n_jobs, random_state=random_state)
    search.fit(X, aligned.y, np.array(aligned.groups), images=combined.images)
    return search.best_estimator_
