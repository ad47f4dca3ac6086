"""A report's first words: what was tried, what is best, how good it is, and what to be wary of."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from featx.insight.candidates import SIGNIFICANT, candidates_of, parameters_of, ranked_by
from featx.insight.curves import OWN_THRESHOLD
from featx.insight.findings import KINDS, Audit
from featx.insight.markup import Child, Markup, element, escape, named, visible
from featx.insight.report_data import ReportParts, ReportSamples, Section
from featx.insight.report_tables import count, number, p_equals, percent, points, sentence, span


def summary(parts: ReportParts) -> Section:
    """The summary; it says only what the parts that there are can say."""
    topics = {
        "What was tried": _of_search(parts.search),
        "How good it is": _of_evaluation(parts.evaluation, flatters=parts.flatters),
        "What it confuses": _of_mistakes(parts.evaluation),
        "Two heads": _of_comparison(parts.comparison, parts.heads),
        "More labels": _of_learning(parts.learning, parts.learning_head),
        "What to be wary of": _of_audit(parts.audit),
        "What is shown": _of_samples(parts.samples),
    }
    said = {topic: list(sentences) for topic, sentences in topics.items()}
    told = [
        element("div", element("dt", topic), element("dd", [element("p", one) for one in sentences]))
        for topic, sentences in said.items()
        if sentences
    ]
    if not told:
        told = [element("p", "Nothing was evaluated, searched or audited: there is nothing to report.")]
    body = [_tiles(parts), element("dl" if any(said.values()) else "div", told, class_="summary")]
    return Section("summary", "Summary", escape(body))


def _strong(*children: Child) -> Markup:
    return element("strong", *children)


def _sentence(*children: Child) -> Markup:
    return escape(children)


# ---------------------------------------------------------------------------------------- tiles


def _tiles(parts: ReportParts) -> Markup | None:
    tiles: list[tuple[str, str, str]] = []
    evaluation = parts.evaluation
    if evaluation is not None:
        tiles.append((percent(evaluation.accuracy), "accuracy", span(evaluation.accuracy_ci, percent)))
        if evaluation.roc_auc is not None:
            tiles.append((number(evaluation.roc_auc), "ROC AUC", span(evaluation.roc_auc_ci)))
        tiles.append(
            (
                f"{evaluation.n_samples:,}",
                "samples judged",
                count(len(evaluation.class_names), "class", "classes"),
            )
        )
    if parts.comparison is not None:
        tiles += _tiles_of_comparison(parts)
    if parts.audit is not None:
        n_findings = sum(finding.kind != "class_balance" for finding in parts.audit.findings)
        note = f"in {count(parts.audit.n_audited, 'sample')}"
        tiles.append(
            (f"{n_findings:,}", "finding of the audit" if n_findings == 1 else "findings of the audit", note)
        )
    if not tiles:
        return None
    shown = [
        element("div", element("dt", label), element("dd", value, element("span", note, class_="interval")))
        for value, label, note in tiles
    ]
    return element("dl", shown, class_="tiles")


def _tiles_of_comparison(parts: ReportParts) -> Iterator[tuple[str, str, str]]:
    a, b = (visible(name, 40) for name in parts.heads)
    accuracy = parts.comparison.accuracy
    yield (
        f"{points(accuracy.difference)}\u00a0points",
        f"accuracy of {a} less that of {b}",
        span(accuracy.difference_ci, points),
    )
    seen = {False: "that neither was fitted on", True: "that one was fitted on", None: "fitted on or not"}
    yield f"{parts.comparison.n_samples:,}", "samples judged", seen[parts.flatters]


# ------------------------------------------------------------------------------------ the search


def _of_search(search: Any) -> Iterator[Markup]:
    if search is None:
        return
    candidates = candidates_of(search)
    heads = list(dict.fromkeys(candidate["head"] for candidate in candidates))
    n_features = len({candidate["features"] for candidate in candidates})
    sets = f" on {count(n_features, 'feature set')}" if n_features > 1 else ""
    folds = getattr(search, "n_splits_", None)
    judged = f", each scored on the same {count(folds, 'fold')}" if folds else ""
    yield _sentence(
        f"{count(len(candidates), 'candidate')} of {count(len(heads), 'head')} were tried{sets}{judged}."
    )
    best, params = candidates[0], parameters_of(candidates[0])
    score = f" with a mean {score_name(search)} of {number(best['mean_test_score'])} over the folds"
    interval = "" if best["score_ci"] is None else f" ({_of_95(best['score_ci'])})"
    flatters = (
        f". Being the highest of {len(candidates):,}, it flatters a little" if len(candidates) > 1 else ""
    )
    yield _sentence(
        "The best is ", _strong(head_name(best["head"])), [" (", named(params), ")"] if params else None,
        f"{score}{interval}{flatters}.",
    )  # fmt: skip
    yield from _of_next_best(candidates)


def score_name(search: Any) -> str:
    """What the candidates are ranked by, in words."""
    return ranked_by(search).replace("_", " ")


def head_name(name: str) -> Markup:
    """A head's name, as ``featx search --head`` takes it; a line may end behind an underscore."""
    first, *others = visible(name).split("_")
    return element(
        "bdi", element("code", first, [[Markup("_<wbr>"), other] for other in others], class_="head")
    )


