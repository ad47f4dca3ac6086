"""The model file: a fitted head with everything that is needed to use it, in one file without pickles.

A zip archive of two members::

    model.json    format_version, class_names, extraction_spec, extraction_specs, metrics,
                  training_images, excluded_images, versions, head_sha256
    head.skops    the fitted scikit-learn estimator, as skops writes it

Version 1 had no ``extraction_specs``, which are those of a head on features of several kinds side by side;
version 2 had no ``excluded_images``, which its search had left out of training and test.

Opening one runs no code: skops builds scikit-learn's own classes and the few in `TRUSTED_TYPES`, and
nothing else; a file that asks for more is refused. To change the layout, raise `FORMAT_VERSION` and keep
reading the versions before it.
"""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sklearn
import skops
import skops.io
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from featx import __version__
from featx.archives import check_members, read_member
from featx.checks import explain
from featx.documents import parse_json
from featx.errors import FeatxWarning, HeadError, StoreCorruptError, StoreError, printable
from featx.files import StrPath, atomic_write, sha256_hex
from featx.heads.image_marks import are_among, mark_of_name, shortened
from featx.heads.soundness import unsoundness
from featx.reading import read_regular_file

FORMAT_VERSION = 3

#: Classes beyond skops's own list that a head may hold. Each was read: none does more than hold, take or
#: compare numbers.
TRUSTED_TYPES = (
    "featx.heads.columns.TakeColumns",
    "featx.heads.neighbors.WeightedNeighbors",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
)

