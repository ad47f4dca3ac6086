"""Fixtures that many tests share: a tiny backbone, small images, and a cache of the session's own."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from uuid import uuid4

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

# Keras and its graphs are many small objects, nearly all of them kept. To look through them for garbage after
# every 700 new ones took 1.2 s of the 17.6 s of tests/features/test_own_models.py; this way it is 0.3 s.
gc.set_threshold(50_000)

TINY = "tiny"
TINY_SIZE = (16, 16)
TINY_FEATURES = 12


def build_tiny(input_size, weights):  # noqa: ARG001 - the signature of BackboneSpec.build
    """Two convolutions: real Keras, milliseconds a batch. Its inner layers are named first and second."""
    import keras

    inputs = keras.Input((*input_size, 3))
    features = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="first")(inputs)
    features = keras.layers.Conv2D(TINY_FEATURES, 3, activation="relu", name="second")(features)
    return keras.Model(inputs, features, name=TINY)


@pytest.fixture(autouse=True, scope="session")
def _session_cache(tmp_path_factory):
    """Nothing in the suite touches the user's cache; converted weights are shared by the session."""
    os.environ["FEATX_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True, scope="session")
def _tiny_backbone():
    from featx import BackboneSpec, register_backbone

    register_backbone(BackboneSpec(TINY, build_tiny, "unit", TINY_SIZE, TINY_FEATURES, "random"))


def make_images(n_images: int, seed: int = 0, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """Distinct uint8 RGB images, (n_images, height, width, 3), dark and light in turn."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 100, (n_images, *size, 3))
    images[1::2] += 130
    return images.astype(np.uint8)


def write_class_folder(root: Path, n_images: int = 12, seed: int = 0) -> Path:
    """A folder of two classes, ``dark`` and ``light``, PNG and JPEG in turn."""
    for index, pixels in enumerate(make_images(n_images, seed)):
        folder = root / ("light" if index % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "jpg" if index % 3 == 0 else "png"
        Image.fromarray(pixels).save(folder / f"{seed:02d}-{index:03d}.{suffix}")
    return root


def write_recompressed(folder: Path, n_images: int = 30) -> tuple[str, str]:
    """Images of coloured patches, and a copy of the last as a JPEG; the names of copy and original."""
    random = np.random.default_rng(3)
    for number in range(n_images):
        patches = random.integers(0, 256, (6, 6, 3), np.uint8)
        image = Image.fromarray(patches).resize((48, 48), Image.Resampling.BICUBIC)
        image.save(folder / f"patches {number}.png")
    image.save(folder / "again.jpg", quality=60)
    return f"{folder.name}/again.jpg", f"{folder.name}/patches {n_images - 1}.png"


@pytest.fixture(scope="session")
def s3_server():
    """A server of this machine that speaks S3, where the environment says that S3 is; it holds one bucket."""
    import logging

    import fsspec
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("featx")
        yield server
    server.stop()


@pytest.fixture
def s3(s3_server) -> str:  # noqa: ARG001 - it has to run
    """The address of an empty folder in object storage."""
    return f"s3://featx/{uuid4().hex[:12]}"


@pytest.fixture
def images() -> np.ndarray:
    """Twelve images."""
    return make_images(12)


@pytest.fixture
def class_folder(tmp_path) -> Path:
    """Twelve images in two class folders."""
    return write_class_folder(tmp_path / "images")


@pytest.fixture
def tiny_extractor():
    """An extractor on the tiny backbone, with small batches so that there are several."""
    from featx import FeatureExtractor

    return FeatureExtractor(TINY, batch_size=4)


@pytest.fixture
def n_embedded(monkeypatch) -> list[int]:
    """How many images each real forward pass embeds, padding left out."""
    from featx.features.engines import KerasEngine

    counted: list[int] = []
    original = KerasEngine.start

    def count(self, images):
        counted.append(int(images.any(axis=(1, 2, 3)).sum()))
        return original(self, images)

    monkeypatch.setattr(KerasEngine, "start", count)
    return counted
