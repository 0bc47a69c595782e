"""Convolutions and linear layers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sapwood.ops import Call, TensorRef
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers, pair
from sapwood.runtime.engine.nodes import Conv, Outside, Read, Value
from sapwood.runtime.engine.packing import ConvSpec, PlaneGeometry, finite

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
    if matrix is None or len(source.shape) != 2:
        raise UnsupportedError("only linear layers on (batch, features)")
    matrix = matrix if call.name == "aten.linear" else matrix.T
    spec = _spec(matrix[:, :, None, None], state.tensor(bias), PlaneGeometry((1, 1)), 1)
    many = source.shape[0] > 1
    if (many or matrix.numel() > LARGE) and spec.nonzeros > DENSE * matrix.numel():
        raise UnsupportedError(f"a linear layer with more than {DENSE:.0%} of its weights")
    if many:
        _add_rows(state, call, source, spec)
    else:
        _add(state, call, state.value(source), spec)


def _add_rows(state: Lowering, call: Call, source: TensorRef, spec: ConvSpec) -> None:
    """A linear layer on several rows: features become channels, and rows the places of a map."""
    if source.id not in state.values or source.dtype is not torch.float32:
        raise UnsupportedError("one of its arguments is no matrix of float32")
    rows = source.shape[0]
    turned = _transposed(state, call, state.values[source.id], tuple(source.shape))
    state.network.sizes[turned] = (source.shape[1], 1, rows)
    out = state.new((len(spec.weight), 1, rows))
    state.network.nodes.append(Conv(out, (turned,), call.module, spec))
    found = _transposed(state, call, out, (len(spec.weight), rows))
    state.values[call.tensor_outputs()[0].id] = found


def _transposed(state: Lowering, call: Call, value: Value, shape: tuple[int, ...]) -> Value:
    out = state.new(None)
    reason = "rows become columns"
    node = Outside(
        out, (value,), call.module, (out,), torch.ops.aten.t.default, (Read(value, shape),), {}, call.location, reason
    )
    state.network.nodes.append(node)
    state.outside.add(out)
    return out


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
