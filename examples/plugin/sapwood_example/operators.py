"""The operator ``sapwood_example::softcap``, and how it ties indices."""

from __future__ import annotations

import torch
from torch import Tensor

from sapwood.ops import Call, Context, rule


@torch.library.custom_op("sapwood_example::softcap", mutates_args=())
def softcap(source: Tensor, cap: float) -> Tensor:
    """Bends values so that none is beyond the cap."""
    return cap * torch.tanh(source / cap)


@rule("sapwood_example.softcap", spreads="each")
def _softcap(context: Context, call: Call) -> None:
    """Each element is on its own: what it makes has the axes of what it reads."""
    context.set(call.outputs[0], context.axes(call.args[0]))
