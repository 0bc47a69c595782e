"""Which part of a network runs where: programs of the engine and calls of PyTorch, in turns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from sapwood.runtime.engine.nodes import Input, Network, Node, Outside, Value, made

GIVEN = -1
"""The level of inputs, which both sides may read."""


@dataclass(frozen=True)
class EnginePart:
    """A part that becomes one program.

    Attributes:
        network: Its nodes: inputs are what it reads of other parts, outputs what other parts read.
        reads: The values that its inputs are.
    """

    network: Network
    reads: tuple[Value, ...]

    @property
    def makes(self) -> tuple[Value, ...]:
        """The values that its outputs are."""
        return tuple(value for value, _ in self.network.outputs)


@dataclass(frozen=True)
class OutsidePart:
    """What PyTorch runs: its calls, and nodes of the engine's that are faster there."""

    nodes: tuple[Node, ...]


Part: TypeAlias = EnginePart | OutsidePart


def partition(network: Network, moved: Collection[Value] = ()) -> list[Part]:
    """Splits a network into as few turns as its order of reading allows.

    Each node belongs to the first turn of its side that comes after all that it reads.

    Args:
        network: Whole.
        moved: What nodes make that PyTorch runs though the engine could.
    """
    levels: dict[Value, int] = {}
    members: dict[int, list[Node]] = {}
    for node in network.nodes:
        level = GIVEN
        if not isinstance(node, Input):
            side = int(isinstance(node, Outside) or node.out in moved)
            level = max([side, *(one + (one - side) % 2 for one in (levels[value] for value in node.inputs))])
            members.setdefault(level, []).append(node)
        levels.update(dict.fromkeys(made(node), level))
    wanted = {value for node in network.nodes for value in node.inputs if levels[node.out] != levels[value]}
    wanted |= {value for value, _ in network.outputs}
    return [
        _engine_part(network, members[level], wanted) if level % 2 == 0 else OutsidePart(tuple(members[level]))
        for level in sorted(members)
    ]


def _engine_part(network: Network, members: list[Node], wanted: set[Value]) -> EnginePart:
    own = {node.out for node in members}
    reads = tuple(dict.fromkeys(value for node in members for value in node.inputs if value not in own))
    inputs: list[Node] = [Input(value, (), "", index) for index, value in enumerate(reads)]
    sizes = {value: network.sizes[value] for value in (*reads, *(node.out for node in members))}
    outputs: list[tuple[Value, tuple[int, ...]]] = [
        (node.out, (1, *network.sizes[node.out])) for node in members if node.out in wanted
    ]
    return EnginePart(Network(inputs + members, sizes, outputs), reads)
