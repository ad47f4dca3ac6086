"""What all candidates of a search share: samples, folds, weights and what is scored."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import joblib
import numpy as np
from sklearn.base import BaseEstimator, clone, get_tags
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.metrics import get_scorer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import has_fit_parameter

from featx.checks import explain
from featx.errors import HeadError
from featx.heads.design import as_floats
from featx.heads.neighbors import WeightedNeighbors
from featx.heads.splits import Folds, fewest_members, has_groups, make_folds

#: Columns of one feature set: a slice, or indices where it is put together of several.
Columns: TypeAlias = slice | np.ndarray
ClassWeight: TypeAlias = str | Mapping[Any, float] | None

ALL_FEATURES = "all"
# A matrix that is larger is read in blocks and never copied, where the head can do with that.
_STREAMED_BYTES = 2 * 2**30
_BLOCK_ROWS = 8192
_MOST_CALIBRATION_FOLDS = 5


@dataclass(frozen=True)
class Problem:
    """Samples and what they are to serve.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features)
        float16, float32 or float64.
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
    groups : ndarray of shape (n_samples,) or None
    folds : list of (ndarray, ndarray)
        Rows to train on and to test on.
    sample_weight : ndarray of shape (n_samples,) or None
    class_weight : str, mapping or None
        As scikit-learn has it; multiplies the sample weights of each training part.
    images : ndarray of shape (n_samples,) or None
        Rows of one image are its views: their scores are averaged before they are judged.
    blocks : mapping of str to slice or ndarray
        The feature sets among the columns, by name.
    scoring : str, callable, list or mapping
        As scikit-learn has it.
    token : str
        Names this problem in what is kept between its tasks; see `with_folds`.
    """

    X: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None
    folds: Folds
    sample_weight: np.ndarray | None = None
    class_weight: ClassWeight = None
    images: np.ndarray | None = None
    blocks: Mapping[str, Columns] = field(default_factory=lambda: {ALL_FEATURES: slice(None)})
    scoring: Any = "accuracy"
    token: str = field(default_factory=lambda: uuid.uuid4().hex)

    def with_folds(self, folds: Folds, name: str) -> Problem:
        """The same samples with other folds; the name tells it from others that are made of this one."""
        return replace(self, folds=folds, token=f"{self.token} {name}")

    @property
    def root(self) -> str:
        """Names the samples: the same for all problems that are made of one by other folds."""
        return self.token.partition(" ")[0]

    @property
    def is_multilabel(self) -> bool:
        """Whether a sample may belong to several classes."""
        return self.y.ndim == 2

    @property
    def is_streamed(self) -> bool:
        """Whether the features are too many for a copy of each training part."""
        return self.X.nbytes > _STREAMED_BYTES or self.X.dtype == np.float16

    def features(self, rows: np.ndarray, block: str) -> np.ndarray:
        """Rows of one feature set, as float32 or float64; a copy."""
        columns = self.blocks[block]
        part = self.X[rows, columns] if isinstance(columns, slice) else self.X[np.ix_(rows, columns)]
        return as_floats(part)

    def n_features(self, block: str) -> int:
        """Columns of one feature set."""
        columns = self.blocks[block]
        if isinstance(columns, slice):
            return len(range(*columns.indices(self.X.shape[1])))
        return len(columns)

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        """Sample weights of a training part, with the class weights in them."""
        if self.class_weight is None:
            return None if self.sample_weight is None else self.sample_weight[rows]
        weights: np.ndarray = compute_sample_weight(self.class_weight, self.y[rows])
        return weights if self.sample_weight is None else weights * self.sample_weight[rows]

    def has_weights(self) -> bool:
        """Whether heads are fitted with weights."""
        return self.sample_weight is not None or self.class_weight is not None


def digest_of(value: Any) -> str | None:
    """What is equal for equal values in every process; None where a part of it has no name of its own.

    Examples
    --------
    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    >>> print(digest_of(lambda: 0))
    None
    """
    try:
        return str(joblib.hash(value))
    except Exception:  # noqa: BLE001 - a lambda, a local class, a lock: each has another error
        return None


def last_step(estimator: BaseEstimator) -> tuple[str, BaseEstimator]:
    """What classifies, and the prefix of its parameters."""
    # A kind of pipeline of somebody's own may do more than its steps, and is one thing.
    if type(estimator) is not Pipeline:
        return "", estimator
    name, head = estimator.steps[-1]
    return f"{name}__", head


def weighable(name: str, estimator: BaseEstimator) -> BaseEstimator:
    """The head, or one of its kind that weighs samples; a head that cannot is refused."""
    head = last_step(estimator)[1]
    if has_fit_parameter(head, "sample_weight"):
        return estimator
    if type(head) is not KNeighborsClassifier:
        remedy = f"leave {name} out"
        received = f"sample_weight for the head {name}"
        raise HeadError(explain(received, "heads that can weigh samples", remedy))
    return with_last_step(estimator, WeightedNeighbors(**head.get_params()))


def fit_weights(estimator: BaseEstimator, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """The weights by the name under which a head's ``fit`` takes them."""
    return {} if weights is None else {f"{last_step(estimator)[0]}sample_weight": weights}


def for_labels(estimator: BaseEstimator) -> BaseEstimator:
    """The head as it is, or one of it for each label where it knows single classes only."""
    head = last_step(estimator)[1]
    if get_tags(head).classifier_tags.multi_label:
        return estimator
    return with_last_step(estimator, OneVsRestClassifier(head))


