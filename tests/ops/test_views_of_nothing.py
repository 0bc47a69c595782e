"""Views of tensors without values, as where a detector found no boxes: their sizes need not match."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sapwood
from sapwood.ops.reshaping import _blocks

HALF = sapwood.Target(sparsity=0.5)


class NoBoxes(nn.Module):
    """Reads boxes off features, of which it finds none (the box head of torchvision's Faster R-CNN)."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.a, self.b, self.head, self.sizes = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(16, 3), sizes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.a(x).relu()
        found = features[features[:, 0] > 1e9]
        return self.head(features), self.b(found)[:, 1:].reshape(self.sizes)


@pytest.mark.parametrize("sizes", [(-1, 4), (0, 2), (0, 11), (11, 0), (0, 3, 5), (5, 0, 2), (0,)])
def test_what_is_cut_otherwise_stays_and_the_rest_goes(sizes: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model, x = NoBoxes(sizes).eval(), torch.randn(4, 6)
    pruned = sapwood.prune(model, x, target=HALF)
    assert [pruned.model.a.out_features, pruned.model.b.in_features, pruned.model.b.out_features] == [8, 8, 12]
    assert pruned.model(x)[1].shape == model(x)[1].shape


def test_blocks_of_what_has_values_are_as_they_were() -> None:
    assert _blocks((2, 3, 4), (6, 4)) == [((0, 2), (0, 1)), ((2, 3), (1, 2))]
    assert _blocks((0, 8, 3), (0, 24)) == [((0, 1), (0, 1)), ((1, 3), (1, 2))]
    assert _blocks((0, 363), (0, 4)) == [((0, 1), (0, 1)), ((1, 2), (1, 2))]
