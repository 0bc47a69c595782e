"""Parts of maps, maps side by side, and calls that change nothing."""

from __future__ import annotations

from sapwood.ops import Call
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers
from sapwood.runtime.engine.nodes import Channels, Concat


@lowers("aten.cat")
def _cat(state: Lowering, call: Call) -> None:
    parts = [state.value(part) for part in call.args[0]]
    dim = call.args[1] if len(call.args) > 1 else 0
    if dim % len(call.args[0][0].shape) != 1 or len({state.size(part)[1:] for part in parts}) > 1:
        raise UnsupportedError("only joining channels of maps of one size")
    size = (sum(state.size(part)[0] for part in parts), *state.size(parts[0])[1:])
    state.put(call, Concat(state.new(size), tuple(parts), call.module))


@lowers("aten.slice")
def _slice(state: Lowering, call: Call) -> None:
    source = state.value(call.args[0])
    dim, start, end, step = (*call.args[1:], *(0, 0, None, 1)[len(call.args) - 1 :])[:4]
    shape = call.args[0].shape
    first, last, step = slice(start, end, step).indices(shape[dim])
    if (first, last) == (0, shape[dim]) and step == 1:
        state.alias(call, source)
        return
    if dim % len(shape) != 1 or step != 1:
        raise UnsupportedError("only channels in a row")
    out = state.new((last - first, *state.size(source)[1:]))
    state.put(call, Channels(out, (source,), call.module, first))
    state.alias(call, out)


@lowers("aten.split", "aten.split_with_sizes")
def _split(state: Lowering, call: Call) -> None:
    source = state.value(call.args[0])
    dim = call.args[2] if len(call.args) > 2 else 0
    if dim % len(call.args[0].shape) != 1:
        raise UnsupportedError("only channels in a row")
    first = 0
    for number, part in enumerate(call.tensor_outputs()):
        out = state.new((int(part.shape[1]), *state.size(source)[1:]))
        state.put(call, Channels(out, (source,), call.module, first), number)
        state.alias(call, out, number)
        first += int(part.shape[1])


@lowers("aten.view", "aten._unsafe_view", "aten.squeeze", "aten.unsqueeze")
def _view(state: Lowering, call: Call) -> None:
    source = state.value(call.args[0])
    channels, *places = state.size(source)
    shape = call.tensor_outputs()[0].shape
    same = tuple(shape) == tuple(call.args[0].shape)
    if not same and (
        places != [1, 1] or tuple(shape[:2]) != (1, channels) or set(shape[2:]) - {1} or len(shape) not in (2, 4)
    ):
        raise UnsupportedError(f"a map of {(channels, *places)} seen as {tuple(shape)}")
    state.alias(call, source)


@lowers("aten.detach", "aten.alias", "aten.clone", "aten.lift_fresh", "aten._to_copy")
def _unchanged(state: Lowering, call: Call) -> None:
    if call.tensor_outputs()[0].dtype != call.args[0].dtype:
        raise UnsupportedError(f"only maps of one type, here {call.args[0].dtype} and {call.tensor_outputs()[0].dtype}")
    state.alias(call, state.value(call.args[0]))
