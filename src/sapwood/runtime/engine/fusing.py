"""Nodes that follow a convolution join it: BatchNorms, activations, sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.nodes import Network, Node, Value
from sapwood.runtime.engine.packing import PlaneGeometry, finite


def fused(network: Network) -> Network:
    """Activations and sums join the node in front of them, where nothing else reads that."""
    found = Network(sizes=network.sizes, outputs=network.outputs)
    readers = network.readers()
    makers: dict[Value, int] = {}

    def alone(value: Value) -> Node | None:
        return found.nodes[makers[value]] if value in makers and readers[value] == 1 else None

    for node in network.nodes:
        joined: Node | None = None
        at = -1
        if isinstance(node, nodes.Pointwise):
            before = alone(node.inputs[0])
            if isinstance(before, nodes.Conv | nodes.Combine) and before.activation == nodes.LINEAR:
                joined, at = replace(before, out=node.out, activation=node.activation), makers[node.inputs[0]]
        elif isinstance(node, nodes.Conv) and is_scale(node):
            before = alone(node.inputs[0])
            if isinstance(before, nodes.Conv) and before.activation == nodes.LINEAR and len(before.inputs) == 1:
                joined, at = _scaled(before, node), makers[node.inputs[0]]
            elif isinstance(before, nodes.TokenNorm) and node.activation == nodes.LINEAR:
                joined, at = _scaled_norm(before, node), makers[node.inputs[0]]
        elif isinstance(node, nodes.Combine) and node.kind == "add":
            joined, at = _sum_joined(node, alone, makers)
        if joined is None:
            makers.update(dict.fromkeys(nodes.made(node), len(found.nodes)))
            found.nodes.append(node)
            continue
        # it moves back to where this node stands: what it reads besides may be made in between
        del found.nodes[at]
        makers = {value: place - (place > at) for value, place in makers.items() if place != at}
        makers[node.out] = len(found.nodes)
        found.nodes.append(joined)
    return found


def _sum_joined(
    node: nodes.Combine, alone: Callable[[Value], Node | None], makers: Mapping[Value, int]
) -> tuple[Node | None, int]:
    """The later of two summed convolutions starts from the other operand."""
    for one, other in sorted((node.inputs, node.inputs[::-1]), key=lambda pair: -makers.get(pair[0], -1)):
        before = alone(one)
        if (
            isinstance(before, nodes.Conv)
            and before.activation == nodes.LINEAR
            and len(before.inputs) == 1
            and one != other
        ):
            return replace(before, out=node.out, inputs=(*before.inputs, other), activation=node.activation), makers[
                one
            ]
    return None, -1


def is_scale(node: nodes.Conv) -> bool:
    """Whether it is a factor and a shift for each channel."""
    spec = node.spec
    return (
        spec.weight.shape == (spec.groups, 1, 1, 1) and spec.geometry == PlaneGeometry((1, 1)) and len(node.inputs) == 1
    )


def _scaled(before: nodes.Conv, scale: nodes.Conv) -> nodes.Conv:
    factor = scale.spec.weight[:, 0, 0, 0].astype(np.float64)
    weight = finite((before.spec.weight * factor[:, None, None, None]).astype(np.float32))
    bias = finite((before.spec.bias * factor + scale.spec.bias).astype(np.float32))
    return replace(
        before, out=scale.out, activation=scale.activation, spec=replace(before.spec, weight=weight, bias=bias)
    )


def _scaled_norm(before: nodes.TokenNorm, scale: nodes.Conv) -> nodes.TokenNorm:
    factor = scale.spec.weight[:, 0, 0, 0]
    gains, shifts = finite(before.gains * factor), finite(before.shifts * factor + scale.spec.bias)
    return replace(before, out=scale.out, gains=gains, shifts=shifts)


def without_unused(network: Network) -> Network:
    """Leaves out what no output follows from."""
    wanted = {value for value, _ in network.outputs}
    kept: list[Node] = []
    for node in reversed(network.nodes):
        if wanted.intersection(nodes.made(node)) or isinstance(node, nodes.Input):
            kept.append(node)
            wanted.update(node.inputs)
    return Network(kept[::-1], network.sizes, network.outputs)
