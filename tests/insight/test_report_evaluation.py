"""The evaluation's section, of two classes and of many."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from featx.insight.evaluation import evaluate
from featx.insight.report_data import ReportParts
from featx.insight.report_evaluation import evaluation_section
from tests.insight.reports import Page, digits_evaluation

pytest.importorskip("matplotlib", reason="needs the extra report")


def page_of(evaluation) -> Page:
    return Page(evaluation_section(ReportParts("title", evaluation=evaluation)).body)


def two_classes(head):
    X, y = load_breast_cancer(return_X_y=True)
    return evaluate(head.fit(X[:300], y[:300]), X[300:], y[300:], class_names=["ill", "well"], n_resamples=20)


def test_two_classes_have_thresholds_curves_and_a_matrix_of_text():
    evaluation = two_classes(KNeighborsClassifier())
    page = page_of(evaluation)
    assert {
        "metrics",
        "classes",
        "confusion-matrix",
        "roc",
        "precision-recall",
        "calibration",
        "thresholds",
    } <= set(page.ids())
    assert "A sample is called well from this probability on" in page.text
    # Two classes confuse each other: there is nothing to list.
    assert "confusions" not in page.ids()
    cells = [cell for cell in page.all("td") if cell.get("class", "").startswith(("right-", "wrong-"))]
    assert len(cells) == 4
    shares = np.array(evaluation.confusion_matrix) / np.sum(
        evaluation.confusion_matrix, axis=1, keepdims=True
    )
    assert [cell["class"] for cell in cells] == [
        f"{'right' if row == column else 'wrong'}-{int(np.ceil(9 * shares[row, column]))}"
        for row in range(2)
        for column in range(2)
    ]


def test_a_head_without_probabilities_has_no_loss():
    page = page_of(two_classes(RidgeClassifier()))
    assert "log loss" not in page.text
    assert "accuracy" in page.text
    assert not {"calibration", "thresholds"} & set(page.ids())


def test_an_older_evaluation_without_curves_or_subgroups():
    evaluation = digits_evaluation(curves=False)
    page = page_of(evaluation)
    assert "curves" not in page.ids()
    assert "subgroups" not in page.ids()
    assert len([cell for cell in page.all("td") if "right-" in str(cell.get("class"))]) == 10
    assert "confusions" in page.ids()


def test_many_classes_have_a_picture_and_a_list():
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.1, (100, 100)) + 9 * np.eye(100, dtype=int)
    interval = (0.0, 1.0)
    of_class = [
        SimpleNamespace(name=f"class {i}", n_samples=9, precision=0.5, precision_ci=interval, recall=0.5,
                        recall_ci=interval, f1=0.5, f1_ci=interval)
        for i in range(100)
    ]  # fmt: skip
    evaluation = SimpleNamespace(
        n_samples=int(counts.sum()), class_names=[one.name for one in of_class], per_class=of_class,
        confusion_matrix=counts.tolist(), accuracy=0.5, accuracy_ci=interval, ece=None,
    )  # fmt: skip
    section = evaluation_section(ReportParts("title", evaluation=evaluation))
    page = Page(section.body)
    squares = sum(path["d"].count("h1v1h-1z") for path in page.all("path"))
    assert squares == np.count_nonzero(counts)
    assert "confusion-matrix" in page.ids()
    assert "confusions" in page.ids()
    # A matrix of text would take half a megabyte.
    assert len(section.body) < 150_000


def test_subgroups_stand_beside_the_whole():
    page = page_of(digits_evaluation(subgroups={"day": ["<mon>"] * 300 + ["tue"] * 100}))
    assert "day : <mon>" in page.text.replace("day:", "day :")
    assert "subgroups" in page.ids()
    assert any(line.get("class") == "bar-zero" for line in page.all("line"))


def test_no_evaluation_no_section():
    assert evaluation_section(ReportParts("title")) is None
