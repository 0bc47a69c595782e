"""A model without values: every tensor on the ``meta`` device, so that running it costs nothing but its code."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

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
    return copy.deepcopy(model, memo)


def shell(model: nn.Module) -> nn.Module:
    """A copy of the modules of ``model`` around the same tensors, for a run that may leave things behind in modules.

    Examples:
        >>> layer = nn.Linear(3, 2)
        >>> shell(layer) is layer, shell(layer).weight is layer.weight
        (False, True)
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *_tensor_attributes(module)):
            if tensor is not None:
                memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)


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
