"""How long the report of many images takes, and how large it gets.

Part of scripts/benchmark.py. What a search has done before is not counted: features and a fitted head are at
hand, as they are for ``featx search --report``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from benchmark_extract import make_jpegs
from benchmark_tables import Goal

# Of 5,000 images: seconds, and bytes.
MOST_SECONDS, MOST_BYTES = 30.0, 5_000_000

# So that there are mistakes to show, as in real data.
_WRONG_LABELS = 0.05


def benchmark_report(n_images: int) -> list[dict[str, Any]]:
    """All that ``featx search --report`` does once it has searched, of JPEGs of 500 x 375."""
    import featx
    from featx.report_jobs import ReportOptions, write_search_report
    from featx.search_jobs import search_features

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_jpegs(work / "images", n_images)
        source = featx.as_source(work / "images")
        features = featx.extract(source, featx.FeatureExtractor(), store=work / "store")
        wrong = np.random.default_rng(0).random(n_images) < _WRONG_LABELS
        features.y = np.where(wrong, 1 - features.y, features.y)
        result = search_features(features, featx.HeadSearch("logistic_regression", n_jobs=-1))
        path = work / "report.html"
        start, start_cpu = perf_counter(), process_time()
        write_search_report(path, result, ReportOptions(source))
        seconds, cpu_seconds = perf_counter() - start, process_time() - start_cpu
        n_bytes = path.stat().st_size
    return [
        _against(f"report of {n_images:,} images", f"{seconds:.1f} s", seconds, MOST_SECONDS),
        {"what": "of all processors", "median": f"{cpu_seconds:.1f} s"},
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