_MEMBERS = ("model.json", "head.skops")
_FIELDS = {
    "class_names": list,
    "extraction_spec": str | None,
    "extraction_specs": list,
    "metrics": dict,
    "training_images": list,
    "excluded_images": list,
    "versions": dict,
}
# By version, the fields that it had not.
_ADDED_SINCE = {1: ("extraction_specs", "excluded_images"), 2: ("excluded_images",)}
_MAX_BYTES = 2 * 2**30
# Digests of six million images.
_MAX_MODEL_BYTES = 128 * 2**20
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class ModelFile:
    """A fitted head and what belongs to it.

    Parameters
    ----------
    head : estimator
        Fitted.
    class_names : sequence, optional
        Names of the head's classes, as strings or integers, in the order of ``head.classes_``.
    extraction_spec : str, optional
        The features it was fitted on, as ``ExtractionSpec.to_json`` writes it.
    extraction_specs : sequence of str, optional
        In place of it where features of several kinds stand side by side: theirs, in that order.
    metrics : mapping, optional
        What was measured, as plain values.
    training_images : sequence of str, optional
        Digests of the images that it was fitted on, so that nobody scores it on them unawares.
    versions : mapping of str to str
        Of the packages that wrote it; filled in on saving.
    excluded_images : sequence of str, optional
        Marks of the images that a search left out of training and test, as
        `featx.heads.image_marks` makes them, so
        that nobody takes them for test images.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> head = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    >>> path = getfixture("tmp_path") / "m.featx"
    >>> ModelFile(head, class_names=["cat", "dog"]).save(path)
    >>> ModelFile.load(path).class_names
    ['cat', 'dog']
    """

    head: BaseEstimator
    class_names: Sequence[Any] = ()
    extraction_spec: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    training_images: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    extraction_specs: Sequence[str] = ()
    excluded_images: Sequence[str] = ()

    @property
    def known_names(self) -> list[Any]:
        """Names of the head's classes, in its order; one that was saved alone knows its classes alone."""
        return list(self.class_names) or self.head.classes_.tolist()

    @property
    def specs(self) -> tuple[str, ...]:
        """Every extraction spec: several, the one, or none where the features came from elsewhere."""
        if self.extraction_specs:
            return tuple(self.extraction_specs)
        return () if self.extraction_spec is None else (self.extraction_spec,)

    def save(self, path: StrPath) -> None:
        """Write the file; it appears complete or not at all.

        Parameters
        ----------
        path : path-like
            Created or replaced.

        Raises
        ------
        HeadError
            When the head holds something that could not be loaded again, or the class names are not its.
        StoreError
            When the file cannot be written; what stood there before is untouched.
        """
        check_is_fitted(self.head)
        n_classes = len(getattr(self.head, "classes_", ()))
        if self.class_names and len(self.class_names) != n_classes:
            received = f"{len(self.class_names)} class names for a head of {n_classes} classes"
            raise HeadError(explain(received, "one name a class", "pass all of them"))
        head = _head_bytes(self.head)
        model = {
            "format_version": FORMAT_VERSION,
            "class_names": list(self.class_names),
            "extraction_spec": self.extraction_spec,
            "extraction_specs": list(self.extraction_specs),
            "metrics": dict(self.metrics),
            "training_images": shortened(self.training_images),
            "excluded_images": shortened(self.excluded_images),
            "versions": _versions(),
            "head_sha256": sha256_hex(head),
        }
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            for name, data in zip(_MEMBERS, (json.dumps(model, default=_plain).encode(), head), strict=True):
                file.writestr(zipfile.ZipInfo(name, _FIXED_TIME), data, zipfile.ZIP_DEFLATED)
        atomic_write(path, archive.getvalue())

    @classmethod
    def load(cls, path: StrPath) -> ModelFile:
        """Open a model file; nothing in it is run.

        Parameters
        ----------
        path : path-like
            As written by `save`.

        Returns
        -------
        ModelFile

        Raises
        ------
        StoreError
            When the file is absent, damaged, not a model, or holds types that are not loaded.
        """
        model, head = _read_members(path)
        written_by = printable(str(model["versions"].get("scikit-learn"))[:20])
        if written_by.rpartition(".")[0] != sklearn.__version__.rpartition(".")[0]:
            message = f"{path} was written with scikit-learn {written_by}; this is {sklearn.__version__}"
            warnings.warn(message, FeatxWarning, stacklevel=2)
        return cls(_open_head(head, path), **{name: model[name] for name in _FIELDS})

    def was_trained_on(self, image_sha256: Sequence[str]) -> np.ndarray:
        """Which images the head was fitted on: array of shape (n_samples,), bool; False where unknown."""
        return are_among(image_sha256, self.training_images)

    def was_excluded(self, image_sha256: Sequence[str], sample_ids: Sequence[str]) -> np.ndarray:
        """Which images the search left out of training and test.

        Parameters
        ----------
        image_sha256, sample_ids : sequence of str, length n_samples
            "" is an unknown digest.

        Returns
        -------
        ndarray of shape (n_samples,), bool

        Examples
        --------
        >>> from featx.heads.image_marks import exclusion_marks
        >>> marks = exclusion_marks(["a1", "b2"], ["1.png", "2.png"], tested={"b2"})
        >>> model = ModelFile(None, excluded_images=marks)
        >>> model.was_excluded(["a1", "b2", "b2"], ["moved.png", "2.png", "its copy.png"])
        array([ True,  True, False])
        """
        if not len(self.excluded_images):
            return np.zeros(len(sample_ids), bool)
        is_named = np.isin([mark_of_name(name) for name in sample_ids], self.excluded_images)
        either: np.ndarray = is_named | are_among(image_sha256, self.excluded_images)
        return either


def save_head(head: BaseEstimator, path: StrPath, **details: Any) -> None:
    """Write a fitted head to a model file.

    Parameters
    ----------
    head : estimator
        Fitted: a `HeadSearch`'s ``best_estimator_``, or any scikit-learn classifier.
    path : path-like
        Created or replaced.
    **details
        ``class_names``, ``extraction_spec`` or ``extraction_specs``, ``metrics``, ``training_images`` and
        ``excluded_images``, as for `ModelFile`.

    Examples
    --------
    See `load_head`.
    """
    ModelFile(getattr(head, "best_estimator_", head), **details).save(path)


def load_head(path: StrPath) -> BaseEstimator:
    """The fitted head out of a model file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    estimator

    Raises
    ------
    StoreError
        When the file is absent, damaged, or not a model.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> path = getfixture("tmp_path") / "m.featx"
    >>> save_head(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), path)
    >>> load_head(path).predict([[2.0]])
    array([1])
    """
    return ModelFile.load(path).head


