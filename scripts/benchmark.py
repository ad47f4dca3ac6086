#!/usr/bin/env python
"""Measure featx beside the way a tutorial does it: same images, same backbone, same machine, in turn.

    .venv/bin/python scripts/benchmark.py extract                  # 5,000 JPEGs, three rounds
    .venv/bin/python scripts/benchmark.py extract --images 500     # a quick look
    .venv/bin/python scripts/benchmark.py precision                # ELPV: every engine and precision
    .venv/bin/python scripts/benchmark.py views                    # 4 views, 8; runs that are killed
    KERAS_BACKEND=jax .venv/bin/python scripts/benchmark.py gpu    # ResNet50 on this backend's device
    .venv/bin/python scripts/benchmark.py memory                   # peak memory, 1,000 against 20,000 images
    .venv/bin/python scripts/benchmark.py store                    # durable commits, and verifying
    .venv/bin/python scripts/benchmark.py startup                  # featx --help, import featx
    .venv/bin/python scripts/benchmark.py search                   # GridSearchCV beside the head search
    .venv/bin/python scripts/benchmark.py search-memory            # a linear search of 1,000,000 rows
    .venv/bin/python scripts/benchmark.py scale --rows 10000000    # the store and a file of made-up rows
    .venv/bin/python scripts/benchmark.py ray --images 4000        # here, and on Ray on this machine
    .venv/bin/python scripts/benchmark.py audit                    # an audit of 50,000 rows
    .venv/bin/python scripts/benchmark.py rank a.h5 b.h5 ...       # the rank of features beside a search's
    .venv/bin/python scripts/benchmark.py finetune                 # ELPV: frozen, tuned, from a random head
    .venv/bin/python scripts/benchmark.py activations              # ELPV: frozen blocks once, or every epoch
    .venv/bin/python scripts/benchmark.py report                   # a report of 5,000 JPEGs

Runs that are timed against each other are processes of their own that take turns, and medians are compared.
Tables go to the terminal and to cache/reports/.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmark_audit import benchmark_audit
from benchmark_extract import benchmark_extract, extract_panels, make_jpegs
from benchmark_features import (
    N_COMPARED,
    benchmark_gpu,
    benchmark_precision,
    benchmark_views,
    precision_panels,
)
from benchmark_ray import benchmark_ray
from benchmark_report import benchmark_report
from benchmark_scale import benchmark_scale
from benchmark_search import benchmark_rank, benchmark_search, benchmark_search_memory
from benchmark_sides import ROOT, measure, timed
from benchmark_store import benchmark_store
from benchmark_tables import draw_bars, table_lines


def run(script: str, *arguments: Path | str) -> tuple[float, float]:
    """Run a script in a process of its own: wall seconds and peak memory in MB."""
    return timed([sys.executable, "-c", script, *map(str, arguments)])


def benchmark_memory() -> list[dict[str, object]]:
    """Peak memory of an extraction, few images against many; small files, so that it ends today."""
    rows: list[dict[str, object]] = []
    for n_images in (1_000, 20_000):
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            make_jpegs(work / "images", n_images)
            paths = {"source": work / "images", "out": work / "f.h5", "store": work / "store"}
            peak_mb = measure("featx_folder", **paths, input_size=(96, 96)).peak_mb
        more = f"{100 * (peak_mb / float(str(rows[0]['peak_mb'])) - 1):+.1f} %" if rows else ""
        rows.append({"images": n_images, "peak_mb": round(peak_mb, 1), "more": more})
    return rows


def benchmark_startup(n_rounds: int) -> list[dict[str, object]]:
    """CPU seconds of the shortest commands."""
    commands = {"featx --help": ["-m", "featx", "--help"], "import featx": ["-c", "import featx"]}
    rows: list[dict[str, object]] = []
    for name, arguments in commands.items():
        times = []
        for _ in range(max(5, n_rounds)):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        rows.append({"what": name, "cpu_seconds": round(statistics.median(times), 3)})
    return rows


def solar_cells() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ELPV cells: RGB images, labels, and what to stratify by."""
    from elpv_dataset.utils import load_dataset

    images, probability, wafer = load_dataset()
    labels = np.where(probability > 0.5, "defective", "functional")
    strata = np.array([f"{chance:.2f} {kind}" for chance, kind in zip(probability, wafer, strict=True)])
    return np.repeat(images[..., np.newaxis], 3, axis=-1), labels, strata


