"""What a network is to the engine: a few kinds of nodes over named feature maps, batch and tensors' types left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch

from sapwood.runtime.engine.packing import Array, ConvSpec, PlaneGeometry

Value: TypeAlias = int
"""A feature map or another tensor of the network, by number."""

MOST_ROWS = 1 << 24
"""Of a table: the number of each is a float32."""

Size: TypeAlias = tuple[int, int, int]
"""Channels, height and width of a feature map."""


@dataclass(frozen=True)
class Activation:
    """What is done to each value. ReLU is ``leaky`` of slope 0."""

    name: str = "linear"
    slope: float = 0.0


LINEAR = Activation()


@dataclass(frozen=True)
class Node:
    """What makes a value.

    Attributes:
        out: The value.
        inputs: What it is made of.
        label: The module that it belongs to.
    """

    out: Value
    inputs: tuple[Value, ...]
    label: str


@dataclass(frozen=True)
class Input(Node):
    """One of the network's inputs."""

    index: int


@dataclass(frozen=True)
class Conv(Node):
    """A convolution, or a linear layer on a map of one place. A second input is added before the activation."""

    spec: ConvSpec
    activation: Activation = LINEAR


@dataclass(frozen=True)
class Pool(Node):
    """Max or average pooling."""

    kind: Literal["max", "average"]
    geometry: PlaneGeometry
    all_places: bool = True


@dataclass(frozen=True)
class Upsample(Node):
    """Nearest, by whole factors."""

    factors: tuple[int, int]


@dataclass(frozen=True)
class Combine(Node):
    """Sum or product of two; of a product the second may be of one place."""

    kind: Literal["add", "mul"]
    activation: Activation = LINEAR


@dataclass(frozen=True)
class Pointwise(Node):
    """An activation that could join nothing."""

    activation: Activation


@dataclass(frozen=True)
class Concat(Node):
    """Channels one after the other."""


@dataclass(frozen=True)
class Channels(Node):
    """Some channels in a row."""

    first: int


@dataclass(frozen=True)
class View(Node):
    """Values of a map in another order: channel (i, j), place (k, l) is value ``first`` and as many steps of each."""

    first: int
    counts: tuple[int, int, int, int]
    steps: tuple[int, int, int, int]


@dataclass(frozen=True)
class Places(Node):
    """Places of several maps one after the other."""


@dataclass(frozen=True)
class Constant(Node):
    """Known numbers, of shape (channels, places)."""

    values: Array


@dataclass(frozen=True)
class TokenNorm(Node):
    """Each place brought to one size over its channels, and to mean 0 before where it is centred."""

    gains: Array
    shifts: Array
    epsilon: float
    centred: bool


@dataclass(frozen=True)
class Attention(Node):
    """Tokens are the sums of values, by the softmax of the products of queries and keys.

    Inputs are queries, keys, values and, if there is one, the mask: (1 or heads) times keys channels, of one place or
    of one a query.

    Attributes:
        heads: Of the queries.
        groups: Heads of keys and values.
        depth: Channels of a head of queries and keys.
        value_depth: Channels of a head of values.
        steps: Channels from a head to the next, of queries, keys and values.
        scale: Of the products.
        safe: Whether a token that may see nothing gets 0, or else NaN.
    """

    heads: int
    groups: int
    depth: int
    value_depth: int
    steps: tuple[int, int, int]
    scale: float
    safe: bool


@dataclass(frozen=True)
class Embedding(Node):
    """Rows of a table, shape (rows, channels); its input is a tensor of whole numbers, a place each."""

    table: Array


@dataclass(frozen=True)
class Read:
    """Among the arguments of an :class:`Outside` call: a value, and the shape in which it is read."""

    value: Value
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Outside(Node):
    """A call that PyTorch runs, for the engine has no such operation.

    Attributes:
        outs: Its tensors, of which ``out`` is the first.
        op: The operator.
        args: Positional arguments: :class:`Read` for what the network computes, tensors that are known, and the rest.
        kwargs: Keyword arguments, likewise.
        location: ``file:line`` of the model's code that made the call.
        reason: Why the engine does not.
    """

    outs: tuple[Value, ...]
    op: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    location: str = ""
    reason: str = ""


@dataclass
class Network:
    """Nodes in order.

    Attributes:
        nodes: What makes each value, before it is used.
        sizes: Of each value that is a map; what PyTorch makes may be of any shape and type.
        outputs: What the network returns, with the shape of each.
    """

    nodes: list[Node] = field(default_factory=list)
    sizes: dict[Value, Size] = field(default_factory=dict)
    outputs: list[tuple[Value, tuple[int, ...]]] = field(default_factory=list)

    def numbers_of_rows(self) -> set[Value]:
        """The inputs that hold whole numbers, which say rows of tables."""
        return {node.inputs[0] for node in self.nodes if isinstance(node, Embedding)}

    def readers(self) -> Counter[Value]:
        """How often each value is read, the network's outputs included."""
        return Counter([one for node in self.nodes for one in node.inputs] + [value for value, _ in self.outputs])


def made(node: Node) -> tuple[Value, ...]:
    """The values that a node makes."""
    return node.outs if isinstance(node, Outside) else (node.out,)
