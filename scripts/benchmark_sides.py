"""What is timed for extraction, each in a process of its own: featx and the ways it is measured against.

Part of scripts/benchmark.py. A side is a function of this module; `measure` runs one as
``python benchmark_sides.py NAME ARGUMENTS RESULT``, where the arguments are JSON and what the function gives
is written to RESULT as JSON. Sides that are rivals use public packages alone, as a user would.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SIZE = (224, 224)
BATCH_SIZE = 32
#: ResNet50 has no weights offline; for its speed random ones do.
RESNET: dict[str, Any] = {"backbone": "ResNet50", "weights": None}
#: The networks of the engines' table.
BACKBONES: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {"backbone": "efficientnet_lite0"},
    "ResNet50": RESNET,
}
#: Four layers of efficientnet_lite0, from a quarter of the network on.
TAPS = ("block_4", "block_10", "block_14", "top")


class Measured(NamedTuple):
    """A process of its own: wall seconds, peak memory and what it told."""

    seconds: float
    peak_mb: float
    result: dict[str, Any]


def timed(command: list[str]) -> tuple[float, float]:
    """Run a command to its end: wall seconds and peak memory in MB."""
    # OpenVINO's converter reports its use over the network unless it takes itself to be in a test.
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "FEATX_CACHE": str(ROOT / "cache"), "CI": "true"}
    with tempfile.TemporaryFile() as errors:
        started = perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **quiet}, stderr=errors)
        # wait4 tells of this child alone; getrusage would tell of the largest so far.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace")[-2_000:]
            raise SystemExit(f"{' '.join(command)[:300]} failed with {process.returncode}:\n{said}")
    return seconds, usage.ru_maxrss / 1024


def command_of(side: str, result: Path, /, **arguments: Any) -> list[str]:
    """The command that runs a side and writes what it tells to ``result``."""
    return [sys.executable, __file__, side, json.dumps(arguments, default=str), str(result)]


def measure(side: str, /, **arguments: Any) -> Measured:
    """Run a side in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        seconds, peak_mb = timed(command_of(side, out, **arguments))
        told = json.loads(out.read_text())
        peak_mb = told.pop("peak_mb") or peak_mb
        print(f"{side}: {seconds:.1f} s, {peak_mb:,.0f} MB", file=sys.stderr)
        return Measured(seconds, peak_mb, told)


# ----------------------------------------------------------------------------- folder to feature file


def tutorial(folder: str, out: str) -> dict[str, Any]:
    """The tutorial's way, with the same network and preprocessing: uint8 in, pooled features out."""
    import keras

    import featx

    model = featx.load_backbone("efficientnet_lite0").model
    dataset = keras.utils.image_dataset_from_directory(
        folder, image_size=SIZE, batch_size=BATCH_SIZE, shuffle=False, verbose=False
    )
    np.save(out, model.predict(dataset.map(lambda images, _: images), verbose=0))
    return {}


def torch_loop(folder: str, out: str) -> dict[str, Any]:
    """A plain loop over torch's DataLoader; Keras runs the same network on its torch backend."""
    os.environ["KERAS_BACKEND"] = "torch"
    import torch
    from PIL import Image

    import featx

    paths = sorted(Path(folder).glob("*/*.jpg"))

    class Images:
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> Any:
            image = Image.open(paths[index]).convert("RGB").resize(SIZE, Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(image))

    model = featx.load_backbone("efficientnet_lite0").model
    loader = torch.utils.data.DataLoader(Images(), batch_size=BATCH_SIZE, num_workers=2)
    with torch.inference_mode():
        features = [model(batch, training=False).numpy() for batch in loader]
    np.save(out, np.concatenate(features))
    return {}


def featx_folder(source: str, out: str, store: str, **params: Any) -> dict[str, Any]:
    """featx: a folder to a feature file, by a store."""
    import featx

    extractor = featx.FeatureExtractor(**params) if params else "efficientnet_lite0"
    features = featx.extract(source, extractor, store=store)
    features.save(out)
    return {**features.report.to_dict(), "keras_loaded": "keras" in sys.modules}


# -------------------------------------------------------------------------------------- large photos


def photos_featx(folder: str, store: str, **params: Any) -> dict[str, Any]:
    """Large photos by featx, with an engine that is there already: from the call to the features."""
    import featx

    started = perf_counter()
    features = featx.extract(folder, featx.FeatureExtractor(**params), store=store)
    rows = features.X.shape
    return {"work_s": perf_counter() - started, "rows": rows[0], **features.report.to_dict()}


