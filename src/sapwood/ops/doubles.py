"""Kernels that know no float64: formulas that make the same of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sapwood.ops.call import name_of


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


def int8_mm(source: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """``aten._weight_int8pack_mm``: whole numbers for weights, with a scale for each row of them.

    Examples:
        >>> x, scales = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)
        >>> int8_mm(x, torch.tensor([[1, 2], [3, 4]], dtype=torch.int8), scales).tolist()
        [[1.5, 14.0]]
    """
    return source @ weight.to(source.dtype).T * scales


def int4_mm(source: Tensor, packed: Tensor, group_size: int, scales_and_zeros: Tensor) -> Tensor:
    """``aten._weight_int4pack_mm_for_cpu``: the kernel itself says, in float32, what the packed weights are."""
    if source.is_meta:
        return source.new_empty(*source.shape[:-1], scales_and_zeros.shape[1])
    ones = torch.eye(source.shape[-1], dtype=torch.float32)
    kernel = torch.ops.aten._weight_int4pack_mm_for_cpu
    plain: Tensor = kernel(ones, packed, group_size, scales_and_zeros.float())
    return source @ plain.to(source.dtype)


def scaled_mm(  # noqa: PLR0917  # as the operator takes them
    source: Tensor,
    weight: Tensor,
    scale_a: Tensor,
    scale_b: Tensor,
    bias: Tensor | None = None,
    scale_result: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    use_fast_accum: bool = False,
) -> Tensor:
    """``aten._scaled_mm``: a product of short numbers, each with a scale for all, a row or a column.

    Raises:
        RuntimeError: If scales are of blocks, or the result is to be scaled.

    Examples:
        >>> a, two = torch.ones(1, 2).to(torch.float8_e4m3fn), torch.tensor(2.0)
        >>> scaled_mm(a, a.T, two, two).tolist()
        [[8.0]]
    """
    del out_dtype, use_fast_accum
    rows, columns = len(source), weight.shape[1]
    of_rows = scale_a.numel() == 1 or scale_a.shape == (rows, 1)
    if scale_result is not None or not (of_rows and (scale_b.numel() == 1 or scale_b.shape == (1, columns))):
        raise RuntimeError("aten._scaled_mm with scales of blocks or of its result has no float64 form")
    made = (source.double() * scale_a.double()) @ (weight.double() * scale_b.double())
    return made if bias is None else made + bias


FORMULAS: dict[str, Callable[..., Any]] = {
    "aten._grouped_mm": grouped_mm,
    "aten._scaled_mm": scaled_mm,
    "aten._weight_int4pack_mm_for_cpu": int4_mm,
    "aten._weight_int8pack_mm": int8_mm,
}
"""Name of an operator -> what makes the same in float64."""


def in_double(op: Any) -> Callable[..., Any] | None:
    """What makes in float64 what ``op``, whose kernel knows no float64, makes in other types; None if it knows it."""
    return FORMULAS.get(name_of(op)) if isinstance(op, torch._ops.OpOverload) else None
