"""Shortcuts for tensors without values: PyTorch works out many results' shapes in Python, at a millisecond a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sapwood.ops.modes import CallMode

UNARY = frozenset(
    f"aten.{name}"
    for name in """
    relu relu6 hardtanh hardsigmoid hardswish silu gelu sigmoid tanh mish elu celu leaky_relu softplus exp log sqrt
    rsqrt sin cos neg erf abs square reciprocal clamp clamp_min clamp_max _softmax _log_softmax _safe_softmax
    """.split()
)
"""Operators whose result is like their first argument."""

BINARY = frozenset(f"aten.{name}" for name in ("add", "sub", "mul", "div"))
"""The same, where the second argument is a number or a tensor of the same shape."""


class ShapesOnly(CallMode):
    """Answers common calls on floating tensors of the ``meta`` device itself; shapes that do not fit are errors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if not kwargs and isinstance(first, Tensor) and first.is_meta and first.is_floating_point():
            answer = _answer(str(func.overloadpacket), args)
            if answer is not None:
                return answer
        return func(*args, **kwargs)


def _answer(name: str, args: tuple[Any, ...]) -> Any:
    """What the call returns, or None where PyTorch has to say."""
    inplace = name.endswith("_")
    plain = name.rstrip("_") if inplace else name
    first = args[0]
    numbers_only = not any(isinstance(arg, Tensor) for arg in args[1:])
    if (plain in UNARY and numbers_only) or (plain in BINARY and _like(first, args[1])):
        return first if inplace else torch.empty_like(first)
    special = SPECIAL.get(name)
    return None if special is None else special(*args)


def _like(first: Tensor, other: Any) -> bool:
    if isinstance(other, Tensor):
        return other.is_meta and other.shape == first.shape and other.dtype == first.dtype
    return isinstance(other, (int, float))


def _batch_norm(x: Tensor, *rest: Any) -> Any:
    *channels, training, _, _ = rest
    for tensor in channels:
        if tensor is not None and tensor.shape != (x.shape[1],):
            raise RuntimeError(f"batch norm of {x.shape[1]} channels with a tensor of shape {tuple(tensor.shape)}")
    saved = x.new_empty(x.shape[1] if training else 0)
    return torch.empty_like(x), saved, torch.empty_like(saved)


def _layer_norm(x: Tensor, shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    rank = len(shape)
    for known in (tuple(shape), *(tuple(tensor.shape) for tensor in (weight, bias) if tensor is not None)):
        if tuple(x.shape[-rank:]) != known:
            raise RuntimeError(f"layer norm over {known} of a tensor of shape {tuple(x.shape)}")
    saved = x.new_empty((*x.shape[:-rank], *[1] * rank))
    return torch.empty_like(x, memory_format=torch.contiguous_format), saved, torch.empty_like(saved)


def _addmm(bias: Tensor, left: Tensor, right: Tensor) -> Any:
    if left.dtype != right.dtype or bias.shape != right.shape[1:]:
        return None
    if left.shape[1] != right.shape[0]:
        raise RuntimeError(f"a product of {tuple(left.shape)} and {tuple(right.shape)}")
    return left.new_empty(left.shape[0], right.shape[1])


def _grid_sampler(x: Tensor, grid: Tensor, *_: Any) -> Any:
    if len(x) != len(grid) or grid.shape[-1] != x.dim() - 2:
        raise RuntimeError(f"samples of a tensor of shape {tuple(x.shape)} on a grid of shape {tuple(grid.shape)}")
    return x.new_empty((*x.shape[:2], *grid.shape[1:-1]))


SPECIAL: dict[str, Callable[..., Any]] = {
    "aten.native_batch_norm": _batch_norm,
    "aten.native_layer_norm": _layer_norm,
    "aten.addmm": _addmm,
    "aten.grid_sampler_2d": _grid_sampler,
    "aten.grid_sampler_3d": _grid_sampler,
}
