"""The module of lightning in ``round_trips.py``, in a file of its own so that pickles find its class."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn


class Lit(lightning.LightningModule):
    """A classifier and its step."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.net = body

    def forward(self, pictures: Tensor) -> Any:
        return self.net(pictures)

    def training_step(self, batch: Any, index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)
