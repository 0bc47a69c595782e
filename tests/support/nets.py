"""Networks whose channels can be put in another order without changing what they compute."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Batch = tuple[Tensor, Tensor]


class Net(nn.Module):
    """A chain, a residual sum, a depthwise convolution, a concatenation, a transposed one, and a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.inside = nn.Conv2d(6, 5, 3, padding=1)
        self.inside_norm = nn.BatchNorm2d(5)
        self.back = nn.Conv2d(5, 6, 3, padding=1)
        self.back_norm = nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.depthwise_norm = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.up_norm = nn.BatchNorm2d(4)
        self.joined = nn.Conv2d(10, 4, 2, stride=2)
        self.joined_norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 3 * 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(x + self.back_norm(self.back(F.relu(self.inside_norm(self.inside(x))))))
        x = F.relu(self.depthwise_norm(self.depthwise(x)))
        up = F.relu(self.up_norm(self.up(x)))
        x = torch.cat([F.interpolate(x, scale_factor=2.0), up], dim=1)
        x = F.relu(self.joined_norm(self.joined(x)))
        return self.head(F.max_pool2d(x, 2).flatten(1))


def net() -> Net:
    """A :class:`Net` in float64 whose channels all differ."""
    torch.manual_seed(3)
    model = Net().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


def batches() -> list[Batch]:
    """Two batches of four pictures of 6 x 6."""
    torch.manual_seed(4)
    pictures, labels = torch.randn(8, 3, 6, 6, dtype=torch.float64), torch.randint(3, (8,))
    return list(zip(pictures.split(4), labels.split(4), strict=True))


def loss(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])
