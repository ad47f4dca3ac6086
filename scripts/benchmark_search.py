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
from scipy.stats import spearmanr

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
X, y = np.load(data + "X.npy"), np.load(data + "y.npy")
folds = list(StratifiedKFold(int(n_splits), shuffle=True, random_state=0).split(np.zeros(len(y)), y))
specs = {spec.name: spec for spec in featx.list_heads()}
specs["mlp"].estimator.set_params(head__random_state=0)
cells, seconds = {}, {}
def search(name):
    if side == "featx":
        chosen = [specs[head] for head in name.split("+")]
        return featx.HeadSearch(chosen, cv=folds, n_jobs=2, refit=False, random_state=0)
    warnings.simplefilter("ignore")
    return GridSearchCV(specs[name].estimator, specs[name].param_grid, cv=folds, n_jobs=2, refit=False)
for name in heads.split(","):
    started = time.perf_counter()
    results = search(name).fit(X, y).cv_results_
    seconds[name] = time.perf_counter() - started
    for index, params in enumerate(results["params"]):
        head = results["head"][index] if side == "featx" else name
        scores = [float(results[f"split{fold}_test_score"][index]) for fold in range(len(folds))]
        cells[f"{head} {params}"] = scores
json.dump({"seconds": seconds, "cells": cells}, open(out, "w"))
"""

LARGE = """
import json, resource, sys, time
import numpy as np
import featx
started = time.perf_counter()
features = featx.FeatureSet.load(sys.argv[1])
search = featx.HeadSearch(["logistic_regression", "ridge"], cv=2, n_jobs=2, random_state=0)
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
    run: Callable[..., Any], data: Path, spaces: list[tuple[str, ...]], *, n_splits: int, n_rounds: int
) -> list[dict[str, Any]]:
    """A row for each space. GridSearchCV takes one head at a time, and its seconds are added up."""
    ours = ",".join("+".join(space) for space in spaces)
    theirs = ",".join(dict.fromkeys(head for space in spaces for head in space))
    found: dict[str, list[dict[str, Any]]] = {"featx": [], "grid": []}
    for _ in range(n_rounds):
        for side, results in found.items():
            out = data / "result.json"
            run(SIDE, side, f"{data}/", ours if side == "featx" else theirs, str(n_splits), out)
            results.append(json.loads(out.read_text()))
    return [_row(space, found["featx"], found["grid"]) for space in spaces]


def _row(space: tuple[str, ...], ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    featx_s = [each["seconds"]["+".join(space)] for each in ours]
    grid_s = [sum(each["seconds"][head] for head in space) for each in theirs]
    keys = [key for key in theirs[0]["cells"] if key.split()[0] in space]
    cells, expected = (np.array([side[0]["cells"][key] for key in keys]) for side in (ours, theirs))
    return {
        "heads": ", ".join(space),
        "candidates": len(keys),
        "featx_seconds": round(statistics.median(featx_s), 2),
        "grid_search_seconds": round(statistics.median(grid_s), 2),
        "times_faster": round(statistics.median(grid_s) / statistics.median(featx_s), 2),
        "best_score": round(float(cells.mean(axis=1).max()), 4),
        "grid_search_best": round(float(expected.mean(axis=1).max()), 4),
        "cells_that_differ": f"{int((cells != expected).sum())} of {cells.size}",
        "largest_difference": round(float(np.abs(cells - expected).max()), 4),
        "rounds": [[round(value, 2) for value in values] for values in (featx_s, grid_s)],
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
        spaces: list[tuple[str, ...]] = [SHARING, DEFAULT, *((head,) for head in DEFAULT)]
        found = compared(run, data, spaces, n_splits=5, n_rounds=n_rounds)
        rows += [{"features": "ELPV 2,624 x 1,280", **row} for row in found]
        X, y = synthetic(50_000)
        np.save(data / "X.npy", X)
        np.save(data / "y.npy", y)
        spaces = [LINEAR, *((head,) for head in LINEAR)]
        found = compared(run, data, spaces, n_splits=3, n_rounds=1)
        rows += [{"features": "50,000 x 1,280, 10 classes", **row} for row in found]
    return rows


def benchmark_rank(files: list[Path]) -> list[dict[str, Any]]:
    """Feature files of the same samples: the order of `featx.rank_features` beside the search's own."""
    sets = {path.name: featx.FeatureSet.load(path) for path in files}
    first = next(iter(sets.values()))
    if any(each.sample_ids != first.sample_ids for each in sets.values()):
        raise SystemExit("the files are not of the same samples in the same order")
    stops = np.cumsum([each.n_features for each in sets.values()]).tolist()
    blocks = dict(zip(sets, zip([0, *stops], stops, strict=False), strict=True))
    heads = ["logistic_regression", "rbf_svm"]
    search = featx.HeadSearch(heads, feature_blocks=blocks, n_jobs=2, refit=False, random_state=0)
    search.fit(np.concatenate([each.X for each in sets.values()], axis=1), first.y, first.groups)
    best: dict[str, float] = {}
    for candidate in search.leaderboard():
        best.setdefault(candidate["features"], candidate["mean_test_score"])
    ranks = featx.rank_features({name: each.X for name, each in sets.items()}, first.y, groups=first.groups)
    rows = [{"file": each.name, "rank": each.rank, "search_score": best[each.name]} for each in ranks]
    agreement = spearmanr([-each.rank for each in ranks], [best[each.name] for each in ranks]).statistic
    return [*rows, {"files": len(rows), "spearman": round(float(agreement), 3)}]


def benchmark_search_memory(run: Callable[..., Any], n_rows: int) -> list[dict[str, Any]]:
    """A linear search over a large float16 feature file: whether it completes, and in what memory."""
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name) / "features.h5", Path(name) / "result.json"
        X, y = synthetic(n_rows, np.float16)
        featx.FeatureSet(X, y).save(path)
        del X
        run(LARGE, path, out)
        return [{"features": f"{n_rows:,} x 1,280 float16", **json.loads(out.read_text())}]
