"""Parts of maps, maps side by side, other shapes, and calls that change nothing: most of them copy nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sapwood.ops import Call, TensorRef
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.layouts import TensorLayout
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers
from sapwood.runtime.engine.nodes import Concat, Constant, Places, Value
from sapwood.runtime.engine.packing import finite
from sapwood.runtime.engine.seeing import Seen


def _shown(state: Lowering, call: Call, layout: TensorLayout | None, number: int = 0) -> None:
    """A result is what the first argument is, seen in another way."""
    seen = state.find(call.args[0])
    if layout is None:
        found = state.in_order(call.args[0])
        layout = TensorLayout.contiguous(call.args[0].shape).reshaped(call.tensor_outputs()[number].shape)
        if layout is None:
            raise UnsupportedError(f"{tuple(call.args[0].shape)} seen as {tuple(call.tensor_outputs()[number].shape)}")
        seen = Seen(found, layout)
    state.alias_of(call, seen._replace(layout=layout), number)


@lowers("aten.slice")
def _slice(state: Lowering, call: Call) -> None:
    dim, start, end, step = (*call.args[1:], *(0, 0, None, 1)[len(call.args) - 1 :])[:4]
    shape = call.args[0].shape
    _narrow(state, call, dim % len(shape), range(*slice(start, end, step).indices(shape[dim])))


def _narrow(state: Lowering, call: Call, dim: int, part: range, number: int = 0) -> None:
    found = state.find(call.args[0])
    layout = found.layout.narrowed(dim, part.start, len(part), part.step)
    if layout is None:
        raise UnsupportedError("a part of a dimension that is several joined")
    state.alias_of(call, found._replace(layout=layout), number)


@lowers("aten.split", "aten.split_with_sizes")
def _split(state: Lowering, call: Call) -> None:
    dim = (call.args[2] if len(call.args) > 2 else call.kwargs.get("dim", 0)) % len(call.args[0].shape)
    first = 0
    for number, part in enumerate(call.tensor_outputs()):
        after = first + int(part.shape[dim])
        _narrow(state, call, dim, range(first, after), number)
        first = after


@lowers("aten.unbind")
def _unbind(state: Lowering, call: Call) -> None:
    found = state.find(call.args[0])
    dim = (call.args[1] if len(call.args) > 1 else 0) % len(call.args[0].shape)
    for number in range(len(call.tensor_outputs())):
        state.alias_of(call, found._replace(layout=found.layout.selected(dim, number)), number)


@lowers("aten.select")
def _select(state: Lowering, call: Call) -> None:
    source, dim, index = call.args
    dim %= len(source.shape)
    _shown(state, call, state.find(source).layout.selected(dim, index % int(source.shape[dim])))


@lowers("aten.permute", "aten.transpose", "aten.t")
def _permute(state: Lowering, call: Call) -> None:
    order = list(range(len(call.args[0].shape)))
    if call.name == "aten.permute":
        order = [dim % len(order) for dim in call.args[1]]
    elif call.name == "aten.transpose":
        one, other = (dim % len(order) for dim in call.args[1:])
        order[one], order[other] = order[other], order[one]
    else:
        order.reverse()
    _shown(state, call, state.find(call.args[0]).layout.permuted(order))


@lowers("aten.expand")
def _expand(state: Lowering, call: Call) -> None:
    _shown(state, call, state.find(call.args[0]).layout.expanded(call.tensor_outputs()[0].shape))


@lowers("aten.view", "aten.reshape", "aten._unsafe_view", "aten.squeeze", "aten.unsqueeze")
def _view(state: Lowering, call: Call) -> None:
    _shown(state, call, state.find(call.args[0]).layout.reshaped(call.tensor_outputs()[0].shape))


@lowers("aten.detach", "aten.alias", "aten.clone", "aten.lift_fresh", "aten._to_copy")
def _unchanged(state: Lowering, call: Call) -> None:
    if call.tensor_outputs()[0].dtype != call.args[0].dtype:
        raise UnsupportedError(f"only maps of one type, here {call.args[0].dtype} and {call.tensor_outputs()[0].dtype}")
    state.alias_of(call, state.find(call.args[0]))


@lowers("aten.cat")
def _cat(state: Lowering, call: Call) -> None:
    parts: Sequence[TensorRef] = call.args[0]
    shape = tuple(call.tensor_outputs()[0].shape)
    dim = (call.args[1] if len(call.args) > 1 else 0) % len(shape)
    if len(shape) in (2, 4) and dim == 1 and shape[0] == 1:
        _cat_maps(state, call, [state.value(part) for part in parts])
    elif len(shape) > 1 and dim == len(shape) - 1:
        found = [seeing.features(state, state.find(part), row=True) for part in parts]
        out = _joined(state, call, [one.value for one in found])
        state.show(call, Seen(out, seeing.tokens(shape)))
    elif len(shape) > 1 and math.prod(shape[:dim]) == 1 and dim < len(shape) - 1:
        _cat_tokens(state, call, parts, shape)
    else:
        raise UnsupportedError("only joining channels of maps of one size, or tokens")


def _cat_maps(state: Lowering, call: Call, parts: Sequence[Value]) -> None:
    if len({state.size(part)[1:] for part in parts}) > 1:
        raise UnsupportedError("only joining channels of maps of one size")
    state.values[call.tensor_outputs()[0].id] = _joined(state, call, parts)


def _joined(state: Lowering, call: Call, parts: Sequence[Value]) -> Value:
    out = state.new((sum(state.size(part)[0] for part in parts), *state.size(parts[0])[1:]))
    state.network.nodes.append(Concat(out, tuple(parts), call.module))
    return out


def _cat_tokens(state: Lowering, call: Call, parts: Sequence[TensorRef], shape: tuple[int, ...]) -> None:
    """Tokens in front of others, some of which may be known (a class token)."""
    values = [_row_of_tokens(state, part) for part in parts]
    out = state.new((shape[-1], 1, math.prod(shape[:-1])))
    state.network.nodes.append(Places(out, tuple(values), call.module))
    state.show(call, Seen(out, seeing.tokens(shape)))


def _row_of_tokens(state: Lowering, part: TensorRef) -> Value:
    if part.id in state.values:
        return seeing.features(state, state.find(part), row=True).value
    tensor = state.tensor(part)
    if tensor is None:
        raise UnsupportedError("one of its arguments is no feature map")
    rows = tensor.reshape(-1, tensor.shape[-1])
    out = state.new((rows.shape[1], 1, rows.shape[0]))
    values = finite(rows.T.contiguous().float().numpy())
    state.network.nodes.append(Constant(out, (), state.module, values))
    return out
