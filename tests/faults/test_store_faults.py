"""The store under every fault: killed, torn, full, cut off, damaged, raced. See `tests.faults.trials`.

Every trial is a real extraction, with the packaged network, of 24 images into six shards and a feature file.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from itertools import count
from random import Random

import numpy as np
import pytest

from tests.faults import power
from tests.faults.conftest import Ledger
from tests.faults.driver_settings import N_IMAGES, ROWS_PER_SHARD
from tests.faults.trials import Trial, arm, was_killed

# Shuffled, so that rows lie scattered over the shards.
ORDER = [int(row) for row in np.random.default_rng(0).permutation(N_IMAGES)]


def sample_and_all(sample, everything):
    """In the default run a few, in `scripts/faults` all of them."""
    return [
        pytest.param(sample, id="sample"),
        pytest.param(everything, id="all", marks=pytest.mark.faults),
    ]


def recorded(trials):
    """The calls of an extraction that nothing happens to."""
    with trials.workspace() as root:
        calls = trials.record(trials.extract(root), root)
        # Nothing of what is on the disk came there unseen.
        disk = power.Disk(is_ext4=False)
        for call in calls:
            disk.apply(call)
        assert disk.without_a_cut() == power.tree_of(root)
    return calls


def n_counted(trials):
    """How many calls an extraction makes that the shim can make fail."""
    with trials.workspace() as root:
        # So late that it never comes.
        [outcome] = trials.driver.run(trials.extract(root, arm("kill", root, 1_000_000)))
    return outcome.n_calls


def at_each_call(trials, mode, places, **arguments):
    """Extractions armed for a fault at each of these calls, in waves: place, folder, outcome."""
    children = [
        lambda root, place=place: trials.extract(root, arm(mode, root, place), **arguments)
        for place in places
    ]
    places = iter(places)
    for wave in trials.waves(children):
        yield [(next(places), root, outcome) for root, outcome in wave]


# ----------------------------------------------------------------------------------------- killed


@pytest.mark.protocol("T1", "P1 P3 P5", "SIGKILL at a random time")
@pytest.mark.parametrize("n_kills", sample_and_all(4, 200))
def test_a_kill_at_a_random_time(trials, ledger, n_kills):
    rng = Random(1)
    while ledger.n_faults < n_kills:
        children = [
            lambda root: trials.extract(root, kill_after_s=rng.uniform(0, 2 * trials.seconds))
            for _ in range(min(4, n_kills - ledger.n_faults))
        ]
        for wave in trials.waves(children):
            ledger.inject(sum(was_killed(outcome) for _, outcome in wave))
            left = [
                Trial(f"after {outcome.seconds:.3f} s", root, outcome.committed, outcome.saved)
                for root, outcome in wave
            ]
            trials.judge(ledger, *left)


@pytest.mark.protocol("T1", "P1 P3 P5", "Ctrl-C at a random time")
@pytest.mark.parametrize("n_times", sample_and_all(4, 40))
def test_an_interrupt_at_a_random_time(trials, ledger, n_times):
    rng = Random(2)
    children = [
        lambda root: trials.extract(root, kill_after_s=rng.uniform(0, trials.seconds), signal=signal.SIGINT)
        for _ in range(n_times)
    ]
    for wave in trials.waves(children):
        ledger.inject(len(wave))
        for root, outcome in wave:
            if outcome.signal or (outcome.error or ["KeyboardInterrupt"])[0] != "KeyboardInterrupt":
                ledger.lose(f"after {outcome.seconds:.3f} s: signal {outcome.signal}, {outcome.error}")
            if strays := sorted(root.rglob(".featx-*")):
                ledger.lose(f"after {outcome.seconds:.3f} s: leaves {strays[0].name}")
        left = [
            Trial(f"after {outcome.seconds:.3f} s", root, outcome.committed, outcome.saved)
            for root, outcome in wave
        ]
        trials.judge(ledger, *left)


@pytest.mark.protocol("T2", "P1 P3", "SIGKILL before every changing call, and amid every write")
@pytest.mark.parametrize("step", sample_and_all(25, 1))
def test_a_kill_at_every_call(trials, ledger, step):
    n_calls = n_counted(trials)
    assert n_calls > 60
    kill_everywhere(trials, ledger, n_calls, step)
    assert ledger.n_faults >= 2 * (n_calls // step)


def kill_everywhere(trials, ledger, n_calls, step=1, **arguments):
    for mode in ("kill", "tear"):
        for wave in at_each_call(trials, mode, range(1, n_calls + 1, step), **arguments):
            left = []
            for place, root, outcome in wave:
                assert was_killed(outcome), outcome
                ledger.inject()
                left.append(Trial(f"{mode} at {place}", root, outcome.committed, outcome.saved))
            trials.judge(ledger, *left)


@pytest.mark.protocol("T2", "P1 P3", "SIGKILL before every call of the run that resumes")
@pytest.mark.parametrize("places", sample_and_all([2], range(1, 200)))
def test_a_second_kill_at_every_call(trials, ledger, places):
    first = 30
    for start in range(0, len(places), 4):
        with ExitStack() as stack:
            wave = {place: stack.enter_context(trials.workspace()) for place in places[start : start + 4]}
            before = trials.driver.run(
                *(trials.extract(root, arm("kill", root, first)) for root in wave.values())
            )
            after = trials.driver.run(
                *(trials.extract(root, arm("kill", root, place)) for place, root in wave.items())
            )
            ledger.inject(sum(was_killed(outcome) for outcome in before + after))
            left = [
                Trial(f"{first}, then {place}", root, one.committed + two.committed, two.saved)
                for (place, root), one, two in zip(wave.items(), before, after, strict=True)
            ]
            trials.judge(ledger, *left)
        if not all(map(was_killed, after)):
            # There was no such call any more.
            return


@pytest.mark.protocol("T4", "P4", "SIGKILL and resumed, until done")
@pytest.mark.parametrize("n_kills", sample_and_all(6, 200))
def test_kills_and_resumes_until_it_is_done(trials, ledger, n_kills):
    rng = Random(4)
    while ledger.n_faults < n_kills:
        with trials.workspace() as root:
            committed, is_done = [], False
            while not is_done:
                child = trials.extract(root, kill_after_s=rng.uniform(0, 1.2 * trials.seconds))
                [outcome] = trials.driver.run(child)
                ledger.inject(was_killed(outcome))
                committed += outcome.committed
                is_done = outcome.result is not None
                if outcome.warnings or outcome.error:
                    ledger.lose(f"{outcome.warnings} {outcome.error}")
            if len(set(committed)) != len(committed):
                ledger.lose("committed rows were computed again")
            if outcome.result["sha256"] != trials.sha256:
                ledger.lose("the feature file is another")


# -------------------------------------------------------------------------------------- power cut


@pytest.mark.protocol("T3", "P2", "the power cut at a random call (simulated from the log)")
@pytest.mark.parametrize("is_ext4", [False, True], ids=["posix", "ext4"])
@pytest.mark.parametrize("n_cuts", sample_and_all(8, 1_000))
def test_a_power_cut(trials, ledger, n_cuts, is_ext4):
    cut_power(trials, ledger, n_cuts, is_ext4)


def cut_power(trials, ledger, n_cuts, is_ext4, killed_at=(0, 2, 4, 15), **arguments):
    """Cuts of runs that nothing else happened to, and of runs that go on where a killed one left off."""
    judged = set()
    for seed, first in enumerate(killed_at):
        with trials.workspace() as root:
            calls = [] if first == 0 else trials.record(trials.extract(root, **arguments), root, until=first)
            calls += trials.record(trials.extract(root, **arguments), root)
        rng = Random(seed)
        cuts = sorted(rng.randint(1, len(calls)) for _ in range(n_cuts // len(killed_at)))
        ledger.inject(len(cuts))
        disk, place, left = power.Disk(is_ext4=is_ext4), 0, []
        for cut in cuts:
            for call in calls[place:cut]:
                disk.apply(call)
            place = cut
            notes = power.notes_of(calls[:cut])
            tree = disk.after_a_cut(rng)
            # The same disk and the same promises have been judged before.
            key = (tuple(sorted(tree.items())), str(notes))
            if key not in judged:
                judged.add(key)
                left.append((f"cut at {cut} after a kill at {first}", tree, notes))
        judge_trees(trials, ledger, left)


def judge_trees(trials, ledger, left):
    for start in range(0, len(left), 4):
        roots = []
        for what, tree, notes in left[start : start + 4]:
            root = trials.base / f"cut-{len(roots)}"
            power.build(tree, root)
            roots.append(Trial(what, root, notes["committed"], notes["saved"]))
        trials.judge(ledger, *roots)
        for trial in roots:
            shutil.rmtree(trial.root)


# ---------------------------------------------------------------------------------------- damaged


@pytest.mark.protocol("T5", "P6", "one bit flipped, or a shard cut short")
@pytest.mark.parametrize("n_damages", sample_and_all(4, 200))
def test_a_damaged_shard(trials, ledger, n_damages):
    rng = Random(5)
    with trials.workspace() as whole:
        trials.driver.run(trials.extract(whole))
        shutil.rmtree(whole / "out")
        for _ in range(n_damages // 4):
            with trials.workspace() as root:
                left = []
                for name in "abcd":
                    shutil.copytree(whole, root / name)
                    left.append((root / name, damage(root / name, rng)))
                    ledger.inject()
                found = trials.judge(
                    ledger, *(Trial(shard.name, each) for each, shard in left), is_damaged=True
                )
                for outcome, (_, shard) in zip(found, left, strict=True):
                    check_repair(ledger, outcome, shard)


def damage(root, rng):
    """Flip a bit of a random shard, or cut it short."""
    shard = rng.choice(sorted(root.glob("cache/features/*/*.h5")))
    data = bytearray(shard.read_bytes())
    if rng.random() < 0.5:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        del data[rng.randrange(len(data)) :]
    shard.write_bytes(data)
    return shard


def check_repair(ledger, outcome, shard):
    told = [warning for warning in outcome.warnings if shard.name in warning and "set aside" in warning]
    if len(outcome.warnings) != 1 or len(told) != 1 or not told[0].startswith("FeatxWarning"):
        ledger.lose(f"the damage is not told of: {outcome.warnings}")
    if not shard.with_name(f"{shard.name}.corrupt").exists():
        ledger.lose(f"{shard.name} is not set aside")
    if outcome.result and outcome.result["n_computed"] != ROWS_PER_SHARD:
        ledger.lose(f"{outcome.result['n_computed']} rows were computed again")


# ------------------------------------------------------------------------------------------ raced


@pytest.mark.protocol("T8", "P8", "2 and 4 processes on one store, one killed, without flock")
@pytest.mark.parametrize("n_trials", sample_and_all(2, 30))
@pytest.mark.parametrize("is_one_killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("no_locks", [False, True], ids=["", "no-locks"])
def test_processes_on_one_store(trials, ledger, n_trials, is_one_killed, no_locks):
    # featx takes no lock, so that none that fails can cost anything: this keeps it so.
    race(trials, ledger, n_trials, is_one_killed=is_one_killed, no_locks=no_locks)


@pytest.mark.faults
@pytest.mark.protocol("T8", "P8", "without HDF5's locks")
def test_processes_without_hdf5_locks(trials_without_hdf5_locks, ledger):
    race(trials_without_hdf5_locks, ledger, 30, is_one_killed=True, no_locks=True)


def race(trials, ledger, n_trials, *, is_one_killed, no_locks):
    rng = Random(8)
    for trial in range(n_trials):
        n_processes = 2 + 2 * (trial % 2)
        with trials.workspace() as root:
            children = [
                trials.extract(
                    root,
                    None,
                    {"seconds_a_batch": 0.01, "seed": trial * 10 + each},
                    out=f"out/{each}.h5",
                    delay_s=rng.uniform(0, trials.seconds),
                    no_locks=no_locks,
                )
                for each in range(n_processes)
            ]
            if is_one_killed:
                children[0]["kill_after_s"] = rng.uniform(0, 3 * trials.seconds)
            outcomes = trials.driver.run(*children)
            ledger.inject()
            for outcome in outcomes[is_one_killed:]:
                if outcome.error or outcome.warnings or outcome.result["sha256"] != trials.sha256:
                    ledger.lose(f"{outcome.error} {outcome.warnings}")
            committed = [address for outcome in outcomes for address in outcome.committed]
            trials.judge(ledger, Trial(f"trial {trial}", root, committed))


# ------------------------------------------------------------------------------------------- full


@pytest.mark.protocol("T9", "P9", "ENOSPC from every call on, EIO once at every call, every write cut short")
@pytest.mark.parametrize("mode", ["full", "error", "short"])
@pytest.mark.parametrize("step", sample_and_all(25, 1))
def test_a_disk_that_refuses_at_every_call(trials, ledger, mode, step):
    fail_everywhere(trials, ledger, mode, n_counted(trials), step)


def fail_everywhere(trials, ledger, mode, n_calls, step=1, **arguments):
    for wave in at_each_call(trials, mode, range(1, n_calls + 1, step), **arguments):
        left = []
        for place, root, outcome in wave:
            ledger.inject()
            what = f"{mode} at {place}"
            if mode != "short" or outcome.error:
                check_error(ledger, outcome, f"{root}/", what, is_full=mode == "full")
            if not was_killed(outcome) and (strays := sorted(root.rglob(".featx-*"))):
                ledger.lose(f"{what}: leaves {strays[0].name}")
            left.append(Trial(what, root, outcome.committed, outcome.saved))
        trials.judge(ledger, *left)


def check_error(ledger, outcome, path, what, *, is_full):
    """One error of the store's own, which says where, and of a full disk how much is free."""
    if outcome.signal or outcome.error is None:
        ledger.lose(f"{what}: signal {outcome.signal}, no error")
        return
    kind, message = outcome.error
    if kind != "StoreError" or path not in message or (is_full and "bytes free" not in message):
        ledger.lose(f"{what}: {kind}: {message}")


@pytest.mark.protocol("T9", "P9", "all three while rows are put in order")
@pytest.mark.parametrize("step", sample_and_all(30, 1))
def test_a_disk_that_refuses_while_rows_are_put_in_order(trials, ledger, step):
    with trials.workspace() as whole:
        trials.driver.run(trials.extract(whole))
        [expected] = trials.driver.run(trials.extract(whole, None, {"order": ORDER}))
        for mode in ("full", "error", "short"):
            for place in count(1, step):
                armed = arm(mode, whole, place)
                [outcome] = trials.driver.run(trials.extract(whole, armed, {"order": ORDER}))
                is_beyond = outcome.n_calls is not None and outcome.n_calls < place
                if is_beyond:
                    break
                ledger.inject()
                what = f"{mode} at {place}"
                if outcome.error:
                    check_error(ledger, outcome, f"{whole}/", what, is_full=mode == "full")
                elif outcome.signal or outcome.result["sha256"] != expected.result["sha256"]:
                    ledger.lose(f"{what}: signal {outcome.signal}, another feature file")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB, where this user may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.protocol("T9", "P9", "a file system that is full")
@pytest.mark.parametrize("n_trials", sample_and_all(2, 30))
def test_a_full_file_system(trials, ledger, small_disk, n_trials):
    rng = Random(9)
    for trial in range(n_trials):
        root = small_disk / f"{trial}"
        root.mkdir()
        filler = small_disk / "filler"
        left_bytes = rng.randrange(16, 280) * 1024
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(free.f_bavail * free.f_frsize - left_bytes))
        [outcome] = trials.driver.run(trials.extract(root))
        ledger.inject()
        what = f"{left_bytes} bytes left"
        check_error(ledger, outcome, f"{root}/", what, is_full=True)
        filler.unlink()
        trials.judge(ledger, Trial(what, root, outcome.committed))
        shutil.rmtree(root)


