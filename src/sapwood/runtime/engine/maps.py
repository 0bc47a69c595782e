"""Where a feature map stands in the engine's arena: channel planes of padded rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from sapwood.errors import EngineError
from sapwood.runtime.engine.interface import ALIGN, LARGEST, MapStruct

LINE = ALIGN // 4
"""Floats of a cache line: planes start on one."""

SETS = 64
"""Places of the fastest cache, a line each, that a plane may take: lines 4,096 bytes apart fight for the same one."""

USUAL_READS = ((4, 120), (8, 64), (14, 40), (28, 20))
"""Lines of a tile, and channels of a chunk: what should stand in the fastest cache together."""

SPARE = 16
"""One line in so many may be left empty behind a plane, so that planes stand better."""

HALF = 8
"""Lanes of which half are too few for a row: rows would begin at too many places of a vector."""

GAP = 64
"""Floats of zeros in front of each map: what lies left of its first row."""


@dataclass(frozen=True)
class Map:
    """A feature map.

    Attributes:
        channels: Planes.
        height: Rows of values.
        width: Values of a row.
        margin: Rows of zeros above and below.
        pitch: Floats from a row to the next.
        offset: Of the first plane in the arena, in floats.
        stride: Floats from a plane to the next.
    """

    channels: int
    height: int
    width: int
    margin: int
    pitch: int
    offset: int
    stride: int

    def struct(self) -> MapStruct:
        """What the library reads.

        Raises:
            EngineError: If a number does not fit into it.
        """
        if max(self.channels, self.height, self.width, self.margin, self.pitch) > LARGEST:
            raise EngineError(f"a map of sizes beyond {LARGEST}: {self}")
        return MapStruct(
            self.offset, self.stride, self.channels, self.height, self.width, self.margin, self.pitch, 0
        )  # fmt: skip

    def channel_range(self, first: int, count: int) -> Map:
        """Some of the planes as a map of their own."""
        return Map(
            count, self.height, self.width, self.margin, self.pitch, self.offset + first * self.stride, self.stride
        )


@cache
def crowding(lines: int) -> int:
    """How many lines at most take the same place of the cache, over the usual reads, where planes are so far apart."""
    worst = 0
    for tile, channels in USUAL_READS:
        taken = [0] * SETS
        for channel in range(channels):
            for line in range(tile):
                taken[(channel * lines + line) % SETS] += 1
        worst = max(worst, *taken)
    return worst


@cache
def plane_stride(height: int, margin: int, pitch: int) -> int:
    """Floats from a plane to the next: whole cache lines, of which a chunk's planes take different ones.

    Examples:
        >>> plane_stride(6, 1, 16), plane_stride(14, 1, 64), plane_stride(56, 0, 64)
        (144, 1072, 3632)
    """
    lines = -(-(height + 2 * margin) * pitch // LINE)
    return LINE * min(
        range(lines, lines + 1 + (lines + SPARE // 2) // SPARE), key=lambda found: (crowding(found % SETS), found)
    )


def strips(height: int, pitch: int, lanes: int) -> tuple[int, int]:
    """How a convolution's result is divided: how many strips, and vectors of each.

    Rows of whole vectors are a strip each; of others vectors go on from row to row, and all rows are one strip.

    Examples:
        >>> strips(7, 16, 16), strips(7, 8, 16), strips(14, 14, 8)
        ((7, 1), (1, 4), (1, 25))
    """
    return (1, -(-height * pitch // lanes)) if pitch % lanes else (height, pitch // lanes)


def strip_margin(margin: int, pitch: int, lanes: int) -> int:
    """Rows of zeros, at least so many, after which a vector begins.

    Examples:
        >>> strip_margin(1, 8, 16), strip_margin(1, 16, 16), strip_margin(0, 7, 16)
        (2, 1, 0)
    """
    whole = lanes // math.gcd(pitch, lanes)
    return -(-margin // whole) * whole


def row_pitch(widths: Iterable[int], pad: int, lanes: int) -> int:
    """Floats of a row that has room for ``pad`` zeros behind the widest of ``widths``, in whole vectors or half of one.

    Examples:
        >>> row_pitch([13], 1, 16), row_pitch([15, 16], 1, 16), row_pitch([7], 1, 16), row_pitch([3], 0, 8)
        (16, 32, 8, 8)
    """
    needed = max(widths) + pad
    return lanes // 2 if lanes > HALF and needed <= lanes // 2 else -(-needed // lanes) * lanes
