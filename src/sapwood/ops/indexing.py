"""Lookups and cuts: embedding tables, selection of parts, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from sapwood.ops.atoms import Axis, concatenate, fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, EqualParts, bound, rule
from sapwood.ops.derived import Joined, Part
from sapwood.ops.facts import note

_rule = partial(rule, spreads="moved")


@_rule("embedding", looks_up=True)
def _embedding(context: Context, call: Call) -> None:
    table, index = context.axes(call.args[0]), context.axes(call.args[1])
    context.freeze([table[0]], f"is looked up by value in {call}")
    context.set(call.outputs[0], [*index, table[1]])


def _of_rows(call: Call) -> list[int]:
    """The numbers of each row."""
    return [1]


@rule("embedding_renorm_", pools=_of_rows, on_kept=True, statistics=True)
def _scaled_rows(context: Context, call: Call) -> None:
    """Rows of a table that are looked up are scaled down, in the table itself, until their norms are allowed."""
    table = context.axes(call.args[0])
    context.freeze([table[0]], f"is looked up by value in {call}")
    context.set(call.outputs[0], table)


@_rule("select")
def _select(context: Context, call: Call) -> None:
    """One index of a dimension is read by position, so the dimension is fixed; the first and the last are so anyhow."""
    axes = context.axes(call.args[0])
    dim, index = int(call.args[1]) % len(axes), int(call.args[2])
    end = {0: slice(1), -1: slice(-1, None)}.get(index, slice(None))
    context.fix([axes[dim][end]], call)
    context.set(call.outputs[0], [axis for number, axis in enumerate(axes) if number != dim])


def leave_out(context: Context, call: Call) -> None:
    """The same where nobody reads the index that a ``select`` takes: the other dimensions are what counts."""
    axes = context.axes(call.args[0])
    dim = int(call.args[1]) % len(axes)
    context.set(call.outputs[0], [axis for number, axis in enumerate(axes) if number != dim])


def sliced(call: Call) -> tuple[int, int, int]:
    """The dimension that a ``slice`` cuts, where the part begins, and where it stops."""
    values = bound(call)
    shape = call.args[0].shape
    dim = int(values["dim"]) % len(shape)  # type: ignore[call-overload]
    begin, stop, _ = slice(values["start"], values["end"]).indices(shape[dim])
    return dim, begin, max(begin, stop)


@_rule("slice")
def _slice(context: Context, call: Call) -> None:
    """A part; one of every ``step`` indices where these follow each other without a gap, if they go together."""
    axes = context.axes(call.args[0])
    dim, begin, stop = sliced(call)
    step = int(bound(call)["step"])  # type: ignore[call-overload]
    whole = axes[dim]
    axes[dim] = whole[begin:stop:step]
    if step == 1:
        context.derive(axes[dim], [whole], Part(begin, stop, len(whole)))
    elif len(whole) % step == 0 and len(axes[dim]) == len(whole) // step > 1:
        for place in range(1, step):
            context.join(whole[::step], whole[place::step], call)
    else:
        context.fix([whole], call)
        axes[dim] = fixed_axis(len(axes[dim]))
    context.set(call.outputs[0], axes)


@_rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes")
def _split(context: Context, call: Call) -> None:
    values = bound(call)
    axes = context.axes(call.args[0])
    dim = int(values["dim"]) % len(axes)  # type: ignore[call-overload]
    outputs = call.tensor_outputs()
    start = 0
    parts = []
    for output in outputs:
        stop = start + output.shape[dim]
        parts.append(context.derive(axes[dim][start:stop], [axes[dim]], Part(start, stop, len(axes[dim]))))
        context.set(output, [*axes[:dim], parts[-1], *axes[dim + 1 :]])
        start = stop
    if axes[dim].shape[1] and len({len(part) for part in parts}) == 1 and len(parts) > 1:
        context.equal_parts.append(EqualParts(tuple(parts), call))


@_rule("unbind")
def _unbind(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    dim = (int(call.args[1]) if len(call.args) > 1 else 0) % len(axes)
    context.fix([axes[dim]], call)
    rest = [axis for number, axis in enumerate(axes) if number != dim]
    for output in call.tensor_outputs():
        context.set(output, rest)


@_rule("cat")
def _cat(context: Context, call: Call) -> None:
    tensors = [tensor for tensor in call.args[0] if tensor.shape != (0,)]
    if not tensors:
        return
    dim = (call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)) % len(tensors[0].shape)
    all_axes = [context.axes(tensor) for tensor in tensors]
    result = []
    for number in range(len(tensors[0].shape)):
        if number == dim:
            parts = [context.atoms.resolve(axes[number]) for axes in all_axes]
            result.append(context.derive(concatenate(parts), parts, Joined()))
            continue
        for axes in all_axes[1:]:
            context.join(all_axes[0][number], axes[number], call)
        result.append(all_axes[0][number])
    context.set(call.outputs[0], result)


@_rule("block_diag")
def _block_diagonal(context: Context, call: Call) -> None:
    """Matrices one behind the other in both dimensions, zeros beside them; a vector is a matrix of one row."""
    own = [context.axes(tensor) for tensor in call.args[0]]
    matrices = [[*(fixed_axis(1) for _ in range(2 - len(axes))), *axes] for axes in own]
    sides = [[context.atoms.resolve(axes[dim]) for axes in matrices] for dim in range(2)]
    context.set(call.outputs[0], [context.derive(concatenate(side), side, Joined()) for side in sides])


@_rule("stack")
def _stack(context: Context, call: Call) -> None:
    tensors = list(call.args[0])
    joined = context.broadcast(tensors, call)
    dim = (call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)) % (len(joined) + 1)
    context.set(call.outputs[0], [*joined[:dim], fixed_axis(len(tensors)), *joined[dim:]])


@_rule("index", "_unsafe_index")
def _index(context: Context, call: Call) -> None:
    """Indexing by tensors: the indexed dimensions are read by position, the others pass."""
    chosen = _indexed(context, call, context.axes(call.args[0]), call.args[1])
    output = call.outputs[0]
    context.set(
        output, [axis if len(axis) == n else fixed_axis(n) for axis, n in zip(chosen, output.shape, strict=True)]
    )


@_rule("index_put", "index_put_", "_index_put_impl_")
def _index_put(context: Context, call: Call) -> None:
    """Writes at positions: the indexed dimensions are fixed, the others are those of what is written."""
    target, indices, values = call.args[:3]
    axes = context.axes(target)
    chosen = _indexed(context, call, axes, indices)
    for axis, other in zip(reversed(chosen), reversed(context.axes(values)), strict=False):
        if len(axis) == len(other):
            context.join(axis, other, call)
        elif len(other) > 1:
            context.fix([axis, other], call)
    context.set(call.outputs[0], axes)


def _indexed(context: Context, call: Call, axes: list[Axis], indices: Sequence[TensorRef | None]) -> list[Axis]:
    """The axes of what indices choose, in place of the indexed dimensions: in front, unless these lie side by side."""
    passed: list[tuple[int, Axis]] = []
    spans: list[int] = []
    dim = 0
    for index in indices:
        span = len(index.shape) if index is not None and index.dtype in MASKS else 1
        if index is None:
            passed.append((dim, axes[dim]))
        else:
            spans += range(dim, dim + span)
        dim += span
    passed += enumerate(axes[dim:], dim)
    context.fix([axes[place] for place in spans], call)
    placed = _placed(context, call, [index for index in indices if index is not None])
    numbers = [number for number, index in enumerate(indices) if index is not None]
    first = spans[0] if spans and numbers == list(range(numbers[0], numbers[-1] + 1)) else 0
    return [
        *(axis for place, axis in passed if place < first),
        *placed,
        *(axis for place, axis in passed if place >= first),
    ]


MASKS = frozenset({torch.bool, torch.uint8})
"""Types of an index that says yes or no, and not where; it stands over as many dimensions as it has."""


def _placed(context: Context, call: Call, indices: list[TensorRef]) -> list[Axis]:
    """The axes of indices that are broadcast; how many positions a mask chooses is known when it runs only."""
    masks = [index for index in indices if index.dtype in MASKS]
    if not masks:
        return context.broadcast(indices, call)
    context.fix([axis for index in indices for axis in context.axes(index)], call)
    rank = max([1, *(len(index.shape) for index in indices if index.dtype not in MASKS)])
    return [CHOSEN] * rank


CHOSEN = fixed_axis(0)
"""Stands for as many positions as a mask chooses."""


@_rule("index_select")
def _index_select(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    dim = int(call.args[1]) % len(axes)
    context.fix([axes[dim]], call)
    axes[dim] = context.axes(call.args[2])[0]
    context.set(call.outputs[0], axes)


@_rule("rot90")
def _turn(context: Context, call: Call) -> None:
    """A quarter turn, or several: two dimensions are read by position, and may change places."""
    turns, dims = call.args[1:] if len(call.args) > 2 else (*call.args[1:], bound(call)["dims"])
    axes = context.axes(call.args[0])
    first, second = (int(dim) % len(axes) for dim in dims)
    axes[first], axes[second] = context.fix([axes[first], axes[second]], call)
    if turns % 2:
        axes[first], axes[second] = axes[second], axes[first]
    context.set(call.outputs[0], axes)


@_rule("roll", "flip")
def _roll(context: Context, call: Call) -> None:
    values = bound(call)
    axes = context.axes(call.args[0])
    for dim in values["dims"]:  # type: ignore[attr-defined]
        axes[dim % len(axes)] = context.fix([axes[dim % len(axes)]], call)[0]
    context.set(call.outputs[0], axes)


@_rule("constant_pad_nd")
def _pad(context: Context, call: Call) -> None:
    """Padding adds indices that hold a constant; on a dimension of channels they are new atoms of their own."""
    axes = context.axes(call.args[0])
    amounts = list(call.args[1])
    for number in range(len(amounts) // 2):
        dim = len(axes) - 1 - number
        before, after = amounts[2 * number], amounts[2 * number + 1]
        if before == after == 0:
            continue
        if not context.atoms.resolve(axes[dim]).shape[1]:
            axes[dim] = fixed_axis(len(axes[dim]) + before + after)
        elif before < 0 or after < 0:
            axes[dim] = axes[dim][max(0, -before) : len(axes[dim]) + min(0, after)]
        else:
            left, right = context.atoms.fresh(before), context.atoms.fresh(after)
            if before == after:
                context.equal_parts.append(EqualParts((left, right), call))
            axes[dim] = concatenate([left, axes[dim], right])
    context.set(call.outputs[0], axes)


note(
    "select",
    "unbind",
    "split",
    "split_with_sizes",
    "slice",
    "unsafe_split",
    moves=True,
)
note("select", "unbind", "split", "split_with_sizes", "slice", "unsafe_split", homogeneous="first")
note("index", "index_select", "roll", "flip", "rot90", homogeneous="first")
note("cat", "stack", "block_diag", homogeneous="all")
note("cat", joins=True)
note("slice", slices=True)
note("select", picks=True)
note("constant_pad_nd", pads=True)
