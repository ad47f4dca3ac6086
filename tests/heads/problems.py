"""Labels, groups and views for the tests of whoever splits them."""

import numpy as np
import pytest

each_seed = pytest.mark.parametrize("seed", range(5))


def draw_problem(seed, n_samples=120, n_classes=3, n_groups=40):
    """Classes and groups that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_classes, n_samples), rng.integers(0, n_groups, n_samples)


def noisy_views(seed, n_images=200, n_views=5, n_classes=10):
    """Views of images whose labels are drawn by lot: there is nothing to learn."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_images, 32)).repeat(n_views, axis=0)
    features += 0.1 * rng.normal(size=features.shape)
    images = np.arange(n_images).repeat(n_views)
    return features, rng.integers(0, n_classes, n_images)[images], images
