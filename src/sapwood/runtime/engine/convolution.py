"""A convolution as an operation of a program: tiles, chunks and lists chosen for its shape."""

from __future__ import annotations

from sapwood.errors import EngineError
from sapwood.runtime.engine.maps import GAP, Map
from sapwood.runtime.engine.packing import ConvSpec, Packed, pack, tile_rows
from sapwood.runtime.engine.program import Builder

CHUNK_FLOATS = 6_500
"""Of a chunk: 26 of the 32 KB that the smallest fastest caches of today have."""

WANTED_VECTORS = 20
"""Of a tile; the rest of the registers holds what is loaded."""


def add_convolution(
    builder: Builder,
    spec: ConvSpec,
    source: Map,
    out: Map,
    *,
    other: Map | None = None,
    activation: str = "linear",
    slope: float = 0.0,
) -> Packed:
    """Packs a convolution and adds it; ``source`` is what it reads, phases made where it strides."""
    if spec.geometry.side(out.width * spec.geometry.stride[1]) > GAP:
        raise EngineError(f"a kernel of {spec.geometry.kernel[1]} columns; expected less padding than {GAP}")
    row_vectors = out.pitch // builder.lanes
    wanted = min(WANTED_VECTORS, builder.most_vectors)
    packed = pack(
        spec.weight,
        source,
        out,
        spec.geometry,
        groups=spec.groups,
        lanes=builder.lanes,
        rows=tile_rows(out.height, row_vectors, (wanted, builder.most_vectors)),
        most_vectors=builder.most_vectors,
        chunk_floats=CHUNK_FLOATS,
    )
    builder.convolution(source, out, packed, spec.bias, other=other, activation=activation, slope=slope)
    return packed
