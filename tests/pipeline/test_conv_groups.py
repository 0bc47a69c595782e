"""Grouped convolutions lose whole groups, channels of every group, or both: what costs the least."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

import sapwood
from sapwood.measure import count_macs, count_params
from sapwood.models import Plan, apply_plan
from sapwood.pipeline import Target, prune
from support.probes import conv, head, picture
from support.silencing import silenced

EXACT = 1e-12
"""Relative, in float64."""


def grouped() -> nn.Sequential:
    """Six groups of eight channels, of which none matters more than another."""
    model = nn.Sequential(conv(3, 48, 1), nn.ReLU(), conv(48, 48, groups=6), nn.ReLU(), head(48))
    return model.eval()


@torch.no_grad()
def distance(model: nn.Module, plan: Plan, x: torch.Tensor) -> float:
    wanted = silenced(model, plan)(x.double())
    found = apply_plan(copy.deepcopy(model).double(), plan)(x.double())
    return float((found - wanted).abs().max() / wanted.abs().max())


def quieted(*, groups: tuple[int, ...] = (), positions: tuple[int, ...] = ()) -> nn.Sequential:
    """The network with little in some groups, or in some channels of each."""
    model = grouped()
    with torch.no_grad():
        number = torch.arange(48)
        little = torch.isin(number // 8, torch.tensor(groups)) | torch.isin(number % 8, torch.tensor(positions))
        for layer in (model[0], model[2]):
            layer.weight[little] *= 1e-4
            layer.bias[little] = 0.0
        model[4].weight[:, little] *= 1e-4
        places = torch.tensor(positions, dtype=torch.int64)
        model[2].weight[:, places] *= 1e-4
    return model


def test_whole_groups_go_where_little_is_in_them() -> None:
    model, x = quieted(groups=(1, 4)), picture()
    pruned = prune(model, x, target=Target(macs=0.7))
    layer = pruned.model[2]
    assert (layer.groups, layer.in_channels, layer.out_channels) == (4, 32, 32)
    assert distance(model, pruned.plan, x) <= EXACT


def test_channels_of_every_group_go_where_little_is_in_them() -> None:
    model, x = quieted(positions=(0, 3, 5, 6)), picture()
    pruned = prune(model, x, target=Target(macs=0.28))
    layer = pruned.model[2]
    assert (layer.groups, layer.in_channels, layer.out_channels) == (6, 24, 24)
    assert {cut.kept for cut in pruned.plan.cuts if (cut.tensor, cut.dim) == ("2.weight", 1)} == {(1, 2, 4, 7)}
    assert distance(model, pruned.plan, x) <= EXACT


@pytest.mark.parametrize("share", [0.7, 0.4, 0.2])
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_the_cost_is_that_of_what_is_made(kind: str, share: float) -> None:
    model, x = quieted(groups=(2,), positions=(1, 7)), picture()
    pruned = prune(model, x, target=Target(**{kind: share}))
    assert distance(model, pruned.plan, x) <= EXACT
    measured, dense = (
        count_macs(one, x).total if kind == "macs" else count_params(one) for one in (pruned.model, model)
    )
    assert pruned.allocation is not None
    assert pruned.allocation.cost == pytest.approx(measured, rel=1e-12)
    assert measured <= share * dense


def test_both_may_go_and_it_trains_and_loads(tmp_path: Path) -> None:
    model, x = quieted(groups=(2,), positions=(1, 7)), picture()
    pruned = prune(model, x, target=Target(macs=0.3))
    layer = pruned.model[2]
    assert layer.groups < 6
    assert layer.in_channels // layer.groups < 8
    assert not any("goes instead" in entry.reason for entry in pruned.unpruned)
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=grouped)
    assert torch.equal(again(x), pruned.model(x))
    pruned.model.train()(x).square().mean().backward()
    assert all(one.grad is not None for one in pruned.model.parameters())


def test_one_sparsity_for_all_takes_one_of_the_two() -> None:
    """Half of the groups and half of each would be three quarters of the channels."""
    pruned = prune(grouped(), picture(), target=Target(sparsity=0.5))
    layer = pruned.model[2]
    assert (layer.groups, layer.in_channels, layer.out_channels) == (6, 24, 24)
