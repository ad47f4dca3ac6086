"""The command as a process: its streams, its exit codes, and a Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import write_class_folder

FEATX = [sys.executable, "-m", "featx"]


@pytest.fixture
def run(tmp_path):
    environment = {**os.environ, "FEATX_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)

    def start(*arguments, **options):
        command = [*FEATX, *map(str, arguments)]
        return subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **options)

    return start


@pytest.fixture
def folder(tmp_path):
    return write_class_folder(tmp_path / "images", 40)


def small_extract(folder):
    return ("extract", folder, "--backbone", "MobileNetV2", "--weights", "none", "--input-size", 32)


def test_streams_are_clean(run, folder):
    process = run(*small_extract(folder), "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate()
    assert process.returncode == 0
    assert json.loads(stdout)["n_computed"] == 40
    # Nothing of TensorFlow's start-up, no progress bar where nobody watches.
    assert stderr == ""


def test_an_error_is_one_line_without_a_traceback(run, folder):
    (folder / "dark" / "00-003.png").write_bytes(b"%PDF-1.4")
    process = run(*small_extract(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = process.communicate()
    assert process.returncode == 1
    assert stdout == ""
    assert stderr == "error: dark/00-003.png: a PDF, not an image; --on-error skip leaves such images out\n"


def test_a_terminal_sees_a_progress_bar(run, folder):
    master, slave = pty.openpty()
    process = run(*small_extract(folder), stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    seen = b""
    try:
        while chunk := os.read(master, 4096):
            seen += chunk
    except OSError:
        # Linux reports the end of a terminal as an I/O error.
        assert process.wait(60) == 0
    os.close(master)
    process.stdout.close()
    assert b"Embedding" in seen
    assert b"images" in seen


def test_ctrl_c_exits_with_130_and_one_line(run, tmp_path):
    folder = write_class_folder(tmp_path / "many", 400)
    arguments = ("extract", folder, "--backbone", "ResNet50", "--weights", "none", "--input-size", 128)
    process = run(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # The spec is written when the run is under way; tests/faults counts what is kept.
    while not list((tmp_path / "cache").rglob("spec.json")):
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr == "interrupted; what was computed is kept: run the same command again to go on\n"


def test_a_reader_that_goes_away_is_no_crash(run):
    process = run("backbones", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    process.wait(60)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_is_one_line():
    command = [sys.executable, "-m", "featx", "backbones", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == "error: the output cannot be written: No space left on device\n"
    assert done.returncode == 1
