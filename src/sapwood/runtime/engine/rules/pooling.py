"""Pooling and upsampling."""

from __future__ import annotations

import math

from sapwood.ops import Call
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.layouts import TensorLayout, is_cover
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers, pair
from sapwood.runtime.engine.nodes import Pool, Upsample
from sapwood.runtime.engine.packing import PlaneGeometry


@lowers("aten.constant_pad_nd")
def _pad(state: Lowering, call: Call) -> None:
    """Kept until a max-pool reads it: what is less than everything else changes no maximum."""
    source, sides, fill = (*call.args, 0.0)[:3]
    if fill != -math.inf or len(sides) > 4:
        raise UnsupportedError(f"rows and columns of {fill}; only of -inf, in front of a max-pool")
    left, right, top, bottom = (*sides, 0, 0)[:4]
    state.padded[call.tensor_outputs()[0].id] = (call, state.value(source), (top, bottom), (left, right))


@lowers("aten.max_pool2d_with_indices", "aten.max_pool2d")
def _max_pool(state: Lowering, call: Call) -> None:
    source, kernel, *rest = call.args
    stride = pair(rest[0]) if rest and rest[0] else pair(kernel)
    top, left = pair(rest[1]) if len(rest) > 1 else (0, 0)
    if len(rest) > 2 and set(pair(rest[2])) != {1}:
        raise UnsupportedError("only pooling without dilation")
    if source.id in state.padded:
        _, value, down, right = state.padded[source.id]
        top, left = top + down[0], left + right[0]
    else:
        value = state.value(source)
    geometry = PlaneGeometry(pair(kernel), stride, (top, left))
    channels, height, width = state.size(value)
    rows, columns = (int(side) for side in call.tensor_outputs()[0].shape[2:])
    size = (channels, rows, columns)
    starts = [step * (side - 1) - pad for step, side, pad in zip(stride, size[1:], (top, left), strict=True)]
    if starts[0] >= height or starts[1] >= width or top >= geometry.kernel[0] or left >= geometry.kernel[1]:
        raise UnsupportedError("a window lies outside of the map")
    state.put(call, Pool(state.new(size), (value,), call.module, "max", geometry))


@lowers("aten.avg_pool2d")
def _average_pool(state: Lowering, call: Call) -> None:
    _, kernel, *rest = call.args
    stride = pair(rest[0]) if rest and rest[0] else pair(kernel)
    padding = pair(rest[1]) if len(rest) > 1 else (0, 0)
    if len(rest) > 4 and rest[4] is not None:
        raise UnsupportedError("only averages without a divisor of their own")
    _average(state, call, PlaneGeometry(pair(kernel), stride, padding), all_places=len(rest) < 4 or bool(rest[3]))


@lowers("aten.mean")
def _mean(state: Lowering, call: Call) -> None:
    """Over all places, whichever dimensions those are."""
    source, dims, *_ = (*call.args, None)
    found = seeing.whole(state, state.find(source))
    channels, height, width = state.size(found.value)
    places, sides = height * width, len(source.shape)
    gone = {dim % sides for dim in dims or range(sides)}
    inner = TensorLayout(tuple(found.layout.dims[dim] for dim in gone)).factors
    outer = [found.layout.dims[dim] for dim in range(sides) if dim not in gone]
    whole = is_cover(inner, places) and all(stride % places == 0 for dim in outer for _, stride in dim)
    if not whole or call.tensor_outputs()[0].dtype != source.dtype:
        raise UnsupportedError("only means over all rows and columns")
    out = state.new((channels, 1, 1))
    geometry = PlaneGeometry((height, width))
    state.network.nodes.append(Pool(out, (found.value,), call.module, "average", geometry))
    kept = TensorLayout(tuple(tuple((size, stride // places) for size, stride in dim) for dim in outer))
    layout = kept.reshaped(call.tensor_outputs()[0].shape)
    if layout is None:
        raise UnsupportedError("only means over all rows and columns")
    state.show(call, found._replace(value=out, layout=layout))


@lowers("aten._adaptive_avg_pool2d")
def _adaptive(state: Lowering, call: Call) -> None:
    source, size = call.args[:2]
    if set(size) != {1}:
        raise UnsupportedError("only pooling to one place")
    _average(state, call, PlaneGeometry((int(source.shape[2]), int(source.shape[3]))), all_places=True)


def _average(state: Lowering, call: Call, geometry: PlaneGeometry, *, all_places: bool) -> None:
    source = state.value(call.args[0])
    channels, height, width = state.size(source)
    recorded = call.tensor_outputs()[0].shape
    size = (channels, *geometry.output_size(height, width))
    if len(recorded) == 4 and tuple(recorded[1:]) != size:
        raise UnsupportedError(f"a result of {tuple(recorded[1:])} where {size} is expected: windows that end outside")
    state.put(call, Pool(state.new(size), (source,), call.module, "average", geometry, all_places))


@lowers("aten.upsample_nearest2d")
def _upsample(state: Lowering, call: Call) -> None:
    source = state.value(call.args[0])
    channels, height, width = state.size(source)
    rows, columns = call.tensor_outputs()[0].shape[2:]
    if rows % height or columns % width:
        raise UnsupportedError(f"from {height} x {width} to {rows} x {columns}; expected whole factors")
    out = state.new((channels, rows, columns))
    state.put(call, Upsample(out, (source,), call.module, (rows // height, columns // width)))
