"""Shortcuts that pad their channels on both sides, as the first ResNets of CIFAR-10 do: one number for both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood


class Block(nn.Module):
    """Two convolutions beside a shortcut that is padded half in front and half behind."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width_in, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.extra = width - width_in

    def forward(self, x: Tensor) -> Tensor:
        front = self.extra // 2
        return F.relu(self.second(F.relu(self.first(x))) + F.pad(x, (0, 0, 0, 0, front, self.extra - front)))


class Padded(nn.Module):
    """Three stages: in the last one what is padded is as wide as the stage before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.Sequential(Block(8, 8), Block(8, 16), Block(16, 16), Block(16, 32))
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(F.relu(self.stem(x))).mean((2, 3)))


@pytest.mark.parametrize("sparsity", [0.3, 0.4, 0.6])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_a_shortcut_pads_follows_the_widths_around_it(sparsity: float, seed: int) -> None:
    """The number is neither the width before the block nor the one behind: it is what both sides get together."""
    torch.manual_seed(seed)
    pruned = sapwood.prune(Padded().eval(), torch.rand(1, 3, 8, 8), target=sapwood.Target(sparsity=sparsity))

    assert [one.tensor for one in pruned.unpruned] == ["stem.weight", "head.weight", "head.bias"]
    _, second, _, last = pruned.model.stages
    assert second.extra == second.second.out_channels - pruned.model.stem.out_channels < 8
    assert last.extra == last.second.out_channels - second.second.out_channels < 16
