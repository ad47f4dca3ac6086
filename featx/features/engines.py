"""Engines: a frozen model compiled to one callable, from a batch of what it takes to its features.

Every batch has the same shape, the last one padded: compilers specialise to a shape, and a row's bits
depend on the shape of its batch, so that only a fixed one gives the same bits for the same image.

Keras's engine runs the model itself, on whatever backend Keras runs. The others run a `Graph`, into which
the model was converted once, and need no Keras for it: a run that finds a graph in the store starts in a
fraction of a second. Which engine serves is decided in `featx.features.engine_choice`.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from featx.checks import explain, missing_package, require
from featx.errors import BackboneError, FeatxWarning
from featx.features.compiled import compile_model, visible_devices
from featx.features.folding import copy_in_precision, copy_model

if TYPE_CHECKING:
    import keras

ENGINES = ("auto", "keras", "onnx", "openvino")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

#: The package that runs each engine, which an extra of the same name brings.
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}

# OpenVINO's words, and the operations that do the work of a network.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_PRODUCTS = {"Convolution", "GroupConvolution", "MatMul"}


def is_installed(engine: str) -> bool:
    """Whether the packages of an engine are here.

    Examples
    --------
    >>> is_installed("keras")
    True
    """
    return engine not in PACKAGES or importlib.util.find_spec(PACKAGES[engine]) is not None


def check_installed(engine: str) -> None:
    """Refuse an engine whose packages are absent, with the extra that brings them."""
    if not is_installed(engine):
        raise missing_package(PACKAGES[engine], engine)


@dataclass(frozen=True)
class Settings:
    """How an engine is to compute.

    Parameters
    ----------
    batch_size : int
        Rows of every batch.
    precision : {"float32", "bfloat16", "float16"}
    float32_share : float, default=0.0
        With another precision, the share of the network that keeps float32, from the input on.
    """

    batch_size: int
    precision: str = "float32"
    float32_share: float = 0.0


@dataclass(frozen=True)
class Graph:
    """A converted model.

    Parameters
    ----------
    engine : {"onnx", "openvino"}
    graph : bytes
        The operations; for ONNX with the weights.
    weights : bytes
    """

    engine: str
    graph: bytes
    weights: bytes = b""


class Engine(ABC):
    """A frozen model that computes.

    Attributes
    ----------
    name : str
    settings : Settings
    batch_size : int
    n_in_flight : int
        Batches under way before the first is fetched.
    versions : dict of str to str
        Of the packages that compute.
    why : str
        Why this engine was chosen.
    """

    name: str
    n_in_flight = 1

    def __init__(self, settings: Settings, versions: dict[str, str]) -> None:
        self.settings = settings
        self.batch_size = settings.batch_size
        self.versions = versions
        self.why = ""

    @abstractmethod
    def start(self, inputs: np.ndarray) -> Any:
        """Send one full batch, of shape (batch_size, ...), on its way."""

    def finish(self, pending: Any) -> np.ndarray:
        """The features of a batch that was started: float32 of shape (batch_size, n_features)."""
        return np.asarray(pending, np.float32)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Features of one full batch."""
        return self.finish(self.start(inputs))

    @property
    def computed_with(self) -> dict[str, Any]:
        """Engine, versions, precision and batch size: what is kept with each shard."""
        import PIL

        settings = self.settings
        return {
            "engine": self.name,
            "batch_size": self.batch_size,
            "precision": settings.precision,
            "float32_share": settings.float32_share,
            "pillow": PIL.__version__,
            **self.versions,
        }

    def described(self) -> dict[str, Any]:
        """What a report says of it."""
        described = {"name": self.name, "precision": self.settings.precision, "batch_size": self.batch_size}
        return {**described, "float32_share": self.settings.float32_share, "why": self.why}


class KerasEngine(Engine):
    """The model itself, compiled by Keras's backend, on all its accelerators.

    Parameters
    ----------
    model : keras.Model
        From a batch to float32 (batch_size, n_features).
    settings : Settings
    """

    name = "keras"

    def __init__(self, model: keras.Model, settings: Settings) -> None:
        import keras

        backend = keras.backend.backend()
        super().__init__(settings, {"keras": keras.__version__, "backend": backend})
        if settings.precision != "float32":
            model = copy_in_precision(model, settings.precision, settings.float32_share)
        self.model = model
        devices = visible_devices()
        self._starts = deque(compile_model(each, device) for each, device in self._placed(devices))
        # One batch computes on each device while the next travels there.
        self.n_in_flight = 1 if devices == ["cpu:0"] else 2 * len(self._starts)

    def _placed(self, devices: list[str]) -> Iterator[tuple[keras.Model, str]]:
        """The model on each device, as far as it can be copied."""
        import keras

        yield self.model, devices[0]
        for device in devices[1:]:
            if keras.backend.backend() == "jax":
                # It places the weights by itself.
                yield self.model, device
                continue
            try:
                with keras.device(device):
                    twin = copy_model(self.model)
            except BackboneError as error:
                warnings.warn(f"one of {len(devices)} devices computes: {error}", FeatxWarning, stacklevel=4)
                return
            yield twin, device

    def start(self, inputs: np.ndarray) -> Any:
        """Send one full batch on its way, on the device whose turn it is."""
        self._starts.rotate(-1)
        return self._starts[-1](inputs)

    def finish(self, pending: Any) -> np.ndarray:
        """The features of a batch that was started."""
        import keras

        return np.asarray(keras.ops.convert_to_numpy(pending), np.float32)


