"""What fewer bits and kills cost the features, and the pass on a device: precision, views, gpu.

Part of scripts/benchmark.py.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_extract import Rows, best_engine, make_jpegs
from benchmark_sides import Measured, command_of, measure
from benchmark_tables import Goal, compared
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import featx

#: Engine, precision, and the least cosine to Keras in float32; Keras's own bits come first.
ENGINES = (
    ("keras", "float32", 1.0),
    ("onnx", "float32", 0.99999),
    ("openvino", "float32", 0.99999),
    ("openvino", "bfloat16", 0.999),
    ("keras", "bfloat16", 0.999),
    ("keras", "float16", 0.999),
)
N_COMPARED = 500
N_SEEDS = 5
# An engine that needs longer for all cells is judged by those that are compared.
MOST_S = 60.0


def benchmark_precision(images: np.ndarray, labels: np.ndarray, strata: np.ndarray, n_compared: int) -> Rows:
    """Solar cells at 224 x 224 by every engine and precision, beside Keras in float32.

    Cosines are of cells spread evenly over the data set. The head is a logistic regression, the same for
    all, on the project's 75/25 splits; for an engine that is too slow for all cells, on the cells compared.
    """
    every = np.arange(len(images))
    spread = np.unique(np.linspace(0, len(images) - 1, min(n_compared, len(images))).round().astype(int))
    rows: Rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        np.save(work / "cells.npy", images)
        reference = np.empty(0)
        for engine, precision, least in ENGINES:
            row: dict[str, Any] = {"engine": engine, "precision": precision}
            rows.append(row)
            package = {"onnx": "onnxruntime"}.get(engine, engine)
            if importlib.util.find_spec(package) is None:
                row["skipped"] = f"{package} is not installed"
                continue
            run, X = _embedded(work, spread, engine, precision)
            reference = X if not reference.size else reference
            used, chosen = run.result["engine"], spread
            speed = run.result["images_per_second"]
            if len(every) / speed < MOST_S and n_compared >= N_COMPARED:
                run, X_all = _embedded(work, every, engine, precision)
                speed, chosen = run.result["images_per_second"], every
            alike = _cosines(X, reference)
            heads = [("of_all_cells", X_all)] if chosen is every else []
            row |= {
                "used": f"{used['name']} {used['precision']}",
                "float32_share": used["float32_share"],
                "images_per_second": round(speed, 1),
                "cosine_mean": round(float(alike.mean()), 7),
                "cosine_least": round(float(alike.min()), 7),
                "must_reach": least,
                "verdict": "reached" if alike.min() >= min(least, 1 - 1e-9) else "MISSED",
            }
            for suffix, features in [(f"of_{len(spread)}", X), *heads]:
                kept = chosen if features is not X else spread
                row[f"accuracy_{suffix}"] = _accuracy(features, labels[kept], strata[kept])
            row["why"] = {"why": used["why"], "cells_embedded": len(chosen)}
    return rows


def _embedded(work: Path, chosen: np.ndarray, engine: str, precision: str) -> tuple[Measured, np.ndarray]:
    """Some cells' features, by a process and a store of their own."""
    store = work / f"{engine}-{precision}"
    paths = {"images": work / "cells.npy", "out": work / "X.npy", "store": store}
    run = measure("cells", **paths, chosen=chosen.tolist(), engine=engine, precision=precision)
    return run, np.load(work / "X.npy")


def _cosines(X: np.ndarray, reference: np.ndarray) -> np.ndarray:
    a, b = X.astype(np.float64), reference.astype(np.float64)
    alike: np.ndarray = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return alike


def _accuracy(X: np.ndarray, labels: np.ndarray, strata: np.ndarray) -> str:
    """Mean and standard deviation over the splits, in per cent."""
    found = []
    for seed in range(N_SEEDS):
        train, test = featx.holdout_split(labels, strata=strata, random_state=seed)
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1_000))
        found.append(100 * head.fit(X[train].astype(np.float64), labels[train]).score(X[test], labels[test]))
    return f"{np.mean(found):.2f} +- {np.std(found, ddof=1):.2f}"


