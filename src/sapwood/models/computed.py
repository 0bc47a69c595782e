"""Tensors that hooks make of parameters before a module's own forward: masked ones, normalised ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from sapwood.models.walking import all_modules


def refresh_masked(model: nn.Module) -> None:
    """Computes each masked tensor again from its parameter and its mask, as the next forward would."""
    for module, hook in _hooks(model):
        _refresh_masked(module, hook)


def _refresh_masked(module: nn.Module, hook: Any) -> None:
    if isinstance(hook, BasePruningMethod):
        with torch.no_grad():  # a computed tensor without history can be deep-copied by torch itself
            masked: Tensor = hook.apply_mask(module)  # type: ignore[no-untyped-call]
            setattr(module, hook._tensor_name, masked)


def refresh_computed(model: nn.Module) -> None:
    """Computes each tensor again that a hook makes of parameters before a module's own forward.

    Those are masked ones, and those of the old ``weight_norm`` and ``spectral_norm``, which may be made of masked ones.
    A model may read them without calling the module, as attention does: they are then what they were last made of,
    in the type and the widths that the parameters had.
    """
    hooks = _hooks(model)
    for module, hook in hooks:
        _refresh_masked(module, hook)
    for module, hook in hooks:
        with torch.no_grad():
            if isinstance(hook, WeightNorm):
                setattr(module, hook.name, hook.compute_weight(module))
            elif isinstance(hook, SpectralNorm):
                setattr(module, hook.name, hook.compute_weight(module, do_power_iteration=False))


def _hooks(model: nn.Module) -> list[tuple[nn.Module, Any]]:
    return [(module, hook) for module in all_modules(model) for hook in module._forward_pre_hooks.values()]
