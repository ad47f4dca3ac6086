"""Digests of arrays: equal for equal arrays, and nothing else."""

import numpy as np
import pytest

from featx.digests import arrays_sha256


@pytest.mark.parametrize(
    "other",
    [
        [("b", np.arange(6))],
        [("a", np.arange(6).reshape(2, 3))],
        [("a", np.arange(6).astype(np.uint64))],
        [("a", np.arange(6, dtype="<i8").view(">i8"))],
        [("a", np.arange(1, 7))],
        [("a", np.arange(3)), ("a", np.arange(3, 6))],
        [],
    ],
    ids=["name", "shape", "type", "byte order", "values", "cut", "none"],
)
def test_the_digest_of_arrays_tells_them_apart(other):
    arrays = [("a", np.arange(6))]
    assert arrays_sha256(arrays) == arrays_sha256([("a", np.arange(6))])
    assert arrays_sha256(arrays) != arrays_sha256(other)


def test_the_digest_of_arrays_depends_on_one_ulp():
    weights = np.ones((3, 3), np.float32)
    changed = weights.copy()
    changed[2, 1] = np.nextafter(weights[2, 1], np.float32(2))
    assert arrays_sha256([("w", weights)]) != arrays_sha256([("w", changed)])


def test_empty_and_scalar_arrays_have_digests():
    assert arrays_sha256([("w", np.zeros((0, 3)))]) != arrays_sha256([("w", np.zeros((3, 0)))])
    assert arrays_sha256([("w", np.float32(1.0).reshape(()))]) != arrays_sha256(
        [("w", np.ones(1, np.float32))]
    )
