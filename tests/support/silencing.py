"""The masked reference, made from a plan's cuts alone: no code of the product takes part in it."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sapwood.models import Plan


@torch.no_grad()
def silence_(model: nn.Module, plan: Plan) -> None:
    """Sets every slice of a parameter that goes to zero; buffers hold nothing that a zero weight does not silence."""
    parameters = dict(model.named_parameters())
    for cut in plan.cuts:
        gone = sorted(set(range(cut.width)) - set(cut.kept))
        if gone and cut.tensor in parameters:
            parameters[cut.tensor].index_fill_(cut.dim, torch.tensor(gone), 0.0)


def silenced(model: nn.Module, plan: Plan, dtype: torch.dtype | None = torch.float64) -> nn.Module:
    """A copy of ``model`` with every slice that goes at zero, of type ``dtype``; of its own where None."""
    model = copy.deepcopy(model) if dtype is None else copy.deepcopy(model).to(dtype)
    silence_(model, plan)
    return model
