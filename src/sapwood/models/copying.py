"""Copying a model, live masks included."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod

Model = TypeVar("Model", bound=nn.Module)


def copy_model(model: Model, replaced: Mapping[int, Tensor] | None = None) -> Model:
    """Returns a deep copy of ``model`` that shares nothing with it.

    ``copy.deepcopy`` alone fails for a model that :mod:`torch.nn.utils.prune` masked: its ``weight`` is computed from
    ``weight_orig`` and ``weight_mask``, and torch copies no computed tensor
    (https://github.com/pytorch/pytorch/issues/37322). Here such tensors are copied by value, and those that belong to a
    mask are computed again from the copy's own parameters.

    Args:
        model: Any module. It is not changed.
        replaced: Identity of a tensor of ``model`` -> the tensor that stands in its place in the copy.

    Returns:
        The copy: parameters, buffers, hooks, masks and training mode as in ``model``.

    Examples:
        >>> from torch.nn.utils import prune
        >>> masked = prune.l1_unstructured(nn.Linear(4, 2), "weight", amount=3)
        >>> twin = copy_model(masked)
        >>> bool((twin.weight == masked.weight).all()), twin.weight_mask is masked.weight_mask
        (True, False)
    """
    memo: dict[int, Any] = dict(replaced or {})
    remember_computed_tensors(model, memo)
    twin = copy.deepcopy(model, memo)
    refresh_masked(twin)
    return twin


def remember_computed_tensors(model: nn.Module, memo: dict[int, Any]) -> None:
    """Puts a copy by value of each computed tensor that a module of ``model`` holds into ``memo`` of a deep copy."""
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo.setdefault(id(value), value.detach().clone())


def refresh_masked(model: nn.Module) -> None:
    """Computes each masked tensor again from its parameter and its mask, as the next forward would."""
    for module in model.modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, BasePruningMethod):
                with torch.no_grad():  # a computed tensor without history can be deep-copied by torch itself
                    masked: Tensor = hook.apply_mask(module)  # type: ignore[no-untyped-call]
                    setattr(module, hook._tensor_name, masked)
