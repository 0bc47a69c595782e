"""Activations, sums and products."""

from __future__ import annotations

from sapwood.ops import Call
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, activation_of, lowers
from sapwood.runtime.engine.nodes import Combine, Pointwise

NAMES = ("relu", "leaky_relu", "hardtanh", "silu", "mish", "hardswish", "sigmoid", "tanh", "relu6", "hardsigmoid")
"""Activations, as ATen calls them."""


@lowers(*(f"aten.{name}{end}" for end in ("", "_") for name in NAMES))
def _activation(state: Lowering, call: Call) -> None:
    found = activation_of(call)
    if found is None:
        raise UnsupportedError("only leaky ReLUs of slopes from 0 to 1, and values cut at 0 and 6")
    source = state.value(call.args[0])
    state.put(call, Pointwise(state.new(state.size(source)), (source,), call.module, found))


@lowers("aten.add", "aten.add_")
def _add(state: Lowering, call: Call) -> None:
    if call.kwargs or len(call.args) > 2:
        raise UnsupportedError("only sums without a factor")
    _combine(state, call, "add")


@lowers("aten.mul", "aten.mul_")
def _multiply(state: Lowering, call: Call) -> None:
    _combine(state, call, "mul")


def _combine(state: Lowering, call: Call, kind: str) -> None:
    one, other = (state.value(argument) for argument in call.args[:2])
    if kind == "mul" and state.size(one)[1:] == (1, 1):
        one, other = other, one
    size, second = state.size(one), state.size(other)
    if size != second and not (kind == "mul" and second == (size[0], 1, 1)):
        raise UnsupportedError(f"maps of {size} and {second}; expected the same size")
    state.put(call, Combine(state.new(size), (one, other), call.module, "add" if kind == "add" else "mul"))
