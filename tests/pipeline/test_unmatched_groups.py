"""Convolution groups that divide nothing on the way, against a reference of the plan's cuts alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import sapwood
from sapwood.models import apply_plan
from support.probes import Net, conv, head, picture, shuffled
from support.silencing import silenced

HALF = sapwood.Target(sparsity=0.5)

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""


class Unit(nn.Module):
    """A unit of ShuffleNetV1; one that halves the picture puts what it read beside what it makes."""

    def __init__(self, read: int, made: int, groups: int, first: int) -> None:
        super().__init__()
        self.groups, self.stride = groups, 2 if read != made else 1
        middle = made // 4
        self.down = nn.Conv2d(read, middle, 1, groups=first)
        self.each = nn.Conv2d(middle, middle, 3, self.stride, 1, groups=middle)
        self.norm = nn.BatchNorm2d(middle)
        self.up = nn.Conv2d(middle, made - read if self.stride == 2 else made, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.norm(self.each(shuffled(F.relu(self.down(x)), self.groups))))
        return F.relu(torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1) if self.stride == 2 else x + y)


def shufflenet(groups: int, widths: tuple[int, ...], stem: int) -> nn.Module:
    """ShuffleNetV1, narrow: its first unit has one group in front, as in the paper."""
    torch.manual_seed(0)
    units: list[nn.Module] = [conv(3, stem), nn.BatchNorm2d(stem)]
    for read, made in zip((stem, *widths), widths, strict=False):
        units += [Unit(read, made, groups, 1 if read == stem else groups), Unit(made, made, groups, groups)]
    model = nn.Sequential(*units, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 5))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.normal_(module.bias)
    return model.eval()


@torch.no_grad()
def distance(model: nn.Module, pruned: sapwood.Pruned, inputs: Tensor) -> float:
    wanted = silenced(model, pruned.plan)(inputs.double())
    found = apply_plan(copy.deepcopy(model).double(), pruned.plan)(inputs.double())
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(("groups", "widths", "stem"), [(3, (60, 120), 12), (4, (112, 224), 24), (8, (384, 768), 24)])
def test_shufflenet_of_the_first_version_goes(groups: int, widths: tuple[int, ...], stem: int, tmp_path: Path) -> None:
    """15, 28 and 96 channels in the middle, 5, 7 and 12 a group: the shuffle's groups divide none of them."""
    model, inputs = shufflenet(groups, widths, stem), torch.randn(1, 3, 16, 16)
    pruned = sapwood.prune(model, inputs, target=HALF, criterion="random")
    assert distance(model, pruned, inputs) <= EXACT
    assert pruned.verification.passed
    kept = pruned.model[3].down.weight.shape[1] / model[3].down.weight.shape[1]
    assert 0.3 <= kept <= 0.7, "what the units hand on goes by position"
    sapwood.save(pruned, tmp_path / "small")
    again = sapwood.load(tmp_path / "small", model=lambda: shufflenet(groups, widths, stem))
    assert torch.equal(again.eval()(inputs), pruned.model.eval()(inputs))
    pruned.model.train()(inputs.repeat(2, 1, 1, 1)).sum().backward()


def between(width: int, first: int, turns: int, second: int) -> tuple[nn.Module, Tensor]:
    """Two grouped convolutions with a shuffle between them."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.b(shuffled(F.relu(m.a(m.stem(x))), turns)))

    parts = {"a": conv(24, width, 1, groups=first), "b": conv(width, 24, 1, groups=second)}
    return Net(run, stem=conv(3, 24), head=head(24), **parts).eval(), picture()


GOES: dict[str, tuple[Callable[[], tuple[nn.Module, Tensor]], str, tuple[int, ...]]] = {
    "as many groups thrice": (lambda: between(60, 3, 3, 3), "b", (12, 11, 1, 1)),
    "other groups behind": (lambda: between(60, 4, 2, 3), "b", (12, 8, 1, 1)),
    "other groups in front": (lambda: between(60, 2, 3, 4), "b", (12, 6, 1, 1)),
}


def _beside(m: Any, x: Tensor) -> Tensor:
    one = m.a(x)
    return m.head(m.c(torch.cat([one, m.b(one)], 1)))


GOES |= {
    "by an operator": (
        lambda: (
            nn.Sequential(conv(3, 60), nn.ChannelShuffle(3), conv(60, 24, 3, groups=3), head(24)).eval(),
            picture(),
        ),
        "2",
        (12, 10, 3, 3),
    ),
    "a group begins inside of another's": (
        lambda: (
            Net(
                _beside,
                a=conv(3, 12),
                b=conv(12, 18, 1, groups=2),
                c=conv(30, 12, 3, groups=3),
                head=head(12),
            ).eval(),
            picture(),
        ),
        "c",
        (6, 6, 3, 3),
    ),
    "one after the other": (
        lambda: (
            nn.Sequential(conv(3, 30), conv(30, 30, groups=2), conv(30, 30, groups=3), head(30)).eval(),
            picture(),
        ),
        "2",
        (15, 4, 3, 3),
    ),
    "transposed": (
        lambda: (
            Net(
                lambda m, x: m.head(m.b(shuffled(m.a(x), 3))),
                a=conv(3, 60),
                b=nn.ConvTranspose2d(60, 24, 2, 2, groups=3),
                head=head(24),
            ).eval(),
            picture(),
        ),
        "b",
        (30, 4, 2, 2),
    ),
}


@pytest.mark.parametrize("name", sorted(GOES))
def test_groups_that_match_in_no_grid(name: str) -> None:
    make, where, shape = GOES[name]
    torch.manual_seed(0)
    model, inputs = make()
    pruned = sapwood.prune(model, inputs, target=HALF, criterion="random")
    assert distance(model, pruned, inputs) <= EXACT
    assert tuple(pruned.model.get_submodule(where).weight.shape) == shape


def test_budgets_are_kept_to() -> None:
    model, inputs = shufflenet(3, (60, 120), 12), torch.randn(1, 3, 16, 16)
    pruned = sapwood.prune(model, inputs, target=sapwood.Target(params=0.5))
    left = sum(one.numel() for one in pruned.model.parameters()) / sum(one.numel() for one in model.parameters())
    assert 0.3 < left <= 0.5
    assert distance(model, pruned, inputs) <= EXACT


def test_what_must_stay_keeps_its_stage_and_nothing_else() -> None:
    model, inputs = shufflenet(3, (60, 120), 12), torch.randn(1, 3, 16, 16)
    pruned = sapwood.prune(model, inputs, target=HALF, criterion="random", ignore={"2.up": "mine"})
    assert pruned.model[2].up.weight.shape[0] == 48
    assert pruned.model[4].down.weight.shape[0] < 30
    assert distance(model, pruned, inputs) <= EXACT


@pytest.mark.parametrize(("width", "first", "turns", "second"), [(60, 3, 4, 4), (24, 8, 8, 8)])
def test_where_nothing_can_go_the_reason_says_what_to_do(width: int, first: int, turns: int, second: int) -> None:
    model, inputs = between(width, first, turns, second)
    pruned = sapwood.prune(model, inputs, target=HALF)
    reasons = {(entry.tensor, entry.dim): entry.reason for entry in pruned.unpruned}
    for place in (("a.weight", 0), ("b.weight", 1)):
        assert reasons[place].endswith(
            "widths that the groups of each convolution and shuffle on the way divide, or groups=1, would let them go"
        )
