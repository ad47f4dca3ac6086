"""Reports of a search, an evaluation and a comparison: what goes into each, and where it comes from."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from featx import FeatureExtractor, FeatureSet, HeadSearch, ModelFile, as_source, extract, report_jobs
from featx.comparison_jobs import compare_models
from featx.insight.exclusions import Exclusions
from featx.jobs import evaluate_model
from featx.report_jobs import (
    ReportOptions,
    _told_apart,
    write_comparison_report,
    write_evaluation_report,
    write_search_report,
)
from featx.search_jobs import save_search, search_features
from tests.conftest import write_class_folder, write_recompressed


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A folder, its features, a search's result and its model file."""
    work = tmp_path_factory.mktemp("work")
    folder = write_class_folder(work / "images", 40)
    features = extract(as_source(folder), FeatureExtractor("tiny"), store=work / "store")
    result = search_features(features, HeadSearch("logistic_regression", cv=3, n_jobs=1))
    save_search(result, work / "m.featx")
    return folder, features, result, ModelFile.load(work / "m.featx")


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="report-data"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


def test_a_search_is_reported_with_its_pictures_and_its_provenance(searched, tmp_path):
    folder, features, result, _ = searched
    options = ReportOptions(folder, "featx search 'my images'")
    samples = write_search_report(tmp_path / "r.html", result, options)
    assert samples.notes == ()
    test = [row for row, part in enumerate(samples.parts) if part == "test"]
    assert test == sorted(result.test_rows.tolist())
    assert [row for row, said in enumerate(samples.predicted) if said is not None] == test
    right = np.mean([samples.predicted[row] == samples.labels[row] for row in test])
    assert right == result.test.accuracy
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "featx search &#x27;my images&#x27;" in text
    assert features.features_sha256() in text
    assert text.count("data:image/webp;base64,") >= 1
    data = data_of(tmp_path / "r.html")
    assert data["ids"] == features.sample_ids
    assert data["pictures"]["tiles"] is None


def test_the_audit_sees_the_images_where_they_are_at_hand(tmp_path):
    folder = write_class_folder(tmp_path / "images", 40)
    copies = write_recompressed(folder / "dark")
    Image.new("RGB", (20, 24), (9, 9, 9)).save(folder / "dark" / "blank.png")
    features = extract(as_source(folder), FeatureExtractor("tiny"), store=tmp_path / "store")
    result = search_features(features, HeadSearch("logistic_regression", cv=3, n_jobs=1))
    told = {True: [], False: []}
    for with_images, names in told.items():
        options = ReportOptions(folder if with_images else None)
        write_search_report(tmp_path / "r.html", result, options)
        data = data_of(tmp_path / "r.html")
        kinds = {
            data["ids"][int(row)]: {data["kinds"][kind] for kind, _ in found}
            for row, found in data["found"].items()
        }
        names += [name for name in copies if kinds.get(name)]
        assert ("odd images" in kinds.get("dark/blank.png", ())) == with_images
    assert told == {True: list(copies), False: []}


def test_the_same_work_gives_the_same_report(searched, tmp_path):
    folder, _, result, _ = searched
    for name in ("a.html", "b.html"):
        write_search_report(tmp_path / name, result, ReportOptions(folder))
    a, b = ((tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    # All but how long the audit took.
    seconds = re.compile(rb"[\d.]+ (s|seconds)\b")
    assert seconds.sub(b"", a) == seconds.sub(b"", b)


def test_a_search_without_a_test_part_predicts_nothing(searched, tmp_path):
    _, features, _, _ = searched
    result = search_features(features, HeadSearch("logistic_regression", cv=3, n_jobs=1), test_size=0)
    samples = write_search_report(tmp_path / "r.html", result)
    assert set(samples.predicted) == {None}
    assert samples.pictures is None
    assert "without the images" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_samples_without_a_label_are_shown_with_what_the_head_says(searched, tmp_path):
    _, features, _, _ = searched
    y = features.y.copy()
    y[:6] = -1
    some = FeatureSet(features.X, y, sample_ids=features.sample_ids, class_names=features.class_names)
    result = search_features(some, HeadSearch("logistic_regression", cv=3, n_jobs=1))
    samples = write_search_report(tmp_path / "r.html", result)
    assert samples.parts[:6] == ["unlabelled"] * 6
    assert samples.labels[:6] == [None] * 6
    assert set(samples.predicted[:6]) <= {"dark", "light"}


def test_an_evaluation_is_reported_of_what_the_model_was_not_fitted_on(searched, tmp_path):
    folder, features, result, model = searched
    found = evaluate_model(model, features)
    samples = write_evaluation_report(tmp_path / "r.html", model, features, found, ReportOptions(folder))
    assert [row for row, part in enumerate(samples.parts) if part == "test"] == sorted(
        result.test_rows.tolist()
    )
    assert sum(said is not None for said in samples.predicted) == found.evaluation.n_samples == 10


def test_an_evaluation_that_flatters_says_so(searched, tmp_path):
    _, features, result, model = searched
    rows = result.train_rows
    seen = FeatureSet(
        features.X[rows],
        features.y[rows],
        sample_ids=[features.sample_ids[row] for row in rows],
        class_names=features.class_names,
        image_sha256=[features.image_sha256[row] for row in rows],
        spec=features.spec,
    )
    found = evaluate_model(model, seen)
    samples = write_evaluation_report(tmp_path / "r.html", model, seen, found)
    assert found.flatters
    assert set(samples.parts) == {"training"}
    assert None not in samples.predicted
    assert "every figure here flatters it" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_an_evaluation_at_a_threshold_shows_what_is_decided_there(searched, tmp_path):
    _, features, _, model = searched
    chances = model.head.predict_proba(features.X)[:, 1]
    for threshold in (0.0, float(np.median(chances)), 1.0):
        found = evaluate_model(model, features, threshold=threshold)
        samples = write_evaluation_report(tmp_path / "r.html", model, features, found)
        rows = [row for row, said in enumerate(samples.predicted) if said is not None]
        decided = [model.class_names[int(chances[row] >= threshold)] for row in rows]
        assert [samples.predicted[row] for row in rows] == decided
        right = np.mean([samples.predicted[row] == samples.labels[row] for row in rows])
        assert right == found.evaluation.accuracy
        text = (tmp_path / "r.html").read_text(encoding="utf-8")
        assert f"from a probability of {threshold:.3f} on" in text


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("one.featx", "two.featx", ("one.featx", "two.featx")),
        ("runs/1/m.featx", "runs/2/m.featx", ("1/m.featx", "2/m.featx")),
        ("x/1/m.featx", "y/1/m.featx", ("x/1/m.featx", "y/1/m.featx")),
        ("m.featx", "old/m.featx", ("m.featx", "old/m.featx")),
        ("m.featx", "m.featx", ("m.featx (first)", "m.featx (second)")),
    ],
)
def test_models_of_one_name_are_told_apart_by_their_folders(a, b, expected):
    assert _told_apart(a, b) == expected


