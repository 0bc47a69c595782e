"""The live masks of :mod:`torch.nn.utils.prune`: which there are, and how a rebuilt model gets them back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from sapwood.models.computed import refresh_masked
from sapwood.models.walking import all_modules, named_parameters


def live_masks(model: nn.Module) -> tuple[str, ...]:
    """Returns the full names of the masked parameters (``"layers.0.conv.weight"``), in the model's order.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 2))
        >>> _ = prune.l1_unstructured(model[0], "weight", amount=3)
        >>> live_masks(model)
        ('0.weight',)
    """
    return tuple(_live_masks(model))


def _live_masks(model: nn.Module) -> Iterator[str]:
    for path, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, prune.BasePruningMethod):
                yield f"{path}.{hook._tensor_name}".lstrip(".")


def used_parts(model: nn.Module) -> dict[str, Tensor]:
    """Returns what the masks leave of parameters, by the (first) name that the parameter has now (``..._orig``).

    One that modules share is used where any of them has no mask on it; if one of them has none at all, it is left out.
    """
    masks: dict[int, list[Tensor | None]] = defaultdict(list)
    for module in all_modules(model):
        for name, parameter in module._parameters.items():
            if parameter is not None:
                masks[id(parameter)].append(_mask_of(module, name))
    found = {}
    for name, parameter in named_parameters(model):
        own = [mask for mask in masks[id(parameter)] if mask is not None]
        if own and len(own) == len(masks[id(parameter)]):
            same = all(torch.equal(own[0], other) for other in own)
            found[name] = own[0] if same else torch.stack([mask != 0 for mask in own]).any(dim=0)
    return found


def _mask_of(module: nn.Module, name: str) -> Tensor | None:
    """The live mask on what a module holds under ``name`` (``weight_orig``)."""
    hooks = module._forward_pre_hooks.values()
    masked = {f"{hook._tensor_name}_orig" for hook in hooks if isinstance(hook, prune.BasePruningMethod)}
    return module.get_buffer(f"{name.removesuffix('_orig')}_mask") if name in masked else None


def masked_names(keys: Iterable[str]) -> tuple[str, ...]:
    """Returns the parameters that a state dict with these ``keys`` holds as ``..._orig`` and ``..._mask``."""
    keys = set(keys)
    return tuple(sorted(key[: -len("_mask")] for key in keys if key.endswith("_mask") and f"{key[:-5]}_orig" in keys))


def restore_masks_(model: nn.Module, names: Iterable[str]) -> None:
    """Gives parameters of ``model`` masks that keep everything, ready to be filled from a state dict.

    Args:
        model: Changed in place. Parameters that have a mask already keep it.
        names: Full names of parameters.

    Raises:
        AttributeError: If ``model`` has no such module or parameter.
    """
    present = set(live_masks(model))
    for name in names:
        if name not in present:
            path, _, parameter = name.rpartition(".")
            module = model.get_submodule(path)
            if parameter not in module._parameters:
                raise AttributeError(f"{type(module).__name__} has no parameter {parameter!r}")
            mask = torch.ones_like(module.get_parameter(parameter))
            prune.custom_from_mask(module, parameter, mask)  # type: ignore[no-untyped-call]
    refresh_masked(model)


def drop_masks_(model: nn.Module, names: Iterable[str]) -> None:
    """Makes the masks of parameters permanent.

    A parameter that several modules share stays shared among those that see the same values of it. Where one of them
    has a mask that another has not, the masked one gets a parameter of its own: the other goes on without the mask.

    Args:
        model: Changed in place.
        names: Full names of parameters under a live mask.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> model[1].weight = model[0].weight
        >>> _ = prune.l1_unstructured(model[1], "weight", amount=3)
        >>> drop_masks_(model, ("1.weight",))
        >>> int(model[0].weight.count_nonzero()), int(model[1].weight.count_nonzero())
        (4, 1)
    """
    dropped = [_Held(model.get_submodule(path), leaf) for path, _, leaf in (name.rpartition(".") for name in names)]
    for group in _groups(model, dropped):
        shared = nn.Parameter(group[0].original.detach().clone(), group[0].original.requires_grad)
        for one in group:
            one.module._parameters[f"{one.parameter}_orig"] = shared
    for one in dropped:
        prune.remove(one.module, one.parameter)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Held:
    """A masked parameter at one of the modules that hold it."""

    module: nn.Module
    parameter: str

    @property
    def original(self) -> nn.Parameter:
        """The parameter without its mask."""
        return self.module.get_parameter(f"{self.parameter}_orig")

    @property
    def mask(self) -> Tensor:
        """Its mask."""
        return self.module.get_buffer(f"{self.parameter}_mask")


def _groups(model: nn.Module, dropped: Iterable[_Held]) -> list[list[_Held]]:
    """Those of ``dropped`` that have to leave the parameter they share, together where their masks are equal."""
    holders = Counter(id(one) for module in model.modules() for one in module._parameters.values() if one is not None)
    by_parameter: dict[int, list[list[_Held]]] = defaultdict(list)
    for one in dropped:
        groups = by_parameter[id(one.original)]
        same = next((group for group in groups if torch.equal(group[0].mask, one.mask)), None)
        groups.append([one]) if same is None else same.append(one)
    leaving = []
    for number, groups in by_parameter.items():
        others = holders[number] - sum(map(len, groups))
        leaving += groups if others else groups[1:]
    return leaving
