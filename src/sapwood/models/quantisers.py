"""Fake quantisers and observers of ``torch.ao.quantization``: off in comparisons, cut with what they watch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sapwood.models.walking import all_modules, kinds_of

Model = TypeVar("Model", bound=nn.Module)

WATCHERS = (
    ("torch.ao.quantization.fake_quantize", "FakeQuantizeBase"),
    ("torch.ao.quantization.observer", "ObserverBase"),
)


def quieten_(model: Model) -> Model:
    """Makes fake quantisers and observers of ``model`` let through what comes, and remember nothing of it.

    They round, which no comparison in float64 survives, and work in float32 only. Their scales, zero points and ranges,
    one for each channel, still meet the channels that they are of, so that they are cut with them.

    Args:
        model: A copy that belongs to nobody else.

    Returns:
        ``model``.
    """
    bases = tuple(getattr(sys.modules[file], name) for file, name in WATCHERS if file in sys.modules)
    modules = all_modules(model) if bases else []
    kinds = kinds_of(modules, bases)
    for module in modules if kinds else ():
        if type(module) in kinds:
            module.forward = MethodType(_let_through, module)
    return model


def _let_through(watcher: Any, x: Tensor) -> Tensor:
    axis = getattr(watcher, "ch_axis", -1)
    if axis < 0 or axis >= x.dim():
        return x
    shape = [1] * x.dim()
    shape[axis] = -1
    for numbers in _numbers(watcher):
        if numbers.dim() == 1 and 1 < len(numbers) == x.shape[axis]:
            x = x + torch.zeros_like(numbers, dtype=x.dtype).reshape(shape)
    return x


def _numbers(watcher: nn.Module) -> Iterator[Tensor]:
    """What it keeps for each channel."""
    for module in watcher.modules():
        for name in ("scale", "zero_point", "min_val", "max_val"):
            value = module._buffers.get(name)
            if value is not None:
                yield value
