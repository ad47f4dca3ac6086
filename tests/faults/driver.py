"""The driver process of the fault trials: imports everything once, then forks a child for each trial.

Started by `tests.faults.trials` with the shim preloaded. A request is a line of JSON: the children to fork at
once, each with a job, the fault to arm the shim with, and perhaps a time to be killed after. The answer is a
line of JSON with what became of each. A child tells what it has done (above all: which rows are committed)
through a pipe, outside the folder under fault.

The jobs are featx's own: a real extraction with a real network. The network was converted once; its session
runs in one thread, so that it can be started before the fork and a trial need not wait for it.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import hashlib
import json
import os
import select
import signal
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np

import featx
import featx.features.engine_choice
import featx.features.execution
import featx.features.feature_set
import featx.features.shards
from featx.features import engine_decisions
from featx.features.engine_decisions import EngineRequest, recalled_engine
from featx.features.shards import ShardSet
from tests.conftest import write_class_folder
from tests.faults import artefacts
from tests.faults.driver_settings import N_IMAGES, ROWS_PER_SHARD

_MODES = {"record": 1, "kill": 2, "tear": 3, "full": 4, "error": 5, "short": 6}
_CHILD_LIMIT_S = 30.0


def tell(**what):
    """Through the pipe of this child, and into the log that power cuts are simulated from."""
    line = json.dumps(what).encode() + b"\n"
    os.write(tell.descriptor, line)
    SHIM.shim_note(line)


def replace(module, name, value):
    """Put something else into a module; a name that moved must not go unseen."""
    if not hasattr(module, name):
        sys.exit(f"{module.__name__} has no {name} any more")
    setattr(module, name, value)


SHIM = ctypes.CDLL(None)
PROCESSORS = os.sched_getaffinity(0)


# ------------------------------------------------------------------------------------------ jobs


def extractor():
    """The packaged network on small images, a shard every batch."""
    return featx.FeatureExtractor(
        "efficientnet_lite0", input_size=(32, 32), batch_size=ROWS_PER_SHARD, engine="onnx"
    )


def prepare(folder):
    """Images to embed, and a store in which the network has been converted: this alone loads Keras."""
    write_class_folder(Path(folder) / "images", N_IMAGES)
    featx.extract(Path(folder) / "images", extractor(), store=Path(folder) / "prepared")


def prepared_engine(folder):
    """The engine that the prepared store decided on, started from the converted network that it keeps."""
    spec = extractor().fit().spec_
    directory = Path(folder) / "prepared" / "features" / spec.directory_name
    request = EngineRequest("onnx", "float32", ROWS_PER_SHARD, partial(_no_keras), directory, N_IMAGES)
    return recalled_engine(request)


def _no_keras():
    message = "a trial must not load Keras"
    raise AssertionError(message)


def extract(images, store, out, seconds_a_batch=0.0, order=None, seed=0):
    """Embed, telling of every commit, and write the feature file."""
    engine = slowed_engine(seconds_a_batch, seed)
    if order is not None:
        # As if there were more rows than the memory is meant for: they are put in order on the disk.
        for name, value in (("_KEPT_BYTES", 0), ("_MAX_SWITCHES", 0), ("_CACHED_SHARDS", 1)):
            replace(featx.features.shards, name, value)
    replace(featx.features.execution, "choose_engine", lambda _request, _inputs: engine)
    source = featx.as_source(images)
    if order is not None:
        source = source.select(order)
    features = featx.extract(source, extractor(), store=store)
    features.save(out)
    tell(saved=str(out))
    return {"n_computed": features.report.n_computed, "sha256": sha256_of(out)}


def slowed_engine(seconds_a_batch, seed):
    """The prepared engine, slowed so that others find it at work."""
    if not seconds_a_batch:
        return ENGINE
    start, rng = type(ENGINE).start, np.random.default_rng(seed)

    def slow_start(inputs):
        time.sleep(seconds_a_batch * rng.uniform(0, 2))
        return start(ENGINE, inputs)

    ENGINE.start = slow_start
    return ENGINE


def check(images, store, out, order=None):
    """What is there, row by row; then the same work again, to its end."""
    spec = extractor().fit().spec_
    shards = featx.FeatureStore(store).open(spec)
    addresses = [row.tobytes().hex() for row in shards.known().view("u1").reshape(-1, 32)]
    features = shards.reader(addresses)(0, len(addresses)) if addresses else []
    there = {
        address: hashlib.sha256(row.tobytes()).hexdigest()
        for address, row in zip(addresses, features, strict=True)
    }
    found = sha256_of(out) if Path(out).exists() else None
    return {"rows": there, "found": found, **extract(images, store, out, order=order)}


def limited(size, **arguments):
    """The extraction, where no file may be larger than this."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return extract(**arguments)


