"""The job behind `featx compare`: two saved models on images that neither was fitted on.

Each model is asked with the features that it needs, in as many views as those have; the images are then
matched by their ids, and the classes by their names. Like those of `featx.jobs`, it only puts public names
together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featx.checks import explain
from featx.errors import HeadError
from featx.features.alignment import align_features
from featx.features.combination import Combination, combine_features
from featx.features.feature_set import FeatureSet
from featx.files import StrPath
from featx.heads.persistence import ModelFile
from featx.insight.answers import Answers, answers_of
from featx.insight.comparison import Comparison, compare_answers
from featx.model_inputs import as_head_classes, as_head_takes, judging_samples
from featx.tables import save_table
from featx.views import ViewGroups, group_views


@dataclass(frozen=True)
class DifferingSample:
    """A sample that two models take for different classes.

    Attributes
    ----------
    sample_id, label : str
    right : {"a", "b", "neither"}
    answer_a, answer_b : str
        Classes that they answer.
    probability_a, probability_b : float or None
        That they give their answer; None for a head without probabilities.
    """

    sample_id: str
    label: str
    right: str
    answer_a: str
    probability_a: float | None
    answer_b: str
    probability_b: float | None


@dataclass(frozen=True)
class ModelComparison:
    """What `compare_models` found.

    Attributes
    ----------
    a, b : str
        Names of the models.
    comparison : Comparison
        Its samples are named by rows of the first feature set that ``a`` takes.
    differing : tuple of DifferingSample
        Those that ``a`` alone gets right, then those that ``b`` does, then those that neither does.
    n_trained_on : int
        Images left out because one of the models was fitted on them. When that is all, none is left out and
        ``flatters`` is True.
    flatters : bool
        Whether the figures are of images that a model was fitted on.
    unknown : tuple of str
        Models whose files do not say what they were fitted on, so that nothing was left out for them.
    n_excluded : int
        Images left out because the search of one of the models had left them out.
    """

    a: str
    b: str
    comparison: Comparison
    differing: tuple[DifferingSample, ...]
    n_trained_on: int
    flatters: bool
    unknown: tuple[str, ...]
    n_excluded: int = 0

    @property
    def verdict(self) -> str:
        """Which model is better, or that the data cannot tell, in words."""
        return self.comparison.describe(self.a, self.b)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; the comparison's stand beside the rest."""
        found = asdict(self)
        del found["comparison"]
        return {**self.comparison.to_dict(), **found, "verdict": self.verdict}

    def save_csv(self, path: StrPath) -> None:
        """Write one row for each sample that the models take for different classes.

        Parameters
        ----------
        path : path-like
            Created or replaced; it appears complete or not at all.
        """
        rows = []
        for sample in self.differing:
            row = asdict(sample)
            for name in ("probability_a", "probability_b"):
                row[name] = "" if row[name] is None else f"{row[name]:.6f}"
            rows.append(row.values())
        save_table(path, list(DifferingSample.__dataclass_fields__), rows)


