"""The ledger of the fault suite: what was injected, what it cost, and the table of both.

A test names its protocol (RELIABILITY's T1 to T19) and the promises it holds featx to::

    @pytest.mark.protocol("T2", "P1 P3", "killed before and amid every system call")
    def test_...(ledger):
        ledger.inject()            # one more fault
        ledger.lose("row 7 ...")   # what must never be called

Any loss fails the test, and so does a test that injected nothing. ``scripts/faults`` prints the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.trials import Trials, build_shim, start_trials

PROTOCOLS = [f"T{number}" for number in range(1, 20)]
STARTED = time.monotonic()
ENTRIES = pytest.StashKey[list["Ledger"]]()


@dataclass
class Ledger:
    """Faults injected by one test, and losses."""

    protocol: str
    promises: str
    fault: str
    test: str
    n_faults: int = 0
    losses: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def inject(self, n_faults: int = 1) -> None:
        """Count faults."""
        self.n_faults += n_faults

    def lose(self, what: str) -> None:
        """Note a loss; the test goes on and fails at its end."""
        self.losses.append(what)


@pytest.fixture(scope="session")
def fault_folder(tmp_path_factory) -> Path:
    """Where the shim, and the network that was converted once, are kept."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def shim(fault_folder) -> Path:
    """The library that makes calls fail."""
    return build_shim(fault_folder)


@pytest.fixture(scope="session")
def trials(shim, fault_folder) -> Iterator[Trials]:
    """Extractions under fault."""
    yield from start_trials(shim, fault_folder)


@pytest.fixture(scope="session")
def trials_without_hdf5_locks(trials, shim, fault_folder) -> Iterator[Trials]:
    """The same, with what is often advised for network file systems."""
    # The network is converted by now.
    assert trials.sha256
    yield from start_trials(shim, fault_folder, HDF5_USE_FILE_LOCKING="FALSE")


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """The test's entry in the table, by its mark ``protocol(name, promises, fault)``."""
    mark = request.node.get_closest_marker("protocol")
    entry = Ledger(*mark.args, request.node.nodeid)
    request.config.stash.setdefault(ENTRIES, []).append(entry)
    started = time.perf_counter()
    yield entry
    entry.seconds = time.perf_counter() - started
    assert entry.n_faults > 0, "no fault was injected"
    assert not entry.losses, f"{len(entry.losses)} losses in {entry.n_faults} faults: {entry.losses[:10]}"


def pytest_sessionfinish(session) -> None:
    """A run of the whole suite that left a protocol out has not passed."""
    is_whole = not session.config.getoption("keyword") and _is_the_suite(session.config)
    if is_whole and _missing(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config) -> None:
    """The table: protocol, promises, what was injected how often, losses, seconds."""
    if not _is_the_suite(config):
        return
    reports = [report for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, [])]
    failed = {report.nodeid for report in reports}
    terminalreporter.section("faults and losses")
    line = "{:<4} {:<12} {:>8} {:>7} {:>8}  {}".format
    terminalreporter.write_line(line("test", "promises", "faults", "losses", "seconds", "what was injected"))
    entries = config.stash.get(ENTRIES, [])
    for protocol in PROTOCOLS:
        mine = [entry for entry in entries if entry.protocol == protocol]
        if not mine:
            terminalreporter.write_line(line(protocol, "", "NOT RUN", "", "", ""))
            continue
        losses = str(sum(len(entry.losses) for entry in mine))
        losses += " FAILED" if {entry.test for entry in mine} & failed and losses == "0" else ""
        promises = " ".join(dict.fromkeys(" ".join(entry.promises for entry in mine).split()))
        counts = f"{sum(entry.n_faults for entry in mine):,}", losses, f"{sum(e.seconds for e in mine):.1f}"
        what = "; ".join(dict.fromkeys(entry.fault for entry in mine))
        terminalreporter.write_line(line(protocol, promises, *counts, what))
    n_faults = sum(entry.n_faults for entry in entries)
    n_losses = sum(len(entry.losses) for entry in entries)
    seconds = time.monotonic() - STARTED
    terminalreporter.write_line(
        f"{n_faults:,} faults, {n_losses} losses, {len(failed)} tests failed, {seconds:.0f} s in all"
    )


def _is_the_suite(config) -> bool:
    return config.getoption("markexpr") == "faults"


def _missing(config) -> list[str]:
    run = {entry.protocol for entry in config.stash.get(ENTRIES, [])}
    return [protocol for protocol in PROTOCOLS if protocol not in run]
