"""Engines: a frozen model compiled to one callable, from a batch of images to their features.

Every batch has the same shape, the last one padded: compilers specialise to a shape, and a row's bits
depend on the shape of its batch, so that only a fixed one gives the same bits for the same image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from featx.checks import check_choice
from featx.errors import BackboneError

if TYPE_CHECKING:
    import keras

ENGINES = ("auto", "keras")


class KerasEngine:
    """The model's compiled prediction step, on whatever backend Keras runs.

    Parameters
    ----------
    model : keras.Model
        From uint8 (batch_size, height, width, 3) to float32 (batch_size, n_features).
    batch_size : int
        Images in every batch.

    Attributes
    ----------
    computed_with : dict
        Engine, backend, versions and batch size: what is kept with each shard.
    """

    def __init__(self, model: keras.Model, batch_size: int) -> None:
        import keras
        import PIL

        self.model = model
        self.batch_size = batch_size
        backend = keras.backend.backend()
        self.computed_with: dict[str, Any] = {
            "engine": "keras",
            "backend": backend,
            "batch_size": batch_size,
            "keras": keras.__version__,
            "pillow": PIL.__version__,
        }
        # XLA is ten times slower than TensorFlow's own kernels for depthwise convolutions on a CPU,
        # and torch compiles for minutes; for JAX, compiling is the only way to run.
        self.model.jit_compile = backend == "jax"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of one full batch.

        Parameters
        ----------
        images : ndarray of shape (batch_size, height, width, 3), uint8

        Returns
        -------
        ndarray of shape (batch_size, n_features), float32
        """
        return np.asarray(self.model.predict_on_batch(images), np.float32)


def compile_engine(engine: str, model: keras.Model, batch_size: int) -> KerasEngine:
    """The engine of a name.

    Parameters
    ----------
    engine : {"auto", "keras"}
        "auto" is the fastest that is installed.
    model : keras.Model
    batch_size : int

    Returns
    -------
    KerasEngine

    Raises
    ------
    BackboneError
        When there is no such engine.

    Examples
    --------
    >>> from featx import load_backbone
    >>> model = load_backbone("MobileNetV2", input_size=(32, 32), weights=None).model
    >>> compile_engine("auto", model, 2)(np.zeros((2, 32, 32, 3), np.uint8)).shape
    (2, 1280)
    """
    check_choice("engine", engine, ENGINES, BackboneError)
    return KerasEngine(model, batch_size)
