"""Extraction beside the ways it replaces: the tutorial's, a torch loop, plain Pillow, the engine alone.

Part of scripts/benchmark.py. Every side is a process of its own (`benchmark_sides`), the sides of a row take
turns, and medians are compared. Images are crops of two real photographs, all distinct.
"""

from __future__ import annotations

import importlib.util
import shutil
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_sides import BACKBONES, BATCH_SIZE, TAPS, Measured, measure
from benchmark_tables import Goal, compared
from PIL import Image
from sklearn.datasets import load_sample_images

import featx

JPEG_SIZE = (500, 375)
PHOTO_SIZE = (4000, 3000)
#: Each photo stands this often in its folder, under other bytes and with the same pixels.
PHOTO_COPIES = 4
#: The precisions of the tables, with the goals of the first run against the tutorial's way.
FIRST_RUN = {"float32": Goal(1.5, 2.0), "bfloat16": Goal(2.5, 3.0)}

Rows = list[dict[str, Any]]


def make_jpegs(folder: Path, n_images: int, *, first: int = 0) -> None:
    """Distinct JPEGs in two class folders: crops of two real photographs, resized."""
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for index in range(first, first + n_images):
        rng = np.random.default_rng(index)
        left, top = rng.integers(0, 200), rng.integers(0, 120)
        box = (int(left), int(top), int(left + rng.integers(250, 440)), int(top + rng.integers(190, 300)))
        target = folder / str(index % 2) / f"{index:06d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        photos[index % 2].crop(box).resize(JPEG_SIZE).save(target, quality=90)


def make_photos(folder: Path, n_photos: int) -> None:
    """Photos of 12 megapixels: the two photographs enlarged, with a sensor's noise, 2 to 4 MB each.

    A copy of a photo has a comment more: another file to featx, and as much to decode.
    """
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for index in range(n_photos):
        rng = np.random.default_rng(index)
        left, top = (int(edge) for edge in rng.integers(0, (160, 107)))
        large = photos[index % 2].crop((left, top, left + 480, top + 320)).resize(PHOTO_SIZE)
        noise = rng.normal(0, 6, (PHOTO_SIZE[1], PHOTO_SIZE[0], 1)).astype(np.float32)
        pixels = np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)
        for copy in range(PHOTO_COPIES):
            target = folder / str(index % 2) / f"{index:04d}-{copy}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            if copy == 0:
                Image.fromarray(pixels).save(target, quality=90)
                content = target.read_bytes()
            else:
                comment = b"\xff\xfe" + (3).to_bytes(2, "big") + bytes([copy])
                target.write_bytes(content[:2] + comment + content[2:])


def precisions() -> tuple[str, ...]:
    """float32, and what ``precision="auto"`` is on this machine where that is another."""
    chosen = featx.FeatureExtractor(precision="auto").fit().spec_.precision
    return tuple(dict.fromkeys(("float32", chosen)))


def best_engine() -> str:
    """The installed engine that is likely the fastest; it has to be one for the sides of a row."""
    return next(
        (engine for engine in ("openvino", "onnx") if importlib.util.find_spec(PACKAGES[engine])), "keras"
    )


PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}
SUFFIXES = {"openvino": "xml", "onnx": "onnx", "keras": "keras"}


