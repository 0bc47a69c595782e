"""Deep chains proven in segments: every few layers both runs are given new values, the same, and are compared.

What a mistake in an early layer changes is lost on the way through a narrow chain of some sixty layers, whatever its
weights are. A segment is short: its results show it, and as what goes into each segment is lively, each is proven as a
small network of its own would be. Where all segments are equal, the chain is.

That a segment's results show what goes into it is found by giving it other values (:meth:`Segments.others`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sapwood.ops import Call, Graph, leaves
from sapwood.removal.fading import depths
from sapwood.removal.widths import Expectation

LAYERS = 4
"""With weights, in a segment."""


@dataclass
class Segments:
    """Where segments end, what they made, and what the next ones are given.

    Attributes:
        ends: Indices of the calls.
        wanted: What stays of what they made in the masked reference, in order.
        found: What they made in the compact model.
    """

    ends: frozenset[int]
    wanted: list[Tensor] = field(default_factory=list)
    found: list[Tensor] = field(default_factory=list)
    _given: dict[int, Tensor] = field(default_factory=dict)

    def others(self) -> Segments:
        """The same segments for another run of the compact model, each given other values."""
        return Segments(self.ends, _given={index: 0.5 - 1.5 * made for index, made in self._given.items()})

    def end_masked(self, call: Call, result: Any, expectation: Expectation) -> None:
        """Keeps what a segment of the masked reference made, and writes new values over it."""
        if call.index not in self.ends:
            return
        made, ref = _only(result), call.tensor_outputs()[0]
        self.wanted.append(expectation.kept(made, ref).clone())
        generator = torch.Generator().manual_seed(call.index)
        # PyTorch draws float32 twice as fast.
        made.copy_(torch.randn(made.shape, generator=generator, dtype=torch.float32))
        self._given[call.index] = expectation.kept(made, ref).clone()

    def end_compact(self, call: Call, result: Any) -> None:
        """The same in the compact model."""
        if call.index in self._given:
            made, given = _only(result), self._given[call.index]
            self.found.append(made.clone())
            if made.shape == given.shape:
                made.copy_(given)


def segments_of(graph: Graph, without: frozenset[int]) -> Segments:
    """The segments of a run; what a call in ``without`` makes is compared nowhere."""
    depth = depths(graph)
    ends = set()
    for call in graph.calls:
        if call.facts.sum is None or call.index in without or call.op._schema.is_mutable:
            continue
        made = call.tensor_outputs()
        if len(made) == 1 and made[0].dtype.is_floating_point and depth.get(made[0].id, 1) % LAYERS == 0:
            ends.add(call.index)
    return Segments(frozenset(ends))


def _only(result: Any) -> Tensor:
    made: Tensor = next(leaf for leaf in leaves(result) if isinstance(leaf, Tensor))
    return made
