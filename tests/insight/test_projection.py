"""Maps: what stands together in the features stands together in the plane, the same way every time."""

import numpy as np
import pytest

from featx.errors import HeadError
from featx.insight.projection import check_projection, project

# UMAP is compiled when it is first used, which takes longer than all other tests here.
METHODS = pytest.mark.parametrize("method", ["pca", pytest.param("umap", marks=pytest.mark.slow)])


def two_groups(n_samples=60):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, 20)).astype(np.float32)
    X[::2] += 12
    return X


@METHODS
def test_groups_stand_apart_within_the_unit_square_the_same_way_twice(method):
    pytest.importorskip(method if method == "umap" else "sklearn", reason="needs the extra umap")
    X = two_groups()
    first, second = project(X, method), project(X, method)
    np.testing.assert_array_equal(first.positions, second.positions)
    assert first.positions.min() >= -1e-6
    assert first.positions.max() <= 1 + 1e-6
    assert np.ptp(first.positions, axis=0).max() == pytest.approx(1)
    centres = first.positions[::2].mean(axis=0), first.positions[1::2].mean(axis=0)
    spread = max(first.positions[::2].std(), first.positions[1::2].std())
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


@pytest.mark.parametrize(
    "X",
    [np.ones((1, 5)), np.ones((6, 5)), np.arange(6.0)[:, None], np.zeros((4, 0)), np.eye(2), np.eye(3)],
    ids=["one sample", "all equal", "one feature", "no feature", "two samples", "three samples"],
)
@METHODS
def test_few_samples_and_few_features_have_a_place(X, method):
    pytest.importorskip(method if method == "umap" else "sklearn", reason="needs the extra umap")
    positions = project(X, method).positions
    assert positions.shape == (len(X), 2)
    assert np.isfinite(positions).all()


def test_half_precision_and_the_share_of_variance():
    found = project(np.diag([3.0, 2.0, 0.0]).astype(np.float16))
    assert found.positions.dtype == np.float64
    assert "100 % of the variance" in found.note


def test_what_has_no_place_is_refused():
    with pytest.raises(HeadError, match="NaN or infinite features in 1 of 2 rows"):
        project(np.array([[1.0], [np.nan]]))
    with pytest.raises(HeadError, match="expected a matrix"):
        project(np.ones(3))
    with pytest.raises(HeadError, match="projection='tsne'"):
        check_projection("tsne")
