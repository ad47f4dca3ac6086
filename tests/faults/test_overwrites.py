"""Every file that featx writes over another: after whatever fault, the old one is there or the new one.

What is written, and how it is read, stands in `tests.faults.artefacts`.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from random import Random

import pytest

from tests.faults import power
from tests.faults.artefacts import ARTEFACTS
from tests.faults.trials import arm, was_killed

HOURS_S = 3 * 3600
MODES = ("kill", "tear", "full", "error", "short")


def job(name, kind, folder, armed=None, **arguments):
    return {"job": name, "arguments": {"kind": kind, "folder": str(folder), **arguments}, "arm": armed}


def old_folder(trials, kind, root):
    """A folder with the old version, and how many calls the new one takes."""
    for name in ("old", "counted"):
        (root / name).mkdir()
        [old] = trials.driver.run(job("write", kind, root / name, version=0))
        assert old.error is None, old.error
    # So late that it never comes.
    armed = arm("kill", root / "counted", 1_000_000)
    [new] = trials.driver.run(job("write", kind, root / "counted", armed, version=1))
    return root / "old", new.n_calls


@pytest.mark.protocol("T16", "P17", "killed, torn, ENOSPC, EIO, cut short at each call of an overwrite")
@pytest.mark.parametrize("kind", ARTEFACTS)
@pytest.mark.parametrize("n_places", [1, pytest.param(None, marks=pytest.mark.faults)], ids=["sample", "all"])
def test_an_overwritten_file_is_the_old_or_the_new_one(trials, ledger, kind, n_places):
    with trials.workspace() as root:
        old, n_calls = old_folder(trials, kind, root)
        # The sample takes the write, or what comes next to it: the second call of nearly all.
        places = range(1, n_calls + 1) if n_places is None else range(2, 2 + n_places)
        faults = [(mode, place) for mode in MODES for place in places]
        for start in range(0, len(faults), 5):
            overwrite(trials, ledger, kind, old, faults[start : start + 5])


def overwrite(trials, ledger, kind, old, faults):
    """The new version over the old, with each of these faults; what is there then; and once more."""
    with ExitStack() as stack:
        folders = [stack.enter_context(trials.workspace()) / "f" for _ in faults]
        children = []
        for folder, (mode, place) in zip(folders, faults, strict=True):
            shutil.copytree(old, folder)
            children.append(job("write", kind, folder, arm(mode, folder, place), version=1))
        outcomes = trials.driver.run(*children)
        ledger.inject(len(faults))
        found = trials.driver.run(*(job("state", kind, folder) for folder in folders))
        for fault, outcome, state in zip(faults, outcomes, found, strict=True):
            for loss in losses(fault[0], outcome, state):
                ledger.lose(f"{kind}, {fault[0]} at {fault[1]}: {loss}")
        for folder in folders:
            make_strays_old(folder)
        trials.driver.run(*(job("write", kind, folder, version=1) for folder in folders))
        again = trials.driver.run(*(job("state", kind, folder) for folder in folders))
        for fault, state in zip(faults, again, strict=True):
            if state.result != {"version": 1, "strays": []}:
                told = f"{state.result} {state.error}"
                ledger.lose(f"{kind}, {fault[0]} at {fault[1]}, then written again: {told}")


def losses(mode, outcome, state):
    """What must not be, after one fault."""
    if state.result is None or state.warnings:
        yield f"neither old nor new: signal {state.signal}, {state.error} {state.warnings}"
        return
    if outcome.signal and not was_killed(outcome):
        yield f"signal {outcome.signal}"
    if outcome.error:
        kind, message = outcome.error
        if kind != "StoreError" or (mode == "full" and "bytes free" not in message):
            yield f"{kind}: {message}"
    is_done = not outcome.error and not was_killed(outcome)
    if is_done and state.result["version"] != 1:
        yield "no error, and the old one is there"
    # What a killed process left, or the disk refused to remove, stays until a later writer sweeps it.
    was_refused = mode == "error" and is_done
    if state.result["strays"] and not was_killed(outcome) and not was_refused:
        yield f"leaves {state.result['strays']}"


def make_strays_old(folder):
    for path in folder.rglob(".featx-*"):
        os.utime(path, (path.stat().st_mtime - HOURS_S,) * 2)


@pytest.mark.protocol("T3", "P2 P17", "the power cut amid every overwrite")
@pytest.mark.parametrize("is_ext4", [False, True], ids=["posix", "ext4"])
@pytest.mark.parametrize("kind", ARTEFACTS)
@pytest.mark.parametrize("n_cuts", [2, pytest.param(40, marks=pytest.mark.faults)], ids=["sample", "all"])
def test_a_power_cut_amid_an_overwrite(trials, ledger, kind, n_cuts, is_ext4):
    with trials.workspace() as root:
        calls = [
            call
            for version in (0, 1)
            for call in trials.record(job("write", kind, root, version=version), root)
        ]
    rng, disk, place = Random(3), power.Disk(is_ext4=is_ext4), 0
    n_before = next(cut for cut in range(len(calls)) if power.notes_of(calls[:cut])["n_done"] == 1)
    cuts = sorted([len(calls), *(rng.randint(n_before, len(calls)) for _ in range(n_cuts - 1))])
    ledger.inject(len(cuts))
    left = {}
    for cut in cuts:
        for call in calls[place:cut]:
            disk.apply(call)
        place = cut
        tree, n_done = disk.after_a_cut(rng), power.notes_of(calls[:cut])["n_done"]
        left[str(tree), n_done] = tree
    for (_, n_done), tree in left.items():
        root = trials.base / "cut"
        power.build(tree, root)
        [state] = trials.driver.run(job("state", kind, root))
        if state.result is None or state.warnings or state.result["version"] < n_done - 1:
            ledger.lose(f"{kind}: {n_done} written, then {state.result} {state.error} {state.warnings}")
        shutil.rmtree(root)