def benchmark_extract(n_images: int, n_rounds: int) -> Rows:
    """All rows: folders, arrays, large photos, taps, and the engines' forward passes alone."""
    chosen = precisions()
    rows: Rows = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows += folder_rows(work, n_images, n_rounds, chosen)
        shutil.rmtree(work / "images")
        shutil.rmtree(work / "others")
        for network in BACKBONES:
            measure("convert", folder=work, network=network)
        # Whole batches: the forward alone takes no others.
        n_arrays = -(-min(n_images, 4_096) // BATCH_SIZE) * BATCH_SIZE
        rows += pipeline_rows(work, n_arrays, n_rounds, chosen)
        rows += photo_rows(work, max(2, n_images // 125), n_rounds, chosen)
        rows += taps_rows(work, min(n_images, 1_024), n_rounds)
        rows += engine_rows(work, n_images, n_rounds)
    return rows


# ------------------------------------------------------------------------------------------- folders


def folder_rows(work: Path, n_images: int, n_rounds: int, chosen: tuple[str, ...]) -> Rows:
    """A folder of JPEGs to a feature file, from nothing and again; each process from start to end."""
    make_jpegs(work / "images", n_images)
    make_jpegs(work / "others", n_images, first=n_images)
    has_torch = importlib.util.find_spec("torch") is not None
    found: dict[str, list[Measured]] = defaultdict(list)
    for _ in range(n_rounds):
        found["tutorial"].append(measure("tutorial", folder=work / "images", out=work / "tutorial.npy"))
        for precision in chosen:
            _folder_round(work, n_images, precision, found)
        if has_torch:
            found["torch"].append(measure("torch_loop", folder=work / "images", out=work / "torch.npy"))
    return _folder_table(found, n_images, chosen, has_torch=has_torch)


def _folder_round(work: Path, n_images: int, precision: str, found: dict[str, list[Measured]]) -> None:
    """One fresh store: all images, the same again, one in a hundred new, a folder of others."""
    store = work / "store"

    def extracted(folder: str) -> Measured:
        paths = {"source": work / folder, "out": work / "f.h5", "store": store}
        # The default is asked for by name alone, which spares the process scikit-learn.
        params = {} if precision == "float32" else {"precision": precision}
        return measure("featx_folder", **paths, **params)

    found[f"first {precision}"].append(extracted("images"))
    found[f"cached {precision}"].append(extracted("images"))
    n_new, first = max(1, n_images // 100), 2 * n_images
    make_jpegs(work / "images", n_new, first=first)
    found[f"new {precision}"].append(extracted("images"))
    for index in range(first, first + n_new):
        (work / "images" / str(index % 2) / f"{index:06d}.jpg").unlink()
    found[f"others {precision}"].append(extracted("others"))
    shutil.rmtree(store)


def _folder_table(
    found: dict[str, list[Measured]], n_images: int, chosen: tuple[str, ...], *, has_torch: bool
) -> Rows:
    def row(what: str, side: str, against: str = "", goal: Goal | None = None) -> dict[str, Any]:
        runs, theirs = found[side], found.get(against, [])
        return compared(
            what,
            [run.seconds for run in runs],
            n_images,
            against=against,
            against_seconds=[run.seconds for run in theirs],
            goal=goal,
            peak_mb=round(statistics.median(run.peak_mb for run in runs)),
            **told(runs[-1].result),
        )

    rows = [row("folder to feature file, the tutorial's way", "tutorial")]
    missing = {"what": "folder to array, torch's DataLoader", "skipped": "torch is not installed"}
    rows.append(row(missing["what"], "torch", "tutorial") if has_torch else missing)
    for precision, goal in FIRST_RUN.items():
        if precision not in chosen:
            skipped = f"precision='auto' is {chosen[-1]} on this machine"
            rows.append({"what": f"folder to feature file, featx {precision}", "skipped": skipped})
            continue
        rows += [
            row(f"folder to feature file, featx {precision}", f"first {precision}", "tutorial", goal),
            row(f"another folder, same store, {precision} (no goal)", f"others {precision}", "tutorial"),
            row(f"all cached, {precision}", f"cached {precision}", f"first {precision}", Goal(50, 200)),
            row(
                f"1 % new images, {precision}",
                f"new {precision}",
                f"first {precision}",
                Goal(0.03, 0.012, is_most=True),
            ),
        ]
    return rows


def told(report: dict[str, Any]) -> dict[str, Any]:
    """Of an extraction's report: which engine it was, where the time went, whether Keras was loaded."""
    if not report:
        return {}
    engine = report.get("engine") or {}
    columns: dict[str, Any] = {"engine": engine.get("name", "none")}
    if engine.get("float32_share"):
        columns["float32_share"] = engine["float32_share"]
    if "keras_loaded" in report:
        columns["keras_loaded"] = report["keras_loaded"]
    return {**columns, "stages": report["stages"], "engine_report": engine}


# ------------------------------------------------------------------------- arrays, photos, taps, engines


def pipeline_rows(work: Path, n_images: int, n_rounds: int, chosen: tuple[str, ...]) -> Rows:
    """Arrays at the input size, with an engine that is there already, against its forward alone.

    Comparing precisions is a second pass over a sample of the images, by Keras: the row leaves it out, and
    says how long it took.
    """
    rows = []
    for precision in chosen:
        store = work / f"arrays-{precision}"
        engine = measure("warm", store=store, n_images=n_images, precision=precision).result["engine"]
        model = work / f"efficientnet_lite0.{SUFFIXES[engine['name']]}"
        sides = {"store": store, "model": model, "n_images": n_images, "precision": precision}
        sides["share"] = engine["float32_share"]
        runs = [measure("pipeline", **sides, seed=2 + round_) for round_ in range(n_rounds)]
        results = [run.result for run in runs]
        rows.append(
            compared(
                f"arrays in memory, {precision}",
                [each["featx_s"] - each["stages"]["compare"] for each in results],
                n_images,
                against="forward alone",
                against_seconds=[each["alone_s"] for each in results],
                goal=Goal(0.9, 0.97),
                peak_mb=round(statistics.median(run.peak_mb for run in runs)),
                comparing_s=round(statistics.median(each["stages"]["compare"] for each in results), 2),
                **told(results[-1]),
            )
        )
    return rows


def photo_rows(work: Path, n_photos: int, n_rounds: int, chosen: tuple[str, ...]) -> Rows:
    """Photos of 12 megapixels: from the call to the features, imports and comparing left out."""
    make_photos(work / "photos", n_photos)
    found: dict[str, list[Measured]] = defaultdict(list)
    shares = {}
    for precision in chosen:
        params = {"engine": best_engine(), "precision": precision}
        warmed = measure("warm", store=work / f"photos-{precision}", n_images=32, **params)
        shares[precision] = warmed.result["engine"]["float32_share"]
    for round_ in range(n_rounds):
        for precision in chosen:
            params = {"engine": best_engine(), "precision": precision}
            model = work / f"efficientnet_lite0.{SUFFIXES[best_engine()]}"
            sides = {"folder": work / "photos", "model": model, "precision": precision}
            sides["share"] = shares[precision]
            found[f"Pillow {precision}"].append(measure("photos_pillow", **sides))
            # A store of its own for each round, with the engine that was chosen beforehand.
            store = work / f"photos-{precision}-{round_}"
            shutil.copytree(work / f"photos-{precision}", store)
            sides = {"folder": work / "photos", "store": store, **params}
            found[f"featx {precision}"].append(measure("photos_featx", **sides))
            shutil.rmtree(store)
    return [row for precision in chosen for row in _photo_table(found, precision)]


def _photo_table(found: dict[str, list[Measured]], precision: str) -> Rows:
    pillow, ours = (found[f"{side} {precision}"] for side in ("Pillow", "featx"))
    n_images = ours[0].result["rows"]
    theirs = [run.result["work_s"] for run in pillow]
    return [
        compared(
            f"12-megapixel photos, Pillow, {precision}",
            theirs,
            n_images,
            peak_mb=round(statistics.median(run.peak_mb for run in pillow)),
        ),
        compared(
            f"12-megapixel photos, featx {precision}",
            [run.result["work_s"] - run.result["stages"]["compare"] for run in ours],
            n_images,
            against="Pillow, same engine",
            against_seconds=theirs,
            goal=Goal(4, 8),
            peak_mb=round(statistics.median(run.peak_mb for run in ours)),
            comparing_s=round(statistics.median(run.result["stages"]["compare"] for run in ours), 2),
            **told(ours[-1].result),
        ),
    ]


def taps_rows(work: Path, n_images: int, n_rounds: int) -> Rows:
    """One pass of four taps and two poolings against the plain pass."""
    store, engine = work / "taps", best_engine()
    measure("warm", store=store, n_images=32, engine=engine)
    measure("warm", store=store, n_images=32, engine=engine, taps=TAPS, pooling="avg+max")
    sides = {"store": store, "n_images": n_images, "engine": engine}
    runs = [measure("taps", **sides, seed=2 + round_) for round_ in range(n_rounds)]
    return [
        compared(
            f"{len(TAPS)} taps x 2 poolings, {runs[0].result['n_features']:,} columns",
            [run.result["tapped_s"] for run in runs],
            n_images,
            against="plain pass",
            against_seconds=[run.result["plain_s"] for run in runs],
            goal=Goal(1.15, 1.05, is_most=True),
            engine=engine,
        )
    ]


def engine_rows(work: Path, n_images: int, n_rounds: int) -> Rows:
    """Forward passes alone, batch 32, of both networks: Keras as it is, folded, and converted."""
    rows = []
    for network, n_most in (("efficientnet_lite0", 512), ("ResNet50", 64)):
        sides: dict[str, tuple[Any, str]] = {
            "keras model.predict, not folded": (network, "float32"),
            "keras predict_on_batch, folded": (work / f"{network}.keras", "float32"),
        }
        for engine in ("onnx", "openvino"):
            if importlib.util.find_spec(PACKAGES[engine]):
                sides[f"{engine} float32"] = (work / f"{network}.{SUFFIXES[engine]}", "float32")
        if "openvino float32" in sides and "bfloat16" in precisions():
            sides["openvino bfloat16"] = (work / f"{network}.xml", "bfloat16")
        found: dict[str, list[Measured]] = defaultdict(list)
        for _ in range(n_rounds):
            for name, (model, precision) in sides.items():
                each = {"model": model, "precision": precision, "n_images": min(n_images, n_most)}
                found[name].append(measure("engine_speed", **each))
        rows += [_engine_row(network, name, runs) for name, runs in found.items()]
    return rows


def _engine_row(network: str, name: str, runs: list[Measured]) -> dict[str, Any]:
    speeds = [run.result["images_per_second"] for run in runs]
    return {
        "what": f"{network} forward alone, {name}",
        "images_per_second": round(statistics.median(speeds), 1),
        "peak_mb": round(statistics.median(run.peak_mb for run in runs)),
        "rounds_images_per_second": [round(speed, 1) for speed in speeds],
    }


def extract_panels(rows: Rows) -> dict[str, list[tuple[str, float, str]]]:
    """The chart's bars: images a second of folders and arrays, of large photos, and of the engines."""
    panels: dict[str, list[tuple[str, float, str]]] = {}
    headings = {
        "12-megapixel": "12-megapixel photos, images/s",
        "forward alone": "forward pass alone, batch 32, images/s",
    }
    for row in rows:
        if "skipped" in row or row["what"].startswith(("all cached", "1 %", "4 taps")):
            continue
        heading = next((text for key, text in headings.items() if key in row["what"]), "224 px, images/s")
        behind = f"  ({row['ratio']} {row['against']})" if "ratio" in row else ""
        panels.setdefault(heading, []).append((row["what"], row["images_per_second"], behind))
    return panels
