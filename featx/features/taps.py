"""Which layers of a network are worth tapping: the ends of its blocks, found in its graph.

A layer through which every path from the pixels to the output goes is a cut: what it gives is all that
the rest of the network sees. Residual branches have none inside, so cuts stand where blocks end. Of the
cuts are kept

- sums and concatenations, where branches meet, or the activation right behind one;
- what a branch starts from, where it meets its other end next: the end of the block before;
- normalisations that a convolution follows without an activation: ends of linear bottlenecks;
- the last before the maps become smaller: the finest view at that scale.

No weights are needed, so none are downloaded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from featx.features.backbones import is_registered, load_backbone
from featx.features.frozen import BackboneSpec, functional, layer_outputs
from featx.features.tap_names import TOP

if TYPE_CHECKING:
    import keras

# Block ends of one map size beyond this many are thinned out evenly, and the last always stays.
_MOST_PER_SIZE = 5
# Networks whose blocks overlap have hardly any ends of their own.
_FEWEST_ENDS = 3

_MERGES = {"Add", "Concatenate"}
_ACTIVATIONS = {"Activation", "ReLU", "LeakyReLU", "PReLU", "ELU"}
_CONVOLUTIONS = {"Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv1D", "Dense"}
# What hands on, moves or scales numbers without having found anything in them.
_PASSIVE = {
    *("InputLayer", "ZeroPadding2D", "Cropping2D", "Rescaling", "Normalization", "Reshape", "Flatten"),
    *("MaxPooling2D", "AveragePooling2D", "Dropout", "Identity"),
}


@dataclass(frozen=True)
class Tap:
    """A layer that may be kept. See `list_taps`.

    Parameters
    ----------
    name : str
        To pass in ``taps``.
    shape : tuple of int
        Of what it gives for one image: (height, width, channels) of maps.
    depth : float
        Share of the network's convolutions and dense layers that lie before it, itself included.
    n_features : int
        Columns with the pooling "avg".
    """

    name: str
    shape: tuple[int, ...]
    depth: float
    n_features: int


def list_taps(
    backbone: str | os.PathLike[str] | BackboneSpec | keras.Model,
    input_size: tuple[int, ...] | None = None,
    *,
    every_layer: bool = False,
    inputs: str = "images",
) -> list[Tap]:
    """The layers of a backbone that are worth tapping, from the pixels to the output.

    Parameters
    ----------
    backbone : str, path-like, BackboneSpec or keras.Model
        A registered name, a ``.keras`` file, or a model of your own. No weights are downloaded.
    input_size : tuple of int, optional
        (height, width), in pixels; by default the backbone's own. Of arrays, the shape of one sample.
    every_layer : bool, default=False
        Every layer with one output in place of the ends of blocks alone.
    inputs : {"images", "arrays"}, default="images"
        What a model of your own takes; see `FeatureExtractor`.

    Returns
    -------
    list of Tap
        The last is "top", the output.

    Raises
    ------
    BackboneError
        When there is no such backbone, it cannot take the input size, or it is a model with a call of its
        own.

    Examples
    --------
    >>> [tap.name for tap in list_taps("VGG16", (32, 32))]
    ['block1_conv2', 'block2_conv2', 'block3_conv3', 'block4_conv3', 'block5_conv3', 'top']
    >>> list_taps("VGG16", (32, 32))[-2]
    Tap(name='block5_conv3', shape=(2, 2, 512), depth=1.0, n_features=512)
    """
    options: dict[str, Any] = {
        "weights": None,
        "preprocessing": "auto" if is_registered(backbone) else "none",
        "inputs": inputs,
    }
    base = load_backbone(backbone, "avg", (), input_size, **options).base
    graph = functional(base)
    depths, last = _depths(graph), graph.outputs[0]
    outputs = layer_outputs(graph)
    # Of one image's output, where there is just one.
    shapes = {
        name: tuple(output.shape[1:])
        for name, output in outputs.items()
        if output is not None and len(output.shape) > 1
    }
    kept = list(shapes)[1:] if every_layer else _block_ends(graph, shapes)
    inner = [name for name in kept if outputs[name] is not last]
    taps = [Tap(name, shapes[name], depths[name], shapes[name][-1]) for name in inner]
    shape = tuple(last.shape[1:])
    return [*taps, Tap(TOP, shape, 1.0, shape[-1])]


def _kind(operation: Any) -> str:
    return type(operation).__name__


def _depths(graph: Any) -> dict[str, float]:
    n_before, counts = 0, {}
    for operation in graph.operations:
        n_before += _kind(operation) in _CONVOLUTIONS
        counts[operation.name] = n_before
    return {name: round(count / max(1, n_before), 3) for name, count in counts.items()}


# ------------------------------------------------------------------------------------- block ends


def _block_ends(graph: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    parents = _parents(graph)
    n_uses = Counter(name for names in parents.values() for name in names)
    cuts = list(_cuts(graph, parents, n_uses))
    ends = {each.name for each in _ends(cuts, n_uses)}
    if len(ends) < _FEWEST_ENDS:
        ends |= {each.name for each in graph.operations if _kind(each) == "Concatenate"}
    active = [each.name for each in cuts if _kind(each) not in _PASSIVE and each.name in shapes]
    kept = {run[-1] for run in _of_each_size(active, shapes)}
    for run in _of_each_size([name for name in shapes if name in ends], shapes):
        n_kept = min(len(run), _MOST_PER_SIZE)
        kept |= {run[(index + 1) * len(run) // n_kept - 1] for index in range(n_kept)}
    return [name for name in shapes if name in kept]


def _of_each_size(names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """Runs of layers whose maps are of one size."""
    return [list(run) for _, run in groupby(names, lambda name: shapes[name][:-1])]


def _parents(graph: Any) -> dict[str, list[str]]:
    """The names of what each operation takes, over all its calls."""
    parents: dict[str, list[str]] = {operation.name: [] for operation in graph.operations}
    # Keras has no public way to walk a graph.
    for node in (node for nodes in graph._nodes_by_depth.values() for node in nodes):  # noqa: SLF001
        parents[node.operation.name] += [parent.operation.name for parent in node.parent_nodes]
    return parents


def _cuts(graph: Any, parents: Mapping[str, list[str]], n_uses: Mapping[str, int]) -> Iterator[Any]:
    """The operations behind which nothing else is waiting to be used."""
    waiting: Counter[str] = Counter()
    for operation in graph.operations:
        waiting.subtract(parents[operation.name])
        waiting = +waiting
        if not waiting:
            yield operation
        # The output is used by nobody.
        waiting[operation.name] = n_uses.get(operation.name, 1)


def _ends(cuts: Sequence[Any], n_uses: Mapping[str, int]) -> Iterator[Any]:
    """Of the cuts, those where a block ends."""
    for cut, following in pairwise(cuts):
        is_fork = n_uses[cut.name] > 1
        if _kind(cut) in _PASSIVE:
            continue
        if _kind(cut) in _MERGES and not is_fork and _kind(following) in _ACTIVATIONS:
            yield following
        elif (
            _kind(cut) in _MERGES
            or (is_fork and _kind(following) in _MERGES)
            or (_kind(cut) == "BatchNormalization" and _kind(following) in _CONVOLUTIONS)
        ):
            yield cut
