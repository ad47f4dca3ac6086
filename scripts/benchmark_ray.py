"""What a cluster costs where one machine would do: a folder, here and on a Ray cluster of this machine.

Part of scripts/benchmark.py. Every run is the command in a process of its own, with a store of its own. Two
sizes of one folder tell what starting takes from what an image takes. All share the same processors, so
that what Ray itself takes is seen, and nothing of what more machines would bring.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmark_extract import make_jpegs

#: What decides the bits, so that every run gives the same.
OPTIONS = ["--engine", "openvino", "--batch-size", "32"]
SIDES = {
    "here": [],
    "Ray, 1 actor": ["--ray", "--actors", "1"],
    "Ray, 2 actors": ["--ray", "--actors", "2"],
}


def benchmark_ray(n_images: int) -> list[dict[str, Any]]:
    """Seconds from nothing, milliseconds an image, and whether the file is the same."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=".") as name:
        work = Path(name)
        folders = {"few": n_images // 4, "all": n_images}
        for folder, n_some in folders.items():
            make_jpegs(work / folder, n_some)
        reference = ""
        for number, (side, options) in enumerate(SIDES.items()):
            seconds = {}
            for folder in folders:
                store, out = work / f"store {number} {folder}", work / f"{number} {folder}.h5"
                seconds[folder], _ = _extract(work / folder, store, out, options)
            again, told = _extract(work / "all", store, out, options)
            digest = hashlib.sha256(out.read_bytes()).hexdigest()
            reference = reference or digest
            image_ms = 1000 * (seconds["all"] - seconds["few"]) / (folders["all"] - folders["few"])
            first_ms = float(rows[0]["ms_per_image"]) if rows else image_ms
            rows.append(
                {
                    "where": side,
                    "seconds": round(seconds["all"], 1),
                    "start_s": round(seconds["all"] - image_ms * n_images / 1000, 1),
                    "ms_per_image": round(image_ms, 2),
                    "over here, ms": round(image_ms - first_ms, 2),
                    "all cached, s": round(again, 1),
                    "same file": digest == reference and told["n_cached"] == n_images,
                }
            )
    return rows


def _extract(folder: Path, store: Path, out: Path, options: list[str]) -> tuple[float, dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "featx",
        "extract",
        str(folder),
        "--store",
        str(store),
        "--out",
        str(out),
    ]
    started = perf_counter()
    done = subprocess.run([*command, *OPTIONS, *options, "--json"], capture_output=True, check=True)
    return perf_counter() - started, json.loads(done.stdout)
