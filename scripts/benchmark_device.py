"""ResNet50 on arrays in memory, on whatever Keras's backend computes on: featx and the forward pass alone.

Part of scripts/benchmark.py. The forward pass is compiled as the backend's own users would, and finds its
batches on the device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from benchmark_sides import BATCH_SIZE, RESNET, SIZE, photo_crops


def compare(n_images: int, n_rounds: int) -> dict[str, Any]:
    """Arrays in memory by featx, by turns with the backend's compiled forward on batches that are there.

    Seconds of featx leave out compiling: the stages "start" and "compare", and in float32, where the first
    batch compiles, as much as the first call of the forward alone took longer than the others.
    """
    import keras

    import featx

    kinds = [kind for kind in ("gpu", "tpu") if _devices(kind)]
    names = _devices(kinds[0]) if kinds else ["cpu"]
    precision, batch_size = ("bfloat16", 256) if kinds else ("float32", BATCH_SIZE)
    images = photo_crops(-(-n_images // batch_size) * batch_size)
    model = featx.load_backbone(input_size=SIZE, **RESNET).folded
    run, wait, batches = _compiled(_in_precision(model, precision), images, batch_size)
    first_s, later_s = (_seconds(lambda: wait([run(batches[0])])) for _ in range(2))
    compile_s = max(0.0, first_s - later_s) if precision == "float32" else 0.0
    extractor = featx.FeatureExtractor(**RESNET, precision=precision, engine="keras", batch_size=batch_size)
    rounds = []
    for _ in range(n_rounds):
        alone_s = _seconds(lambda: wait([run(batch) for batch in batches]))
        report = featx.extract(images, extractor, store=None).report.to_dict()
        spent_s = report["seconds"] - report["stages"]["start"] - report["stages"]["compare"] - compile_s
        rounds.append({"alone_s": alone_s, "featx_s": spent_s, "stages": report["stages"]})
    backend = f"{keras.backend.backend()} {importlib.import_module(keras.backend.backend()).__version__}"
    about = {"backend": backend, "devices": names, "precision": precision, "batch_size": batch_size}
    return {**about, "n_images": len(images), "compile_s": compile_s, "rounds": rounds}


def _seconds(work: Callable[[], Any]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _devices(kind: str) -> list[str]:
    """What the accelerators of a kind are called by their maker, as far as the backend tells."""
    import keras

    if keras.backend.backend() == "torch":
        # Of torch's devices Keras lists none.
        cuda = importlib.import_module("torch").cuda
        return [cuda.get_device_name(place) for place in range(cuda.device_count())] if kind == "gpu" else []
    try:
        if keras.backend.backend() == "jax":
            return [str(each.device_kind) for each in importlib.import_module("jax").devices(kind)]
        return list(keras.distribution.list_devices(kind))
    except RuntimeError:
        # JAX knows no such kind on this machine.
        return []


def _in_precision(model: Any, precision: str) -> Any:
    """A copy of a model whose layers compute in another precision."""
    import keras

    if precision == "float32":
        return model

    def copied(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=copied)
        # Pixels stay what they are, and an operation such as a cast computes in what it is given.
        is_lowered = isinstance(layer, keras.layers.Layer) and not isinstance(layer, keras.layers.InputLayer)
        config = layer.get_config()
        return type(layer).from_config({**config, "dtype": precision} if is_lowered else config)

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


def _compiled(model: Any, images: np.ndarray, batch_size: int) -> tuple[Any, Any, list[Any]]:
    """The compiled forward pass, what waits for its results, and batches on the first device."""
    import keras

    parts = np.split(images, len(images) // batch_size)
    if keras.backend.backend() == "jax":
        jax = importlib.import_module("jax")
        weights = [[each.value for each in kind] for kind in _variables(model)]
        forward = jax.jit(lambda *given: model.stateless_call(*given, training=False)[0])
        return lambda batch: forward(*weights, batch), jax.block_until_ready, list(map(jax.device_put, parts))
    if keras.backend.backend() == "torch":
        torch = importlib.import_module("torch")
        place = "cuda" if torch.cuda.is_available() else "cpu"

        def run(batch: Any) -> Any:
            with torch.inference_mode():
                return model(batch, training=False)

        return (
            run,
            lambda given: [each.cpu() for each in given],
            [torch.from_numpy(part).to(place) for part in parts],
        )
    tensorflow = importlib.import_module("tensorflow")
    forward = tensorflow.function(lambda batch: model(batch, training=False))
    return forward, lambda given: [each.numpy() for each in given], list(map(tensorflow.constant, parts))


def _variables(model: Any) -> tuple[Any, Any]:
    return model.trainable_variables, model.non_trainable_variables
