"""Shortcuts for tensors without values: PyTorch works out many results' shapes in Python, at a millisecond a call.

For some it loads SymPy or its compiler first, which takes a second of each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sapwood.ops.call import name_of
from sapwood.ops.modes import CallMode

UNARY = frozenset(
    f"aten.{name}"
    for name in """
    relu relu6 hardtanh hardsigmoid hardswish silu gelu sigmoid tanh mish elu celu leaky_relu softplus exp log sqrt
    rsqrt sin cos neg erf abs square reciprocal clamp clamp_min clamp_max
    """.split()
)
"""Operators whose result is like their first argument."""

BINARY = frozenset(f"aten.{name}" for name in ("add", "sub", "mul", "div"))
"""The same, where the second argument is a number or a tensor of the same shape."""


class ShapesOnly(CallMode):
    """Answers common calls on floating tensors of the ``meta`` device itself; shapes that do not fit are errors."""

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Answers the call, or passes it on."""
        first = args[0] if args else None
        if not kwargs and isinstance(first, Tensor) and first.is_meta and first.is_floating_point():
            answer = _answer(name_of(func), args)
            if answer is not None:
                return answer
        return self.pass_on(func, args, kwargs)


def _answer(name: str, args: tuple[Any, ...]) -> Any:
    """What the call returns, or None where PyTorch has to say."""
    inplace = name.endswith("_")
    plain = name.rstrip("_") if inplace else name
    first = args[0]
    numbers_only = not any(isinstance(arg, Tensor) for arg in args[1:])
    if (plain in UNARY and numbers_only) or (plain in BINARY and _like(first, args[1])):
        return first if inplace else _like_it(first)
    if plain in BINARY:
        return None if inplace else _broadcast(first, args[1])
    special = SPECIAL.get(name)
    return None if special is None else special(*args)


def _like_it(x: Tensor) -> Tensor:
    """What ``torch.empty_like`` makes."""
    if not (x.is_contiguous() or _is_dense(x)):
        return torch.empty_like(x)
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=x.device)


def _is_dense(x: Tensor) -> bool:
    """Whether each place in memory between the first and the last element holds one element."""
    step = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size != 1:
            if stride != step:
                return False
            step *= size
    return True


def _new(x: Tensor, *sizes: int) -> Tensor:
    """What ``x.new_empty`` makes, which without values is made in Python."""
    return torch.empty(sizes, dtype=x.dtype, device=x.device)


def _like(first: Tensor, other: Any) -> bool:
    if isinstance(other, Tensor):
        return other.is_meta and other.shape == first.shape and other.dtype == first.dtype
    return isinstance(other, (int, float))


def _broadcast(first: Tensor, other: Any) -> Tensor | None:
    """What two tensors of one type make, in memory in order, of which each dimension is stretched or equal."""
    if not (isinstance(other, Tensor) and other.is_meta and other.dtype == first.dtype):
        return None
    rank = max(first.dim(), other.dim())
    pairs = list(zip(*((*[1] * (rank - one.dim()), *one.shape) for one in (first, other)), strict=True))
    if not (first.is_contiguous() and other.is_contiguous()) or any(a != b and 1 not in (a, b) for a, b in pairs):
        return None
    return _new(first, *[b if a == 1 else a for a, b in pairs])


def _convolution(x: Tensor, weight: Tensor, bias: Any, *rest: Any) -> Any:
    stride, padding, dilation, transposed, more, groups = rest
    spatial, sizes = x.shape[2:], weight.shape[2:]
    inputs = weight.shape[0] if transposed else weight.shape[1] * groups
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    plain = x.is_contiguous() and weight.is_contiguous() and x.dtype == weight.dtype and x.numel() and weight.numel()
    fits = x.shape[1] == inputs and outputs % groups == 0 and (bias is None or bias.shape == (outputs,))
    if not plain or not fits or x.dim() != weight.dim() or any(len(one) != len(sizes) for one in rest[:3]):
        return None
    spans = [step * (size - 1) + 1 for step, size in zip(dilation, sizes, strict=True)]
    if transposed:
        made = [
            (size - 1) * step - 2 * pad + span + extra
            for size, step, pad, span, extra in zip(spatial, stride, padding, spans, more, strict=True)
        ]
    else:
        made = [
            (size + 2 * pad - span) // step + 1
            for size, step, pad, span in zip(spatial, stride, padding, spans, strict=True)
        ]
    return _new(x, len(x), outputs, *made) if min(made) > 0 else None


