"""An audit's parts are those of the search with the same settings, whatever the data."""

import numpy as np
import pytest

from featx import FeatureSet, HeadError, HeadSearch
from featx.parting import parts_in_search
from featx.search_jobs import search_features


def features(**options):
    random = np.random.default_rng(0)
    X = random.normal(size=(90, 3)).astype(np.float32)
    return FeatureSet(X, np.arange(90) % 3 - 1, class_names=["cat", "dog"], **options)


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"groups": [str(row // 4) for row in range(90)]},
        {
            "sample_ids": [str(row // 6 * 3 + row % 3) for row in range(90)],
            "view": (np.arange(90) // 3) % 2,
        },
    ],
    ids=["samples", "groups", "views"],
)
@pytest.mark.parametrize(
    "options", [{}, {"test_size": 0.4, "random_state": 7}, {"assignment": "hashed", "random_state": 1}]
)
def test_parts_are_those_of_the_search(known, options):
    data = features(**known)
    parts = np.array(parts_in_search(data, **options))
    result = search_features(data, HeadSearch("ridge", cv=2, calibration=None), **options)
    assert np.flatnonzero(parts == "training").tolist() == sorted(result.train_rows)
    assert np.flatnonzero(parts == "test").tolist() == sorted(result.test_rows)
    assert np.flatnonzero(parts == "unlabelled").tolist() == list(range(0, 90, 3))


def test_nothing_is_set_aside_where_nothing_is_asked_for():
    assert set(parts_in_search(features(), 0)) == {"training", "unlabelled"}


def test_what_a_search_refuses_is_refused():
    with pytest.raises(HeadError, match="one class only"):
        parts_in_search(FeatureSet(np.zeros((4, 1), np.float32), [0] * 4, class_names=["cat"]))
