"""Matrix products: the contracted dimension of both operands goes together."""

from __future__ import annotations

from sapwood.ops.atoms import Axis, fixed_axis
from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, bound, rule
from sapwood.ops.facts import Sum, note


@rule("mm", "bmm", "mv", "dot", "vdot", sum=Sum("product"))
def _product(context: Context, call: Call) -> None:
    context.set(call.outputs[0], _multiplied(context, call, call.args[0], call.args[1]))


note("mm", "bmm", "mv", "dot", "vdot", homogeneous="either")


@rule("addmm", "_sparse_addmm", "baddbmm", "addmv", "addmm_", "baddbmm_", "addmv_", sum=Sum("product", 1, 2, bias=0))
def _product_with_bias(context: Context, call: Call) -> None:
    _added_to(context, call, _multiplied(context, call, call.args[1], call.args[2]))


def _added_to(context: Context, call: Call, produced: list[Axis]) -> None:
    """What is made is added to the first tensor, which may be the one that holds the result."""
    context.broadcast_axes([produced, context.axes(call.args[0])], call)
    context.set(call.outputs[0], produced)


@rule("addbmm", "addbmm_", sum=Sum("product", 1, 2, bias=0))
def _sum_of_products(context: Context, call: Call) -> None:
    """The products of a batch, added up."""
    _added_to(context, call, _multiplied(context, call, call.args[1], call.args[2])[1:])


@rule("addr", "addr_")
def _outer(context: Context, call: Call) -> None:
    """Each number of a vector times each of another, added to a matrix."""
    _added_to(context, call, [axis for vector in call.args[1:3] for axis in context.axes(vector)])


@rule("linear", sum=Sum("product", bias=2, turned=True))
def _linear(context: Context, call: Call) -> None:
    source, weight = context.axes(call.args[0]), context.axes(call.args[1])
    context.join(source[-1], weight[1], call)
    context.set(call.outputs[0], [*source[:-1], weight[0]])
    if len(call.args) > 2 and call.args[2] is not None:
        context.join(weight[0], context.axes(call.args[2])[0], call)


def _multiplied(context: Context, call: Call, first: TensorRef, second: TensorRef) -> list[Axis]:
    """The axes of a matrix product, batched or not."""
    left, right = context.axes(first), context.axes(second)
    if len(left) == 1 or len(right) == 1:
        context.join(left[-1], right[0] if len(right) == 1 else right[-2], call)
        return [*left[:-1], *(right[-1:] if len(right) > 1 else [])]
    context.join(left[-1], right[-2], call)
    batch = []
    for one, other in zip(left[:-2], right[:-2], strict=True):
        if len(one) == len(other):
            context.join(one, other, call)
        batch.append(one if len(one) >= len(other) else other)
    return [*batch, left[-2], right[-1]]


def _summed_of_first(call: Call) -> list[int]:
    """Where the indices that are summed over stand in the first tensor, as far as it has them."""
    places = [dim for dim in range(_widened(call)) if dim not in call.args[3]]
    return [places.index(dim) for dim in call.args[6] if dim in places]


def _widened(call: Call) -> int:
    """How many dimensions the three tensors have once each has those of size 1 that it lacks."""
    return len(call.args[0].shape) + len(call.args[3])


@rule("_trilinear", pools=_summed_of_first, on_kept=True, adds_up=True, uncounted=True)
def _trilinear(context: Context, call: Call) -> None:
    """Products of three tensors, as a bilinear layer makes them, summed over some of their dimensions."""
    joined: list[Axis | None] = [None] * _widened(call)
    for tensor, lacking in zip(call.args[:3], call.args[3:6], strict=True):
        places = [dim for dim in range(len(joined)) if dim not in lacking]
        for dim, axis in zip(places, context.axes(tensor), strict=True):
            known = joined[dim]
            if known is not None and len(known) == len(axis):
                context.join(known, axis, call)
            if known is None or len(known) < len(axis):
                joined[dim] = axis
    kept = [axis for dim, axis in enumerate(joined) if dim not in call.args[6]]
    context.set(call.outputs[0], [fixed_axis(1) if axis is None else axis for axis in kept])


@rule("_grouped_mm", sum=Sum("product"), homogeneous="either")
def _grouped_product(context: Context, call: Call) -> None:
    """Products of runs of rows, or of columns, with a matrix each, as experts of a mixture are: the runs stay."""
    values = bound(call)
    first, second = call.args[:2]
    left, right = context.axes(first), context.axes(second)
    context.join(left[-1], right[-2], call)
    if len(left) == len(right) == 3:
        context.join(left[0], right[0], call)
        produced = [left[0], left[1], right[2]]
    elif len(left) == len(right):
        context.fix([left[1], right[0]], call)
        produced = [fixed_axis(call.outputs[0].shape[0]), left[0], right[1]]
    else:
        (runs, *_), rows = (right, left[0]) if len(right) == 3 else (left, right[1])
        context.fix([runs, rows], call)
        produced = [left[-2], right[-1]]
    for extra in (values.get("offs"), values.get("bias")):
        if isinstance(extra, TensorRef):
            context.fix(context.axes(extra)[:1], call)
    bias = values.get("bias")
    if isinstance(bias, TensorRef):
        context.join(context.axes(bias)[-1], produced[-1], call)
    context.set(call.outputs[0], produced)


@rule(
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_attention_math_for_mps",
    sum=Sum("attention"),
)
def _attention(context: Context, call: Call) -> None:
    """Scaled dot-product attention over (..., tokens, width)."""
    query, key, value = (context.axes(tensor) for tensor in call.args[:3])
    context.join(query[-1], key[-1], call)
    context.join(key[-2], value[-2], call)
    for one, other, third in zip(query[:-2], key[:-2], value[:-2], strict=True):
        if len(one) == len(other):
            context.join(one, other, call)
        elif len(other) > 1:
            outer, _ = context.atoms.split(one, (len(other), len(one) // len(other)))
            context.join(outer, other, call)
        context.join(other, third, call)
    mask = call.kwargs.get("attn_mask") or (call.args[3] if len(call.args) > 3 and _is_tensor(call.args[3]) else None)
    if mask is not None:
        scores = [*query[:-2], query[-2], key[-2]]
        for axis, other in zip(reversed(context.axes(mask)), reversed(scores), strict=False):
            if len(axis) == len(other):
                context.join(axis, other, call)
    context.set(call.outputs[0], [*query[:-2], query[-2], value[-1]])
    for extra in call.tensor_outputs()[1:]:
        context.set_fixed(extra)


def _is_tensor(value: object) -> bool:
    return isinstance(value, TensorRef)
