"""Another network's outputs and features beside the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sapwood.config import TrainConfig
from sapwood.errors import TrainingError
from sapwood.models import copy_model
from sapwood.tasks import TASKS, divergence, listed_head
from sapwood.training.attention import AttentionMatch
from sapwood.training.objectives.base import Objective
from sapwood.training.precision import as_float32, mixed
from sapwood.types import ModelBundle, TaskSpec


class Distilling:
    """Another objective, and beside its loss how far outputs and features are from a teacher's.

    Args:
        objective: The other one.
        teacher: In evaluation mode, never changed.
        student: The model that is trained, and its task.
        config: ``distill_weight``, ``distill_temperature``, ``feature_weight``, the memory order and the precision.

    Raises:
        TrainingError: If the teacher is for another task, sees other classes or another size, or has no layer of the
            student's while features are wanted; or a detector's outputs are given a temperature.
    """

    def __init__(self, objective: Objective, teacher: ModelBundle, student: ModelBundle, config: TrainConfig) -> None:
        task = student.task
        for name in ("kind", "class_names", "input_size"):
            own, other = getattr(task, name), getattr(teacher.task, name)
            if own != other:
                raise TrainingError(f"the teacher's {name} is {other!r}; expected the model's, {own!r}")
        if listed_head(task.heads) is not None:
            raise TrainingError(
                f"a {type(student.model).__name__} returns losses while it is trained, which no teacher has; expected "
                "no teacher (prune --recover distill brings its outputs back to the dense model's)"
            )
        check_temperature(task, config.distill_temperature)
        self._objective, self._task, self._weight = objective, task, config.distill_weight
        self._temperature = config.distill_temperature
        self._precision, self._feature_weight = config.precision, config.feature_weight
        self._attention = AttentionMatch(teacher.model, student.model) if config.feature_weight else None
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
            with self._watching(model) as found:
                losses = dict(self._objective.losses(model, batch))
        finally:
            watch.remove()
        if len(calls) != 1:
            raise TrainingError(f"the loss called the model {len(calls)} times; a teacher needs it called once a batch")
        inputs, outputs = calls[0]
        with torch.no_grad(), mixed(self._precision, inputs[0].device), self._watching(self._teacher) as wanted:
            reference = as_float32(self._teacher.to(inputs[0].device)(*inputs))
        outputs = as_float32(outputs)
        apart = divergence(self._task, outputs, reference, self._teacher, temperature=self._temperature)
        total = losses["total"] + self._weight * apart
        losses |= {"total": total, "divergence": apart}
        if self._attention is not None:
            attention = self._attention.distance(found, wanted)
            losses |= {"total": total + self._feature_weight * attention, "attention": attention}
        return losses

    def _watching(self, model: nn.Module) -> AbstractContextManager[dict[str, Tensor]]:
        return nullcontext({}) if self._attention is None else self._attention.watching(model)


def check_temperature(task: TaskSpec, temperature: float) -> None:
    """Checks that only what has a temperature is given one.

    Raises:
        TrainingError: If it is not 1 and the task's outputs have none.
    """
    softens = task.kind in TASKS and TASKS[task.kind].has_temperature
    if temperature != 1 and not softens:
        raise TrainingError(
            f"distill_temperature: {temperature} for a model whose task is {task.kind}; only a classifier's logits "
            "have a temperature, expected 1"
        )
