"""Layers that a model calls and does not know: in a plain list or dict of a module, where PyTorch does not look."""

from __future__ import annotations

from torch import nn

from sapwood.models import all_modules, held, named_modules
from sapwood.models.copying import SHARED, TABLES
from sapwood.models.places import is_pytorchs


def stray_notes(model: nn.Module) -> tuple[str, ...]:
    """What to know of layers with parameters that are no submodules: a sentence, or nothing.

    Examples:
        >>> model = nn.Module()
        >>> model.steps = [nn.Linear(2, 2)]
        >>> len(stray_notes(model)), len(stray_notes(nn.Sequential(nn.Linear(2, 2))))
        (1, 0)
    """
    known = {id(module) for module in all_modules(model)}
    names = [
        f"{name}.{attribute}".lstrip(".")
        for name, module in named_modules(model)
        for attribute, value in vars(module).items()
        if type(value) not in SHARED
        and attribute not in TABLES
        and not is_pytorchs(module, attribute)
        and any(isinstance(one, nn.Module) and id(one) not in known and _has_parameters(one) for one in held(value))
    ]
    if not names:
        return ()
    return (
        f"{', '.join(names)}: holds layers that are no submodules of the model, so that they and the widths around "
        "them stay whole, and are not saved with it; nn.ModuleList or nn.ModuleDict would tell it of them",
    )


def _has_parameters(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None
