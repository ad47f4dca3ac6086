"""A worker that dies and a search that is killed: what was finished is kept, and nothing else differs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from featx import FeatxWarning, HeadSearch, HeadSpec
from tests.heads.real_data import cancer

N_CANDIDATES, N_FOLDS, N_JOBS = 10, 2, 2
FIT_S = 0.03
ROOT = Path(__file__).parents[2]


class Fragile(GaussianNB):
    """A head that notes each fit when it is through, and kills its process where ``dies`` says so."""

    def __init__(self, log="", number=0, *, dies=False, var_smoothing=1e-9):
        super().__init__(var_smoothing=var_smoothing)
        self.log = log
        self.number = number
        self.dies = dies

    def fit(self, X, y, sample_weight=None):
        if self.dies:
            self._note("dies")
            os.kill(os.getpid(), signal.SIGKILL)
        # Long enough for a kill to find it at work.
        time.sleep(FIT_S)
        super().fit(X, y, sample_weight)
        self._note("fitted")
        return self

    def _note(self, what):
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(
            descriptor, f"{what} {self.number} {self.theta_.sum() if what == 'fitted' else 0}\n".encode()
        )
        os.close(descriptor)


def search(log, journal=None, *, deadly=None):
    """Ten candidates, of which one may be deadly."""
    specs = [
        HeadSpec(
            f"head {number}",
            Fragile(str(log), number, dies=number == deadly, var_smoothing=10.0 ** (number - 12)),
            {},
        )
        for number in range(N_CANDIDATES)
    ]
    return HeadSearch(specs, cv=N_FOLDS, random_state=0, refit=False, journal=journal)


def journalled(path):
    """The cells that stand whole in a journal, by candidate and fold."""
    lines = [line.rpartition(b" ")[0] for line in path.read_bytes().split(b"\n") if line.startswith(b"{")]
    cells = []
    for line in lines:
        try:
            cell = json.loads(line)
        except ValueError:
            # The one that the kill tore.
            continue
        cells.append((cell["candidate"], cell["fold"]))
    return cells


def scores_of(fitted):
    """What two searches must agree on: everything but the seconds."""
    names = [name for name in fitted.cv_results_ if "_time" not in name and name != "params"]
    return {
        name: [str(value) for value in fitted.cv_results_[name]]
        for name in names
        if not name.startswith("param_")
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return search(tmp_path_factory.mktemp("undisturbed") / "log").fit(*cancer())


@pytest.mark.parametrize(
    "deadly", [3, *(pytest.param(number, marks=pytest.mark.faults) for number in (0, 1, 4, 6, 8, 9))]
)
@pytest.mark.protocol("T15", "P16", "candidates that kill their workers")
def test_a_dead_worker_costs_its_candidate_alone(deadly, ledger, tmp_path, undisturbed):
    log, journal = tmp_path / "log", tmp_path / "journal"
    with joblib.parallel_config(backend="loky", n_jobs=N_JOBS), pytest.warns(FeatxWarning, match="failed"):
        found = search(log, journal, deadly=deadly).fit(*cancer())
    notes = log.read_text().splitlines()
    fits = [note for note in notes if note.startswith("fitted")]
    # One amid the others, and one a fold when it has a worker of its own.
    ledger.inject(len(notes) - len(fits))
    errors = [""] * N_CANDIDATES
    errors[deadly] = "its worker process died: out of memory, or killed"
    if found.cv_results_["error"].tolist() != errors:
        ledger.lose(f"{deadly} dies: {found.cv_results_['error'].tolist()}")
    for fold in range(N_FOLDS):
        ours, theirs = (
            np.delete(each.cv_results_[f"split{fold}_test_score"], deadly).tolist()
            for each in (found, undisturbed)
        )
        if ours != theirs:
            ledger.lose(f"{deadly} dies: fold {fold} scores {ours}, not {theirs}")
    cells = journalled(journal)
    if len(cells) != N_FOLDS * (N_CANDIDATES - 1) or len(set(cells)) != len(cells):
        ledger.lose(f"{deadly} dies: {len(cells)} cells in the journal, {len(set(cells))} of them distinct")
    # What joblib had handed out when the worker died may be fitted again: twice as many as there are workers.
    n_again = len(fits) - len(set(fits))
    if n_again > 2 * N_JOBS:
        ledger.lose(f"{deadly} dies: {n_again} finished fits made again")


# Forked from a process that has everything imported: a trial then takes as long as its fits.
SCRIPT = """
import json, os, signal, sys, time
import numpy as np
from tests.faults.test_workers import FIT_S, N_CANDIDATES, N_FOLDS, search, scores_of
from tests.heads.real_data import cancer

folder, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
cancer()

def fork(log, journal, out):
    child = os.fork()
    if child == 0:
        try:
            scores = scores_of(search(log, journal).set_params(n_jobs=2).fit(*cancer()))
            with open(out, "w") as file:
                json.dump(scores, file)
        finally:
            os._exit(0)
    return child

for trial in range(first, last):
    rng = np.random.default_rng(trial)
    log, journal, out = (f"{folder}/{trial}.{name}" for name in ("log", "journal", "json"))
    child = fork(log, journal, out)
    time.sleep(rng.uniform(0.02, 0.6 * N_CANDIDATES * N_FOLDS * FIT_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    before = open(journal, "rb").read() if os.path.exists(journal) else b""
    open(f"{folder}/{trial}.before", "wb").write(before)
    n_before = len(open(log).readlines()) if os.path.exists(log) else 0
    os.waitpid(fork(log, journal, out), 0)
    print(trial, os.WIFSIGNALED(status), n_before, flush=True)
"""


@pytest.mark.parametrize(
    ("first", "last"), [(0, 3), pytest.param(3, 23, marks=pytest.mark.faults)], ids=["sample", "all"]
)
@pytest.mark.protocol("T15", "P16", "the search itself killed at random, and run again")
def test_a_killed_search_goes_on_where_it_was(first, last, ledger, tmp_path, undisturbed):
    expected = scores_of(undisturbed)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), str(first), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    trials = [line.split() for line in done.stdout.splitlines()]
    assert len(trials) == last - first
    for trial, was_killed, n_before in trials:
        ledger.inject(was_killed == "True")
        kept = set(journalled(tmp_path / f"{trial}.before"))
        cells = journalled(tmp_path / f"{trial}.journal")
        if len(set(cells)) != len(cells) or not kept <= set(cells) or len(cells) != N_CANDIDATES * N_FOLDS:
            ledger.lose(f"trial {trial}: {len(cells)} cells, {len(set(cells))} distinct, {len(kept)} before")
        n_fits = len((tmp_path / f"{trial}.log").read_text().splitlines())
        if n_fits - int(n_before) != N_CANDIDATES * N_FOLDS - len(kept):
            ledger.lose(f"trial {trial}: {n_fits - int(n_before)} fits with {len(kept)} of 20 cells kept")
        if json.loads((tmp_path / f"{trial}.json").read_text()) != expected:
            ledger.lose(f"trial {trial}: other results than an undisturbed search")