def sha256_of(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


JOBS = {
    "extract": extract,
    "check": check,
    "limited": limited,
    "prepare": prepare,
    "write": artefacts.write,
    "state": artefacts.state,
}


# ------------------------------------------------------------------------------ deliberately wrong


def plain_write(path, data, **_):
    """Wrong: what a kill leaves of it has the name of the whole."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("wb") as file:
        file.write(data)


def rename_without_sync(path, data, **_):
    """Wrong: a power cut may keep the name and lose the bytes."""
    plain_write(f"{path}.tmp", data)
    Path(f"{path}.tmp").replace(path)


def write_deaf_to_errors(path, data, **_):
    """Wrong: nobody hears of a full disk."""
    try:
        plain_write(path, data)
    except OSError:
        return


WRITERS = {
    "plain": plain_write,
    "rename without sync": rename_without_sync,
    "deaf": write_deaf_to_errors,
}


def take_wrong_writer(name):
    """Let the store, and the feature file, be written by one of these."""
    from contextlib import contextmanager
    from io import BytesIO

    @contextmanager
    def writer(path, **_):
        file = BytesIO()
        yield file
        WRITERS[name](path, file.getvalue())

    replace(featx.features.shards, "atomic_write", WRITERS[name])
    replace(featx.features.feature_set, "atomic_writer", writer)


# -------------------------------------------------------------------------------------- children


def run_child(child, descriptor):
    """In the forked child: arm, work, tell, and leave without anybody's clean-up."""
    tell.descriptor = descriptor
    os.sched_setaffinity(0, PROCESSORS)
    warnings.showwarning = lambda message, category, *_: tell(warning=f"{category.__name__}: {message}")
    warnings.simplefilter("always")
    arm = child.get("arm")
    if child.get("no_locks"):
        fcntl.flock = fcntl.lockf = lambda *_: None
    if child.get("writer"):
        take_wrong_writer(child["writer"])
    time.sleep(child.get("delay_s", 0.0))
    log = os.open(arm["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if arm and "log" in arm else -1
    try:
        if arm:
            SHIM.shim_arm(os.fsencode(arm["root"]), _MODES[arm["mode"]], arm.get("at", 0), log)
        result = JOBS[child["job"]](**child["arguments"])
        tell(result=result, n_calls=SHIM.shim_count())
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what became of the trial
        tell(error=[type(error).__name__, str(error)])
    finally:
        os._exit(0)


def fork(child):
    """A child at work: its process id and the pipe that it tells through."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            run_child(child, writer)
        finally:
            # Wherever an interrupt came: a child never goes on as a driver.
            os._exit(1)
    os.close(writer)
    return pid, reader


def run(children):
    """Fork all at once, kill those that are to be killed when it is time, and gather what they told."""
    started = time.perf_counter()
    at_work = [fork(child) for child in children]
    told = {reader: b"" for _, reader in at_work}
    kill_at = {
        pid: child.get("kill_after_s", _CHILD_LIMIT_S)
        for (pid, _), child in zip(at_work, children, strict=True)
    }
    signals = {
        pid: child.get("signal", signal.SIGKILL) for (pid, _), child in zip(at_work, children, strict=True)
    }
    seconds = {}
    while told.keys() - seconds.keys():
        now = time.perf_counter() - started
        for pid in [pid for pid, at in kill_at.items() if at <= now]:
            os.kill(pid, signals.pop(pid, signal.SIGKILL))
            # One that is only interrupted has a while to end.
            kill_at[pid] = _CHILD_LIMIT_S
        wait = max(0.0, min(kill_at.values(), default=_CHILD_LIMIT_S) - now)
        ready, _, _ = select.select(list(told.keys() - seconds.keys()), [], [], wait)
        for reader in ready:
            if data := os.read(reader, 1 << 20):
                told[reader] += data
                continue
            seconds[reader] = time.perf_counter() - started
            # Not killed any more: its process id may soon be another's.
            kill_at.pop(next(pid for pid, each in at_work if each == reader), None)
    return [outcome(pid, reader, told[reader], seconds[reader]) for pid, reader in at_work]


def outcome(pid, reader, told, seconds):
    """What a child told, and how it ended."""
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    lines = [json.loads(line) for line in told.split(b"\n")[:-1]]
    result = next((line for line in lines if "result" in line), {})
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "committed": [address for line in lines for address in line.get("committed", [])],
        "saved": any("saved" in line for line in lines),
        "warnings": [line["warning"] for line in lines if "warning" in line],
        "error": next((line["error"] for line in lines if "error" in line), None),
        "result": result.get("result"),
        "n_calls": result.get("n_calls"),
        "seconds": seconds,
    }


def tell_of_commits():
    """A row counts as committed once `ShardSet.commit` returned."""
    commit = ShardSet.commit

    def told_commit(self, image_sha256, features, computed_with):
        commit(self, image_sha256, features, computed_with)
        tell(committed=list(image_sha256))

    ShardSet.commit = told_commit


def main(folder):
    """Prepare unless that is done, then serve requests until there are no more."""
    global ENGINE  # noqa: PLW0603 - started once, inherited by every child
    answers = os.fdopen(os.dup(1), "w")
    # What libraries print is no answer.
    os.dup2(2, 1)
    if not (Path(folder) / "prepared").exists():
        failure = run([{"job": "prepare", "arguments": {"folder": folder}, "kill_after_s": 300}])[0]["error"]
        if failure:
            sys.exit(f"cannot prepare: {failure}")
    replace(featx.features.shards, "_MAX_SHARD_ROWS", ROWS_PER_SHARD)
    tell_of_commits()
    # The decision was made for all processors; the session is started on one, because then it starts no
    # threads: no fork would take them along.
    engine_decisions._machine()
    os.sched_setaffinity(0, {min(PROCESSORS)})
    ENGINE = prepared_engine(folder)
    gc.collect()
    # What a child never visits, it need not copy.
    gc.freeze()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
