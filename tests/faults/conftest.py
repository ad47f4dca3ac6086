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

ENTRIES = pytest.StashKey[list["Ledger"]]()


@dataclass
class Ledger:
    """Faults injected by one test, and losses."""

    protocol: str
    promises: str
    fault: str
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
    entry = Ledger(*mark.args)
    request.config.stash.setdefault(ENTRIES, []).append(entry)
    started = time.perf_counter()
    yield entry
    entry.seconds = time.perf_counter() - started
    assert entry.n_faults > 0, "no fault was injected"
    assert not entry.losses, f"{len(entry.losses)} losses in {entry.n_faults} faults: {entry.losses[:10]}"


def pytest_terminal_summary(terminalreporter, config) -> None:
    """The table: protocol, promises, what was injected how often, losses, seconds."""
    entries = config.stash.get(ENTRIES, [])
    if not entries or config.getoption("markexpr") != "faults":
        return
    rows: dict[str, Ledger] = {}
    for entry in entries:
        row = rows.setdefault(entry.protocol, Ledger(entry.protocol, entry.promises, entry.fault))
        row.inject(entry.n_faults)
        row.losses += entry.losses
        row.seconds += entry.seconds
        if entry.fault not in row.fault:
            row.fault += f"; {entry.fault}"
    terminalreporter.section("faults and losses")
    line = "{:<4} {:<12} {:>8} {:>7} {:>8}  {}".format
    terminalreporter.write_line(line("test", "promises", "faults", "losses", "seconds", "what was injected"))
    for row in sorted(rows.values(), key=lambda row: int(row.protocol[1:])):
        counts = f"{row.n_faults:,}", len(row.losses), f"{row.seconds:.1f}"
        terminalreporter.write_line(line(row.protocol, row.promises, *counts, row.fault))
    n_faults, n_losses = (
        sum(row.n_faults for row in rows.values()),
        sum(len(row.losses) for row in rows.values()),
    )
    terminalreporter.write_line(
        f"{n_faults:,} faults, {n_losses} losses, {sum(r.seconds for r in rows.values()):.0f} s"
    )
