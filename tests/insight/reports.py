"""Parts of a report that are small and whole, and a reader of the pages that are made of them."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from featx.insight.evaluation import evaluate
from featx.insight.findings import Audit, Finding
from featx.insight.report_data import Pictures, ReportSamples

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onclick='alert(1)",
    "$\\frac$",
    "a_b^c",
    "photo\u202egnp.exe",
    "</script><b>",
    "_private",
    "\udc80bad",
    "two\nlines",
    "x" * 10_000,
)

VOID = {"meta", "img", "input", "br", "hr", "link", "path", "line", "circle", "rect", "use"}


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.blocks: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        assert len({name for name, _ in attributes}) == len(attributes), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "input", "br", "hr", "link", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.blocks[self.elements[-1][1].get("id", self.open[-1])] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]


def make_samples(n_samples=12, classes=("cat", "dog"), **changes) -> ReportSamples:
    """The first half is training, the second test, of which every third answer is wrong."""
    rows = np.arange(n_samples)
    labels = [classes[row % len(classes)] for row in rows]
    is_test = rows >= n_samples // 2
    answers = [classes[(row + (row % 3 == 0)) % len(classes)] if is_test[row] else None for row in rows]
    parts = {
        "sample_ids": [f"images/{row}.png" for row in rows],
        "X": np.random.default_rng(0).normal(size=(n_samples, 5)),
        "labels": labels,
        "parts": ["test" if test else "training" for test in is_test],
        "predicted": answers,
        "confidence": np.where(is_test, 0.5 + rows / (2.5 * n_samples), np.nan),
    }
    return ReportSamples(**parts | changes)


def make_pictures(n_samples: int, large=()) -> Pictures:
    return Pictures(b"atlas", 8, 4, np.arange(n_samples), dict.fromkeys(large, b"large"))


def make_audit(*findings: Finding, **changes) -> Audit:
    counts = {"cat": 6, "dog": 6}
    parts = {"class_counts": counts, "labels": {}, "parts": {}, "thresholds": {}, "notes": (), "seconds": 1.0}
    return Audit(**{"n_samples": 12, "n_audited": 12, "findings": findings} | parts | changes)


def digits_evaluation(class_names=None, **options):
    X, y = load_digits(return_X_y=True)
    head = KNeighborsClassifier(15).fit(X[:300, 20:40], y[:300])
    return evaluate(head, X[300:700, 20:40], y[300:700], class_names=class_names, n_resamples=20, **options)
