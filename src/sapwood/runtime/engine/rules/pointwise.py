"""Activations, sums and products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sapwood.ops import Call, TensorRef
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.interface import ACTIVATIONS
from sapwood.runtime.engine.layouts import TensorLayout
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers
from sapwood.runtime.engine.nodes import Activation, Combine, Constant, Pointwise
from sapwood.runtime.engine.packing import Array, finite
from sapwood.runtime.engine.seeing import Seen


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

SAME_NAME = sorted(set(ACTIVATIONS) - {"linear", "leaky", "relu6", "gelu_tanh"})
"""The others are called as in :data:`~sapwood.runtime.engine.interface.ACTIVATIONS`, and take no numbers."""


@lowers(*(f"aten.{name}{end}" for end in ("", "_") for name in (*OWN_NAME, *SAME_NAME)))
def _activation(state: Lowering, call: Call) -> None:
    name = call.name.removeprefix("aten.").removesuffix("_")
    numbers = [argument for argument in call.args[1:] if isinstance(argument, int | float)]
    if name == "gelu" and "tanh" in (*call.args[1:], *call.kwargs.values()):
        name = "gelu_tanh"
    found = OWN_NAME[name](numbers) if name in OWN_NAME else Activation(name)
    source = seeing.whole(state, state.find(call.args[0]))
    out = state.new(state.size(source.value))
    state.network.nodes.append(Pointwise(out, (source.value,), call.module, found))
    state.show(call, source._replace(value=out))


@lowers("aten.add", "aten.add_", "aten.sub", "aten.sub_")
def _add(state: Lowering, call: Call) -> None:
    if call.kwargs or len(call.args) > 2:
        raise UnsupportedError("only sums without a factor")
    one, other = call.args
    sign = -1.0 if "sub" in call.name else 1.0
    if isinstance(one, TensorRef) and one.id not in state.values:
        one, other = other, one
        if sign < 0:
            raise UnsupportedError("a difference from what is known")
    if isinstance(other, TensorRef) and other.id in state.values:
        _combine(state, call, "add", state.find(one), _times(state.find(other), sign))
    else:
        _with_known(state, call, "add", one, sign * _known(state, other))


@lowers("aten.mul", "aten.mul_")
def _multiply(state: Lowering, call: Call) -> None:
    one, other = call.args[:2]
    if isinstance(one, TensorRef) and one.id not in state.values:
        one, other = other, one
    if isinstance(other, TensorRef) and other.id in state.values:
        _combine(state, call, "mul", state.find(one), state.find(other))
    else:
        _with_known(state, call, "mul", one, _known(state, other))


@lowers("aten.div", "aten.div_")
def _divide(state: Lowering, call: Call) -> None:
    one, other = call.args[:2]
    if call.kwargs or not isinstance(one, TensorRef) or (isinstance(other, TensorRef) and other.id in state.values):
        raise UnsupportedError("only division by what is known, and as it is")
    _with_known(state, call, "mul", one, 1.0 / _known(state, other))


@lowers("aten.neg")
def _negative(state: Lowering, call: Call) -> None:
    state.show(call, _times(state.find(call.args[0]), -1.0))


def _times(seen: Seen, factor: float) -> Seen:
    return seen._replace(factor=seen.factor * factor)


def _known(state: Lowering, argument: Any) -> Tensor:
    """A number or a tensor of numbers that follow from weights."""
    if isinstance(argument, TensorRef):
        found = state.tensor(argument)
        if found is None or found.is_complex():
            raise UnsupportedError("one of its arguments is no feature map")
        return found.double()
    return torch.tensor(float(argument), dtype=torch.float64)


def _with_known(state: Lowering, call: Call, kind: Literal["add", "mul"], one: TensorRef, known: Tensor) -> None:
    found, shape = state.find(one), tuple(call.tensor_outputs()[0].shape)
    if shape != tuple(one.shape) or call.tensor_outputs()[0].dtype != one.dtype:
        raise UnsupportedError(f"a map of {tuple(one.shape)} with known numbers of {tuple(known.shape)}")
    if kind == "mul" and known.numel() == 1:
        state.show(call, _times(found, float(known)))
        return
    found = seeing.whole(state, found)
    size = state.size(found.value)
    numbers = _over_map(known.expand(shape), found.layout, size)
    ones, zeros = numbers.mean(1) * 0.0 + 1.0, numbers.mean(1) * 0.0
    if bool((numbers == numbers[:, :1]).all()):
        factors, shifts = (numbers[:, 0], zeros) if kind == "mul" else (ones, numbers[:, 0])
        state.show(call, found._replace(value=seeing.scaled(state, found.value, factors, shifts)))
        return
    constant = state.new(size)
    state.network.nodes.append(Constant(constant, (), call.module, finite(numbers.astype("float32"))))
    out = state.new(size)
    state.network.nodes.append(Combine(out, (found.value, constant), call.module, kind))
    state.show(call, found._replace(value=out))


def _over_map(tensor: Tensor, layout: TensorLayout, size: tuple[int, int, int]) -> Array:
    """Known numbers where a layout has them: shape (channels, places)."""
    flat = torch.empty(tensor.numel(), dtype=torch.float64)
    sizes, strides = zip(*(layout.factors or ((1, 1),)), strict=True)
    flat.as_strided(sizes, strides).copy_(tensor.reshape(sizes))
    found: Array = flat.reshape(size[0], -1).numpy()
    return found


def _combine(state: Lowering, call: Call, kind: Literal["add", "mul"], one: Seen, other: Seen) -> None:
    shape = tuple(call.tensor_outputs()[0].shape)
    if one.layout.shape != shape:
        one, other = other, one
    if one.layout.shape != shape:
        raise UnsupportedError(f"maps of {one.layout.shape} and {other.layout.shape}; expected the same size")
    one = seeing.whole(state, one)
    size = state.size(one.value)
    second = _one_place(state, one, other, size) if kind == "mul" else None
    if second is None:
        second = _beside(state, one, other, size)
    out = state.new(size)
    state.network.nodes.append(Combine(out, (one.value, second), call.module, kind))
    state.show(call, one._replace(value=out))


def _one_place(state: Lowering, one: Seen, other: Seen, size: tuple[int, int, int]) -> int | None:
    """What holds one number for each channel, as a map of one place."""
    shape = one.layout.shape
    fits = len(shape) == 4 and other.layout.shape == (1, size[0], 1, 1) and other.layout.shape[:2] == shape[:2]
    if not fits or not one.layout.is_contiguous():
        return None
    return seeing.plain(state, other, (size[0], 1, 1))


def _beside(state: Lowering, one: Seen, other: Seen, size: tuple[int, int, int]) -> int:
    """The other operand with its elements where the first one has them."""
    if other.layout.shape == one.layout.shape:
        found = seeing.whole(state, other)
        if found.layout.dims == one.layout.dims and state.size(found.value) == size:
            return found.value
        other = found
    return seeing.rearranged(state, other, one.layout, size)
