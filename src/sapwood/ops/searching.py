"""Places in sorted numbers: in which of the bins that they border a value lies."""

from __future__ import annotations

from sapwood.ops.call import Call, TensorRef
from sapwood.ops.context import Context, rule


@rule("bucketize", chooses=True)
def _bins(context: Context, call: Call) -> None:
    """One list of borders for all values."""
    values, borders = call.args[:2]
    context.fix(context.axes(borders), call)
    if isinstance(values, TensorRef):
        context.set(call.outputs[0], context.axes(values))


@rule("isin", chooses=True)
def _in_list(context: Context, call: Call) -> None:
    """Whether each value is one of a list, which is read whole."""
    values, wanted = call.args[:2]
    if isinstance(wanted, TensorRef):
        context.fix(context.axes(wanted), call)
    context.set(call.outputs[0], context.axes(values) if isinstance(values, TensorRef) else [])


@rule("searchsorted", chooses=True)
def _own_bins(context: Context, call: Call) -> None:
    """Every row has borders of its own, or all have the same."""
    borders, values = call.args[:2]
    first = context.axes(borders)
    context.fix(first[-1:], call)
    if not isinstance(values, TensorRef):
        return
    axes = context.axes(values)
    if len(first) > 1:
        axes[-1:] = context.fix(axes[-1:], call)
        for one, other in zip(first[:-1], axes[:-1], strict=True):
            context.join(one, other, call)
    context.set(call.outputs[0], axes)
