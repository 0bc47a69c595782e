"""What a network is to the engine: a few kinds of nodes over named feature maps, batch and tensors' types left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from sapwood.runtime.engine.packing import ConvSpec, Geometry

Value: TypeAlias = int
"""A feature map of the network, by number."""

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
    geometry: Geometry
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


@dataclass
class Network:
    """Nodes in order.

    Attributes:
        nodes: What makes each value, before it is used.
        sizes: Of each value.
        outputs: What the network returns, with the shape of each beside the batch.
    """

    nodes: list[Node] = field(default_factory=list)
    sizes: dict[Value, Size] = field(default_factory=dict)
    outputs: list[tuple[Value, tuple[int, ...]]] = field(default_factory=list)

    def readers(self) -> dict[Value, int]:
        """How often each value is read, the network's outputs included."""
        counts = dict.fromkeys(self.sizes, 0)
        for value in [one for node in self.nodes for one in node.inputs] + [value for value, _ in self.outputs]:
            counts[value] += 1
        return counts
