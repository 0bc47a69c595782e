"""A convolution's weights where zeros do not pay: blocks of output channels that read the same places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sapwood.runtime.engine.interface import ENTRY
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
    filled = np.zeros((groups, blocks * block, *weight.shape[1:]), np.float32)
    filled[:, :of_group] = weight.reshape(groups, of_group, *weight.shape[1:])
    used: Array = np.any(filled, axis=1)
    starts, offsets, weights = [0], [], []
    for first in range(0, per_group, at_once):
        for group in range(groups):
            channel, row, column = np.nonzero(used[group, first : first + at_once])
            channel += first
            plane, down, right = places(source, geometry, group * per_group + channel, row, column)
            offsets.append(byte_offsets(source, plane, down * source.pitch + right))
            taps = filled[group][:, channel, row, column]
            weights.append(taps.reshape(blocks, block, -1).transpose(0, 2, 1).ravel())
            starts.append(starts[-1] + len(channel))
    entries = np.zeros(starts[-1], ENTRY)
    entries["offset"] = np.concatenate(offsets)
    return Packed(
        np.array(starts, np.int64),
        entries,
        -(-per_group // at_once),
        tile.rows,
        tile.columns,
        groups,
        np.concatenate(weights),
    )


def pack_columns(weight: Array, source: Map, geometry: PlaneGeometry, *, wide: int) -> Packed:
    """Makes dense weights for vectors of ``wide`` output channels: of small maps, where vectors of pixels are not full.

    Raises:
        EngineError: If an offset does not fit into 32 bits.
    """
    options = {"lanes": source.pitch, "rows": 1, "most_vectors": 1, "block": wide, "chunk_floats": 1 << 30}
    return replace(pack_blocks(weight, source, 1, geometry, groups=1, **options), columns=1, by_channels=True)
