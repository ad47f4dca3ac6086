"""By what a model file tells images: the first digits of their digests, or of their names' digests."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from featx.errors import as_utf8
from featx.files import sha256_hex

# Sixteen digits tell images apart and keep the file small.
_DIGEST_DIGITS = 16


def shortened(digests: Sequence[str]) -> list[str]:
    """The first digits of each.

    Examples
    --------
    >>> shortened(["0123456789abcdef" * 4])
    ['0123456789abcdef']
    """
    return [digest[:_DIGEST_DIGITS] for digest in digests]


def are_among(image_sha256: Sequence[str], marks: Sequence[str]) -> np.ndarray:
    """Which images' digests are among the marks: array of shape (n_samples,), bool; False for "", unknown.

    Examples
    --------
    >>> are_among(["a1", "b2", ""], ["b2", ""])
    array([False,  True, False])
    """
    is_known = np.array([bool(digest) for digest in image_sha256], dtype=bool)
    found: np.ndarray = is_known & np.isin(shortened(image_sha256), shortened(marks))
    return found


def mark_of_name(sample_id: str) -> str:
    """The mark of a sample id.

    Examples
    --------
    >>> mark_of_name("1.png")
    '0c0e767215855322'
    """
    # As a feature file has it: an undecodable byte of a file name is an escape there.
    return shortened([sha256_hex(b"sample " + as_utf8(sample_id))])[0]


def exclusion_marks(
    image_sha256: Sequence[str], sample_ids: Sequence[str], tested: Collection[str] = ()
) -> list[str]:
    """Marks of images that were left out: of their content, which stays when they are moved.

    Of an image of which a copy was tested, and of one of unknown content, the sample id tells.

    Parameters
    ----------
    image_sha256, sample_ids : sequence of str
        Of the images that were left out.
    tested : collection of str
        Digests of those that were tested.

    Returns
    -------
    list of str
        Each once.

    Examples
    --------
    >>> exclusion_marks(["a1", "b2"], ["0.png", "1.png"], tested={"b2"})
    ['a1', '0c0e767215855322']
    """
    is_told = [bool(digest) and digest not in tested for digest in image_sha256]
    return list(
        dict.fromkeys(
            shortened([digest])[0] if told else mark_of_name(name)
            for digest, name, told in zip(image_sha256, sample_ids, is_told, strict=True)
        )
    )
