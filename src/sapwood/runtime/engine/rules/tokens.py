"""Norms over features, and tables of rows."""

from __future__ import annotations

import math

import numpy as np
import torch

from sapwood.ops import Call
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers
from sapwood.runtime.engine.nodes import MOST_ROWS, Embedding, Input, Norm
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
    state.network.nodes.append(Norm(out, (tokens.value,), call.module, factors, shifts, float(epsilon), True))
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
