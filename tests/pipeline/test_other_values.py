"""Proofs that look a second time, with other values in the parameters, at models that do not take any."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import sapwood

HIDDEN, PLACES = 8, 6


class Draws(nn.Module):
    """Draws places by chances that may not be below zero; of whole numbers, so that sums are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, HIDDEN, bias=False), nn.Linear(HIDDEN, PLACES, bias=False)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight.copy_(torch.arange(layer.weight.numel()).reshape(layer.weight.shape) % 3 + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        chances = self.second(self.first(x))
        return chances, torch.multinomial(chances, 2)


def test_chances_below_zero_say_nothing_of_the_cuts() -> None:
    x = torch.ones(2, 4)
    model = Draws()
    pruned = sapwood.prune(model, x, target={"sparsity": 0.5})
    assert pruned.verification.passed
    kept = next(list(cut.kept) for cut in pruned.plan.cuts if (cut.tensor, cut.dim) == ("first.weight", 0))
    assert len(kept) == HIDDEN // 2
    wanted = x @ model.first.weight[kept].T @ model.second.weight[:, kept].T
    assert torch.equal(pruned.model(x)[0], wanted)
