"""A model without values: every tensor on the ``meta`` device, so that running it costs nothing but its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from sapwood.models import deep_copy
from sapwood.types import ExampleInputs


def skeleton(model: nn.Module) -> nn.Module:
    """A deep copy of ``model`` whose tensors have shapes and types but no values; tensors that are shared stay shared.

    Examples:
        >>> skeleton(nn.Linear(3, 2)).weight.device
        device(type='meta')
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        held = [*module._parameters.values(), *module._buffers.values(), *_tensor_attributes(module)]
        for tensor in held:
            if tensor is not None and id(tensor) not in memo:
                memo[id(tensor)] = _without_values(tensor)
    return deep_copy(model, memo)


@contextmanager
def leaving_no_trace(model: nn.Module) -> Iterator[None]:
    """Within it, modules may keep things (caches of tensors, counters); afterwards they hold what they held before.

    Attributes, and the dicts and lists among them, are put back; the values of tensors are not.

    Examples:
        >>> layer = nn.Linear(3, 2)
        >>> layer.cache = {}
        >>> with leaving_no_trace(layer):
        ...     layer.cache["bias"] = layer.bias
        >>> layer.cache
        {}
    """
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    containers: list[tuple[Any, Any]] = [
        (value, type(value)(value) if type(value) is list else dict(value))
        for _, attributes in before
        for value in attributes.values()
        if type(value) in {dict, list}
    ]
    try:
        yield
    finally:
        for attributes, old in before:
            attributes.clear()
            attributes.update(old)
        for container, old in containers:
            container.clear()
            container.extend(old) if type(container) is list else container.update(old)


def shapes_of(inputs: ExampleInputs) -> ExampleInputs:
    """Example inputs without values."""
    return tree_map(  # type: ignore[no-any-return]
        lambda leaf: _without_values(leaf) if isinstance(leaf, Tensor) else leaf, inputs
    )


@contextmanager
def new_tensors_like(model: nn.Module) -> Iterator[None]:
    """Within it, tensors that a model's code makes without naming a device are made where its parameters are."""
    first = next(model.parameters(), None)
    if first is None or first.device.type == "cpu":
        yield
        return
    with torch.device(first.device):
        yield


def _tensor_attributes(module: nn.Module) -> list[Tensor]:
    """Tensors that a module keeps as plain attributes, in lists and dicts, too."""
    plain = {name: value for name, value in vars(module).items() if name not in {"_parameters", "_buffers", "_modules"}}
    return [leaf for leaf in tree_flatten(plain)[0] if isinstance(leaf, Tensor)]


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty.requires_grad_(tensor.requires_grad)
