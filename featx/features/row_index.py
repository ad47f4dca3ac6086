"""RowIndex: in which place each row of a store lies, in 40 bytes a row however many there are.

A dict of hexadecimal digests takes some 200 bytes a row, which at tens of millions is most of a machine's
memory. Here digests are sorted bytes beside their places, found by bisection, one or many at once. What was
put in since waits unsorted and is sorted in when somebody looks; a few rows wait in a dict, so that commits
among look-ups do not sort everything each time.

Threads may look up while another puts in. What is known is published as one tuple whose arrays never change,
so a look-up needs no lock, unless there is something to take in first.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np

DIGEST_BYTES = 32
_DTYPE = np.dtype(f"S{DIGEST_BYTES}")

# Sorting these in takes a tenth of a second among ten million, once in as many rows.
_MAX_RECENT = 2**17
# Digests are looked up in blocks: sorted, neighbours are found near each other in memory.
_BLOCK_ROWS = 2**16


class _Known(NamedTuple):
    digests: np.ndarray
    places: np.ndarray
    # Newer than the arrays, and not counted where they hold the digest too. Rows are added, never taken out.
    recent: dict[bytes, int]

    def is_sorted_in(self, key: bytes) -> bool:
        row = self.digests.searchsorted(key)
        # A bytes scalar of numpy has lost the zeros at its end.
        return bool(row < len(self.digests) and self.digests[row] == key.rstrip(b"\0"))


class RowIndex:
    """The place of each row, by its digest; for several threads at once.

    Examples
    --------
    >>> index = RowIndex()
    >>> index.put(["0a" * 32, "0b" * 32], 7, replace=True)
    >>> "0b" * 32 in index, "0c" * 32 in index, len(index)
    (True, False, 2)
    >>> index.places(["0b" * 32, "0a" * 32])
    array([8, 7])
    """

    def __init__(self) -> None:
        # Held by whoever changes anything below.
        self._lock = Lock()
        self._known = _Known(np.empty(0, _DTYPE), np.empty(0, np.int64), {})
        # All put in the same way, and none of them known yet.
        self._waiting: list[tuple[np.ndarray, int]] = []
        # Back to 0 only when they are known: who reads 0 without the lock finds all that was put in.
        self._n_waiting = 0
        self._replaces = False

    def __len__(self) -> int:
        return len(self._settled().digests)

    def __contains__(self, digest: str) -> bool:
        if self._n_waiting:
            with self._lock:
                self._take_in()
        key = bytes.fromhex(digest)
        known = self._known
        return key in known.recent or known.is_sorted_in(key)

    def put(self, digests: Sequence[str], first_place: int, *, replace: bool) -> None:
        """Note rows that lie side by side.

        Parameters
        ----------
        digests : sequence of str
            64 hexadecimal digits each.
        first_place : int
            Of the first; the others follow.
        replace : bool
            Whether they take the place of rows of the same digests, or give way to them.
        """
        keys = as_keys(digests)
        with self._lock:
            # Where rows are looked up between puts, those go on while this thread sorts.
            is_full = bool(self._known.recent) and self._n_left(len(keys)) < 0
            if replace != self._replaces or is_full:
                self._settle()
                self._replaces = replace
            self._waiting.append((keys, first_place))
            self._n_waiting += len(keys)

    def places(self, digests: Sequence[str]) -> np.ndarray:
        """The places of rows, in the order asked.

        Parameters
        ----------
        digests : sequence of str, length n_rows

        Returns
        -------
        ndarray of int64 of shape (n_rows,)

        Raises
        ------
        KeyError
            Of a digest that is not known.
        """
        known = self._settled()
        places = np.empty(len(digests), np.int64)
        for start in range(0, len(digests), _BLOCK_ROWS):
            block = digests[start : start + _BLOCK_ROWS]
            rows, is_known = _found(known.digests, as_keys(block))
            if not is_known.all():
                raise KeyError(block[int(np.argmin(is_known))])
            places[start : start + len(block)] = known.places[rows]
        return places

    def digests(self) -> np.ndarray:
        """All digests' bytes, sorted, as an array of bytes of length 32; not to be written to."""
        digests = self._settled().digests.view()
        digests.flags.writeable = False
        return digests

    def _settled(self) -> _Known:
        with self._lock:
            self._settle()
            return self._known

    def _n_left(self, n_more: int) -> int:
        """How many rows the dict has room for beside what waits and some more."""
        return _MAX_RECENT - len(self._known.recent) - self._n_waiting - n_more

    def _take_in(self) -> None:
        """Let rows that wait be found by one look-up: few of them in a dict, many sorted in."""
        if self._n_left(0) < 0:
            self._settle()
            return
        known = self._known
        for keys, first in self._waiting:
            # Cut by hand: as scalars of numpy, digests would lose the zeros at their end.
            data = keys.tobytes()
            for row in range(len(keys)):
                key = data[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES]
                if self._replaces:
                    known.recent[key] = first + row
                elif not known.is_sorted_in(key):
                    known.recent.setdefault(key, first + row)
        self._waiting, self._n_waiting = [], 0

    def _settle(self) -> None:
        """Sort in all that is not."""
        if recent := self._known.recent:
            keys = np.frombuffer(b"".join(recent), _DTYPE)
            places = np.fromiter(recent.values(), np.int64, len(recent))
            # What gives way was left out when it was taken in.
            self._known = _sorted_in(self._known, keys, places, replace=True)
        if self._waiting:
            self._known = _sorted_in(self._known, *_joined(self._waiting), replace=self._replaces)
            self._n_waiting = 0


