"""Learning curves as pictures: of the right kind, the same for the same curves, or refused."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from featx.errors import MissingPackageError, StoreError
from featx.insight.plots import plot_history

HISTORY = {
    "loss": [0.7, 0.5, 0.4],
    "accuracy": [0.5, 0.8, 0.9],
    "validation_loss": [0.8, 0.7, 0.75],
    "validation_accuracy": [0.5, 0.7, 0.72],
}
pytest.importorskip("matplotlib", reason="needs the extra report")


def test_a_picture_with_ink_in_both_panels(tmp_path):
    plot_history(HISTORY, tmp_path / "h.png", frozen={"accuracy": 0.6, "log_loss": 0.72})
    pixels = np.asarray(Image.open(io.BytesIO((tmp_path / "h.png").read_bytes())).convert("L"))
    assert pixels.shape[0] > 400
    left, right = np.array_split(pixels, 2, axis=1)
    assert min((half < 200).sum() for half in (left, right)) > 2_000


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_every_kind_of_file_and_the_same_bytes_twice(tmp_path, suffix, start):
    written = []
    for name in ("first", "second"):
        plot_history(HISTORY, tmp_path / f"{name}{suffix}")
        written.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert written[0].startswith(start)
    assert written[0] == written[1]


def test_what_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"received the suffix of the plot='\.jpg'"):
        plot_history(HISTORY, tmp_path / "h.jpg")
    with pytest.raises(StoreError, match="a history without an epoch"):
        plot_history({"loss": []}, tmp_path / "h.png")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingPackageError, match=r'pip install "featx\[report\]"'):
        plot_history(HISTORY, tmp_path / "h.png")
