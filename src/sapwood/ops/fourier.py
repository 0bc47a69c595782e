"""Fourier transforms: every index along what is transformed makes every other; the other dimensions pass."""

from __future__ import annotations

from sapwood.ops.atoms import fixed_axis
from sapwood.ops.call import Call
from sapwood.ops.context import Context, rule


def _transformed(call: Call) -> list[int]:
    return [int(dim) for dim in call.args[1]]


@rule(
    "_fft_c2c",
    "_fft_r2c",
    "_fft_c2r",
    pools=_transformed,
    spreads="along",
    homogeneous="first",
    uncounted=True,
)
def _transform(context: Context, call: Call) -> None:
    axes, output = context.axes(call.args[0]), call.outputs[0]
    dims = {dim % len(axes) for dim in _transformed(call)}
    context.fix([axes[dim] for dim in dims], call)
    context.set(output, [fixed_axis(n) if dim in dims else axes[dim] for dim, n in enumerate(output.shape)])
