"""The index of a store's rows: as a dict of digests, in a fifth of its memory."""

import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from featx.features import row_index
from featx.features.row_index import RowIndex, as_keys


def digest(number):
    # Zeros at both ends: numpy takes the last ones of a string for padding.
    return f"{number % 7:04x}" + f"{number:056x}" + "0000"


@pytest.mark.parametrize("most_recent", [0, 5, 2**17])
@pytest.mark.parametrize("seed", range(8))
def test_an_index_is_a_dict_whatever_is_put_in_and_asked_for_in_between(monkeypatch, most_recent, seed):
    monkeypatch.setattr(row_index, "_MAX_RECENT", most_recent)
    monkeypatch.setattr(row_index, "_BLOCK_ROWS", 3)
    random = np.random.default_rng(seed)
    index, expected = RowIndex(), {}
    for step in range(40):
        digests = [digest(number) for number in random.integers(0, 60, random.integers(0, 6)).tolist()]
        replace = bool(random.integers(2))
        index.put(digests, 100 * step, replace=replace)
        for place, each in enumerate(digests, 100 * step):
            if replace:
                expected[each] = place
            else:
                expected.setdefault(each, place)
        asked = digest(int(random.integers(0, 60)))
        if random.integers(2):
            assert (asked in index) == (asked in expected)
        if random.integers(4) == 0:
            assert len(index) == len(expected)
            assert index.places(list(expected)).tolist() == list(expected.values())
    assert index.digests().tobytes().hex() == "".join(sorted(expected))
    assert index.places(list(expected)[::-1]).tolist() == list(expected.values())[::-1]


@pytest.fixture
def many_switches():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("most_recent", [0, 64, 2**17])
@pytest.mark.usefixtures("many_switches")
def test_threads_find_every_row_while_another_puts_more(monkeypatch, most_recent):
    monkeypatch.setattr(row_index, "_MAX_RECENT", most_recent)
    digests = [digest(number) for number in range(20_000)]
    known, n_a_put, n_puts = digests[:10_000], 16, 200
    index, is_over = RowIndex(), Event()
    index.put(known, 0, replace=False)

    def ask(seed):
        random = np.random.default_rng(seed)
        n_missed = n_asked = 0
        while not is_over.is_set() or not n_asked:
            asked = [known[row] for row in random.integers(0, len(known), 20).tolist()]
            n_missed += sum(each not in index for each in asked)
            index.places(asked[:2])
            n_asked += len(asked)
        return n_missed

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, seed) for seed in range(4)]
        try:
            for place in range(len(known), len(known) + n_puts * n_a_put, n_a_put):
                index.put(digests[place : place + n_a_put], place, replace=True)
                assert digests[place] in index
        finally:
            is_over.set()
        assert [each.result() for each in asking] == [0] * 4
    n_rows = len(known) + n_puts * n_a_put
    assert len(index) == n_rows
    assert index.places(digests[:n_rows]).tolist() == list(range(n_rows))


def test_an_absent_row_is_named():
    index = RowIndex()
    index.put([digest(1), digest(3)], 0, replace=True)
    with pytest.raises(KeyError, match=digest(2)):
        index.places([digest(1), digest(2), digest(3)])
    with pytest.raises(KeyError):
        index.places([digest(99)])
    assert RowIndex().places([]).tolist() == []


@pytest.mark.parametrize("wrong", [["0a"], ["zz" * 32], ["0" * 64, "0" * 62]])
def test_what_is_no_digest_is_refused(wrong):
    with pytest.raises(ValueError, match=r"digests are not of 64 digits|non-hexadecimal"):
        as_keys(wrong)


def test_known_digests_cannot_be_changed():
    index = RowIndex()
    index.put([digest(1)], 0, replace=True)
    with pytest.raises(ValueError, match="read-only"):
        index.digests()[:] = b"x"


def test_a_row_takes_forty_bytes():
    n_rows = 200_000
    index = RowIndex()
    tracemalloc.start()
    for start in range(0, n_rows, 1000):
        index.put([f"{number:064x}" for number in range(start, start + 1000)], start, replace=False)
    assert len(index) == n_rows
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_bytes < 45 * n_rows
