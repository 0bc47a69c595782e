"""Rows that are gathered, and written, added or reduced at places an index tensor names: channels go through."""

from __future__ import annotations

from sapwood.ops.atoms import Axis, fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule


def _along(call: Call) -> list[int]:
    """The dimension of the places, of what is written into or read from."""
    values = bound(call)
    place = values.get("dim", values.get("axis"))
    return [int(place)]  # type: ignore[call-overload]


def _dim(call: Call) -> int:
    return _along(call)[0] % max(len(call.args[0].shape), 1)


@rule("gather", spreads="moved", homogeneous="first")
def _gather(context: Context, call: Call) -> None:
    """Element by element along one dimension: in the others the index stands over the first of what is read."""
    source, index = call.args[0], call.args[2]
    axes, places, dim = context.axes(source), context.axes(index), _dim(call)
    if axes:
        context.fix([axes[dim]], call)
        _join_first(context, call, places, axes, dim)
    context.set(call.outputs[0], places)


def _join_first(context: Context, call: Call, few: list[Axis], many: list[Axis], dim: int | None = None) -> None:
    """Joins each axis with as many of the first indices of another; all but ``dim``."""
    for number, (axis, other) in enumerate(zip(few, many, strict=True)):
        if number != dim:
            context.join(axis, other[: len(axis)], call)


@rule("scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_", pools=_along)
def _scatter(context: Context, call: Call) -> None:
    """The reverse of gathering: what is written stands over the index."""
    axes, places, dim = context.axes(call.args[0]), context.axes(call.args[2]), _dim(call)
    source = bound(call).get("src")
    if axes:
        context.fix([axes[dim], places[dim]], call)
        _join_first(context, call, places, axes, dim)
        if isinstance(source, TensorRef):
            _join_first(context, call, places, context.axes(source))
    context.set(call.outputs[0], axes)


@rule(
    "index_add", "index_copy", "index_reduce", "index_fill", "index_add_", "index_copy_", "index_reduce_",
    "index_fill_", pools=_along,
)  # fmt: skip
def _at_rows(context: Context, call: Call) -> None:
    """Whole rows are written at places: in all dimensions but theirs, what is written stands over the target."""
    axes, places, dim = context.axes(call.args[0]), context.axes(call.args[2]), _dim(call)
    source = bound(call).get("source")
    context.fix([*axes[dim : dim + 1], *places], call)
    if isinstance(source, TensorRef) and len(source.shape) == len(axes):
        written = context.axes(source)
        context.fix(written[dim : dim + 1], call)
        _join_first(context, call, written, axes, dim)
    context.set(call.outputs[0], axes)


@rule("select_scatter", "slice_scatter", pools=_along)
def _part_written(context: Context, call: Call) -> None:
    """A part of one dimension is written over by another tensor; all other dimensions pass."""
    axes, written, dim = context.axes(call.args[0]), context.axes(call.args[1]), _dim(call)
    context.fix([axes[dim]], call)
    if len(written) == len(axes):
        context.fix([written.pop(dim)], call)
    for axis, other in zip([*axes[:dim], *axes[dim + 1 :]], written, strict=True):
        context.join(axis, other, call)
    context.set(call.outputs[0], [*axes[:dim], fixed_axis(len(axes[dim])), *axes[dim + 1 :]])


def _crossed(call: Call) -> list[int]:
    """The two dimensions of a diagonal."""
    values = bound(call)
    return [int(values[name]) % len(call.args[0].shape) for name in ("dim1", "dim2")]  # type: ignore[call-overload]


@rule("diagonal_scatter", pools=_crossed)
def _diagonal_written(context: Context, call: Call) -> None:
    """A diagonal of two dimensions is written over; it stands last in what is written."""
    axes, written, crossed = context.axes(call.args[0]), context.axes(call.args[1]), _crossed(call)
    context.fix([*(axes[dim] for dim in crossed), written[-1]], call)
    for axis, other in zip([one for dim, one in enumerate(axes) if dim not in crossed], written[:-1], strict=True):
        context.join(axis, other, call)
    context.set(call.outputs[0], [fixed_axis(len(one)) if dim in crossed else one for dim, one in enumerate(axes)])


@rule("masked_scatter", "masked_scatter_")
def _masked_scatter(context: Context, call: Call) -> None:
    """Elements are written one after the other where a mask says yes: whole rows, where it says the same along them."""
    target, mask, source = (context.axes(tensor) for tensor in call.tensor_inputs())
    last = [axes[-1] for axes in (target, source, mask) if axes]
    whole = len(last) == 3 and len(last[0]) == len(last[1]) and len(last[2]) in {1, len(last[0])}
    if whole:
        for axis in last[1:]:
            context.join(last[0], axis if len(axis) > 1 else last[0], call)
    context.fix([axis for axes in (target, mask, source) for axis in (axes[:-1] if whole else axes)], call)
    fixed = [fixed_axis(len(axis)) for axis in target]
    context.set(call.outputs[0], [*fixed[:-1], last[0]] if whole else fixed)


def _flat(call: Call) -> range:
    """All dimensions of what is counted through, element by element."""
    return range(len(call.args[0].shape))


@rule("take", pools=_flat)
def _taken(context: Context, call: Call) -> None:
    """Elements at places of the tensor laid flat: none before them may go."""
    context.fix(context.axes(call.args[0]), call)
    context.set(call.outputs[0], context.axes(call.args[1]))


@rule("put", "put_", pools=_flat)
def _put(context: Context, call: Call) -> None:
    """The reverse of taking: what is written stands over the places."""
    target, places, written = (context.axes(tensor) for tensor in call.args[:3])
    context.fix([*target, *places, *written], call)
    context.set_fixed(call.outputs[0])


@rule("segment_reduce", pools=_along)
def _segment_reduce(context: Context, call: Call) -> None:
    """Runs of rows become one row each; how long they are is told beside."""
    axes, dim, output = context.axes(call.args[0]), _dim(call), call.outputs[0]
    context.fix([axes[dim]], call)
    for other in call.tensor_inputs()[1:]:
        context.fix(context.axes(other), call)
    context.set(output, [*axes[:dim], fixed_axis(output.shape[dim]), *axes[dim + 1 :]])


def _time(call: Call) -> list[int]:
    """Sequences and steps."""
    return [0, 1]


@rule("_pack_padded_sequence", pools=_time)
def _packed(context: Context, call: Call) -> None:
    """Steps of all sequences, one after the other, without the padding."""
    axes = context.axes(call.args[0])
    context.fix([*axes[:2], *context.axes(call.args[1])], call)
    steps, sizes = call.tensor_outputs()
    context.set(steps, [fixed_axis(steps.shape[0]), *axes[2:]])
    context.set_fixed(sizes)


def _rows(call: Call) -> list[int]:
    """Rows of the table that are pooled."""
    return [0]


@rule("_embedding_bag", "_embedding_bag_forward_only", pools=_rows)
def _embedding_bag(context: Context, call: Call) -> None:
    """Rows of a table, looked up and pooled bag by bag."""
    rows, channels = context.axes(call.args[0])
    context.freeze([rows], f"is looked up by value in {call}")
    for other in call.tensor_inputs()[1:]:
        context.fix(context.axes(other), call)
    pooled, *rest = call.tensor_outputs()
    context.set(pooled, [fixed_axis(pooled.shape[0]), channels])
    for extra in rest:
        same = extra.shape == pooled.shape
        context.set(extra, [fixed_axis(extra.shape[0]), channels]) if same else context.set_fixed(extra)