def photos_pillow(folder: str, model: str, precision: str, share: float) -> dict[str, Any]:
    """Pillow's plain open and resize in a thread for each processor, ahead of the same engine."""
    from PIL import Image

    def load(path: Path) -> np.ndarray:
        return np.asarray(Image.open(path).convert("RGB").resize(SIZE, Image.Resampling.BILINEAR))

    paths = sorted(Path(folder).glob("*/*.jpg"))
    started = perf_counter()
    with ThreadPoolExecutor(n_cpus()) as pool:
        images = pool.map(load, paths)
        forward = forward_of(model, precision, share)
        features = [forward(batch) for batch in _batches(images)]
    n_rows = sum(map(len, features))
    return {"work_s": perf_counter() - started, "rows": n_rows}


def _batches(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch + [batch[-1]] * (BATCH_SIZE - len(batch)))


# -------------------------------------------------------------------------------------- forward alone


def n_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def convert(folder: str, network: str) -> dict[str, Any]:
    """A network, its batch normalisation folded, as files for each engine that is installed."""
    import keras

    import featx

    model = featx.load_backbone(input_size=SIZE, **BACKBONES[network]).folded
    signature = [keras.InputSpec(shape=(None, *SIZE, 3), dtype="uint8", name="inputs")]
    model.save(Path(folder) / f"{network}.keras")
    for engine, package, suffix in (("onnx", "onnxruntime", "onnx"), ("openvino", "openvino", "xml")):
        if importlib.util.find_spec(package):
            path = Path(folder) / f"{network}.{suffix}"
            model.export(str(path), format=engine, verbose=False, input_signature=signature)
    return {}


def forward_of(model: str, precision: str = "float32", share: float = 0.0) -> Callable[[np.ndarray], Any]:
    """The forward pass alone of a converted model, from a full batch to features, by a public package.

    Parameters
    ----------
    model : str
        A ``.keras``, ``.onnx`` or ``.xml`` file; or a network's name, for Keras's model as it is.
    precision : str, default="float32"
    share : float, default=0.0
        Of the network, from the input on, that keeps float32 in another precision, as featx reports it.
    """
    if model.endswith(".onnx"):
        session = importlib.import_module("onnxruntime").InferenceSession(model)
        name = session.get_inputs()[0].name
        return lambda batch: session.run(None, {name: batch})[0]
    if model.endswith(".xml"):
        return _openvino_forward(Path(model), precision, share)
    import keras

    import featx

    if model.endswith(".keras"):
        return keras.models.load_model(model, compile=False).predict_on_batch  # type: ignore[no-any-return]
    plain = featx.load_backbone(input_size=SIZE, **BACKBONES[model]).model
    return lambda batch: plain.predict(batch, verbose=0)


def _openvino_forward(model: Path, precision: str, share: float) -> Callable[[np.ndarray], Any]:
    core = importlib.import_module("openvino").Core()
    read = core.read_model(
        _keeping_float32(model.read_bytes(), share), model.with_suffix(".bin").read_bytes()
    )
    read.reshape([BATCH_SIZE, *SIZE, 3])
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(read, "CPU", {**options, "INFERENCE_NUM_THREADS": n_cpus()})
    return lambda batch: np.array(compiled(batch)[0])


def _keeping_float32(graph: bytes, share: float) -> bytes:
    """OpenVINO's graph, its first operations marked to keep float32, as OpenVINO itself marks them."""
    root = ET.fromstring(graph)  # noqa: S314 - written a moment ago
    layers = root.findall("./layers/layer")
    products = np.cumsum(
        [layer.get("type") in {"Convolution", "GroupConvolution", "MatMul"} for layer in layers]
    )
    for layer, n_seen in zip(layers, products, strict=True):
        if layer.get("type") != "Const" and n_seen <= round(share * products[-1]) and share:
            attributes = {"name": "precise", "version": "0"}
            ET.SubElement(ET.SubElement(layer, "rt_info"), "attribute", attributes)
    return ET.tostring(root)


def photo_crops(n_images: int, seed: int = 0) -> np.ndarray:
    """Distinct parts of two real photographs at the input size, uint8 (n_images, height, width, 3)."""
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    rng = np.random.default_rng(seed)
    crops = np.empty((n_images, *SIZE, 3), np.uint8)
    for index in range(n_images):
        photo = photos[index % 2]
        top, left = (
            int(rng.integers(0, side - least)) for side, least in zip(photo.shape, SIZE, strict=False)
        )
        crops[index] = photo[top : top + SIZE[0], left : left + SIZE[1]]
        # Two crops may fall on one place, and equal images would be embedded once.
        mark = np.array([seed, index], "<u4").view(np.uint8)
        crops[index, 0, : len(mark), 0] = mark
    return crops


