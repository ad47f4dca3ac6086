"""RowIndex: in which place each row of a store lies, in 40 bytes a row however many there are.

A dict of hexadecimal digests takes some 200 bytes a row, which at tens of millions is most of a machine's
memory. Here digests are sorted bytes beside their places, found by bisection, one or many at once. What was
put in since waits unsorted and is sorted in when somebody looks; a few rows wait in a dict, so that commits
among look-ups do not sort everything each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DIGEST_BYTES = 32
_DTYPE = np.dtype(f"S{DIGEST_BYTES}")

# Sorting these in takes a tenth of a second among ten million, once in as many rows.
_MAX_RECENT = 2**17
# Digests are looked up in blocks: sorted, neighbours are found near each other in memory.
_BLOCK_ROWS = 2**16


class RowIndex:
    """The place of each row, by its digest.

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
        self._digests = np.empty(0, _DTYPE)
        self._places = np.empty(0, np.int64)
        # All put in the same way, and none of them in the arrays above yet.
        self._waiting: list[tuple[np.ndarray, int]] = []
        self._n_waiting = 0
        self._replaces = False
        # Newer than the arrays, and not counted where they hold the digest too.
        self._recent: dict[bytes, int] = {}

    def __len__(self) -> int:
        self._settle()
        return len(self._digests)

    def __contains__(self, digest: str) -> bool:
        self._take_in()
        key = bytes.fromhex(digest)
        return key in self._recent or self._is_sorted_in(key)

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
        if replace != self._replaces:
            self._settle()
            self._replaces = replace
        keys = as_keys(digests)
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
        self._settle()
        places = np.empty(len(digests), np.int64)
        for start in range(0, len(digests), _BLOCK_ROWS):
            block = digests[start : start + _BLOCK_ROWS]
            rows, is_known = _found(self._digests, as_keys(block))
            if not is_known.all():
                raise KeyError(block[int(np.argmin(is_known))])
            places[start : start + len(block)] = self._places[rows]
        return places

    def digests(self) -> np.ndarray:
        """All digests' bytes, sorted, as an array of bytes of length 32; not to be written to."""
        self._settle()
        digests = self._digests.view()
        digests.flags.writeable = False
        return digests

    def _is_sorted_in(self, key: bytes) -> bool:
        row = self._digests.searchsorted(key)
        # A bytes scalar of numpy has lost the zeros at its end.
        return bool(row < len(self._digests) and self._digests[row] == key.rstrip(b"\0"))

    def _take_in(self) -> None:
        """Let rows that wait be found by one look-up: few of them in a dict, many sorted in."""
        if not self._waiting:
            return
        if self._n_waiting + len(self._recent) > _MAX_RECENT:
            self._settle()
            return
        for keys, first in self._waiting:
            # Cut by hand: as scalars of numpy, digests would lose the zeros at their end.
            data = keys.tobytes()
            for row in range(len(keys)):
                key = data[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES]
                if self._replaces:
                    self._recent[key] = first + row
                elif not self._is_sorted_in(key):
                    self._recent.setdefault(key, first + row)
        self._waiting, self._n_waiting = [], 0

    def _settle(self) -> None:
        """Sort in all that is not."""
        if self._recent:
            keys = np.frombuffer(b"".join(self._recent), _DTYPE)
            places = np.fromiter(self._recent.values(), np.int64, len(self._recent))
            self._recent = {}
            # What gives way was left out when it was taken in.
            self._sort_in(keys, places, replace=True)
        if self._waiting:
            waiting, self._waiting, self._n_waiting = self._waiting, [], 0
            self._sort_in(*_joined(waiting), replace=self._replaces)

    def _sort_in(self, keys: np.ndarray, places: np.ndarray, *, replace: bool) -> None:
        # Of equal digests the first stays, or the last.
        order = np.argsort(keys, kind="stable")
        keys, places = keys[order], places[order]
        is_other = keys[1:] != keys[:-1]
        is_kept = np.append(is_other, True) if replace else np.insert(is_other, 0, True)
        if not is_kept.all():
            keys, places = keys[is_kept], places[is_kept]
        if not len(self._digests):
            self._digests, self._places = keys, places
            return
        rows, is_known = _found(self._digests, keys)
        if replace:
            self._places[rows[is_known]] = places[is_known]
        is_new = ~is_known
        self._digests = np.insert(self._digests, rows[is_new], keys[is_new])
        self._places = np.insert(self._places, rows[is_new], places[is_new])


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
