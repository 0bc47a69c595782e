"""How far two runs are apart, and whether their values can tell."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sapwood.models import copy_model

NOTHING = 1e-6
"""A tensor whose largest value is below this fraction of the largest of all is compared with that fraction."""


FILL_TOLERANCE = 1e-9
"""Relative; what a sum with such a value may be off by."""

FILL = 1e30
"""Larger values stand for an infinity in code, as the lowest of a type does where attention is masked."""


def relative_error(found: list[Tensor], wanted: list[Tensor], *, answers: int | None = None) -> float:
    """The largest absolute difference over the largest absolute value of its tensor, over all tensors.

    Values that stand for infinities are compared one by one, and measure no other. What is beside the first ``answers``
    tensors, which a model returns, may be of another size: it measures none of these.

    Infinite where shapes or whole numbers differ, where a value is NaN, or where there is nothing to compare
    (see :func:`telling`).
    """
    found, wanted = [_real(tensor) for tensor in found], [_real(tensor) for tensor in wanted]
    if len(found) != len(wanted) or not telling(wanted):
        return math.inf
    scales = [_scale(tensor) if tensor.is_floating_point() else 0.0 for tensor in wanted]
    of_answers, of_all = max(scales[:answers], default=0.0), max(scales)
    return max(
        _error(one, other, scale, of_answers if answers is None or number < answers else of_all)
        for number, (one, other, scale) in enumerate(zip(found, wanted, scales, strict=True))
    )


def telling(outputs: list[Tensor]) -> bool:
    """Whether comparing with ``outputs`` can tell anything: they hold no NaN and are not all zero."""
    numbers = [tensor for tensor in outputs if tensor.is_floating_point() or tensor.is_complex()]
    broken = any(math.isnan(_largest(tensor)) for tensor in numbers)
    return not broken and any(bool((tensor.isfinite() & (tensor != 0)).any()) for tensor in outputs)


def _real(tensor: Tensor) -> Tensor:
    """Real and imaginary part of a complex tensor, in a dimension of their own."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _scale(tensor: Tensor) -> float:
    largest = _largest(tensor)
    if largest < FILL:
        return largest
    finite = tensor[tensor.abs() < FILL]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _largest(tensor: Tensor) -> float:
    """The largest magnitude; NaN where one is."""
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def _error(one: Tensor, other: Tensor, scale: float, largest: float) -> float:
    if one.shape != other.shape:
        return math.inf
    if not other.is_floating_point() or not other.numel():
        return 0.0 if torch.equal(one, other) else math.inf
    unit = max(scale, NOTHING * largest) or 1.0
    if _largest(other) < FILL:  # as mostly: nothing stands for an infinity
        difference = _largest(one - other)
        return math.inf if math.isnan(difference) else difference / unit
    endless = other.abs() >= FILL
    if bool(one.isnan().any()) or not torch.allclose(one[endless], other[endless], rtol=FILL_TOLERANCE, atol=0.0):
        return math.inf
    return _largest((one - other).masked_fill(endless, 0.0)) / unit


def lively_copy(model: nn.Module) -> nn.Module:
    """A copy of a model, made lively; the values that it does not keep are not copied first."""
    blank: dict[int, Tensor] = {
        id(one): nn.Parameter(torch.empty_like(one), one.requires_grad)
        for one in model.parameters()
        if type(one) is nn.Parameter and (one.is_floating_point() or one.is_complex()) and not vars(one)
    }
    model = copy_model(model, blank)
    lively_(model)
    return model


def lively_(model: nn.Module) -> None:
    """Gives every parameter values with which no output vanishes or overflows; what is proven then is the structure.

    Sums are as large as what they are made of where half of it is cut off (He et al. 2015): signals fade out only in
    narrow chains of more than some sixty layers, which are proven in segments.
    """
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
                values.copy_(drawn.normal_(0.0, (2 / max(parameter[0].numel(), 1)) ** 0.5, generator=generator))
        for buffer in model.buffers():
            dense = buffer.layout is torch.strided and buffer.dtype.is_floating_point
            if dense and not bool(buffer.isfinite().all()):
                buffer.uniform_(0.5, 1.5, generator=generator)
