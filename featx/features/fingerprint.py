"""What was extracted, as plain JSON, and its key. Pure functions: no file is touched here.

Two extractions with equal specs give equal features (float32 engines agree to 1e-5), and features
are reused across them; if anything that changes a feature differs, so does the key. Batch size, engine
and backend are not in the spec: batches are padded to one size and every engine answers alike, so they
are recorded with each shard instead.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from featx.checks import explain
from featx.errors import StoreError

#: Raise it when a field is added, dropped or changes its meaning: old caches are then never reused.
SPEC_VERSION = 1
KEY_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class ExtractionSpec:
    """Everything that a feature depends on.

    Parameters
    ----------
    backbone : str
        Its name.
    architecture : str
        Name and version of an architecture of featx's own, or the digest of a Keras model's config.
    weights : {"imagenet", "random", "own"}
        Where the weights come from; "own" are those of a model that a user passed.
    weights_seed : int or None
        Seed of weights initialised at random.
    weights_sha256 : str
        Digest of all weight tensors.
    preprocessing : str
        What happens to uint8 pixels before the network.
    input_size : tuple of int
        (height, width), in pixels.
    resize_rule, pixels_sha256 : str
        How images are resized, and what this installation's decoder makes of reference images.
    pooling : str
        How feature maps become vectors.
    taps : tuple of str
        The inner layers kept; empty for the network's output.
    feature_blocks : tuple of (str, int)
        Name and width of each block of columns, in order.
    n_views : int
        Augmented views of each image; 1 is the image itself.
    view_seed : int or None
        Seed of the views.
    precision : str
        Of the forward pass.
    version : int
        `SPEC_VERSION`.

    Examples
    --------
    >>> from featx import FeatureExtractor
    >>> spec = FeatureExtractor("efficientnet_lite0").fit().spec_
    >>> len(spec.key), spec.n_features
    (64, 1280)
    >>> ExtractionSpec.from_json(spec.to_json()) == spec
    True
    """

    backbone: str
    architecture: str
    weights: str
    weights_seed: int | None
    weights_sha256: str
    preprocessing: str
    input_size: tuple[int, int]
    resize_rule: str
    pixels_sha256: str
    pooling: str
    taps: tuple[str, ...]
    feature_blocks: tuple[tuple[str, int], ...]
    n_views: int = 1
    view_seed: int | None = None
    precision: str = "float32"
    version: int = SPEC_VERSION

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return sum(width for _, width in self.feature_blocks)

    @property
    def key(self) -> str:
        """SHA-256 of `to_json`, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def directory_name(self) -> str:
        """Name of this extraction's folder in the store."""
        # A backbone's name may be a path or hold anything else that a user likes.
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", self.backbone)[-60:]
        return f"{safe}-{self.key[:KEY_DIGITS]}"

    def to_json(self) -> str:
        """The spec as canonical JSON: sorted, without spaces, so that equal specs give equal text."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ExtractionSpec:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreError
            When the text is not a spec of this version of featx.
        """
        try:
            fields = json.loads(text)
            if fields["version"] != SPEC_VERSION:
                received = f"an extraction spec of version {fields['version']}"
                raise StoreError(explain(received, f"version {SPEC_VERSION}", "extract the features anew"))
            fields["input_size"] = tuple(fields["input_size"])
            fields["taps"] = tuple(fields["taps"])
            fields["feature_blocks"] = tuple(
                (str(name), int(width)) for name, width in fields["feature_blocks"]
            )
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"not an extraction spec: {error}") from error

    def differences(self, other: ExtractionSpec) -> dict[str, tuple[Any, Any]]:
        """The fields that differ, each with this spec's value and the other's.

        Examples
        --------
        >>> from featx import FeatureExtractor
        >>> spec = FeatureExtractor("efficientnet_lite0").fit().spec_
        >>> spec.differences(dataclasses.replace(spec, pooling="max"))
        {'pooling': ('avg', 'max')}
        """
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def column_ranges(feature_blocks: tuple[tuple[str, int], ...]) -> dict[str, tuple[int, int]]:
    """Where each block of columns starts and stops.

    Examples
    --------
    >>> column_ranges((("block_4:avg", 40), ("top:avg", 1280)))
    {'block_4:avg': (0, 40), 'top:avg': (40, 1320)}
    """
    ranges, start = {}, 0
    for name, width in feature_blocks:
        ranges[name] = (start, start + width)
        start += width
    return ranges
