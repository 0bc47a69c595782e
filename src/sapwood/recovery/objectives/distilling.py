"""Another network's outputs beside the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.models import copy_model
from sapwood.recovery.objectives.base import Objective
from sapwood.recovery.precision import as_float32, mixed
from sapwood.tasks import divergence
from sapwood.types import ModelBundle, TaskSpec


class Distilling:
    """Another objective, and the divergence of the outputs from a teacher's beside its loss.

    Args:
        objective: The other one.
        teacher: In evaluation mode, never changed.
        task: Of the model that is trained.
        config: ``distill_weight``, the memory order and the precision.

    Raises:
        TrainingError: If the teacher is for another task, or sees other classes or another size.
    """

    def __init__(self, objective: Objective, teacher: ModelBundle, task: TaskSpec, config: TrainConfig) -> None:
        for name in ("kind", "class_names", "input_size"):
            own, other = getattr(task, name), getattr(teacher.task, name)
            if own != other:
                raise TrainingError(f"the teacher's {name} is {other!r}; expected the model's, {own!r}")
        self._objective, self._task, self._weight = objective, task, config.distill_weight
        self._precision = config.precision
        memory = torch.channels_last if config.channels_last else torch.contiguous_format
        self._teacher = copy_model(teacher.model).eval().to(memory_format=memory)

    @property
    def num_pictures(self) -> int:
        """Of the other objective."""
        return self._objective.num_pictures

    @property
    def skipped(self) -> tuple[str, ...]:
        """Of the other objective."""
        return self._objective.skipped

    def batch(self, epoch: int, indices: Sequence[int]) -> Any:
        """Of the other objective."""
        return self._objective.batch(epoch, indices)

    def losses(self, model: nn.Module, batch: Any) -> Mapping[str, Tensor]:
        """Returns the other objective's losses, the divergence, and the weighted sum as ``"total"``."""
        calls: list[tuple[Any, Any]] = []
        watch = model.register_forward_hook(lambda module, inputs, outputs: calls.append((inputs, outputs)))
        try:
            found = dict(self._objective.losses(model, batch))
        finally:
            watch.remove()
        apart = torch.stack([self._apart(inputs, outputs) for inputs, outputs in calls]).mean()
        return found | {"total": found["total"] + self._weight * apart, "divergence": apart}

    def _apart(self, inputs: tuple[Any, ...], outputs: Any) -> Tensor:
        self._teacher.to(inputs[0].device)
        with torch.no_grad(), mixed(self._precision, inputs[0].device):
            reference = as_float32(self._teacher(*inputs))
        return divergence(self._task, as_float32(outputs), reference, self._teacher)