def engine_speed(model: str, precision: str, n_images: int) -> dict[str, Any]:
    """Images a second of a forward pass alone, in batches of 32, once it is warm."""
    images = photo_crops(BATCH_SIZE)
    forward = forward_of(model, precision)
    forward(images)
    forward(images)
    n_batches = max(2, -(-n_images // BATCH_SIZE))
    if model in BACKBONES:
        # `predict` over all of them: a call for each batch would pay for starting it every time.
        images = np.concatenate([images] * n_batches)
        started = perf_counter()
        forward(images)
    else:
        started = perf_counter()
        for _ in range(n_batches):
            forward(images)
    return {"images_per_second": n_batches * BATCH_SIZE / (perf_counter() - started)}


# ------------------------------------------------------------------------------- arrays at input size


def warm(store: str, n_images: int, **params: Any) -> dict[str, Any]:
    """Extract images once, so that a store holds the engine's choice and its converted model."""
    import featx

    images = photo_crops(n_images, seed=1)
    features = featx.extract(images, featx.FeatureExtractor(**params), store=store)
    return dict(features.report.to_dict())


def pipeline(
    store: str, model: str, precision: str, share: float, *, n_images: int, seed: int
) -> dict[str, Any]:
    """Images in memory by featx, and the chosen engine's forward alone on them, in one process.

    Half of the forward alone comes before featx and half after, so that a machine that slows down or speeds
    up meets both alike.
    """
    import featx

    images = photo_crops(n_images, seed)
    forward = forward_of(model, precision, share)
    forward(images[:BATCH_SIZE])
    batches = [images[start : start + BATCH_SIZE] for start in range(0, n_images, BATCH_SIZE)]
    half = len(batches) // 2
    alone_s = _forward_s(forward, batches[:half])
    started = perf_counter()
    features = featx.extract(images, featx.FeatureExtractor(precision=precision), store=store)
    featx_s = perf_counter() - started
    alone_s += _forward_s(forward, batches[half:])
    return {"featx_s": featx_s, "alone_s": alone_s, **features.report.to_dict()}


def _forward_s(forward: Callable[[np.ndarray], Any], batches: list[np.ndarray]) -> float:
    started = perf_counter()
    for batch in batches:
        forward(batch)
    return perf_counter() - started


def taps(store: str, n_images: int, seed: int, engine: str) -> dict[str, Any]:
    """The plain pass beside one of four taps, average- and max-pooled, by turns in one process."""
    import featx

    plain = featx.FeatureExtractor(engine=engine)
    tapped = featx.FeatureExtractor(engine=engine, taps=TAPS, pooling="avg+max")
    images = photo_crops(n_images, seed)
    found: dict[str, float] = {}
    # Each goes first every other time.
    sides = {"plain_s": plain, "tapped_s": tapped}
    for name in sorted(sides, reverse=bool(seed % 2)):
        started = perf_counter()
        features = featx.extract(images, sides[name], store=store)
        found[name] = perf_counter() - started
        if features.report.n_computed != n_images:
            raise SystemExit("the store had some of these images: this is no measurement")
    return {**found, "n_features": features.n_features}


# ------------------------------------------------------------------------------------------ solar cells


def cells(images: str, chosen: list[int], out: str, store: str, **params: Any) -> dict[str, Any]:
    """Embed some of the solar cells; images a second without starting the engine and comparing."""
    import featx

    pixels = np.load(images, mmap_mode="r")[chosen]
    features = featx.extract(pixels, featx.FeatureExtractor(**params), store=store)
    np.save(out, features.X)
    report = features.report.to_dict()
    busy_s = report["seconds"] - report["stages"]["start"] - report["stages"]["compare"]
    return {**report, "images_per_second": report["n_rows_computed"] / busy_s}


# -------------------------------------------------------------------------------------------- the process


def device(n_images: int, n_rounds: int) -> dict[str, Any]:
    """Arrays in memory on an accelerator: `benchmark_device`."""
    return importlib.import_module("benchmark_device").compare(n_images, n_rounds)  # type: ignore[no-any-return]


def own_peak_mb() -> float | None:
    """Peak memory, where Linux tells a process of its own: what its parent is told begins at the parent's."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def main() -> None:
    """Run the side that the command line names."""
    side, arguments, out = sys.argv[1:]
    result = globals()[side](**json.loads(arguments))
    Path(out).write_text(json.dumps({**result, "peak_mb": own_peak_mb()}, default=str))


if __name__ == "__main__":
    main()
