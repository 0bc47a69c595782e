"""Kernels that know no float64: formulas that make the same of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def grouped_mm(
    source: Tensor,
    weight: Tensor,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """``aten._grouped_mm``: products of the parts into which ``offs``, where each ends, cuts a dimension.

    Examples:
        >>> a, b = torch.ones(3, 2, dtype=torch.float64), torch.ones(2, 2, 1, dtype=torch.float64)
        >>> grouped_mm(a, b, torch.tensor([1, 3], dtype=torch.int32)).flatten().tolist()
        [2.0, 2.0, 2.0]
    """
    del out_dtype
    if offs is None:
        made = torch.bmm(source, weight)
    elif source.is_meta:
        made = _shape_of(source, weight, offs)
    else:
        ends = offs.tolist()
        parts = list(zip([0, *ends[:-1]], ends, strict=True))
        if source.dim() == 2 and weight.dim() == 2:
            made = torch.stack([source[:, start:end] @ weight[start:end] for start, end in parts])
        elif source.dim() == 2:
            made = source.new_zeros(len(source), weight.shape[2])
            for (start, end), own in zip(parts, weight, strict=True):
                made[start:end] = source[start:end] @ own
        else:
            made = source.new_zeros(source.shape[1], weight.shape[1])
            for (start, end), own in zip(parts, source, strict=True):
                made[:, start:end] = own @ weight[:, start:end]
    return made if bias is None else made + bias


def _shape_of(source: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    if source.shape[-1] != weight.shape[-2]:
        raise RuntimeError(f"a product of {tuple(source.shape)} and {tuple(weight.shape)}")
    both = source.dim() == weight.dim() == 2
    return source.new_empty(*([len(offs)] if both else []), source.shape[-2], weight.shape[-1])


FORMULAS: dict[str, Callable[..., Any]] = {"aten._grouped_mm": grouped_mm}
"""Name of an operator -> what makes the same in float64."""


def in_double(op: Any) -> Callable[..., Any] | None:
    """What makes in float64 what ``op``, whose kernel knows no float64, makes in other types; None if it knows it."""
    return FORMULAS.get(str(op.overloadpacket)) if isinstance(op, torch._ops.OpOverload) else None
