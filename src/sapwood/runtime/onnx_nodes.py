"""From the nodes that a runtime has made of an ONNX file, fused and renamed, back to the modules of the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapwood.export import QuickOnnx
from sapwood.runtime.base import OVERHEAD, RUNTIME

CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU", "RNN"})
"""ONNX operators that do the work of what they are fused into."""


@dataclass(frozen=True)
class Ran:
    """A node as a runtime ran it.

    Attributes:
        name: What the runtime calls it.
        origins: Names of the file's nodes or values that it says are in it, the likeliest first.
        contraction: Whether it is a convolution or a matrix product.
    """

    name: str
    origins: tuple[str, ...]
    contraction: bool


class NodeHomes:
    """The module that each node of a runtime works for.

    Args:
        exported: The file that the runtime loaded.
    """

    def __init__(self, exported: QuickOnnx) -> None:
        self._modules = exported.modules
        self._nodes = {node.name: node for node in exported.graph.node}
        self._producers = {value: node for node in exported.graph.node for value in node.output}

    def homes(self, ran: Iterable[Ran]) -> dict[str, str]:
        """Gives each node that ran its module, :data:`RUNTIME` where it has none.

        A runtime names what it fused after the last operator in it (``/layers.0/act/LeakyRelu``), and the convolution
        in front is where the time goes: it is looked for backwards from there, among those that no other node is.

        Args:
            ran: The nodes in the order in which they ran; a name that comes twice counts once.
        """
        nodes = self._nodes_of(ran)
        return {
            name: RUNTIME if node is None else self._modules.get(node.name, RUNTIME) for name, node in nodes.items()
        }

    def contractions(self, ran: Iterable[Ran]) -> tuple[str, ...]:
        """The names of the file's convolutions and matrix products among what ran, each once, in that order."""
        found = self._nodes_of(ran).values()
        return tuple(dict.fromkeys(node.name for node in found if _contracts(node)))

    def _nodes_of(self, ran: Iterable[Ran]) -> dict[str, Any]:
        """The file's node that each node that ran stands for, None where there is none."""
        nodes = {one.name: one for one in ran}
        found = {name: self._node(one.origins) for name, one in nodes.items()}
        claimed = {id(node) for name, node in found.items() if nodes[name].contraction and _contracts(node)}
        for name, node in found.items():
            if node is not None and nodes[name].contraction and not _contracts(node):
                inner = self._contraction_behind(node, claimed)
                if inner is not None:
                    claimed.add(id(inner))
                    found[name] = inner
        return found

    def _node(self, origins: Sequence[str]) -> Any:
        """The first of the named nodes that the file has, a contraction if one is among them."""
        nodes = [node for name in origins if (node := self._longest_known(name)) is not None]
        return next(filter(_contracts, nodes), nodes[0] if nodes else None)

    def _longest_known(self, name: str) -> Any:
        """The node with this name or of the value with this name, without what a runtime put behind it."""
        while name:
            node = self._nodes.get(name) or self._producers.get(name)
            if node is not None:
                return node
            name = re.sub(r"[/_][^/_]*$", "", name) if re.search(r"[/_]", name) else ""
        return None

    def _contraction_behind(self, node: Any, claimed: set[int]) -> Any:
        """The nearest contraction before ``node`` that no other node that ran stands for."""
        level, seen = [node], {id(node)}
        while level:
            before = [self._producers[value] for one in level for value in one.input if value in self._producers]
            level = []
            for one in before:
                if id(one) not in seen:
                    seen.add(id(one))
                    if not _contracts(one):
                        level.append(one)
                    elif id(one) not in claimed:
                        return one
        return None


def _contracts(node: Any) -> bool:
    return node is not None and node.op_type in CONTRACTIONS


def summed(times: Mapping[str, float], homes: Mapping[str, str], run: float) -> dict[str, float]:
    """Adds the times of nodes up by the module they belong to; what is left of the run is :data:`OVERHEAD`.

    Args:
        times: By node.
        homes: Node -> module.
        run: The whole run's time, on another clock: where the nodes' clocks add up to more, nothing is left.

    Examples:
        >>> summed({"a": 1.0, "b": 2.0, "c": 4.0}, {"a": "conv", "b": "conv", "c": "(runtime)"}, 7.5)
        {'conv': 3.0, '(runtime)': 4.0, '(overhead)': 0.5}
    """
    total: dict[str, float] = {}
    for name, value in times.items():
        total[homes[name]] = total.get(homes[name], 0.0) + value
    return total | {OVERHEAD: max(run - sum(times.values()), 0.0)}
