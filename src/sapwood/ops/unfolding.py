"""Windows of a map as channels and back, and maps that are laid out again: channels pass, positions stay."""

from __future__ import annotations

from sapwood.ops.atoms import fixed_axis, merge
from sapwood.ops.call import Call
from sapwood.ops.context import Context, rule


def _spatial(call: Call) -> range:
    """Rows and columns of a map, behind its channels."""
    rank = len(call.args[0].shape)
    return range(rank - 2, rank)


@rule("im2col", pools=_spatial)
def _unfold(context: Context, call: Call) -> None:
    """A map's channels become (channel, row, column of the window); only whole channels go."""
    *batch, channels, rows, columns = context.axes(call.args[0])
    context.positions([rows, columns], call)
    window = [fixed_axis(int(size)) for size in call.args[1]]
    output = call.outputs[0]
    context.set(output, [*batch, merge([channels, *window]), fixed_axis(output.shape[-1])])


def _windows(call: Call) -> list[int]:
    """The windows, which are added where they overlap."""
    return [len(call.args[0].shape) - 1]


@rule("col2im", pools=_windows)
def _fold(context: Context, call: Call) -> None:
    """The reverse: windows are added up."""
    *batch, channels, windows = context.axes(call.args[0])
    context.positions([windows], call)
    size = [int(number) for number in call.args[2]]
    outer, *inside = context.atoms.split(channels, (len(channels) // (size[0] * size[1]), *size))
    context.freeze(inside, f"is a position inside a window of {call}")
    context.set(call.outputs[0], [*batch, outer, *(fixed_axis(number) for number in call.outputs[0].shape[-2:])])


def _map(call: Call) -> range:
    """All dimensions of the map, as many as there are sizes of the output."""
    rank = len(call.args[0].shape)
    return range(rank - len(call.args[2]), rank)


@rule("max_unpool2d", "max_unpool3d", pools=_map)
def _unpool(context: Context, call: Call) -> None:
    """Values are put back where a pool found them, each channel at its own places."""
    axes, places = context.axes(call.args[0]), context.axes(call.args[1])
    rank = len(call.args[2])
    context.positions([*axes[-rank:], *places[-rank:]], call)
    for axis, other in zip(axes[:-rank], places[:-rank], strict=True):
        context.join(axis, other, call)
    context.set(call.outputs[0], [*axes[:-rank], *(fixed_axis(size) for size in call.outputs[0].shape[-rank:])])


@rule("unfold", spreads="moved")
def _windows_along(context: Context, call: Call) -> None:
    """Windows along one dimension, of which the indices inside stand in a new last one; all other dimensions pass."""
    axes = context.axes(call.args[0])
    dim = int(call.args[1]) % max(len(axes), 1)
    context.positions([axes[dim]], call)
    output = call.outputs[0]
    axes[dim] = fixed_axis(output.shape[dim])
    context.set(output, [*axes, fixed_axis(output.shape[-1])])
