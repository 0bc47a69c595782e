"""A convolution's weights as the engine reads them: lists of the non-zeros with the place of what each multiplies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sapwood.errors import EngineError
from sapwood.runtime.engine.interface import ENTRY, TapStruct, WeightsStruct
from sapwood.runtime.engine.large import large_array
from sapwood.runtime.engine.library import library
from sapwood.runtime.engine.maps import Map, strips

Array = npt.NDArray[Any]


def finite(array: Array) -> Array:
    """The array.

    Raises:
        EngineError: If it holds NaN or infinity.
    """
    flat = array.ravel(order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(flat, flat)  # one pass, and no array of answers; of large numbers it may overflow
    if not np.isfinite(squares) and not np.isfinite(array).all():
        raise EngineError("weights are NaN or infinite; expected finite numbers")
    return array


@dataclass(frozen=True)
class PlaneGeometry:
    """How a convolution moves: (rows, columns) each."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output.

        Examples:
            >>> PlaneGeometry((3, 3), (2, 2), (1, 1)).output_size(8, 8)
            (4, 4)
        """
        return self._outputs(0, height), self._outputs(1, width)

    def _outputs(self, dim: int, size: int) -> int:
        reach = self.dilation[dim] * (self.kernel[dim] - 1) + 1
        return (size + 2 * self.padding[dim] - reach) // self.stride[dim] + 1

    def taps(self, dim: int) -> list[tuple[int, int]]:
        """For each tap of a dimension, the phase of the input that it reads, and how far from its own place.

        Examples:
            >>> PlaneGeometry((3, 3), (2, 2), (1, 1)).taps(0)
            [(1, -1), (0, 0), (1, 0)]
        """
        places = [tap * self.dilation[dim] - self.padding[dim] for tap in range(self.kernel[dim])]
        return [(place % self.stride[dim], place // self.stride[dim]) for place in places]

    def margin(self, height: int) -> int:
        """Rows of zeros that the map it reads (a phase of the input, where there are several) needs above and below."""
        sideways = any(move for _, move in self.taps(1))
        return max(self._zeros(0, height), int(sideways))

    def side(self, width: int) -> int:
        """Zeros that each row of the map it reads needs behind its values."""
        return self._zeros(1, width)

    def _zeros(self, dim: int, size: int) -> int:
        moves = [move for _, move in self.taps(dim)]
        own = -(-size // self.stride[dim])
        return max(-min(moves), max(moves) + self._outputs(dim, size) - own, 0)


@dataclass(frozen=True)
class ConvSpec:
    """A convolution to compile.

    Attributes:
        weight: Shape (O, I / groups, rows, columns), float32.
        bias: Shape (O,).
        geometry: How it moves.
        groups: Conv groups.
    """

    weight: Array
    bias: Array
    geometry: PlaneGeometry
    groups: int = 1

    @cached_property
    def nonzeros(self) -> int:
        """How many weights are no zero."""
        return int(np.count_nonzero(self.weight != 0))


@dataclass(frozen=True)
class Packed:
    """Lists of a convolution.

    Attributes:
        starts: Where each list begins, shape (chunks * outputs * 3 + 1,), int64; lists are for columns x - 1, x + 1, x.
        entries: The non-zeros.
        num_chunks: Parts of the input channels.
        rows: Of a tile.
        columns: Vectors of a tile's row.
        groups: Of dense weights, which have a list of places for each chunk and group; 0: lists of single weights.
        weights: Of dense weights.
        by_channels: Whether these are for vectors of output channels.
    """

    starts: Array
    entries: Array
    num_chunks: int
    rows: int
    columns: int
    groups: int = 0
    weights: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    by_channels: bool = False


@dataclass(frozen=True)
class Tile:
    """What is computed at once: some strips of the result, or a part of one.

    Attributes:
        rows: Strips.
        columns: Vectors of each.
        whole: Whether strips are whole.
        floats: What a plane of the source holds for it, but for the rows above and below.
    """

    rows: int
    columns: int
    whole: bool
    floats: int

    @classmethod
    def of(cls, height: int, pitch: int, *, rows: int, lanes: int, most_vectors: int) -> Tile:
        """Of a result of so many rows, and a tiling of so many ``rows``; of a single strip they are vectors."""
        vectors = strips(height, pitch, lanes)[1]
        if pitch % lanes:
            return cls(1, rows, rows == vectors, rows * lanes)
        if vectors > most_vectors:
            return cls(1, most_vectors, False, most_vectors * lanes)
        return cls(rows, vectors, True, rows * pitch)

    def channels_at_once(self, source: Map, geometry: PlaneGeometry, chunk_floats: int, channels: int) -> int:
        """Input channels of a chunk: about as many in each, all together at most ``chunk_floats`` of a tile."""
        down, right = geometry.taps(0), geometry.taps(1)
        phases = len({phase for phase, _ in down}) * len({phase for phase, _ in right})
        reach = max(move for _, move in down) - min(move for _, move in down)
        floats = phases * (self.floats + reach * min(source.pitch, self.floats))
        at_once = max(1, min(channels, chunk_floats // floats))
        return -(-channels // -(-channels // at_once))


def pack(
    weight: Array,  # shape: (O, I / groups, rows, columns)
    source: Map,
    size: tuple[int, int],
    geometry: PlaneGeometry,
    *,
    groups: int,
    lanes: int,
    rows: int,
    most_vectors: int,
    chunk_floats: int,
    nonzeros: int | None = None,
) -> Packed:
    """Makes the lists.

    Args:
        weight: Of the convolution.
        source: What it reads: the phases of the input where the stride is not 1.
        size: Rows and columns of the result.
        geometry: How it moves.
        groups: Conv groups.
        lanes: Floats of a vector.
        rows: Of a tile; 1 where a row has more than ``most_vectors``.
        most_vectors: Of a tile.
        chunk_floats: What the rows that a tile reads may take of the fastest cache, all channels of a chunk together.
        nonzeros: How many weights are no zero, where that is known.

    Raises:
        EngineError: If an offset does not fit into 32 bits.
    """
    tile = Tile.of(size[0], source.pitch, rows=rows, lanes=lanes, most_vectors=most_vectors)
    moves = {move for _, move in geometry.taps(1)}
    shifted = tile.whole and moves <= {-1, 0, 1} and len(moves) > 1 and source.pitch > size[1]
    channels = source.channels // (geometry.stride[0] * geometry.stride[1])
    at_once = tile.channels_at_once(source, geometry, chunk_floats, channels)
    at_once = at_once if groups == 1 else channels
    num_chunks = -(-channels // at_once)
    taps = _taps(geometry, channels * source.stride, source.pitch, shifted=shifted)
    reach = 4 * (channels - 1) * source.stride
    if max(abs(tap.offset + far) for tap in taps for far in (0, reach)) > np.iinfo(np.int32).max:
        raise EngineError(f"a map of {source.channels} planes of {source.stride} floats; expected less than 2 GB")
    room = 1 + (int(np.count_nonzero(weight != 0)) if nonzeros is None else nonzeros)
    starts, entries = _lists(weight, taps, (groups, 4 * source.stride), (at_once, num_chunks), room)
    return Packed(starts, entries, num_chunks, tile.rows, tile.columns)


def places(
    source: Map, geometry: PlaneGeometry, channel: Array, tap_row: Array, tap_column: Array
) -> tuple[Array, Array, Array]:
    """What a weight multiplies: a plane of the source, and how many rows and columns from the output's place."""
    (row_phase, row_move), (column_phase, column_move) = (
        (np.array([phase for phase, _ in taps])[tap], np.array([move for _, move in taps])[tap])
        for taps, tap in ((geometry.taps(0), tap_row), (geometry.taps(1), tap_column))
    )
    channels = source.channels // (geometry.stride[0] * geometry.stride[1])
    return (row_phase * geometry.stride[1] + column_phase) * channels + channel, row_move, column_move


