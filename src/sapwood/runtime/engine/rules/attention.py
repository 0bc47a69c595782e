"""Attention as it is written out: softmax(q k^T * scale [+ mask]) v, of which each step waits for the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sapwood.ops import Call, TensorRef
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.layouts import Factor, TensorLayout
from sapwood.runtime.engine.lowering import Lowering, Pending, UnsupportedError, follows, lowers
from sapwood.runtime.engine.nodes import Attention, Constant, Value
from sapwood.runtime.engine.packing import finite
from sapwood.runtime.engine.seeing import Seen

LOWEST = -3e38
"""What stands for -inf among known numbers."""

LOW = -1e4
"""A number that is added to what must not be seen is lower."""


@dataclass(frozen=True)
class Shares(Pending):
    """Products of queries and keys on their way to a softmax, or behind it.

    Attributes:
        queries: Shape (..., N, depth).
        keys: Shape (..., M, depth).
        scale: Of the products.
        mask: What was added, as a map; see :class:`~sapwood.runtime.engine.nodes.Attention`.
        softmax: Which one was taken, if any.
    """

    queries: Seen
    keys: Seen
    scale: float = 1.0
    mask: Value | None = None
    softmax: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the products."""
        return (*self.queries.layout.shape[:-1], self.keys.layout.shape[-2])


@dataclass(frozen=True)
class _Heads:
    """Heads that stand in a map of tokens, each ``step`` channels behind the one before."""

    value: Value
    count: int
    depth: int
    step: int


@lowers("aten.bmm")
def _product(state: Lowering, call: Call) -> None:
    one, other = call.args
    queries, keys = state.find(one), state.find(other)
    if queries.value in state.outside and keys.value in state.outside:
        raise UnsupportedError("what it reads is PyTorch's")
    if len(one.shape) != len(other.shape) or one.shape[:-2] != other.shape[:-2]:
        raise UnsupportedError("a product of two maps of other shapes than attention's")
    keys = keys._replace(layout=_turned(keys.layout))
    _wait(state, call, Shares((call,), queries, keys, queries.factor * keys.factor))


def _turned(layout: TensorLayout) -> TensorLayout:
    """The last two dimensions change places."""
    last = len(layout.dims) - 1
    return layout.permuted((*range(last - 1), last, last - 1))


def _wait(state: Lowering, call: Call, shares: Shares) -> None:
    state.pending[call.tensor_outputs()[0].id] = shares


def _shares(state: Lowering, call: Call, *, softmax: bool = False) -> Shares:
    """What a call goes on with: its first argument, or its second if that waits."""
    found = state.waiting(call.args[0]) or (state.waiting(call.args[1]) if len(call.args) > 1 else None)
    if not isinstance(found, Shares) or bool(found.softmax) != softmax:
        raise UnsupportedError("products of maps that no softmax follows")
    waits = call.args[0] if state.waiting(call.args[0]) is found else call.args[1]
    if waits.shape[-2:] != found.shape[-2:]:
        raise UnsupportedError("products of maps seen in another way")
    return replace(found, calls=(*found.calls, call))


@follows(Shares, "aten.mul", "aten.mul_", "aten.div", "aten.div_")
def _scale(state: Lowering, call: Call) -> None:
    shares = _shares(state, call)
    number = call.args[0] if state.waiting(call.args[0]) is None else call.args[1]
    factor = float(number) if isinstance(number, int | float) else _one_number(state, number)
    if "div" in call.name and (call.kwargs or number is call.args[0] or factor == 0.0):
        raise UnsupportedError("a quotient that is no scale of attention")
    if shares.mask is not None:
        raise UnsupportedError("a scale behind the mask")
    _wait(state, call, replace(shares, scale=shares.scale / factor if "div" in call.name else shares.scale * factor))


def _one_number(state: Lowering, argument: object) -> float:
    tensor = state.tensor(argument)
    if tensor is None or tensor.numel() != 1:
        raise UnsupportedError("products of maps times more than one number")
    return float(tensor)


