"""curve: the verdict first, then both tables; one object for programs."""


def test_the_verdict_and_both_tables(featx, feature_file):
    result = featx("curve", feature_file, "--n-repeats", 3, "--shots", 1, "--shots", 25)
    first = result.stdout.splitlines()[0]
    assert "labels would" in first
    for text in (
        "80 (expected)",
        "160 (expected)",
        "ridge; now 40 labels",
        "all (accuracy)",
        "dark",
        "light",
    ):
        assert text in result.stdout
    # Of 20 images of a class, 15 are left to train on.
    assert "- " in result.stdout


def test_json_has_both_curves(featx, feature_file, model_file):
    found = featx.json("curve", feature_file, "--model", model_file, "--n-repeats", 2)
    assert set(found) == {"verdict", "head", "learning", "few_shot", "n_unlabelled", "path"}
    assert found["head"] == "logistic_regression"
    assert found["learning"]["n_total"] == 40
    assert found["few_shot"]["shots"] == [1, 2, 5, 10, 20, 50]
    assert found["few_shot"]["recall"][0][-1] is None


def test_a_head_and_a_score_by_name(featx, feature_file):
    found = featx.json(
        "curve", feature_file, "--head", "ridge", "--scoring", "roc_auc", "--n-repeats", 2
    )  # fmt: skip
    assert (found["head"], found["learning"]["scoring"]) == ("ridge", "roc_auc")


def test_a_model_and_a_head_are_refused(featx, feature_file, model_file):
    message = featx.fails("curve", feature_file, "--model", model_file, "--head", "knn")
    assert message == "error: received --model and --head; expected one of them; leave the other out\n"


def test_the_curve_as_a_plot(featx, feature_file, tmp_path):
    assert "wrote c.svg" in featx("curve", feature_file, "--n-repeats", 2, "--out", "c.svg").stdout
    assert b"</svg>" in (tmp_path / "c.svg").read_bytes()
    assert "expected one of '.svg'" in featx.fails("curve", feature_file, "--out", "c.jpg")
