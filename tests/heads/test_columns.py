"""TakeColumns: the columns that were asked for, by range or index, and a head that takes the whole matrix."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx import HeadError, load_head, save_head
from featx.heads.columns import TakeColumns, on_columns

X = np.arange(12, dtype=np.float32).reshape(3, 4)


@parametrize_with_checks([TakeColumns(), TakeColumns((0, 1)), TakeColumns([0, 0])])
def test_it_is_a_scikit_learn_transformer(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [((1, 3), [1, 2]), ([3, 0], [3, 0]), ([1, 3], [1, 3]), (np.array([2]), [2]), (None, [0, 1, 2, 3])],
)
def test_ranges_and_indices(columns, expected):
    take = TakeColumns(columns).fit(X)
    np.testing.assert_array_equal(take.transform(X), X[:, expected])
    assert take.indices_.tolist() == expected
    assert take.get_feature_names_out().tolist() == [f"x{index}" for index in expected]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_stays_and_a_range_is_a_view(dtype):
    given = X.astype(dtype)
    taken = TakeColumns((1, 3)).fit(given).transform(given)
    assert taken.dtype == dtype
    assert np.shares_memory(taken, given)


@pytest.mark.parametrize(
    "columns",
    [(2, 5), (3, 3), (3, 1), (-1, 2), [4], [-1], [], [0.5], [[0, 1]], ["a"], [True, False]],
    ids=str,
)
def test_columns_that_are_not_there_are_refused(columns):
    with pytest.raises(HeadError, match=r"a range .* or indices among 4 columns"):
        TakeColumns(columns).fit(X)


def test_another_width_is_refused():
    with pytest.raises(ValueError, match="3 features, but TakeColumns is expecting 4"):
        TakeColumns((0, 2)).fit(X).transform(X[:, :3])


@pytest.mark.parametrize("columns", [(1, 3), [3, 1]], ids=["range", "indices"])
def test_a_head_on_columns_answers_as_the_head(columns, tmp_path):
    rng = np.random.default_rng(0)
    inputs, y = rng.normal(size=(40, 4)).astype(np.float32), np.array(["a", "b"] * 20)
    selected = TakeColumns(columns).fit_transform(inputs)
    head = LogisticRegression().fit(selected, y)
    whole = on_columns(head, columns, 4)
    assert whole.n_features_in_ == 4
    np.testing.assert_array_equal(whole.predict_proba(inputs), head.predict_proba(selected))
    save_head(whole, tmp_path / "m.featx")
    loaded = load_head(tmp_path / "m.featx")
    np.testing.assert_array_equal(loaded.predict_proba(inputs), head.predict_proba(selected))
    again = clone(loaded).fit(inputs, y)
    np.testing.assert_allclose(again.predict_proba(inputs), head.predict_proba(selected))


def test_it_takes_its_place_in_a_pipeline():
    y = [0, 1, 1]
    pipeline = make_pipeline(TakeColumns((0, 2)), LogisticRegression()).fit(X, y)
    assert pipeline[-1].coef_.shape == (1, 2)