@follows(Shares, "aten.add", "aten.add_")
def _add(state: Lowering, call: Call) -> None:
    shares = _shares(state, call)
    if call.kwargs or len(call.args) > 2:
        raise UnsupportedError("only sums without a factor")
    mask = call.args[0] if state.waiting(call.args[0]) is None else call.args[1]
    if shares.mask is not None or not isinstance(mask, TensorRef):
        raise UnsupportedError("more than one mask")
    shape = call.tensor_outputs()[0].shape
    value = _computed_mask(state, mask, shape) if mask.id in state.values else _known_mask(state, mask, shape)
    _wait(state, call, replace(shares, mask=value))


def _computed_mask(state: Lowering, mask: TensorRef, shape: Sequence[int]) -> Value:
    seen = state.find(mask)
    layout = seen.layout.expanded((*[1] * (len(shape) - len(mask.shape)), *mask.shape))
    heads = shape[:-2] if any(side > 1 for side in layout.shape[:-2]) else [1] * (len(shape) - 2)
    layout = layout.expanded((*heads, layout.shape[-2], shape[-1]))
    target = _turned(TensorLayout.contiguous((*heads, shape[-1], layout.shape[-2])))
    size = (math.prod(heads) * shape[-1], 1, layout.shape[-2])
    return seeing.rearranged(state, seen._replace(layout=layout), target, size)


def _known_mask(state: Lowering, mask: TensorRef, shape: Sequence[int]) -> Value:
    tensor = state.tensor(mask)
    if tensor is None or not tensor.is_floating_point():
        raise UnsupportedError("a mask that is no map")
    return _constant_mask(state, tensor, shape)


def _constant_mask(state: Lowering, tensor: Tensor, shape: Sequence[int]) -> Value:
    tensor = tensor.float().reshape((*[1] * (len(shape) - tensor.dim()), *tensor.shape))
    heads = tuple(shape[:-2]) if any(side > 1 for side in tensor.shape[:-2]) else (1,) * (len(shape) - 2)
    tensor = tensor.expand((*heads, tensor.shape[-2], shape[-1]))
    if bool((tensor == -math.inf).all(-1).any()):
        raise UnsupportedError("a mask under which a token sees nothing")
    rows = tensor.clamp(min=LOWEST).transpose(-1, -2).reshape(-1, tensor.shape[-2])
    out = state.new((rows.shape[0], 1, rows.shape[1]))
    state.network.nodes.append(Constant(out, (), state.module, finite(rows.contiguous().numpy())))
    return out


@follows(Shares, "aten.masked_fill", "aten.masked_fill_", "aten.where")
def _hide(state: Lowering, call: Call) -> None:
    """What must not be seen gets -inf, or a number so low that it comes to the same where something is seen."""
    where = call.name == "aten.where"
    if where and (len(call.args) != 3 or state.waiting(call.args[1]) is None):
        raise UnsupportedError("products of maps that no softmax follows")
    waits = call.args[1] if where else call.args[0]
    found = state.waiting(waits)
    if isinstance(found, Shares) and waits.shape[-2:] != found.shape[-2:]:
        raise UnsupportedError("products of maps seen in another way")
    chosen, fill = state.tensor(call.args[0 if where else 1]), call.args[2]
    number = float(fill) if isinstance(fill, int | float) else _one_number(state, fill)
    if not isinstance(found, Shares) or found.softmax or found.mask is not None or chosen is None or number > LOW:
        raise UnsupportedError("only one mask, of what is known, with numbers below -10,000")
    hidden = ~chosen if where else chosen
    mask = torch.zeros(hidden.shape).masked_fill(hidden, -math.inf)
    shape = call.tensor_outputs()[0].shape
    _wait(state, call, replace(found, calls=(*found.calls, call), mask=_constant_mask(state, mask, shape)))


@follows(Shares, "aten._softmax", "aten._safe_softmax")
def _softmax(state: Lowering, call: Call) -> None:
    shares = _shares(state, call)
    other_type = call.tensor_outputs()[0].dtype != call.args[0].dtype
    if call.args[1] % len(call.args[0].shape) != len(call.args[0].shape) - 1 or other_type:
        raise UnsupportedError("only a softmax over the keys")
    _wait(state, call, replace(shares, softmax=call.name))


