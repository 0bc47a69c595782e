"""Convolutions and linear layers."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from sapwood.ops import Call
from sapwood.runtime.engine import seeing
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers, pair
from sapwood.runtime.engine.nodes import Conv, Value
from sapwood.runtime.engine.packing import ConvSpec, PlaneGeometry, finite
from sapwood.runtime.engine.seeing import Seen

DENSE = 0.5
"""A linear layer with a larger fraction of its weights is read faster by PyTorch."""

LARGE = 4_000_000
"""Weights from which that is worth the way there and back."""


@lowers("aten.convolution", "aten._convolution")
def _convolution(state: Lowering, call: Call) -> None:
    source, weight, bias, stride, padding, dilation, transposed, _, groups = call.args[:9]
    kernel = state.tensor(weight)
    if transposed or kernel is None or kernel.dim() != 4:
        raise UnsupportedError("only convolutions over rows and columns that are not transposed")
    sizes = [pair(part) for part in (kernel.shape[2:], stride, padding, dilation)]
    _add(state, call, state.value(source), _spec(kernel, state.tensor(bias), PlaneGeometry(*sizes), groups))


@lowers("aten.addmm", "aten.mm", "aten.linear")
def _linear(state: Lowering, call: Call) -> None:
    if call.name == "aten.addmm":
        if len(call.args) > 3 or call.kwargs:
            raise UnsupportedError("only addmm without factors")
        bias, source, weight = call.args
    else:
        source, weight, bias = (*call.args, None)[:3]
    matrix = state.tensor(weight)
    if matrix is None or matrix.dim() != 2:
        raise UnsupportedError("only linear layers of a matrix of weights")
    matrix = matrix if call.name == "aten.linear" else matrix.T
    spec = _spec(matrix[:, :, None, None], state.tensor(bias), PlaneGeometry((1, 1)), 1)
    found = state.find(source)
    rows = math.prod(source.shape[:-1])
    brought_in = rows > 1 and found.value in state.outside
    if (brought_in or (rows == 1 and matrix.numel() > LARGE)) and spec.nonzeros > DENSE * matrix.numel():
        raise UnsupportedError(f"a linear layer with more than {DENSE:.0%} of its weights")
    tokens = seeing.features(state, found)
    out = state.new((len(spec.weight), *state.size(tokens.value)[1:]))
    state.network.nodes.append(Conv(out, (tokens.value,), call.module, spec))
    state.show(call, Seen(out, seeing.with_channels(tokens.layout, len(spec.weight), state.size(out))))


def _spec(weight: Tensor, bias: Tensor | None, geometry: PlaneGeometry, groups: int) -> ConvSpec:
    array = finite(np.ascontiguousarray(weight.cpu().float().numpy()))
    offset = np.zeros(len(array), np.float32) if bias is None else finite(bias.cpu().float().numpy())
    return ConvSpec(array, offset, geometry, groups)


def _add(state: Lowering, call: Call, source: Value, spec: ConvSpec) -> None:
    channels, height, width = state.size(source)
    if spec.weight.shape[1] * spec.groups != channels:
        raise UnsupportedError(f"a weight for {spec.weight.shape[1] * spec.groups} channels on {channels}")
    out = state.new((len(spec.weight), *spec.geometry.output_size(height, width)))
    state.put(call, Conv(out, (source,), call.module, spec))
