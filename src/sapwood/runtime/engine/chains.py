"""Chains: convolutions around a depthwise one that go through their maps some rows at a time.

The map that a depthwise convolution reads is the widest of a network, and often read by nothing else. In a chain only
some planes of some rows of it are there at a time, in a thread's own memory, which stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from sapwood.runtime.engine import nodes
from sapwood.runtime.engine.convolution import DENSE, Convolution, Tiling, Way
from sapwood.runtime.engine.depthwise import Depthwise, is_depthwise
from sapwood.runtime.engine.interface import OpKind
from sapwood.runtime.engine.maps import LINE, Map
from sapwood.runtime.engine.nodes import Network, Value
from sapwood.runtime.engine.packing import PlaneGeometry
from sapwood.runtime.engine.program import Builder

Part = TypeVar("Part", Convolution, Depthwise)

Tilings: TypeAlias = tuple[Tiling | None, Tiling | None]
"""Of the convolutions of a chain; None where there is none, or for the usual one."""

Links: TypeAlias = tuple[nodes.Conv, ...]
"""Nodes of a chain, each the only reader of the one before."""

USUAL_FLOATS = 65_536
"""Of what a depthwise convolution hands on at a time, where nothing is tried: 256 KB of the second cache."""

WORTH_FLOATS = 200_000
"""Of the maps in between from which a chain is taken where nothing is tried."""

ROWS = 4
"""Rows that the kernel takes at a time: bands are multiples of it."""


def links_of(network: Network, whole: set[Value], phased: set[Value], apart: Set[Value] = frozenset()) -> list[Links]:
    """The chains of a network.

    Args:
        network: Its nodes.
        whole: Values that stand in memory in any case.
        phased: Values of which only phases do: those are written whole rows at a time, and end no chain.
        apart: Results of depthwise convolutions whose rows are no whole vectors: those are in no chain.
    """
    readers, kept = network.readers(), whole | phased
    makers = {node.out: node for node in network.nodes if isinstance(node, nodes.Conv)}
    follower = {node.inputs[0]: node for node in network.nodes if isinstance(node, nodes.Conv)}
    found: list[Links] = []
    taken: set[Value] = set()
    for node in network.nodes:
        if not isinstance(node, nodes.Conv) or not is_depthwise(node.spec) or node.out in taken | apart:
            continue
        links = [node]
        before, behind = makers.get(node.inputs[0]), follower.get(node.out)
        if (
            before
            and _hands_on(before, readers[before.out], kept)
            and before.out not in taken
            and _widens(before, node)
        ):
            links.insert(0, before)
        if behind and _hands_on(node, readers[node.out], kept) and _reads_places(behind) and behind.out not in phased:
            links.append(behind)
        if len(links) > 1:
            found.append(tuple(links))
            taken.update(link.out for link in links)
    return found


def _hands_on(node: nodes.Conv, readers: int, whole: set[Value]) -> bool:
    return readers == 1 and node.out not in whole


def _widens(node: nodes.Conv, reader: nodes.Conv) -> bool:
    """Whether each of its channels is read once."""
    return not is_depthwise(node.spec) and len(reader.spec.weight) == reader.spec.groups


def _reads_places(node: nodes.Conv) -> bool:
    return not is_depthwise(node.spec) and node.spec.geometry == PlaneGeometry((1, 1))


@dataclass(frozen=True)
class Band:
    """How a chain goes.

    Attributes:
        rows: At a time.
        way: How the first convolution's weights are kept.
    """

    rows: int
    way: Way = Way.LISTS


@dataclass(frozen=True)
class Chain:
    """The operations of a chain, between maps that stand in memory.

    Attributes:
        depthwise: In the middle.
        first: The convolution whose result it reads.
        last: The convolution that reads its result.
    """

    depthwise: Depthwise
    first: Convolution | None = None
    last: Convolution | None = None

    @property
    def height(self) -> int:
        """Rows of its result."""
        return self.depthwise.out.height

    @property
    def between(self) -> int:
        """Floats of the maps that are not written to memory."""
        maps = ([self.depthwise.source] if self.first else []) + ([self.depthwise.out] if self.last else [])
        return sum(one.channels * one.height * one.pitch for one in maps)

    def bands(self, *, dense: bool) -> Iterator[Band]:
        """What is worth trying: all rows at a time, and halves of halves, both ways where dense weights may pay."""
        rows = self.height
        ways = (Way.LISTS, Way.BLOCKS) if dense and self._may_be_dense() else (Way.LISTS,)
        seen = set()
        while rows not in seen:
            seen.add(rows)
            yield from (Band(rows, way) for way in ways)
            rows = min(rows, max(ROWS, -(-rows // 2 // ROWS) * ROWS))

    def usual(self) -> Band | None:
        """What is taken where nothing is tried; None where the maps in between are small."""
        if self.between < WORTH_FLOATS:
            return None
        floats = self.depthwise.out.channels * self.depthwise.out.pitch
        rows = min(self.height, max(ROWS, USUAL_FLOATS // floats // ROWS * ROWS))
        dense = self.first is not None and self.first.density >= DENSE and self._may_be_dense()
        return Band(rows, Way.BLOCKS if dense else Way.LISTS)

    def _may_be_dense(self) -> bool:
        """Whether the first convolution may have dense weights."""
        return self.first is not None and self.first.spec.groups == 1

    def add(self, builder: Builder, band: Band, tilings: Tilings = (None, None)) -> None:
        """Adds the operations, which go some rows at a time; tilings are of the convolutions."""
        rows = band.rows
        count = 1 + (self.first is not None) + (self.last is not None)
        builder.add(OpKind.CHAIN, count=count, rows=rows)
        wide = _handed_on(self.depthwise.source, 0) if self.first else self.depthwise.source
        middle = _handed_on(self.depthwise.out, rows) if self.last else self.depthwise.out
        if self.first:
            tiling = tilings[0] if tilings[0] and tilings[0].way is band.way else self.first.tiling(builder)
            replace(self.first, out=wide).add(builder, replace(tiling, chunk_floats=1 << 30, way=band.way))
        replace(self.depthwise, source=wide, out=middle).add(builder)
        if self.last:
            tiling = tilings[1] or self.last.tiling(builder)
            if tiling.way is Way.COLUMNS:
                tiling = self.last.tiling(builder)
            replace(self.last, source=middle).add(builder, replace(tiling, rows=min(rows, tiling.rows)))

    def apart(self, builder: Builder, tilings: Tilings) -> None:
        """Adds the operations one after the other; tilings are of the convolutions."""
        if self.first:
            self.first.add(builder, tilings[0])
        self.depthwise.add(builder)
        if self.last:
            self.last.add(builder, tilings[1])

    def elsewhere(self, builder: Builder) -> Chain:
        """The same between maps of another program."""
        places: dict[Map, Map] = {}

        def place(one: Map) -> Map:
            if one not in places:
                places[one] = builder.map(one.channels, one.height, one.width, margin=one.margin, pitch=one.pitch)
            return places[one]

        def moved(part: Part) -> Part:
            other = None if part.other is None else place(part.other)
            return replace(part, source=place(part.source), out=place(part.out), other=other)

        return Chain(moved(self.depthwise), self.first and moved(self.first), self.last and moved(self.last))


def _handed_on(one: Map, rows: int) -> Map:
    """A map of which some rows at a time stand in a thread's memory."""
    stride = -(-rows * one.pitch // LINE) * LINE
    return replace(one, margin=0, offset=-1, stride=stride)
