"""Views: dimensions are cut and merged, permuted, stretched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from sapwood.nested import mapped
from sapwood.ops.atoms import CUT, Axis, fixed_axis, merge
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule
from sapwood.ops.facts import note

_rule = partial(rule, spreads="moved")


@_rule("view", "_unsafe_view", "_reshape_alias")
def _view(context: Context, call: Call) -> None:
    """Finds the blocks of dimensions that are cut and merged among themselves, and refines each to common factors."""
    source, output = call.args[0], call.outputs[0]
    axes = context.axes(source)
    result: list[Axis] = []
    for old, new in _blocks(source.shape, output.shape):
        result += _regroup(context, call, axes[old[0] : old[1]], output.shape[new[0] : new[1]])
    context.set(output, result)


def _blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The finest pairs of runs of dimensions with equal products.

    Of a tensor without values (no boxes were found) sizes need not match: what is left of both is the last pair.
    """
    blocks = []
    left = right = 0
    while left < len(old) or right < len(new):
        start_left, start_right = left, right
        product_left = product_right = 1
        if left < len(old):
            product_left, left = old[left], left + 1
        if right < len(new):
            product_right, right = new[right], right + 1
        while product_left != product_right:
            if max(left - len(old), right - len(new)) >= 0 and 0 in old:
                left, right = len(old), len(new)
                break
            if product_left < product_right or right >= len(new):
                product_left, left = product_left * old[left], left + 1
            else:
                product_right, right = product_right * new[right], right + 1
        blocks.append(((start_left, left), (start_right, right)))
    return blocks


def _regroup(context: Context, call: Call, axes: list[Axis], sizes: tuple[int, ...]) -> list[Axis]:
    """The axes of one block after the view."""
    if not any(context.atoms.resolve(axis).shape[1] for axis in axes):
        return [fixed_axis(size) for size in sizes]
    if [len(axis) for axis in axes if len(axis) != 1] == [size for size in sizes if size != 1]:
        wide = iter([axis for axis in axes if len(axis) != 1])
        return [fixed_axis(1) if size == 1 else next(wide) for size in sizes]
    whole = math.prod(len(axis) for axis in axes)
    same = whole == math.prod(sizes) and whole > 0  # without values they may be others
    factors = _common_factors([len(axis) for axis in axes], list(sizes)) if same else None
    if factors is None:
        context.freeze(axes, f"is cut in a way that does not divide in {call}")
        return [fixed_axis(size) for size in sizes]
    fine: list[Axis] = []
    position = 0
    for axis in axes:
        count = _span(factors, position, len(axis))
        cut = factors[position : position + count]
        fine += context.atoms.split(axis, cut, f"{CUT} in {call}") if count != 1 else [axis]
        position += count
    result = []
    position = 0
    for size in sizes:
        count = _span(factors, position, size)
        result.append(merge(fine[position : position + count]) if count != 1 else fine[position])
        position += count
    return result


