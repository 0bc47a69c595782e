"""Networks whose steps read each other at random, against PyTorch: every layout of a map beside every other."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.runtime.engine import chains
from sapwood.runtime.engine.assembly import Assembly, Sides
from sapwood.runtime.engine.choice import movable
from sapwood.runtime.engine.rules import lower

pytestmark = pytest.mark.usefixtures("engine")
ISAS = ("avx512", "avx2", "neon", "scalar")
STRIDES = ((1, 1), (1, 1), (2, 2), (2, 1), (1, 2), (3, 3))
ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    nn.Identity(), nn.Identity(), torch.relu, torch.sigmoid, F.hardswish, F.gelu,
)  # fmt: skip


class RandomNetwork(nn.Module):
    """Each step reads one of the maps so far, or two; some maps are returned."""

    def __init__(self, drawn: random.Random) -> None:
        super().__init__()
        self.drawn, self.layers = drawn, nn.ModuleList()
        self.steps: list[tuple[Callable[..., Tensor], tuple[int, ...]]] = []
        shape = (1, drawn.randint(2, 9), drawn.choice([1, 4, 7, 9, 14, 20]), drawn.choice([1, 3, 7, 8, 9, 15, 17, 33]))
        self.picture = torch.randn(shape)
        maps = [self.picture]
        for _ in range(drawn.randint(4, 12)):
            at = drawn.choice([len(maps) - 1, drawn.randrange(len(maps))])
            made = self._step(maps[at])
            others = [number for number, one in enumerate(maps) if one.shape == maps[at].shape]
            inputs = (at, drawn.choice(others)) if made in (torch.add, _joined) else (at,)
            self.steps.append((_then(made, drawn.choice(ACTIVATIONS)), inputs))
            with torch.no_grad():
                maps.append(self.steps[-1][0](*(maps[one] for one in inputs)))
        self.returned = [drawn.randrange(1, len(maps)) for _ in range(drawn.randint(0, 2))] + [len(maps) - 1]

    def _step(self, x: Tensor) -> Callable[..., Tensor]:
        kinds = ("convolution", "depthwise", "pointwise", "picking", "max", "mean", "wider", "gate", "part", "norm",
                 "sum", "joined")  # fmt: skip
        kind, (_, channels, height, width) = self.drawn.choice(kinds), x.shape
        if kind in kinds[:4]:
            return self._convolution(kind, channels)
        if kind in ("max", "mean"):
            side = self.drawn.randint(1, min(3, height, width))
            pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
            return pool(side, self.drawn.choice([1, 2]), self.drawn.choice([0, side // 2]))
        if kind == "wider" and height * width < 200:
            factors = self.drawn.choice([(2.0, 2.0), (1.0, 2.0), (3.0, 2.0)])
            return lambda x: F.interpolate(x, scale_factor=factors, mode="nearest")
        if kind == "part":
            first, end = sorted(self.drawn.sample(range(channels + 1), 2))
            return lambda x: x[:, first:end]
        if kind == "norm":
            norm = nn.LayerNorm(channels)
            return lambda x: norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return {"sum": torch.add, "gate": _gated}.get(kind, _joined)

    def _convolution(self, kind: str, channels: int) -> nn.Module:
        drawn = self.drawn
        sides = (1, 1) if kind in ("pointwise", "picking") else (drawn.choice([1, 3, 3, 5]), drawn.choice([1, 3, 3, 5]))
        stride = {"pointwise": (1, 1), "picking": (2, 2)}.get(kind) or drawn.choice(STRIDES)
        gap, groups = drawn.choice([1, 1, 2]), channels if kind == "depthwise" else 1
        outputs = channels * drawn.choice([1, 2]) if kind == "depthwise" else drawn.randint(2, 12)
        padding = (sides[0] // 2 * gap, sides[1] // 2 * gap)
        conv = nn.Conv2d(channels, outputs, sides, stride, padding, gap, groups)
        with torch.no_grad():
            conv.weight *= torch.rand_like(conv.weight) < drawn.choice([0.1, 0.5, 1.0, 1.0])
        self.layers.append(conv)
        return conv

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        maps = [x]
        for apply, inputs in self.steps:
            maps.append(apply(*(maps[one] for one in inputs)))
        return tuple(maps[one] for one in self.returned)


def _gated(x: Tensor) -> Tensor:
    return x * x.mean((2, 3), keepdim=True).sigmoid()


def _joined(*parts: Tensor) -> Tensor:
    return torch.cat(parts, 1)


def _then(first: Callable[..., Tensor], activate: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda *inputs: activate(first(*inputs))


def compare(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the engine alone, and in turns with PyTorch; with chains wherever they can be, and without any."""
    torch.manual_seed(seed)
    drawn = random.Random(seed)
    model = RandomNetwork(drawn).eval()
    with torch.no_grad():
        wanted = model(model.picture)
    network = lower(model, model.picture)
    for turn in range(2):
        monkeypatch.setattr(chains, "WORTH_FLOATS", drawn.choice([0, 1 << 60]))
        monkeypatch.setattr(chains, "USUAL_FLOATS", drawn.choice([0, 65_536]))
        moved = frozenset(one for one in sorted(movable(network)) if turn and drawn.random() < 0.4)
        assembly = Assembly(network, Sides(moved, drawn.random() < 0.3), 1 + seed % 2)
        for one, other in pairwise([wanted, *(assembly.run([model.picture]) for _ in range(2))]):
            for found, same in zip(one, other, strict=True):
                scale = float(same.abs().max().clamp_min(1e-3))
                assert float((found - same).abs().max()) <= 1e-4 * scale, f"seed {seed}, {sorted(moved)} in PyTorch"


@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_random_networks(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60):
        compare(seed, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS, indirect=True)
def test_many_random_networks(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(1_000, 4_000):
        compare(seed, monkeypatch)
