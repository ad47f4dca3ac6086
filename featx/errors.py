"""Every error and warning that featx raises on purpose.

::

    FeatxError(Exception)
    ├── SourceError(ValueError)         images or labels that cannot be used
    │   └── DecodeError                 one image: carries sample_id and reason
    ├── BackboneError(ValueError)       unknown name, bad tap, weights absent
    ├── HeadError(ValueError)           unknown head, labels that the folds cannot serve
    ├── StoreError(OSError)             a file that cannot be written, read or trusted
    │   ├── StoreCorruptError           bytes that are not those that were committed
    │   └── StoreMismatchError          another extraction: shows the fields that differ
    ├── ConversionError(TypeError)      a head that has no equal in Keras
    │   └── ParityError                 a model that answers otherwise: carries the difference
    ├── ClusterError(RuntimeError)       no cluster answers, or its machines cannot do the work
    └── MissingPackageError(ImportError)
    FeatxWarning(UserWarning)

Each class also derives from the built-in that a caller would catch without knowing featx. Messages
say what was received, what is expected and what to do, in one line (`featx.checks.explain`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


def printable(text: str) -> str:
    r"""Text from a file or a user, safe to show on one line of a terminal or a log.

    Control characters, line breaks and undecodable bytes become escapes, so that a file name can
    neither fake a second line nor move the cursor.

    Examples
    --------
    >>> printable("cat\n.jpg")
    'cat\\n.jpg'
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def as_utf8(text: str) -> bytes:
    r"""Text as files hold it: an undecodable byte of a file name (a lone surrogate in Python) is an escape.

    Examples
    --------
    >>> as_utf8("caf\udce9.jpg")
    b'caf\\udce9.jpg'
    """
    return text.encode("utf-8", "backslashreplace")


class FeatxError(Exception):
    """Base of every error that featx raises on purpose."""


class SourceError(FeatxError, ValueError):
    """Images or labels that cannot be used as they are."""


class DecodeError(SourceError):
    """One image that cannot be read or decoded.

    Parameters
    ----------
    sample_id : str
        Which image: its path relative to the source's root, or its index.
    reason : str
        Why, in a few words.

    Attributes
    ----------
    sample_id : str
        As given.
    reason : str
        As given, but printable: it may quote bytes of the file.

    Examples
    --------
    >>> error = DecodeError("cat/001.jpg", "empty file")
    >>> error.reason
    'empty file'
    >>> print(error)
    cat/001.jpg: empty file
    """

    def __init__(self, sample_id: str, reason: str) -> None:
        # Both go to Exception.__init__ so that the error survives pickling between worker processes.
        super().__init__(sample_id, reason)
        self.sample_id = sample_id
        self.reason = printable(reason)

    def __str__(self) -> str:
        return f"{printable(self.sample_id)}: {self.reason}" if self.sample_id else self.reason


class BackboneError(FeatxError, ValueError):
    """A backbone that is unknown, lacks weights, or does not fit what was asked of it."""


class HeadError(FeatxError, ValueError):
    """A head that is unknown, or features and labels that a head or its folds cannot serve."""


class StoreError(FeatxError, OSError):
    """A file that cannot be written, read or trusted."""


class StoreCorruptError(StoreError):
    """A file whose bytes are not the ones that were committed."""


class StoreMismatchError(StoreError):
    """Features of another extraction than the one asked for.

    Parameters
    ----------
    message : str
        What does not belong together, and what to do.
    differences : mapping of str to tuple
        For each field that differs, ``(found, expected)``.

    Examples
    --------
    >>> error = StoreMismatchError("f.h5 does not fit", {"input_size": ([96, 96], [224, 224])})
    >>> print(error)
    f.h5 does not fit; input_size: found [96, 96], expected [224, 224]
    """

    def __init__(self, message: str, differences: Mapping[str, tuple[object, object]]) -> None:
        super().__init__(message, dict(differences))
        self.message = message
        self.differences = dict(differences)

    def __str__(self) -> str:
        fields = [
            f"{name}: found {found}, expected {expected}"
            for name, (found, expected) in self.differences.items()
        ]
        return "; ".join([self.message, *fields])


class ClusterError(FeatxError, RuntimeError):
    """A cluster that does not answer, or whose machines cannot do what is asked of them."""


class ConversionError(FeatxError, TypeError):
    """A head that cannot be made into Keras layers, or a model that was not made from one."""


class ParityError(ConversionError):
    """A converted head that does not answer like the head itself.

    Parameters
    ----------
    message : str
        What differs.
    max_abs_difference : float
        Largest difference between probabilities; not a number where there are none.
    tolerance : float
        What was allowed.
    worst_sample : int
        Index of the sample to look at.

    Examples
    --------
    >>> print(ParityError("probabilities differ from the head's", 0.25, 1e-05, 7))
    probabilities differ from the head's; largest difference 0.25, tolerance 1e-05, worst sample 7
    """

    def __init__(self, message: str, max_abs_difference: float, tolerance: float, worst_sample: int) -> None:
        super().__init__(message, max_abs_difference, tolerance, worst_sample)
        self.message = message
        self.max_abs_difference = max_abs_difference
        self.tolerance = tolerance
        self.worst_sample = worst_sample

    def __str__(self) -> str:
        numbers = f"largest difference {self.max_abs_difference:.3g}, tolerance {self.tolerance:g}"
        return f"{self.message}; {numbers}, worst sample {self.worst_sample}"


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Within, an error that comes of a file's content says which file.

    Examples
    --------
    >>> with naming("m.featx"):
    ...     raise StoreError("not an extraction spec")
    Traceback (most recent call last):
    featx.errors.StoreError: m.featx: not an extraction spec
    """
    try:
        yield
    except (SourceError, BackboneError, HeadError, StoreError) as error:
        # Those of other arguments than a message say what they need to.
        if len(error.args) != 1:
            raise
        raise type(error)(f"{path}: {error}") from error


class MissingPackageError(FeatxError, ImportError):
    """An optional package that is not installed; the message says which extra brings it."""


class FeatxWarning(UserWarning):
    """Something that a user should know and that does not stop the work."""
