"""A model layer by layer: shapes, parameters, work."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sapwood.measure.macs import MacCount


@dataclass(frozen=True)
class ModelLayer:
    """A module that has parameters of its own.

    Attributes:
        name: Its path in the model.
        kind: Its class.
        shape: The shape of its weight, or of its first parameter.
        num_params: Elements of its own parameters, without those of modules in it.
        macs: Multiply-accumulates of one run of it and of the modules in it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    num_params: int
    macs: int


def model_layers(model: nn.Module, macs: MacCount) -> tuple[ModelLayer, ...]:
    """Returns the layers of ``model`` in its order.

    Args:
        model: Any module, with live masks or without.
        macs: From :func:`~sapwood.measure.count_macs` of the same model.

    Examples:
        >>> import torch
        >>> from sapwood.measure import count_macs
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> model_layers(model, count_macs(model, torch.zeros(1, 4)))
        (ModelLayer(name='0', kind='Linear', shape=(3, 4), num_params=15, macs=12),)
    """
    found = []
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if own:
            first = own.get("weight", own.get("weight_orig", next(iter(own.values()))))
            params = sum(parameter.numel() for parameter in own.values())
            work = macs.per_module.get(name, macs.total if not name else 0)
            found.append(ModelLayer(name, type(module).__name__, tuple(first.shape), params, work))
    return tuple(found)
