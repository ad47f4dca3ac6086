"""How long the report of many images takes, stage by stage, and how large it gets.

Part of scripts/benchmark.py. What a search has done before is not counted: features and a fitted head are at
hand, as they are for ``featx search --report``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmark_extract import make_jpegs
from benchmark_tables import Goal

# Of 5,000 images: seconds, and bytes.
MOST_SECONDS, MOST_BYTES = 30.0, 5_000_000

# As a report has them.
N_REPEATS = 4

# So that there are mistakes to show, as in real data.
_WRONG_LABELS = 0.05


def benchmark_report(n_images: int) -> list[dict[str, Any]]:
    """Audit, learning curves, pictures and the page, of JPEGs of 500 x 375."""
    import featx

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_jpegs(work / "images", n_images)
        source = featx.as_source(work / "images")
        features = featx.extract(source, featx.FeatureExtractor(), store=work / "store")
        wrong = np.random.default_rng(0).random(n_images) < _WRONG_LABELS
        features.y = np.where(wrong, 1 - features.y, features.y)
        train, test = featx.holdout_split(features.y, random_state=0)
        search = featx.HeadSearch("logistic_regression", n_jobs=-1).fit(features.X[train], features.y[train])
        evaluation = featx.evaluate(
            search, features.X[test], features.y[test], class_names=features.class_names
        )
        parts = np.where(np.isin(np.arange(n_images), test), "test", "training")
        marks = [perf_counter()]
        content = featx.make_miniatures(source)
        audit = featx.audit_features(features, parts=parts, content=content)
        marks.append(perf_counter())
        curves = {
            "learning": featx.learning_curve(None, features.X, features.y, n_repeats=N_REPEATS),
            "few_shot": featx.few_shot_curve(features.X, features.y, n_repeats=N_REPEATS),
        }
        marks.append(perf_counter())
        samples = featx.report_samples(features, search, test, images=source, audit=audit)
        marks.append(perf_counter())
        path = work / "report.html"
        featx.write_report(path, evaluation, search=search, audit=audit, samples=samples, **curves)
        marks.append(perf_counter())
        n_bytes = path.stat().st_size
    stages = ("audit", "learning curves", "pictures", "page")
    rows: list[dict[str, Any]] = [
        {"what": stage, "median": f"{seconds:.1f} s"}
        for stage, seconds in zip(stages, np.diff(marks), strict=True)
    ]
    seconds = marks[-1] - marks[0]
    return [
        *rows,
        _against(f"report of {n_images:,} images", f"{seconds:.1f} s", seconds, MOST_SECONDS),
        _against("its file", f"{n_bytes / 1e6:.2f} MB", n_bytes, MOST_BYTES),
    ]


def _against(what: str, measured: str, value: float, most: float) -> dict[str, Any]:
    goal = Goal(1.0, 1.0, is_most=True)
    return {
        "what": what,
        "median": measured,
        "of goal": goal.written(value / most),
        "": goal.verdict(value / most),
    }
