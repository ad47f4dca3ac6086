"""The head search beside scikit-learn's GridSearchCV: same pipelines, candidates, folds, scoring, workers.

Part of scripts/benchmark.py. Each side is timed around its ``fit`` calls in a process of its own, and the
sides take turns. Scores are compared cell by cell, candidate by fold.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import featx

SHARING = ("logistic_regression", "linear_svm", "ridge", "rbf_svm", "knn")
DEFAULT = (*SHARING, "mlp")
LINEAR = ("logistic_regression", "ridge", "linear_svm")
N_CLASSES = 10

SIDE = """
import json, sys, time, warnings
import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold
import featx
side, data, heads, n_splits, out = sys.argv[1:]
X, y = (np.load(data + name, mmap_mode="r") for name in ("X.npy", "y.npy"))
X, y = np.array(X), np.array(y)
folds = list(StratifiedKFold(int(n_splits), shuffle=True, random_state=0).split(np.zeros(len(y)), y))
specs = [spec for spec in featx.list_heads() if spec.name in heads.split(",")]
for spec in specs:
    if spec.name == "mlp":
        spec.estimator.set_params(head__random_state=0)
cells = {}
def keep(name, results, n):
    table = np.array([results[f"split{fold}_test_score"] for fold in range(len(folds))]).T
    for index in range(n):
        cells[f"{name} {results['params'][index]}"] = table[index].tolist()
started = time.perf_counter()
if side == "featx":
    search = featx.HeadSearch(specs, cv=folds, n_jobs=2, refit=False, random_state=0).fit(X, y)
    for index, head in enumerate(search.cv_results_["head"]):
        scores = [search.cv_results_[f"split{fold}_test_score"][index] for fold in range(len(folds))]
        cells[f"{head} {search.cv_results_['params'][index]}"] = [float(score) for score in scores]
else:
    warnings.simplefilter("ignore")
    for spec in specs:
        grid = GridSearchCV(spec.estimator, spec.param_grid, cv=folds, n_jobs=2, refit=False).fit(X, y)
        keep(spec.name, grid.cv_results_, len(grid.cv_results_["params"]))
seconds = time.perf_counter() - started
json.dump({"seconds": seconds, "cells": cells}, open(out, "w"))
"""

LARGE = """
import json, resource, sys, time
import numpy as np
import featx
started = time.perf_counter()
features = featx.FeatureSet.load(sys.argv[1])
search = featx.HeadSearch(["logistic_regression", "ridge"], cv=3, n_jobs=2, random_state=0)
train, test = featx.holdout_split(features.y)
search.fit(features.X[train], features.y[train])
json.dump({
    "seconds": time.perf_counter() - started,
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    "best_head": search.best_head_,
    "cv_score": search.best_score_,
    "test_accuracy": float(np.mean(search.predict(features.X[test]) == features.y[test])),
}, open(sys.argv[2], "w"))
"""


def synthetic(n_rows: int, dtype: Any = np.float32, n_features: int = 1280) -> tuple[np.ndarray, np.ndarray]:
    """Features like a backbone's: 200 latent directions of falling weight, rectified, noisy; ten classes."""
    random = np.random.default_rng(0)
    n_latent = 200
    mixing = random.standard_normal((n_latent, n_features)) * np.arange(1, n_latent + 1)[:, None] ** -0.5
    mixing = mixing.astype(np.float32)
    centres = 0.2 * random.standard_normal((N_CLASSES, n_latent)).astype(np.float32)
    y = random.integers(0, N_CLASSES, n_rows)
    X = np.empty((n_rows, n_features), dtype)
    for start in range(0, n_rows, 10_000):
        rows = slice(start, min(start + 10_000, n_rows))
        n = rows.stop - rows.start
        latent = centres[y[rows]] + random.standard_normal((n, n_latent), np.float32)
        noise = 0.3 * random.standard_normal((n, n_features), np.float32)
        X[rows] = np.maximum(latent @ mixing + noise, 0)
    return X, y


def compared(
    run: Callable[..., Any], data: Path, heads: tuple[str, ...], *, n_splits: int, n_rounds: int
) -> dict[str, Any]:
    """One row of the table."""
    found: dict[str, list[dict[str, Any]]] = {"featx": [], "grid": []}
    for _ in range(n_rounds):
        for side, results in found.items():
            out = data / "result.json"
            run(SIDE, side, f"{data}/", ",".join(heads), str(n_splits), out)
            results.append(json.loads(out.read_text()))
    seconds = {side: statistics.median(each["seconds"] for each in runs) for side, runs in found.items()}
    ours, theirs = (
        np.array([found[side][0]["cells"][key] for key in found["grid"][0]["cells"]]) for side in found
    )
    return {
        "heads": ", ".join(heads),
        "candidates": len(theirs),
        "featx_seconds": round(seconds["featx"], 2),
        "grid_search_seconds": round(seconds["grid"], 2),
        "times_faster": round(seconds["grid"] / seconds["featx"], 2),
        "best_score": round(float(ours.mean(axis=1).max()), 4),
        "grid_search_best": round(float(theirs.mean(axis=1).max()), 4),
        "cells_that_differ": f"{int((ours != theirs).sum())} of {ours.size}",
        "largest_difference": round(float(np.abs(ours - theirs).max()), 4),
        "rounds": {side: [round(each["seconds"], 1) for each in runs] for side, runs in found.items()},
    }


def benchmark_search(
    run: Callable[..., Any], cells: np.ndarray, labels: np.ndarray, n_rounds: int
) -> list[dict[str, Any]]:
    """ELPV head by head, together and with the MLP; then 50,000 rows of ten classes, once."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        np.save(data / "X.npy", cells)
        np.save(data / "y.npy", labels)
        rows += [
            {
                "features": "ELPV 2,624 x 1,280",
                **compared(run, data, heads, n_splits=5, n_rounds=n_rounds),
            }
            for heads in (SHARING, DEFAULT, *((head,) for head in DEFAULT))
        ]
        X, y = synthetic(50_000)
        np.save(data / "X.npy", X)
        np.save(data / "y.npy", y)
        rows += [
            {
                "features": "50,000 x 1,280, 10 classes",
                **compared(run, data, heads, n_splits=3, n_rounds=1),
            }
            for heads in (LINEAR[:2], LINEAR)
        ]
    return rows


def benchmark_search_memory(run: Callable[..., Any], n_rows: int) -> list[dict[str, Any]]:
    """A linear search over a large float16 feature file: whether it completes, and in what memory."""
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name) / "features.h5", Path(name) / "result.json"
        X, y = synthetic(n_rows, np.float16)
        featx.FeatureSet(X, y).save(path)
        del X
        run(LARGE, path, out)
        return [{"features": f"{n_rows:,} x 1,280 float16", **json.loads(out.read_text())}]
