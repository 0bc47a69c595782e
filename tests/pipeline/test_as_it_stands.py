"""Attention whose weights are multiplied as they stand, ``x @ weight``, and whose scale follows the width."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sapwood
from support.silencing import silenced

EXACT = 1e-12
"""Relative, in float64: a handful of layers, summed in another order."""


class Apart(nn.Module):
    """A weight for queries, one for keys."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.value, self.last = nn.Linear(6, 10), nn.Linear(10, 12), nn.Linear(12, 4)
        self.query, self.key = (nn.Parameter(torch.randn(10, 12)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        query, key = x @ self.query, x @ self.key
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        found: Tensor = self.last(scores.softmax(-1) @ self.value(x))
        return found


class Fused(nn.Module):
    """One weight for all three, as GPT-2 has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 10), nn.Linear(12, 4)
        self.weight, self.bias = nn.Parameter(torch.randn(10, 36)), nn.Parameter(torch.randn(36))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        made = torch.addmm(self.bias, x.flatten(0, 1), self.weight).view(*x.shape[:2], -1)
        query, key, value = made.chunk(3, -1)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        found: Tensor = self.last(scores.softmax(-1) @ value)
        return found


def pruned(kind: type[nn.Module]) -> sapwood.Pruned:
    torch.manual_seed(0)
    model, x = kind().double().eval(), torch.randn(2, 5, 6, dtype=torch.float64)
    made = sapwood.prune(model, x, target=sapwood.Target(sparsity=0.5), limits=sapwood.Limits(round_to=1))
    with torch.no_grad():
        wanted, found = silenced(model, made.plan)(x), made.model(x)
    assert (found - wanted).abs().max() <= EXACT * wanted.abs().max()
    return made


def test_every_row_of_the_query_is_scaled() -> None:
    made = pruned(Apart)
    assert made.model.query.shape == (5, 6)
    assert [(one.tensor, len(one.rows)) for one in made.plan.rescales] == [("query", 10)]


def test_a_part_of_a_weight_is_not_scaled_by_rows() -> None:
    made = pruned(Fused)
    reasons = [entry.reason for entry in made.unpruned if (entry.tensor, entry.dim) == ("weight", 1)]
    assert made.model.weight.shape == (5, 36)
    assert any(reason.startswith("its scale follows a width that is pruned") for reason in reasons)


@pytest.mark.parametrize("kind", [Apart, Fused])
def test_they_train(kind: type[nn.Module]) -> None:
    model = pruned(kind).model.train()
    model(torch.randn(2, 5, 6, dtype=torch.float64)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
