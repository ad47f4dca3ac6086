"""What a report needs to know of samples: plain values, whoever has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.insight.findings import Audit
from featx.insight.markup import Markup

#: Of every picture in a report; browsers read it, and it is smaller than JPEG.
PICTURE_TYPE = "image/webp"

#: What two heads that are compared are called where nobody named them.
HEADS = ("a", "b")


@dataclass(frozen=True)
class Pictures:
    """Pictures of samples, encoded anew from decoded pixels.

    Attributes
    ----------
    atlas : bytes
        One picture of many square tiles, row by row.
    tile_size : int
        Side of a tile, in pixels.
    n_columns : int
        Tiles side by side.
    tiles : ndarray of shape (n_samples,), int
        Which tile a sample has, counted row by row; -1 where there is none.
    large : mapping of int to bytes
        Larger pictures of some samples, by row.
    """

    atlas: bytes
    tile_size: int
    n_columns: int
    tiles: np.ndarray
    large: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportSamples:
    """The samples that a report shows.

    Attributes
    ----------
    sample_ids : sequence of str, length n_samples
    X : ndarray of shape (n_samples, n_features)
        Features, of which the map is made.
    labels : sequence of (str or None), length n_samples
        Class name; None for a sample without a label.
    parts : sequence of str, length n_samples
        "training", "test", or what else the data were parted into.
    predicted : sequence of (str or None), length n_samples
        Class name that the head answers; None where it was not asked, as of samples that it was fitted on.
    confidence : ndarray of shape (n_samples,), float
        Probability of the predicted class; NaN where there is none.
    predicted_b : sequence of (str or None), optional
        What the second head answers, where two are compared.
    pictures : Pictures, optional
    n_total : int
        Of how many samples these were drawn; 0 means that they are all.
    notes : sequence of str
        What a reader has to know: images that are no longer at their path, samples that were drawn.
    """

    sample_ids: Sequence[str]
    X: np.ndarray
    labels: Sequence[str | None]
    parts: Sequence[str]
    predicted: Sequence[str | None]
    confidence: np.ndarray
    predicted_b: Sequence[str | None] | None = None
    pictures: Pictures | None = None
    n_total: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ReportParts:
    """All that a report is made of, by the names of `write_report`; None is a part that is not shown."""

    title: str
    evaluation: Any = None
    search: Any = None
    audit: Audit | None = None
    samples: ReportSamples | None = None
    comparison: Any = None
    heads: tuple[str, str] = HEADS
    learning: Any = None
    few_shot: Any = None
    history: Mapping[str, Sequence[float]] | None = None
    provenance: Mapping[str, Any] | None = None
    projection: str = "pca"
    learning_head: str = ""
    flatters: bool | None = False


@dataclass(frozen=True)
class Section:
    """A part of the page, with its place in the contents.

    Attributes
    ----------
    key : str
        Its address in the page.
    title : str
    body : Markup
    """

    key: str
    title: str
    body: Markup