class OnnxEngine(Engine):
    """ONNX Runtime on the processor, in float32.

    Parameters
    ----------
    graph : Graph
    settings : Settings
    """

    name = "onnx"

    def __init__(self, graph: Graph, settings: Settings) -> None:
        runtime = require("onnxruntime", "onnx")
        super().__init__(settings, {"onnxruntime": runtime.__version__})
        options = runtime.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        # Threads that wait busily take the processor from those that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        self._session = runtime.InferenceSession(graph.graph, options, providers=providers)
        self._input = self._session.get_inputs()[0].name

    def start(self, inputs: np.ndarray) -> Any:
        """Compute one full batch."""
        return self._session.run(None, {self._input: inputs})[0]


class OpenVINOEngine(Engine):
    """OpenVINO on the processor, in float32 or, where the processor has it, bfloat16.

    Parameters
    ----------
    graph : Graph
    settings : Settings
    """

    name = "openvino"

    def __init__(self, graph: Graph, settings: Settings) -> None:
        version = require("openvino", "openvino").__version__.partition("-")[0]
        super().__init__(settings, {"openvino": version})
        core = _openvino_core()
        text = graph.graph if settings.precision == "float32" else _keep(graph.graph, settings.float32_share)
        model = core.read_model(text, graph.weights)
        model.reshape([settings.batch_size, *list(model.input(0).partial_shape)[1:]])
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[settings.precision],
            "INFERENCE_NUM_THREADS": available_cpus(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._compiled = core.compile_model(model, "CPU", options)
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used != _HINTS[settings.precision]:
            received = f"precision={settings.precision!r} on a processor that computes in {used}"
            raise BackboneError(explain(received, "float32", "pass precision='auto'"))

    def start(self, inputs: np.ndarray) -> Any:
        """Compute one full batch."""
        return self._compiled(inputs)[0]


def start_engine(source: keras.Model | Graph, settings: Settings) -> Engine:
    """The engine that runs a model or a graph.

    Parameters
    ----------
    source : keras.Model or Graph
    settings : Settings

    Returns
    -------
    Engine

    Examples
    --------
    >>> from featx import load_backbone
    >>> model = load_backbone("MobileNetV2", input_size=(32, 32), weights=None).model
    >>> start_engine(model, Settings(batch_size=2))(np.zeros((2, 32, 32, 3), np.uint8)).shape
    (2, 1280)
    """
    if not isinstance(source, Graph):
        return KerasEngine(source, settings)
    kind = {"onnx": OnnxEngine, "openvino": OpenVINOEngine}[source.engine]
    return kind(source, settings)


def available_cpus() -> int:
    """Processors that this process may use: a container's or a batch system's share, not the machine's.

    Examples
    --------
    >>> available_cpus() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether OpenVINO is here and finds that this processor multiplies in bfloat16."""
    if not is_installed("openvino"):
        return False
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@functools.cache
def _openvino_core() -> Any:
    """One for the process, and to its end.

    Each brings a stack for signals along. Of two that are dropped in the order they were made, the second
    leaves the first one's freed stack behind, and the next signal, such as Ctrl-C, ends in a crash (OpenVINO
    2026.4).
    """
    return require("openvino", "openvino").Core()


def convert_model(model: keras.Model, engine: str) -> Graph:
    """Convert a model for an engine, by Keras's own export.

    Parameters
    ----------
    model : keras.Model
    engine : {"onnx", "openvino"}

    Returns
    -------
    Graph
        For batches of any size.

    Raises
    ------
    MissingPackageError
        When a package that converts is absent.
    """
    import keras

    check_installed(engine)
    if engine == "onnx":
        require("tf2onnx" if keras.backend.backend() != "torch" else "onnxscript", "onnx")
    name = {"onnx": "model.onnx", "openvino": "model.xml"}[engine]
    takes = model.inputs[0]
    signature = [keras.InputSpec(shape=takes.shape, dtype=takes.dtype, name="inputs")]
    with tempfile.TemporaryDirectory(prefix="featx-") as folder, warnings.catch_warnings(), _untold():
        # Of the converters, about their own calls of NumPy and of each other.
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        model.export(str(path), format=engine, verbose=False, input_signature=signature)
        weights = path.with_suffix(".bin")
        return Graph(engine, path.read_bytes(), weights.read_bytes() if weights.exists() else b"")


@contextmanager
def _untold() -> Iterator[None]:
    """OpenVINO takes itself to be in a test meanwhile: elsewhere it reports its use over the network."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def _keep(graph: bytes, share: float) -> bytes:
    """An OpenVINO graph whose first operations keep float32, up to a share of its products.

    The mark is the one that OpenVINO itself writes on operations that its compression to 16 bits must leave
    alone (attribute "precise").
    """
    if not share:
        return graph
    # The graph is featx's own and was checked against its digest.
    root = ET.fromstring(graph)  # noqa: S314
    layers = root.findall("./layers/layer")
    n_kept = round(share * sum(layer.get("type") in _PRODUCTS for layer in layers))
    n_seen = 0
    for layer in layers:
        n_seen += layer.get("type") in _PRODUCTS
        if n_seen > n_kept:
            break
        if layer.get("type") != "Const":
            mark = ET.SubElement(layer, "rt_info")
            ET.SubElement(mark, "attribute", {"name": "precise", "version": "0"})
    return ET.tostring(root)
