"""How far two runs are apart, and whether their values can tell."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

NOTHING = 1e-6
"""A tensor whose largest value is below this fraction of the largest of all is compared with that fraction."""


def relative_error(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest absolute difference over the largest absolute value of its tensor, over all tensors.

    Infinite where shapes or whole numbers differ, where a value is NaN, or where there is nothing to compare
    (see :func:`telling`).
    """
    found, wanted = [_real(tensor) for tensor in found], [_real(tensor) for tensor in wanted]
    if len(found) != len(wanted) or not telling(wanted):
        return math.inf
    largest = max((_scale(tensor) for tensor in wanted if tensor.is_floating_point()), default=0.0)
    return max(_error(one, other, largest) for one, other in zip(found, wanted, strict=True))


def telling(outputs: list[Tensor]) -> bool:
    """Whether comparing with ``outputs`` can tell anything: they hold no NaN and are not all zero."""
    broken = any(bool(tensor.isnan().any()) for tensor in outputs)
    return not broken and any(bool((tensor.isfinite() & (tensor != 0)).any()) for tensor in outputs)


def _real(tensor: Tensor) -> Tensor:
    """Real and imaginary part of a complex tensor, in a dimension of their own."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _scale(tensor: Tensor) -> float:
    finite = tensor[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _error(one: Tensor, other: Tensor, largest: float) -> float:
    if one.shape != other.shape:
        return math.inf
    if not other.is_floating_point() or not other.numel():
        return 0.0 if torch.equal(one, other) else math.inf
    endless = other.isinf()
    if bool(one.isnan().any()) or not torch.equal(one[endless], other[endless]):
        return math.inf
    difference = (one - other).masked_fill(endless, 0.0)
    return float(difference.abs().max()) / (max(_scale(other), NOTHING * largest) or 1.0)


def lively_(model: nn.Module) -> None:
    """Gives every parameter values with which no output vanishes or overflows; what is proven then is the structure."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point() and not parameter.is_complex():
                continue
            values = _real(parameter)
            if parameter.dim() < 2:
                values.uniform_(0.5, 1.5, generator=generator)
            else:
                drawn = torch.empty(values.shape, dtype=torch.float32)  # of which PyTorch draws many times as fast
                values.copy_(drawn.normal_(0.0, max(parameter[0].numel(), 1) ** -0.5, generator=generator))
        for buffer in model.buffers():
            dense = buffer.layout is torch.strided and buffer.dtype.is_floating_point
            if dense and not bool(buffer.isfinite().all()):
                buffer.uniform_(0.5, 1.5, generator=generator)
