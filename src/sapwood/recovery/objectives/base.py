"""What training needs to know of a task: how a batch is made, and its loss. The loop itself knows neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """One way to train: batches from a data set, and the loss of a model on them."""

    @property
    def num_pictures(self) -> int:
        """Pictures in the training data."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """What was left out so far, a sentence each."""

    def batch(self, epoch: int, indices: Sequence[int]) -> Any:
        """Makes a batch; depends on nothing but its arguments and the data. Runs in background threads."""

    def losses(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Runs the model on a batch; of the scalars ``"total"`` is minimised and the others are logged."""
