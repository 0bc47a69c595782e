"""Maps that are not needed at the same time share their place in the arena."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from sapwood.runtime.engine.interface import MapStruct, OpKind, OpStruct
from sapwood.runtime.engine.maps import GAP, Map

Layout: TypeAlias = tuple[int, int, int, int, int]
"""What two maps must have in common for the padding of one to be that of the other."""


@dataclass(frozen=True)
class ArenaBlock:
    """A map as it was asked for, in an arena without end.

    Attributes:
        map: Where it stands there.
        overwritten: Whether every run writes all of its values.
    """

    map: Map
    overwritten: bool

    @property
    def layout(self) -> Layout:
        """Sizes of a plane."""
        one = self.map
        return one.height, one.width, one.margin, one.pitch, one.stride


def relocated(ops: Sequence[OpStruct], blocks: Sequence[ArenaBlock]) -> tuple[list[OpStruct], int]:
    """Moves each map to a place that another one of the same layout has left, or to a new one.

    Padding is never written, so that it stays zero from map to map.

    Args:
        ops: Operations on maps in an arena without end.
        blocks: Those maps, in the order of their offsets.

    Returns:
        Copies of the operations on maps in their places, and the floats that the arena needs.
    """
    starts = [block.map.offset for block in blocks]
    touched: dict[int, list[int]] = defaultdict(list)
    for number, (op, end) in enumerate(zip(ops, _ends(ops), strict=True)):
        for one in _maps(op):
            touched[_owner(starts, one)] += [number, end]
    places: dict[int, int] = {}
    free: dict[Layout, list[tuple[int, int]]] = defaultdict(list)  # (channels, offset)
    sizes: dict[int, int] = {}
    arena = 0
    ending: dict[int, list[int]] = defaultdict(list)
    for owner, numbers in touched.items():
        ending[max(numbers)].append(owner)
    begun: set[int] = set()
    for number, op in enumerate(ops):
        for owner in (_owner(starts, one) for one in _maps(op)):
            if owner in begun:
                continue
            begun.add(owner)
            block = blocks[owner]
            fitting = (
                sorted(one for one in free[block.layout] if one[0] >= block.map.channels) if block.overwritten else []
            )
            if fitting:
                free[block.layout].remove(fitting[0])
                sizes[owner], places[owner] = fitting[0]
                continue
            places[owner], sizes[owner] = arena + GAP, block.map.channels
            arena += GAP + block.map.channels * block.map.stride
        for owner in ending[number]:
            free[blocks[owner].layout].append((sizes[owner], places[owner]))
    found = []
    for op in ops:
        moved = OpStruct.from_buffer_copy(op)
        for one in _maps(moved):
            owner = _owner(starts, one)
            one.offset += places[owner] - blocks[owner].map.offset
        found.append(moved)
    return found, arena


def _maps(op: OpStruct) -> list[MapStruct]:
    """The maps that stand in the arena; what a chain hands on does not."""
    own = (op.attention.value, op.attention.mask) if op.kind == OpKind.ATTENTION else ()
    return [one for one in (op.in_, op.other, *own, op.out) if one.channels > 0 and one.offset >= 0]


def _ends(ops: Sequence[OpStruct]) -> list[int]:
    """The operation with which each ends: parts of a chain read until its last one is done."""
    ends = list(range(len(ops)))
    for number, op in enumerate(ops):
        if op.kind == OpKind.CHAIN:
            last = number + op.chain.count
            ends[number : last + 1] = [last] * (last - number + 1)
    return ends


def _owner(starts: Sequence[int], one: MapStruct) -> int:
    return bisect_right(starts, one.offset) - 1
