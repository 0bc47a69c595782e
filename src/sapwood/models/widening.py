"""Models and batches in float64, in which results are compared."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sapwood.models.containers import held, map_tensors

Model = TypeVar("Model", bound=nn.Module)


def widened(value: Any) -> Any:
    """``value`` with floating tensors in float64 and complex ones in complex128, in any container.

    Examples:
        >>> [one.dtype for one in widened([torch.ones(1), torch.ones(1, dtype=torch.complex64), torch.ones(1).int()])]
        [torch.float64, torch.complex128, torch.int32]
    """
    return map_tensors(_wider, value)


def widen_(model: Model) -> Model:
    """Makes all that a run of ``model`` reads float64, or complex128.

    That is what its modules register, and what they keep otherwise: tensors that are plain attributes, layers in plain
    lists or behind a function. ``Module.to(torch.float64)`` reaches the first only, and takes the imaginary part off.

    Args:
        model: A copy that belongs to nobody else: see :func:`sapwood.models.copy_model`.

    Returns:
        ``model``.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> layer.hidden = [nn.Linear(2, 2)]
        >>> widen_(layer).hidden[0].weight.dtype
        torch.float64
    """
    done: set[int] = set()
    waiting: list[nn.Module] = [model]
    while waiting:
        root = waiting.pop()
        if id(root) in done:
            continue
        root._apply(_wider)  # type: ignore[no-untyped-call]
        for module in root.modules():
            done.add(id(module))
            for value in held({name: one for name, one in vars(module).items() if name not in REGISTERED}):
                if isinstance(value, nn.Module):
                    waiting.append(value)
                elif isinstance(value, Tensor):
                    _widen_tensor_(value)
    return model


REGISTERED = frozenset({"_parameters", "_buffers", "_modules", "_c"})
"""Where a module keeps what ``Module._apply`` reaches."""


def _widen_tensor_(tensor: Tensor) -> None:
    wide = _wider(tensor.detach())
    if wide.dtype is not tensor.dtype:
        tensor.data = wide


def _wider(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor
