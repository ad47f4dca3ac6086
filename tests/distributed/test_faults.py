"""Processes of a cluster killed at random, one that computes and then the one that plans: nothing is lost."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import write_class_folder

pytestmark = pytest.mark.ray

N_IMAGES = 1000
# Keras alone, so that every run computes with the same engine.
OPTIONS = ["--backbone", "MobileNetV2", "--weights", "none", "--input-size", "96", "--engine", "keras"]
OPTIONS += ["--batch-size", "4"]
ON_RAY = ["--ray", "--actors", "2"]


def command(folder, store, out, *options):
    words = ["extract", folder, "--store", store, "--out", out, *OPTIONS, *options]
    return [sys.executable, "-m", "featx", *map(str, words)]


def run(*args):
    """The command's JSON and the digest of the file it wrote."""
    done = subprocess.run(command(*args, "--json"), check=True, capture_output=True, timeout=300)
    return json.loads(done.stdout), hashlib.sha256(Path(args[2]).read_bytes()).hexdigest()


def parent_and_title(pid):
    """Of a process that lives."""
    with contextlib.suppress(OSError, IndexError):
        stat = Path(f"/proc/{pid}/stat").read_text()
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        return int(stat.rpartition(")")[2].split()[1]), title
    return None


def descendants(pid):
    """Process ids and titles of everything that a process started."""
    processes = {int(path.name): parent_and_title(path.name) for path in Path("/proc").glob("[0-9]*")}
    found, parents = {}, {pid}
    while parents:
        children = {each: said for each, said in processes.items() if said and said[0] in parents}
        found |= {each: said[1] for each, said in children.items()}
        parents = set(children) - parents
    return found


def kill_an_actor(driver, drawn):
    actors = [pid for pid, title in descendants(driver.pid).items() if "ray::Backbone" in title]
    if actors:
        with contextlib.suppress(ProcessLookupError):
            os.kill(drawn.choice(actors), signal.SIGKILL)
    return bool(actors)


def kill_the_driver(driver):
    started = descendants(driver.pid)
    driver.kill()
    driver.wait()
    # Ray ends what works by itself; its agents stay, and are none of this test's business.
    at_work = [pid for pid, title in started.items() if "Agent" not in title]
    ended = time.monotonic() + 30
    while any(parent_and_title(pid) for pid in at_work) and time.monotonic() < ended:
        time.sleep(0.2)
    assert not any(parent_and_title(pid) for pid in at_work)
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def shards_of(store):
    return {path.name for path in store.glob("features/*/*.h5")}


def n_rows_of(shards):
    return sum(int(name.partition("-")[0]) for name in shards)


def begun(folder, store, out):
    """A run on a cluster that has committed its first rows."""
    words = command(folder, store, out, *ON_RAY)
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    ended = time.monotonic() + 120
    while not shards_of(store) and driver.poll() is None and time.monotonic() < ended:
        time.sleep(0.02)
    assert driver.poll() is None, driver.stderr.read().decode()
    return driver


@pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=pytest.mark.faults)])
def test_an_actor_and_then_the_driver_are_killed(tmp_path, n_kills):
    folder = write_class_folder(tmp_path / "images", n_images=N_IMAGES)
    _, reference = run(folder, tmp_path / "here", tmp_path / "here.h5")
    drawn, n_actors_killed, kept = random.Random(0), 0, []
    for number in range(n_kills):
        store, out = tmp_path / f"store {number}", tmp_path / f"{number}.h5"
        driver = begun(folder, store, out)
        time.sleep(drawn.uniform(0, 1))
        n_actors_killed += kill_an_actor(driver, drawn)
        time.sleep(drawn.uniform(0, 4))
        kill_the_driver(driver)
        driver.stderr.close()
        committed = shards_of(store)
        kept.append(n_rows_of(committed))
        told, digest = run(folder, store, out, *ON_RAY)
        assert digest == reference
        assert committed <= shards_of(store)
        # Of what was committed no row is computed again.
        assert (told["n_cached"], told["n_computed"]) == (kept[-1], N_IMAGES - kept[-1])
    print(f"{n_kills} trials, {n_actors_killed} actors killed; of {N_IMAGES} rows were kept {kept}")
    assert n_actors_killed == n_kills
    assert any(0 < n_rows < N_IMAGES for n_rows in kept)


def test_a_killed_actor_costs_the_run_nothing(tmp_path):
    folder = write_class_folder(tmp_path / "images", n_images=N_IMAGES)
    _, reference = run(folder, tmp_path / "here", tmp_path / "here.h5")
    store, out = tmp_path / "there", tmp_path / "there.h5"
    driver = begun(folder, store, out)
    assert kill_an_actor(driver, random.Random(1))
    _, told = driver.communicate(timeout=200)
    assert driver.returncode == 0, told.decode()
    assert hashlib.sha256(out.read_bytes()).hexdigest() == reference
