"""What PyTorch does in place of nodes over tokens gives the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapwood.runtime import compile as compile_model
from sapwood.runtime.engine import deciding
from sapwood.runtime.engine.assembly import CallsPart, Sides
from sapwood.runtime.engine.choice import PYTORCH, SidesChoice, movable

pytestmark = pytest.mark.usefixtures("engine")


class Block(nn.Module):
    """A transformer's block; heads may share keys and values, and see only what came before."""

    def __init__(self, *, groups: int = 4, causal: bool = False, rms: bool = False) -> None:
        super().__init__()
        self.groups, self.causal = groups, causal
        self.norm = nn.RMSNorm(16) if rms else nn.LayerNorm(16)
        self.query, self.key, self.value = nn.Linear(16, 16), nn.Linear(16, 4 * groups), nn.Linear(16, 4 * groups)
        self.back, self.up, self.down = nn.Linear(16, 16), nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        y = self.norm(x)
        query = self.query(y).view(batch, length, 4, 4).transpose(1, 2)
        key, value = (
            layer(y).view(batch, length, self.groups, 4).transpose(1, 2).repeat_interleave(4 // self.groups, 1)
            for layer in (self.key, self.value)
        )
        y = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        x = x + self.back(y.transpose(1, 2).reshape(batch, length, 16))
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Pictures(nn.Module):
    """Patches of a picture, a token of its own in front, places added."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block, self.head = nn.Conv2d(3, 16, 4, 4), Block(), nn.Linear(16, 5)
        self.own, self.places = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 7, 16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.own.expand(len(x), -1, -1), x], 1) + self.places
        x = self.block(x)
        return self.head(x[:, 0]), x


class Words(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.table, self.block = nn.Embedding(20, 16), Block(**options)

    def forward(self, words: Tensor) -> Tensor:
        return self.block(self.table(words)).tanh()


CASES: list[tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = [
    (Pictures, lambda: torch.randn(1, 3, 8, 12)),
    (Words, lambda: torch.randint(20, (1, 9))),
    (lambda: Words(groups=2, causal=True), lambda: torch.randint(20, (1, 9))),
    (lambda: Words(groups=1, rms=True), lambda: torch.randint(20, (1, 6))),
]


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize(("make", "given"), CASES, ids=["pictures", "words", "causal", "rms"])
def test_the_other_side_gives_the_same(
    make: Callable[[], nn.Module], given: Callable[[], Tensor], seed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that can move, or some of it."""
    torch.manual_seed(seed or 0)
    drawn = torch.Generator().manual_seed(seed or 0)

    def some(network: Any) -> Sides:
        every = sorted(movable(network))
        taken = every if seed is None else [one for one in every if float(torch.rand(1, generator=drawn)) < 0.5]
        return Sides(frozenset(taken), channels_last=bool(seed))

    monkeypatch.setattr(deciding, "choose", lambda network, _: SidesChoice(some(network), PYTORCH, {PYTORCH: 1.0}))
    model, inputs = make().eval(), given()
    ours = compile_model(model, inputs, threads=1)
    if seed is None:
        assert all(isinstance(part, CallsPart) for part in ours._assembly.parts)
    for batch in (inputs, torch.cat([inputs, inputs.flip(-1), inputs]), inputs):
        with torch.no_grad():
            wanted = model(batch)
        found = ours(batch)
        pairs = zip(found, wanted, strict=True) if isinstance(wanted, tuple) else [(found, wanted)]
        assert all(torch.allclose(one, other, rtol=1e-5, atol=1e-5) for one, other in pairs)
