"""The store and the feature file of ten million made-up rows: seconds and peak memory, step by step.

Part of scripts/benchmark.py. Each step is a process of its own, ``python benchmark_scale.py STEP ARGUMENTS
RESULT``, so that its peak is its own. Rows are made: their digests are SHA-256 of their numbers, their
features two blocks of columns around the centre of one of ten classes. Nothing is left on the disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmark_sides import own_peak_mb, timed

import featx

ROWS_PER_SHARD, N_CLASSES, N_SAMPLED = 1024, 10, 100_000
#: What a store and two feature files take of the disk, beside the features themselves.
BYTES_A_ROW = 400


class Work:
    """What a step is given: where files lie, and how many rows and columns there are."""

    def __init__(self, folder: str, n_rows: int, n_features: int) -> None:
        self.folder = Path(folder)
        self.n_rows = n_rows
        self.n_features = n_features

    @property
    def spec(self) -> featx.ExtractionSpec:
        """Of two taps that share the columns."""
        spec = featx.FeatureExtractor("efficientnet_lite0").fit().spec_
        first = self.n_features // 2
        blocks = (("inner:avg", first), ("top:avg", self.n_features - first))
        return dataclasses.replace(spec, taps=("inner", "top"), feature_blocks=blocks)

    @property
    def store(self) -> featx.FeatureStore:
        """Of all rows."""
        return featx.FeatureStore(self.folder / "store")

    @property
    def file(self) -> Path:
        """Of all rows and columns."""
        return self.folder / "features.h5"

    def parts(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """A shard's rows: the first one's number, labels, and features that a linear head can tell apart."""
        centres = np.random.default_rng(0).normal(size=(N_CLASSES, self.n_features)).astype(np.float32)
        for start in range(0, self.n_rows, ROWS_PER_SHARD):
            random = np.random.default_rng(start + 1)
            y = random.integers(0, N_CLASSES, min(ROWS_PER_SHARD, self.n_rows - start))
            noise = random.standard_normal((len(y), self.n_features), np.float32)
            yield start, y, 0.3 * centres[y] + noise

    def digests(self, start: int = 0, stop: int | None = None) -> list[str]:
        """Of rows, by their numbers."""
        numbers = range(start, self.n_rows if stop is None else stop)
        return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]

    def read(self, digests: list[str]) -> float:
        """Seconds to open the store's index for some rows and read them in blocks."""
        shards = self.store.open(self.spec)
        started = perf_counter()
        read = shards.reader(digests)
        for start in range(0, len(digests), 16 * ROWS_PER_SHARD):
            read(start, min(start + 16 * ROWS_PER_SHARD, len(digests)))
        return perf_counter() - started


def commit(work: Work) -> dict[str, Any]:
    """Write the store, shard by shard."""
    shards = work.store.open(work.spec)
    seconds = 0.0
    for start, y, features in work.parts():
        digests = work.digests(start, start + len(y))
        started = perf_counter()
        shards.commit(digests, features, {})
        seconds += perf_counter() - started
    n_bytes = sum(path.stat().st_size for path in shards.directory.iterdir())
    return {"seconds": seconds, "note": f"{len(shards.names):,} shards, {n_bytes / 1e9:.2f} GB"}


def open_store(work: Work) -> dict[str, Any]:
    """Check every byte, and know every row."""
    spec = work.spec
    started = perf_counter()
    shards = work.store.open(spec)
    return {"seconds": perf_counter() - started, "note": f"{len(shards):,} rows"}


def read_in_order(work: Work) -> dict[str, Any]:
    """Look every row up and read it, as the shards have them."""
    return {"seconds": work.read(work.digests())}


def read_scattered(work: Work) -> dict[str, Any]:
    """Look every row up and read it, in an order of its own."""
    digests = work.digests()
    np.random.default_rng(0).shuffle(digests)
    return {"seconds": work.read(digests)}