def compare_models(
    a: tuple[str, ModelFile],
    b: tuple[str, ModelFile],
    features: FeatureSet | Mapping[str, FeatureSet],
    *,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> ModelComparison:
    """Compare two saved models on the labelled images that neither was fitted on, nor its search left out.

    Parameters
    ----------
    a, b : (name, ModelFile)
        Of the same classes, in any order.
    features : FeatureSet, or mapping of str to FeatureSet
        All that both models need, of the same images, in any row order. Each takes those of its own
        extraction.
    n_resamples : int, default=1000
        Of the intervals.
    random_state : int, default=0
        Seed of the intervals.

    Returns
    -------
    ModelComparison

    Raises
    ------
    StoreMismatchError
        When a model was fitted on another extraction than any of the sets.
    StoreError
        When the sets are not of the same samples.
    HeadError
        When a set is missing, there are no labels, the models know different classes, or there are no
        images but those that were left out.
    """
    sides = [_Side.of(model, features) for _, model in (a, b)]
    names = [name for name, _ in (a, b)]
    positions = _class_positions(names, sides)
    known = [side.known() for side in sides]
    # Two names for what may be one set, so that both are looked up alike.
    aligned = align_features({"the images of a": known[0], "the images of b": known[1]})
    judging = judging_samples([model for _, model in (a, b)], aligned)
    chosen = judging.rows
    groups = np.array(aligned.groups)[chosen]
    answers = [
        side.answers(block.rows[chosen], groups, codes)
        for side, block, codes in zip(sides, aligned.blocks.values(), positions, strict=True)
    ]
    rows = sides[0].views.first_rows[chosen]
    comparison = compare_answers(*answers, rows=rows, n_resamples=n_resamples, random_state=random_state)
    id_of = dict(zip(rows.tolist(), (aligned.sample_ids[row] for row in chosen), strict=True))
    return ModelComparison(
        a=names[0],
        b=names[1],
        comparison=comparison,
        differing=_differing(comparison, answers, id_of, sides[0].names),
        n_trained_on=judging.n_trained_on,
        flatters=judging.flatters,
        unknown=tuple(name for name, model in (a, b) if not model.training_images),
        n_excluded=judging.n_excluded,
    )


@dataclass(frozen=True)
class _Side:
    """A model with the features that it takes.

    Attributes
    ----------
    model : ModelFile
    combined : Combination
    y : ndarray of shape (n_rows,)
        The labels, as the head's classes.
    names : list of str
        Of the head's classes.
    views : ViewGroups
        Which rows are of which image.
    """

    model: ModelFile
    combined: Combination
    y: np.ndarray
    names: list[str]
    views: ViewGroups

    @classmethod
    def of(cls, model: ModelFile, features: FeatureSet | Mapping[str, FeatureSet]) -> _Side:
        combined = combine_features(as_head_takes(model, features))
        y = as_head_classes(model, combined.aligned)
        names = [str(name) for name in model.known_names]
        return cls(model, combined, y, names, group_views(combined.aligned.sample_ids))

    def known(self) -> FeatureSet:
        """What is known of each image, without features: of those each side may have other views."""
        aligned, rows = self.combined.aligned, self.views.first_rows
        return FeatureSet(
            np.zeros((len(rows), 1), np.float32),
            aligned.y[rows],
            class_names=aligned.class_names,
            sample_ids=[aligned.sample_ids[row] for row in rows],
            groups=[aligned.groups[row] for row in rows],
            image_sha256=[aligned.image_sha256[row] for row in rows],
        )

    def answers(self, images: np.ndarray, groups: np.ndarray, positions: np.ndarray) -> Answers:
        """About some images, in the order given, with the classes at other positions."""
        order = np.argsort(images)
        place = np.empty(len(images), int)
        place[order] = np.arange(len(images))
        rows = np.flatnonzero(np.isin(self.views.members, images))
        named = None if self.combined.images is None else self.combined.images[rows]
        found = answers_of(self.model.head, self.combined.read(rows), self.y[rows], images=named)
        columns = np.argsort(positions)
        return Answers(
            codes=positions[found.codes][place],
            predicted=positions[found.predicted][place],
            probabilities=None if found.probabilities is None else found.probabilities[place][:, columns],
            scores=None if found.scores is None else found.scores[place][:, columns],
            groups=groups,
            n_classes=found.n_classes,
        )


def _class_positions(names: list[str], sides: list[_Side]) -> list[np.ndarray]:
    """Where each side's classes stand among those of the first."""
    first, second = (side.names for side in sides)
    if set(first) != set(second):
        lacking = [
            f"{name} without {', '.join(sorted(set(others) - set(own)))}"
            for name, own, others in ((names[0], first, second), (names[1], second, first))
            if set(others) - set(own)
        ]
        remedy = "compare models that were fitted on the same classes"
        raise HeadError(explain(" and ".join(lacking), "models of the same classes", remedy))
    return [np.array([first.index(name) for name in own]) for own in (first, second)]


def _differing(
    comparison: Comparison, answers: list[Answers], id_of: dict[int, str], names: list[str]
) -> tuple[DifferingSample, ...]:
    """In words; the rows of the comparison are those of ``id_of``, whose order is that of the answers."""
    place_of = {row: place for place, row in enumerate(id_of)}
    parts = {
        "a": comparison.only_a_right,
        "b": comparison.only_b_right,
        "neither": comparison.both_wrong_differently,
    }
    of_a, of_b = answers
    return tuple(
        DifferingSample(
            id_of[row],
            names[of_a.codes[place_of[row]]],
            right,
            *_answer(of_a, place_of[row], names),
            *_answer(of_b, place_of[row], names),
        )
        for right, rows in parts.items()
        for row in rows
    )


def _answer(answers: Answers, place: int, names: list[str]) -> tuple[str, float | None]:
    label = answers.predicted[place]
    shares = answers.probabilities
    return names[label], None if shares is None else float(shares[place, label])
