"""Several extractors side by side, and a head's answers on the views of an image."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.svm import SVC

from featx import BackboneError, FeatureExtractor, FeatureSet, HeadError, as_source, extract
from featx.embedding import averaging, check_averages, embed, extractors_of, images_of
from tests.conftest import TINY, TINY_FEATURES


def pair(n_views):
    return [
        FeatureExtractor(TINY, pooling=pooling, batch_size=4, n_views=n_views).fit()
        for pooling in ("avg", "max")
    ]


def test_rows_are_by_sample_and_view(class_folder, tmp_path):
    extractors = pair(3)
    features = embed(as_source(class_folder), extractors, store=tmp_path)
    alone = [extract(class_folder, extractor, store=tmp_path) for extractor in extractors]
    np.testing.assert_array_equal(features.X, np.hstack([alone[0].X, alone[1].X]))
    assert features.view.tolist() == [0, 1, 2] * 12
    assert features.sample_ids == alone[0].sample_ids
    assert features.groups == alone[0].groups
    assert images_of(features).tolist() == np.repeat(np.arange(12), 3).tolist()


def test_an_image_that_one_cannot_use_loses_its_rows_in_all(class_folder, tmp_path):
    source = as_source(class_folder)
    (class_folder / "dark" / "broken.png").write_bytes(b"no image")
    spoiled = as_source(class_folder)
    place = spoiled.sample_ids.index("dark/broken.png")
    assert 0 < place < 12
    expected = embed(source, pair(2), store=tmp_path)
    found = embed(spoiled, pair(2), store=tmp_path, on_error="skip")
    np.testing.assert_array_equal(found.X, expected.X)
    assert found.sample_ids == expected.sample_ids
    assert (found.report.n_failed, found.report.failed[0].index) == (1, place)


def test_the_report_is_of_all(class_folder, tmp_path):
    report = embed(as_source(class_folder), pair(2), store=tmp_path).report
    assert (report.n_samples, report.n_views, report.n_features) == (12, 2, 2 * TINY_FEATURES)
    assert (report.n_computed, report.n_cached, report.n_rows_computed) == (12, 0, 2 * 12 * 2)
    assert report.engine["precision"] == "float32"
    main_thread = sum(seconds for stage, seconds in report.stages.items() if stage not in ("read", "decode"))
    assert 0 < main_thread <= report.seconds


def test_extractors_of_other_numbers_of_views_are_refused(class_folder, n_embedded):
    with pytest.raises(BackboneError, match="extractors of 2 and 3 views; expected as many views of each"):
        embed(as_source(class_folder), [pair(2)[0], pair(3)[1]], store=None)
    assert n_embedded == []


def test_a_spec_says_how_many_views_unless_told_otherwise():
    specs = [extractor.spec_.to_json() for extractor in pair(4)]
    assert [extractor.n_views for extractor in extractors_of(specs)] == [4, 4]
    fewer = extractors_of(specs, n_views=1, batch_size=8)
    assert [(extractor.spec_.n_views, extractor.batch_size) for extractor in fewer] == [(1, 8), (1, 8)]


def test_one_view_needs_no_averaging():
    features, head = FeatureSet(np.zeros((2, 1), np.float32)), SVC()
    assert images_of(features) is None
    assert averaging(head, images_of(features)) is head


@pytest.mark.parametrize("head", [LogisticRegression(), Perceptron(), SVC()])
def test_probabilities_and_decisions_are_averaged(head):
    check_averages(head)


class Silent(ClassifierMixin, BaseEstimator):
    """Predicts, and gives no scores."""

    def predict(self, X):
        return np.zeros(len(X), int)


@pytest.mark.parametrize("head", [SVC(decision_function_shape="ovo"), Silent()], ids=["pairs", "none"])
def test_what_is_no_score_of_each_class_is_not(head):
    with pytest.raises(HeadError, match="without a score for each class"):
        averaging(head, np.array([0, 0]))