def save(work: Work) -> dict[str, Any]:
    """Put features in memory, labels and names into one file."""
    X, y = np.empty((work.n_rows, work.n_features), np.float32), np.empty(work.n_rows, np.int64)
    for start, labels, features in work.parts():
        X[start : start + len(labels)] = features
        y[start : start + len(labels)] = labels
    names = [f"class_{label}/{row:08d}.jpg" for row, label in enumerate(y.tolist())]
    digests, spec = work.digests(), work.spec
    started = perf_counter()
    features = featx.FeatureSet(X, y, sample_ids=names, groups=digests, image_sha256=digests, spec=spec)
    features.save(work.file)
    seconds = perf_counter() - started
    n_bytes = work.file.stat().st_size
    return {"seconds": seconds, "note": f"{n_bytes / 1e9:.2f} GB, of it features {X.nbytes / 1e9:.2f}"}


def load(work: Work) -> dict[str, Any]:
    """Open the file: everything but the features."""
    started = perf_counter()
    features = featx.FeatureSet.load(work.file)
    return {"seconds": perf_counter() - started, "note": f"{len(features):,} rows"}


def select(work: Work) -> dict[str, Any]:
    """Open the file, take one of its two blocks of columns, and save that."""
    started = perf_counter()
    features = featx.FeatureSet.load(work.file).select(["top"])
    features.save(work.folder / "selected.h5")
    return {
        "seconds": perf_counter() - started,
        "note": f"{features.n_features} of {work.n_features} columns",
    }


def search(work: Work) -> dict[str, Any]:
    """Open the file, search logistic regression on a sample of its rows, and test it on another."""
    started = perf_counter()
    features = featx.FeatureSet.load(work.file)
    n_drawn = min(2 * N_SAMPLED, work.n_rows)
    drawn = np.random.default_rng(0).choice(work.n_rows, n_drawn, replace=False)
    sample = features.take(drawn)
    drawn_s = perf_counter() - started
    train, test = np.array_split(np.arange(n_drawn), 2)
    head = featx.HeadSearch("logistic_regression", cv=3, n_jobs=2, random_state=0)
    head.fit(sample.X[train], sample.y[train], groups=np.array(sample.groups)[train])
    accuracy = float(np.mean(head.predict(sample.X[test]) == sample.y[test]))
    note = f"{drawn_s:.1f} s to draw; {len(train):,} rows, accuracy {accuracy:.3f} on as many others"
    return {"seconds": perf_counter() - started, "note": note}


def store_list(work: Work) -> dict[str, Any]:
    """What featx store list does."""
    started = perf_counter()
    (entry,) = work.store.entries()
    return {"seconds": perf_counter() - started, "note": f"{entry.n_shards:,} shards"}


def store_verify(work: Work) -> dict[str, Any]:
    """What featx store verify does."""
    started = perf_counter()
    (check,) = work.store.verify()
    note = f"{check.n_bytes / 1e6 / (perf_counter() - started):,.0f} MB/s, {len(check.damaged)} damaged"
    return {"seconds": perf_counter() - started, "note": note}


STEPS: dict[str, Callable[[Work], dict[str, Any]]] = {
    "commit": commit,
    "open": open_store,
    "read in order": read_in_order,
    "read scattered": read_scattered,
    "store list": store_list,
    "store verify": store_verify,
    "save a feature file": save,
    "load it": load,
    "select half, save": select,
    "search a sample": search,
}


def benchmark_scale(n_rows: int, n_features: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of each step, in a folder that is deleted at the end."""
    rows = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        needed = n_rows * (3 * 4 * n_features + BYTES_A_ROW)
        if shutil.disk_usage(folder).free < needed:
            raise SystemExit(
                f"{needed / 1e9:.1f} GB of disk are needed here; take fewer --rows or --features"
            )
        arguments = {"folder": folder, "n_rows": n_rows, "n_features": n_features}
        out = Path(folder) / "result.json"
        for step in STEPS:
            timed([sys.executable, __file__, step, json.dumps(arguments), str(out)])
            told = json.loads(out.read_text())
            row = {
                "step": step,
                "seconds": round(told["seconds"], 2),
                "us_a_row": round(1e6 * told["seconds"] / n_rows, 2),
                "peak_mb": round(told["peak_mb"]),
                "note": told.get("note", ""),
            }
            print(row, file=sys.stderr)
            rows.append(row)
    return rows


def main(step: str, arguments: str, out: str) -> None:
    """One step, in this process."""
    told = STEPS[step](Work(**json.loads(arguments)))
    Path(out).write_text(json.dumps({**told, "peak_mb": own_peak_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