def with_last_step(estimator: BaseEstimator, head: BaseEstimator) -> BaseEstimator:
    """A pipeline, or a head alone, that ends in another head."""
    if type(estimator) is not Pipeline:
        return head
    return Pipeline([*estimator.steps[:-1], (estimator.steps[-1][0], head)])


def parting_no_group(head: BaseEstimator, y: np.ndarray, groups: np.ndarray | None) -> BaseEstimator:
    """A head that calibrates within its training part, told the folds that keep groups together."""
    if not isinstance(head, CalibratedClassifierCV) or head.cv is not None or not has_groups(groups):
        return head
    n_folds = min(_MOST_CALIBRATION_FOLDS, fewest_members(y, groups))
    return clone(head).set_params(cv=make_folds(y, groups, n_folds))


def check_targets(y: np.ndarray) -> None:
    """Refuse what is neither a class for each sample nor zeros and ones for each label."""
    check_classification_targets(y)
    if y.ndim == 2 and type_of_target(y) != "multilabel-indicator":
        received = f"y of shape {y.shape} that holds more than 0 and 1"
        expected = "one class a sample, or 0 and 1 for each label"
        raise HeadError(explain(received, expected, "y should be a 1d array for single classes"))


def scorers_of(scoring: Any) -> list[Any]:
    """Every scorer of a scoring: one, several in a sequence, or several by name.

    Examples
    --------
    >>> scorers_of("accuracy"), scorers_of(["accuracy", "roc_auc"]), scorers_of({"a": "accuracy"})
    (['accuracy'], ['accuracy', 'roc_auc'], ['accuracy'])
    """
    if scoring is None or callable(scoring) or isinstance(scoring, str):
        return [scoring]
    return list(scoring.values() if isinstance(scoring, Mapping) else scoring)


def check_scorable(y: np.ndarray, scoring: Any) -> None:
    """Refuse a named scoring that does not suit the classes, by scoring a head that guesses."""
    if y.ndim == 2:
        return
    X = np.zeros((len(y), 1))
    guess = DummyClassifier(strategy="prior").fit(X, y)
    for name in scorers_of(scoring):
        if not isinstance(name, str):
            continue
        try:
            with warnings.catch_warnings():
                # That a guess is ill defined says nothing of the heads.
                warnings.simplefilter("ignore")
                get_scorer(name)(guess, X, y)
        except ValueError as error:
            received = f"scoring={name!r} for the classes {', '.join(map(str, np.unique(y)[:10]))}"
            raise HeadError(
                explain(received, "a scoring that suits them", f"choose another: {error}")
            ) from error


def check_weights(y: np.ndarray, sample_weight: np.ndarray | None, class_weight: ClassWeight) -> None:
    """Refuse weights that no head could be fitted with."""
    if sample_weight is None and class_weight is None:
        return
    if y.ndim == 2:
        remedy = "set class_weight in the estimator of a HeadSpec of your own"
        raise HeadError(explain("weights for several labels", "weights for one class a sample", remedy))
    try:
        compute_sample_weight(class_weight, y)
    except (TypeError, ValueError) as error:
        raise HeadError(f"class_weight={class_weight!r} cannot be used: {error}") from error


def check_varied(X: np.ndarray) -> None:
    """Refuse features that are the same in every row: there is nothing to tell classes by."""
    if len(X) > 1 and not np.any(X[1:_BLOCK_ROWS] != X[0]) and not np.any(X[1:] != X[0]):
        received = f"{X.shape[1]} columns that are all constant"
        raise HeadError(explain(received, "features that vary", "check the extraction"))


def check_blocks(blocks: Mapping[str, Any] | None, n_features: int) -> dict[str, Columns]:
    """The feature sets among the columns, checked.

    Parameters
    ----------
    blocks : mapping of str to (start, stop), slice or sequence of int, or None
        None is one set of all columns.
    n_features : int

    Returns
    -------
    dict of str to slice or ndarray

    Examples
    --------
    >>> check_blocks({"a": (0, 2), "b": [0, 3]}, 4)
    {'a': slice(0, 2, None), 'b': array([0, 3])}
    """
    if blocks is None:
        return {ALL_FEATURES: slice(None)}
    if not isinstance(blocks, Mapping) or not blocks:
        received = f"feature_blocks={blocks!r}"
        raise HeadError(explain(received, "names with their columns", 'pass for example {"avg": (0, 1280)}'))
    checked: dict[str, Columns] = {}
    for name, given in blocks.items():
        columns = slice(*given) if isinstance(given, tuple) and len(given) == 2 else given
        indices = _indices(columns, n_features)
        if indices.ndim != 1 or not len(indices) or indices.min() < 0 or indices.max() >= n_features:
            received = f"the columns {columns!r} of {name!r}"
            raise HeadError(explain(received, f"some of {n_features} columns", "mend feature_blocks"))
        checked[str(name)] = columns if isinstance(columns, slice) else indices
    return checked


def _indices(columns: Any, n_features: int) -> np.ndarray:
    """Columns as integers; none where they are anything else."""
    try:
        found = np.arange(n_features)[columns] if isinstance(columns, slice) else np.asarray(columns)
    except (TypeError, ValueError):
        return np.zeros(0, int)
    if found.dtype == bool:
        return np.flatnonzero(found) if found.shape == (n_features,) else np.zeros(0, int)
    return found if found.dtype.kind in "iu" else np.zeros(0, int)
