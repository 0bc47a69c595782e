"""What one line of code makes of every layer is learned in one round of the search."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.removal import planner


class Swapped(nn.Module):
    """Cuts what it makes into equal parts, which then lose as many channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        one, other = torch.relu(self.up(x)).chunk(2, -1)
        return self.down(torch.cat([other, one], -1))


@pytest.mark.parametrize("layers", [1, 4])
def test_equal_parts_of_all_layers_are_tied_at_once(layers: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Swapped() for _ in range(layers))).eval()
    with torch.no_grad():
        for layer in model:
            layer.up.weight[:8] *= 10  # the first half alone would stay
    with patch.object(planner, "realise", wraps=planner.realise) as realised:
        pruned = sapwood.prune(model, torch.randn(2, 8), target=sapwood.Target(sparsity=0.5))
    assert realised.call_count == 2
    assert [layer.up.out_features for layer in pruned.model] == [8] * layers
