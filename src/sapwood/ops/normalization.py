"""Normalisations: scale, shift and running statistics follow the channel; layer and group norms pool over channels."""

from __future__ import annotations

from sapwood.ops.atoms import Axis, fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule
from sapwood.ops.facts import Norm, note


def _batch(call: Call) -> list[int]:
    """All but the channel, where statistics are taken of the input itself."""
    values = bound(call)
    updates = call.name == "aten._batch_norm_with_update"
    takes = updates or bool(values.get("training", False)) or not isinstance(values.get("running_mean"), TensorRef)
    return [dim for dim in range(len(call.args[0].shape)) if dim != 1] if takes else []


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update",
    "_batch_norm_no_update",
    "cudnn_batch_norm",
    norm=Norm("batch", 1),
    pools=_batch,
    on_kept=True,
    statistics=True,
)
def _batch_norm(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    for tensor in call.tensor_inputs()[1:]:
        context.join(axes[1], context.axes(tensor)[0], call)
    context.set(call.outputs[0], axes)
    for extra in call.tensor_outputs()[1:]:
        context.set(
            extra, [axes[1]] if extra.shape == (len(axes[1]),) else [context.atoms.fresh(n) for n in extra.shape]
        )


def _last(call: Call) -> range:
    """The last dimensions, as many as the shape that is given has."""
    return range(-len(call.args[1]), 0)


@rule("native_layer_norm", "_fused_rms_norm", norm=Norm("layer", 2), pools=_last, on_kept=True, statistics=True)
def _layer_norm(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    values = bound(call)
    for name in ("weight", "bias"):
        tensor = values.get(name)
        if isinstance(tensor, TensorRef):
            for axis, other in zip(axes[-len(tensor.shape) :], context.axes(tensor), strict=True):
                context.join(axis, other, call)
    context.set(call.outputs[0], axes)
    normed = len(call.args[1])
    for statistics in call.tensor_outputs()[1:]:
        context.set(statistics, [*axes[:-normed], *(fixed_axis(1) for _ in range(normed))])


def _groups(call: Call) -> list[int]:
    """Channels, where a group holds more than one."""
    return [1] if call.args[0].shape[1] > _num_groups(call) else []


def _num_groups(call: Call) -> int:
    values = bound(call)
    return int(values["group"])  # type: ignore[call-overload,no-any-return]


@rule("native_group_norm", norm=Norm("group", 1), groups_at=6, pools=_groups, on_kept=True, statistics=True)
def _group_norm(context: Context, call: Call) -> None:
    """Every norm group must keep the same number of channels: (norm group, position) are pruned rectangularly."""
    axes = context.axes(call.args[0])
    values = bound(call)
    groups = _num_groups(call)
    for name in ("weight", "bias"):
        tensor = values.get(name)
        if isinstance(tensor, TensorRef):
            context.join(axes[1], context.axes(tensor)[0], call)
    outer, _ = context.atoms.split(axes[1], (groups, len(axes[1]) // groups))
    _same_shape(context, call, axes)
    for statistics in call.tensor_outputs()[1:]:
        context.set(statistics, [axes[0], outer])


def _softmaxed(call: Call) -> list[int]:
    return [int(call.args[1])]


@rule(
    "_softmax",
    "_log_softmax",
    "_safe_softmax",
    pools=_softmaxed,
    on_kept=True,
    statistics=True,
    spreads="along",
)
def _softmax(context: Context, call: Call) -> None:
    _same_shape(context, call, context.axes(call.args[0]))


def _but_one(call: Call) -> list[int]:
    """All but the dimension whose indices have a norm each."""
    kept = int(call.args[2]) % len(call.args[0].shape)
    return [dim for dim in range(len(call.args[0].shape)) if dim != kept]


@rule("renorm", "renorm_", pools=_but_one, on_kept=True, statistics=True)
def _renorm(context: Context, call: Call) -> None:
    """What stands at each index of a dimension is scaled down until its norm is no larger than allowed."""
    _same_shape(context, call, context.axes(call.args[0]))


def _all(call: Call) -> range:
    return range(len(call.args[0].shape))


@rule("cumsum", "cumprod", "cumsum_", "cumprod_", "logcumsumexp", "cummax", "cummin", pools=_all)
def _cumulative(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    dim = int(call.args[1]) % max(len(axes), 1)
    if axes:
        axes[dim] = context.fix([axes[dim]], call)[0]
    _same_shape(context, call, axes)


REDUCES = frozenset({"aten.kthvalue", "aten.mode"})
"""Of operators that order, those that leave one index, or the dimension out."""


@rule(
    "sort",
    "topk",
    "kthvalue",
    "mode",
    "unique_dim",
    "_unique2",
    "nonzero",
    "masked_select",
    "bincount",
    "unique_consecutive",
    "unique_dim_consecutive",
    "repeat_interleave",
    "histc",
    "histogram",
    "nonzero_static",
    pools=_all,
)
def _ordered(context: Context, call: Call) -> None:
    """Positions are part of the result, so those of the dimension that is ordered may not move."""
    axes = context.axes(call.args[0])
    values = bound(call)
    dim = values.get("dim", -1 if call.name in {"aten.sort", "aten.topk", "aten.kthvalue"} else None)
    chosen = range(len(axes)) if dim is None or not axes else [int(dim) % len(axes)]  # type: ignore[call-overload]
    context.fix([axes[number] for number in chosen], call)
    for output in call.tensor_outputs():
        if dim is not None and len(output.shape) == len(axes):
            context.set(output, [fixed_axis(n) if k in chosen else axes[k] for k, n in enumerate(output.shape)])
        elif dim is not None and call.name in REDUCES:
            context.set(output, [axis for k, axis in enumerate(axes) if k not in chosen])
        else:
            context.set_fixed(output)


note(
    "sort", "topk", "nonzero", "kthvalue", "mode", "unique_dim", "unique_consecutive", "unique_dim_consecutive",
    "repeat_interleave", "histc", "histogram", "nonzero_static", "torchvision.nms", chooses=True,
)  # fmt: skip
note(
    "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "unique_dim_consecutive", "bincount",
    "repeat_interleave", "torchvision.nms", reads_values=True,
)  # fmt: skip
note("torchvision.nms", thins=True)


def _same_shape(context: Context, call: Call, axes: list[Axis]) -> None:
    """Gives the first output ``axes``; statistics beside it are fixed where they have another shape."""
    for number, output in enumerate(call.tensor_outputs()):
        if number == 0 or output.shape == tuple(len(axis) for axis in axes):
            context.set(output, axes)
        else:
            context.set_fixed(output)
