"""The live masks of :mod:`torch.nn.utils.prune`: which there are, and how a rebuilt model gets them back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn
from torch.nn.utils import prune

from sapwood.models.copying import refresh_masked


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

    Args:
        model: Changed in place.
        names: Full names of parameters under a live mask.
    """
    for name in names:
        path, _, parameter = name.rpartition(".")
        prune.remove(model.get_submodule(path), parameter)  # type: ignore[no-untyped-call]
