"""What was measured of features in fewer bits: plain numbers that go with them, in JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from featx.documents import parse_json
from featx.errors import StoreError, printable


@dataclass(frozen=True)
class PrecisionDifference:
    """Features in some precision against float32.

    Attributes
    ----------
    precision : str
    n_samples : int
        Images compared, spread evenly over the data set.
    cosine_mean, cosine_min : float
        Over these images.
    accuracy, accuracy_float32 : float or None
        Of a logistic regression on standardised features, mean over 5 stratified folds of these images;
        None where they have not two classes of five.
    """

    precision: str
    n_samples: int
    cosine_mean: float
    cosine_min: float
    accuracy: float | None
    accuracy_float32: float | None

    def to_json(self) -> str:
        """As JSON, sorted, so that equal figures give equal text."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PrecisionDifference:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreError
            When the text is not that.

        Examples
        --------
        >>> difference = PrecisionDifference("bfloat16", 256, 0.9997, 0.9991, 0.84, 0.85)
        >>> PrecisionDifference.from_json(difference.to_json()) == difference
        True
        """
        try:
            found = cls(**parse_json(text.encode()))
        except (AttributeError, TypeError, ValueError) as error:
            raise StoreError(f"not a precision's difference: {printable(str(error))}") from error
        if not found._is_usable():
            raise StoreError("not a precision's difference: one of its values is of another type")
        return found

    def _is_usable(self) -> bool:
        figures = (self.cosine_mean, self.cosine_min, self.accuracy or 0.0, self.accuracy_float32 or 0.0)
        is_known = self.precision in ("float32", "bfloat16", "float16")
        return (
            is_known and type(self.n_samples) is int and all(type(each) in (int, float) for each in figures)
        )
