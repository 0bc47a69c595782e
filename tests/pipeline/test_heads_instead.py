"""Heads whose widths the code ties together: where no smaller head fits, whole heads go."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sapwood.models import apply_plan
from sapwood.pipeline import Pruned, Target, prune
from sapwood.removal import planner

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""

HALF = Target(sparsity=0.5)


class Turned(nn.Module):
    """Attention whose queries and keys are turned by position in their first channels; one number says the width."""

    def __init__(self, dim: int = 32, heads: int = 4, turned: int = 8) -> None:
        super().__init__()
        self.head_dim, self.turned = dim // heads, turned
        self.scale = self.head_dim**-0.5
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def turn(self, x: Tensor) -> Tensor:
        turned, rest = x[..., : self.turned], x[..., self.turned :]
        angles = torch.arange(x.shape[1], dtype=x.dtype)[:, None, None] / torch.arange(1, self.turned + 1)
        halves = torch.stack((-turned[..., 1::2], turned[..., ::2]), -1).reshape(turned.shape)
        return torch.cat((turned * angles.cos() + halves * angles.sin(), rest), -1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).view(*x.shape[:2], -1, self.head_dim) for part in (self.q, self.k, self.v))
        q, k = self.turn(q).transpose(1, 2), self.turn(k).transpose(1, 2)
        scores = (q @ k.transpose(-1, -2) * self.scale).softmax(-1)
        return self.out((scores @ v.transpose(1, 2)).transpose(1, 2).reshape(*x.shape[:2], -1))


class Layers(nn.Module):
    """Attention behind attention, with shortcuts."""

    def __init__(self, layers: int, turned: int, heads: int = 4) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(6, 32), nn.Linear(32, 5)
        self.layers = nn.ModuleList(Turned(heads=heads, turned=turned) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x)  # type: ignore[no-any-return]


def is_right(pruned: Pruned, model: nn.Module, x: Tensor) -> bool:
    """Whether the plan's model is the dense one with what the plan cuts at zero."""
    masked, x = copy.deepcopy(model).double(), x.double()
    with torch.no_grad():
        for cut in pruned.plan.cuts:
            gone = torch.tensor([index for index in range(cut.width) if index not in cut.kept])
            masked.get_parameter(cut.tensor).index_fill_(cut.dim, gone, 0.0)
        found, wanted = apply_plan(copy.deepcopy(model).double(), pruned.plan)(x), masked(x)
    return float((found - wanted).abs().max()) <= EXACT * float(wanted.abs().max())


@pytest.mark.parametrize("turned", [4, 8])
def test_whole_heads_go_where_their_width_is_tied_to_positions(turned: int) -> None:
    """With all channels turned (RoFormer, Cohere) or a part of them (GPT-J): values could be narrower, queries not."""
    model, x = Layers(2, turned).eval(), torch.randn(2, 7, 6)
    pruned = prune(model, x, target=HALF)
    for layer in pruned.model.layers:
        assert [tuple(part.weight.shape) for part in (layer.q, layer.k, layer.v, layer.out)] == [(16, 16)] * 4
        assert layer.head_dim == 8
    assert is_right(pruned, model, x)
    pruned.model(x).square().mean().backward()


def test_what_two_layers_do_not_let_change_no_layer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rounds a layer would be more than there are, in a deep network."""
    monkeypatch.setattr(planner, "MAX_ROUNDS", 10)
    model, x = Layers(5, 4).eval(), torch.randn(1, 3, 6)
    pruned = prune(model, x, target=HALF)
    assert {tuple(layer.v.weight.shape) for layer in pruned.model.layers} == {(16, 16)}
    assert is_right(pruned, model, x)


def test_one_head_is_left() -> None:
    """What two heads make has to be copied before it gets another shape, what one makes need not be: other calls."""
    model, x = Layers(2, 16, heads=2).eval(), torch.randn(2, 7, 6)
    pruned = prune(model, x, target=HALF)
    assert {tuple(layer.v.weight.shape) for layer in pruned.model.layers} == {(16, 16)}
    assert is_right(pruned, model, x)
