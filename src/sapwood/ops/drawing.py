"""Draws whose numbers hang together: from a row of probabilities, or shares of one whole."""

from __future__ import annotations

from sapwood.ops.atoms import fixed_axis
from sapwood.ops.call import Call
from sapwood.ops.context import Context, rule


def _last(call: Call) -> list[int]:
    return [-1]


@rule("multinomial", "_sample_dirichlet", pools=_last, random=True)
def _of_a_row(context: Context, call: Call) -> None:
    """Of each row some numbers are drawn: places in it, or shares of one, so that all of the row stays."""
    axes = context.axes(call.args[0])
    context.fix(axes[-1:], call)
    context.set(call.outputs[0], [*axes[:-1], fixed_axis(call.outputs[0].shape[-1])])
