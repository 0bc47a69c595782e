"""Runs that start in the middle: the same figures to the last bit, and fewer multiplications."""

from __future__ import annotations

import copy
import importlib
import itertools
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import sapwood
from sapwood.graph import trace
from sapwood.models import Plan
from sapwood.recovery import Reconstruction, reconstruct
from sapwood.recovery.reconstruction import resuming
from sapwood.recovery.reconstruction.sites import find_sites


class Plain(nn.Module):
    """Convolutions one after the other, with BatchNorm and an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 6, 8, 8, 8)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.1, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x)
        return found


class Shortcuts(nn.Module):
    """What is read again much later, after being changed in place; a concatenation, and an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.first = nn.Conv2d(8, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.joined = nn.Conv2d(16, 8, 1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        early = self.stem(x)
        F.relu(early, inplace=True)
        late = self.first(early)
        late += early
        F.relu(late, inplace=True)
        late = self.second(late)
        early.mul_(0.5)
        x = self.joined(torch.cat([early, late], dim=1))
        return self.head(x.mean(dim=(2, 3)))


class Halves(nn.Module):
    """Two views of one memory, of which one is changed in place between layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(4, 4, 3, padding=1)
        self.right = nn.Conv2d(4, 4, 3, padding=1)
        self.all = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.stem(x)
        left, right = whole.chunk(2, dim=1)
        done = self.left(left)
        right.add_(1.0)
        done = done + self.right(right)
        return self.all(whole).mean(dim=(2, 3)) + done.mean(dim=(2, 3))


class Tokens(nn.Module):
    """Matrix products, whose weights are turned before they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 16)
        self.second = nn.Linear(16, 16)
        self.third = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.first(x))
        x = x + F.gelu(self.second(x))
        return self.third(x).mean(dim=1)


class Chance(Plain):
    """Draws random numbers between layers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.1 * torch.rand_like(x))


class Reader(Plain):
    """Does what a value says."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 2.0 if float(x.sum()) > 1e9 else x)


def _solved(kind: type[nn.Module]) -> tuple[Reconstruction, int]:
    """A network whose weights were disturbed, reconstructed from the one before; and the operations that took."""
    torch.manual_seed(3)
    dense = kind().eval()
    disturbed = copy.deepcopy(dense)
    with torch.no_grad():
        for parameter in disturbed.parameters():
            parameter.add_(0.2 * parameter.abs().mean() * torch.randn_like(parameter))
    shape = (5, 6) if kind is Tokens else (3, 8, 8)
    batches = [torch.randn(6, *shape) for _ in range(4)]
    with FlopCounterMode(display=False) as counter:
        found = reconstruct(dense, disturbed, Plan(), batches)
    return found, counter.get_total_flops()


@pytest.mark.parametrize("kind", [Plain, Shortcuts, Halves, Tokens, Chance, Reader])
def test_the_same_to_the_last_bit(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    resumed, _ = _solved(kind)
    monkeypatch.setattr(resuming, "MEMORY", -1)
    begun, _ = _solved(kind)
    assert resumed.layers == begun.layers
    assert len(resumed.layers) >= 3
    for name, values in begun.model.state_dict().items():
        assert torch.equal(values, resumed.model.state_dict()[name]), name


CONVOLUTION = 2 * 24 * 64 * 9
"""Operations of a 3x3 convolution on 24 pictures of 8 x 8, from one channel to one."""

SAVED = [
    (Plain, CONVOLUTION * (3 * 3 * 6 + 2 * 6 * 8 + 8 * 8)),  # five layers: the first runs once instead of four times
    (Shortcuts, CONVOLUTION * (3 * 3 * 8 + 2 * 8 * 8 + 8 * 8)),
    (Tokens, 2 * 24 * 5 * 6 * 16),  # three layers
]


@pytest.mark.parametrize(("kind", "saved"), SAVED, ids=lambda one: getattr(one, "__name__", ""))
def test_what_led_to_a_layer_is_not_computed_again(
    kind: type[nn.Module], saved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, resumed = _solved(kind)
    monkeypatch.setattr(resuming, "MEMORY", -1)
    _, begun = _solved(kind)
    assert begun - resumed == saved


@pytest.mark.parametrize("kind", [Chance, Reader])
def test_what_may_go_otherwise_starts_at_the_beginning(kind: type[nn.Module]) -> None:
    graph = trace(kind().eval(), torch.randn(2, 3, 8, 8))
    sites, _ = find_sites(graph)
    assert resuming.find_restarts(graph, [[site] for site in sites], 2) == [None] * len(sites)


def test_a_cut_stands_before_everything_that_a_layer_changes() -> None:
    """Of a matrix product that is before its weight is turned, or the old weight would be kept."""
    graph = trace(Tokens().eval(), torch.randn(2, 5, 6))
    sites, _ = find_sites(graph)
    restarts: list[Any] = resuming.find_restarts(graph, [[site] for site in sites], 2)
    turned = [call.index for call in graph.calls if call.facts.turns]
    assert [restart.index for restart in restarts] == turned
    assert [len(restart.live) for restart in restarts] == [0, 1, 1], "a token's row is a look at the token"


def test_memory_bounds_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second layer 6 channels of 8 x 8 floats a picture are kept: 1,536 bytes; at the third 2,048."""
    graph = trace(Plain().eval(), torch.randn(2, 3, 8, 8))
    sites, _ = find_sites(graph)
    monkeypatch.setattr(resuming, "MEMORY", 1536 * 10)
    restarts = resuming.find_restarts(graph, [[site] for site in sites[:4]], 10)
    assert [restart is None for restart in restarts] == [False, False, True, True]


def test_targets_and_sums_of_what_is_solved_are_gone_before_the_next_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is up to 1 GiB of a large network."""
    module = importlib.import_module("sapwood.recovery.reconstruction.reconstruct")
    networks, alive = module._TwoNetworks, {"_dense_samples": 0, "_collect": 0}
    monkeypatch.setattr(module, "TARGET_MEMORY", 1)

    def watched(name: str) -> Any:
        make, before = getattr(networks, name), list[weakref.ref[Tensor]]()

        def run(self: Any, *args: Any) -> Any:
            assert not [one for one in before if one() is not None], name
            found = make(self, *args)
            alive[name] += 1
            tensors = (
                [branch for own in found for branch, _ in own.values()]
                if name == "_dense_samples"
                else [sums.fit.xx for sums in found.values()]
            )
            before[:] = [weakref.ref(one) for one in tensors]
            return found

        return run

    for name in alive:
        monkeypatch.setattr(networks, name, watched(name))
    dense = Plain().eval()
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pruned = sapwood.prune(dense, x, target=sapwood.Target(macs=0.6))
    reconstruct(dense, pruned.model, pruned.plan, [x])
    assert alive == {"_dense_samples": 5, "_collect": 5}
