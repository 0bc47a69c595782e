"""Activations, sums and products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sapwood.ops import Call
from sapwood.runtime.engine.interface import ACTIVATIONS
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers
from sapwood.runtime.engine.nodes import Activation, Combine, Pointwise


def _leaky(numbers: Sequence[float]) -> Activation:
    slope = float(numbers[0]) if numbers else 0.01
    if not 0.0 <= slope <= 1.0:
        raise UnsupportedError(f"only leaky ReLUs of slopes from 0 to 1, here {slope:g}")
    return Activation("leaky", slope)


def _cut(numbers: Sequence[float]) -> Activation:
    if tuple(numbers) != (0, 6):
        raise UnsupportedError(f"only values cut at 0 and 6, here at {' and '.join(map(str, numbers))}")
    return Activation("relu6")


OWN_NAME: Mapping[str, Callable[[Sequence[float]], Activation]] = {
    "relu": lambda _: Activation("leaky", 0.0), "leaky_relu": _leaky, "hardtanh": _cut,
}  # fmt: skip
"""What ATen calls another name than the engine does, from the numbers among the arguments."""

SAME_NAME = sorted(set(ACTIVATIONS) - {"linear", "leaky", "relu6"})
"""The others are called as in :data:`~sapwood.runtime.engine.interface.ACTIVATIONS`, and take no numbers."""


@lowers(*(f"aten.{name}{end}" for end in ("", "_") for name in (*OWN_NAME, *SAME_NAME)))
def _activation(state: Lowering, call: Call) -> None:
    name = call.name.removeprefix("aten.").removesuffix("_")
    numbers = [argument for argument in call.args[1:] if isinstance(argument, int | float)]
    found = OWN_NAME[name](numbers) if name in OWN_NAME else Activation(name)
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
