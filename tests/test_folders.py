"""A folder takes its name when it is complete, and the one before it stays until then."""

import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

import pytest

import featx.folders
from featx.errors import StoreError
from featx.files import TEMPORARY_MAX_AGE_S
from featx.folders import atomic_folder


def fill(path, text):
    with atomic_folder(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a.txt").write_text(text)


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_folder_is_made_and_replaced_with_all_that_it_holds(tmp_path):
    fill(tmp_path / "new" / "m", "one")
    (tmp_path / "new" / "m" / "more.txt").write_text("old")
    fill(tmp_path / "new" / "m", "two")
    assert listing(tmp_path) == ["new", "new/m", "new/m/inner", "new/m/inner/a.txt"]
    assert (tmp_path / "new" / "m" / "inner" / "a.txt").read_text() == "two"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_old_folder_survives_a_failure(tmp_path, error):
    fill(tmp_path / "m", "one")

    def fail():
        with atomic_folder(tmp_path / "m") as folder:
            (folder / "a.txt").write_text("two")
            raise error

    with pytest.raises(error):
        fail()
    assert listing(tmp_path) == ["m", "m/inner", "m/inner/a.txt"]


def test_without_a_way_to_exchange_names_a_folder_is_replaced_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(featx.folders, "_exchange", lambda _one, _other: False)
    test_a_folder_is_made_and_replaced_with_all_that_it_holds(tmp_path)


def test_names_are_exchanged_in_one_step(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not featx.folders._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this system cannot exchange names")
    assert listing(tmp_path) == ["a", "a/b", "b", "b/a"]
    with pytest.raises(FileNotFoundError):
        featx.folders._exchange(tmp_path / "a", tmp_path / "none")


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(featx.folders, "_exchange", lambda _one, _other: False)
    fill(tmp_path / "m", "one")
    rename = Path.rename
    n_calls = []

    def fail_once(self, target):
        n_calls.append(target)
        if len(n_calls) == 2:
            raise PermissionError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(StoreError, match="Permission denied"):
        fill(tmp_path / "m", "two")
    assert (tmp_path / "m" / "inner" / "a.txt").read_text() == "one"
    assert listing(tmp_path) == ["m", "m/inner", "m/inner/a.txt"]


def test_a_link_leads_to_the_folder_that_is_replaced(tmp_path):
    fill(tmp_path / "m", "one")
    (tmp_path / "link").symlink_to("m")
    fill(tmp_path / "link", "two")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "m" / "inner" / "a.txt").read_text() == "two"


def test_leftovers_of_killed_processes_are_swept(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    leftover = tmp_path / f".featx-{process.pid}-{uuid4().hex}.tmp"
    mine = tmp_path / f".featx-{os.getpid()}-{uuid4().hex}.tmp"
    for folder in (leftover, mine):
        folder.mkdir()
        (folder / "a.txt").write_text("half")
        past = time.time() - TEMPORARY_MAX_AGE_S - 60
        os.utime(folder, (past, past))
    fill(tmp_path / "m", "one")
    assert not leftover.exists()
    assert mine.exists()


def test_killed_between_the_renames_the_old_folder_is_kept_until_there_is_a_new_one(tmp_path):
    fill(tmp_path / "m", "one")
    aside = tmp_path / ".featx-m.old"
    (tmp_path / "m").rename(aside)
    os.utime(aside, (0, 0))
    # Sweeps what is stale, but not this.
    fill(tmp_path / "other", "two")
    assert (aside / "inner" / "a.txt").read_text() == "one"
    fill(tmp_path / "m", "three")
    assert (tmp_path / "m" / "inner" / "a.txt").read_text() == "three"
    assert not aside.exists()
