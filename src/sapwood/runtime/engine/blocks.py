"""A convolution's weights where zeros do not pay: blocks of output channels that read the same places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sapwood.runtime.engine.interface import ENTRY
from sapwood.runtime.engine.large import large_array
from sapwood.runtime.engine.library import library
from sapwood.runtime.engine.maps import Map
from sapwood.runtime.engine.packing import Array, Packed, PlaneGeometry, Tile, byte_offsets, places


def pack_blocks(
    weight: Array,  # shape: (O, I / groups, rows, columns)
    source: Map,
    height: int,
    geometry: PlaneGeometry,
    *,
    groups: int,
    lanes: int,
    rows: int,
    most_vectors: int,
    block: int,
    chunk_floats: int,
) -> Packed:
    """Makes dense weights; what no output of a group reads is left out.

    Args:
        weight: Of the convolution.
        source: What it reads: the phases of the input where the stride is not 1.
        height: Rows of the result.
        geometry: How it moves.
        groups: Conv groups.
        lanes: Floats of a vector.
        rows: Of a tile; 1 where a row has more than ``most_vectors``.
        most_vectors: Of a tile.
        block: Output channels at once.
        chunk_floats: As for :func:`sapwood.runtime.engine.packing.pack`.

    Raises:
        EngineError: If an offset does not fit into 32 bits.
    """
    outputs, per_group = weight.shape[:2]
    tile = Tile.of(height, source.pitch, rows=rows, lanes=lanes, most_vectors=most_vectors)
    at_once = tile.channels_at_once(source, geometry, chunk_floats, per_group)
    of_group, blocks = outputs // groups, -(-outputs // groups // block)
    filters = np.ascontiguousarray(weight, np.float32).reshape(groups, of_group, -1)
    used = [_used(one).reshape(per_group, *weight.shape[2:]) for one in filters]
    read = [
        (group, first, np.nonzero(used[group][first : first + at_once]))
        for first in range(0, per_group, at_once)
        for group in range(groups)
    ]
    starts = np.cumsum([0, *(len(channel) for _, _, (channel, _, _) in read)], dtype=np.int64)
    entries = np.zeros(starts[-1], ENTRY)
    weights = large_array(int(starts[-1]) * blocks * block, np.float32)
    for number, (group, first, (of_chunk, row, column)) in enumerate(read):
        channel = first + of_chunk
        own = slice(starts[number], starts[number + 1])
        plane, down, right = places(source, geometry, group * per_group + channel, row, column)
        entries["offset"][own] = byte_offsets(source, plane, down * source.pitch + right)
        taps = np.ravel_multi_index((channel, row, column), weight.shape[1:])
        _put_blocks(filters[group], taps, block, weights[own.start * blocks * block : own.stop * blocks * block])
    return Packed(starts, entries, -(-per_group // at_once), tile.rows, tile.columns, groups, weights)


def _used(rows: Array) -> Array:
    """For each place of some rows whether one of them is no zero there."""
    found = np.empty(rows.shape[1], np.bool_)
    library().sw_used(rows.ctypes.data, *rows.shape, found.ctypes.data)
    return found


def _put_blocks(rows: Array, taps: Array, block: int, to: Array) -> None:
    taps = np.ascontiguousarray(taps, np.int64)
    library().sw_pack_blocks(rows.ctypes.data, *rows.shape, taps.ctypes.data, len(taps), block, to.ctypes.data)


def pack_columns(weight: Array, source: Map, geometry: PlaneGeometry, *, wide: int) -> Packed:
    """Makes dense weights for vectors of ``wide`` output channels: of small maps, where vectors of pixels are not full.

    Raises:
        EngineError: If an offset does not fit into 32 bits.
    """
    options = {"lanes": source.pitch, "rows": 1, "most_vectors": 1, "block": wide, "chunk_floats": 1 << 30}
    return replace(pack_blocks(weight, source, 1, geometry, groups=1, **options), columns=1, by_channels=True)
