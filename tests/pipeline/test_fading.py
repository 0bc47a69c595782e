"""Networks in which signals fade out: the proof says no more than it found, so it gives them other values as well."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import sapwood
from sapwood.errors import CheckFailedError
from sapwood.graph import trace
from sapwood.models import Plan, apply_plan
from sapwood.removal import proof
from sapwood.removal.fading import DEEP, is_deep

HALF = sapwood.Target(sparsity=0.5)


def chain(layers: int) -> nn.Sequential:
    torch.manual_seed(0)
    body = [layer for _ in range(layers) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 8, 3), *body, nn.Conv2d(8, 4, 1)).eval()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = chain(2 * DEEP)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, *body = self.layers
        y = first(x)
        for layer in body[:-1]:
            y = y + layer(y)
        return body[-1](y)


def test_the_shortest_way_counts() -> None:
    picture = torch.randn(1, 3, 8, 8)
    assert is_deep(trace(chain(DEEP - 2), picture))
    assert not is_deep(trace(chain(DEEP - 3), picture))
    assert not is_deep(trace(Residual(), picture))


@pytest.mark.parametrize("layers", [6, 40])
def test_what_is_wrong_in_an_early_layer_is_found(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first weights of PyTorch, an early layer is behind 40 others of no consequence that float64 shows."""

    def wrong(model: nn.Module, plan: Plan) -> nn.Module:
        compact = apply_plan(model, plan)
        with torch.no_grad():
            compact[1].weight.copy_(compact[1].weight.flip(1))
        return compact

    picture = torch.randn(1, 3, 8, 8)
    assert sapwood.prune(chain(layers), picture, target=HALF).verification.passed
    monkeypatch.setattr(proof, "apply_plan", wrong)
    with pytest.raises(CheckFailedError):
        sapwood.prune(chain(layers), picture, target=HALF)
