"""The job behind `featx rank`: several feature files, aligned, whole and part by part.

Like those of `featx.jobs`, it only puts public names together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.features.alignment import align_features
from featx.features.feature_set import FeatureSet
from featx.insight.ranking import FeatureRank, rank_features


@dataclass(frozen=True)
class Ranking:
    """What `rank_feature_sets` found.

    Attributes
    ----------
    ranks : list of FeatureRank
        From best to worst.
    n_unlabelled : int
        Rows left out because they have no label.
    """

    ranks: list[FeatureRank]
    n_unlabelled: int

    def to_list(self) -> list[dict[str, Any]]:
        """As plain values, for JSON."""
        return [found.to_dict() for found in self.ranks]


def rank_feature_sets(
    feature_sets: Mapping[str, FeatureSet], *, n_samples: int = 5000, random_state: int = 0
) -> Ranking:
    """Rank feature sets of the same samples, and every tap and pooling within those that hold several.

    Parameters
    ----------
    feature_sets : mapping of str to FeatureSet
        In any row order; a part is called ``set[tap:pooling]``.
    n_samples : int, default=5000
        Measure on about as many, where there are more.
    random_state : int, default=0
        Seed of the draw.

    Returns
    -------
    Ranking

    Raises
    ------
    StoreError
        When the sets are not of the same samples.
    HeadError
        When the labels or the features cannot serve a ranking.
    """
    aligned = align_features(feature_sets)
    aligned.check_labelled()
    labelled = aligned.labelled()
    named = labelled.with_parts()
    ranks = rank_features(
        {name: named.X(name) for name in named.names},
        np.array(labelled.class_names, dtype=object)[labelled.y],
        groups=labelled.groups,
        n_samples=n_samples,
        random_state=random_state,
    )
    return Ranking(ranks, len(aligned) - len(labelled))
