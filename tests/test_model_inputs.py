"""What a model takes of feature sets; by their extraction see test_jobs."""

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from featx import FeatureSet, HeadError, ModelFile
from featx.features.alignment import align_features
from featx.model_inputs import as_head_classes, as_head_takes


def model(names=("cat", "dog")):
    return ModelFile(GaussianNB().fit([[0.0, 0.0], [1.0, 1.0]], [0, 1]), class_names=names)


def features(n_features, y=(0, 1), names=("dog", "cat")):
    return FeatureSet(np.zeros((2, n_features), np.float32), list(y), class_names=names)


def test_sets_without_a_spec_are_taken_in_the_order_given():
    assert list(as_head_takes(model(), {"b": features(1), "a": features(1)})) == ["b", "a"]


def test_columns_that_are_too_many_are_refused():
    with pytest.raises(HeadError, match="3 features; expected the 2"):
        as_head_takes(model(), {"b": features(2), "a": features(1)})


def test_classes_are_those_of_the_name():
    assert as_head_classes(model(), align_features({"f": features(2)})).tolist() == [1, 0]
    assert as_head_classes(model(), align_features({"f": features(2, (-1, 0))})).tolist()[1] == 1


@pytest.mark.parametrize(("y", "message"), [((-1, -1), "without labels"), ((0, 1), "the classes fox")])
def test_labels_that_the_model_does_not_know_are_refused(y, message):
    with pytest.raises(HeadError, match=message):
        as_head_classes(model(), align_features({"f": features(2, y, ("dog", "fox"))}))