def _of_next_best(candidates: list[dict[str, Any]]) -> Iterator[Markup]:
    """Whether the best is told apart from the best of another head or feature set, and from how many."""
    best = candidates[0]
    others = [c for c in candidates if (c["head"], c["features"]) != (best["head"], best["features"])]
    if others and math.isfinite(others[0]["mean_test_score"]):
        other = others[0]
        where = _sentence(" on ", named(other["features"])) if other["features"] != best["features"] else ""
        follows = [
            "Next comes ",
            head_name(other["head"]),
            where,
            f" with {number(other['mean_test_score'])}",
        ]
        p = other["p_value"]
        if p is None:
            yield _sentence(*follows, ".")
        elif p < SIGNIFICANT:
            yield _sentence(*follows, f"; the folds tell the two apart ({p_equals(p)}).")
        else:
            told = _strong("cannot tell the two apart")
            yield _sentence(*follows, "; the folds ", told, f" ({p_equals(p)}).")
    compared = [c["p_value"] for c in candidates[1:] if c["p_value"] is not None]
    n_alike = sum(p >= SIGNIFICANT for p in compared)
    if n_alike:
        yield _sentence(f"In all, {n_alike:,} of {len(compared):,} others cannot be told from the best.")


# -------------------------------------------------------------------------------- the evaluation


def judged_on(n_samples: int, head: str, *, flatters: bool | None) -> str:
    """On what a head is judged, and whether it was fitted on that, as the start of a sentence.

    Examples
    --------
    >>> judged_on(40, "the head", flatters=True)
    'On 40 samples that the head was fitted on, which flatters every figure'
    """
    ends = {
        False: f" that {head} was not fitted on",
        True: f" that {head} was fitted on, which flatters every figure",
        None: f", of which it is not known whether {head} was fitted on them",
    }
    return f"On {count(n_samples, 'sample')}{ends[flatters]}"


def _of_evaluation(evaluation: Any, *, flatters: bool | None) -> Iterator[Markup]:
    if evaluation is None:
        return
    counts = np.array(evaluation.confusion_matrix)
    majority = counts.sum(axis=1).max() / max(1, counts.sum())
    yield _sentence(
        judged_on(evaluation.n_samples, "it", flatters=flatters),
        ", it is right for ", _strong(percent(evaluation.accuracy)),
        f" ({_of_95(evaluation.accuracy_ci, percent)})",
        f"; always answering the most frequent class would be right for {percent(majority)}.",
    )  # fmt: skip
    own = next(
        (
            c
            for c in getattr(getattr(evaluation, "curves", None), "thresholds", ())
            if c.name == OWN_THRESHOLD
        ),
        None,
    )
    if own is not None:
        second = named(evaluation.class_names[-1])
        yield _sentence("It answers ", second, f" from a probability of {number(own.threshold)} on.")
    if evaluation.ece is not None:
        off = f"Its confidence is off by {percent(evaluation.ece)} on average"
        yield _sentence(f"{off} (expected calibration error; {_of_95(evaluation.ece_ci, percent)}).")


