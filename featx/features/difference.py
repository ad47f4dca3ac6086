"""What fewer bits cost: features in another precision beside those in float32, on the user's own images.

A sample of the images is embedded a second time, in float32, by Keras or by a graph that was checked to give
Keras's features. Two figures come of it: the cosine between the two features of each image, and, where the
images are labelled, the cross-validated accuracy of one plain head on either. They are kept in the store, for
the data set they were measured on, and go with the features.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from featx.documents import read_json
from featx.errors import DecodeError, FeatxWarning, printable
from featx.features.batching import batches_of
from featx.features.engine_choice import cosines
from featx.features.engines import Engine, available_cpus
from featx.features.precision_difference import PrecisionDifference
from featx.features.preparation import Preparation
from featx.files import atomic_write, sha256_hex
from featx.images.base import UNLABELLED, ImageSource, RawImage
from featx.storage import AnyPath, listed

_MAX_SAMPLES = 256

# Of the images that were measured, the share that must be here for the figures to be of this data set.
_SHARED = 0.9
_N_FOLDS = 5


@dataclass(frozen=True)
class Embedded:
    """Samples that have features.

    Parameters
    ----------
    source : ImageSource
    digests : dict of int to str
        By the sample's index in the source.
    preparation : Preparation
    read_features : callable
        ``read_features(digests)`` gives the samples' own rows, float32 (n, n_features).
    """

    source: ImageSource
    digests: Mapping[int, str]
    preparation: Preparation
    read_features: Callable[[Sequence[str]], np.ndarray]


def precision_difference(
    embedded: Embedded, directory: AnyPath, precision: str, start_reference: Callable[[], Engine]
) -> PrecisionDifference:
    """What the precision costs on these samples: measured once for a data set, also when that grows.

    Parameters
    ----------
    embedded : Embedded
    directory : Path or RemotePath
        Where what was measured is kept.
    precision : str
    start_reference : callable
        Gives the engine of float32.

    Returns
    -------
    PrecisionDifference
    """
    known = _recalled(embedded, directory)
    if known is not None:
        return known
    present, inputs = _prepared(embedded, _spread(sorted(embedded.digests)))
    images = [embedded.digests[row] for row in present]
    features, reference = embedded.read_features(images), _reference(start_reference(), inputs)
    alike, y = cosines(features, reference), embedded.source.labels[present]
    difference = PrecisionDifference(
        precision=precision,
        n_samples=len(present),
        cosine_mean=round(float(alike.mean()), 6),
        cosine_min=round(float(alike.min()), 6),
        accuracy=_accuracy(features, y),
        accuracy_float32=_accuracy(reference, y),
    )
    record = {"labels": _labels(embedded, images), "difference": difference.to_json()}
    kept = json.dumps(record, sort_keys=True).encode()
    atomic_write(directory / f"difference-{sha256_hex(kept)[:16]}.json", kept)
    return difference


def _prepared(embedded: Embedded, rows: Sequence[int]) -> tuple[list[int], list[np.ndarray]]:
    """What the network is given for some samples; one that is gone by now is left out."""

    def load(row: int, raw_image: RawImage) -> list[np.ndarray]:
        try:
            content, digest = raw_image.fetch(), embedded.digests[row]
            return embedded.preparation.load(content, raw_image.sample_id, digest, [0])
        except DecodeError:
            return []

    # A source is read in order; decoding is what takes time.
    raw_images = [embedded.source.read(row, row + 1)[0] for row in rows]
    with ThreadPoolExecutor(available_cpus()) as pool:
        loaded = list(pool.map(load, rows, raw_images))
    present = [row for row, inputs in zip(rows, loaded, strict=True) if inputs]
    return present, [inputs[0] for inputs in loaded if inputs]


def _labels(embedded: Embedded, images: Iterable[str]) -> dict[str, str]:
    """The class of each of these images that is among the samples, or "" for one without."""
    wanted, source = set(images), embedded.source
    names = [*source.class_names, ""]
    return {digest: names[source.labels[row]] for row, digest in embedded.digests.items() if digest in wanted}


def _recalled(embedded: Embedded, directory: AnyPath) -> PrecisionDifference | None:
    """What was measured before on images that are nearly all among these, under the same labels."""
    for path in listed(directory, "difference-*.json"):
        try:
            record = read_json(path)
            labels, difference = record["labels"], PrecisionDifference.from_json(record["difference"])
            here = _labels(embedded, labels.keys())
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            reason = printable(str(error))
            warnings.warn(f"{path} cannot be used ({reason}); measuring anew", FeatxWarning, stacklevel=3)
            path.unlink(missing_ok=True)
            continue
        is_same = all(labels[digest] == label for digest, label in here.items())
        if here and is_same and len(here) >= _SHARED * len(labels):
            return difference
    return None


def _spread(rows: Sequence[int]) -> list[int]:
    places = np.linspace(0, len(rows) - 1, min(_MAX_SAMPLES, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _reference(engine: Engine, inputs: list[np.ndarray]) -> np.ndarray:
    batches = batches_of(np.stack(inputs), engine.batch_size)
    return np.concatenate([engine(batch) for batch in batches])[: len(inputs)]


def _accuracy(X: np.ndarray, y: np.ndarray) -> float | None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes, counts = np.unique(y[y != UNLABELLED], return_counts=True)
    frequent = classes[counts >= _N_FOLDS]
    if len(frequent) < 2:
        return None
    kept = np.isin(y, frequent)
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))
    folds = StratifiedKFold(_N_FOLDS, shuffle=True, random_state=0)
    return round(float(cross_val_score(head, X[kept].astype(np.float64), y[kept], cv=folds).mean()), 4)
