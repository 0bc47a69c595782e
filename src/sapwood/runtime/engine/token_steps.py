"""Nodes over tokens as operations of a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.nodes import Node
from sapwood.runtime.engine.program import Builder

TOKENS = (nodes.View, nodes.Places, nodes.Constant, nodes.TokenNorm, nodes.Attention, nodes.Embedding)


@dataclass(frozen=True)
class TokenStep:
    """An operation.

    Attributes:
        name: What is done.
        kind: For the library.
        out: What it writes.
        source: What it reads.
        other: What it reads besides.
        values: Fields of its own.
    """

    name: str
    kind: OpKind
    out: Map
    source: Map | None = None
    other: Map | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def add(self, builder: Builder) -> None:
        """Adds it to a program."""
        builder.add(self.kind, self.source, self.out, other=self.other, **self.values)


def of_tokens(node: Node, sources: Sequence[Map], out: Map) -> list[TokenStep]:
    """The operations of a node of one of the kinds in :data:`TOKENS`.

    Args:
        node: The node.
        sources: The maps that its inputs are.
        out: What it makes.
    """
    if isinstance(node, nodes.View):
        return [_view(sources[0], out, first=node.first, count=node.counts, step=node.steps, at=0)]
    if isinstance(node, nodes.Places):
        return _joined(sources, out)
    if isinstance(node, nodes.Constant):
        values = {"values": node.values, "at": 0, "count": out.height * out.width}
        return [TokenStep("constant", OpKind.CONSTANT, out, values=values)]
    if isinstance(node, nodes.TokenNorm):
        values = {
            "factors": node.gains, "shifts": node.shifts, "epsilon": node.epsilon, "centred": int(node.centred)
        }  # fmt: skip
        return [TokenStep("norm", OpKind.NORM, out, sources[0], values=values)]
    if isinstance(node, nodes.Attention):
        return [_attention(node, sources, out)]
    if isinstance(node, nodes.Embedding):
        values = {"table": node.table, "rows": len(node.table)}
        return [TokenStep("embedding", OpKind.EMBED, out, sources[0], values=values)]
    raise TypeError(type(node))


def _view(source: Map, out: Map, **values: Any) -> TokenStep:
    return TokenStep("other order", OpKind.VIEW, out, source, values=values)


def _joined(sources: Sequence[Map], out: Map) -> list[TokenStep]:
    found, at = [], 0
    for source in sources:
        places = source.height * source.width
        counts, steps = (1, source.channels, 1, places), (0, places, 0, 1)
        found.append(_view(source, out, first=0, count=counts, step=steps, at=at))
        at += places
    return found


def _attention(node: nodes.Attention, sources: Sequence[Map], out: Map) -> TokenStep:
    queries, keys, value, *mask = sources
    values: dict[str, Any] = {
        "value": value,
        "heads": node.heads,
        "groups": node.groups,
        "depth": node.depth,
        "value_depth": node.value_depth,
        "step": node.steps,
        "safe": int(node.safe),
        "scale": node.scale,
    }
    if mask:
        values["mask"] = mask[0]
    return TokenStep("attention", OpKind.ATTENTION, out, queries, keys, values)
