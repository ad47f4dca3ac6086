"""The blocks of a network, and a classifier taken apart between those that train and those that do not.

Architectures are blocks in a row, and they name their layers by them: ``block_15_project`` belongs to
``block_15``, ``conv5_block3_2_conv`` to ``conv5_block3``. Fine-tuning thaws whole blocks from the head
downwards. Everything before the deepest layer that trains gives the same activations in every epoch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.checks import explain
from featx.errors import ConversionError

if TYPE_CHECKING:
    import keras

# How the models of keras.applications, and most others, name what belongs to one block.
_BLOCK_NAMES = (
    re.compile(r"(?P<block>.*?block_?\d+[a-z]?)(?:_|$)"),
    re.compile(r"(?P<block>expanded_conv(?:_\d+)?)(?:_|$)"),
    re.compile(r"conv_(?:dw|pw)_(?P<block>\d+)(?:_|$)"),
    re.compile(r"(?P<block>mixed_?\d+[a-z]?)(?:_|$)"),
    re.compile(r".*(?:normal|reduction|adjust)(?:_|left|right).*_(?P<block>(?:reduce_|stem_)?\d+)$"),
)
# What stands before the first block and behind the last one.
_STEM, _TOP = "stem", "top"


@dataclass(frozen=True)
class Block:
    """Layers that are frozen or trained together.

    Attributes
    ----------
    name : str
        As the architecture names it.
    layers : tuple of keras.layers.Layer
        Those that have weights.
    """

    name: str
    layers: tuple[Any, ...]

    @property
    def n_params(self) -> int:
        """Number of weights."""
        return sum(layer.count_params() for layer in self.layers)


@dataclass(frozen=True)
class Parts:
    """A classifier as `featx.attach_head` makes it, in its pieces; they share its weights.

    Attributes
    ----------
    before : keras.Model
        From images to what the network takes.
    features : keras.Model
        From images to what the head takes.
    network : keras.Model
    after : keras.Model
        From what the network gives to scores: pooling and head.
    head : keras.Model
    """

    before: keras.Model
    features: keras.Model
    network: keras.Model
    after: keras.Model
    head: keras.Model


def parts_of(model: keras.Model) -> Parts:
    """Take a classifier apart.

    Parameters
    ----------
    model : keras.Model
        As `featx.attach_head` makes it: a network and a head, with preprocessing and pooling around.

    Returns
    -------
    Parts

    Raises
    ------
    ConversionError
        When it is another model.

    Examples
    --------
    >>> import keras
    >>> from featx import attach_head, load_backbone
    >>> head = keras.Sequential([keras.Input((1280,)), keras.layers.Dense(2, "softmax")])
    >>> model = attach_head(load_backbone("MobileNetV2", input_size=(32, 32), weights=None), head)
    >>> parts_of(model).network.name
    'mobilenetv2_1.00_32'
    """
    import keras

    nested = [layer for layer in getattr(model, "layers", []) if isinstance(layer, keras.Model)]
    if len(nested) != 2 or nested[1] is not model.layers[-1] or len(model.outputs) != 1:
        received = f"the model {getattr(model, 'name', type(model).__name__)}"
        raise ConversionError(explain(received, "a backbone with a head behind it", "make it by attach_head"))
    if len(model.input_shape) != 4 or model.inputs[0].dtype != "uint8":
        received = f"the model {model.name} from {model.inputs[0].dtype} {model.input_shape}"
        raise ConversionError(explain(received, "one from uint8 images", "make it by attach_head"))
    network, head = nested
    calls = dict(_node(tensor) for tensor in _tensors_below(model.outputs))
    before = keras.Model(model.inputs[0], one_or_list(calls[network].input_tensors))
    features = keras.Model(model.inputs[0], calls[head].input_tensors[0])
    after = keras.Model(one_or_list(calls[network].output_tensors), model.outputs[0])
    return Parts(before, features, network, after, head)


def blocks_of(network: keras.Model) -> list[Block]:
    """The blocks of a network, from the image upwards.

    Parameters
    ----------
    network : keras.Model

    Returns
    -------
    list of Block
        Layers whose name says of no block belong to the one that they lead to, before the first to "stem"
        and behind the last to "top", unless that would be a normalisation only. Where no name says of any,
        every layer with weights is a block, together with the normalisation behind it.

    Examples
    --------
    >>> from featx import load_backbone
    >>> network = load_backbone("VGG16", input_size=(32, 32), weights=None).base
    >>> [block.name for block in blocks_of(network)]
    ['block1', 'block2', 'block3', 'block4', 'block5']
    """
    named = [layer for layer in network.layers if _block_name(layer.name)]
    if not named:
        return _layer_blocks(network)
    above = _blocks_above(network)
    first = network.layers.index(named[0])
    members: dict[str, list[Any]] = {}
    for index, layer in enumerate(network.layers):
        if layer.weights:
            name = _STEM if index < first else above[layer]
            members.setdefault(name, []).append(layer)
    if len(members) > 1 and all(map(_is_norm, members.get(_TOP, [None]))):
        # To train the closing normalisation alone would be to train nothing.
        closing = members.pop(_TOP)
        members[next(reversed(members))] += closing
    return [Block(name, tuple(layers)) for name, layers in members.items()]


def last_blocks(blocks: Sequence[Block], unfreeze: str) -> list[Block]:
    """The blocks that train.

    Parameters
    ----------
    blocks : sequence of Block
    unfreeze : str
        "none", "last:N" or "all".

    Raises
    ------
    ConversionError
        When it is nothing of these, or there are fewer blocks.

    Examples
    --------
    >>> last_blocks([Block("block1", ()), Block("block2", ())], "last:1")
    [Block(name='block2', layers=())]
    """
    if unfreeze in ("none", "all"):
        return list(blocks) if unfreeze == "all" else []
    match = re.fullmatch(r"last:(\d+)", unfreeze) if isinstance(unfreeze, str) else None
    n_blocks = int(match[1]) if match else 0
    if not 0 < n_blocks <= len(blocks):
        expected = f'"none", "all", or "last:1" to "last:{len(blocks)}", this network\'s number of blocks'
        raise ConversionError(explain(f"unfreeze={unfreeze!r}", expected, "pass one of these"))
    return list(blocks[-n_blocks:])


def cut(network: keras.Model, trained: Sequence[Any]) -> tuple[keras.Model, keras.Model]:
    """A network in two: what comes before every layer that trains, and the rest.

    Parameters
    ----------
    network : keras.Model
    trained : sequence of keras.layers.Layer
        None of them: the first part is the whole network.

    Returns
    -------
    frozen, rest : keras.Model
        They share the network's weights. The second takes what the first gives: one tensor where the network
        is a row of blocks, a list where the cut goes through branches.

    Examples
    --------
    >>> from featx import load_backbone
    >>> network = load_backbone("VGG16", input_size=(32, 32), weights=None).base
    >>> frozen, rest = cut(network, [network.get_layer("block5_conv1")])
    >>> [output.shape for output in frozen.outputs]
    [(None, 2, 2, 512)]
    """
    import keras

    trained_tensors: set[int] = set()
    below = list(_tensors_below(network.outputs))
    # Producers stand behind their consumers, so that one pass from the back sees every path.
    for tensor in reversed(below):
        operation, node = _node(tensor)
        if operation in trained or any(id(source) in trained_tensors for source in node.input_tensors):
            trained_tensors.add(id(tensor))
    crossing: dict[int, Any] = {}
    for tensor in below:
        sources = _node(tensor)[1].input_tensors if id(tensor) in trained_tensors else []
        crossing.update({id(source): source for source in sources if id(source) not in trained_tensors})
    untrained = [output for output in network.outputs if id(output) not in trained_tensors]
    crossing.update({id(output): output for output in untrained})
    tensors = list(crossing.values())
    # A tap in the first part is an output too, and Keras wants no output that is an input.
    ends = [keras.layers.Identity()(end) if id(end) in crossing else end for end in network.outputs]
    inputs, between, outputs = map(one_or_list, (network.inputs, tensors, ends))
    return keras.Model(inputs, between), keras.Model(between, outputs)


def one_or_list(values: list[Any]) -> Any:
    """As Keras wants a model's inputs and outputs: one as itself, several as a list.

    Examples
    --------
    >>> one_or_list([1]), one_or_list([1, 2])
    (1, [1, 2])
    """
    return values[0] if len(values) == 1 else values


def activation_size(model: keras.Model) -> int:
    """Numbers that a model computes for one sample, over all its operations.

    Examples
    --------
    >>> import keras
    >>> activation_size(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.ReLU()]))
    10
    """
    nested = [layer for layer in model.layers if hasattr(layer, "layers")]
    own: int = sum(math.prod(tensor.shape[1:]) for tensor in _tensors_below(model.outputs))
    return own + sum(activation_size(layer) for layer in nested)


def _block_name(layer_name: str) -> str:
    matches = (pattern.match(layer_name) for pattern in _BLOCK_NAMES)
    return next((match["block"] for match in matches if match), "")


def _blocks_above(network: keras.Model) -> dict[Any, str]:
    """For each operation its block, or that of the earliest operation that it leads to."""
    place = {layer: index for index, layer in enumerate(network.layers)}
    # Names with the place of the layer that they come from, of which the earliest wins.
    found: dict[Any, tuple[int, str]] = {}
    for tensor in _tensors_below(network.outputs):
        operation, node = _node(tensor)
        name = _block_name(operation.name)
        if name:
            found[operation] = (place.get(operation, len(place)), name)
        block = found.setdefault(operation, (len(place), _TOP))
        for source in node.input_tensors:
            producer = _node(source)[0]
            found[producer] = min(found.get(producer, block), block)
    return {operation: name for operation, (_, name) in found.items()}


def _is_norm(layer: Any) -> bool:
    return "Normalization" in type(layer).__name__


def _layer_blocks(network: keras.Model) -> list[Block]:
    members: list[list[Any]] = []
    for layer in network.layers:
        if layer.weights and not (members and _is_norm(layer)):
            members.append([])
        if layer.weights:
            members[-1].append(layer)
    return [Block(layers[0].name, tuple(layers)) for layers in members]


def _node(tensor: Any) -> tuple[Any, Any]:
    """The operation that a symbolic tensor comes from, and the call of it."""
    # Keras has no public way to ask this of an operation that was called more than once.
    history = tensor._keras_history  # noqa: SLF001
    return history.operation, history.operation._inbound_nodes[history.node_index]  # noqa: SLF001


def _tensors_below(outputs: Sequence[Any]) -> Iterator[Any]:
    """Every tensor that outputs are made of, they themselves first; each before those it is made of."""
    order: list[Any] = []
    seen: set[int] = set()
    # Networks are deeper than Python's recursion goes. True: all that this tensor is made of is in order.
    stack: list[tuple[Any, bool]] = [(output, False) for output in outputs]
    while stack:
        tensor, is_done = stack.pop()
        if is_done:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            stack.extend((source, False) for source in _node(tensor)[1].input_tensors)
    yield from reversed(order)
