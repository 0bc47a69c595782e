"""Widths that stand in attributes which no forward reads, and other methods do."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import sapwood

HALF = sapwood.Target(sparsity=0.5)


class Branches(nn.Module):
    """A convolution beside an identity, merged into one by a method that reads the block's own widths."""

    def __init__(self, width: int, heads: int = 16) -> None:
        super().__init__()
        self.in_channels = self.out_channels = self.groups = width
        self.num_heads = heads
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)

    def merged(self) -> nn.Conv2d:
        one = nn.Conv2d(self.in_channels, self.out_channels, 3, padding=1, groups=self.groups)
        weight = self.conv.weight.detach().clone()
        weight[:, 0, 1, 1] += 1
        one.weight.data, one.bias.data = weight, self.conv.bias.detach()
        return one


class Halves(nn.Module):
    """Cuts in two by ``chunk``; what exporters call cuts at the attribute."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c = width
        self.cv1, self.m, self.cv2 = (
            nn.Conv2d(16, 2 * width, 1),
            nn.Conv2d(width, width, 1),
            nn.Conv2d(3 * width, 16, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat([one, other, other + self.m(other)], 1))

    def forward_split(self, x: Tensor) -> Tensor:
        one, other = self.cv1(x).split((self.c, self.c), 1)
        return self.cv2(torch.cat([one, other, other + self.m(other)], 1))


def test_a_block_merges_its_branches_after_pruning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Branches(16), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    block = pruned.model[1]
    assert (block.in_channels, block.out_channels, block.groups, block.num_heads) == (8, 8, 8, 16)
    x = torch.randn(2, 8, 8, 8)
    torch.testing.assert_close(torch.relu(block.merged()(x)), block(x))
    assert pruned.notes == ()
    again = sapwood.prune(copy.deepcopy(pruned.model), torch.randn(2, 3, 8, 8), target=HALF)
    assert again.model[1].in_channels == 4


def test_the_way_of_exporters_works_after_pruning() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Halves(8), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    block = pruned.model[1]
    assert block.c == 4
    x = torch.randn(2, block.cv1.in_channels, 6, 6)
    assert torch.equal(block.forward_split(x), block(x))


def test_a_number_that_may_be_either_of_two_widths_is_left_and_named() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.width = 16
            self.a, self.b, self.c = nn.Linear(3, 16), nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.b(torch.relu(self.a(x)))))

    pruned = sapwood.prune(Two().eval(), torch.randn(2, 3), target=HALF)
    assert (pruned.model.a.out_features, pruned.model.width) == (8, 16)
    assert pruned.notes == ("width is 16 still, which was a width: it cannot be told which one",)


def test_numbers_that_the_code_makes_are_no_obstacle_to_setting_a_width() -> None:
    class Scaled(Branches):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (torch.arange(6.0, device=x.device) * 2 + 1)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), Scaled(16), nn.Conv2d(16, 4, 1)).eval()
    pruned = sapwood.prune(model, torch.randn(2, 3, 8, 8), target=HALF)
    assert (pruned.model[1].in_channels, pruned.notes) == (8, ())
