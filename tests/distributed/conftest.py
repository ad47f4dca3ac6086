"""One small cluster for the tests of a module, and what their images are embedded by."""

import pytest

from featx import BackboneSpec, FeatureExtractor
from tests.conftest import TINY_FEATURES, TINY_SIZE, build_tiny


@pytest.fixture(scope="module")
def cluster():
    """Two processes that hold a backbone, and two processors to decode."""
    from featx import RayCluster

    with RayCluster(n_actors=2) as cluster:
        yield cluster


@pytest.fixture
def extractor():
    """Small batches, so that there are several; sent to the cluster as a spec of the user's own is."""
    spec = BackboneSpec("tiny_on_ray", build_tiny, "unit", TINY_SIZE, TINY_FEATURES, "random")
    return FeatureExtractor(spec, batch_size=4, weights=None)
