"""Distances between rows, and between whole tensors: channels are compared in pairs and pooled."""

from __future__ import annotations

from sapwood.ops.call import Call
from sapwood.ops.context import Context, rule


def _last(call: Call) -> list[int]:
    return [-1]


@rule("_cdist_forward", "_euclidean_dist", pools=_last, on_kept=True, statistics=True)
def _distances(context: Context, call: Call) -> None:
    """From each row of the one to each of the other; dimensions before the rows are broadcast."""
    one, other = context.axes(call.args[0]), context.axes(call.args[1])
    context.join(one[-1], other[-1], call)
    batch = context.broadcast_axes([one[:-2], other[:-2]], call)
    context.set(call.outputs[0], [*batch, one[-2], other[-2]])


@rule("_pdist_forward", pools=_last, on_kept=True, statistics=True)
def _among_themselves(context: Context, call: Call) -> None:
    """From each row to each of those behind it, one number a pair."""
    rows, _ = context.axes(call.args[0])
    context.fix([rows], call)
    context.set_fixed(call.outputs[0])


def _everything(call: Call) -> range:
    return range(len(call.args[0].shape))


@rule("dist", pools=_everything, on_kept=True, statistics=True)
def _distance(context: Context, call: Call) -> None:
    """One number for two tensors of a shape, or of two that are broadcast."""
    context.broadcast(call.tensor_inputs(), call)
    context.set(call.outputs[0], [])