@follows(Shares, "aten.view", "aten._unsafe_view", "aten.expand", "aten.unsqueeze", "aten.squeeze",
         "aten.clone", "aten.detach", "aten.alias", "aten._to_copy", "aten.permute", "aten.transpose")  # fmt: skip
def _same(state: Lowering, call: Call) -> None:
    """Other dimensions, of the same numbers in order."""
    found, given = state.waiting(call.args[0]), call.args[0]
    out = call.tensor_outputs()[0]
    if not isinstance(found, Shares) or out.dtype != given.dtype:
        raise UnsupportedError("products of maps that no softmax follows")
    order = list(range(len(given.shape)))
    if call.name == "aten.permute":
        order = [dim % len(order) for dim in call.args[1]]
    elif call.name == "aten.transpose":
        one, other = call.args[1:]
        order[one], order[other] = order[other], order[one]
    moved = [dim for dim in order if given.shape[dim] > 1]
    if moved != sorted(moved) or math.prod(out.shape) != math.prod(given.shape):
        raise UnsupportedError("products of maps in another order")
    _wait(state, call, replace(found, calls=(*found.calls, call)))


@follows(Shares, "aten.bmm")
def _attend(state: Lowering, call: Call) -> None:
    shares, other = _shares(state, call, softmax=True), call.args[1]
    if state.waiting(call.args[0]) is None or other.id not in state.values:
        raise UnsupportedError("products of maps that are not attention's")
    values, lead = state.find(other), tuple(call.tensor_outputs()[0].shape[:-2])
    count = math.prod(lead)
    if math.prod(shares.shape[:-2]) != count or math.prod(other.shape[:-2]) != count:
        raise UnsupportedError("heads that are not those of the queries")
    one, two = _heads(state, shares.queries), _heads(state, shares.keys)
    three = _heads(state, values)
    if one.count != count:
        one = _copied(state, shares.queries)
    if two.count != three.count:
        two, three = _copied(state, shares.keys), _copied(state, values)
    size = (count * three.depth, *state.size(one.value)[1:])
    out = state.new(size)
    inputs = (one.value, two.value, three.value) + (() if shares.mask is None else (shares.mask,))
    steps = (one.step, two.step, three.step)
    state.network.nodes.append(
        Attention(out, inputs, call.module, count, two.count, one.depth, three.depth, steps, shares.scale,
                  shares.softmax == "aten._safe_softmax")
    )  # fmt: skip
    layout = _turned(TensorLayout.contiguous((*lead, three.depth, size[2])))
    state.show(call, Seen(out, layout, values.factor))


def _heads(state: Lowering, seen: Seen) -> _Heads:
    """Heads where they stand if that is one row of tokens, channels of a head in order; or a copy."""
    *lead, tokens, depth = seen.layout.dims
    size, shape = state.size(seen.value), seen.layout.shape
    places = size[2]
    row = size[1] == 1 and TensorLayout((tokens,)).factors == TensorLayout.contiguous((places,)).factors
    factors = _grouped(TensorLayout(tuple(lead)).factors, places)
    in_order = depth == TensorLayout.contiguous((shape[-1], places)).dims[0]
    if not row or not in_order or factors is None or seen.layout.offset % places or shape[-2] != places:
        return _copied(state, seen)
    count, step = factors
    value = seeing.channels(state, seen.value, seen.layout.offset // places, (count - 1) * step + shape[-1])
    return _Heads(value, count, shape[-1], step)


def _grouped(factors: Sequence[Factor], places: int) -> Factor | None:
    """Heads that differ, and the channels from one to the next; those behind may be repeated."""
    kept = list(factors)
    if kept and kept[-1][1] == 0:
        kept.pop()
    if len(kept) > 1 or any(step == 0 or step % places for _, step in kept):
        return None
    return (kept[0][0], kept[0][1] // places) if kept else (1, 0)


def _copied(state: Lowering, seen: Seen) -> _Heads:
    *lead, tokens, depth = seen.layout.shape
    target = _turned(TensorLayout.contiguous((*lead, depth, tokens)))
    count = math.prod(lead)
    plain = seen._replace(factor=1.0)
    return _Heads(seeing.rearranged(state, plain, target, (count * depth, 1, tokens)), count, depth, depth)
