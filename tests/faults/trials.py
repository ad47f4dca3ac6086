"""Fault trials on the store: one driver process, a child forked for each, and the verdict on what it left.

`Trials.extract` is a real extraction with whatever fault; `Trials.judge` is what must hold afterwards,
whatever the fault was: rows that were committed are there, bit for bit; the feature file is whole or absent;
the same command run again computes no more than what is missing, and ends in the same bytes as a run that
nothing happened to.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.power import Call, read_log

if TYPE_CHECKING:
    from tests.faults.conftest import Ledger

_SOURCE = Path(__file__).with_name("shim.c")
_ROOT = Path(__file__).parents[2]

# Two processors, and a process that syncs waits.
_AT_ONCE = 4


def build_shim(folder: Path) -> Path:
    """The shim, compiled; the test is skipped where that cannot be."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the fault shim needs Linux")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("the fault shim needs a C compiler")
    library = folder / "shim.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return library


class Driver:
    """The process of `tests.faults.driver`, with the shim in it."""

    def __init__(self, shim: Path, folder: Path, **environment: str) -> None:
        # Threads of linear algebra would be lost in a fork.
        self._errors = (folder / f"driver-{len(list(folder.iterdir()))}.log").open("w+")
        settings = {"LD_PRELOAD": str(shim), "PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"}
        settings |= {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.driver", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **settings},
        )
        assert self._answer() == "ready", self._told()

    def run(self, *children: dict[str, Any]) -> list[Outcome]:
        """Fork these children at once; what became of each."""
        print(json.dumps(children), file=self._process.stdin, flush=True)
        return [Outcome(**each) for each in json.loads(self._answer() or self._told())]

    def close(self) -> None:
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> str:
        return self._process.stdout.readline().strip()

    def _told(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-4_000:]


@dataclass
class Outcome:
    """What became of a child: how it ended, and what it had told by then."""

    signal: int
    committed: list[str]
    saved: bool
    warnings: list[str]
    error: list[str] | None
    result: Any
    n_calls: int | None
    seconds: float


@dataclass
class Trials:
    """A driver, and what a run without a fault gives."""

    driver: Driver
    images: Path
    base: Path
    sha256: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._names = count()
        with self.workspace() as root:
            [first] = self.driver.run(self.extract(root))
            assert first.error is None, first.error
            assert first.saved
            self.sha256, self.seconds = first.result["sha256"], first.seconds
            [again] = self.driver.run(self.check(root))
            assert again.error is None, again.error
            self.rows = again.result["rows"]
            assert sorted(first.committed) == sorted(self.rows)
            assert (again.result["n_computed"], again.result["sha256"]) == (0, self.sha256)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """An empty folder for one trial."""
        root = self.base / f"{next(self._names):06d}"
        root.mkdir()
        try:
            yield root
        finally:
            shutil.rmtree(root)

    def _job(self, job: str, root: Path, arm: dict | None, arguments: dict, child: dict) -> dict[str, Any]:
        store, out = root / "cache", root / child.pop("out", "out/f.h5")
        arguments = {"images": str(self.images), "store": str(store), "out": str(out), **arguments}
        return {"job": job, "arguments": arguments, "arm": arm, **child}

    def extract(
        self, root: Path, arm: dict | None = None, arguments: dict | None = None, **child: Any
    ) -> dict:
        """The real extraction into a store and a feature file."""
        job = child.pop("job", "extract")
        return self._job(job, root, arm, arguments or {}, child)

    def check(self, root: Path, arm: dict | None = None, **arguments: Any) -> dict:
        """What is there, and then the same extraction to its end."""
        return self._job("check", root, arm, arguments, {})

    def record(self, child: dict[str, Any], root: Path, until: int | None = None) -> list[Call]:
        """The calls of a run without a fault, or that is killed before one of its calls."""
        log = self.base / "log"
        armed = {"mode": "record", "root": str(root), "log": str(log), "at": until or 0}
        [outcome] = self.driver.run({**child, "arm": armed})
        assert was_killed(outcome) if until else outcome.error is None, outcome
        calls = read_log(log, root)
        log.unlink()
        return calls

    def waves(self, children: Sequence[Callable[[Path], dict]]) -> Iterator[list[tuple[Path, Outcome]]]:
        """Each child in a folder of its own, a few at once; the folders are gone with the next wave."""
        for start in range(0, len(children), _AT_ONCE):
            wave = children[start : start + _AT_ONCE]
            with ExitStack() as stack:
                roots = [stack.enter_context(self.workspace()) for _ in wave]
                outcomes = self.driver.run(*(make(root) for make, root in zip(wave, roots, strict=True)))
                yield list(zip(roots, outcomes, strict=True))

    def judge(self, ledger: Ledger, *trials: Trial, is_damaged: bool = False) -> list[Outcome]:
        """Note every loss (see the module's first words). Of a damaged store some rows may be missing."""
        found = self.driver.run(*(self.check(trial.root) for trial in trials))
        for trial, outcome in zip(trials, found, strict=True):
            for loss in self._losses(trial, outcome, is_damaged=is_damaged):
                ledger.lose(f"{trial.what}: {loss}")
        return found

    def _losses(self, trial: Trial, again: Outcome, *, is_damaged: bool) -> Iterator[str]:
        if again.result is None:
            yield f"not to be resumed from: signal {again.signal}, {again.error}"
            return
        found = again.result
        missing = [address for address in trial.committed if address not in found["rows"]]
        wrong = [address for address, row in found["rows"].items() if self.rows.get(address) != row]
        if (missing and not is_damaged) or wrong:
            yield f"{len(missing)} committed rows missing, {len(wrong)} wrong"
        if found["found"] not in ((self.sha256,) if trial.is_saved else (None, self.sha256)):
            yield f"the feature file is neither absent nor whole, or gone: {found['found']}"
        if found["n_computed"] != len(self.rows) - len(found["rows"]):
            yield f"{found['n_computed']} rows computed, {len(found['rows'])} were there"
        if found["sha256"] != self.sha256:
            yield "the resumed run ends in another file"
        if again.warnings and not is_damaged:
            yield again.warnings[0]


@dataclass(frozen=True)
class Trial:
    """What a fault left, and what had been promised by then."""

    what: str
    root: Path
    committed: Sequence[str] = ()
    is_saved: bool = False


def arm(mode: str, root: Path, at: int) -> dict[str, Any]:
    """The shim, armed for the at-th call below a folder."""
    return {"mode": mode, "root": str(root), "at": at}


def was_killed(outcome: Outcome) -> bool:
    return outcome.signal == signal.SIGKILL


@contextmanager
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is tested is the order of calls, not the disk."""
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else tmp_path
    folder = Path(tempfile.mkdtemp(prefix="featx-faults-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start_trials(shim: Path, folder: Path, **environment: str) -> Iterator[Trials]:
    """A driver, until the tests are through."""
    for package in ("onnxruntime", "tf2onnx"):
        pytest.importorskip(package, reason='the fault trials need the extra "onnx"')
    driver = Driver(shim, folder, **environment)
    try:
        with fast_folder(folder) as base:
            yield Trials(driver, folder / "images", base)
    finally:
        driver.close()
