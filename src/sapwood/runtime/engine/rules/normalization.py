"""BatchNorm in evaluation mode: a factor and a shift for each channel: a depthwise convolution of one tap, which the
convolution in front takes over."""

from __future__ import annotations

from sapwood.ops import Call
from sapwood.runtime.engine.lowering import Lowering, UnsupportedError, lowers
from sapwood.runtime.engine.nodes import Conv
from sapwood.runtime.engine.packing import ConvSpec, PlaneGeometry, finite


@lowers("aten.native_batch_norm", "aten._native_batch_norm_legit_no_training", "aten.cudnn_batch_norm")
def _batch_norm(state: Lowering, call: Call) -> None:
    source, weight, bias, mean, var, *rest = call.args
    if call.name != "aten._native_batch_norm_legit_no_training" and rest[0]:
        raise UnsupportedError("only BatchNorms in evaluation mode: call eval() first")
    value = state.value(source)
    shift, spread = state.tensor(mean), state.tensor(var)
    if shift is None or spread is None:
        raise UnsupportedError("only BatchNorms with running statistics")
    factor = (spread.double() + float(rest[-1])).rsqrt()
    gain, offset = state.tensor(weight), state.tensor(bias)
    factor = factor if gain is None else factor * gain.double()
    constant = -shift.double() * factor + (0.0 if offset is None else offset.double())
    kernel = finite(factor.cpu().float().numpy())[:, None, None, None]
    spec = ConvSpec(kernel, finite(constant.cpu().float().numpy()), PlaneGeometry((1, 1)), len(kernel))
    state.put(call, Conv(state.new(state.size(value)), (value,), call.module, spec))