def _embedding(table: Tensor, places: Any, *_: Any) -> Any:
    return _new(table, *places.shape, table.shape[1]) if table.dim() == 2 and places.is_meta else None


def _product(left: Tensor, right: Tensor) -> Any:
    fits = left.dtype == right.dtype and left.shape[:-2] == right.shape[:-2] and left.shape[-1] == right.shape[-2]
    return _new(left, *left.shape[:-1], right.shape[-1]) if fits else None


def _mean(x: Tensor, dims: Any = None, keepdim: bool = False) -> Any:
    rank = x.dim()
    gone = {dim % rank for dim in dims or range(rank)} if rank else set()
    if not x.is_contiguous() or len(gone) != len(dims or range(rank)):
        return None
    if keepdim:
        return _new(x, *[1 if dim in gone else size for dim, size in enumerate(x.shape)])
    return _new(x, *[size for dim, size in enumerate(x.shape) if dim not in gone])


def _softmax(x: Tensor, *_: Any) -> Any:
    return _new(x, *x.shape)


def _batch_norm(x: Tensor, *rest: Any) -> Any:
    *channels, training, _, _ = rest
    for tensor in channels:
        if tensor is not None and tensor.shape != (x.shape[1],):
            raise RuntimeError(f"batch norm of {x.shape[1]} channels with a tensor of shape {tuple(tensor.shape)}")
    saved = _new(x, x.shape[1] if training else 0)
    return _like_it(x), saved, _like_it(saved)


def _layer_norm(x: Tensor, shape: Any, weight: Any, bias: Any, eps: float) -> Any:
    rank = len(shape)
    for known in (tuple(shape), *(tuple(tensor.shape) for tensor in (weight, bias) if tensor is not None)):
        if tuple(x.shape[-rank:]) != known:
            raise RuntimeError(f"layer norm over {known} of a tensor of shape {tuple(x.shape)}")
    saved = _new(x, *x.shape[:-rank], *[1] * rank)
    return _new(x, *x.shape), saved, _like_it(saved)


def _addmm(bias: Tensor, left: Tensor, right: Tensor) -> Any:
    if left.dtype != right.dtype or bias.shape != right.shape[1:]:
        return None
    if left.shape[1] != right.shape[0]:
        raise RuntimeError(f"a product of {tuple(left.shape)} and {tuple(right.shape)}")
    return _new(left, left.shape[0], right.shape[1])


def _grid_sampler(x: Tensor, grid: Tensor, *_: Any) -> Any:
    if len(x) != len(grid) or grid.shape[-1] != x.dim() - 2:
        raise RuntimeError(f"samples of a tensor of shape {tuple(x.shape)} on a grid of shape {tuple(grid.shape)}")
    return _new(x, *x.shape[:2], *grid.shape[1:-1])


SPECIAL: dict[str, Callable[..., Any]] = {
    "aten.convolution": _convolution,
    "aten.embedding": _embedding,
    "aten.mean": _mean,
    "aten.mm": _product,
    "aten.bmm": _product,
    "aten._softmax": _softmax,
    "aten._log_softmax": _softmax,
    "aten._safe_softmax": _softmax,
    "aten.native_batch_norm": _batch_norm,
    "aten.native_layer_norm": _layer_norm,
    "aten.addmm": _addmm,
    "aten.grid_sampler_2d": _grid_sampler,
    "aten.grid_sampler_3d": _grid_sampler,
}
