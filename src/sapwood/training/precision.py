"""Mixed precision: convolutions and products in bfloat16, everything else and what comes out in float32."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

Precision = Literal["auto", "float32", "bfloat16"]
"""What convolutions and products are computed in while a model learns; weights and their updates stay float32.
``"auto"`` is bfloat16 where the device multiplies it natively. It has the range of float32: gradients need no scaling.

References:
    Kalamkar et al., A Study of BFLOAT16 for Deep Learning Training, 2019, arXiv:1905.12322.
"""


def mixed(precision: Precision, device: torch.device | str = "cpu") -> AbstractContextManager[Any]:
    """Returns a context in which models run in this precision.

    Args:
        precision: What is wanted.
        device: Where.

    Examples:
        >>> with mixed("bfloat16"):
        ...     torch.nn.Linear(2, 1)(torch.ones(1, 2)).dtype
        torch.bfloat16
    """
    kind = torch.device(device).type
    half = precision == "bfloat16" or (precision == "auto" and has_bfloat16(kind))
    return torch.autocast(kind, torch.bfloat16) if half else nullcontext()


def has_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether a device multiplies bfloat16 natively; without that it is slower than float32."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.device(device).type == "cpu" and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def as_float32(outputs: Any) -> Any:
    """Returns a model's outputs with bfloat16 tensors as float32, so that losses are computed there."""
    return tree_map_only(Tensor, lambda one: one.float() if one.dtype == torch.bfloat16 else one, outputs)
