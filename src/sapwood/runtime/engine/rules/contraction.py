"""Convolutions and linear layers."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sapwood.errors import EngineError
from sapwood.ops import Call
from sapwood.runtime.engine.lowering import Lowering, finite, lowers, pair
from sapwood.runtime.engine.nodes import Conv, Value
from sapwood.runtime.engine.packing import ConvSpec, Geometry


@lowers("aten.convolution", "aten._convolution")
def _convolution(state: Lowering, call: Call) -> None:
    source, weight, bias, stride, padding, dilation, transposed, _, groups = call.args[:9]
    kernel = state.tensor(weight)
    if transposed or kernel is None or kernel.dim() != 4:
        raise EngineError("only convolutions over rows and columns that are not transposed")
    sizes = [pair(part) for part in (kernel.shape[2:], stride, padding, dilation)]
    _add(state, call, state.value(source), _spec(kernel, state.tensor(bias), Geometry(*sizes), groups))


@lowers("aten.addmm", "aten.mm", "aten.linear")
def _linear(state: Lowering, call: Call) -> None:
    if call.name == "aten.addmm":
        if len(call.args) > 3 or call.kwargs:
            raise EngineError("only addmm without factors")
        bias, source, weight = call.args
    else:
        source, weight, bias = (*call.args, None)[:3]
    matrix = state.tensor(weight)
    if matrix is None or len(source.shape) != 2:
        raise EngineError("only linear layers on (batch, features)")
    matrix = matrix if call.name == "aten.linear" else matrix.T
    _add(state, call, state.value(source), _spec(matrix[:, :, None, None], state.tensor(bias), Geometry((1, 1)), 1))


def _spec(weight: Tensor, bias: Tensor | None, geometry: Geometry, groups: int) -> ConvSpec:
    array = finite(np.ascontiguousarray(weight.cpu().float().numpy()))
    offset = np.zeros(len(array), np.float32) if bias is None else finite(bias.cpu().float().numpy())
    return ConvSpec(array, offset, geometry, groups)


def _add(state: Lowering, call: Call, source: Value, spec: ConvSpec) -> None:
    channels, height, width = state.size(source)
    if spec.weight.shape[1] * spec.groups != channels:
        raise EngineError(f"a weight for {spec.weight.shape[1] * spec.groups} channels on {channels}")
    out = state.new((len(spec.weight), *spec.geometry.output_size(height, width)))
    state.put(call, Conv(out, (source,), call.module, spec))
