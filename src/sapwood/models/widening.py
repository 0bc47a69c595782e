"""Models and batches in float64, in which results are compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sapwood.models.computed import refresh_masked
from sapwood.models.containers import map_tensors
from sapwood.models.copying import PLAIN_TENSORS, copy_into
from sapwood.models.memory import HugePages
from sapwood.models.walking import all_modules, named_tensors

Model = TypeVar("Model", bound=nn.Module)


def widened(value: Any) -> Any:
    """``value`` with floating tensors in float64 and complex ones in complex128, in any container.

    Examples:
        >>> [one.dtype for one in widened([torch.ones(1), torch.ones(1, dtype=torch.complex64), torch.ones(1).int()])]
        [torch.float64, torch.complex128, torch.int32]
    """
    return map_tensors(_wider, value)


def wide_copy(model: Model, shared: list[Any] | None = None) -> Model:
    """A copy of ``model`` in float64, as :func:`widen_` makes it; what could not be copied is put into ``shared``.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> layer.hidden = [nn.Linear(2, 2)]
        >>> wide_copy(layer).hidden[0].weight.dtype, layer.hidden[0].weight.dtype
        (torch.float64, torch.float32)
    """
    memo: dict[int, Any] = {id(tensor): twin for tensor, twin in _wide_tensors(model)}
    twin = copy_into(memo, model, shared)
    refresh_masked(twin)
    return widen_(twin, memo)


def _wide_tensors(model: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Parameters and buffers whose copies can be made wide at once, each with its copy."""
    tensors = [one for _, one in named_tensors(model) if _is_short(one)]
    pages = HugePages((one.numel() for one in tensors if wide_type(one.dtype) is torch.float64), torch.float64)
    for tensor in tensors:
        asks, old = tensor.requires_grad, tensor.detach()
        wide = pages.like(old).copy_(old) if wide_type(old.dtype) is torch.float64 else _wider(old)
        yield tensor, nn.Parameter(wide, asks) if isinstance(tensor, nn.Parameter) else wide.requires_grad_(asks)


def _is_short(tensor: Tensor) -> bool:
    """Whether nothing but the values of a tensor is copied with it, and these are of a shorter type."""
    plain = type(tensor) in PLAIN_TENSORS and tensor.is_leaf and not vars(tensor)
    return plain and wide_type(tensor.dtype) is not tensor.dtype


def widen_(model: Model, memo: Mapping[int, Any]) -> Model:
    """Makes all that a run of ``model`` reads float64, or complex128.

    That is what its modules register, and what they keep otherwise: tensors that are plain attributes, layers in plain
    lists or behind a function. ``Module.to(torch.float64)`` reaches the first only, and takes the imaginary part off.

    Args:
        model: A copy.
        memo: What was copied, from the identity of each thing to its copy. What is no copy is somebody else's, and
            stays as it is: a copy may still refer to it, as the configuration of quantisers does to their modules.

    Returns:
        ``model``.
    """
    if not _is_wide(model):
        model._apply(_wider)  # type: ignore[no-untyped-call]
    own = [value for number, value in memo.items() if id(value) != number]
    registered = {id(module) for module in all_modules(model)}
    for value in own:
        if isinstance(value, nn.Module) and id(value) not in registered:
            value._apply(_wider)  # type: ignore[no-untyped-call]
    for value in own:
        if isinstance(value, Tensor) and wide_type(value.dtype) is not value.dtype:
            value.data = _wider(value.detach())
    return model


def _is_wide(model: nn.Module) -> bool:
    """Whether all that modules register is wide already, and none of them does more when it is converted."""
    return all(
        type(module)._apply is nn.Module._apply
        and all(
            tensor is None or (wide_type(tensor.dtype) is tensor.dtype and tensor.grad is None)
            for table in (module._parameters, module._buffers)
            for tensor in table.values()
        )
        for module in all_modules(model)
    )


def _wider(tensor: Tensor) -> Tensor:
    return tensor.to(wide_type(tensor.dtype))


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """The type in which numbers of a type are compared.

    Examples:
        >>> wide_type(torch.float16), wide_type(torch.int64)
        (torch.float64, torch.int64)
    """
    if dtype.is_complex:
        return torch.complex128
    return torch.float64 if dtype.is_floating_point else dtype
