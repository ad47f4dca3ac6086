"""The README's examples run, in order, as a newcomer would run them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from featx.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

# The first: from images to a saved classifier.
N_IN_PROCESSES = 1
# Commands with a line on stderr when all is well.
TELLING = ("featx evaluate", "featx finetune", "featx compare", "featx search photos.h5 --exclude")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with ``photos/``: three classes of 24 small images."""
    folder = tmp_path_factory.mktemp("readme")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (folder / "photos" / name).mkdir(parents=True)
        for index in range(24):
            pixels = rng.integers(0, 120, (48, 64, 3))
            pixels[..., channel] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{index:03d}.jpg")
    return folder


def run_in_a_process(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "featx", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def run_here(arguments):
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stderr


def test_the_commands_run(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("FEATX_CACHE", str(workplace / "cache"))
    commands = re.findall(r"^\$ (.+)$", "\n".join(blocks("console")), flags=re.MULTILINE)
    assert len(commands) >= 9
    for number, command in enumerate(commands):
        program, *arguments = shlex.split(command)
        assert program == "featx"
        # Each would load TensorFlow anew: the first does, as a newcomer's would.
        run = run_in_a_process if number < N_IN_PROCESSES else run_here
        code, stderr = run(arguments)
        assert code == 0, f"{command}\n{stderr}"
        # What was left out, what is going to train, and how far a report has come.
        n_lines = 3 if "--report" in command else command.startswith(TELLING)
        assert stderr.count("\n") <= n_lines, stderr
    assert len((workplace / "predictions.csv").read_text().splitlines()) == 73


def test_the_python_examples_run(workplace, monkeypatch, capsys):
    # After the commands, which write the feature file that the last example reads.
    if not (workplace / "photos.h5").exists():
        test_the_commands_run(workplace, monkeypatch)
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("FEATX_CACHE", str(workplace / "cache"))
    namespace = {}
    examples = blocks("python")
    assert len(examples) >= 5
    for example in examples:
        exec(compile(example, "README.md", "exec"), namespace)
    assert "(72, 1280)" in capsys.readouterr().out
    assert namespace["scores"].accuracy > 0.9


@pytest.mark.usefixtures("s3_server")
def test_the_example_of_remote_storage_runs(workplace, monkeypatch):
    import fsspec

    monkeypatch.chdir(workplace)
    filesystem = fsspec.filesystem("s3")
    filesystem.mkdir("bucket")
    for name in ("red", "blue"):
        filesystem.put(f"photos/{name}/000.jpg", f"bucket/photos/{name}/000.jpg")
    namespace = {}
    (example,) = blocks("py")
    exec(compile(example, "README.md", "exec"), namespace)
    assert namespace["features"].class_names == ["blue", "red"]
    assert [entry.n_samples for entry in namespace["store"].entries()] == [2]


def test_the_shell_commands_it_names_are_there():
    for script in re.findall(r"scripts/([a-z_]+(?:\.py)?)", README):
        assert os.access(ROOT / "scripts" / script, os.X_OK), script


def test_it_names_every_command():
    for command in (
        "demo",
        "backbones",
        "extract",
        "search",
        "evaluate",
        "predict",
        "rank",
        "audit",
        "compare",
        "curve",
        "finetune",
        "export",
        "store",
    ):
        assert command in README
