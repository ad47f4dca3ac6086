"""What a classifier has to beat to be worth its features: a linear one on a thumbnail's pixels.

Features that were learnt on photographs of animals can be worth less than the plain pixels of a wafer or
a spectrogram (negative transfer). No amount of fine-tuning with frozen blocks mends that.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.errors import FeatxWarning

if TYPE_CHECKING:
    from featx.models.rows import Rows
    from featx.models.samples import Samples

_SIDE = 16
_MAX_SAMPLES = 5_000


def warn_of_negative_transfer(
    train: Samples, validation: Samples, accuracy: float, random_state: int
) -> float | None:
    """Warn where raw pixels do as well on the validation part as the features of a pretrained network.

    Parameters
    ----------
    train, validation : Samples
        Of images (n_samples, height, width, 3), uint8.
    accuracy : float
        Of the frozen network and its head, on the validation part.
    random_state : int
        Seed of the sample that is trained on where there are more than 5,000 images.

    Returns
    -------
    float or None
        The baseline's accuracy; None where the training part has one class only.
    """
    rows = np.random.default_rng(random_state).permutation(len(train))[:_MAX_SAMPLES]
    y = train.y[rows]
    if len(np.unique(y)) < 2:
        return None
    baseline = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    thumbnails = _thumbnails(train.inputs[0], rows)
    baseline.fit(thumbnails, y, logisticregression__sample_weight=train.weight[rows])
    everything = np.arange(len(validation))
    is_right = baseline.predict(_thumbnails(validation.inputs[0], everything)) == validation.y
    found = float(np.average(is_right, weights=validation.weight))
    # Where both make no mistake, the images are easy and nothing is wrong with the features.
    if accuracy < 1.0 and found >= accuracy:
        message = (
            f"negative transfer: a linear classifier on {_SIDE} x {_SIDE} pixels has an accuracy of "
            f"{found:.3f} on the validation part, the pretrained features {accuracy:.3f}; try another "
            f"backbone or input size, or unfreeze='all'"
        )
        warnings.warn(message, FeatxWarning, stacklevel=3)
    return found


def _thumbnails(images: Rows, rows: np.ndarray) -> np.ndarray:
    """Mean colours of 16 x 16 fields, or the pixels of smaller images: (n_rows, n_values), float32."""
    height, width = images.shape[1:3]
    # Every field starts where it stands in proportion, so that no edge is cut off.
    starts = [np.arange(min(_SIDE, side)) * side // min(_SIDE, side) for side in (height, width)]
    areas = [np.diff([*start, side]) for start, side in zip(starts, (height, width), strict=True)]
    n_pixels = np.outer(*areas)[:, :, np.newaxis]
    found = np.empty((len(rows), *n_pixels.shape[:2], 3), np.float32)
    for place, row in enumerate(rows):
        sums = np.add.reduceat(images[row].astype(np.int64), starts[0], axis=0)
        found[place] = np.add.reduceat(sums, starts[1], axis=1) / n_pixels
    return found.reshape(len(rows), -1)