def _common_factors(old: list[int], new: list[int]) -> list[int] | None:
    """Sizes that both lists are products of runs of, or None where their cuts do not divide each other."""
    cuts = set()
    for sizes in (old, new):
        product = 1
        for size in sizes:
            product *= size
            cuts.add(product)
    ordered = sorted(cuts | {1})
    factors = []
    for low, high in itertools.pairwise(ordered):
        if high % low:
            return None
        factors.append(high // low)
    return factors


def _span(factors: list[int], position: int, size: int) -> int:
    """How many factors from ``position`` multiply to ``size``."""
    product, count = 1, 0
    while product < size:
        product *= factors[position + count]
        count += 1
    return count


@_rule("t", "transpose", "permute", "transpose_", "t_")
def _permute(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    context.set(call.outputs[0], [axes[dim] for dim in order_of(call)])


def order_of(call: Call) -> list[int]:
    """For each dimension of what a permutation makes, the dimension of its source."""
    rank = len(call.args[0].shape)
    order = list(range(rank))
    if call.name in {"aten.t", "aten.t_"}:
        return order[::-1]
    if call.name == "aten.permute":
        return [int(dim) % rank for dim in call.args[1]]
    first, second = (int(dim) % rank for dim in call.args[1:3])
    order[first], order[second] = order[second], order[first]
    return order


@_rule("channel_shuffle", "native_channel_shuffle", shuffles_at=1)
def _channel_shuffle(context: Context, call: Call) -> None:
    """Channels (group, position) become (position, group); every group stays and loses the same positions."""
    axes, groups = context.axes(call.args[0]), int(call.args[1])
    outer, inner = context.atoms.split(axes[1], (groups, len(axes[1]) // groups))
    context.freeze([outer], f"is a group of {call}")
    context.set(call.outputs[0], [axes[0], merge([inner, fixed_axis(groups)]), *axes[2:]])


@_rule("unsqueeze", "unsqueeze_")
def _unsqueeze(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    dim = int(call.args[1]) % (len(axes) + 1)
    context.set(call.outputs[0], [*axes[:dim], fixed_axis(1), *axes[dim:]])


@_rule("squeeze", "squeeze_")
def _squeeze(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    dims: Any = bound(call).get("dim")
    listed = range(len(axes)) if dims is None else dims if isinstance(dims, (list, tuple)) else [dims]
    gone = {dim % len(axes) for dim in listed if len(axes[dim]) == 1}
    context.set(call.outputs[0], [axis for dim, axis in enumerate(axes) if dim not in gone])


@_rule("expand")
def _expand(context: Context, call: Call) -> None:
    """A dimension of size 1 that is stretched holds copies: its indices are new atoms, for any number will do."""
    axes, output = context.axes(call.args[0]), call.outputs[0]
    added = len(output.shape) - len(axes)
    result = [context.atoms.fresh(size) for size in output.shape[:added]]
    for axis, size in zip(axes, output.shape[added:], strict=True):
        result.append(axis if len(axis) == size else context.atoms.fresh(size))
    context.set(output, result)


@_rule("repeat")
def _repeat(context: Context, call: Call) -> None:
    axes, output = context.axes(call.args[0]), call.outputs[0]
    repeats = list(call.args[1])
    axes = [fixed_axis(1)] * (len(repeats) - len(axes)) + axes
    result = []
    for axis, count, size in zip(axes, repeats, output.shape, strict=True):
        result.append(axis if count == 1 else merge([context.atoms.fresh(count), axis])[:size])
    context.set(output, result)


@_rule("diagonal")
def _diagonal(context: Context, call: Call) -> None:
    """Elements where two indices are the same: these go together, and stand in a new last dimension."""
    values, axes = bound(call), context.axes(call.args[0])
    first, second = (int(values[name]) % len(axes) for name in ("dim1", "dim2"))  # type: ignore[call-overload]
    rest = [axis for dim, axis in enumerate(axes) if dim not in (first, second)]
    if values["offset"] == 0 and len(axes[first]) == len(axes[second]):
        context.join(axes[first], axes[second], call)
        context.set(call.outputs[0], [*rest, axes[first]])
        return
    context.fix([axes[first], axes[second]], call)
    context.set(call.outputs[0], [*rest, fixed_axis(call.outputs[0].shape[-1])])


@_rule("diag_embed")
def _diag_embed(context: Context, call: Call) -> None:
    """The reverse: the last dimension stands over two, with zeros wherever these two indices differ."""
    values, (*rest, last), output = bound(call), context.axes(call.args[0]), call.outputs[0]
    first, second = sorted(int(values[name]) % len(output.shape) for name in ("dim1", "dim2"))  # type: ignore[call-overload]
    if values["offset"]:
        context.fix([last], call)
        last = fixed_axis(output.shape[first])
    rest.insert(first, last)
    rest.insert(second, last)
    context.set(output, rest)


@_rule("as_strided", "as_strided_")
def _as_strided(context: Context, call: Call) -> None:
    """New strides: dimensions that stay as they were pass, beside windows that overlap; else all is read by position.

    Where at most one dimension has more than one index, strides change nothing.
    """
    source, output = call.args[0], call.outputs[0]
    axes = context.axes(source)
    if source.shape == output.shape and sum(size > 1 for size in source.shape) <= 1:
        context.set(output, axes)
        return
    passing = dict(_left_alone(call))
    context.fix([axis for dim, axis in enumerate(axes) if dim not in passing.values()], call)
    sizes = enumerate(output.shape)
    context.set(output, [axes[passing[dim]] if dim in passing else fixed_axis(size) for dim, size in sizes])


def _left_alone(call: Call) -> Iterator[tuple[int, int]]:
    """Pairs of a dimension of what new strides make and one of its source that hold the same indices."""
    shape, (sizes, strides, *offset) = call.args[0].shape, call.args[1:]
    steps = _steps(shape, sizes, strides)
    for dim, (size, stride) in enumerate(zip(sizes, strides, strict=True)):
        others = [(other, step) for n, (other, step) in enumerate(zip(sizes, strides, strict=True)) if n != dim]
        reach = sum((other - 1) * step for other, step in others if step < stride)
        apart = all(step % (size * stride) == 0 for other, step in others if step >= stride and other > 1)
        for place, (own, step) in enumerate(zip(shape, steps, strict=True)):
            if (own, step) == (size, stride) and size > 1 and reach < stride and apart and not any(offset):
                yield dim, place


def _steps(shape: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> list[int]:
    """How far apart the indices of each dimension lie in a dense source: permuted as the new strides show, or in order.

    From the innermost on, the next is one that the new strides leave alone; the others come where none is.
    """
    if len(shape) != len(sizes):
        return [math.prod(shape[dim + 1 :]) for dim in range(len(shape))]
    steps, step, left = [0] * len(shape), 1, list(range(len(shape)))[::-1]
    while left:
        dim = next((dim for dim in left if (sizes[dim], strides[dim]) == (shape[dim], step)), left[0])
        left.remove(dim)
        steps[dim], step = step, step * shape[dim]
    return steps


note("view", "_unsafe_view", moves=True, reshapes=True)
note("expand", "unsqueeze", "squeeze", moves=True)
note("t", "transpose", "permute", moves=True, turns=True)
note(
    "view",
    "_unsafe_view",
    "_reshape_alias",
    "expand",
    "unsqueeze",
    "squeeze",
    "t",
    "transpose",
    "permute",
    homogeneous="first",
)
note("repeat", "as_strided", homogeneous="first")


def moved(call: Call, value: Tensor, known: Mapping[int, Tensor] | None = None) -> Any:
    """What ``call``, which moves values, makes of ``value``, which may lie in memory in another order than its own.

    Where it reads other tensors, as an index does, ``known`` has their values by number.
    """
    if call.facts.reshapes:
        return value.reshape(call.args[1])
    args, kwargs = mapped(lambda leaf: _value(leaf, known or {}), (call.args[1:], dict(call.kwargs)))
    return call.op(value, *args, **kwargs)


def _value(leaf: Any, known: Mapping[int, Tensor]) -> Any:
    return known[leaf.id] if isinstance(leaf, TensorRef) else leaf
