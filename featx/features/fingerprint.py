"""What was extracted, as plain JSON, and its key. Pure functions: no file is touched here.

Two extractions with equal specs give equal features (float32 engines agree to 1e-5), and features
are reused across them; if anything that changes a feature differs, so does the key. Batch size, engine
and backend are not in the spec: batches are padded to one size and every engine answers alike, so they
are recorded with each shard instead. Views are in the spec and not in the key: each view is a row of its
own with an address of its own, so more views cost only the new ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any

from featx.checks import explain
from featx.documents import parse_json
from featx.errors import StoreError, printable

#: Raise it when a field is added, dropped or changes its meaning: old caches are then never reused.
SPEC_VERSION = 2
_READABLE_VERSIONS = (1, 2)
_NEW_IN_VERSION_2 = ("views", "inputs", "input_dtype")
KEY_DIGITS = 12

_TYPES: dict[str, Any] = {
    **dict.fromkeys(("backbone", "architecture", "weights", "weights_sha256", "preprocessing"), str),
    **dict.fromkeys(("resize_rule", "pixels_sha256", "pooling", "precision", "inputs", "input_dtype"), str),
    **dict.fromkeys(("weights_seed", "view_seed"), int | None),
    "n_views": int,
}
# A sample of more values is no image that a network takes, but a way to ask for memory.
_MAX_VALUES, _MAX_VIEWS = 2**24, 2**16

#: What a backbone takes: images, or arrays as they are.
INPUTS = ("images", "arrays")


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
        (height, width), in pixels; of arrays, the shape of one sample.
    resize_rule, pixels_sha256 : str
        How images are resized, and what this installation's decoder makes of reference images. Empty for
        arrays.
    pooling : str
        How feature maps become vectors.
    taps : tuple of str
        The inner layers kept; empty for the network's output.
    feature_blocks : tuple of (str, int)
        Name and width of each block of columns, in order.
    n_views : int
        Augmented views of each image; 1 is the image itself.
    views : tuple of str
        What the views are made by; empty for the image itself.
    view_seed : int or None
        Seed of the views.
    precision : {"float32", "bfloat16", "float16"}
        Of the forward pass.
    inputs : {"images", "arrays"}
        What a sample is.
    input_dtype : str
        Type of what the network is given.
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
    input_size: tuple[int, ...]
    resize_rule: str
    pixels_sha256: str
    pooling: str
    taps: tuple[str, ...]
    feature_blocks: tuple[tuple[str, int], ...]
    n_views: int = 1
    views: tuple[str, ...] = ()
    view_seed: int | None = None
    precision: str = "float32"
    inputs: str = "images"
    input_dtype: str = "uint8"
    version: int = SPEC_VERSION

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return sum(width for _, width in self.feature_blocks)

    @property
    def key(self) -> str:
        """SHA-256 of `to_json` of one view, as 64 hexadecimal digits."""
        return hashlib.sha256(self.of_one_view().to_json().encode()).hexdigest()

    @property
    def directory_name(self) -> str:
        """Name of this extraction's folder in the store."""
        # A backbone's name may be a path or hold anything else that a user likes.
        safe = re.sub(r"[^A-Za-z0-9_-]+", "_", self.backbone)[-60:]
        return f"{safe}-{self.key[:KEY_DIGITS]}"

    def of_one_view(self) -> ExtractionSpec:
        """The spec of the images themselves: what a store keeps, whatever views are asked for."""
        return dataclasses.replace(self, n_views=1, views=(), view_seed=None)

    def to_json(self) -> str:
        """The spec as canonical JSON: sorted, without spaces, so that equal specs give equal text."""
        fields = dataclasses.asdict(self)
        if self.version == 1:
            # What an older featx wrote keeps its text, and so its key.
            fields = {name: value for name, value in fields.items() if name not in _NEW_IN_VERSION_2}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ExtractionSpec:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreError
            When the text is not a spec of this version of featx.
        """
        try:
            fields = parse_json(text.encode())
            if fields["version"] not in _READABLE_VERSIONS:
                received = f"an extraction spec of version {fields['version']!r:.20}"
                raise StoreError(explain(received, f"version {SPEC_VERSION}", "extract the features anew"))
            fields["input_size"] = tuple(fields["input_size"])
            fields["taps"] = tuple(fields["taps"])
            fields["views"] = tuple(fields.get("views", ()))
            fields["feature_blocks"] = tuple(
                (str(name), int(width)) for name, width in fields["feature_blocks"]
            )
            spec = cls(**fields)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"not an extraction spec: {printable(str(error))[:300]}") from error
        if wrong := spec._wrong_field():
            raise StoreError(f"not an extraction spec: its {wrong} cannot be used")
        return spec

    def _wrong_field(self) -> str | None:
        """The first field of another type than its own: whoever wrote the text decides what is in it."""
        for name, kind in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                return name
        for name in ("taps", "views"):
            if not all(isinstance(value, str) for value in getattr(self, name)):
                return name
        sides = self.input_size
        if not all(type(side) is int and side > 0 for side in sides) or math.prod(sides) > _MAX_VALUES:
            return "input_size"
        if self.inputs not in INPUTS:
            return "inputs"
        return None if 0 < self.n_views <= _MAX_VIEWS else "n_views"

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