def precision_panels(rows: Rows) -> dict[str, list[tuple[str, float, str]]]:
    """The chart's bars: images a second, with the least cosine and the accuracy behind."""
    bars = []
    for row in rows:
        if "skipped" in row:
            continue
        accuracies = [str(value) for name, value in row.items() if name.startswith("accuracy")]
        behind = f"  cosine >= {row['cosine_least']:.6f}, accuracy {accuracies[-1]} %"
        bars.append((f"{row['engine']} {row['precision']}", row["images_per_second"], behind))
    return {"ELPV cells at 224 px: images/s, least cosine to Keras float32, accuracy": bars}


# ------------------------------------------------------------------------------------------------ views


def benchmark_views(n_images: int, n_kills: int) -> Rows:
    """Four views, then eight; and runs that are killed at random times and resumed, beside one that is not.

    The engine is named: where featx chooses, two stores may hold two choices, and other last bits.
    """
    random = np.random.default_rng()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        make_jpegs(work / "images", n_images)

        def params(store: str, n_views: int = 4) -> dict[str, Any]:
            paths = {"source": work / "images", "out": work / f"{store}.h5", "store": work / store}
            return {**paths, "n_views": n_views, "engine": best_engine()}

        whole = measure("featx_folder", **params("whole"))
        digest = _sha256(work / "whole.h5")
        rows = [_views_row("4 views, not interrupted", whole, digest)]
        for kill in range(n_kills):
            store = f"killed{kill}"
            killed_s = float(random.uniform(0.1, 0.95)) * whole.seconds
            n_shards = _killed(params(store), killed_s, work)
            resumed = measure("featx_folder", **params(store))
            found = _sha256(work / f"{store}.h5")
            is_same = "same" if found == digest else "DIFFERENT"
            row = _views_row(f"4 views, killed after {killed_s:.1f} s and resumed", resumed, found)
            rows.append({**row, "shards_when_killed": n_shards, "verdict": is_same})
        more = measure("featx_folder", **params("whole", n_views=8))
        expected = 4 * n_images
        computed = more.result["n_rows_computed"]
        verdict = "4 an image" if computed == expected else f"MISSED: {expected} expected"
        rows.append({**_views_row("8 views after 4", more, _sha256(work / "whole.h5")), "verdict": verdict})
    return rows


def _views_row(what: str, run: Measured, digest: str) -> dict[str, Any]:
    report = run.result
    return {
        "what": what,
        "seconds": round(run.seconds, 2),
        "images": report["n_samples"],
        "rows_computed": report["n_rows_computed"],
        "sha256": digest[:16],
        "engine": report["engine"].get("name", "none"),
    }


def _killed(arguments: dict[str, Any], after_s: float, work: Path) -> int:
    """Run featx in a process of its own, kill it, and count the shards that it left."""
    command = command_of("featx_folder", work / "never.json", **arguments)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    process.kill()
    process.wait()
    return sum(1 for _ in Path(arguments["store"]).rglob("*.h5"))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# -------------------------------------------------------------------------------------------------- gpu


def benchmark_gpu(n_images: int, n_rounds: int) -> Rows:
    """ResNet50 on arrays in memory, by Keras's backend of this environment, against its forward alone."""
    run = measure("device", n_images=n_images, n_rounds=n_rounds)
    told, rounds = run.result, run.result["rounds"]
    where = f"{told['backend']} on {', '.join(told['devices'])}, {told['precision']}"
    row = compared(
        f"ResNet50, uint8 arrays in memory, {where}, batch {told['batch_size']}",
        [each["featx_s"] for each in rounds],
        told["n_images"],
        against="compiled forward alone",
        against_seconds=[each["alone_s"] for each in rounds],
        goal=Goal(0.85, 0.95),
        peak_mb=round(run.peak_mb),
        stages=rounds[-1]["stages"],
    )
    alone = round(told["n_images"] / float(np.median([each["alone_s"] for each in rounds])), 1)
    return [{**row, "alone_images_per_second": alone, "compile_s": round(told["compile_s"], 2)}]
