"""Convolutions: the channels summed over go together, the weight's other dimension is the output's."""

from __future__ import annotations

from sapwood.ops.atoms import Axis, concatenate, fixed_axis, merge
from sapwood.ops.call import Call
from sapwood.ops.context import Context, EqualParts, bound, rule
from sapwood.ops.facts import Sum


@rule("convolution", "_convolution", sum=Sum("convolution", bias=2), groups_at=8)
def _convolution(context: Context, call: Call) -> None:
    """Convolution of any rank, transposed or not, grouped or not.

    With groups, the channels are (conv group, position in the group) on both sides; conv groups go together, positions
    on the input side go with the weight's input dimension. A depthwise convolution has one position a group.
    """
    values = bound(call)
    source, weight, bias = call.args[0], call.args[1], values["bias"]
    groups, transposed = int(values["groups"]), bool(values.get("transposed", False))  # type: ignore[call-overload]
    source_axes, weight_axes = context.axes(source), context.axes(weight)
    channel = len(source.shape) - len(weight.shape) + 1
    spatial = _spatial(context, call, source_axes[channel + 1 :])
    context.never_channels(weight_axes[2:])
    if transposed:
        produced = _transposed(context, call, source_axes[channel], weight_axes, groups)
    else:
        produced = _forward(context, call, source_axes[channel], weight_axes, groups)
    if bias is not None:
        context.join(produced, context.axes(bias)[0], call)  # type: ignore[arg-type]
    context.set(call.outputs[0], [*source_axes[:channel], produced, *spatial])


def _spatial(context: Context, call: Call, axes: list[Axis]) -> list[Axis]:
    """The output's dimensions behind the channels.

    A kernel that is one wide does not slide: where there is one dimension, as of tokens whose features stand there,
    each index is a row of its own. Rows and columns of pictures are positions all the same.
    """
    values = bound(call)
    still = (list(values[name]) for name in ("stride", "padding", "output_padding"))  # type: ignore[call-overload]
    if list(call.args[1].shape[2:]) == [1] and list(still) == [[1], [0], [0]]:
        return axes
    context.positions(axes, call)
    return [fixed_axis(size) for size in call.outputs[0].shape[-len(axes) :]] if axes else []


def _forward(context: Context, call: Call, channels: Axis, weight: list[Axis], groups: int) -> Axis:
    """The output channels, after tying what a convolution ties."""
    if groups == 1:
        context.join(channels, weight[1], call)
        return weight[0]
    if call.index in context.by_position:
        inner = _same_in_all_groups(context, call, channels, groups)
        context.join(inner, weight[1], call)
        context.balanced.append(EqualParts(_in_groups(weight[0], groups), call))
        return weight[0]
    outer, inner = context.atoms.split(channels, (groups, len(channels) // groups))
    outer_out, _ = context.atoms.split(weight[0], (groups, len(weight[0]) // groups))
    context.join(outer, outer_out, call)
    context.join(inner, weight[1], call)
    return weight[0]


def _transposed(context: Context, call: Call, channels: Axis, weight: list[Axis], groups: int) -> Axis:
    """The output channels, after tying what a transposed convolution ties."""
    context.join(channels, weight[0], call)
    if groups == 1:
        return weight[1]
    if call.index in context.by_position:
        context.balanced.append(EqualParts(_in_groups(weight[0], groups), call))
        return concatenate([weight[1]] * groups)
    outer, _ = context.atoms.split(weight[0], (groups, len(weight[0]) // groups))
    return merge([outer, weight[1]])


def _in_groups(axis: Axis, groups: int) -> tuple[Axis, ...]:
    """The part of an axis that belongs to each convolution group."""
    size = len(axis) // groups
    return tuple(axis[start : start + size] for start in range(0, len(axis), size))


def _same_in_all_groups(context: Context, call: Call, channels: Axis, groups: int) -> Axis:
    """The channels of one convolution group, after tying each to those at its position in the others."""
    first, *others = _in_groups(channels, groups)
    for other in others:
        context.join(first, other, call)
    return first


@rule("torchvision.deform_conv2d", sum=Sum("deformed", bias=4), groups_at=11)
def _deformed(context: Context, call: Call) -> None:
    """A convolution that reads its first argument at places the offsets name, and weighs what it reads by the mask.

    Offset groups cut the channels as convolution groups do; all of them stay, for offsets and masks belong to them.
    """
    source, weight, offset, mask, bias = (context.axes(tensor) for tensor in call.args[:5])
    offset_groups = int(call.args[12])
    context.positions(source[2:], call)
    context.never_channels([*weight[2:], *offset[2:], *mask[2:]])
    context.fix([offset[1], mask[1]], call)
    for extra in (offset[0], mask[0]):
        if len(extra) == len(source[0]):
            context.join(source[0], extra, call)
    if offset_groups > 1:
        outer, _ = context.atoms.split(source[1], (offset_groups, len(source[1]) // offset_groups))
        context.fix([outer], call)
    produced = _forward(context, call, source[1], weight, int(call.args[11]))
    context.join(produced, bias[0], call)
    context.set(call.outputs[0], [source[0], produced, *(fixed_axis(size) for size in call.outputs[0].shape[2:])])
