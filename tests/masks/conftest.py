"""Small models that the tests of masks share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn


class SmallNet(nn.Module):
    """Two convolutions, a transposed one, BatchNorm and a linear layer: every kind a mask knows, and biases."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Conv2d(8, 6, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        features = self.norm(self.up(self.body(self.stem(x))))
        return self.head(features.mean(dim=(2, 3)))


@pytest.fixture
def net() -> SmallNet:
    torch.manual_seed(7)
    model = SmallNet().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model