def _read_members(path: StrPath) -> tuple[dict[str, Any], bytes]:
    expected, remedy = "a model file, as `featx search --out` writes it", "check the path"
    try:
        data = read_regular_file(os.path.realpath(path), _MAX_BYTES)
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise StoreError(explain(f"{path}, which is another file or lacks its end", expected, remedy))
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if sorted(file.namelist()) != sorted(_MEMBERS):
                raise StoreError(explain(f"the archive {path}", expected, remedy))
            text, head = _read_both(file, path)
        model = parse_json(text)
    except StoreError:
        raise
    except FileNotFoundError:
        raise StoreError(explain(f"{path}: no such file", expected, remedy)) from None
    except Exception as error:
        # zipfile, zlib and json each have errors of their own for damaged bytes.
        reason = printable(getattr(error, "strerror", None) or str(error))
        raise StoreCorruptError(f"{path} cannot be read as a model: {reason}") from error
    return _checked_model(model, head, path), head


def _read_both(file: zipfile.ZipFile, path: StrPath) -> tuple[bytes, bytes]:
    try:
        check_members(file)
        return read_member(file, "model.json", _MAX_MODEL_BYTES), read_member(file, "head.skops", _MAX_BYTES)
    except StoreError as error:
        raise StoreCorruptError(f"{path} cannot be read as a model: {error}") from None


def _checked_model(model: Any, head: bytes, path: StrPath) -> dict[str, Any]:
    version = model.get("format_version") if isinstance(model, dict) else None
    if version in _ADDED_SINCE:
        model = {**{name: [] for name in _ADDED_SINCE[version]}, **model}
    elif version != FORMAT_VERSION:
        received = f"{path} of format_version {version!r:.20}"
        raise StoreError(explain(received, f"version 1 to {FORMAT_VERSION}", "save the model anew"))
    for name, kind in _FIELDS.items():
        if not isinstance(model.get(name), kind):
            raise StoreCorruptError(f"{path} is damaged: its {name} cannot be used")
    if sha256_hex(head) != model.get("head_sha256"):
        raise StoreCorruptError(f"{path} is damaged: its head is not the one that was saved")
    for name in ("extraction_specs", "training_images", "excluded_images"):
        if not all(isinstance(each, str) for each in model[name]):
            raise StoreCorruptError(f"{path} is damaged: its {name} cannot be used")
    return dict(model)


def _head_bytes(head: BaseEstimator) -> bytes:
    try:
        data: bytes = skops.io.dumps(head, compression=zipfile.ZIP_STORED)
        refused = _refused_types(data)
    except Exception as error:
        raise HeadError(f"this {type(head).__name__} cannot be saved: {error}") from error
    if refused:
        expected = "scikit-learn's own estimators"
        raise HeadError(explain(f"a head that holds {', '.join(refused)}", expected, "use another head"))
    return data


def _open_head(data: bytes, path: StrPath) -> BaseEstimator:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = file.infolist()
        # A head is stored as it is: nothing in it can expand.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or (
            sum(member.file_size for member in members) > len(data)
        ):
            raise StoreCorruptError(f"{path} claims more bytes than its head holds; refused")
        if refused := _refused_types(data):
            wanted = printable(", ".join(refused))
            raise StoreError(f"{path} holds {wanted}, which featx does not load; refused")
        head = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except StoreError:
        raise
    except Exception as error:
        # The bytes are whatever somebody wrote, and skops has no one error for those it cannot read.
        reason = printable(str(error))
        raise StoreCorruptError(f"{path} is damaged: its head cannot be read: {reason}") from error
    if not isinstance(head, BaseEstimator):
        raise StoreError(explain(f"{path}, which holds a {type(head).__name__}", "a head", "check the path"))
    if wrong := unsoundness(head):
        raise StoreCorruptError(f"{path} is damaged: its head {printable(wrong)}")
    return head


def _refused_types(head: bytes) -> list[str]:
    return sorted(set(skops.io.get_untrusted_types(data=head)) - set(TRUSTED_TYPES))


def _versions() -> dict[str, str]:
    return {
        "featx": __version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "skops": skops.__version__,
    }


def _plain(value: Any) -> Any:
    """NumPy's numbers and arrays as JSON knows them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    message = f"{type(value).__name__} is not a plain value"
    raise TypeError(message)
