"""The workflows of transfer-learning tutorials, as far as features and heads go, on tiny data."""

import numpy as np
import pytest

from featx import ArraySource, FeatureExtractor, HeadSearch, extract
from tests.conftest import make_images, write_class_folder

# name, backbone, pooling, input size (None: its own), classes
WORKFLOWS = [
    ("frozen, pooled, softmax", "MobileNetV2", "avg", None, 2),
    ("flattened, two classes", "VGG16", "none", (64, 64), 2),
    ("top replaced for ten classes", "ResNet50", "avg", (64, 64), 10),
    ("CIFAR-shaped arrays", "MobileNetV2", "avg", (32, 32), 10),
    ("wide dense head", "MobileNetV2", "avg", (96, 96), 2),
]


@pytest.mark.parametrize(
    ("backbone", "pooling", "input_size", "n_classes"),
    [workflow[1:] for workflow in WORKFLOWS],
    ids=[workflow[0] for workflow in WORKFLOWS],
)
def test_extract_and_search(backbone, pooling, input_size, n_classes, tmp_path):
    if n_classes == 2:
        source = write_class_folder(tmp_path / "images", 12)
    else:
        source = ArraySource(make_images(40, size=(32, 32)), np.arange(40) % n_classes)
    extractor = FeatureExtractor(backbone, pooling=pooling, input_size=input_size, weights=None, batch_size=8)
    features = extract(source, extractor, store=tmp_path / "store")
    assert features.report.n_failed == 0
    assert features.X.shape == (len(features), extractor.fit().n_features_out_)
    assert np.isfinite(features.X).all()
    search = HeadSearch("logistic_regression", cv=2).fit(features.X, features.y, features.groups)
    assert len(search.classes_) == n_classes
