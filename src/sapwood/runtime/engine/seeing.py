"""Tensors of the run as the maps that an operation wants: what lies right is taken as it is, the rest is copied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sapwood.runtime.engine import nodes, rearranging
from sapwood.runtime.engine.layouts import TensorLayout, is_cover
from sapwood.runtime.engine.nodes import Size, Value
from sapwood.runtime.engine.packing import Array, ConvSpec, PlaneGeometry, finite

if TYPE_CHECKING:
    from sapwood.runtime.engine.lowering import Lowering


class Seen(NamedTuple):
    """A tensor of the run.

    Attributes:
        value: The map that holds it.
        layout: Where its elements are there.
        factor: What they are still to be multiplied with.
    """

    value: Value
    layout: TensorLayout
    factor: float = 1.0


def whole(state: Lowering, seen: Seen) -> Seen:
    """A map that holds a tensor and nothing else, each element once."""
    size = state.size(seen.value)
    places = size[1] * size[2]
    shifted = TensorLayout(seen.layout.dims)
    count = math.prod(shifted.shape)
    if seen.layout.offset % places == 0 and count % places == 0 and shifted.covers(count):
        value = channels(state, seen.value, seen.layout.offset // places, count // places)
        return Seen(multiplied(state, value, seen.factor), shifted)
    target = TensorLayout.contiguous(shifted.shape)
    value = rearranged(state, seen, target, plain_size(shifted.shape))
    return Seen(value, target)


def plain(state: Lowering, seen: Seen, size: Size | None = None) -> Value:
    """A map whose values in order are the elements of a tensor in order; of a size, or of any."""
    found = state.size(seen.value)
    count = math.prod(seen.layout.shape)
    if seen.layout.is_contiguous() and (found == size or (size is None and math.prod(found) == count)):
        return multiplied(state, seen.value, seen.factor)
    wanted = size or plain_size(seen.layout.shape)
    if wanted[1:] == found[1:]:
        kept = whole(state, seen)
        if kept.layout.is_contiguous():
            return kept.value
    return rearranged(state, seen, TensorLayout.contiguous(seen.layout.shape), wanted)


def features(state: Lowering, seen: Seen, row: bool = False) -> Seen:
    """A map whose channels are a tensor's last dimension, and whose places are the others.

    Args:
        state: Of the lowering.
        seen: The tensor.
        row: Whether places must be one row, in the tensor's order.
    """
    found = whole(state, seen)
    count, height, width = state.size(found.value)
    *dims, last = found.layout.dims
    shape = found.layout.shape
    places = height * width
    rest = TensorLayout(tuple(dims)).factors
    fits = shape[-1] == count and last == TensorLayout.contiguous((count, places)).dims[0]
    in_order = height == 1 and rest == TensorLayout.contiguous((places,)).factors
    if fits and is_cover(rest, places) and (in_order or not row):
        return found
    target = tokens(shape)
    return Seen(rearranged(state, found, target, (shape[-1], 1, math.prod(shape[:-1]))), target)


def with_channels(layout: TensorLayout, channels: int, size: Size) -> TensorLayout:
    """The layout of :func:`features` for another number of channels, over a map of ``size``."""
    return TensorLayout((*layout.dims[:-1], TensorLayout.contiguous((channels, size[1] * size[2])).dims[0]))


def tokens(shape: Sequence[int]) -> TensorLayout:
    """The last dimension as channels, the others as places of one row."""
    return TensorLayout.contiguous((shape[-1], *shape[:-1])).permuted((*range(1, len(shape)), 0))


def rearranged(state: Lowering, seen: Seen, target: TensorLayout, size: Size) -> Value:
    """A copy that holds a tensor as another layout says, which covers a map of ``size``."""
    copy = rearranging.copied(state, seen.value, seen.layout.expanded(target.shape), target, size)
    return multiplied(state, copy, seen.factor)


def multiplied(state: Lowering, value: Value, factor: float) -> Value:
    """A map times a number."""
    if factor == 1.0:
        return value
    if (value, factor) not in state.copies:
        count = state.size(value)[0]
        state.copies[value, factor] = scaled(state, value, np.full(count, factor), np.zeros(count))
    return state.copies[value, factor]


def scaled(state: Lowering, value: Value, factors: Array, shifts: Array) -> Value:
    """A map times a number of each channel, and one added: a convolution of one tap, which others take over."""
    size = state.size(value)
    kernel = finite(factors.astype(np.float32))[:, None, None, None]
    spec = ConvSpec(kernel, finite(shifts.astype(np.float32)), PlaneGeometry((1, 1)), size[0])
    out = state.new(size)
    state.network.nodes.append(nodes.Conv(out, (value,), state.module, spec))
    return out


def channels(state: Lowering, value: Value, first: int, count: int) -> Value:
    """Some channels in a row."""
    have, height, width = state.size(value)
    if (first, count) == (0, have):
        return value
    key = (value, first, count)
    if key not in state.copies:
        out = state.copies[key] = state.new((count, height, width))
        state.network.nodes.append(nodes.Channels(out, (value,), state.module, first))
    return state.copies[key]


def plain_size(shape: Sequence[int]) -> Size:
    """A map for a tensor of a shape, whose values are its elements in order.

    Examples:
        >>> plain_size((1, 3, 8, 8)), plain_size((1, 197, 192)), plain_size((1, 10)), plain_size((4, 2))
        ((3, 8, 8), (197, 1, 192), (10, 1, 1), (4, 1, 2))
    """
    if len(shape) in (2, 4) and shape[0] == 1:
        planes, height, width = (*shape[1:], 1, 1)[:3]
        return planes, height, width
    return math.prod(shape[:-1]), 1, shape[-1] if shape else 1
