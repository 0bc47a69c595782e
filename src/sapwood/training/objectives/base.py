"""What training needs to know of a task: how a batch is made, and its loss. The loop itself knows neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.registry import Registry
from sapwood.types import TaskSpec


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


MakeObjective: TypeAlias = "Callable[[TaskSpec, Any, TrainConfig, Callable[[float], float]], Objective]"
"""Of (task, data set of the task, config, mean of a number over the processes that share batches)."""

OBJECTIVES: Registry[MakeObjective] = Registry("objective")
"""What makes the objective of a task, by its kind in :data:`sapwood.tasks.TASKS`."""
