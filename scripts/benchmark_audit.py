"""An audit of 50,000 x 1,280 features in a process of its own: seconds and peak memory, and what it found.

Part of scripts/benchmark.py. Features are made, so that their faults are known: ten classes of 40 clusters
each, in 60 dimensions that a random map with rectified outputs makes 1,280 of, as a network's are; groups of
five; 500 copies of rows that are nearly the same; 500 flipped labels; 50 rows of noise.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import featx

N_FEATURES, N_CLASSES, N_CLUSTERS, N_DIMENSIONS = 1280, 10, 40, 60
N_COPIES, N_FLIPPED, N_NOISE = 500, 500, 50
MOST_SECONDS, MOST_MB = 120.0, 4_096.0

AUDIT = """
import json, sys
import featx
features = featx.FeatureSet.load(sys.argv[1])
parts = ["test" if row % 4 == 0 else "training" for row in range(len(features))]
audit = featx.audit_features(features, parts=parts)
found = {}
for finding in audit.findings:
    found.setdefault(finding.kind, []).extend(finding.sample_ids)
with open(sys.argv[2], "w") as file:
    json.dump({"seconds": audit.seconds, "found": found, "notes": audit.notes}, file)
"""


def make_features(n_rows: int) -> tuple[featx.FeatureSet, dict[str, set[str]]]:
    """Features in clusters and what is wrong with them, by the kind of finding."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, N_CLASSES * N_CLUSTERS, n_rows)
    centres = rng.normal(size=(N_CLASSES * N_CLUSTERS, N_DIMENSIONS)).astype(np.float32)
    hidden = centres[cluster] + 0.7 * rng.standard_normal((n_rows, N_DIMENSIONS), np.float32)
    mapping = rng.standard_normal((N_DIMENSIONS, N_FEATURES), np.float32)
    y = cluster % N_CLASSES
    drawn = rng.permutation(n_rows)[: 2 * N_COPIES + N_FLIPPED + N_NOISE]
    originals, copies = drawn[:N_COPIES], drawn[N_COPIES : 2 * N_COPIES]
    flipped, noise = drawn[2 * N_COPIES : -N_NOISE], drawn[-N_NOISE:]
    hidden[copies] = hidden[originals] + 0.02 * rng.standard_normal((N_COPIES, N_DIMENSIONS), np.float32)
    y[copies] = y[originals]
    y[flipped] = (y[flipped] + rng.integers(1, N_CLASSES, N_FLIPPED)) % N_CLASSES
    X = np.maximum(hidden @ mapping, 0)
    X[noise] = np.maximum(rng.standard_normal((N_NOISE, N_FEATURES), np.float32), 0)
    planted = {"near_duplicate": copies, "suspected_label": flipped, "outlier": noise}
    groups = [str(row // 5) for row in range(n_rows)]
    return featx.FeatureSet(X, y, groups=groups), {
        kind: {str(row) for row in rows} for kind, rows in planted.items()
    }


def benchmark_audit(run: Callable[..., Any], n_rows: int) -> list[dict[str, Any]]:
    """One audit against the goal of two minutes and 4 GiB."""
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name) / "features.h5", Path(name) / "result.json"
        features, planted = make_features(n_rows)
        features.save(path)
        del features
        seconds, peak_mb = run(AUDIT, path, out)
        told = json.loads(out.read_text())
    is_reached = seconds <= MOST_SECONDS and peak_mb <= MOST_MB
    row: dict[str, Any] = {
        "features": f"{n_rows:,} x {N_FEATURES:,}",
        "seconds": round(seconds, 1),
        "audit_seconds": round(told["seconds"], 1),
        "peak_mb": round(peak_mb),
        "must": f"{MOST_SECONDS:.0f} s, {MOST_MB:,.0f} MB",
        "verdict": "reached" if is_reached else "MISSED",
    }
    for kind, rows in planted.items():
        found = set(told["found"].get(kind, []))
        row[f"{kind}_recall"] = round(len(rows & found) / len(rows), 3)
        row[f"{kind}_found"] = len(found)
    return [row]
