"""Where a model keeps its parameters: under their own name, or behind a live mask as ``..._orig`` and ``..._mask``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.prune import BasePruningMethod

from sapwood.arguments import check_model
from sapwood.models import named_modules

Kind = Literal["conv", "bn", "linear", "other"]

KIND_MODULES: Mapping[Kind, type[nn.Module]] = {"conv": _ConvNd, "bn": _BatchNorm, "linear": nn.Linear}
KIND_PARAMETERS: Mapping[Kind, tuple[str, ...]] = {"conv": ("weight",), "bn": ("weight", "bias"), "linear": ("weight",)}


@dataclass(frozen=True)
class Slot:
    """One parameter at one place in a model.

    Attributes:
        name: Full name (``"features.0.weight"``), without torch's ``_orig``.
        module: The module that holds it.
        parameter: Its name in ``module``.
        kind: What layer it belongs to: ``"conv"`` and ``"linear"`` are weights, ``"bn"`` is both of a BatchNorm's
            parameters, everything else is ``"other"``.
        tensor: The parameter itself, not masked: shape (*).
        hook: What ``torch.nn.utils.prune`` keeps the mask alive with, or ``None`` where there is no mask.
    """

    name: str
    module: nn.Module
    parameter: str
    kind: Kind
    tensor: Tensor
    hook: BasePruningMethod | None

    @property
    def mask(self) -> Tensor | None:
        """The live mask, 1 = keep, in the shape of the parameter; ``None`` where there is none."""
        if self.hook is None:
            return None
        mask: Tensor = getattr(self.module, f"{self.parameter}_mask")
        return mask

    @property
    def keys(self) -> tuple[str, ...]:
        """The names the parameter has in the model's state dict."""
        return (self.name,) if self.hook is None else (f"{self.name}_orig", f"{self.name}_mask")

    def effective(self) -> Tensor:
        """Returns the values the model computes with: the parameter times its mask."""
        tensor = self.tensor.detach()
        return tensor if self.mask is None else tensor * self.mask.to(tensor.dtype)


def find_slots(model: nn.Module) -> tuple[Slot, ...]:
    """Lists the parameters of a model, in the order of its modules.

    A parameter that several modules hold has a slot in each; a module that stands in several places counts once.

    Args:
        model: Any module, with live masks or without. It is not changed.

    Examples:
        >>> from torch.nn.utils import prune
        >>> model = nn.Sequential(prune.l1_unstructured(nn.Linear(2, 1), "weight", amount=1), nn.BatchNorm1d(1))
        >>> [(slot.name, slot.kind, slot.mask is not None) for slot in find_slots(model)]
        [('0.weight', 'linear', True), ('0.bias', 'other', False), ('1.weight', 'bn', False), ('1.bias', 'bn', False)]
    """
    check_model(model)
    return tuple(slot for path, module in named_modules(model) for slot in _slots_of(path, module))


def distinct_slots(model: nn.Module) -> tuple[Slot, ...]:
    """Lists the parameters of a model, each once: one that several modules hold stands under its first name.

    Where those have different masks on it, or one has none, it stands once for each: the model computes with several
    tensors, and :func:`~sapwood.masks.remove_masks_` makes as many parameters of it.
    """
    distinct: list[Slot] = []
    known: dict[int, list[Slot]] = {}
    for slot in find_slots(model):
        others = known.setdefault(id(slot.tensor), [])
        if not any(same_mask(slot, other) for other in others):
            others.append(slot)
            distinct.append(slot)
    return tuple(distinct)


def live_hooks(module: nn.Module) -> dict[str, BasePruningMethod]:
    """Returns the live masks of one module: torch's hook by the name of the parameter it masks."""
    return {
        hook._tensor_name: hook for hook in module._forward_pre_hooks.values() if isinstance(hook, BasePruningMethod)
    }


def own_name(path: str, parameter: str) -> str:
    """Returns the full name of a parameter of the module at ``path`` (``""`` is the model itself)."""
    return f"{path}.{parameter}" if path else parameter


def _slots_of(path: str, module: nn.Module) -> list[Slot]:
    """The slots of one module: masked parameters in the place their plain ones had, as far as torch left it known."""
    hooks = live_hooks(module)
    slots = []
    for key, tensor in module._parameters.items():
        if tensor is None:
            continue
        parameter = key.removesuffix("_orig")
        hook = hooks.get(parameter) if key != parameter else None
        parameter = key if hook is None else parameter
        slots.append(Slot(own_name(path, parameter), module, parameter, _kind(module, parameter), tensor, hook))
    order = {name: place for place, name in enumerate(("weight", "bias"))}
    return sorted(slots, key=lambda slot: order.get(slot.parameter, len(order)))


def _kind(module: nn.Module, parameter: str) -> Kind:
    for kind, module_type in KIND_MODULES.items():
        if isinstance(module, module_type) and parameter in KIND_PARAMETERS[kind]:
            return kind
    return "other"


def same_mask(first: Slot, second: Slot) -> bool:
    """Whether two slots hold no mask, or masks that agree."""
    if first.mask is None or second.mask is None:
        return first.mask is second.mask
    return torch.equal(first.mask != 0, second.mask != 0)
