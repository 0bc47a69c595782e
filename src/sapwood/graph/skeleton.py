"""A model without values: every tensor on the ``meta`` device, so that running it costs nothing but its code."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.graph.written import putting_back
from sapwood.models import all_modules, deep_copy, held, map_tensors, wide_type
from sapwood.types import ExampleInputs


def skeleton(model: nn.Module, memo: dict[int, Any] | None = None, *, wide: bool = False) -> nn.Module:
    """A deep copy of ``model`` whose tensors have shapes and types but no values; tensors that are shared stay shared.

    Args:
        model: Any module.
        memo: Is told what was copied: the identity of each thing, and its copy.
        wide: Whether the copy's tensors are of the types of the proof, as :func:`sapwood.models.widen_` makes them.

    Examples:
        >>> skeleton(nn.Linear(3, 2)).weight.device
        device(type='meta')
    """
    memo = {} if memo is None else memo
    for module in all_modules(model):
        for tensor in _tensors(module):
            if id(tensor) not in memo:
                memo[id(tensor)] = _without_values(tensor, wide=wide)
    return deep_copy(model, memo)


@contextmanager
def leaving_no_trace(model: nn.Module, written: Collection[str] = ()) -> Iterator[None]:
    """Within it, modules may keep things (caches, counters, hooks); afterwards they hold what they held before.

    Attributes, and the dicts, lists and sets among them, are put back, and the values of buffers and of tensors that
    are attributes, as of statistics that run along; of parameters only those that are ``written`` (``Graph.written``).

    Examples:
        >>> layer = nn.Linear(3, 2)
        >>> layer.cache = {}
        >>> with leaving_no_trace(layer):
        ...     layer.cache["bias"] = layer.bias
        ...     _ = layer.register_forward_hook(print)
        >>> layer.cache, len(layer._forward_hooks)
        ({}, 0)
    """
    modules = all_modules(model)
    held = _HeldBefore(modules)
    try:
        with putting_back(model, written):
            yield
    finally:
        held.put_back()


class _HeldBefore:
    """What modules hold: attributes, what is in their containers, and the values of tensors that are not parameters."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._attributes = [(vars(module), vars(module).copy()) for module in modules]
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._empty: list[Any] = []
        tensors: dict[int, Tensor] = {}
        for _, old in self._attributes:
            for value in old.values():  # once for all, as modules have two dozen
                kind = type(value)
                if kind in CONTAINERS:
                    if value:
                        self._containers[id(value)] = (value, value.copy())
                    else:
                        self._empty.append(value)
                elif kind not in NO_TENSORS and isinstance(value, Tensor):
                    tensors[id(value)] = value
            for value in old["_buffers"].values():
                if value is not None:
                    tensors[id(value)] = value
        self._values = [
            (tensor, tensor.detach().clone(), tensor._version)
            for tensor in tensors.values()
            if not tensor.is_meta and not tensor.is_inference()
        ]

    def put_back(self) -> None:
        """Has them hold it again."""
        for tensor, value, version in self._values:
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(value)
        for attributes, old in self._attributes:
            if not _holds(attributes, old):
                attributes.clear()
                attributes.update(old)
        for value in filter(None, self._empty):
            value.clear()
        for container, old in self._containers.values():
            _fill_again(container, old)


def _holds(attributes: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether a table holds what it held, in the same order."""
    return (
        len(attributes) == len(old)
        and all(map(operator.is_, attributes, old))
        and all(map(operator.is_, attributes.values(), old.values()))
    )


def _fill_again(container: Any, old: Any) -> None:
    """Has a container hold what it held."""
    if type(container) is list:
        container[:] = old
    elif type(container) is set or not _holds(container, old):
        container.clear()
        container.update(old)


CONTAINERS = frozenset({dict, OrderedDict, list, set})
"""What is put back; modules keep their hooks in the second."""

MAY_HOLD = CONTAINERS | {tuple}
"""What may hold tensors, if it holds anything."""

NO_TENSORS = MAY_HOLD | {type(None), bool, int, float, str}
"""What most attributes are of, which then need not be asked what they are."""


def shapes_of(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs without values."""
    return map_tensors(_without_values, inputs)  # type: ignore[no-any-return]


@contextmanager
def new_tensors_like(model: nn.Module) -> Iterator[None]:
    """Within it, tensors that a model's code makes without naming a device are made where its parameters are."""
    first = next(model.parameters(), None)
    if first is None or first.device.type == "cpu":
        yield
        return
    with torch.device(first.device):
        yield


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Tensors of a module and of what it keeps as plain attributes, in any container; layers among them, too."""
    for name, value in vars(module).items():
        kind = type(value)
        if kind in NO_TENSORS and not (value and kind in MAY_HOLD):
            continue
        if kind is dict and name in {"_parameters", "_buffers", "_modules"}:
            yield from (one for one in value.values() if isinstance(one, Tensor))
            continue
        for one in held(value):
            if isinstance(one, Tensor):
                yield one
            elif isinstance(one, nn.Module) and all(one is not child for child in module._modules.values()):
                for inner in one.modules():
                    yield from (own for own in held(vars(inner)) if isinstance(own, Tensor))


def _without_values(tensor: Tensor, *, wide: bool = False) -> Tensor:
    dtype = wide_type(tensor.dtype) if wide else tensor.dtype
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty.requires_grad_(tensor.requires_grad)
