"""The other sections: what they show, and what they leave out."""

from types import SimpleNamespace

import pytest

from featx.insight.findings import Finding
from featx.insight.report_data import ReportParts
from featx.insight.report_sections import (
    audit_section,
    comparison_section,
    history_section,
    leaderboard_section,
    learning_section,
    notes_section,
    provenance_section,
)
from tests.insight.reports import Page, make_audit, make_samples

pytest.importorskip("matplotlib", reason="needs the extra report")

SECTIONS = [
    audit_section, comparison_section, history_section, leaderboard_section, learning_section, notes_section,
    provenance_section,
]  # fmt: skip


def page_of(section, **parts) -> Page:
    return Page(section(ReportParts("title", **parts)).body)


def make_search(n_candidates, n_features=1):
    candidates = [
        {"rank": row + 1, "head": f"head_{row}", "features": f"tap{row % n_features}",
         "params": {"step__C": 10.0**row}, "mean_test_score": 0.9 - row / 1000, "mean_fit_time": 0.5}
        for row in range(n_candidates)
    ]  # fmt: skip
    return SimpleNamespace(leaderboard=lambda: candidates, scoring="roc_auc")


@pytest.mark.parametrize("section", SECTIONS)
def test_what_is_not_there_has_no_section(section):
    assert section(ReportParts("title")) is None


def test_the_leaderboard_names_features_only_where_there_is_a_choice():
    page = page_of(leaderboard_section, search=make_search(3))
    assert "features" not in page.text
    assert "mean roc auc" in page.text
    assert "C = 100" in page.text
    assert "tap1" in page_of(leaderboard_section, search=make_search(3, 2)).text


def test_a_long_leaderboard_is_cut_and_says_so():
    page = page_of(leaderboard_section, search=make_search(300))
    assert "The best 200 of 300 candidates" in page.text
    assert len(page.all("tr")) == 201


def test_a_comparison_without_ranking_has_fewer_rows():
    difference = SimpleNamespace(a=0.9, b=0.8, difference=0.1, difference_ci=(0.05, 0.15))
    comparison = SimpleNamespace(
        describe=lambda a, b: f"{a} is better than {b}, 95 % sure",
        accuracy=difference, balanced_accuracy=difference, roc_auc=None, log_loss=difference,
        n_samples=10, n_both_right=7, n_only_a_right=2, n_only_b_right=1, n_both_wrong=0,
    )  # fmt: skip
    page = page_of(comparison_section, comparison=comparison, heads=("x/<b>.featx", "y.featx"))
    assert "x/<b>.featx is better than y.featx, 95 % sure." in page.text
    assert "The difference is x/<b>.featx less y.featx , paired" in page.text
    assert "only x/<b>.featx right 2 20.0 % only y.featx right 1" in page.text
    assert "ROC AUC" not in page.text
    # Nats are not drawn on the scale of shares.
    assert len(page.all("svg")) == 2


def test_an_audit_counts_everything_it_looked_for():
    findings = [Finding("outlier", tuple(f"s{row}" for row in range(9)), 3.0, "far", ("parts",))]
    page = page_of(audit_section, audit=make_audit(*findings, n_audited=10, class_counts={"<a>": 10, "b": 0}))
    assert "10 of 12 samples were audited." in page.text
    assert "exact duplicates 0 0" in page.text
    assert "s3 and 5 more" in page.text
    assert "far; across parts" in page.text
    assert "<a> 10 100.0 %" in page.text


def test_many_findings_are_cut_by_kind():
    findings = [
        Finding(kind, (f"{kind}{row}",), 1.0, "why")
        for kind in ("outlier", "odd_image")
        for row in range(400)
    ]
    page = page_of(audit_section, audit=make_audit(*findings))
    assert "The first 150 of each kind" in page.text
    assert "odd_image149" in page.text
    assert "odd_image150" not in page.text


def test_curves_of_learning_say_what_they_expect():
    curve = SimpleNamespace(
        scoring="balanced_accuracy", n_samples=(10, 20), score=(0.5, 0.6), score_ci=((0.4, 0.6), (0.5, 0.7)),
        projected=(), verdict="too few sizes", n_total=30, n_repeats=4,
    )  # fmt: skip
    page = page_of(learning_section, learning=curve)
    assert "Too few sizes." in page.text
    assert "balanced accuracy of 20 samples 0.600 (0.500 to 0.700)" in page.text
    curve.projected = (SimpleNamespace(n_samples=40, score=0.65, score_ci=(0.5, 0.8)),)
    assert "expected of 40 0.650 (0.500 to 0.800)" in page_of(learning_section, learning=curve).text


def test_a_learning_curve_says_which_head_it_is_of():
    curve = SimpleNamespace(
        scoring="accuracy", n_samples=(10, 20), score=(0.5, 0.6), score_ci=((0.4, 0.6), (0.5, 0.7)),
        projected=(), verdict="too few sizes", n_total=200, n_repeats=10,
    )  # fmt: skip
    for name in ("knn", "ridge"):
        text = page_of(learning_section, learning=curve, learning_head=name).text
        shown = "ridge regression" if name == "ridge" else f"{name} "
        assert f"The curve is of {shown}, fitted on growing parts of 200 samples and scored on" in text
        assert "a quarter that was held out, 10 times" in text
    assert "The curve is of" not in page_of(learning_section, learning=curve).text


def test_few_shots_without_a_last_value():
    curve = SimpleNamespace(
        shots=(1, 5), class_names=("a", "b"), recall=((0.5, None), (None, None)),
        recall_ci=(((0.4, 0.6), None), (None, None)), accuracy=(0.5, None), accuracy_ci=((0.4, 0.6), None),
    )  # fmt: skip
    text = page_of(learning_section, few_shot=curve).text
    assert "a recall 0.500 (0.400 to 0.600)" in text
    assert "b recall \N{EN DASH}" in text


def test_a_history_of_one_epoch_and_of_the_loss_alone():
    page = page_of(history_section, history={"loss": [0.5]})
    assert "training 0.500 in the end" in page.text
    assert "validation" not in page.text
    assert history_section(ReportParts("title", history={"loss": []})) is None


def test_the_command_comes_first():
    page = page_of(provenance_section, provenance={"seed": 3, "command": "featx demo"})
    assert page.text == "This command makes it again: featx demo seed 3"


def test_notes_are_those_of_the_samples():
    assert page_of(notes_section, samples=make_samples(notes=("<b>",))).text == "<b>"
    assert notes_section(ReportParts("title", samples=make_samples())) is None
