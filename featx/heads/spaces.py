"""What is searched: heads with their parameter grids, by name.

Every head is a scikit-learn Pipeline whose first step scales and whose last step, ``head``, classifies,
so that scaling is always fitted inside the fold. Grids are centred on what suits pooled embeddings: a few
hundred to a few thousand standardised columns, where useful penalties are stronger than scikit-learn's
defaults.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from featx.checks import explain, suggest
from featx.errors import HeadError


@dataclass(frozen=True)
class HeadSpec:
    """A head and the parameters to try.

    Parameters
    ----------
    name : str
        By which it is asked for.
    estimator : estimator
        Not fitted; usually a Pipeline, so that scaling happens inside the fold.
    param_grid : mapping of str to sequence, or sequence of such mappings
        As for scikit-learn's ``GridSearchCV``; for the random strategy also distributions, as for its
        ``RandomizedSearchCV``.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> register_head(HeadSpec("bayes_example", GaussianNB(), {"var_smoothing": [1e-9, 1e-6]}))
    >>> [spec.name for spec in list_heads("bayes*")]
    ['bayes_example']
    """

    name: str
    estimator: BaseEstimator
    param_grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]]


def _scaled(head: BaseEstimator) -> Pipeline:
    return Pipeline([("scale", StandardScaler()), ("head", head)])


def _powers_of_ten(first: int, last: int) -> list[float]:
    return [float(power) for power in np.logspace(first, last, last - first + 1)]


_REGISTRY = {
    spec.name: spec
    for spec in (
        HeadSpec(
            "logistic_regression",
            _scaled(LogisticRegression(max_iter=2000)),
            {"head__C": _powers_of_ten(-4, 1)},
        ),
        # A weaker penalty takes liblinear ten times as long and has not won on pooled embeddings.
        HeadSpec("linear_svm", _scaled(LinearSVC(max_iter=5000)), {"head__C": _powers_of_ten(-5, -2)}),
        HeadSpec("ridge", _scaled(RidgeClassifier()), {"head__alpha": _powers_of_ten(0, 5)}),
        HeadSpec(
            "rbf_svm",
            _scaled(SVC()),
            {"head__C": _powers_of_ten(0, 2), "head__gamma": ["scale", 1e-4, 3e-4, 3e-3]},
        ),
        HeadSpec(
            "mlp",
            _scaled(MLPClassifier(early_stopping=True)),
            {"head__hidden_layer_sizes": [(64,), (256,)], "head__alpha": [1e-4, 1.0]},
        ),
        HeadSpec(
            "knn",
            # Trees do not help in a thousand dimensions.
            _scaled(KNeighborsClassifier(algorithm="brute", metric="cosine", weights="distance")),
            {"head__n_neighbors": [1, 5, 15, 35]},
        ),
    )
}


def _half_decades(first: int, last: int) -> list[float]:
    return [float(power) for power in np.logspace(first, last, 2 * (last - first) + 1)]


# For a night rather than a coffee: wider and finer grids, and heads that seldom win.
_THOROUGH = (
    HeadSpec(
        "logistic_regression", _scaled(LogisticRegression(max_iter=5000)), {"head__C": _half_decades(-6, 3)}
    ),
    HeadSpec("linear_svm", _scaled(LinearSVC(max_iter=20000)), {"head__C": _half_decades(-6, -1)}),
    HeadSpec("ridge", _scaled(RidgeClassifier()), {"head__alpha": _half_decades(-1, 6)}),
    HeadSpec(
        "rbf_svm",
        _scaled(SVC()),
        {"head__C": _half_decades(-1, 3), "head__gamma": ["scale", *_half_decades(-5, -2)]},
    ),
    HeadSpec(
        "whitened_rbf_svm",
        Pipeline([("scale", StandardScaler()), ("pca", PCA(0.99, whiten=True)), ("head", SVC())]),
        {"head__C": _half_decades(0, 2), "head__gamma": ["scale", *_half_decades(-5, -2)]},
    ),
    HeadSpec(
        "mlp",
        _scaled(MLPClassifier(early_stopping=True)),
        {
            "head__hidden_layer_sizes": [(64,), (256,), (512,), (256, 64)],
            "head__alpha": [1e-4, 1e-2, 1.0],
            "head__learning_rate_init": [3e-4, 1e-3],
        },
    ),
    HeadSpec(
        "knn",
        _scaled(KNeighborsClassifier(algorithm="brute")),
        {
            "head__n_neighbors": [1, 3, 5, 9, 15, 25, 35, 51],
            "head__metric": ["cosine", "euclidean"],
            "head__weights": ["uniform", "distance"],
        },
    ),
    HeadSpec(
        "lda",
        _scaled(LinearDiscriminantAnalysis(solver="lsqr")),
        {"head__shrinkage": ["auto", 0.1, 0.3, 0.6, 0.9]},
    ),
)

# A space holds heads by name, so that one that is replaced is replaced here too, or heads of its own.
_SPACES: dict[str, tuple[str | HeadSpec, ...]] = {
    "fast": ("logistic_regression", "ridge", "knn"),
    "default": tuple(_REGISTRY),
    "thorough": _THOROUGH,
}
_OWN_HEADS = (*_REGISTRY.values(), *_THOROUGH)


def register_head(spec: HeadSpec) -> None:
    """Make a head known by its name; a name that is taken is replaced.

    Parameters
    ----------
    spec : HeadSpec

    Examples
    --------
    See `HeadSpec`.
    """
    _REGISTRY[spec.name] = spec


def is_own_head(spec: HeadSpec) -> bool:
    """Whether a spec is one that featx brings, with a grid that nobody chose for the data at hand.

    Examples
    --------
    >>> knn = resolve_heads("knn")[0]
    >>> is_own_head(knn), is_own_head(HeadSpec("knn", knn.estimator, {}))
    (True, False)
    """
    return any(spec is own for own in _OWN_HEADS)


def list_heads(pattern: str = "*") -> list[HeadSpec]:
    """The registered heads, in the order of registration.

    Parameters
    ----------
    pattern : str, default="*"
        Shell-style; case is ignored.

    Returns
    -------
    list of HeadSpec

    Examples
    --------
    >>> [spec.name for spec in list_heads("*svm")]
    ['linear_svm', 'rbf_svm']
    """
    return [spec for spec in _REGISTRY.values() if fnmatch.fnmatchcase(spec.name.lower(), pattern.lower())]


def resolve_heads(heads: str | HeadSpec | Sequence[str | HeadSpec]) -> list[HeadSpec]:
    """The heads that are meant by a space's name, a head's name, a spec, or a list of those.

    Parameters
    ----------
    heads : str, HeadSpec or sequence of those
        "fast" is heads that are searched in seconds, "default" those and support vector machines and a small
        multi-layer perceptron, and "thorough" all of them on wider and finer grids, and more.

    Returns
    -------
    list of HeadSpec

    Raises
    ------
    HeadError
        When a name is unknown, stands twice, or there is nothing to search.

    Examples
    --------
    >>> [spec.name for spec in resolve_heads("default")]
    ['logistic_regression', 'linear_svm', 'ridge', 'rbf_svm', 'mlp', 'knn']
    >>> resolve_heads("logistic")
    Traceback (most recent call last):
    featx.errors.HeadError: received the head 'logistic'; expected a registered head or space; ...
    """
    if isinstance(heads, str | HeadSpec) or not isinstance(heads, Iterable):
        heads = [heads]
    specs: list[HeadSpec] = []
    for head in heads:
        if isinstance(head, HeadSpec):
            specs.append(head)
        elif head in _SPACES:
            specs += [each if isinstance(each, HeadSpec) else _REGISTRY[each] for each in _SPACES[head]]
        elif head in _REGISTRY:
            specs.append(_REGISTRY[head])
        else:
            expected, remedy = "a registered head or space", suggest(str(head), [*_REGISTRY, *_SPACES])
            raise HeadError(explain(f"the head {head!r}", expected, remedy))
    names = [spec.name for spec in specs]
    if not names:
        raise HeadError(explain("no heads", "at least one", f"choose from {', '.join(_REGISTRY)}"))
    if len(set(names)) < len(names):
        raise HeadError(explain(f"the heads {', '.join(names)}", "each once", "drop the repeated ones"))
    return specs
