"""Files as damage leaves them: one change each, decided by a seed alone."""

from __future__ import annotations

import numpy as np

#: The start of a file is the part that is parsed: half of the changes go there.
_HEAD_BYTES = 2048


def mutant(whole: bytes, seed: int) -> bytes:
    """The bytes of a file with a bit, a byte, a number or a block changed, or its end cut off."""
    rng = np.random.default_rng(seed)
    changed = bytearray(whole)
    end = min(_HEAD_BYTES, len(whole)) if rng.random() < 0.5 else len(whole)
    offset = int(rng.integers(end))
    n_block = int(rng.integers(1, 257))
    kind = seed % 6
    if kind == 0:
        changed[offset] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        changed[offset] = (changed[offset] + int(rng.integers(1, 256))) % 256
    elif kind == 2:
        del changed[int(rng.integers(len(whole))) :]
    elif kind == 3:
        changed[offset : offset + n_block] = bytes(len(changed[offset : offset + n_block]))
    elif kind == 4:
        source = int(rng.integers(len(whole)))
        changed[offset : offset + n_block] = whole[source : source + n_block]
    else:
        # A length, an offset or a count that is far too large.
        changed[offset : offset + 4] = b"\xff\xff\xff\x7f"
    if bytes(changed) == whole:
        changed[offset] ^= 0x80
    return bytes(changed)