def _of_95(interval: tuple[float, float], form: Any = number) -> str:
    return f"95\u00a0% interval {span(interval, form)}"


def _of_mistakes(evaluation: Any) -> Iterator[Markup]:
    if evaluation is None:
        return
    counts = np.array(evaluation.confusion_matrix)
    names = evaluation.class_names
    mistakes = confusions(evaluation)
    if not mistakes:
        yield _sentence("It makes no mistake on these samples.")
        return
    told: list[Child] = []
    for true, predicted, n in mistakes[:2]:
        told += [", and " if told else "", named(names[true]), " for ", named(names[predicted])]
        told += [f" ({n:,} of {counts[true].sum():,})"]
    yield _sentence("Most often it takes ", *told, ".")


def confusions(evaluation: Any) -> list[tuple[int, int, int]]:
    """Pairs of true and predicted class that are confused, with how often, most often first."""
    counts = np.array(evaluation.confusion_matrix)
    np.fill_diagonal(counts, 0)
    found = [
        (int(true), int(predicted), int(counts[true, predicted])) for true, predicted in np.argwhere(counts)
    ]
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))


# ------------------------------------------------------------------------------------- the rest


def _of_comparison(comparison: Any, heads: tuple[str, str]) -> Iterator[Markup]:
    if comparison is not None:
        yield _sentence(comparison_verdict(comparison, heads))


def comparison_verdict(comparison: Any, heads: tuple[str, str]) -> str:
    """Which of two heads is better, as a sentence with their names."""
    a, b = map(visible, heads)
    told = comparison.describe(a, b)
    # A name keeps its first letter.
    return told[:1] + sentence(told)[1:] if told.startswith((a, b)) else sentence(told)


def _of_learning(learning: Any, head: str) -> Iterator[Markup]:
    if learning is None:
        return
    # The figures stand in the section.
    opinion = sentence(learning.opinion).removesuffix(".")
    yield _sentence(
        opinion, [", by the ", _to_learning(), " of ", learning_name(head)] if head else None, "."
    )


def _to_learning() -> Markup:
    return element("a", "learning curve", href="#learning")


def learning_name(head: str) -> Child:
    """What a learning curve is of."""
    return "ridge regression" if head == "ridge" else head_name(head)


def _of_audit(audit: Audit | None) -> Iterator[Markup]:
    if audit is None:
        return
    across = {
        place: sum(place in finding.across for finding in audit.findings) for place in ("parts", "labels")
    }
    if across["parts"]:
        sets = f"{count(across['parts'], 'set')} of duplicates across parts; scores on it flatter."
        yield _sentence(_strong("The test part leaks: "), sets)
    if across["labels"]:
        yield _sentence(f"{count(across['labels'], 'set')} of duplicates across labels.")
    counts = {kind: n for kind, n in audit.counts().items() if n and kind != "class_balance"}
    if not counts:
        yield _sentence("The audit found nothing to warn of.")
        return
    listed = ", ".join(f"{KINDS[kind].title} ({n:,})" for kind, n in counts.items())
    yield _sentence(f"The audit found {listed}.")


def _of_samples(samples: ReportSamples | None) -> Iterator[Markup]:
    if samples is None:
        return
    if samples.n_total > len(samples.sample_ids):
        shown = f"{len(samples.sample_ids):,} of {samples.n_total:,}"
        how = "; the notes say how they were drawn" if samples.notes else ""
        yield _sentence(f"Map, galleries and sample table show {shown} samples{how}.")