def byte_offsets(source: Map, plane: Array, reached: Array) -> Array:
    """Bytes from the source's first value to one that is ``reached`` floats away in a plane.

    Raises:
        EngineError: If one does not fit into 32 bits.
    """
    offsets = 4 * (plane * source.stride + reached)
    if len(offsets) and int(np.abs(offsets).max()) > np.iinfo(np.int32).max:
        raise EngineError(f"a map of {source.channels} planes of {source.stride} floats; expected less than 2 GB")
    return offsets


def _taps(geometry: PlaneGeometry, phase_floats: int, pitch: int, *, shifted: bool) -> list[TapStruct]:
    """What each tap reads, in the order of lists, phases and places.

    Those that read a column aside have lists of their own where sums are shifted instead.
    """
    down, right = geometry.taps(0), geometry.taps(1)
    found = []
    for row, (row_phase, row_move) in enumerate(down):
        for column, (column_phase, column_move) in enumerate(right):
            kind = {-1: 0, 1: 1}.get(column_move, 2) if shifted else 2
            phase = row_phase * geometry.stride[1] + column_phase
            reached = row_move * pitch + (0 if shifted else column_move)
            found.append((kind, phase, 4 * (phase * phase_floats + reached), row * len(right) + column))
    return [TapStruct(offset, number, phase, kind) for kind, phase, offset, number in sorted(found)]


def _lists(
    weight: Array, taps: Sequence[TapStruct], planes: tuple[int, int], chunks: tuple[int, int], room: int
) -> tuple[Array, Array]:
    """The places where lists start, and the entries, as the library makes them: one less than there is room.

    ``planes`` says how many conv groups there are, and the bytes from a plane to the next.
    """
    outputs, inputs = weight.shape[:2]
    weight = np.ascontiguousarray(weight, np.float32)
    starts, entries = np.zeros(chunks[1] * outputs * 3 + 1, np.int64), large_array(room, ENTRY)
    known = (TapStruct * len(taps))(*taps)
    given = WeightsStruct(
        weight.ctypes.data, outputs, inputs, *planes, *chunks, known, len(taps)
    )  # fmt: skip
    count = library().sw_pack_weights(given, starts.ctypes.data, entries.ctypes.data, room)
    if count != room - 1:
        raise EngineError(f"{count} entries of {room - 1} weights; expected as many")
    return starts, entries[:count]


def tile_rows(height: int, row_vectors: int, vectors: Sequence[int]) -> int:
    """Rows of a tile: as many as fit ``vectors`` (wanted, at most), in tiles of about the same height.

    Examples:
        >>> tile_rows(13, 1, (20, 28)), tile_rows(52, 4, (20, 28)), tile_rows(104, 7, (20, 28))
        (13, 5, 2)
    """
    wanted, most = vectors
    if row_vectors > most:
        return 1
    fit = max(1, wanted // row_vectors)
    tiles = -(-height // fit)
    return -(-height // tiles)
