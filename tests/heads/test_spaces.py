"""Heads by name: what is registered, what "default" means, and how a wrong name is answered."""

import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx import HeadError, HeadSpec, list_heads, register_head
from featx.heads import spaces
from featx.heads.spaces import is_own_head, resolve_heads

DEFAULT = ["logistic_regression", "linear_svm", "ridge", "rbf_svm", "mlp", "knn"]
DUMMY = HeadSpec("dummy", DummyClassifier(), {"strategy": ["prior", "uniform"]})

each_default_head = pytest.mark.parametrize("spec", resolve_heads("default"), ids=lambda spec: spec.name)


@pytest.fixture
def registry(monkeypatch):
    """A copy of the registry, so that what a test registers goes with it."""
    monkeypatch.setattr(spaces, "_REGISTRY", dict(spaces._REGISTRY))


def names(specs):
    return [spec.name for spec in specs]


def test_the_default_space_is_the_six_heads():
    assert names(resolve_heads("default")) == DEFAULT


@each_default_head
def test_a_default_head_scales_first_and_classifies_last(spec):
    assert isinstance(spec.estimator, Pipeline)
    assert isinstance(spec.estimator.steps[0][1], StandardScaler)
    assert spec.estimator.steps[-1][0] == "head"


@each_default_head
def test_every_candidate_of_a_default_head_can_be_set(spec):
    candidates = list(ParameterGrid(spec.param_grid))
    assert len(candidates) > 1
    for params in candidates:
        assert params.items() <= clone(spec.estimator).set_params(**params).get_params().items()


@each_default_head
def test_a_default_head_leaves_its_seed_to_the_search(spec):
    assert spec.estimator.get_params().get("head__random_state") is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*svm", ["linear_svm", "rbf_svm"]), ("RBF*", ["rbf_svm"]), ("m?p", ["mlp"]), ("nothing", [])],
)
def test_heads_are_listed_by_a_pattern_whatever_its_case(pattern, expected):
    assert names(list_heads(pattern)) == expected


@pytest.mark.usefixtures("registry")
def test_a_registered_head_is_listed_last_and_known_by_its_name():
    register_head(DUMMY)
    assert list_heads()[-1] is DUMMY
    assert resolve_heads("dummy") == [DUMMY]


@pytest.mark.usefixtures("registry")
def test_a_head_registered_under_a_taken_name_replaces_it_in_its_place():
    spec = HeadSpec("mlp", DummyClassifier(), {})
    register_head(spec)
    assert resolve_heads("default")[DEFAULT.index("mlp")] is spec


@pytest.mark.usefixtures("registry")
def test_a_registered_head_does_not_join_the_default_space():
    register_head(DUMMY)
    assert names(resolve_heads("default")) == DEFAULT


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ("knn", ["knn"]),
        (DUMMY, ["dummy"]),
        (["mlp", "knn"], ["mlp", "knn"]),
        (("knn", DUMMY), ["knn", "dummy"]),
        (["default", DUMMY], [*DEFAULT, "dummy"]),
    ],
    ids=["name", "spec", "list", "tuple", "space and spec"],
)
def test_heads_come_in_the_order_in_which_they_are_asked_for(heads, expected):
    assert names(resolve_heads(heads)) == expected


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ("logistic", "did you mean logistic_regression"),
        ("?", "choose from default, fast, knn"),
        (["knn", "svm"], "the head 'svm'"),
        ([], "no heads"),
        (None, "the head None"),
        (["knn", "knn"], "each once"),
        (["default", "knn"], "each once"),
        ([DUMMY, HeadSpec("dummy", LogisticRegression(), {})], "each once"),
        (LogisticRegression(), r"the head LogisticRegression\(\)"),
        ([LogisticRegression()], r"the head LogisticRegression\(\)"),
    ],
)
def test_heads_that_cannot_be_searched_are_refused(heads, message):
    with pytest.raises(HeadError, match=message):
        resolve_heads(heads)


@pytest.mark.usefixtures("registry")
def test_a_head_is_featxs_own_by_what_it_is_and_not_by_its_name():
    assert all(map(is_own_head, resolve_heads("default")))
    replaced = HeadSpec("knn", DummyClassifier(), {})
    register_head(replaced)
    assert not any(map(is_own_head, [replaced, DUMMY, resolve_heads("knn")[0]]))