def test_a_comparison_calls_the_heads_by_their_names(searched, tmp_path):
    _, features, _, model = searched
    save_search(search_features(features, HeadSearch("knn", cv=3, n_jobs=1)), tmp_path / "other.featx")
    models = (model, ModelFile.load(tmp_path / "other.featx"))
    found = compare_models(*zip(("runs/<1>/m.featx", "runs/2/m.featx"), models, strict=True), features)
    write_comparison_report(tmp_path / "r.html", models, features, found)
    assert data_of(tmp_path / "r.html")["heads"] == ["<1>/m.featx", "2/m.featx"]
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert " of &lt;1&gt;/m.featx, " in text
    assert "only <bdi>2/m.featx</bdi> right" in text
    assert "<1>" not in text.partition('id="report-data"')[0]


def test_a_comparison_shows_what_each_head_says(searched, tmp_path):
    folder, features, result, model = searched
    other = search_features(features, HeadSearch("knn", cv=3, n_jobs=1))
    save_search(other, tmp_path / "other.featx")
    models = (model, ModelFile.load(tmp_path / "other.featx"))
    test = result.test_rows
    found = compare_models(*zip("ab", models, strict=True), features)
    options = ReportOptions(folder)
    samples = write_comparison_report(tmp_path / "r.html", models, features, found, options)
    assert samples.predicted_b is not None
    for each, said in zip(models, (samples.predicted, samples.predicted_b), strict=True):
        expected = [features.class_names[label] for label in each.head.predict(features.X[test])]
        assert [said[row] for row in test] == expected
    assert sum(said is not None for said in samples.predicted_b) == 10


def test_heads_on_different_features_are_compared_by_sample(searched, tmp_path):
    """The second model's features stand in another order, and are others."""
    folder, features, _, model = searched
    source = as_source(folder).select(np.arange(40)[::-1])
    others = extract(source, FeatureExtractor("tiny", pooling="max"), store=tmp_path / "store")
    assert others.sample_ids == features.sample_ids[::-1]
    save_search(
        search_features(others, HeadSearch("ridge", cv=3, n_jobs=1), random_state=1), tmp_path / "o.featx"
    )
    models = (model, ModelFile.load(tmp_path / "o.featx"))
    sets = {"others": others, "features": features}
    found = compare_models(*zip("ab", models, strict=True), sets)
    samples = write_comparison_report(tmp_path / "r.html", models, sets, found)
    asked = [row for row, said in enumerate(samples.predicted) if said is not None]
    assert len(asked) == found.comparison.n_samples < 10
    assert [samples.predicted_b[row] is not None for row in asked] == [True] * len(asked)
    place = {name: row for row, name in enumerate(others.sample_ids)}
    rows = [place[samples.sample_ids[row]] for row in asked]
    expected = [others.class_names[label] for label in models[1].head.predict(others.X[rows])]
    assert [samples.predicted_b[row] for row in asked] == expected


def test_samples_that_a_search_left_out_are_named_so(searched, tmp_path):
    _, features, result, _ = searched
    name = features.sample_ids[int(result.train_rows[0])]
    options = {"exclude": Exclusions(training=frozenset({name}))}
    again = search_features(features, HeadSearch("logistic_regression", cv=3, n_jobs=1), **options)
    samples = write_search_report(tmp_path / "r.html", again)
    row = samples.sample_ids.index(name)
    assert samples.parts.count("left out") == 1
    assert (samples.parts[row], samples.predicted[row]) == ("left out", None)


def test_labels_that_serve_no_learning_curve_are_no_error(searched, tmp_path):
    _, features, _, model = searched
    rows = np.flatnonzero(features.y == 0)
    one_class = FeatureSet(
        features.X[rows],
        features.y[rows],
        sample_ids=[features.sample_ids[row] for row in rows],
        class_names=features.class_names,
        spec=features.spec,
    )
    found = evaluate_model(model, one_class)
    samples = write_evaluation_report(tmp_path / "r.html", model, one_class, found)
    assert any(note.startswith("There is no learning curve: received") for note in samples.notes)


def test_very_many_samples_get_no_learning_curve(searched, tmp_path, monkeypatch):
    result = searched[2]
    monkeypatch.setattr(report_jobs, "_MAX_STUDIED", 39)
    samples = write_search_report(tmp_path / "r.html", result)
    assert samples.notes[-1].startswith("There is no learning curve of 40 samples")
