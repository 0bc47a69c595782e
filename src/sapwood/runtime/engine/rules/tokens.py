"""Norms over features, and tables of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from sapwood.ops import Call, TensorRef
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.lowering import Lowering, Pending, UnsupportedError, follows, lowers
from sapwood.runtime.engine.nodes import MOST_ROWS, Embedding, Input, TokenNorm
from sapwood.runtime.engine.packing import Array, finite
from sapwood.runtime.engine.seeing import Seen


@lowers("aten.native_layer_norm")
def _layer_norm(state: Lowering, call: Call) -> None:
    source, normalized, weight, bias, epsilon = call.args
    if len(normalized) != 1:
        raise UnsupportedError("only norms over one dimension")
    tokens = seeing.features(state, state.find(source))
    size = state.size(tokens.value)
    factors, shifts = (_numbers(state, one, fill, size[0]) for one, fill in ((weight, 1.0), (bias, 0.0)))
    out = state.new(size)
    state.network.nodes.append(TokenNorm(out, (tokens.value,), call.module, factors, shifts, float(epsilon), True))
    state.show(call, tokens._replace(value=out))


@dataclass(frozen=True)
class Root(Pending):
    """On the way to one over the root of the mean of squares, each step of which waits for the next.

    Attributes:
        source: Whose squares.
        epsilon: What was added to the mean; None before.
        done: The last operator.
    """

    source: TensorRef
    epsilon: float = 0.0
    done: str = "aten.pow"


@lowers("aten.pow")
def _square(state: Lowering, call: Call) -> None:
    if call.args[1] != 2 or not isinstance(call.args[0], TensorRef):
        raise UnsupportedError("only squares")
    state.find(call.args[0])
    state.pending[call.tensor_outputs()[0].id] = Root((call,), call.args[0])


def _root(state: Lowering, call: Call, done: str) -> Root:
    found = state.waiting(call.args[0])
    if not isinstance(found, Root) or found.done.removesuffix("_") != done:
        raise UnsupportedError("squares of which no norm is made")
    return replace(found, calls=(*found.calls, call), done=call.name)


@follows(Root, "aten.mean")
def _mean_square(state: Lowering, call: Call) -> None:
    root, sides = _root(state, call, "aten.pow"), len(call.args[0].shape)
    if [dim % sides for dim in call.args[1]] != [sides - 1] or call.args[2:] != (True,) or call.kwargs:
        raise UnsupportedError("squares of which no norm is made")
    state.pending[call.tensor_outputs()[0].id] = root


@follows(Root, "aten.add", "aten.add_")
def _epsilon(state: Lowering, call: Call) -> None:
    root = _root(state, call, "aten.mean")
    if len(call.args) != 2 or call.kwargs or not isinstance(call.args[1], int | float) or call.args[1] < 0:
        raise UnsupportedError("squares of which no norm is made")
    state.pending[call.tensor_outputs()[0].id] = replace(root, epsilon=float(call.args[1]))


@follows(Root, "aten.rsqrt")
def _one_over_root(state: Lowering, call: Call) -> None:
    state.pending[call.tensor_outputs()[0].id] = _root(state, call, "aten.add")


@follows(Root, "aten.mul")
def _rms_norm(state: Lowering, call: Call) -> None:
    one, other = call.args if state.waiting(call.args[0]) is None else call.args[::-1]
    root = state.waiting(other)
    if not isinstance(root, Root) or root.done != "aten.rsqrt" or state.find(one) != state.find(root.source):
        raise UnsupportedError("squares of which no norm is made")
    tokens = seeing.features(state, state.find(one))
    size = state.size(tokens.value)
    out, ones, zeros = state.new(size), np.ones(size[0], np.float32), np.zeros(size[0], np.float32)
    state.network.nodes.append(TokenNorm(out, (tokens.value,), call.module, ones, zeros, root.epsilon, False))
    state.show(call, tokens._replace(value=out))


@lowers("aten.embedding")
def _embedding(state: Lowering, call: Call) -> None:
    table, indices = state.tensor(call.args[0]), call.args[1]
    value = state.values.get(indices.id)
    is_input = any(node.out == value for node in state.network.nodes if isinstance(node, Input))
    if table is None or value is None or not is_input or indices.id in state.seen:
        raise UnsupportedError("only rows of a table of weights, by numbers that are an input of the model")
    shape = call.tensor_outputs()[0].shape
    if not 1 <= len(table) <= MOST_ROWS or 0 in shape or table.dtype is not torch.float32:
        raise UnsupportedError(f"a table of {len(table)} rows of {table.dtype}; expected at most {MOST_ROWS}")
    places = math.prod(indices.shape)
    state.network.sizes[value] = (1, 1, places)
    out = state.new((int(shape[-1]), 1, places))
    state.network.nodes.append(Embedding(out, (value,), call.module, finite(table.cpu().numpy())))
    state.show(call, Seen(out, seeing.tokens(shape)))


def _numbers(state: Lowering, argument: object, fill: float, count: int) -> Array:
    tensor = state.tensor(argument)
    if tensor is None:
        return np.full(count, fill, np.float32)
    return finite(np.ascontiguousarray(tensor.cpu().float().numpy()))
