"""What taps and poolings are called: blocks of columns, as pairs, and the shortest way to ask for them.

A block is one pooling of one tap, ``tap:pooling``. Extractors name blocks by taps and a pooling of all;
where taps have poolings of their own, each says so itself: ``("top:avg", "block_10:max")``. Every choice
of blocks has one canonical pair of taps and pooling, so that equal columns have equal keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

from featx.checks import explain, suggest
from featx.errors import BackboneError, StoreError
from featx.features.fingerprint import ExtractionSpec

#: How feature maps become vectors; several are joined by "+".
POOLING = ("avg", "max", "gem", "none")

#: The tap that stands for a network's output.
TOP = "top"

#: Tap and pooling of each block of columns, in order.
Blocks: TypeAlias = tuple[tuple[str, str], ...]


def split_pooling(pooling: object) -> tuple[str, ...]:
    """The parts of a pooling, each of `POOLING` and none twice.

    Raises
    ------
    BackboneError
        When it is anything else.

    Examples
    --------
    >>> split_pooling("max+gem")
    ('max', 'gem')
    """
    parts = tuple(pooling.split("+")) if isinstance(pooling, str) else ()
    if not parts or not set(parts) <= set(POOLING):
        expected = ", ".join(map(repr, POOLING))
        received = f"pooling={pooling!r}"
        raise BackboneError(explain(received, f"one of {expected}", "pass one, or several joined by '+'"))
    if len(set(parts)) < len(parts):
        raise BackboneError(explain(f"pooling={pooling!r}", "each pooling once", "drop the repeated one"))
    return parts


def split_tap(name: str) -> tuple[str, tuple[str, ...]]:
    """The layer of a tap, and the poolings that stand behind it, if any do.

    Examples
    --------
    >>> split_tap("block_10:avg+max"), split_tap("block_10")
    (('block_10', ('avg', 'max')), ('block_10', ()))
    """
    layer, _, suffix = name.rpartition(":")
    # A layer's own name may have a colon.
    return (layer, split_pooling(suffix)) if layer and set(suffix.split("+")) <= set(POOLING) else (name, ())


def read_blocks(taps: Sequence[str], pooling: str) -> Blocks:
    """The blocks that taps and a pooling ask for; no taps mean the network's output.

    Raises
    ------
    BackboneError
        When a tap is no name, a pooling is unknown, or a block is asked for twice.

    Examples
    --------
    >>> read_blocks(["block_4", "top:max"], "avg+gem")
    (('block_4', 'avg'), ('block_4', 'gem'), ('top', 'max'))
    """
    common = split_pooling(pooling)
    if isinstance(taps, str):
        raise BackboneError(explain(f"taps={taps!r}", "a sequence of layers' names", f"pass [{taps!r}]"))
    blocks: list[tuple[str, str]] = []
    for name in taps or (TOP,):
        if not isinstance(name, str) or not name:
            raise BackboneError(explain(f"the tap {name!r}", "a layer's name", "pass names only"))
        layer, poolings = split_tap(name)
        blocks += [(layer, part) for part in poolings or common]
    for block in blocks:
        if blocks.count(block) > 1:
            received = f"the tap {':'.join(block)!r} more than once"
            raise BackboneError(explain(received, "each once", "drop the repeated one"))
    return tuple(blocks)


def describe_blocks(blocks: Blocks) -> tuple[tuple[str, ...], str]:
    """The canonical taps and pooling of some blocks: what `read_blocks` makes the same blocks of.

    Returns
    -------
    taps : tuple of str
        Layers alone where all have the same poolings, else each with its own.
    pooling : str
        Of every tap; where they differ, all that occur, in order of appearance.

    Examples
    --------
    >>> describe_blocks((("block_4", "avg"), ("block_4", "max"), ("top", "avg"), ("top", "max")))
    (('block_4', 'top'), 'avg+max')
    >>> describe_blocks((("block_4", "max"), ("top", "avg")))
    (('block_4:max', 'top:avg'), 'max+avg')
    """
    grouped = [
        (tap, "+".join(part for _, part in run)) for tap, run in groupby(blocks, lambda block: block[0])
    ]
    poolings = {pooling for _, pooling in grouped}
    if len(poolings) == 1:
        return tuple(tap for tap, _ in grouped), poolings.pop()
    occurring = dict.fromkeys(pooling for _, pooling in blocks)
    return tuple(f"{tap}:{pooling}" for tap, pooling in grouped), "+".join(occurring)


def choose_blocks(
    names: Sequence[str], chosen: Sequence[str] | None, poolings: Sequence[str] | None
) -> list[str]:
    """Names of the blocks that a selection means, in the order asked for.

    Parameters
    ----------
    names : sequence of str
        Of all blocks there are, ``tap:pooling``.
    chosen : sequence of str, optional
        Taps, blocks, or taps with several poolings; by default every tap.
    poolings : sequence of str, optional
        Of taps that do not name theirs; by default every pooling that a tap has.

    Raises
    ------
    StoreError
        When nothing is asked for, or something that is not there, or something twice.

    Examples
    --------
    >>> choose_blocks(["a:avg", "a:max", "b:avg"], ["b", "a:max"], None)
    ['b:avg', 'a:max']
    >>> choose_blocks(["a:avg", "a:max", "b:avg"], None, ["avg"])
    ['a:avg', 'b:avg']
    """
    for value in (chosen, poolings):
        if isinstance(value, str) or (value is not None and not len(value)):
            raise StoreError(explain(f"the selection {value!r}", "a sequence of names", "pass a list"))
    if not names:
        raise StoreError(explain("features without a spec", "taps and poolings", "extract them with featx"))
    parts_of: dict[str, list[str]] = {}
    for name in names:
        tap, _, pooling = name.rpartition(":")
        parts_of.setdefault(tap, []).append(pooling)
    found: list[str] = []
    for name in parts_of if chosen is None else chosen:
        tap, own = (name, ()) if name in parts_of else split_tap(name)
        if tap not in parts_of:
            raise StoreError(explain(f"the tap {name!r}", "one that was extracted", suggest(name, parts_of)))
        wanted = own or poolings or parts_of[tap]
        if lacking := [pooling for pooling in wanted if pooling not in parts_of[tap]]:
            expected = f"of {tap}, one of {', '.join(parts_of[tap])}"
            remedy = "choose of these or extract it"
            raise StoreError(explain(f"the pooling {lacking[0]!r}", expected, remedy))
        found += [f"{tap}:{pooling}" for pooling in wanted]
    if repeated := [name for name in found if found.count(name) > 1]:
        raise StoreError(explain(f"{repeated[0]} more than once", "each once", "drop the repeated one"))
    return found


def narrowed_spec(spec: ExtractionSpec, names: Sequence[str]) -> ExtractionSpec:
    """The spec of some blocks of an extraction: that of an extractor which is asked for these alone.

    Examples
    --------
    >>> from featx import FeatureExtractor
    >>> spec = FeatureExtractor("efficientnet_lite0", pooling="avg+max").fit().spec_
    >>> narrowed_spec(spec, ["top:max"]) == FeatureExtractor("efficientnet_lite0", pooling="max").fit().spec_
    True
    """
    widths = dict(spec.feature_blocks)
    parts = (name.rpartition(":") for name in names)
    taps, pooling = describe_blocks(tuple((tap, pooling) for tap, _, pooling in parts))
    return dataclasses.replace(
        spec,
        # Of the output alone an extractor says that there are no taps.
        taps=() if taps == (TOP,) else taps,
        pooling=pooling,
        feature_blocks=tuple((name, widths[name]) for name in names),
    )
