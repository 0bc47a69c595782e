"""Shortcuts for tensors without values: PyTorch works out many results' shapes in Python, at a millisecond a call.

For some it loads SymPy or its compiler first, which takes a second of each process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

BINARY = frozenset(f"aten.{name}" for name in ("add", "sub", "mul", "div", "pow"))
"""The same, where the second argument is a number or a tensor of the same shape."""


class ShapesOnly(CallMode):
    """Answers common calls on floating tensors of the ``meta`` device itself; shapes that do not fit are errors."""

    def meet(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Answers the call, or passes it on."""
        if args and not kwargs:
            first = args[0]
            several = type(first) is list and bool(first)
            lead = first[0] if several else first
            if isinstance(lead, Tensor) and lead.is_meta and lead.is_floating_point():
                answer = (_joined if several else _answer)(name_of(func), args)
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


def _joined(name: str, args: tuple[Any, ...]) -> Any:
    """The same of a call that joins tensors: of one type, in memory in order."""
    joins = JOINS.get(name)
    first = args[0][0]
    if joins is None or not all(one.is_meta and one.dtype == first.dtype and _is_in_order(one) for one in args[0]):
        return None
    return joins(*args)


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


def _is_in_order(x: Tensor) -> bool:
    """Whether the strides of ``x`` are those of a new tensor, in dimensions of size 1 as well, and it is not empty.

    What pools or joins maps asks those whether the channels of a map lie side by side.
    """
    step = 1
    for stride, size in zip(reversed(x.stride()), reversed(x.shape), strict=True):
        if stride != step:
            return False
        step *= size
    return step > 0


def _new(x: Tensor, *sizes: int) -> Tensor:
    """What ``x.new_empty`` makes, which without values is made in Python."""
    return torch.empty(sizes, dtype=x.dtype, device=x.device)


def _like(first: Tensor, other: Any) -> bool:
    if isinstance(other, Tensor):
        return other.is_meta and other.shape == first.shape and other.dtype == first.dtype
    return isinstance(other, (int, float))


def _broadcast(first: Tensor, *others: Any) -> Tensor | None:
    """What tensors of one type make, in memory in order, of which each dimension is stretched or equal."""
    if not all(isinstance(other, Tensor) and other.is_meta and other.dtype == first.dtype for other in others):
        return None
    both = (first, *others)
    rank = max(one.dim() for one in both)
    sizes = [{*found} - {1} for found in zip(*((*[1] * (rank - one.dim()), *one.shape) for one in both), strict=True)]
    if not all(one.is_contiguous() for one in both) or any(len(found) > 1 for found in sizes):
        return None
    return _new(first, *[next(iter(found), 1) for found in sizes])


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
    gone = {dim % rank for dim in dims or range(rank) if -rank <= dim < rank} if rank else set()
    if not x.is_contiguous() or len(gone) != len(dims or range(rank)):
        return None
    if keepdim:
        return _new(x, *[1 if dim in gone else size for dim, size in enumerate(x.shape)])
    return _new(x, *[size for dim, size in enumerate(x.shape) if dim not in gone])


def _vector_norm(x: Tensor, order: Any = 2, dims: Any = None, keepdim: bool = False) -> Any:
    del order
    return _mean(x, dims, keepdim) if x.numel() else None


def _mse_loss(x: Tensor, target: Any, reduction: int = 1) -> Any:
    if not (isinstance(target, Tensor) and _like(x, target) and _is_in_order(x) and _is_in_order(target)):
        return None
    return _new(x) if reduction else _like_it(x)


def _upsample(x: Tensor, sizes: Any, *_: Any) -> Any:
    """Maps of other sizes; what was given as factors is made sizes before."""
    fits = isinstance(sizes, (list, tuple)) and len(sizes) == x.dim() - 2 and all(size > 0 for size in sizes)
    return _new(x, *x.shape[:2], *sizes) if fits and _is_in_order(x) else None


def _max_pool(x: Tensor, window: Any, *rest: Any) -> Any:
    given = (*rest, *[(), 0, 1, False][len(rest) :])
    made = _pooled(x, window, *given)
    return None if made is None else (made, torch.empty(made.shape, dtype=torch.int64, device=made.device))


def _avg_pool(x: Tensor, window: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False, *_: Any) -> Any:
    return _pooled(x, window, stride, padding, 1, ceil_mode)


def _pooled(x: Tensor, *numbers: Any) -> Tensor | None:
    """Pictures of which each place is made of a window."""
    *windows, ceil_mode = numbers
    window, stride, padding, dilation = (_each_way(one) for one in windows)
    made = []
    for size, span, step, pad, apart in zip(x.shape[-2:], window, stride or window, padding, dilation, strict=True):
        left = size + 2 * pad - apart * (span - 1) - 1
        if pad > span // 2 or left < 0 or step < 1:
            return None
        count = (left + (step - 1 if ceil_mode else 0)) // step + 1
        made.append(count - 1 if ceil_mode and (count - 1) * step >= size + pad else count)
    return _new(x, *x.shape[:-2], *made) if x.dim() == 4 and _is_in_order(x) else None


def _each_way(numbers: Any) -> tuple[int, ...]:
    """A number for rows and one for columns; one stands for both, none stay none."""
    own = (numbers,) if isinstance(numbers, int) else tuple(numbers)
    return own * 2 if len(own) == 1 else own


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    first = tensors[0]
    sizes = list(first.shape)
    if not -len(sizes) <= dim < len(sizes) or any(len(one.shape) != len(sizes) for one in tensors):
        return None
    dim %= len(sizes)
    sizes[dim] = sum(one.shape[dim] for one in tensors)
    fits = all((*one.shape[:dim], *one.shape[dim + 1 :]) == (*sizes[:dim], *sizes[dim + 1 :]) for one in tensors)
    return _new(first, *sizes) if fits else None


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Any:
    first = tensors[0]
    sizes = list(first.shape)
    if not -len(sizes) <= dim + 1 <= len(sizes) + 1 or any(one.shape != first.shape for one in tensors):
        return None
    sizes.insert(dim % (len(sizes) + 1), len(tensors))
    return _new(first, *sizes)


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
    "aten.addcmul": _broadcast,
    "aten.mean": _mean,
    "aten.sum": _mean,
    "aten.linalg_vector_norm": _vector_norm,
    "aten.mse_loss": _mse_loss,
    "aten.max_pool2d_with_indices": _max_pool,
    "aten.avg_pool2d": _avg_pool,
    **dict.fromkeys(
        (f"aten.upsample_{way}" for way in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d")), _upsample
    ),
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

JOINS: dict[str, Callable[..., Any]] = {"aten.cat": _cat, "aten.stack": _stack}
"""Operators of lists of tensors."""
