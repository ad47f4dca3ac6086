"""The journal: a search that was killed goes on where it was, and trusts nothing that is not its own."""

import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from featx import HeadError, HeadSpec, StoreError
from featx.heads.search import HeadSearch
from tests.heads.real_data import cancer, scaled

ROOT = Path(__file__).parents[2]

SCRIPT = """
import os, signal, sys
from sklearn.naive_bayes import GaussianNB
from tests.heads.real_data import cancer
from featx import HeadSearch, HeadSpec

log, journal, die_at = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Logged(GaussianNB):
    def fit(self, X, y, sample_weight=None):
        with open(log, "a") as file:
            file.write(f"{self.var_smoothing} {len(y)} {X.sum()}\\n")
        if len(open(log).readlines()) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y, sample_weight)

spec = HeadSpec("logged", Logged(), {"var_smoothing": [1e-9, 1e-6, 1e-3, 1e-1]})
search = HeadSearch(spec, cv=3, random_state=0, refit=False, journal=journal).fit(*cancer())
for name in ("split0", "split1", "split2", "mean", "rank"):
    print(search.cv_results_[f"{name}_test_score"].tolist())
"""


def run(log, journal, die_at=0):
    command = [sys.executable, "-c", SCRIPT, str(log), str(journal), str(die_at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_killed_search_fits_nothing_again_that_was_finished(tmp_path):
    log, journal = tmp_path / "log", tmp_path / "journal"
    die_at = int(np.random.default_rng().integers(2, 12))
    assert run(log, journal, die_at).returncode == -9
    again = run(log, journal)
    assert again.returncode == 0, again.stderr
    fits = log.read_text().splitlines()
    # What was being fitted when the kill came is fitted twice, and nothing else is.
    assert len(fits) == 13, die_at
    assert len(set(fits)) == 12
    assert again.stdout == run(tmp_path / "other log", tmp_path / "other").stdout


class Counted(GaussianNB):
    n_fits = 0

    def fit(self, X, y, sample_weight=None):
        Counted.n_fits += 1
        return super().fit(X, y, sample_weight)


SPEC = HeadSpec("counted", Counted(), {"var_smoothing": [1e-9, 1e-3]})


def n_fits(journal, X=None, y=None, weight=None, **options):
    """How many fits a search with a journal takes."""
    given_X, given_y = cancer()
    Counted.n_fits = 0
    options = {"cv": 3, "random_state": 0, "refit": False, "journal": journal, **options}
    X, y = given_X if X is None else X, given_y if y is None else y
    search = HeadSearch(SPEC, **options).fit(X, y, sample_weight=weight)
    assert not np.isnan(search.cv_results_["mean_test_score"]).any()
    return Counted.n_fits


def test_a_second_search_reads_what_the_first_wrote(tmp_path):
    assert n_fits(tmp_path / "journal") == 6
    assert n_fits(tmp_path / "journal") == 0


OTHERS = {
    "features": lambda X, _: {"X": X + 1e-6},
    "labels": lambda _, y: {"y": 1 - y},
    "folds": lambda *_: {"random_state": 1},
    "scoring": lambda *_: {"scoring": "roc_auc"},
    "weights": lambda _, y: {"weight": 1.0 + y},
    "class weights": lambda *_: {"class_weight": "balanced"},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_problems_lines_are_neither_used_nor_lost(other, tmp_path):
    journal = tmp_path / "journal"
    n_fits(journal)
    assert n_fits(journal, **OTHERS[other](*cancer())) == 6
    assert n_fits(journal) == 0


def test_a_torn_last_line_is_fitted_again(tmp_path):
    journal = tmp_path / "journal"
    n_fits(journal)
    journal.write_bytes(journal.read_bytes()[:-9])
    assert n_fits(journal) == 1
    assert n_fits(journal) == 0


def test_a_line_that_a_nearly_full_disk_cuts_short_is_written_again(tmp_path, monkeypatch):
    write, n_calls = os.write, []

    def cut_first(descriptor, data):
        n_calls.append(len(data))
        return write(descriptor, data[: len(data) // 2] if len(n_calls) == 3 else data)

    monkeypatch.setattr(os, "write", cut_first)
    n_fits(tmp_path / "journal")
    assert n_calls[2] == n_calls[3]
    assert n_fits(tmp_path / "journal") == 0


def test_a_flipped_byte_costs_its_line_alone(tmp_path):
    journal = tmp_path / "journal"
    n_fits(journal)
    data = bytearray(journal.read_bytes())
    place = data.index(b'"score": 0.') + len(b'"score": 0.')
    data[place] = ord("1") if data[place] != ord("1") else ord("2")
    journal.write_bytes(bytes(data))
    assert n_fits(journal) == 1


@pytest.mark.parametrize("name", ["", "absent/journal"])
def test_a_journal_that_cannot_be_written_is_one_error_before_any_fit(name, tmp_path):
    with pytest.raises(StoreError, match="a file that can be written; pass another path"):
        n_fits(tmp_path / name)
    assert Counted.n_fits == 0


def test_a_scorer_without_a_name_cannot_be_journalled(tmp_path):
    with pytest.raises(HeadError, match="a scorer that is known by its name"):
        n_fits(tmp_path / "journal", scoring=lambda head, X, y: head.score(X, y))
    assert Counted.n_fits == 0


def test_candidates_are_named_alike_in_every_process():
    estimator = scaled(LogisticRegression(C=0.1, class_weight={0: 1.0, 1: 2.0}))
    code = (
        "import joblib; from tests.heads.real_data import scaled;"
        "from sklearn.linear_model import LogisticRegression as L;"
        "print(joblib.hash(scaled(L(C=0.1, class_weight={1: 2.0, 0: 1.0}))))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == joblib.hash(estimator), found.stderr


def test_a_head_without_a_name_cannot_be_journalled(tmp_path):
    class Local(Counted):
        pass

    with pytest.raises(HeadError, match="classes and functions that are known by name"):
        HeadSearch(HeadSpec("local", Local(), {}), cv=3, journal=tmp_path / "journal").fit(*cancer())


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not to be appended to")
    with pytest.raises(StoreError, match="another file"):
        HeadSearch("knn", cv=3, journal=path).fit(*cancer())
    assert path.read_text() == "not to be appended to"
