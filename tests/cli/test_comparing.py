"""compare: the verdict first, what was left out on stderr, where the models differ as a table and a CSV."""

import csv

import pytest


@pytest.fixture
def other_model(featx, feature_file):
    featx("search", feature_file, "--head", "knn", "--cv", 3, "--random-state", 1, "--out", "n.featx")
    return "n.featx"


def test_the_verdict_stands_first(featx, feature_file, model_file, other_model):
    result = featx("compare", model_file, other_model, feature_file)
    assert result.stdout.startswith("the data cannot tell which is better (accuracy ")
    for text in ("of m.featx", "of n.featx", "first: m.featx", "second wrong", "balanced accuracy"):
        assert text in result.stdout
    assert "images that a model was fitted on" in result.stderr


def test_json_has_the_comparison_and_the_samples(featx, feature_file, model_file, other_model):
    found = featx.json("compare", model_file, other_model, feature_file)
    assert {"verdict", "p_value", "accuracy", "differing", "n_trained_on", "flatters", "detectable"} <= set(
        found
    )
    assert (found["a"], found["b"], found["path"]) == ("m.featx", "n.featx", None)
    assert found["n_samples"] + found["n_trained_on"] == 40


def test_a_model_beside_itself_differs_nowhere(featx, feature_file, model_file):
    assert (
        "the models answer all images alike" in featx("compare", model_file, model_file, feature_file).stdout
    )


def test_differing_images_go_to_a_csv_or_a_table(featx, feature_file, model_file, tmp_path):
    """A model of turned classes: it is wrong wherever the other is right."""
    from featx import ModelFile

    model = ModelFile.load(model_file)
    ModelFile(
        model.head, model.class_names[::-1], model.extraction_spec, training_images=model.training_images
    ).save("turned.featx")
    result = featx("compare", model_file, "turned.featx", feature_file, "--out", "d.csv")
    assert result.stdout.startswith("m.featx is better")
    assert "wrote d.csv: 10 images" in result.stdout
    rows = list(csv.DictReader((tmp_path / "d.csv").read_text().splitlines()))
    assert len(rows) == 10
    assert {row["right"] for row in rows} == {"a"}
    table = featx("compare", model_file, "turned.featx", feature_file).stdout
    assert rows[0]["sample_id"] in table
    assert "the first" in table


def test_when_all_images_were_seen_it_warns(featx, feature_file):
    featx(
        "search", feature_file, "--head", "knn", "--cv", 3, "--test-size", 0, "--out", "all.featx"
    )  # fmt: skip
    assert "flatter" in featx("compare", "all.featx", "all.featx", feature_file).stderr


def test_what_is_no_model_is_one_line(featx, feature_file, model_file):
    assert featx.fails("compare", model_file, feature_file, feature_file).startswith("error: received f.h5")


def test_the_csv_replaces_no_input(featx, feature_file, model_file):
    assert "error: " in featx.fails("compare", model_file, model_file, feature_file, "--out", model_file)


def test_a_report_shows_where_they_differ(featx, feature_file, folder, model_file, other_model, tmp_path):
    result = featx("compare", model_file, other_model, feature_file, "--report", "r.html", "--images", folder)
    assert "wrote r.html" in result.stdout
    page = (tmp_path / "r.html").read_text()
    assert "m.featx" in page
    assert "n.featx" in page