def _sorted_in(known: _Known, keys: np.ndarray, places: np.ndarray, *, replace: bool) -> _Known:
    """What is known with more rows, and none of them in a dict; those in one before have to be among them."""
    # Of equal digests the first stays, or the last.
    order = np.argsort(keys, kind="stable")
    keys, places = keys[order], places[order]
    is_other = keys[1:] != keys[:-1]
    is_kept = np.append(is_other, True) if replace else np.insert(is_other, 0, True)
    if not is_kept.all():
        keys, places = keys[is_kept], places[is_kept]
    if not len(known.digests):
        return _Known(keys, places, {})
    rows, is_known = _found(known.digests, keys)
    is_new = ~is_known
    all_places = np.insert(known.places, rows[is_new], places[is_new])
    if replace:
        # Each has moved by as many as came in before it.
        all_places[(rows + np.cumsum(is_new))[is_known]] = places[is_known]
    return _Known(np.insert(known.digests, rows[is_new], keys[is_new]), all_places, {})


def _joined(waiting: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Digests and places of all that waits, which is emptied."""
    places = np.concatenate([np.arange(first, first + len(keys)) for keys, first in waiting])
    keys = np.concatenate([keys for keys, _ in waiting])
    waiting.clear()
    return keys, places


def as_keys(digests: Sequence[str]) -> np.ndarray:
    """Hexadecimal digests as an array of bytes of length 32.

    Raises
    ------
    ValueError
        When they are not of 64 hexadecimal digits each.

    Examples
    --------
    >>> as_keys(["61" * 32])[0][:4]
    b'aaaa'
    """
    keys = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8)
    if keys.size != DIGEST_BYTES * len(digests):
        raise ValueError(f"{len(digests)} digests are not of {2 * DIGEST_BYTES} digits each")
    return keys.view(_DTYPE)


def _found(known: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in sorted digests each key stands or would stand, and whether it is there."""
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    rows = np.empty(len(keys), np.intp)
    rows[order] = found = np.searchsorted(known, in_order)
    is_known = np.zeros(len(keys), bool)
    is_within = found < len(known)
    is_known[order[is_within]] = known[found[is_within]] == in_order[is_within]
    return rows, is_known