def benchmark_finetune(n_seeds: int, epochs: int) -> list[dict[str, object]]:
    """On ELPV: the frozen head, fine-tuned from it, and the tutorial's way, from a random head.

    The tutorial's way trains a random softmax layer on frozen features first (Adam, 1e-3), then everything
    that the other side trains, at the same rate, on the same images, with the same epochs and augmentation.
    """
    import keras

    import featx

    images, labels, strata = solar_cells()
    rows: list[dict[str, object]] = []
    for seed in range(n_seeds):
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        parts = featx.holdout_split(labels, strata=strata, random_state=seed)
        (x_train, x_test), (y_train, y_test) = (
            [values[part] for part in parts] for values in (images, labels)
        )
        extractor = featx.FeatureExtractor(input_size=(300, 300))
        classifier = featx.ImageClassifier(extractor, "logistic_regression", random_state=seed, n_jobs=-1)
        classifier.fit(x_train, y_train)
        options: dict[str, Any] = {
            "unfreeze": "last:8",
            "learning_rate": 1e-4,
            "epochs": epochs,
            "patience": None,
            "augmentation": featx.Augmentation("horizontal_and_vertical", rotation_degrees=2, shift=0.02),
            "random_state": seed,
        }
        started = perf_counter()
        tuner = classifier.fine_tune(x_train, y_train, **options)
        probed_s = perf_counter() - started

        started = perf_counter()
        head = keras.Sequential([keras.Input((1280,)), keras.layers.Dense(2, activation="softmax")])
        backbone = featx.load_backbone("efficientnet_lite0", input_size=(300, 300))
        model = featx.attach_head(backbone, head, classifier.classes_)
        first = featx.FineTuner(model, "none", 1e-3, epochs, guard=False, random_state=seed)
        model = first.fit(x_train, y_train).model_
        second = featx.FineTuner(model, guard=False, **options).fit(x_train, y_train)
        random_s = perf_counter() - started

        result = tuner.result_
        kept = result.finetuned if result.kept == "finetuned" else result.frozen
        for name, each, validation, seconds in (
            ("frozen head", tuner.model, result.frozen, 0.0),
            (f"fine-tuned from it, kept: {result.kept}", tuner.model_, kept, probed_s),
            ("from a random head", second.model_, second.result_.finetuned, random_s),
        ):
            rows.append(
                {
                    "seed": seed,
                    "model": name,
                    "validation_accuracy": round(validation.accuracy, 4),
                    **test_scores(each, x_test, y_test),
                    "seconds": round(seconds, 1),
                }
            )
    return rows


def test_scores(model: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy and ROC AUC of a model that tells defective cells from others."""
    from sklearn.metrics import roc_auc_score

    batches = [model.predict_on_batch(images[start : start + 32]) for start in range(0, len(images), 32)]
    probability = np.concatenate(batches)[:, list(model.class_names).index("defective")]
    truth = labels == "defective"
    return {
        "test_accuracy": round(float(np.mean((probability > 0.5) == truth)), 4),
        "test_roc_auc": round(float(roc_auc_score(truth, probability)), 4),
    }


def benchmark_activations() -> list[dict[str, object]]:
    """On ELPV: what it saves to run frozen blocks once, with the last block training."""
    import featx

    images, labels, _ = solar_cells()
    extractor = featx.FeatureExtractor(input_size=(300, 300))
    classifier = featx.ImageClassifier(extractor, "logistic_regression").fit(images, labels)
    rows: list[dict[str, object]] = []
    for is_cached in (True, False):
        started = perf_counter()
        tuner = classifier.fine_tune(images, labels, epochs=5, patience=None, cache_activations=is_cached)
        speeds = tuner.history_["images_per_second"]
        rows.append(
            {
                "activations": "cached" if is_cached else "computed in every epoch",
                # The first epoch compiles.
                "images_per_second": round(statistics.median(speeds[1:]), 1),
                "seconds_of_all": round(perf_counter() - started, 1),
            }
        )
    return rows


def solar_features() -> tuple[np.ndarray, np.ndarray]:
    """Average-pooled features of the ELPV cells at their own size, and labels."""
    import featx

    images, labels, _ = solar_cells()
    features = featx.extract(featx.as_source(images, labels), featx.FeatureExtractor(input_size=(300, 300)))
    return features.X, features.y


#: What is measured, given the command line's options.
MEASURES: dict[str, Callable[[argparse.Namespace], list[dict[str, Any]]]] = {
    "extract": lambda options: benchmark_extract(options.images, options.rounds),
    "gpu": lambda options: benchmark_gpu(options.images, options.rounds),
    "precision": lambda options: benchmark_precision(*solar_cells(), min(options.images, N_COMPARED)),
    "views": lambda options: benchmark_views(min(options.images, 1_000), options.rounds),
    "memory": lambda _: benchmark_memory(),
    "store": lambda options: benchmark_store(min(options.images, 3_000), options.rounds),
    "startup": lambda options: benchmark_startup(options.rounds),
    "search": lambda options: benchmark_search(run, *solar_features(), options.rounds),
    "search-memory": lambda options: benchmark_search_memory(run, options.rows),
    "scale": lambda options: benchmark_scale(options.rows, options.features),
    "ray": lambda options: benchmark_ray(options.images),
    "audit": lambda options: benchmark_audit(run, min(options.rows, 50_000)),
    "rank": lambda options: benchmark_rank(options.files),
    "finetune": lambda options: benchmark_finetune(options.seeds, options.epochs),
    "activations": lambda _: benchmark_activations(),
    "report": lambda options: benchmark_report(options.images),
}


#: What of it is drawn.
CHARTS = {"extract": extract_panels, "precision": precision_panels}


def main() -> None:
    """Parse the command line, measure, print and keep a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=list(MEASURES))
    parser.add_argument("files", type=Path, nargs="*", help="feature files, for rank")
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=64, help="columns, for scale")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()

    reports = ROOT / "cache" / "reports"
    reports.mkdir(parents=True, exist_ok=True)
    rows = MEASURES[options.what](options)
    print(*table_lines(rows), sep="\n")
    path = reports / f"benchmark-{options.what}.json"
    path.write_text(json.dumps({"images": options.images, "rows": rows}, indent=2))
    print(f"wrote {path.relative_to(ROOT)}")
    if options.what in CHARTS:
        chart = path.with_suffix(".png")
        if draw_bars(chart, f"featx benchmark: {options.what}", CHARTS[options.what](rows)):
            print(f"wrote {chart.relative_to(ROOT)}")
        else:
            print('no chart: matplotlib is not installed; run: pip install "featx[report]"')


if __name__ == "__main__":
    main()
