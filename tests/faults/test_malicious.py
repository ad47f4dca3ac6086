"""What an attacker would send runs nothing, opens nothing else, and takes little time and memory.

Every artefact of `tests.faults.malicious_corpus` is opened through every public entry point that takes such a
file, in a process that watches itself (`tests.faults.attack`). The default run opens a few of each kind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.malicious_corpus import CORPUS

MAX_S, MAX_MIB = 10, 1500

# What needs no TensorFlow comes into the default run.
SAMPLE = {
    "heads": ["pickle", "function for a head", "repeated member", "bomb in a description", "deep head"],
    "npz": ["pickle in images", "repeated member", "path above", "terabytes in images"],
    "npy": ["pickle", "code for a shape", "claims terabytes"],
    "checkpoints": ["pickle in an array", "repeated member", "deep state"],
    "journals": ["deep line", "own lines of words"],
}
WITH_KERAS = ("keras", "specs", "saved_model", "stores")
TRIALS = [
    pytest.param(SAMPLE, id="a few"),
    pytest.param(
        {group: [] for group in CORPUS if group not in WITH_KERAS}, id="files", marks=pytest.mark.faults
    ),
    pytest.param({group: [] for group in WITH_KERAS}, id="models", marks=pytest.mark.faults),
]
PACKAGES = {"onnx": "onnxruntime", "graphs": "onnxruntime", "litert": "ai_edge_litert"}


def attacked(folder: Path, groups: dict[str, list[str]]) -> list[dict]:
    """What came of each artefact at each entry point."""
    places = {name: folder / name for name in ("secret", "artefacts", "here", "tmp", "home", "cache")}
    for place in places.values():
        place.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SECRET": str(places["secret"]),
        "ARTEFACTS": str(places["artefacts"]),
        "TMPDIR": str(places["tmp"]),
        "HOME": str(places["home"]),
        "KERAS_HOME": str(places["home"]),
        "FEATX_CACHE": str(places["cache"]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-m", "tests.faults.attack", str(folder), json.dumps(groups)]
    run = subprocess.run(
        command,
        cwd=places["here"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    last = found[-1] if found else "none"
    assert run.returncode == 0, f"died behind {last}: {run.stderr[-2000:]}"
    return found


def losses(trial: dict, *, is_harmless: bool) -> list[str]:
    """What should not have been."""
    found = list(trial["trespasses"])
    message = trial["message"]
    if trial["outcome"] == "escaped" or (trial["outcome"] == "opened" and not is_harmless):
        found.append(f"{trial['outcome']} {message}")
    if not message.isprintable():
        found.append(f"more than a line: {message!r}")
    if trial["outcome"] == "refused" and trial["artefact"].replace("/", "_") not in message:
        found.append(f"the file is not named: {message}")
    if trial["seconds"] > MAX_S or trial["mib"] > MAX_MIB:
        found.append(f"{trial['seconds']} s and {trial['mib']} MiB")
    return found


@pytest.mark.protocol("T18", "P19 P20 P21", "malicious files opened")
@pytest.mark.parametrize("groups", TRIALS)
def test_malicious_files_are_refused_and_nothing_comes_of_them(groups, ledger, tmp_path):
    present = {
        group: names
        for group, names in groups.items()
        if group not in PACKAGES or importlib.util.find_spec(PACKAGES[group])
    }
    trials = attacked(tmp_path, present)
    opened = {(trial["group"], trial["artefact"]) for trial in trials}
    assert len(opened) == sum(len(names or CORPUS[group]) for group, names in present.items())
    harmless = {(group, each.name) for group in present for each in CORPUS[group] if each.is_harmless}
    for trial in trials:
        ledger.inject()
        which = trial["group"], trial["artefact"]
        for loss in losses(trial, is_harmless=which in harmless):
            ledger.lose(f"{which} at {trial['entry']}: {loss}")


def test_the_watch_sees_what_it_is_there_for(tmp_path):
    # Otherwise the test above would pass for a watch that sees nothing.
    (trial,) = attacked(tmp_path, {"watched": []})
    seen = " ".join(trial["trespasses"])
    for event in (
        "os.system",
        "subprocess.Popen",
        "pickle.find_class",
        "exec",
        "socket",
        "open",
        "a secret",
        "payload",
    ):
        assert event in seen
