"""Pruning random networks: a smaller network that equals the masked one, which is built here without the library."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.models import apply_plan
from sapwood.pipeline import Pruned, Target, prune
from support.random_networks import INPUT, Description, build, descriptions

ROUNDING = 1e-9
"""Relative, in float64: two equal networks sum in other orders."""

SINGLE_ROUNDING = 1e-3
"""The same in float32, through a dozen layers."""

ALWAYS_REMOVES = 0.25
"""From this sparsity on, any group of two channels or more loses one."""


class _NormOfKept(nn.Module):
    """A norm that pools over channels, with its statistics taken over the kept ones; the others come out zero."""

    def __init__(self, norm: nn.Module, kept: list[int]) -> None:
        super().__init__()
        self.norm, self.kept = norm, torch.tensor(kept)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm
        weight, bias = norm.weight[self.kept], norm.bias[self.kept] if getattr(norm, "bias", None) is not None else None
        dim = 1 if isinstance(norm, nn.GroupNorm) else x.dim() - 1
        part = x.index_select(dim, self.kept)
        if isinstance(norm, nn.GroupNorm):
            width = norm.num_channels // norm.num_groups
            num_groups = len({channel // width for channel in self.kept.tolist()})
            made = F.group_norm(part, num_groups, weight, bias, norm.eps)
        else:
            shape = (len(self.kept),)
            if isinstance(norm, nn.RMSNorm):
                made = F.rms_norm(part, shape, weight, norm.eps)
            else:
                made = F.layer_norm(part, shape, weight, bias, norm.eps)
        return torch.zeros_like(x).index_copy(dim, self.kept, made)


def masked(dense: nn.Module, pruned: Pruned) -> nn.Module:
    """The dense network in float64 with every removed slice of every parameter at zero."""
    model = copy.deepcopy(dense).to(torch.float64)
    parameters = dict(model.named_parameters())
    kept = {(cut.tensor, cut.dim): list(cut.kept) for cut in pruned.plan.cuts}
    with torch.no_grad():
        for (name, dim), indices in kept.items():
            if name in parameters:
                gone = [index for index in range(parameters[name].shape[dim]) if index not in indices]
                parameters[name].index_fill_(dim, torch.tensor(gone), 0.0)
    for name, module in list(model.named_modules()):
        pools = isinstance(module, (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm))
        if pools and (f"{name}.weight", 0) in kept:
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, _NormOfKept(module, kept[f"{name}.weight", 0]))
    return model


def num_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def assert_equal_to_masked(model: nn.Module, pruned: Pruned) -> None:
    """On new inputs in another batch size; in float64 from the start, for a rescale rounds to the model's type."""
    x = torch.randn(3, INPUT.channels, INPUT.size, INPUT.size, dtype=torch.float64)
    exact = apply_plan(copy.deepcopy(model).to(torch.float64), pruned.plan)
    for found, short, wanted in zip(exact(x), pruned.model(x.float()), masked(model, pruned)(x), strict=True):
        assert wanted.isfinite().all()
        scale = max(float(wanted.abs().max()), 1e-3)
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=ROUNDING * scale)
        torch.testing.assert_close(short.double(), wanted, rtol=0.0, atol=SINGLE_ROUNDING * scale)


def assert_untouched(model: nn.Module, before: Mapping[str, Tensor]) -> None:
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def assert_smaller_or_explained(model: nn.Module, pruned: Pruned, sparsity: float) -> None:
    if sparsity < ALWAYS_REMOVES or num_params(pruned.model) < num_params(model):
        return
    explained = {(entry.tensor, entry.dim) for entry in pruned.unpruned if entry.reason}
    used = {entry.tensor for entry in pruned.unpruned}
    for name, parameter in model.named_parameters():
        if name in used and parameter.shape[0] > 1:
            assert (name, 0) in explained, name


def assert_trains(model: nn.Module) -> None:
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    x = torch.randn(4, INPUT.channels, INPUT.size, INPUT.size)
    sum(output.square().mean() for output in model(x)).backward()
    optimizer.step()
    assert any(not torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


@pytest.mark.slow
@settings(max_examples=settings.default.max_examples // 2)
@given(descriptions(), st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]))
def test_random_networks(description: Description, sparsity: float) -> None:
    model = build(description)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, INPUT.channels, INPUT.size, INPUT.size)
    pruned = prune(model, x, target=Target(sparsity=sparsity))
    assert pruned.verification.passed
    assert_equal_to_masked(model, pruned)
    assert_untouched(model, before)
    assert_smaller_or_explained(model, pruned, sparsity)
    assert_trains(pruned.model)
    assert prune(model, x, target=Target(sparsity=sparsity)).plan == pruned.plan
