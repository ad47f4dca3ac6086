"""The first words of a report: true for every kind of part, and silent about what is not there."""

from types import SimpleNamespace

import numpy as np

from featx.insight.findings import Finding
from featx.insight.report_data import ReportParts
from featx.insight.report_summary import confusions, summary
from tests.insight.reports import Page, digits_evaluation, make_audit, make_samples


def said(**parts) -> str:
    return Page(summary(ReportParts("title", **parts)).body).text


def make_search(scores, *, heads=("ridge", "knn")):
    """A search that knows its folds; of each head one candidate."""
    results = {
        "head": list(heads),
        "features": ["all"] * len(heads),
        "params": [{} for _ in heads],
        "rank_test_accuracy": list(range(1, 1 + len(heads))),
        "mean_test_accuracy": [float(np.mean(of_head)) for of_head in scores],
        **{f"split{fold}_test_accuracy": list(column) for fold, column in enumerate(np.transpose(scores))},
    }
    candidates = [
        {
            "rank": rank,
            "head": head,
            "features": "all",
            "params": {},
            "mean_test_score": float(np.mean(of_head)),
        }
        for rank, (head, of_head) in enumerate(zip(heads, scores, strict=True), 1)
    ]
    return SimpleNamespace(
        scoring="accuracy", n_splits_=len(scores[0]), cv_results_=results, test_train_ratio_=1 / 4,
        leaderboard=lambda: candidates,
    )  # fmt: skip


def test_the_next_best_is_of_another_head_and_told_apart_or_not():
    clear = said(search=make_search([[0.9, 0.91, 0.9, 0.92, 0.9], [0.5, 0.52, 0.5, 0.51, 0.5]]))
    assert "2 candidates of 2 heads were tried, each scored on the same 5 folds." in clear
    assert "The best is ridge with a mean accuracy of 0.906" in clear
    assert "Next comes knn with 0.506; the folds tell the two apart (p < 0.001)." in clear
    tied = said(search=make_search([[0.9, 0.7, 0.9, 0.7, 0.9], [0.7, 0.9, 0.7, 0.9, 0.8]]))
    assert "cannot tell the two apart" in tied
    assert "In all, 1 of 1 others cannot be told from the best." in tied
    assert "Next" not in said(search=make_search([[0.9] * 5], heads=("ridge",)))


def test_an_evaluation_says_how_good_and_what_it_confuses():
    evaluation = digits_evaluation([f"digit {digit}" for digit in range(10)])
    text = said(evaluation=evaluation)
    counts = np.array(evaluation.confusion_matrix)
    true, predicted, n = confusions(evaluation)[0]
    np.fill_diagonal(counts, 0)
    assert n == counts.max() == counts[true, predicted]
    assert f"Most often it takes digit {true} for digit {predicted} ({n} of" in text
    assert f"it is right for {evaluation.accuracy * 100:.1f}\u00a0%".replace("\u00a0", " ") in text


def test_a_head_without_mistakes_or_probabilities():
    perfect = SimpleNamespace(
        n_samples=4, class_names=("a", "b"), accuracy=1.0, accuracy_ci=(0.4, 1.0), roc_auc=None, ece=None,
        confusion_matrix=((3, 0), (0, 1)),
    )  # fmt: skip
    text = said(evaluation=perfect)
    assert "It makes no mistake on these samples." in text
    assert "the most frequent class would be right for 75.0 %" in text
    assert "ROC AUC" not in text
    assert "confidence" not in text


def test_an_audit_warns_of_leaks_first_and_says_when_there_is_nothing():
    leak = Finding("exact_duplicate", ("a", "b"), 1.0, "same", ("parts", "labels"))
    text = said(audit=make_audit(leak, Finding("class_balance", ("a",), 0.1, "few")))
    assert "The test part leaks: 1 set of duplicates across parts; scores on it flatter." in text
    assert "1 set of duplicates across labels." in text
    assert "The audit found exact duplicates (1)." in text
    assert "nothing to warn of" in said(audit=make_audit())


def test_samples_that_were_drawn_are_said_to_be():
    assert "show 12 of 1,000 samples" in said(samples=make_samples(n_total=1000))
    assert "drawn" not in said(samples=make_samples())


def test_what_the_head_was_fitted_on_is_not_called_new_to_it():
    evaluation = digits_evaluation()
    assert "samples that it was not fitted on, it is right" in said(evaluation=evaluation)
    for flatters, expected in (
        (True, "samples that it was fitted on, which flatters every figure, it is right"),
        (None, "samples, of which it is not known whether it was fitted on them, it is right"),
    ):
        text = said(evaluation=evaluation, flatters=flatters)
        assert expected in text
        assert "not fitted on" not in text


def test_more_labels_in_a_few_words_and_by_which_head():
    curve = SimpleNamespace(opinion="more labels would help", verdict="more labels would help: and so on")
    assert "More labels would help, by the learning curve of knn ." in said(
        learning=curve, learning_head="knn"
    )
    assert "by the learning curve of ridge regression." in said(learning=curve, learning_head="ridge")
    assert "and so on" not in said(learning=curve)


def test_nothing_at_all():
    assert said() == "Nothing was evaluated, searched or audited: there is nothing to report."
