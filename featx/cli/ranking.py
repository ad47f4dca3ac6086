"""The command that compares features before a search: rank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.options import AsJson, load_feature_files
from featx.cli.printing import print_json, print_rows, say

if TYPE_CHECKING:
    from featx.ranking_jobs import Ranking

# Measures by the headings of the table.
_HEADINGS = {
    "LogME": "logme",
    "kNN": "knn_accuracy",
    "centroid": "centroid_accuracy",
    "ridge": "ridge_accuracy",
    "ridge AUC": "ridge_roc_auc",
}


def rank(
    features: Annotated[list[Path], typer.Argument(help="Feature files of the same images, labelled.")],
    *,
    n_samples: Annotated[
        int, typer.Option(help="Measure on about as many, drawn by class, where there are more.")
    ] = 5000,
    random_state: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Which features are worth a search: every file, and every tap and pooling in it, best first."""
    from featx.ranking_jobs import rank_feature_sets

    found = rank_feature_sets(
        load_feature_files(features),
        n_samples=n_samples,
        random_state=random_state,
    )
    if found.n_unlabelled:
        say(f"{found.n_unlabelled} samples without a label were left out", err=True)
    if as_json:
        print_json(found.to_list())
        return
    _print_ranking(found)


def _print_ranking(found: Ranking) -> None:
    rows = []
    for place in found.ranks:
        measures = {
            heading: f"{getattr(place.measures, name):.4f} ({place.ranks[name]})"
            for heading, name in _HEADINGS.items()
        }
        rows.append(
            {
                "rank": place.rank,
                "features": place.name,
                "columns": place.n_features,
                **measures,
                "mean rank": f"{place.mean_rank:.1f}",
            }
        )
    print_rows(rows, title=f"Measured on {found.ranks[0].n_samples:,} samples; the rank by each in brackets")
