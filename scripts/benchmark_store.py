"""What it costs never to lose a row: commits with and without what survives a power cut, and verifying.

Part of scripts/benchmark.py.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmark_extract import make_jpegs

import featx

# Of efficientnet_lite0, and shards as full as featx makes them: 5 MB.
N_FEATURES, ROWS_PER_SHARD = 1280, 1024
IMAGES_PER_SECOND = 100
MOST = 0.01


def benchmark_store(n_images: int, n_rounds: int) -> list[dict[str, Any]]:
    """Seconds of commits as a share of embedding at 100 images/s and of a real run, and of verifying."""
    with tempfile.TemporaryDirectory(dir=".") as work:
        commits = _commits(Path(work), n_rounds)
        return [*commits, _real_run(Path(work), n_images), *_verifying(Path(work), n_rounds)]


@contextmanager
def _without_sync() -> Iterator[None]:
    """What a power cut costs everything: no write waits for the disk."""
    sync = os.fsync
    os.fsync = lambda fd: None  # noqa: ARG005 - the signature of fsync
    try:
        yield
    finally:
        os.fsync = sync


def _commit(root: Path, first: int, n_shards: int) -> float:
    """Seconds of committing full shards."""
    shards = featx.FeatureStore(root).open(featx.FeatureExtractor("efficientnet_lite0").fit().spec_)
    spent = 0.0
    for shard in range(first, first + n_shards):
        features = np.random.default_rng(shard).normal(size=(ROWS_PER_SHARD, N_FEATURES)).astype(np.float32)
        names = [hashlib.sha256(f"{shard}-{row}".encode()).hexdigest() for row in range(ROWS_PER_SHARD)]
        started = perf_counter()
        shards.commit(names, features, {})
        spent += perf_counter() - started
    return spent


def _commits(work: Path, n_rounds: int, n_shards: int = 20) -> list[dict[str, Any]]:
    durable, fleeting = [], []
    for number in range(n_rounds):
        durable.append(_commit(work / "durable", number * n_shards, n_shards))
        with _without_sync():
            fleeting.append(_commit(work / "fleeting", number * n_shards, n_shards))
    embedding_s = n_shards * ROWS_PER_SHARD / IMAGES_PER_SECOND

    def row(what: str, seconds: list[float]) -> dict[str, Any]:
        share = statistics.median(seconds) / embedding_s
        return {
            "what": what,
            "ms_per_shard": round(1000 * statistics.median(seconds) / n_shards, 1),
            f"of {IMAGES_PER_SECOND} images/s": f"{share:.2%}",
            "must": f"{MOST:.0%}",
            "verdict": "reached" if share <= MOST else "MISSED",
            "rounds": seconds,
        }

    return [
        row("commit: build, digest, write, sync, rename, sync the folder", durable),
        row("the same without waiting for the disk", fleeting),
        row(
            "what durability adds",
            [max(0.0, one - other) for one, other in zip(durable, fleeting, strict=True)],
        ),
    ]


def _real_run(work: Path, n_images: int) -> dict[str, Any]:
    make_jpegs(work / "images", n_images)
    report = featx.extract(work / "images", store=work / "real").report
    share = report.stages["write"] / report.seconds
    return {
        "what": f"an extraction of {n_images:,} JPEGs at {report.images_per_second:.0f} images/s",
        "ms_per_shard": round(1000 * report.stages["write"] / -(-n_images // ROWS_PER_SHARD), 1),
        f"of {IMAGES_PER_SECOND} images/s": f"{share:.2%} of this run",
        "must": f"{MOST:.0%}",
        "verdict": "reached" if share <= MOST else "MISSED",
    }


def _verifying(work: Path, n_rounds: int) -> list[dict[str, Any]]:
    store = featx.FeatureStore(work / "durable")
    files = sorted(store.directory.glob("*/*.h5"))
    n_bytes = sum(path.stat().st_size for path in files)
    ways: dict[str, Callable[[], object]] = {
        "read every shard, from the disk's cache": lambda: [path.read_bytes() for path in files],
        "read, and take the SHA-256": lambda: [hashlib.sha256(path.read_bytes()) for path in files],
        "read past the cache": lambda: sum(map(_read_direct, files)),
        "featx store verify": store.verify,
    }
    rows = []
    for what, way in ways.items():
        seconds = []
        for _ in range(n_rounds):
            started = perf_counter()
            way()
            seconds.append(perf_counter() - started)
        rows.append(
            {
                "reading": what,
                "seconds": round(statistics.median(seconds), 3),
                "mb_per_second": round(n_bytes / 1e6 / statistics.median(seconds)),
                "rounds": seconds,
            }
        )
    return rows


def _read_direct(path: Path) -> int:
    """Bytes of a file, read from the disk itself: no copy that the system kept is taken."""
    # Such reads want memory that begins with a page, as a map of none does.
    buffer = mmap.mmap(-1, 8 * 2**20)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
    n_bytes = 0
    while n_read := os.readv(descriptor, [buffer]):
        n_bytes += n_read
    os.close(descriptor)
    return n_bytes
