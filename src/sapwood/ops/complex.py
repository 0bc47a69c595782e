"""Complex numbers and their two parts: PyTorch runs complex convolutions as several on these."""

from __future__ import annotations

from sapwood.ops.atoms import fixed_axis
from sapwood.ops.call import Call
from sapwood.ops.context import Context, rule


@rule("view_as_real", recasts=True, homogeneous="first")
def _apart(context: Context, call: Call) -> None:
    """Real and imaginary part stand in a last dimension of their own."""
    context.set(call.outputs[0], [*context.axes(call.args[0]), fixed_axis(2)])


@rule("view_as_complex", recasts=True, homogeneous="first")
def _together(context: Context, call: Call) -> None:
    axes = context.axes(call.args[0])
    context.fix(axes[-1:], call)
    context.set(call.outputs[0], axes[:-1])


@rule("complex", spreads="each")
def _of_two(context: Context, call: Call) -> None:
    context.set(call.outputs[0], context.broadcast(call.tensor_inputs(), call))


@rule("_conj", spreads="each", recasts=True, homogeneous="first")
@rule("angle", spreads="each")
def _each(context: Context, call: Call) -> None:
    context.set(call.outputs[0], context.axes(call.args[0]))
