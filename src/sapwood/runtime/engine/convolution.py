"""A convolution as an operation of a program: tiles, chunks and lists for its shape."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sapwood.errors import EngineError
from sapwood.runtime.engine.blocks import pack_blocks, pack_columns
from sapwood.runtime.engine.maps import GAP, Map, strips
from sapwood.runtime.engine.nodes import LINEAR, Activation
from sapwood.runtime.engine.packing import ConvSpec, Packed, pack, tile_rows
from sapwood.runtime.engine.program import Builder

CHUNK_FLOATS = 6_500
"""Floats in a chunk: 26 KB of the 32 KB that the smallest fastest caches of today have."""

WANTED_VECTORS = 20
"""Vector registers that the sums of a tile take; the rest of the registers holds what is loaded."""

DENSE = 0.6
"""The fraction of weights that are not zero from which dense blocks are taken where nothing is tried."""

DENSE_CHUNK_FLOATS = 6 * CHUNK_FLOATS
"""Floats in a chunk of dense blocks: what is read serves several outputs, so that the next cache will do."""


SMALL = 64
"""Places of the largest map for which vectors of channels are tried."""


class Way(IntEnum):
    """How weights are kept: those that are not zero one by one, or all in blocks of output channels.

    With ``COLUMNS`` vectors hold channels instead of pixels.
    """

    LISTS = 0
    BLOCKS = 1
    COLUMNS = 2


@dataclass(frozen=True)
class Tiling:
    """How a convolution goes through its map.

    Attributes:
        rows: Of a tile; where vectors go on from row to row, vectors.
        chunk_floats: What the rows that a tile reads may take, all channels of a chunk together.
        way: How the weights are kept.
    """

    rows: int
    chunk_floats: int
    way: Way = Way.LISTS

    @property
    def dense(self) -> bool:
        """Whether zeros are multiplied like other weights."""
        return self.way is not Way.LISTS


COLUMNS = Tiling(1, 1 << 30, Way.COLUMNS)
"""There is one way to go through a small map."""


@dataclass(frozen=True)
class Convolution:
    """A convolution between two maps of a program.

    Attributes:
        spec: Weights and geometry.
        source: What it reads: phases where it strides.
        out: What it writes.
        size: Rows and columns of the result.
        other: What is added before the activation.
        activation: What is done to the sums.
        phased: Whether ``out`` holds the four phases of the result, for what reads it with stride 2.
    """

    spec: ConvSpec
    source: Map
    out: Map
    size: tuple[int, int]
    other: Map | None = None
    activation: Activation = LINEAR
    phased: bool = False

    @property
    def density(self) -> float:
        """The fraction of the weights that is not zero."""
        return self.spec.nonzeros / self.spec.weight.size

    def may_be_dense(self, builder: Builder) -> bool:
        """Whether its groups fill blocks of output channels."""
        of_group = len(self.spec.weight) // self.spec.groups
        return self.spec.groups == 1 or 2 * of_group >= builder.block

    @property
    def may_be_columns(self) -> bool:
        """Whether vectors may hold its output channels."""
        return self.spec.groups == 1 and not self.phased and self.size[0] * self.size[1] <= SMALL

    def usual(self, builder: Builder) -> Tiling:
        """What is taken where nothing is tried."""
        if self.density < DENSE or not self.may_be_dense(builder):
            return self.tiling(builder)
        if self.size == (1, 1) and self.may_be_columns:
            return COLUMNS
        return self.tiling(builder, chunk_floats=DENSE_CHUNK_FLOATS, way=Way.BLOCKS)

    def tiling(
        self,
        builder: Builder,
        vectors: int = WANTED_VECTORS,
        chunk_floats: int = CHUNK_FLOATS,
        *,
        way: Way = Way.LISTS,
    ) -> Tiling:
        """Tiles of about so many vectors."""
        wanted = min(vectors, builder.most_vectors)
        count, across = strips(self.size[0], self.source.pitch, builder.lanes)
        if self.source.pitch % builder.lanes:
            count, across = across, 1
        return Tiling(tile_rows(count, across, (wanted, builder.most_vectors)), chunk_floats, way)

    def add(self, builder: Builder, tiling: Tiling | None = None) -> Tiling:
        """Packs it and adds it to a program.

        Returns:
            How it goes through its map.

        Raises:
            EngineError: If it has more padding than the engine's maps.
        """
        geometry = self.spec.geometry
        if geometry.side(self.size[1] * geometry.stride[1]) > GAP:
            raise EngineError(f"a kernel of {geometry.kernel[1]} columns; expected less padding than {GAP}")
        tiling = tiling or self.usual(builder)
        packed = self._packed(builder, tiling)
        builder.convolution(
            self.source,
            self.out,
            packed,
            self.spec.bias,
            other=self.other,
            activation=self.activation.name,
            slope=self.activation.slope,
            phased=int(self.phased),
            channels=len(self.spec.weight),
            height=self.size[0],
            width=self.size[1],
        )
        return tiling

    def _packed(self, builder: Builder, tiling: Tiling) -> Packed:
        spec = self.spec
        options: dict[str, int] = {
            "groups": spec.groups,
            "lanes": builder.lanes,
            "rows": tiling.rows,
            "most_vectors": builder.most_vectors,
            "chunk_floats": tiling.chunk_floats,
        }
        if tiling.way is Way.COLUMNS:
            return pack_columns(spec.weight, self.source, spec.geometry, wide=builder.wide)
        if tiling.way is Way.BLOCKS:
            return pack_blocks(spec.weight, self.source, self.size[0], spec.geometry, block=builder.block, **options)
        return pack(spec.weight, self.source, self.size, spec.geometry, nonzeros=spec.nonzeros, **options)