@pytest.mark.protocol("T9", "P9", "files limited in size (RLIMIT_FSIZE)")
@pytest.mark.parametrize("n_trials", sample_and_all(2, 30))
def test_a_limit_on_the_size_of_files(trials, ledger, n_trials):
    rng = Random(10)
    for _ in range(n_trials):
        # A shard is 22 kB, the feature file 128 kB.
        size = rng.randrange(100, 120_000)
        with trials.workspace() as root:
            [outcome] = trials.driver.run(trials.extract(root, None, {"size": size}, job="limited"))
            ledger.inject()
            check_error(ledger, outcome, f"{root}/", f"{size} bytes", is_full=True)
            trials.judge(ledger, Trial(f"{size} bytes", root, outcome.committed))


# ----------------------------------------------------------------------------- the harness can fail


def losses_of(inject):
    """What a wrong writer loses."""
    ledger = Ledger("", "", "", "")
    inject(ledger)
    return ledger.losses


def test_a_plain_write_is_found_to_tear(trials):
    losses = losses_of(lambda ledger: kill_everywhere(trials, ledger, n_calls=28, step=7, writer="plain"))
    assert any("damaged" in loss or "neither" in loss for loss in losses), losses


def test_a_rename_without_sync_is_found_to_lose_committed_rows(trials):
    losses = losses_of(
        lambda ledger: cut_power(trials, ledger, 12, False, killed_at=(0,), writer="rename without sync")
    )
    assert any("committed rows missing" in loss for loss in losses), losses


def test_a_writer_deaf_to_errors_is_found(trials):
    losses = losses_of(
        lambda ledger: fail_everywhere(trials, ledger, "full", n_calls=24, step=8, writer="deaf")
    )
    assert any("committed rows missing" in loss for loss in losses), losses
